package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// managed runs the engine of a home as the systemd unit does: in the foreground, on a socket that outlives
// it. It returns when the engine is ready.
func (h *home) managed(t *testing.T, socket *os.File) *exec.Cmd {
	t.Helper()
	path := filepath.Join(h.dir, "notify")
	os.Remove(path)
	news, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { news.Close() }) // it hears STOPPING=1 too
	cmd := h.command()
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "LISTEN_PID=$$ exec " + h.bin + " engine"}
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "NOTIFY_SOCKET="+path)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // not killed: its blank domains would wait for the next engine of the home
		shutdown(h.socket())
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	heard := make(chan string, 1)
	go func() {
		b := make([]byte, 64)
		n, _ := news.Read(b)
		heard <- string(b[:n])
	}()
	await(t, "an engine that says READY=1", func() (bool, string) {
		select {
		case s := <-heard:
			return s == "READY=1", s
		default:
			return false, "nothing"
		}
	})
	return cmd
}

// An engine under a service manager: restarted, it adopts the pVMs; whoever comes in between waits in the
// socket, and no second engine is started.
func TestManagedEngine(t *testing.T) {
	h := newHome(t)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	first := h.managed(t, socket)
	pid := strings.TrimSpace(h.output(t, "-c", "run -d --name t $APPS/tick.kx"))
	follower, waiter := h.start(t, "logs", "-f", "t"), h.start(t, "wait", "t")
	follower.expect(`tick 1\n`)
	if got := h.info(t).PID; got != first.Process.Pid {
		t.Errorf("engine %d answers, not %d", got, first.Process.Pid)
	}
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("systemctl stop: %v", err)
	}
	between := h.start(t, "ps", "--no-headers", "-o", "pid,name")
	second := h.managed(t, socket)
	between.expect(`^ *` + pid + ` t\n$`)
	between.exit(0)
	follower.expect(`tick 3\n`)
	if got := h.info(t).PID; got != second.Process.Pid {
		t.Errorf("engine %d answers, not %d", got, second.Process.Pid)
	}
	h.output(t, "kill", "t")
	waiter.exit(0)
	follower.exit(0)
	if got := follower.out.String(); !strings.HasPrefix(got, "tick 1\ntick 2\ntick 3\n") || !strings.HasSuffix(got, "tick: told to stop\n") {
		t.Errorf("followed: %q", got)
	}
}

// The engine's socket is its user's alone, in a folder that is too.
func TestSocketIsPrivate(t *testing.T) {
	h := newHome(t)
	path := filepath.Join(h.dir, "run/s")
	h.env = append(h.env, "KXSH_SOCKET="+path)
	h.output(t, "ps")
	defer shutdown(path)
	for name, want := range map[string]os.FileMode{path: os.ModeSocket | 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if fi, err := os.Stat(name); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, fi.Mode(), err, want)
		}
	}
}

// An engine whose socket somebody has removed, as those do who clean folders, makes it again, with its folder.
func TestSocketRemoved(t *testing.T) {
	h := newHome(t)
	path := filepath.Join(h.dir, "run/s")
	h.env = append(h.env, "KXSH_SOCKET="+path)
	pid := strings.TrimSpace(h.output(t, "run", "-d", filepath.Join(root, "guest/apps/spin.kx")))
	defer shutdown(path)
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	await(t, "the socket", func() (bool, string) {
		out, errs, code := h.run(t, "--no-start", "pgrep", ".")
		return code == 0 && out == pid+"\n", out + errs
	})
	h.output(t, "kill", "-KILL", pid)
}

// Without Xen's devices whoever insists on Xen is told so, in one line, whatever the command, and at once.
func TestNoXenDevices(t *testing.T) {
	h := newHome(t)
	const device = "/dev/xen/privcmd"
	if where == "xen" {
		if err := os.Rename(device, device+"-away"); err != nil {
			t.Fatal(err)
		}
		defer os.Rename(device+"-away", device)
	}
	for _, args := range [][]string{{"ps"}, {"run", filepath.Join(root, "guest/apps/hello.kx")}, {"kill", "1"}, {"top", "-b", "-n", "1"}, {"engine"}} {
		want := args[0] + ": engine: cannot start: xen: " + device + ": no such file or directory: "
		if args[0] == "engine" {
			want = strings.Replace(want, "engine: cannot start: ", "", 1)
		}
		out, errs, code := h.run(t, append([]string{"--hypervisor", "xen"}, args...)...)
		if out != "" || code == 0 || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, want) || !strings.Contains(errs, "modprobe xen-privcmd") {
			t.Errorf("%q: status %d\n got %s%swant %s…", args, code, out, errs, want)
		}
	}
}

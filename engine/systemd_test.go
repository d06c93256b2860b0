package engine

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kxsh/xen"
	"kxsh/xen/fake"
)

// The units are what systemd takes, and name what the engine uses.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"kxsh.service", "kxsh.socket"} {
		text, err := os.ReadFile(filepath.Join("systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "kxsh.socket" && !strings.Contains(string(text), "\nListenStream=/run/kxsh/engine.sock\nSocketMode=0600\n") {
			t.Error("the socket is not where root's commands look, or not root's alone")
		}
		path := filepath.Join(dir, name)
		units = append(units, path)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "@bindir@/kxsh", "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze to check the units with")
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "kxsh") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// daemonEnv makes this test program an engine on the socket that it is given.
const daemonEnv = "KXSH_TEST_DAEMON"

func TestMain(m *testing.M) {
	if state := os.Getenv(daemonEnv); state != "" {
		host := fake.NewHost(programs)
		err := Daemon(context.Background(), Options{
			Open:  func(first xen.DomID) (xen.Hypervisor, error) { return host.Open(first), nil },
			State: state, Socket: filepath.Join(state, "unused"),
		}, false)
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// managed starts an engine as systemd does.
func managed(t *testing.T, ln *os.File, state, notify string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "LISTEN_PID=$$ exec "+strconv.Quote(self))
	cmd.Env = append(os.Environ(), daemonEnv+"="+state, "LISTEN_FDS=1", "NOTIFY_SOCKET="+notify)
	cmd.ExtraFiles = []*os.File{ln}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// A service manager's socket is taken, outlives the engine, and holds who comes in between; the manager
// hears when the engine is ready.
func TestServiceManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "kx")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	news, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer news.Close()
	hear := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		news.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := news.Read(b); err != nil || string(b[:n]) != want {
			t.Fatalf("heard %q, %v, want %s", b[:n], err, want)
		}
	}
	for range 2 {
		answer := make(chan error, 1)
		go func() { // before there is an engine
			c, err := Connect(context.Background(), path, nil)
			if err == nil {
				_, err = c.Info(context.Background())
			}
			answer <- err
		}()
		time.Sleep(50 * time.Millisecond)
		cmd := managed(t, file, dir, filepath.Join(dir, "n"))
		hear("READY=1")
		if err := <-answer; err != nil {
			t.Error(err)
		}
		c, err := Connect(context.Background(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Shutdown(context.Background(), true); err != nil {
			t.Error(err)
		}
		hear("STOPPING=1")
		if err := cmd.Wait(); err != nil {
			t.Errorf("the engine: %v", err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the socket: %v", err)
		}
	}
}

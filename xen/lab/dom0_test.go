//go:build lab

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// The tests here boot the real machine, half a minute each: make lab-test.

func limit(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestDom0: it is a dom0, and what goes in and comes out is exact.
func TestDom0(t *testing.T) {
	folder := t.TempDir()
	large := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	if err := errors.Join(os.WriteFile(filepath.Join(folder, "large"), large, 0o644), os.Symlink("large", filepath.Join(folder, "link"))); err != nil {
		t.Fatal(err)
	}
	const script = `
cat /proc/xen/capabilities
ls /dev/xen/privcmd /dev/xen/evtchn /dev/xen/gntdev /dev/xen/hypercall
sha256sum <given/link
cat
echo "$GREETING"
pwd
echo error >&2
[ -t 0 ] || [ -t 1 ] || echo no terminal
ping -c 1 -W 5 127.0.0.1 >/dev/null && echo loopback
printf '\n@lab 0000000000000000 end 0\n'
sleep 1000 &
printf '\377 no newline'
exit 42`
	var log bytes.Buffer
	result, err := Run(limit(t, 5*time.Minute), Options{
		Command: []string{"sh", "-c", script},
		Files:   map[string]string{"/root/given": folder},
		Env:     []string{"GREETING=it's $HOME"},
		Stdin:   strings.NewReader("typed\n"),
		Log:     &log,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "control_d\n/dev/xen/evtchn\n/dev/xen/gntdev\n/dev/xen/hypercall\n/dev/xen/privcmd\n" +
		fmt.Sprintf("%x  -\n", sha256.Sum256(large)) +
		"typed\nit's $HOME\n/root\nerror\nno terminal\nloopback\n\n@lab 0000000000000000 end 0\n\xff no newline"
	if result.Status != 42 || string(result.Output) != want {
		t.Errorf("status %d, output %q, want 42, %q", result.Status, result.Output, want)
	}
	if !strings.Contains(log.String(), "(XEN) Xen version 4.17") {
		t.Errorf("serial log of %d bytes names no Xen", log.Len())
	}
}

// TestHostRoot: a command in the host's file system has its programs, its folder and its files, writes to memory and
// to the shared folder alone, and has the toolstack of a flag; output and errors come apart.
func TestHostRoot(t *testing.T) {
	shared, extra := t.TempDir(), filepath.Join(t.TempDir(), "extra")
	if err := errors.Join(os.WriteFile(extra, []byte("an extra file\n"), 0o644), os.WriteFile(filepath.Join(shared, "in"), []byte("from the host\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	const script = `
pwd; head -n 1 hostroot.sh; cat /lab-extra
cp /shared/in /shared/out && cat /shared/out
echo over >hostroot.sh && cat hostroot.sh
cat /proc/xen/capabilities; ls /dev/xen/privcmd
echo error >&2
xl list | tail -n +2 | awk '{print $1}'; xenstore-read domid
exit 7`
	var stdout, stderr bytes.Buffer
	result, err := Run(limit(t, 5*time.Minute), Options{
		Command: []string{"sh", "-c", script}, HostRoot: true, XL: true, Stdout: &stdout, Stderr: &stderr,
		Files: map[string]string{"/lab-extra": extra}, Shared: map[string]string{"/shared": shared},
	})
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(hostRootScript, "\n")
	want := here + "\n" + first + "\nan extra file\nfrom the host\nover\ncontrol_d\n/dev/xen/privcmd\nDomain-0\n0\n"
	if result.Status != 7 || stdout.String() != want || stderr.String() != "error\n" {
		t.Errorf("status %d, output %q, errors %q, want 7, %q", result.Status, &stdout, &stderr, want)
	}
	if b, err := os.ReadFile(filepath.Join(shared, "out")); string(b) != "from the host\n" {
		t.Errorf("the shared folder: %q, %v", b, err)
	}
	if b, err := os.ReadFile("hostroot.sh"); string(b) != hostRootScript {
		t.Errorf("dom0 wrote to the host: %q, %v", b, err)
	}
}

// TestCrash: a dom0 that dies is told of with its last words, long before the limit.
func TestCrash(t *testing.T) {
	result, err := Run(limit(t, 5*time.Minute), Options{Command: []string{"sh", "-c", "echo before; sleep 1; echo c >/proc/sysrq-trigger"}})
	if err == nil || !strings.Contains(err.Error(), "before the command ended") || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("%v", err)
	}
	if string(result.Output) != "before\n" {
		t.Errorf("output %q", result.Output)
	}
}

// TestLimit: a command that does not end is ended, machine and all.
func TestLimit(t *testing.T) {
	ctx, cancel := context.WithCancelCause(limit(t, 5*time.Minute))
	stop := errors.New("enough")
	_, err := Run(ctx, Options{Command: []string{"sh", "-c", "echo up; sleep 1000"}, Stdout: writer(func() { cancel(stop) })})
	if !errors.Is(err, stop) || !strings.Contains(err.Error(), "did not end in time") {
		t.Errorf("%v", err)
	}
}

// A writer is called when something is written.
type writer func()

func (w writer) Write(p []byte) (int, error) {
	if len(p) > 0 {
		w()
	}
	return len(p), nil
}

// TestTerminal has somebody type at dom0's shell, and change the terminal's size. The loop is another shell's: on a
// busy machine BusyBox's interactive one, with its jobs, waits for ever for a pipeline that has ended.
func TestTerminal(t *testing.T) {
	for _, test := range []struct {
		name, typed, shown string
		status             int
	}{
		{"exit", "stty size; echo $((6*7)); sh -c \"until stty size | grep '40 120'; do sleep 0.1; done\"; exit 3\n", "30 100\r\n42\r\n40 120\r\n", 3},
		{"leave", "echo $((6*7))\n\x01x", "", 0},
	} {
		user, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
			t.Fatal(err)
		}
		screen := make(chan string)
		go func() {
			var shown bytes.Buffer
			buf := make([]byte, 4096)
			for prompted, resized := false, false; ; {
				n, err := user.Read(buf)
				shown.Write(buf[:n])
				if err != nil {
					screen <- shown.String()
					return
				}
				if !prompted && bytes.Contains(shown.Bytes(), []byte("# ")) {
					prompted = true
					if _, err := user.WriteString(test.typed); err != nil {
						t.Error(err)
					}
				}
				if !resized && bytes.Contains(shown.Bytes(), []byte("\n42\r\n")) {
					resized = true
					if err := errors.Join(pty.Setsize(terminal, &pty.Winsize{Rows: 40, Cols: 120}), syscall.Kill(os.Getpid(), syscall.SIGWINCH)); err != nil {
						t.Error(err)
					}
				}
			}
		}()
		result, err := Run(limit(t, 5*time.Minute), Options{Command: []string{"sh"}, Terminal: terminal})
		terminal.Close()
		shown := <-screen
		user.Close()
		if err != nil || result.Status != test.status || !strings.Contains(shown, test.shown) {
			t.Errorf("%s: status %d, %v, screen %q", test.name, result.Status, err, shown)
		}
	}
}

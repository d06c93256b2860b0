// Package e2e drives the real kxsh binary as its users do: scripts through testscript, typing
// through a pty. Every test has an engine of its own. The same suite runs on each hypervisor.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
	"kxsh/xen"
	"kxsh/xen/privcmd"
)

// Where the binary and what was built with it are; make builds them before it runs the tests.
var (
	root  = repoRoot()
	kxsh  = fromEnv("KXSH_BIN", filepath.Join(root, "kxsh"))
	built = []string{kxsh, filepath.Join(root, "guest/apps/hello.kx"), filepath.Join(root, "guest/test/usertests.kx"),
		filepath.Join(root, "guest/ports/lua/lua.kx")}
)

func repoRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(dir))
}

func fromEnv(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

func TestMain(m *testing.M) {
	for _, f := range built {
		if _, err := os.Stat(f); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: %v: run make images ports\n", err)
			os.Exit(1)
		}
	}
	for _, name := range []string{"MAKEFLAGS", "MAKELEVEL", "MFLAGS"} { // a make that a test runs is nobody's child, also under make unit
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// home is one test's own engine: socket, state folder, environment and user.
type home struct {
	dir string
	env []string
	bin string // kxsh
	uid int    // 0: whoever runs the tests
}

// homes counts those that have not ended.
var homes atomic.Int64

// newHome makes a home in a short path, for a socket's name has at most 107 bytes.
func newHome(t testing.TB) *home {
	dir, err := os.MkdirTemp("", "kxe")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{dir: dir, bin: kxsh}
	h.env = append(os.Environ(),
		"HOME="+dir,
		"XDG_CACHE_HOME="+cacheHome(),
		"KXSH_SOCKET="+h.socket(),
		"KXSH_STATE="+filepath.Join(dir, "state"),
		"PATH="+filepath.Dir(kxsh)+":"+os.Getenv("PATH"),
		"APPS="+filepath.Join(root, "guest/apps"),
		"PORTS="+filepath.Join(root, "guest/ports"),
		"ROOT="+root,
		"NO_COLOR=1",
	)
	homes.Add(1)
	t.Cleanup(func() { h.end(t) })
	return h
}

func (h *home) socket() string { return filepath.Join(h.dir, "s") }

// cacheHome is where the SDK is unpacked: once for all tests.
func cacheHome() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "kxsh-cache")
	}
	return dir
}

// end shuts the engine down, and finds nothing of it left: no pVM, no process, no domain of Xen's.
func (h *home) end(t testing.TB) {
	if err := shutdown(h.socket()); err != nil {
		t.Error(err)
	}
	if left := h.processes(); len(left) > 0 {
		t.Errorf("processes left behind: %s", strings.Join(left, ", "))
	}
	if homes.Add(-1) == 0 && where == "xen" { // its domains are everybody's
		if left := domains(t, patience); len(left) > 0 {
			t.Errorf("domains left behind: %v", left)
		}
	}
	os.RemoveAll(h.dir)
}

// domains lists all that Xen has beside dom0, after so long at most if there are some.
func domains(t testing.TB, wait time.Duration) (left []xen.Listed) {
	t.Helper()
	h, err := privcmd.New(privcmd.Options{Key: "e2e", Pool: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for end := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		if left, err = h.List(); err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// shutdown ends the engine at a socket, if there is one, with its pVMs.
func shutdown(socket string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := engine.Connect(ctx, socket, nil)
	if err != nil {
		return nil // none is there
	}
	defer c.Close()
	info, err := c.Info(ctx)
	if err == nil {
		err = c.Shutdown(ctx, true)
	}
	if err != nil {
		return fmt.Errorf("shutdown: %v", err)
	}
	if !gone(info.PID, patience) {
		return fmt.Errorf("engine %d does not leave", info.PID)
	}
	return nil
}

// gone waits until a process has ended.
func gone(pid int, most time.Duration) bool {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) {
			return true
		}
	}
	return false
}

// zombie tells whether all threads of a process have ended: while one still dies, the first may be a
// zombie already, and the process's sockets still take connections.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err == nil && strings.Contains(string(b), ") Z ") && len(threads) == 1
}

// processes lists what still runs with this home's socket in its environment: the engine's and
// every domain's process.
func (h *home) processes() []string {
	var left []string
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left = nil
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, d := range dirs {
			env, err := os.ReadFile(d + "/environ")
			if err != nil || !strings.Contains(string(env), "KXSH_SOCKET="+h.socket()+"\x00") {
				continue
			}
			if cmd, _ := os.ReadFile(d + "/cmdline"); len(cmd) > 0 {
				left = append(left, filepath.Base(d)+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// command is kxsh as this home's user starts it.
func (h *home) command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.bin, args...)
	cmd.Env, cmd.Dir = slices.Clone(h.env), h.dir
	if h.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}}
	}
	return cmd
}

// run runs kxsh and returns what it printed and its exit status.
func (h *home) run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return h.runInput(t, "", args...)
}

func (h *home) runInput(t testing.TB, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return h.runWithin(t, 2*patience, stdin, args...)
}

func (h *home) runWithin(t testing.TB, longest time.Duration, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	cmd := h.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("kxsh %q hangs; so far:\n%s%s", args, out.String(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

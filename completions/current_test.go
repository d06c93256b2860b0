package completions_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kxsh/completions"
)

// The files of this folder are what kxsh prints.
func TestCurrent(t *testing.T) {
	for _, sh := range completions.Shells {
		want, err := exec.Command(build(t), "completion", sh).Output()
		if err != nil {
			t.Fatalf("kxsh completion %s: %v", sh, err)
		}
		got, err := os.ReadFile(completions.File(sh))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not current (%v): run go generate ./completions", completions.File(sh), err)
		}
	}
}

// Each shell that is here takes its script.
func TestSyntax(t *testing.T) {
	for _, sh := range completions.Shells {
		if _, err := exec.LookPath(sh); err != nil {
			continue
		}
		if out, err := exec.Command(sh, "-n", completions.File(sh)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", completions.File(sh), err, out)
		}
	}
}

// A press of Tab starts no engine, neither where none ever was nor where one was killed.
func TestStartsNoEngine(t *testing.T) {
	for _, stale := range []bool{false, true} {
		dir, err := os.MkdirTemp("", "kxc") // short: a socket's name has at most 107 bytes
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		socket, state := filepath.Join(dir, "socket"), filepath.Join(dir, "state")
		if stale {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		}
		env := append(os.Environ(), "KXSH_SOCKET="+socket, "KXSH_STATE="+state)
		cmd := exec.Command(build(t), "--no-start", "ps")
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err == nil || strings.Count(string(out), "\n") != 1 {
			t.Errorf("kxsh --no-start ps without an engine: %v\n%s", err, out)
		}
		if got := ask(t, env, "", 9, build(t), "kill", ""); got != "" {
			t.Errorf("completed %q without an engine", got)
		}
		if _, err := os.Stat(state); err == nil {
			t.Error("an engine was started")
		}
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			t.Error("an engine listens")
		}
	}
}

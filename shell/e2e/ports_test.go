package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// port is a program of guest/ports: its image, and the native build of the same source.
type port struct{ image, native string }

func portOf(name, program string) port {
	path := filepath.Join(root, "guest/ports", name, program)
	return port{path + ".kx", path + ".native"}
}

// ran is what a native program said and how it ended.
type ran struct {
	out, errs string
	code      int
}

// natively runs the native build in a folder of its own.
func (p port) natively(t *testing.T, dir, stdin string, args ...string) (r ran) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(p.native, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		t.Fatalf("native: %v", err)
	}
	return ran{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// likeNative gives a program and its native build the same input and arguments: both say the same and end alike. Options are run's.
func (p port) likeNative(t *testing.T, h *home, options []string, stdin string, args ...string) {
	t.Helper()
	want := p.natively(t, t.TempDir(), stdin, args...)
	got, errs, code := h.runInput(t, stdin, append(append(append([]string{"run", "-i"}, options...), p.image), args...)...)
	if code != want.code {
		t.Errorf("status %d, natively %d: %s", code, want.code, errs)
	}
	compare(t, got, want.out)
	compare(t, errs, want.errs)
}

// scripts are a port's own programs in its language, in its folder t.
func scripts(t *testing.T, name, suffix string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(root, "guest/ports", name, "t/*"+suffix))
	if err != nil || len(list) == 0 {
		t.Fatalf("no scripts to compare: %v", err)
	}
	return list
}

package shell

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestABIDiff runs the command on libraries that gcc made.
func TestABIDiff(t *testing.T) {
	dir := t.TempDir()
	build := func(name, text string, flags ...string) {
		t.Helper()
		src := filepath.Join(dir, name+".c")
		if err := os.WriteFile(src, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"-shared", "-fPIC", "-nostdlib", "-g", "-Wl,-soname,lib.so", "-o", filepath.Join(dir, name), src}, flags...)
		if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
	}
	build("old.so", "int count; int next(int by) { return count += by; }")
	build("new.so", "int count, more; int next(int by) { return count -= by; }")
	build("bad.so", "long count; int next(long by) { return count += by; }")
	build("bare.so", "int count; int next(int by) { return count += by; }", "-g0")
	script := filepath.Join(dir, "text")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args      string
		out, errs string
		status    int
	}{
		{"old.so new.so", "compatible; functions: 1, variables: 1, added: 1\n", "", 0},
		{"old.so bad.so", "variable count has 8 bytes, had 4\nvariable count: long int, was int\nfunction next: argument 1: long int, was int\n", "", 1},
		{"old.so bare.so", "types cannot be compared: the new library has no debug information: build it with -g\n", "", 1},
		{"--symbols-only old.so bare.so", "compatible; functions: 1, variables: 1, added: 0; types were not compared\n", "", 0},
		{"new.so old.so", "variable more is removed\n", "", 1},
		{"old.so text", "", `text: not an ELF file: it begins with "#!/b"`, 1},
		{"old.so none", "", "none: no such file or directory", 1},
		{"old.so .", "", ".: not a regular file", 1},
		{"old.so", "", "usage: abidiff", 2},
		{"--what old.so new.so", "", "--what: no such flag", 2},
	} {
		out, errs, status := direct(t, dir, &abidiffCommand, strings.Fields(c.args)...)
		if out != c.out || status != c.status || !strings.Contains(errs, c.errs) || (c.errs == "") != (errs == "") {
			t.Errorf("abidiff %s: status %d\n%s%s", c.args, status, out, errs)
		}
	}
	out, _, status := direct(t, dir, &abidiffCommand, "--json", "old.so", "new.so")
	var v abiVerdict
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != 0 || !v.Compatible || v.Reasons == nil || v.Added != 1 || !v.Typed {
		t.Errorf("--json: status %d, %v\n%s", status, err, out)
	}
}

// direct runs a command that asks no engine.
func direct(t *testing.T, dir string, cmd *Command, args ...string) (out, errs string, status int) {
	t.Helper()
	var o, e strings.Builder
	c := &Call{Context: t.Context(), Name: cmd.Name, Stdout: &o, Stderr: &e, Dir: dir, cmd: cmd, shell: &Shell{}}
	err := c.parse(args)
	if err == nil {
		err = cmd.Run(c)
	}
	var s Status
	if errors.As(err, &s) {
		return o.String(), e.String(), int(s)
	}
	status = c.report(err)
	return o.String(), e.String(), status
}

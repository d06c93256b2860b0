// Package unit runs the unit tests of the LibOS, which are in C.
package unit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestUnit compiles the parts of the LibOS that are pure logic for the host, with the compiler's
// sanitizers, and runs them.
func TestUnit(t *testing.T) {
	noteSources(t, "c/*.c", "../../*.[ch]", "../../../include/*.h", "../../../arch/x86_64/*.h")
	run(t, "-fno-pie", "-no-pie",
		"c/unit.c", "../../print.c", "../../random.c", "../../kmalloc.c", "../../console.c", "../../ldisc.c", "../../tty.c", "../../event.c")
}

// TestUpdate replaces a library in made-up pVMs, which are where real ones are.
func TestUpdate(t *testing.T) {
	noteSources(t, "c/*.c", "../../*.[ch]", "../../../include/*.h", "../../../arch/x86_64/*.[hS]")
	run(t, "-fpie", "-pie", "-fno-sanitize-recover=all", "-mgeneral-regs-only", "-mno-red-zone",
		"c/update.c", "../../update.c", "../../plan.c", "../../scan.c", "../../mem.c", "../../cow.c", "../../kmalloc.c", "../../../arch/x86_64/scan.S")
}

// run compiles a program, with options beside the usual ones, and runs it: it says nothing if all is well.
func run(t *testing.T, args ...string) {
	program := filepath.Join(t.TempDir(), "program")
	cc := exec.Command("gcc", append([]string{"-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror",
		"-fsanitize=undefined", "-fno-sanitize=alignment", "-fno-builtin",
		"-I../..", "-I../../../include", "-I../../../arch/x86_64", "-o", program}, args...)...)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// noteSources looks at files that the compiler will read, so that go test runs again when they change.
func noteSources(t *testing.T, patterns ...string) {
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources %s: %v", p, err)
		}
		for _, f := range files {
			if _, err := os.Stat(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

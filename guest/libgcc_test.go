package guest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLibgcc compares our stand-ins for libgcc's routines with libgcc's own.
func TestLibgcc(t *testing.T) {
	ours, err := filepath.Glob("lib/gcc/*.c")
	if err != nil || len(ours) == 0 {
		t.Fatalf("lib/gcc: %v %v", ours, err)
	}
	output := func(name string, sources ...string) []byte {
		program := filepath.Join(t.TempDir(), name)
		args := append([]string{"-O1", "-o", program, "lib/gcc/test/compare.c"}, sources...)
		if out, err := exec.Command("gcc", append(args, "-lm")...).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
		out, err := exec.Command(program).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	got, want := bytes.Split(output("ours", ours...), []byte("\n")), bytes.Split(output("libgcc"), []byte("\n"))
	if len(got) != len(want) || len(want) < 10000 {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i, line := range want {
		if !bytes.Equal(got[i], line) {
			t.Fatalf("line %d\n ours:   %s\n libgcc: %s", i+1, got[i], line)
		}
	}
}

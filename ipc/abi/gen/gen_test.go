package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCurrent says when a header changed and nobody ran go generate.
func TestCurrent(t *testing.T) {
	files, err := generate("../../../guest/include")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("ipc/abi/%s is not what the headers say now: run go generate ./ipc/abi", name)
		}
	}
}

// TestRefuses holds that nothing of a header is passed over in silence.
func TestRefuses(t *testing.T) {
	for _, c := range []struct{ text, reason string }{
		{"typedef int x;", "outside the subset"},
		{"#define KX_A KX_B", "no integer constant"},
		{"#define KX_A(x) 1", "outside the subset"},
		{"#define KX_A 1 + 2", "no integer constant"},
		{"struct a {\n\tint x;\n};", "no type of fixed width"},
		{"struct a {\n\tuint32_t *x;\n};", "outside the subset"},
		{"struct a {\n\tuint32_t x : 3;\n};", "outside the subset"},
		{"struct a {\n\tstruct b x;\n};", "struct b is not declared yet"},
		{"struct a {\n\tuint32_t x[KX_N];\n};", "KX_N is not declared yet"},
		{"struct a {\n\tuint32_t x[2][2];\n};", "cannot read the field"},
		{"struct a {\n\tuint32_t x;", "has no end"},
		{"struct a {\nstruct b {\n};\n};", "outside the subset"},
	} {
		_, err := newParser().parse("x.h", c.text)
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%q: got error %v, want %q", c.text, err, c.reason)
		}
	}
}

func TestNames(t *testing.T) {
	for c, want := range map[string]string{
		"KX_CTL_VA": "CtlVa", "kx_control": "KxControl", "ram_va": "RamVa", "a": "A",
		"__HYPERVISOR_set_trap_table": "HypervisorSetTrapTable", "SCHEDOP_yield": "SchedopYield",
	} {
		if got := goName(c); got != want {
			t.Errorf("goName(%q) = %q, want %q", c, got, want)
		}
	}
}

package abi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"kxsh/elf"
)

// TestLayout asks the C compiler for every constant, size and offset, and wants the same of Go.
func TestLayout(t *testing.T) {
	var want, body []string
	ask := func(expr string, value uint64) {
		want = append(want, fmt.Sprintf("%s %d", expr, value))
		body = append(body, fmt.Sprintf("\tprintf(\"%%s %%llu\\n\", %q, (unsigned long long)(%s));", expr, expr))
	}
	for _, c := range constTable {
		ask(c.cname, c.value)
	}
	for _, s := range structTable {
		ask("sizeof(struct "+s.cname+")", uint64(s.size))
	}
	for _, f := range fieldTable {
		ask(fmt.Sprintf("offsetof(struct %s, %s)", f.cstruct, f.cfield), uint64(f.offset))
		ask(fmt.Sprintf("sizeof(((struct %s *)0)->%s)", f.cstruct, f.cfield), uint64(f.size))
	}
	src := "#include <stddef.h>\n#include <stdio.h>\n#include \"kx_abi.h\"\n#include \"xen_abi.h\"\n" +
		"int main(void)\n{\n" + strings.Join(body, "\n") + "\n}\n"
	got := runC(t, src)
	if len(got) != len(want) {
		t.Fatalf("the C program printed %d lines, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("C says %s, Go says %s", got[i], want[i])
		}
	}
}

// runC compiles a program against guest/include and returns the lines that it prints.
func runC(t *testing.T, src string) []string {
	t.Helper()
	dir := t.TempDir()
	file, bin := filepath.Join(dir, "a.c"), filepath.Join(dir, "a")
	if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	cc := exec.Command("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I../../guest/include", "-o", bin, file)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestAreas holds that every part of the control area fits between its start and the next part's.
func TestAreas(t *testing.T) {
	parts := []struct {
		name     string
		va, size uint64
	}{
		{"start_info", StartVa, uint64(unsafe.Sizeof(StartInfo{}))},
		{"shared_info", SharedVa, uint64(unsafe.Sizeof(SharedInfo{}))},
		{"kx_control", ControlVa, uint64(unsafe.Sizeof(KxControl{}))},
		{"commands", CmdsVa, Cmds * uint64(unsafe.Sizeof(KxCmd{}))},
		{"console input", ConinVa, ConinSize},
		{"task", TaskVa, TaskSize},
		{"console output", ConoutVa, ConoutSize},
		{"arguments", ArgsVa, ArgsSize},
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i].va < parts[j].va })
	end := uint64(CtlVa)
	for _, p := range parts {
		if p.va < end || p.va%PageSize != 0 {
			t.Errorf("%s at %#x overlaps what ends at %#x, or is not page-aligned", p.name, p.va, end)
		}
		end = p.va + p.size
	}
	if end > CtlVa+CtlSize {
		t.Errorf("the parts end at %#x, the control area at %#x", end, CtlVa+CtlSize)
	}
	for name, n := range map[string]uint64{"Cmds": Cmds, "ConinSize": ConinSize, "ConoutSize": ConoutSize} {
		if n&(n-1) != 0 {
			t.Errorf("%s = %d: a masked index needs a power of two", name, n)
		}
	}
}

// TestElf holds package elf, which imports nothing of ours, to the header.
func TestElf(t *testing.T) {
	if elf.PageSize != PageSize {
		t.Errorf("elf.PageSize = %d, header has %d", elf.PageSize, PageSize)
	}
	if elf.ImageVA != ImageVa || elf.ImageEnd != ImageEnd {
		t.Errorf("elf has the image at %#x..%#x, header at %#x..%#x", elf.ImageVA, elf.ImageEnd, ImageVa, ImageEnd)
	}
	if elf.ABIVersion != AbiVersion {
		t.Errorf("elf.ABIVersion = %d, header has %d", elf.ABIVersion, AbiVersion)
	}
}

// TestReference holds the numbers on the reference page to the headers.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]uint64{}
	for _, c := range constTable {
		known[c.cname] = c.value
	}
	found := regexp.MustCompile("`((?:KX|XEN)_[A-Z0-9_]+)`(?: = `([^`]*)`)?").FindAllStringSubmatch(string(page), -1)
	if len(found) < 20 {
		t.Fatalf("%d constants on the page", len(found))
	}
	for _, m := range found {
		want, ok := known[m[1]]
		if !ok {
			t.Errorf("%s is in no header", m[1])
		}
		if m[2] == "" {
			continue
		}
		if got, err := strconv.ParseUint(m[2], 0, 64); err != nil || got != want {
			t.Errorf("%s = %s on the page, %#x in the header", m[1], m[2], want)
		}
	}
}

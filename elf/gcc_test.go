package elf

import (
	"bytes"
	stdelf "debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A pVM image in miniature, with the notes that every image carries.
const (
	testAsm = `
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 1
	.asciz "Xen"
	.quad start
	.long 4, 8, 2
	.asciz "Xen"
	.quad hypercall_page
	.section .note.KX, "a", @note
	.balign 4
	.long 3, 24, 1
	.asciz "KX"
	.balign 4
	.long 12, 0
	.quad 0x20000, 0x400000
	.text
	.globl start
	.type start, @function
start:	call main
	hlt
	.size start, . - start
label:	hlt
	.balign 4096
	.globl hypercall_page
hypercall_page:
	.skip 4096, 0xcc
	.section .note.GNU-stack, "", @progbits
`
	testC = `
int counter = 1;
static int zeros[5000];
const char text[] = "constant";
static __attribute__((noinline)) int helper(int x) { return x + counter + zeros[x] + text[x]; }
int main(void) { return helper(3); }
`
	linuxC = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n"
)

// gcc compiles sources, name and text, and returns the output file.
func gcc(t *testing.T, sources map[string]string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := append(flags, "-o", filepath.Join(dir, "out"))
	for name, text := range sources {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return filepath.Join(dir, "out")
}

func buildImage(t *testing.T) string {
	return gcc(t, map[string]string{"a.S": testAsm, "a.c": testC}, "-O1", "-static", "-no-pie", "-nostdlib", "-Wl,-z,noexecstack", "-Wl,-e,start")
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGCCImage compares what we read of a linked image with what Go's debug/elf reads.
func TestGCCImage(t *testing.T) {
	path := buildImage(t)
	b := readFile(t, path)
	m, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	f, err := stdelf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, p := range f.Progs {
		if p.Type != stdelf.PT_LOAD {
			continue
		}
		want := Segment{VA: p.Vaddr, MemSize: p.Memsz, Off: p.Off, FileSize: p.Filesz}
		for flag, prot := range map[stdelf.ProgFlag]Prot{stdelf.PF_R: Read, stdelf.PF_W: Write, stdelf.PF_X: Exec} {
			if p.Flags&flag != 0 {
				want.Prot |= prot
			}
		}
		if i >= len(m.Segments) || m.Segments[i] != want {
			t.Errorf("segment %d: got %+v, want %+v", i, m.Segments, want)
		}
		i++
	}
	if i != len(m.Segments) || i < 3 {
		t.Errorf("%d segments, want %d", len(m.Segments), i)
	}
	if m.StackSize != 0x20000 || m.Memory != 0x400000 || m.Root.Len != 0 {
		t.Errorf("%+v", m)
	}
	checkSymbols(t, f, b, m)

	if out, err := exec.Command("strip", path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	b = readFile(t, path)
	stripped, err := parse(b)
	if err != nil || stripped.Entry != m.Entry || stripped.HypercallPage != m.HypercallPage {
		t.Errorf("stripped: %+v, %v", stripped, err)
	}
	if tab, err := Symbols(bytes.NewReader(b), int64(len(b))); err != nil || len(tab.funcs) != 0 {
		t.Errorf("stripped: symbols %v, %v", tab, err)
	}
}

// checkSymbols wants every function that debug/elf knows to be found by its address.
func checkSymbols(t *testing.T, f *stdelf.File, b []byte, m *Image) {
	tab, err := Symbols(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range syms {
		code := s.Section < stdelf.SHN_LORESERVE && f.Sections[s.Section].Flags&stdelf.SHF_EXECINSTR != 0
		if typ := stdelf.ST_TYPE(s.Info); !code || typ != stdelf.STT_FUNC && typ != stdelf.STT_NOTYPE {
			continue
		}
		for off := range max(s.Size, 1) {
			name, o, ok := tab.Lookup(s.Value + off)
			if !ok || name != s.Name || o != off {
				t.Fatalf("%s+%d: got %q+%d, %v", s.Name, off, name, o, ok)
			}
		}
		seen[s.Name] = true
		switch s.Name {
		case "start":
			if s.Value != m.Entry {
				t.Errorf("entry %#x, want %#x", m.Entry, s.Value)
			}
		case "hypercall_page":
			if s.Value != m.HypercallPage {
				t.Errorf("hypercall page %#x, want %#x", m.HypercallPage, s.Value)
			}
		}
	}
	for _, name := range []string{"start", "main", "helper", "label", "hypercall_page"} {
		if !seen[name] {
			t.Errorf("no symbol %s in the test image", name)
		}
	}
}

// TestGCCTruncated cuts a linked image at many bytes, and at every byte of its ends.
func TestGCCTruncated(t *testing.T) {
	b := readFile(t, buildImage(t))
	for n := 0; n < len(b); n++ {
		if n > 1000 && n < len(b)-3000 {
			n += 96
		}
		if m, err := parse(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken: %+v", n, len(b), m)
		}
	}
}

// TestLinuxFiles gives the reasons for what people will try.
func TestLinuxFiles(t *testing.T) {
	src := map[string]string{"a.c": linuxC}
	for _, c := range []struct {
		name, reason string
		flags        []string
	}{
		{"PIE program", "a shared object or a Linux program: build it with kxsh cc", []string{"-pie", "-fPIE"}},
		{"program", "a Linux program (it names an interpreter): build it with kxsh cc", []string{"-no-pie"}},
		{"static program", "no ABI note: not built by kxsh cc", []string{"-static", "-no-pie"}},
		{"object file", "an object file, not linked: link it with kxsh cc", []string{"-c"}},
		{"library", "a shared object or a Linux program: build it with kxsh cc", []string{"-shared", "-fPIC"}},
		{"32-bit object", "ELF class 1, want 2 (64-bit)", []string{"-c", "-m32", "-x", "assembler", "/dev/null", "-x", "none"}},
	} {
		sources := src
		if c.name == "32-bit object" {
			sources = nil // needs no 32-bit headers
		}
		_, err := parse(readFile(t, gcc(t, sources, c.flags...)))
		if err == nil || err.Error() != c.reason {
			t.Errorf("%s: %v, want %q", c.name, err, c.reason)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(readFile(t, self)); err == nil {
		t.Error("the test's own Go program is taken")
	}
}

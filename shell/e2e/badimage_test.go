package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kxsh/ipc/abi"
)

// Offsets within ELF64's structures (System V ABI, chapter 4): the header, a program header, a note.
const (
	eType, eMachine, ePhoff, ePhentsize, ePhnum = 16, 18, 32, 54, 56

	phType, phFlags, phOffset, phVaddr, phFilesz, phMemsz, phSize = 0, 4, 8, 16, 32, 40, 56

	noteHead = 12
)

// anImage is an image to be damaged, and where things are in it.
type anImage struct {
	bytes []byte
	file  *elf.File
	phoff int
}

func readImage(t *testing.T, path string) *anImage {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return &anImage{b, f, int(binary.LittleEndian.Uint64(b[ePhoff:]))}
}

func (m *anImage) copy() *anImage { return &anImage{slices.Clone(m.bytes), m.file, m.phoff} }

// prog is the offset of the first program header of a type and, for PT_LOAD, flags.
func (m *anImage) prog(t *testing.T, typ elf.ProgType, flags elf.ProgFlag) int {
	t.Helper()
	for i, p := range m.file.Progs {
		if p.Type == typ && p.Flags == flags {
			return m.phoff + i*phSize
		}
	}
	t.Fatalf("no program header of type %v and flags %v", typ, flags)
	return 0
}

// kxNote is the offset of the ABI note.
func (m *anImage) kxNote(t *testing.T) int {
	t.Helper()
	s := m.file.Section(".note.KX")
	if s == nil {
		t.Fatal("no section .note.KX")
	}
	return int(s.Offset)
}

func (m *anImage) put16(at int, v uint16) { binary.LittleEndian.PutUint16(m.bytes[at:], v) }
func (m *anImage) put32(at int, v uint32) { binary.LittleEndian.PutUint32(m.bytes[at:], v) }
func (m *anImage) put64(at int, v uint64) { binary.LittleEndian.PutUint64(m.bytes[at:], v) }

// damage is one way to make an image bad.
type damage struct {
	name string
	do   func(t *testing.T, m *anImage)
	want string // what the line on standard error says
}

const (
	r  = elf.PF_R
	rw = elf.PF_R | elf.PF_W
	rx = elf.PF_R | elf.PF_X
)

var damages = []damage{
	{"empty", func(_ *testing.T, m *anImage) { m.bytes = nil }, `not an ELF file: it is empty`},
	{"text", func(_ *testing.T, m *anImage) { m.bytes = []byte("#!/bin/sh\necho no image\n") }, `not an ELF file: it begins with "#!/b"`},
	{"zeros", func(_ *testing.T, m *anImage) { clear(m.bytes) }, `not an ELF file`},
	{"magic", func(_ *testing.T, m *anImage) { m.bytes[1] = 'e' }, `not an ELF file`},
	{"class", func(_ *testing.T, m *anImage) { m.bytes[elf.EI_CLASS] = byte(elf.ELFCLASS32) }, `class 1, want 2 \(64-bit\)`},
	{"endianness", func(_ *testing.T, m *anImage) { m.bytes[elf.EI_DATA] = byte(elf.ELFDATA2MSB) }, `byte order 2, want 1 \(little-endian\)`},
	{"version", func(_ *testing.T, m *anImage) { m.bytes[elf.EI_VERSION] = 7 }, `ELF version 7`},
	{"machine", func(_ *testing.T, m *anImage) { m.put16(eMachine, uint16(elf.EM_AARCH64)) }, `AArch64`},
	{"relocatable", func(_ *testing.T, m *anImage) { m.put16(eType, uint16(elf.ET_REL)) }, `an object file, not linked`},
	{"shared", func(_ *testing.T, m *anImage) { m.put16(eType, uint16(elf.ET_DYN)) }, `shared object`},
	{"core", func(_ *testing.T, m *anImage) { m.put16(eType, uint16(elf.ET_CORE)) }, `core dump`},
	{"no-type", func(_ *testing.T, m *anImage) { m.put16(eType, 99) }, `ELF type 99`},

	{"many-phdrs", func(_ *testing.T, m *anImage) { m.put16(ePhnum, 0xfffe) }, `65534 program headers, at most`},
	{"no-phdrs", func(_ *testing.T, m *anImage) { m.put16(ePhnum, 0) }, `no ABI note|no loadable segment`},
	{"phdr-size", func(_ *testing.T, m *anImage) { m.put16(ePhentsize, 57) }, `program headers of 57 bytes`},
	{"phdrs-beyond", func(_ *testing.T, m *anImage) { m.put64(ePhoff, uint64(len(m.bytes))-8) }, `truncated`},
	{"phdrs-overflow", func(_ *testing.T, m *anImage) { m.put64(ePhoff, math.MaxUint64-8) }, `truncated`},

	{"overlap", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phVaddr, m.file.Progs[1].Vaddr&^0xfff+m.file.Progs[3].Off&0xfff)
	}, `overlap`},
	{"same-page", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rx)+phMemsz, m.file.Progs[2].Vaddr-m.file.Progs[1].Vaddr+1)
	}, `overlap.*share a page`},
	{"writable-code", func(t *testing.T, m *anImage) {
		m.put32(m.prog(t, elf.PT_LOAD, rx)+phFlags, uint32(rx|elf.PF_W))
	}, `both writable and executable`},
	{"executable-data", func(t *testing.T, m *anImage) {
		m.put32(m.prog(t, elf.PT_LOAD, rw)+phFlags, uint32(rw|elf.PF_X))
	}, `both writable and executable`},
	{"no-rights", func(t *testing.T, m *anImage) { m.put32(m.prog(t, elf.PT_LOAD, rw)+phFlags, 0) }, `flags 0x0`},
	{"zero-page", func(t *testing.T, m *anImage) { m.put64(m.prog(t, elf.PT_LOAD, r)+phVaddr, 0) }, `outside the image area`},
	{"below", func(t *testing.T, m *anImage) { m.put64(m.prog(t, elf.PT_LOAD, r)+phVaddr, 0x3ff000) }, `outside the image area`},
	{"control-area", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phVaddr, 0x10000000+m.file.Progs[3].Off&0xfff)
	}, `outside the image area`},
	{"into-control-area", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phMemsz, 0x10000000-m.file.Progs[3].Vaddr+1)
	}, `outside the image area`},
	{"stub-area", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phVaddr, 0x7ff000000000+m.file.Progs[3].Off&0xfff)
	}, `outside the image area`},
	{"kernel-half", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phVaddr, 0xffff800000000000+m.file.Progs[3].Off&0xfff)
	}, `outside the image area`},
	{"memsz-overflow", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phMemsz, math.MaxUint64-0x1000)
	}, `overflows|outside`},
	{"memsz-max", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phMemsz, math.MaxUint64)
	}, `overflows|outside`},
	{"offset-overflow", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phOffset, math.MaxUint64&^0xfff+m.file.Progs[3].Off&0xfff)
	}, `truncated`},
	{"offset-negative", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phOffset, 1<<63+m.file.Progs[3].Off&0xfff)
	}, `truncated`},
	{"filesz-overflow", func(t *testing.T, m *anImage) {
		at := m.prog(t, elf.PT_LOAD, rw)
		m.put64(at+phFilesz, math.MaxUint64-m.file.Progs[3].Off+1)
		m.put64(at+phMemsz, math.MaxUint64-m.file.Progs[3].Off+1)
	}, `truncated`},
	{"filesz-beyond-memsz", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phFilesz, m.file.Progs[3].Memsz+1)
	}, `more than the \d+ in memory`},
	{"offset-unlike-address", func(t *testing.T, m *anImage) {
		m.put64(m.prog(t, elf.PT_LOAD, rw)+phOffset, m.file.Progs[3].Off+8)
	}, `differ within the page`},
	{"nothing-to-load", func(t *testing.T, m *anImage) {
		for i, p := range m.file.Progs {
			if p.Type == elf.PT_LOAD {
				m.put32(m.phoff+i*phSize+phType, uint32(elf.PT_NULL))
			}
		}
	}, `no loadable segment`},

	{"interpreter", func(t *testing.T, m *anImage) {
		m.put32(m.prog(t, elf.PT_GNU_STACK, rw)+phType, uint32(elf.PT_INTERP))
	}, `names an interpreter`},
	{"dynamic", func(t *testing.T, m *anImage) {
		m.put32(m.prog(t, elf.PT_GNU_STACK, rw)+phType, uint32(elf.PT_DYNAMIC))
	}, `damaged dynamic section`},
	{"entry-outside", func(t *testing.T, m *anImage) { m.xenNote(t, 1, 0x10002000) }, `entry point 0x10002000 is in no executable segment`},
	{"entry-in-data", func(t *testing.T, m *anImage) { m.xenNote(t, 1, m.file.Progs[3].Vaddr) }, `entry point .* is in no executable segment`},
	{"hypercall-page-astray", func(t *testing.T, m *anImage) { m.xenNote(t, 2, m.file.Progs[3].Vaddr&^0xfff) }, `hypercall page .* is in no executable segment`},

	{"no-notes", func(t *testing.T, m *anImage) {
		m.put32(m.prog(t, elf.PT_NOTE, r)+phType, uint32(elf.PT_NULL))
	}, `no ABI note: not built by kxsh cc`},
	{"no-KX-note", func(t *testing.T, m *anImage) { m.bytes[m.kxNote(t)+noteHead] = 'Q' }, `no ABI note: not built by kxsh cc`},
	{"other-ABI", func(t *testing.T, m *anImage) { m.put32(m.kxNote(t)+noteHead+4, abi.AbiVersion+1) },
		fmt.Sprintf("for guest ABI %d, this kxsh speaks %d", abi.AbiVersion+1, abi.AbiVersion)},
	{"future-ABI", func(t *testing.T, m *anImage) { m.put32(m.kxNote(t)+noteHead+4, math.MaxUint32) }, `for guest ABI 4294967295`},
	{"note-name-overflow", func(t *testing.T, m *anImage) { m.put32(m.kxNote(t), math.MaxUint32) }, `damaged note segment`},
	{"note-size-overflow", func(t *testing.T, m *anImage) { m.put32(m.kxNote(t)+4, math.MaxUint32) }, `damaged note segment`},
	{"note-memory", func(t *testing.T, m *anImage) { m.put64(m.kxNote(t)+noteHead+4+16, math.MaxUint64) }, `memory, at most`},
	{"note-stack", func(t *testing.T, m *anImage) { m.put64(m.kxNote(t)+noteHead+4+8, math.MaxUint64) }, `stack of \d+ bytes, at most`},
	{"stray-bytes", func(_ *testing.T, m *anImage) {
		m.bytes = append(m.bytes, "and something that nobody knows"...)
	}, `stray bytes`},
	{"no-tar", func(_ *testing.T, m *anImage) {
		m.bytes = append(m.bytes, make([]byte, 512-len(m.bytes)%512)...)
		m.bytes = append(m.bytes, bytes.Repeat([]byte("x"), 1024)...)
	}, `no tar archive`},
}

// xenNote changes the address in one of Xen's notes.
func (m *anImage) xenNote(t *testing.T, typ uint32, to uint64) {
	t.Helper()
	s := m.file.Section(".note.Xen")
	if s == nil {
		t.Fatal("no section .note.Xen")
	}
	data := m.bytes[s.Offset : s.Offset+s.Size]
	for at := 0; at+noteHead <= len(data); {
		name, desc := binary.LittleEndian.Uint32(data[at:]), binary.LittleEndian.Uint32(data[at+4:])
		body := at + noteHead + int(name+3)&^3
		if binary.LittleEndian.Uint32(data[at+8:]) == typ {
			binary.LittleEndian.PutUint64(data[body:], to)
			return
		}
		at = body + int(desc+3)&^3
	}
	t.Fatalf("no note of Xen's of type %d", typ)
}

// Each bad image is refused in one line that says why, with status 126, and leaves nothing behind.
func TestBadImages(t *testing.T) {
	h := newHome(t)
	good := readImage(t, filepath.Join(root, "guest/apps/hello.kx"))
	var names, wants []string
	for _, d := range damages {
		m := good.copy()
		d.do(t, m)
		names, wants = append(names, d.name), append(wants, d.want)
		h.write(t, d.name+".kx", m.bytes)
	}
	h.refused(t, names, wants)
}

// A file cut anywhere is refused the same way.
func TestTruncatedImages(t *testing.T) {
	h := newHome(t)
	good := readImage(t, filepath.Join(root, "guest/apps/hello.kx"))
	size := len(good.bytes)
	cuts := map[int]bool{}
	for n := 0; n < size; n += 512 * slowness * min(slowness, 2) {
		cuts[n] = true
	}
	edges := []int{0, 4, 16, 20, 64, good.phoff, good.phoff + len(good.file.Progs)*phSize, good.kxNote(t), size}
	for _, p := range good.file.Progs {
		edges = append(edges, int(p.Off), int(p.Off+p.Filesz))
	}
	for i := range good.file.Progs {
		edges = append(edges, good.phoff+i*phSize)
	}
	for _, s := range good.file.Sections {
		edges = append(edges, int(s.Offset))
	}
	for _, e := range edges {
		for n := max(0, e-2); n <= e+2 && n < size; n++ {
			cuts[n] = true
		}
	}
	var names, wants []string
	for n := range cuts {
		name := fmt.Sprintf("cut%07d", n)
		names, wants = append(names, name), append(wants, `truncated|not an ELF file`)
		h.write(t, name+".kx", good.bytes[:n])
	}
	h.refused(t, names, wants)
}

func (h *home) write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// refused runs each image NAME.kx in one session and checks what it says, and that the engine holds
// afterwards what it held before.
func (h *home) refused(t *testing.T, names, wants []string) {
	t.Helper()
	if out, errs, code := h.run(t, "run", filepath.Join(root, "guest/apps/hello.kx")); code != 0 {
		t.Fatalf("the undamaged image: %s%s", out, errs)
	}
	before := h.settled(t)
	script := "for f in " + strings.Join(names, " ") + "; do echo \"= $f\" >&2; run -d ./$f.kx; echo \"$f $?\"; done"
	out, errs, _ := h.run(t, "-c", script)
	status := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	said := strings.Split(errs, "= ")[1:]
	if len(status) != len(names) || len(said) != len(names) {
		t.Fatalf("%d images, %d statuses, %d errors\n%s%s", len(names), len(status), len(said), out, errs)
	}
	for i, name := range names {
		if status[i] != name+" 126" {
			t.Errorf("%s: status %q, want 126", name, status[i])
		}
		text := strings.TrimPrefix(said[i], name+"\n")
		line := regexp.MustCompile(`^run: \S*/` + name + `\.kx: not a pVM image: .*(` + wants[i] + `).*\n$`)
		if strings.Count(text, "\n") != 1 || !line.MatchString(text) {
			t.Errorf("%s: standard error %q, want one line with %q", name, text, wants[i])
		}
	}
	h.nothingLeft(t, before)
}

// An image is no program of the machine's own Linux, and says so to who executes it, and to build systems by its status.
func TestExecuted(t *testing.T) {
	cmd := exec.Command(filepath.Join(root, "guest/apps/hello.kx"), "x")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 126 || said.String() != "this is an image of kxsh, and no program of Linux: start it with kxsh run\n" {
		t.Errorf("%v, %q", err, said.String())
	}
}

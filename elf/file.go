package elf

import (
	"encoding/binary"
	"errors"
	"io"
)

// Sizes of ELF64's structures, in bytes (System V ABI, chapter 4).
const (
	headerSize  = 64
	progSize    = 56
	sectionSize = 64
	symbolSize  = 24
)

// Values of ELF header fields.
const (
	class64    = 2
	dataLE     = 1
	version1   = 1
	typeRel    = 1
	typeExec   = 2
	typeDyn    = 3
	typeCore   = 4
	machineX86 = 62
)

// machines names what people most often meet.
var machines = map[uint16]string{3: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 40: "ARM", 183: "AArch64", 243: "RISC-V"}

var le = binary.LittleEndian

// file is an ELF64 file for x86-64, with its header read and its tables found to lie in the file.
type file struct {
	r     io.ReaderAt
	size  uint64
	typ   uint16
	entry uint64
	phoff uint64
	phnum uint64
	shoff uint64
	shnum uint64
}

// open reads the header.
func open(r io.ReaderAt, size int64) (*file, error) {
	f := &file{r: r, size: uint64(max(size, 0))}
	if f.size == 0 {
		return nil, refuse("not an ELF file: it is empty")
	}
	h, err := f.read(0, min(f.size, headerSize))
	if err != nil {
		return nil, err
	}
	if n := min(len(h), 4); string(h[:n]) != "\x7fELF"[:n] {
		return nil, refuse("not an ELF file: it begins with %q", h[:n])
	}
	if len(h) < headerSize {
		return nil, refuse("truncated: %d bytes, an ELF header has %d", len(h), headerSize)
	}
	if h[4] != class64 {
		return nil, refuse("ELF class %d, want %d (64-bit)", h[4], class64)
	}
	if h[5] != dataLE {
		return nil, refuse("ELF byte order %d, want %d (little-endian)", h[5], dataLE)
	}
	if v := le.Uint32(h[20:]); h[6] != version1 || v != version1 {
		return nil, refuse("ELF version %d and %d, want %d", h[6], v, version1)
	}
	if m := le.Uint16(h[18:]); m != machineX86 {
		name := machines[m]
		if name == "" {
			name = "another processor"
		}
		return nil, refuse("for machine %d (%s), want %d (x86-64)", m, name, machineX86)
	}
	f.typ = le.Uint16(h[16:])
	f.entry = le.Uint64(h[24:])
	return f, f.tables(h)
}

// tables finds the program headers and the section headers.
func (f *file) tables(h []byte) error {
	f.phoff, f.phnum = le.Uint64(h[32:]), uint64(le.Uint16(h[56:]))
	f.shoff, f.shnum = le.Uint64(h[40:]), uint64(le.Uint16(h[60:]))
	if n := le.Uint16(h[54:]); f.phnum > 0 && n != progSize {
		return refuse("program headers of %d bytes, want %d", n, progSize)
	}
	if f.phnum > maxProgs {
		return refuse("%d program headers, at most %d are taken", f.phnum, maxProgs)
	}
	if !f.has(f.phoff, f.phnum*progSize) {
		return refuse("truncated: %d program headers at byte %d of %d", f.phnum, f.phoff, f.size)
	}
	if n := le.Uint16(h[58:]); f.shnum > 0 && n != sectionSize {
		return refuse("section headers of %d bytes, want %d", n, sectionSize)
	}
	if f.shnum == 0 && f.shoff != 0 {
		return refuse("section headers at byte %d, but none", f.shoff)
	}
	if !f.has(f.shoff, f.shnum*sectionSize) {
		return refuse("truncated: %d section headers at byte %d of %d", f.shnum, f.shoff, f.size)
	}
	return nil
}

// checkType refuses what is ELF for x86-64 and yet no linked program.
func (f *file) checkType() error {
	switch f.typ {
	case typeExec:
		return nil
	case typeRel:
		return refuse("an object file, not linked: link it with kxsh cc")
	case typeDyn:
		return refuse("a shared object or a Linux program: build it with kxsh cc")
	case typeCore:
		return refuse("a core dump")
	}
	return refuse("ELF type %d, want %d (executable)", f.typ, typeExec)
}

// has tells whether n bytes at off lie in the file.
func (f *file) has(off, n uint64) bool { return off <= f.size && n <= f.size-off }

// read returns n bytes at off, which must lie in the file.
func (f *file) read(off, n uint64) ([]byte, error) {
	p := make([]byte, n)
	got, err := f.r.ReadAt(p, int64(off))
	if got == len(p) {
		return p, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil, refuse("truncated: the file shrank to %d bytes while it was read", off+uint64(got))
	}
	return nil, err
}

package elf

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	maxProgs    = 64 // program headers in a file
	maxSegments = 16 // segments in an image
)

// Program header types and flags.
const (
	progLoad    = 1
	progDynamic = 2
	progInterp  = 3
	progNote    = 4
	progTLS     = 7
	progRelro   = 0x6474e552
	flagExec    = 1
	flagWrite   = 2
	flagRead    = 4
)

// prog is a program header whose bytes lie in the file.
type prog struct {
	index  int
	typ    uint32
	flags  uint32
	off    uint64
	va     uint64
	filesz uint64
	memsz  uint64
	align  uint64
}

func (f *file) progs() ([]prog, error) {
	table, err := f.read(f.phoff, f.phnum*progSize)
	if err != nil {
		return nil, err
	}
	progs := make([]prog, f.phnum)
	for i := range progs {
		h := table[i*progSize:]
		p := prog{
			index:  i,
			typ:    le.Uint32(h),
			flags:  le.Uint32(h[4:]),
			off:    le.Uint64(h[8:]),
			va:     le.Uint64(h[16:]),
			filesz: le.Uint64(h[32:]),
			memsz:  le.Uint64(h[40:]),
			align:  le.Uint64(h[48:]),
		}
		if !f.has(p.off, p.filesz) {
			return nil, refuse("truncated: segment %d has %d bytes at byte %d of %d", i, p.filesz, p.off, f.size)
		}
		progs[i] = p
	}
	return progs, nil
}

// checkInterp refuses programs that somebody else must load first.
func checkInterp(progs []prog) error {
	for _, p := range progs {
		if p.typ == progInterp {
			return refuse("a Linux program (it names an interpreter): build it with kxsh cc")
		}
	}
	return nil
}

// area is where the segments of a file may be.
type area struct {
	name      string
	low, high uint64
}

var imageArea, libraryArea = area{"the image area", ImageVA, ImageEnd}, area{"the addresses of a library", 0, maxLibrary}

// segments checks the loadable segments and returns them in the order of their addresses.
func segments(progs []prog, where area) ([]Segment, error) {
	var segs []Segment
	for _, p := range progs {
		if p.typ != progLoad {
			continue
		}
		if len(segs) == maxSegments {
			return nil, refuse("more than %d loadable segments", maxSegments)
		}
		if err := p.checkLoad(where); err != nil {
			return nil, err
		}
		if p.memsz > 0 {
			segs = append(segs, Segment{VA: p.va, MemSize: p.memsz, Off: p.off, FileSize: p.filesz, Prot: p.prot()})
		}
	}
	if len(segs) == 0 {
		return nil, refuse("no loadable segment")
	}
	slices.SortFunc(segs, func(a, b Segment) int { return cmp.Compare(a.VA, b.VA) })
	for i := 1; i < len(segs); i++ {
		a, b := segs[i-1], segs[i]
		if pageUp(a.VA+a.MemSize) > b.VA&^(PageSize-1) {
			return nil, refuse("segments overlap: %s and %s share a page", a.where(), b.where())
		}
	}
	return segs, nil
}

func (p *prog) checkLoad(where area) error {
	if p.filesz > p.memsz {
		return refuse("segment %d has %d bytes in the file, more than the %d in memory", p.index, p.filesz, p.memsz)
	}
	if p.memsz == 0 {
		return nil
	}
	if p.va+p.memsz < p.va {
		return refuse("segment %d overflows: %d bytes at %#x", p.index, p.memsz, p.va)
	}
	if p.va < where.low || p.va+p.memsz > where.high {
		return refuse("segment %d at %#x to %#x is outside %s, %#x to %#x", p.index, p.va, p.va+p.memsz, where.name, where.low, where.high)
	}
	if p.va%PageSize != p.off%PageSize {
		return refuse("segment %d at %#x cannot be mapped from byte %#x: they differ within the page", p.index, p.va, p.off)
	}
	if p.flags&flagWrite != 0 && p.flags&flagExec != 0 {
		return refuse("segment %d is both writable and executable", p.index)
	}
	if p.flags&flagRead == 0 || p.flags&^(flagRead|flagWrite|flagExec) != 0 {
		return refuse("segment %d has flags %#x, want r, rw or rx", p.index, p.flags)
	}
	return nil
}

func (p *prog) prot() Prot {
	prot := Read
	if p.flags&flagWrite != 0 {
		prot |= Write
	}
	if p.flags&flagExec != 0 {
		prot |= Exec
	}
	return prot
}

func (s *Segment) where() string { return fmt.Sprintf("%#x to %#x", s.VA, s.VA+s.MemSize) }

// pageUp rounds an address of the image area up to a page.
func pageUp(va uint64) uint64 { return (va + PageSize - 1) &^ (PageSize - 1) }

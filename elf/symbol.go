package elf

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"sort"
)

const (
	symbolNone = 0 // types
	symbolFunc = 2
	bindLocal  = 0

	maxSymbols = 64 << 20 // bytes of a symbol table, and of its strings
	maxName    = 256      // bytes of a name that Lookup returns
)

// SymTab tells the functions of a file by address. The zero SymTab knows none.
type SymTab struct {
	funcs   []function // by va, no two alike
	strings []byte
}

type function struct {
	va, end uint64
	name    uint32 // where it begins in strings
	rank    uint8  // among names of one address: the higher is the better
}

// Bits of a rank.
const (
	global = 1 << iota
	typed
	sized
)

// Symbols reads the functions of an ELF file of any type. A file without a symbol table gives an
// empty SymTab.
func Symbols(r io.ReaderAt, size int64) (*SymTab, error) {
	f, err := open(r, size)
	if err != nil {
		return nil, err
	}
	secs, err := f.sections()
	if err != nil {
		return nil, err
	}
	for _, s := range secs {
		if s.typ == sectionSymtab {
			return f.symbols(secs, s)
		}
	}
	return &SymTab{}, nil
}

func (f *file) symbols(secs []section, s section) (*SymTab, error) {
	if uint64(s.link) >= uint64(len(secs)) || secs[s.link].typ != sectionStrtab {
		return nil, refuse("damaged symbol table: its strings are in section %d, which has none", s.link)
	}
	str := secs[s.link]
	if s.size > maxSymbols || str.size > maxSymbols {
		return nil, refuse("symbol table of %d and %d bytes, at most %d are taken", s.size, str.size, maxSymbols)
	}
	t := &SymTab{}
	var err error
	if t.strings, err = f.read(str.off, str.size); err != nil {
		return nil, err
	}
	for at := uint64(0); s.size-at >= symbolSize; {
		p, err := f.read(s.off+at, min((s.size-at)/symbolSize*symbolSize, scanBlock/symbolSize*symbolSize))
		if err != nil {
			return nil, err
		}
		at += uint64(len(p))
		for ; len(p) > 0; p = p[symbolSize:] {
			t.add(p, secs)
		}
	}
	t.sort()
	return t, nil
}

// add takes one symbol, if it names code. Assembler labels have no type; they count if they are in
// an executable section.
func (t *SymTab) add(p []byte, secs []section) {
	name, typ, bind := le.Uint32(p), p[4]&0xf, p[4]>>4
	index, va, size := le.Uint16(p[6:]), le.Uint64(p[8:]), le.Uint64(p[16:])
	if typ != symbolFunc && typ != symbolNone || int(index) >= len(secs) || uint64(name) >= uint64(len(t.strings)) {
		return
	}
	sec := &secs[index]
	if sec.flags&sectionExec == 0 || va < sec.va || va-sec.va >= sec.size || t.strings[name] == 0 {
		return
	}
	end := va + min(size, sec.size-(va-sec.va))
	fn := function{va: va, end: end, name: name}
	if size == 0 {
		fn.end = sec.va + sec.size // the next symbol may cut it short
	} else {
		fn.rank |= sized
	}
	if typ == symbolFunc {
		fn.rank |= typed
	}
	if bind != bindLocal {
		fn.rank |= global
	}
	t.funcs = append(t.funcs, fn)
}

// sort puts the functions in order and keeps the best name of each address. What lies inside
// another function is dropped; a symbol without a size reaches to the next one.
func (t *SymTab) sort() {
	slices.SortFunc(t.funcs, func(a, b function) int {
		switch {
		case a.va != b.va:
			return cmp.Compare(a.va, b.va)
		case a.rank != b.rank:
			return cmp.Compare(b.rank, a.rank)
		}
		return cmp.Compare(a.name, b.name)
	})
	kept := t.funcs[:0]
	reach := uint64(0) // the end of the sized functions so far
	for _, fn := range t.funcs {
		if n := len(kept); n > 0 && kept[n-1].va == fn.va {
			continue
		}
		if fn.va < reach && (fn.rank&sized == 0 || fn.end <= reach) {
			continue
		}
		if fn.rank&sized != 0 {
			reach = max(reach, fn.end)
		}
		if n := len(kept); n > 0 {
			kept[n-1].end = min(kept[n-1].end, fn.va)
		}
		kept = append(kept, fn)
	}
	t.funcs = slices.Clip(kept)
}

// Lookup finds the function that an address is in, and how far in, in bytes. What is not printable
// ASCII in its name is shown as a question mark: names come from the file and end on terminals.
func (t *SymTab) Lookup(addr uint64) (name string, off uint64, ok bool) {
	i := sort.Search(len(t.funcs), func(i int) bool { return t.funcs[i].va > addr })
	if i == 0 || addr >= t.funcs[i-1].end {
		return "", 0, false
	}
	fn := &t.funcs[i-1]
	raw := t.strings[fn.name:]
	raw = raw[:min(len(raw), maxName)]
	if n := bytes.IndexByte(raw, 0); n >= 0 {
		raw = raw[:n]
	}
	clean := bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, raw)
	return string(clean), addr - fn.va, true
}

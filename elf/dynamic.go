package elf

import (
	"slices"
	"strings"
)

// Tags of the dynamic section, and its flags (System V ABI, chapter 5).
const (
	tagNull         = 0
	tagNeeded       = 1
	tagPltRelSize   = 2
	tagPltGot       = 3
	tagHash         = 4
	tagStrtab       = 5
	tagSymtab       = 6
	tagRela         = 7
	tagRelaSize     = 8
	tagRelaEnt      = 9
	tagStrSize      = 10
	tagSymEnt       = 11
	tagInit         = 12
	tagFini         = 13
	tagSoname       = 14
	tagSymbolic     = 16
	tagRel          = 17
	tagPltRel       = 20
	tagTextRel      = 22
	tagJmpRel       = 23
	tagInitArray    = 25
	tagFiniArray    = 26
	tagInitSize     = 27
	tagFiniSize     = 28
	tagFlags        = 30
	tagPreinitArray = 32
	tagRelr         = 36
	tagVersym       = 0x6ffffff0
	tagVerdef       = 0x6ffffffc
	tagVerneed      = 0x6ffffffe

	flagSymbolic = 2
	flagTextRel  = 4
)

const (
	relaSize   = 24 // bytes
	dynSize    = 16
	maxDynamic = 1 << 16 // bytes of a dynamic section
	maxTable   = 1 << 24 // bytes of each table that it names
	maxNeeded  = 64
	maxNeedle  = 255     // bytes of a library's name
	maxSymbol  = 1 << 10 // bytes of a symbol's

	symbolTLS   = 6 // types
	symbolIFunc = 10
	bindWeak    = 2
	sectionAbs  = 0xfff1
	sectionHigh = 0xff00 // the first number with a meaning of its own
)

// Dynamic is what an image or a library says to whoever links it at run time, checked: every table lies in the file, every name in
// the table of strings, every symbol and relocation in a segment.
type Dynamic struct {
	Soname string   // or ""
	Needed []string // libraries, in order, each once

	segs       []Segment
	symbols    []dynSymbol
	defined    map[string]uint32 // index of those that others can use
	canonical  map[string]uint64 // address of an image's own entry for a library's function, if it stands for the function
	relocs     []reloc           // DT_RELA, at once
	slots      []reloc           // DT_JMPREL, of calls
	unbound    []uint64          // what each of slots holds until it is bound: the address of code, as linked; 0: it has to be bound at once
	calls      uint64            // address of DT_JMPREL
	tables     tables            // by which the pVM itself looks for symbols
	got        uint64            // DT_PLTGOT, or 0
	init, fini span              // arrays of pointers to functions

	resolved recent[scope, []target] // for a program with such modules
}

// Function is the address, as linked, of a function that others can use.
func (d *Dynamic) Function(name string) (va uint64, ok bool) {
	i, ok := d.defined[name]
	if !ok || d.symbols[i].typ != symbolFunc || !in(d.segs, d.symbols[i].value, 1, Exec) {
		return 0, false
	}
	return d.symbols[i].value, true
}

// Variable is the address, as linked, of a variable of size bytes that others can use.
func (d *Dynamic) Variable(name string, size uint64) (va uint64, ok bool) {
	i, ok := d.defined[name]
	if !ok || d.symbols[i].size != size || !in(d.segs, d.symbols[i].value, size, Write) {
		return 0, false
	}
	return d.symbols[i].value, true
}

// tables are addresses of DT_SYMTAB, DT_STRTAB and DT_HASH, and of the string of DT_SONAME; 0: there is none.
type tables struct{ symbols, strings, hash, name uint64 }

// span is a run of addresses.
type span struct{ va, size uint64 }

type dynSymbol struct {
	name        string
	typ, bind   uint8
	section     uint16
	value, size uint64
}

type reloc struct {
	va     uint64
	typ    uint32
	sym    uint32
	addend uint64
}

// tags are the entries of a dynamic section; those that may come once only.
type tags map[uint64]uint64

// dynamic reads the dynamic section that a program header names.
func (f *file) dynamic(p prog, segs []Segment) (*Dynamic, error) {
	if p.filesz > maxDynamic || p.filesz%dynSize != 0 {
		return nil, refuse("dynamic section of %d bytes, want a multiple of %d, at most %d", p.filesz, dynSize, maxDynamic)
	}
	table, err := f.read(p.off, p.filesz)
	if err != nil {
		return nil, err
	}
	t, needed, err := readTags(table)
	if err != nil {
		return nil, err
	}
	if err := t.refuse(f.typ == typeDyn); err != nil {
		return nil, err
	}
	d := &Dynamic{segs: segs, got: t[tagPltGot], tables: tables{symbols: t[tagSymtab], strings: t[tagStrtab], hash: t[tagHash]}}
	table, err = f.table(segs, "strings", t[tagStrtab], t[tagStrSize])
	if err != nil {
		return nil, err
	}
	names := string(table)
	if err := d.names(names, t, needed); err != nil {
		return nil, err
	}
	if err := f.dynSymbols(d, t, names); err != nil {
		return nil, err
	}
	if d.relocs, err = f.relocations(d, "relocations", t[tagRela], t[tagRelaSize]); err != nil {
		return nil, err
	}
	if d.slots, err = f.relocations(d, "relocations of calls", t[tagJmpRel], t[tagPltRelSize]); err != nil {
		return nil, err
	}
	if d.calls = t[tagJmpRel]; len(d.slots) > 0 {
		if d.unbound, err = f.unbound(d); err != nil {
			return nil, err
		}
	}
	d.init, d.fini = span{t[tagInitArray], t[tagInitSize]}, span{t[tagFiniArray], t[tagFiniSize]}
	for what, s := range map[string]span{"constructors": d.init, "destructors": d.fini} {
		if s.size%8 != 0 || s.size > 0 && !in(segs, s.va, s.size, Write) {
			return nil, refuse("damaged dynamic section: %d bytes of %s at %#x, in no writable segment", s.size, what, s.va)
		}
	}
	return d, nil
}

// readTags takes the entries up to DT_NULL.
func readTags(table []byte) (t tags, needed []uint64, err error) {
	t = tags{}
	for ; len(table) >= dynSize; table = table[dynSize:] {
		tag, value := le.Uint64(table), le.Uint64(table[8:])
		switch _, twice := t[tag]; {
		case tag == tagNull:
			return t, needed, nil
		case tag == tagNeeded && len(needed) == maxNeeded:
			return nil, nil, refuse("needs more than %d libraries", maxNeeded)
		case tag == tagNeeded:
			needed = append(needed, value)
		case twice:
			return nil, nil, refuse("damaged dynamic section: tag %#x twice", tag)
		default:
			t[tag] = value
		}
	}
	return nil, nil, refuse("damaged dynamic section: no end")
}

// refuse finds what is not linked here, and says how to do without. An image's own start calls its DT_INIT and DT_FINI.
func (t tags) refuse(library bool) error {
	for _, r := range []struct {
		tag uint64
		why string
	}{
		{tagTextRel, textRelocations},
		{tagSymbolic, "binds its own symbols to itself (-Bsymbolic): link it without"},
		{tagRel, "relocations without addends (DT_REL): build it with kxsh cc"},
		{tagRelr, "packed relocations (DT_RELR): link it with -Wl,-z,nopack-relative-relocs"},
		{tagInit, "has a DT_INIT function: link it with kxsh cc -shared, or with -nostartfiles"},
		{tagFini, "has a DT_FINI function: link it with kxsh cc -shared, or with -nostartfiles"},
		{tagPreinitArray, "has a .preinit_array: use constructors"},
		{tagVerdef, symbolVersions},
		{tagVerneed, symbolVersions},
		{tagVersym, symbolVersions},
	} {
		if _, has := t[r.tag]; has && (library || r.tag != tagInit && r.tag != tagFini) {
			return refuse("%s", r.why)
		}
	}
	switch flags := t[tagFlags]; {
	case flags&flagTextRel != 0:
		return refuse("%s", textRelocations)
	case flags&flagSymbolic != 0:
		return refuse("binds its own symbols to itself (-Bsymbolic): link it without")
	}
	for _, s := range []struct{ tag, size uint64 }{{tagRelaEnt, relaSize}, {tagSymEnt, symbolSize}, {tagPltRel, tagRela}} {
		if v, has := t[s.tag]; has && v != s.size {
			return refuse("damaged dynamic section: tag %#x is %d, want %d", s.tag, v, s.size)
		}
	}
	if _, has := t[tagHash]; !has {
		return refuse("no symbol hash table of the System V kind: link it with -Wl,--hash-style=sysv")
	}
	return nil
}

const (
	textRelocations = "text relocations: compile it with -fPIC"
	symbolVersions  = "symbol versions: link it without a version script"
	threadLocal     = "thread-local variables (TLS): libraries of a pVM cannot have any"
	indirect        = "indirect functions (IFUNC): choose by a function pointer instead"
)

// table reads n bytes at an address, which must lie in the file's part of one segment.
func (f *file) table(segs []Segment, what string, va, n uint64) ([]byte, error) {
	if n > maxTable {
		return nil, refuse("table of %s of %d bytes, at most %d are taken", what, n, maxTable)
	}
	for i := range segs {
		if s := &segs[i]; va >= s.VA && va-s.VA <= s.FileSize && n <= s.FileSize-(va-s.VA) {
			return f.read(s.Off+(va-s.VA), n)
		}
	}
	if n == 0 {
		return nil, nil
	}
	return nil, refuse("damaged dynamic section: %d bytes of %s at %#x, in no segment", n, what, va)
}

// in tells whether n bytes at va lie in one segment that allows what is asked for.
func in(segs []Segment, va, n uint64, prot Prot) bool {
	for i := range segs {
		if s := &segs[i]; s.Prot&prot == prot && va >= s.VA && va-s.VA <= s.MemSize && n <= s.MemSize-(va-s.VA) {
			return true
		}
	}
	return false
}

// stringAt is the string that begins at an offset of a table, without a copy: many may name one long string.
func stringAt(table string, at uint64, of string) (string, error) {
	if at < uint64(len(table)) {
		s := table[at:min(uint64(len(table)), at+maxSymbol+1)]
		if n := strings.IndexByte(s, 0); n >= 0 {
			return s[:n], nil
		}
		if len(s) > maxSymbol {
			return "", refuse("a name of more than %d bytes", maxSymbol)
		}
	}
	return "", refuse("damaged %s: no string at %d of %d", of, at, len(table))
}

// names reads the names of libraries, which are to be used as names of files.
func (d *Dynamic) names(table string, t tags, needed []uint64) (err error) {
	for _, at := range needed {
		name, err := libraryName(table, at)
		if err != nil {
			return err
		}
		if !slices.Contains(d.Needed, name) {
			d.Needed = append(d.Needed, name)
		}
	}
	if at, has := t[tagSoname]; has {
		d.Soname, err = libraryName(table, at)
		d.tables.name = t[tagStrtab] + at
	}
	return err
}

func libraryName(table string, at uint64) (string, error) {
	name, err := stringAt(table, at, "dynamic section")
	if err != nil {
		return "", err
	}
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }
	if name == "" || name == "." || name == ".." || len(name) > maxNeedle || slices.ContainsFunc([]rune(name), bad) {
		return "", refuse("the name of a library is %.32q, want that of a file without a folder: link it with -Wl,-soname,libNAME.so", name)
	}
	return name, nil
}

// dynSymbols reads the symbols: as many as the hash table says.
func (f *file) dynSymbols(d *Dynamic, t tags, names string) error {
	head, err := f.table(d.segs, "hash table", t[tagHash], 8)
	if err != nil {
		return err
	}
	n := uint64(le.Uint32(head[4:]))
	table, err := f.table(d.segs, "symbols", t[tagSymtab], n*symbolSize)
	if err != nil {
		return err
	}
	d.symbols, d.defined, d.canonical = make([]dynSymbol, n), map[string]uint32{}, map[string]uint64{}
	for i := range d.symbols {
		s := &d.symbols[i]
		p := table[i*symbolSize:]
		s.typ, s.bind, s.section, s.value, s.size = p[4]&0xf, p[4]>>4, le.Uint16(p[6:]), le.Uint64(p[8:]), le.Uint64(p[16:])
		if s.name, err = stringAt(names, uint64(le.Uint32(p)), "dynamic section"); err != nil {
			return err
		}
		if err := d.checkSymbol(s); err != nil {
			return err
		}
		if s.section == 0 && in(d.segs, s.value, 1, Exec) {
			d.canonical[s.name] = s.value
		}
		if _, twice := d.defined[s.name]; s.section != 0 && s.bind != bindLocal && s.name != "" && !twice {
			d.defined[s.name] = uint32(i)
		}
	}
	return f.checkHash(d)
}

func (d *Dynamic) checkSymbol(s *dynSymbol) error {
	switch {
	case s.typ == symbolIFunc:
		return refuse("%s: %s", printable(s.name), indirect)
	case s.section == 0 || s.section == sectionAbs:
		return nil
	case s.typ == symbolTLS:
		return nil // an image's, which libraries cannot use: reference
	case s.section >= sectionHigh:
		return refuse("damaged symbol %s: section %#x", printable(s.name), s.section)
	case !in(d.segs, s.value, s.size, Read):
		return refuse("damaged symbol %s: %d bytes at %#x, in no segment", printable(s.name), s.size, s.value)
	}
	return nil
}

// Types of relocations (x86-64 psABI, table 4.9).
const (
	reloc64       = 1
	relocCopy     = 5
	relocGlobDat  = 6
	relocJumpSlot = 7
	relocRelative = 8
	relocDTPMod   = 16
	relocTPOff    = 18
	relocIRel     = 37
)

// relocations reads a table of them, and refuses what cannot be done without touching text.
func (f *file) relocations(d *Dynamic, what string, va, size uint64) ([]reloc, error) {
	if size%relaSize != 0 {
		return nil, refuse("damaged dynamic section: %d bytes of %s, want a multiple of %d", size, what, relaSize)
	}
	table, err := f.table(d.segs, what, va, size)
	if err != nil {
		return nil, err
	}
	relocs := make([]reloc, size/relaSize)
	for i := range relocs {
		p := table[i*relaSize:]
		r := &relocs[i]
		r.va, r.typ, r.sym, r.addend = le.Uint64(p), le.Uint32(p[8:]), le.Uint32(p[12:]), le.Uint64(p[16:])
		if err := d.checkReloc(r); err != nil {
			return nil, err
		}
	}
	return relocs, nil
}

// unbound reads what the slots of calls hold in the file.
func (f *file) unbound(d *Dynamic) ([]uint64, error) {
	values := make([]uint64, len(d.slots))
	for i, r := range d.slots {
		for _, s := range d.segs {
			if off := r.va - s.VA; r.va >= s.VA && off < s.FileSize && s.FileSize-off >= 8 {
				p, err := f.read(s.Off+off, 8)
				if err != nil {
					return nil, err
				}
				if v := le.Uint64(p); r.typ == relocJumpSlot && in(d.segs, v, 1, Exec) {
					values[i] = v
				}
			}
		}
	}
	return values, nil
}

func (d *Dynamic) checkReloc(r *reloc) error {
	size := uint64(8)
	switch r.typ {
	case reloc64, relocGlobDat, relocJumpSlot, relocRelative:
	case relocCopy:
		size = 0 // of the symbol, checked when it is linked
	case relocIRel:
		return refuse("%s", indirect)
	case relocDTPMod, relocDTPMod + 1, relocTPOff:
		return refuse("%s", threadLocal)
	default:
		return refuse("relocation of type %d at %#x: compile it with kxsh cc -fPIC", r.typ, r.va)
	}
	if uint64(r.sym) >= uint64(max(len(d.symbols), 1)) {
		return refuse("damaged relocation at %#x: symbol %d of %d", r.va, r.sym, len(d.symbols))
	}
	if !in(d.segs, r.va, size, Write) {
		if in(d.segs, r.va, size, Read) {
			return refuse("%s", textRelocations)
		}
		return refuse("damaged relocation at %#x, in no segment", r.va)
	}
	return nil
}

// printable is a name from a file, fit for a terminal.
func printable(name string) string {
	clean := []byte(name[:min(len(name), maxName)])
	for i, c := range clean {
		if c <= ' ' || c > '~' {
			clean[i] = '?'
		}
	}
	return string(clean)
}

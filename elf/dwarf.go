package elf

import (
	"bytes"
	"compress/zlib"
	"io"
	"sort"
)

// What is read of DWARF (versions 2 to 5, as gcc writes it for C), and nothing else: debug/dwarf of the standard library is not made for
// files that somebody wrote to harm it. Every read is in bounds and costs a step of a budget.
const (
	dwarfSteps  = 16 << 20 // attributes and abbreviations that are looked at in a file
	dwarfDIEs   = 1 << 20  // entries that are kept of a file
	dwarfDepth  = 256      // of entries in each other
	dwarfBytes  = 1 << 28  // of its sections
	dwarfChain  = 64       // typedefs of typedefs, and the like
	dwarfString = 256      // bytes of a name
)

// Tags, attributes, forms (DWARF 5, 7.5).
const (
	tagArray       = 0x01
	tagEnum        = 0x04
	tagParameter   = 0x05
	tagMember      = 0x0d
	tagPointer     = 0x0f
	tagUnit        = 0x11
	tagStruct      = 0x13
	tagSubroutine  = 0x15
	tagTypedef     = 0x16
	tagUnion       = 0x17
	tagUnspecified = 0x18 // the ... of a prototype
	tagSubrange    = 0x21
	tagBase        = 0x24
	tagConst       = 0x26
	tagEnumerator  = 0x28
	tagSubprogram  = 0x2e
	tagVariable    = 0x34
	tagVolatile    = 0x35
	tagRestrict    = 0x37
	tagPartialUnit = 0x3c
	tagUnknownType = 0x3b // of an assembler's function
	tagAtomic      = 0x47
	tagCallSite    = 0x48

	attrLocation      = 0x02
	attrName          = 0x03
	attrByteSize      = 0x0b
	attrBitOffset     = 0x0c
	attrBitSize       = 0x0d
	attrConstValue    = 0x1c
	attrUpperBound    = 0x2f
	attrOrigin        = 0x31
	attrCount         = 0x37
	attrMemberAt      = 0x38
	attrDeclaration   = 0x3c
	attrEncoding      = 0x3e
	attrExternal      = 0x3f
	attrSpecification = 0x47
	attrType          = 0x49
	attrDataBitOffset = 0x6b
	attrAlignment     = 0x88

	opAddr       = 0x03
	opPlusUconst = 0x23
	opAddrx      = 0xa1
)

// die is an entry that is kept: of a type, or of a function or variable with what it is made of.
type die struct {
	off    uint64 // in .debug_info
	tag    uint32
	flags  uint8
	next   int32 // the first entry that is not inside it
	scope  int32 // the function around it, or the unit; -1: it is a unit
	name   string
	typ    uint64 // offset; 0: none, that is void
	origin uint64 // what it is an instance of
	size   uint64 // in bytes, or of an enumerator its value
	at     uint64 // of a member in bits; of a base type its encoding; of a subrange how many; of a static variable its address
	bits   uint64 // of a bit field
	align  uint64 // that the source asked for, in bytes
}

// Flags of a die.
const (
	dieExternal = 1 << iota
	dieDeclared
	dieStatic  // a variable at an address
	dieCounted // a subrange that says how many
)

// dwarf is the debug information of a file.
type dwarf struct {
	info, abbrev, str, lineStr []byte

	dies    []die
	tables  map[uint64]map[uint64]*abbreviation
	steps   int
	unitEnd uint64
}

type abbreviation struct {
	tag      uint32
	children bool
	attrs    []attribute
}

type attribute struct {
	name, form uint32
	value      uint64 // of an implicit constant
}

// keptTags are the entries that are of use.
var keptTags = map[uint32]bool{
	tagArray: true, tagEnum: true, tagParameter: true, tagMember: true, tagPointer: true, tagUnit: true, tagStruct: true, tagSubroutine: true,
	tagTypedef: true, tagUnion: true, tagUnspecified: true, tagSubrange: true, tagBase: true, tagConst: true, tagEnumerator: true, tagSubprogram: true,
	tagVariable: true, tagVolatile: true, tagRestrict: true, tagPartialUnit: true, tagUnknownType: true, tagAtomic: true,
}

// debugSections finds what is read of DWARF. A file that has none gives nil.
func (f *file) debugSections() (*dwarf, error) {
	d := &dwarf{tables: map[uint64]map[uint64]*abbreviation{}, steps: dwarfSteps}
	wanted := map[string]*[]byte{".debug_info": &d.info, ".debug_abbrev": &d.abbrev, ".debug_str": &d.str, ".debug_line_str": &d.lineStr}
	secs, err := f.sections()
	if err != nil {
		return nil, err
	}
	names, err := f.sectionNames(secs)
	if err != nil {
		return nil, err
	}
	total := uint64(0)
	for i, s := range secs {
		if names(s.name) == ".zdebug_info" {
			return nil, refuse("debug information compressed as GNU once did: build it with -gz=zlib or -gz=none")
		}
		to := wanted[names(s.name)]
		if to == nil || !s.inFile() {
			continue
		}
		if *to != nil {
			return nil, refuse("section %d is the second %s", i, names(s.name))
		}
		if total += s.size; total > dwarfBytes {
			return nil, errDwarfBytes
		}
		if *to, err = f.read(s.off, s.size); err == nil && s.flags&sectionCompressed != 0 {
			*to, err = inflated(*to, dwarfBytes-total)
			total += uint64(len(*to))
		}
		if err != nil {
			return nil, err
		}
	}
	if len(d.info) == 0 {
		return nil, nil
	}
	return d, nil
}

var errDwarfBytes = refuse("more than %d bytes of debug information", uint64(dwarfBytes))

// inflated is what a compressed section has, in at most so many bytes. They begin with Elf64_Chdr: type, 4 bytes of nothing, size, alignment.
func inflated(p []byte, most uint64) ([]byte, error) {
	const head, zlibbed = 24, 1
	if len(p) < head {
		return nil, refuse("damaged compressed debug information: %d bytes", len(p))
	}
	if typ := le.Uint32(p); typ != zlibbed {
		return nil, refuse("debug information compressed by another way than zlib (%d): build it with -gz=zlib or -gz=none", typ)
	}
	size := le.Uint64(p[8:])
	if size > most {
		return nil, errDwarfBytes
	}
	r, err := zlib.NewReader(bytes.NewReader(p[head:]))
	if err == nil {
		p, err = io.ReadAll(io.LimitReader(r, int64(size)+1))
	}
	if err != nil {
		return nil, refuse("damaged compressed debug information: %v", err)
	}
	if uint64(len(p)) != size {
		return nil, refuse("damaged compressed debug information: more or less than the %d bytes that it says", size)
	}
	return p, nil
}

// sectionNames returns a function that looks names of sections up.
func (f *file) sectionNames(secs []section) (func(uint32) string, error) {
	h, err := f.read(62, 2)
	if err != nil {
		return nil, err
	}
	i := uint64(le.Uint16(h))
	if i >= uint64(len(secs)) || secs[i].typ != sectionStrtab || secs[i].size > maxSymbols {
		return func(uint32) string { return "" }, nil
	}
	strings, err := f.read(secs[i].off, secs[i].size)
	return func(at uint32) string { return text(strings, uint64(at)) }, err
}

// text is the string at an offset, cut to what is reasonable.
func text(p []byte, at uint64) string {
	if at >= uint64(len(p)) {
		return ""
	}
	p = p[at:min(uint64(len(p)), at+dwarfString)]
	if n := bytes.IndexByte(p, 0); n >= 0 {
		p = p[:n]
	}
	return string(p)
}

// pay takes n steps.
func (d *dwarf) pay(n int) error {
	if d.steps -= n; d.steps < 0 {
		return refuse("debug information that takes more than %d steps to read", dwarfSteps)
	}
	return nil
}

var errDwarf = &Error{"damaged debug information"}

// read goes through all units.
func (d *dwarf) read() error {
	for at := uint64(0); at < uint64(len(d.info)); {
		c := &cursor{d.info, at, uint64(len(d.info)), false}
		length := c.fixed(4)
		if length >= 0xfffffff0 {
			return refuse("debug information in 64-bit DWARF: build it with -gdwarf32")
		}
		start := c.at
		if c.bad || length > c.end-start {
			return errDwarf
		}
		c.end = start + length
		if err := d.unit(c, at); err != nil {
			return err
		}
		at = c.end
	}
	return nil
}

// unit reads the unit whose length c has read.
func (d *dwarf) unit(c *cursor, base uint64) error {
	version, kind, address, table := c.fixed(2), uint64(1), uint64(0), uint64(0)
	switch {
	case version >= 2 && version <= 4:
		table, address = c.fixed(4), c.fixed(1)
	case version == 5:
		kind, address, table = c.fixed(1), c.fixed(1), c.fixed(4)
	default:
		return refuse("debug information of DWARF %d: 2 to 5 are read", version)
	}
	switch {
	case c.bad || address != 8:
		return errDwarf
	case kind == 2 || kind == 6:
		return refuse("debug information with type units: build it with -fno-debug-types-section")
	case kind == 4 || kind == 5:
		return refuse("split debug information: build it without -gsplit-dwarf")
	case kind != 1 && kind != 3:
		return errDwarf
	}
	abbrevs, err := d.table(table)
	if err != nil {
		return err
	}
	type level struct {
		die   int32 // kept, or -1
		scope int32
	}
	stack := []level{{-1, -1}}
	for c.at < c.end {
		off := c.at
		code := c.uleb()
		if err := d.pay(1); err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		if code == 0 {
			if len(stack) == 1 {
				continue // padding after the unit's entry
			}
			if top.die >= 0 {
				d.dies[top.die].next = int32(len(d.dies))
			}
			stack = stack[:len(stack)-1]
			continue
		}
		ab := abbrevs[code]
		if ab == nil || c.bad {
			return errDwarf
		}
		e := die{off: off, tag: ab.tag, scope: top.scope}
		if err := d.attributes(c, ab, &e, base, version); err != nil {
			return err
		}
		kept := int32(-1)
		if keptTags[ab.tag] || ab.children && ab.tag != tagCallSite { // what is inside is not the outer's own
			if len(d.dies) == dwarfDIEs {
				return refuse("debug information of more than %d entries", dwarfDIEs)
			}
			kept = int32(len(d.dies))
			e.next = kept + 1
			d.dies = append(d.dies, e)
		}
		if ab.children {
			if len(stack) == dwarfDepth {
				return refuse("debug information nested more than %d deep", dwarfDepth)
			}
			scope := top.scope
			if kept >= 0 && (ab.tag == tagUnit || ab.tag == tagPartialUnit || ab.tag == tagSubprogram) {
				scope = kept
			}
			stack = append(stack, level{kept, scope})
		}
	}
	if c.bad || len(stack) != 1 {
		return errDwarf
	}
	return nil
}

// table reads the abbreviations at an offset.
func (d *dwarf) table(off uint64) (map[uint64]*abbreviation, error) {
	if t := d.tables[off]; t != nil {
		return t, nil
	}
	if off >= uint64(len(d.abbrev)) {
		return nil, errDwarf
	}
	t := map[uint64]*abbreviation{}
	c := &cursor{d.abbrev, off, uint64(len(d.abbrev)), false}
	for {
		code := c.uleb()
		if code == 0 {
			break
		}
		ab := &abbreviation{tag: uint32(c.uleb()), children: c.fixed(1) != 0}
		for {
			if err := d.pay(16); err != nil { // it stays in memory
				return nil, err
			}
			a := attribute{name: uint32(c.uleb()), form: uint32(c.uleb())}
			if a.form == formImplicit {
				a.value = c.sleb()
			}
			if c.bad {
				return nil, errDwarf
			}
			if a.name == 0 && a.form == 0 {
				break
			}
			ab.attrs = append(ab.attrs, a)
		}
		t[code] = ab
	}
	if c.bad {
		return nil, errDwarf
	}
	d.tables[off] = t
	return t, nil
}

// attributes reads those of one entry into e.
func (d *dwarf) attributes(c *cursor, ab *abbreviation, e *die, base, version uint64) error {
	storage := uint64(0)
	for _, a := range ab.attrs {
		if err := d.pay(1); err != nil {
			return err
		}
		v, err := d.value(c, &a, base, version)
		if err != nil {
			return err
		}
		switch a.name {
		case attrName:
			e.name = v.text
		case attrType:
			e.typ = v.n
		case attrOrigin, attrSpecification:
			e.origin = v.n
		case attrByteSize:
			e.size = v.n
		case attrConstValue:
			if ab.tag == tagEnumerator {
				e.size = v.n
			}
		case attrEncoding:
			e.at = v.n
		case attrMemberAt:
			if n, ok := v.offset(); ok {
				e.at += 8 * n
			}
		case attrDataBitOffset:
			e.at += v.n
		case attrBitOffset: // from the storage unit's most significant bit: DWARF 2 and 3
			storage = v.n + 1
		case attrBitSize:
			e.bits = v.n
		case attrCount, attrUpperBound:
			if !v.block && !v.ref {
				e.flags |= dieCounted
				if e.at = v.n; a.name == attrUpperBound {
					e.at++
				}
			}
		case attrExternal:
			if v.n != 0 {
				e.flags |= dieExternal
			}
		case attrDeclaration:
			if v.n != 0 {
				e.flags |= dieDeclared
			}
		case attrLocation:
			if v.block && len(v.bytes) > 0 && (v.bytes[0] == opAddr || v.bytes[0] == opAddrx) {
				e.flags |= dieStatic
				if len(v.bytes) == 9 {
					e.at = le.Uint64(v.bytes[1:])
				}
			}
		case attrAlignment:
			e.align = v.n
		}
	}
	if storage > 0 {
		e.at += 8*e.size - (storage - 1) - e.bits
	}
	if e.tag == tagMember {
		e.size = 0
	}
	return nil
}

// find returns the entry at an offset of .debug_info, or nil.
func (d *dwarf) find(off uint64) *die {
	i := sort.Search(len(d.dies), func(i int) bool { return d.dies[i].off >= off })
	if i == len(d.dies) || d.dies[i].off != off {
		return nil
	}
	return &d.dies[i]
}

// children calls f for each entry directly inside d.dies[i].
func (d *dwarf) children(i int32, f func(*die)) {
	for j := i + 1; j < d.dies[i].next; j = d.dies[j].next {
		f(&d.dies[j])
	}
}

// index is where an entry is among the others.
func (d *dwarf) index(e *die) int32 {
	return int32(sort.Search(len(d.dies), func(i int) bool { return d.dies[i].off >= e.off }))
}

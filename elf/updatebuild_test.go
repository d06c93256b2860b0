package elf

import (
	"slices"
	"strings"
)

// Sections of a synthetic library with a symbol table.
const (
	tabText = 1 + iota
	tabConst
	tabData
	tabRelocated // .data.rel.ro
	tabGot
	tabSymbols
	tabStrings
	tabNames
	tabInfo
	tabAbbrev
	tabCount
)

const (
	dynConst     = 0x380  // where constants of a synthetic library are
	dynRelocated = 0x2600 // and those with pointers
	dynGot       = 0x2700
)

// withTable gives a synthetic library a symbol table, with names of section headers, and debug information about its static variables: of those whose name is
// function/name, that they are inside a function, and have a number behind their name in the table.
func withTable(b []byte, table []dynSymbol) []byte {
	text := []byte{0}
	str := func(name string) uint32 {
		at := len(text)
		text = append(append(text, name...), 0)
		return uint32(at)
	}
	// 1: a unit with a name; 2: a function with a name; 3: a variable with a name and an address.
	abbrev := []byte{1, tagUnit, 1, attrName, formString, 0, 0, 2, tagSubprogram, 1, attrName, formString, 0, 0, 3, tagVariable, 0, attrName, formString, attrLocation, formExprloc, 0, 0, 0}
	name := func(p []byte, s string) []byte { return append(append(p, s...), 0) }
	var symbols, info []byte
	closeUnit := func() {
		if len(info) > 0 {
			info = append(info, 0)
		}
	}
	for i, s := range append([]dynSymbol{{}}, table...) {
		function, short, inside := strings.Cut(s.name, "/")
		if !inside {
			short = s.name
		}
		if s.typ == symbolFile {
			closeUnit()
			info = name(append(info, 1), "source/"+s.name)
		} else if s.typ == symbolObject && s.bind == bindLocal && len(info) > 0 {
			stem, _, _ := strings.Cut(short, ".")
			if inside {
				info = name(append(info, 2), function)
			}
			info = name(append(info, 3), stem)
			info = append(append(info, 9, opAddr), quad(s.value)...)
			if inside {
				info = append(info, 0)
			}
		}
		at := uint32(0)
		if i > 0 {
			at = str(short)
		}
		symbols = append(symbols, symbol(at, s.typ, s.bind, s.section, s.value, s.size)...)
	}
	closeUnit()
	unit := le.AppendUint32(nil, uint32(len(info)+7))
	info = slices.Concat(unit, []byte{4, 0, 0, 0, 0, 0, 8}, info)

	sections := [tabCount]struct {
		name         string
		typ          uint32
		flags        uint64
		va, size     uint64
		content      []byte
		link, offset uint32
	}{
		tabText:      {name: ".text", typ: sectionNobits, flags: sectionAlloc | sectionExec, va: dynText, size: 0x1000},
		tabConst:     {name: ".rodata", typ: sectionNobits, flags: sectionAlloc, va: dynConst, size: 0x80},
		tabData:      {name: ".data", typ: sectionNobits, flags: sectionAlloc | 1, va: dynData, size: dynEnd - dynData},
		tabRelocated: {name: ".data.rel.ro", typ: sectionNobits, flags: sectionAlloc | 1, va: dynRelocated, size: 0x100},
		tabGot:       {name: ".got", typ: sectionNobits, flags: sectionAlloc | 1, va: dynGot, size: 0x100},
		tabSymbols:   {name: ".symtab", typ: sectionSymtab, content: symbols, link: tabStrings},
		tabStrings:   {name: ".strtab", typ: sectionStrtab},
		tabNames:     {name: ".shstrtab", typ: sectionStrtab},
		tabInfo:      {name: ".debug_info", typ: 1, content: info},
		tabAbbrev:    {name: ".debug_abbrev", typ: 1, content: abbrev},
	}
	for i := range sections {
		if sections[i].name != "" {
			sections[i].offset = str(sections[i].name)
		}
	}
	sections[tabStrings].content, sections[tabNames].content = text, text
	headers := make([]byte, tabCount*sectionSize)
	for i := 1; i < tabCount; i++ {
		s := &sections[i]
		h := headers[i*sectionSize:]
		off := 0
		if s.content != nil {
			b = append(b, make([]byte, -len(b)&7)...)
			off, s.size = len(b), uint64(len(s.content))
			b = append(b, s.content...)
		}
		le.PutUint32(h, s.offset)
		le.PutUint32(h[4:], s.typ)
		for k, v := range []uint64{s.flags, s.va, uint64(off), s.size} {
			le.PutUint64(h[8+8*k:], v)
		}
		le.PutUint32(h[40:], s.link)
	}
	b = append(b, make([]byte, -len(b)&7)...)
	le.PutUint64(b[40:], uint64(len(b)))
	le.PutUint16(b[60:], tabCount)
	le.PutUint16(b[62:], tabNames)
	return append(b, headers...)
}

// replacedTable is what dynLibrary's symbol table has: its exports, and what is its own.
func replacedTable() []dynSymbol {
	return []dynSymbol{
		{"a.c", symbolFile, 0, sectionAbs, 0, 0},
		{"state", symbolObject, 0, tabData, dynBSS + 0x300, 8},
		{"first/calls.1", symbolObject, 0, tabData, dynBSS + 0x308, 4},
		{"second/calls.2", symbolObject, 0, tabData, dynBSS + 0x30c, 4},
		{"inner", symbolFunc, 0, tabText, dynText + 0x40, 0x20},
		{"inner.cold", symbolFunc, 0, tabText, dynText + 0x60, 0x10},
		{"b.c", symbolFile, 0, sectionAbs, 0, 0},
		{"state", symbolObject, 0, tabData, dynBSS + 0x310, 8},
		{"messages", symbolObject, 0, tabRelocated, dynRelocated, 16},
		{"text", symbolObject, 0, tabConst, dynConst, 16},
		{"", symbolFile, 0, sectionAbs, 0, 0},
		{"_GLOBAL_OFFSET_TABLE_", symbolObject, 0, tabGot, dynGot, 0},
		{"hidden", symbolObject, 0, tabData, dynBSS + 0x318, 8},
		{"one", symbolFunc, 1, tabText, dynText + 0x10, 0x10},
		{"uno", symbolFunc, 1, tabText, dynText + 0x10, 0x10}, // the same
		{"label", symbolNone, 1, tabText, dynText + 0x80, 0},
		{"counter", symbolObject, 1, tabData, dynData, 8},
		{"pointer", symbolObject, 1, tabData, dynData + 8, 16},
		{"letter", symbolObject, 1, tabData, dynData + 0x30, 8},
		{"constant", symbolObject, 1, tabConst, dynConst + 0x40, 8},
		{"zeroes", symbolObject, 1, tabData, dynBSS + 0x100, 32},
		{"_end", symbolNone, 1, tabData, dynEnd, 0},
	}
}

// replacedLibrary is dynLibrary with a symbol table, and a pointer to a literal.
func replacedLibrary(change func(*dynSpec, *[]dynSymbol)) []byte {
	s, table := dynLibrary(), replacedTable()
	s.relocs = append(s.relocs, reloc{dynData + 0x30, relocRelative, 0, dynConst + 0x20})
	if change != nil {
		change(s, &table)
	}
	return withTable(s.build(), table)
}

package elf

import (
	"bytes"
	"slices"
)

// dynSpec describes a synthetic library, or an image that uses libraries, so that a test can get any of it wrong.
type dynSpec struct {
	image     bool
	soname    string
	needed    []string
	symbols   []dynSymbol // after the null symbol
	relocs    []reloc
	slots     []reloc
	init      span
	extra     [][2]uint64 // entries of the dynamic section
	without   []uint64    // tags that are left out
	progs     func([]prog) []prog
	patch     func([]byte) []byte
	dataBytes []byte
}

// Where the parts are, in the file, and from the file's first address on.
const (
	dynText = 0x1000
	dynRW   = 0x2000 // the dynamic section, and then data
	dynData = 0x2200
	dynBSS  = 0x2800 // file's end
	dynEnd  = 0x3800
)

func (s *dynSpec) base() uint64 {
	if s.image {
		return ImageVA
	}
	return 0
}

// build lays it out: header, program headers, notes and tables; text; dynamic section and data.
func (s *dynSpec) build() []byte {
	b := make([]byte, 0x400, dynBSS)
	place := func(p []byte) (va uint64) {
		b = append(b, make([]byte, -len(b)&7)...)
		va = s.base() + uint64(len(b))
		b = append(b, p...)
		return va
	}
	strings := []byte{0}
	str := func(name string) uint64 {
		at := len(strings)
		strings = append(append(strings, name...), 0)
		return uint64(at)
	}
	var symtab []byte
	for _, y := range append([]dynSymbol{{}}, s.symbols...) {
		name := uint32(0)
		if y.name != "" {
			name = uint32(str(y.name))
		}
		symtab = append(symtab, symbol(name, y.typ, y.bind, y.section, y.value, y.size)...)
	}
	n := uint32(len(s.symbols) + 1)
	hash := make([]byte, 8+4+4*n) // one bucket, with all of them
	le.PutUint32(hash, 1)
	le.PutUint32(hash[4:], n)
	le.PutUint32(hash[8:], min(1, n-1))
	for i := uint32(1); i+1 < n; i++ {
		le.PutUint32(hash[12+4*i:], i+1)
	}
	table := func(list []reloc) (p []byte) {
		for _, r := range list {
			p = append(p, quad(r.va)...)
			p = le.AppendUint32(le.AppendUint32(p, r.typ), r.sym)
			p = append(p, quad(r.addend)...)
		}
		return p
	}
	tags := [][2]uint64{}
	for _, name := range s.needed {
		tags = append(tags, [2]uint64{tagNeeded, str(name)})
	}
	if s.soname != "" {
		tags = append(tags, [2]uint64{tagSoname, str(s.soname)})
	}
	rela, slots := table(s.relocs), table(s.slots)
	tags = append(tags, [][2]uint64{
		{tagHash, place(hash)}, {tagSymtab, place(symtab)}, {tagSymEnt, symbolSize},
		{tagRela, place(rela)}, {tagRelaSize, uint64(len(rela))}, {tagRelaEnt, relaSize},
		{tagJmpRel, place(slots)}, {tagPltRelSize, uint64(len(slots))}, {tagPltRel, tagRela},
		{tagInitArray, s.init.va}, {tagInitSize, s.init.size}, {tagFiniArray, 0}, {tagFiniSize, 0},
		{tagStrtab, place(strings)}, {tagStrSize, uint64(len(strings))},
	}...)
	tags = slices.DeleteFunc(tags, func(t [2]uint64) bool { return slices.Contains(s.without, t[0]) })
	tags = append(tags, s.extra...)
	tags = append(tags, [2]uint64{tagNull, 0})
	readOnly := uint64(len(b))
	b = append(b, make([]byte, dynBSS-len(b))...)
	at := dynRW
	for _, t := range tags {
		copy(b[at:], slices.Concat(quad(t[0]), quad(t[1])))
		at += dynSize
	}
	copy(b[dynData:], s.dataBytes)
	base := s.base()
	progs := []prog{
		{typ: progLoad, flags: flagRead, va: base, filesz: readOnly, memsz: readOnly, align: PageSize},
		{typ: progLoad, flags: flagRead | flagExec, off: dynText, va: base + dynText, filesz: 0x1000, memsz: 0x1000, align: PageSize},
		{typ: progLoad, flags: flagRead | flagWrite, off: dynRW, va: base + dynRW, filesz: dynBSS - dynRW, memsz: dynEnd - dynRW, align: PageSize},
		{typ: progDynamic, flags: flagRead | flagWrite, off: dynRW, va: base + dynRW, filesz: uint64(at - dynRW), memsz: uint64(at - dynRW), align: 8},
	}
	head := validSpec()
	head.typ = typeDyn
	if s.image {
		head.typ, head.entry = typeExec, base+dynText
		notes := bytes.Join([][]byte{note("Xen", noteHypercallPage, quad(base+dynText)), kx(ABIVersion, 0, 0, 0)}, nil)
		progs = append(progs, prog{typ: progNote, flags: flagRead, off: 0x300, va: base + 0x300, filesz: uint64(len(notes)), memsz: uint64(len(notes)), align: 4})
		copy(b[0x300:], notes)
	}
	if head.progs = progs; s.progs != nil {
		head.progs = s.progs(progs)
	}
	head.header(b, 0)
	le.PutUint16(b[60:], 0)
	if s.patch != nil {
		b = s.patch(b)
	}
	return b
}

// dynLibrary is a valid library: it has a function, a variable with a pointer in it, and a constant; it calls a function and uses a
// variable of others.
func dynLibrary() *dynSpec {
	return &dynSpec{
		soname: "libone.so", needed: []string{"libtwo.so"},
		symbols: []dynSymbol{
			{"one", symbolFunc, 1, 2, dynText + 0x10, 0x10},
			{"counter", 1, 1, 3, dynData, 8},
			{"pointer", 1, 1, 3, dynData + 8, 16},
			{"constant", 1, 1, 1, 0x40, 8},
			{"two", symbolNone, 1, 0, 0, 0},
			{"maybe", symbolNone, bindWeak, 0, 0, 0},
			{"zeroes", 1, 1, 3, dynBSS + 0x100, 32},
		},
		relocs: []reloc{
			{dynData + 8, relocRelative, 0, dynData},
			{dynData + 16, reloc64, 2, 4},
			{dynData + 32, relocGlobDat, 1, 0},
			{dynData + 40, relocGlobDat, 6, 0},
		},
		slots:     []reloc{{dynData + 64, relocJumpSlot, 5, 0}, {dynData + 72, relocJumpSlot, 1, 0}},
		init:      span{dynData + 80, 16},
		extra:     [][2]uint64{{tagPltGot, dynData + 0x100}},
		dataBytes: slices.Concat(quad(77), make([]byte, 56), quad(dynText+0x56)),
	}
}

// dynOther is what that one needs; both need each other.
func dynOther() *dynSpec {
	return &dynSpec{
		soname: "libtwo.so", needed: []string{"libone.so"},
		symbols: []dynSymbol{{"two", symbolFunc, 1, 2, dynText + 0x20, 0x10}, {"one", symbolFunc, 1, 2, dynText + 0x30, 0x10}},
	}
}

// dynImage is an image that uses the first: it takes copies of two variables, and has the address of a function.
func dynImage() *dynSpec {
	at := func(off uint64) uint64 { return ImageVA + off }
	return &dynSpec{
		image: true, needed: []string{"libone.so"},
		symbols: []dynSymbol{
			{TableSymbol, 1, 1, 3, at(dynBSS + 0x200), tableSize},
			{"one", symbolFunc, 1, 0, at(dynText + 0x40), 0},
			{"pointer", 1, 1, 3, at(dynBSS), 16},
			{"constant", 1, 1, 3, at(dynBSS + 16), 8},
			{"zeroes", 1, 1, 3, at(dynBSS + 32), 32},
			{ResolveSymbol, symbolFunc, 1, 2, at(dynText + 0x80), 0},
		},
		extra:     [][2]uint64{{tagPltGot, at(dynData + 0x100)}},
		dataBytes: slices.Concat(make([]byte, 64), quad(at(dynText+0x46))),
		relocs: []reloc{
			{at(dynBSS), relocCopy, 3, 0}, {at(dynBSS + 16), relocCopy, 4, 0}, {at(dynBSS + 32), relocCopy, 5, 0},
			{at(dynData), reloc64, 2, 0},
		},
		slots: []reloc{{at(dynData + 64), relocJumpSlot, 2, 0}},
	}
}

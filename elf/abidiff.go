package elf

import (
	"fmt"
	"io"
	"path"
	"slices"
	"weak"
)

const (
	sectionDynamic = 6
	sectionDynsym  = 11
	sectionVerdef  = 0x6ffffffd // symbols with versions

	symbolObject = 1

	maxExports = 1 << 18 // symbols of a library
	maxReasons = 1000
)

// ABI is what others can rely on in a library: what it exports, with types as far as there is debug information.
type ABI struct {
	soname  string
	record  *Record
	exports map[string]export
	debug   *dwarf // nil: none

	functions, variables, statics map[string]uint64 // offsets of entries
}

type export struct {
	typ  byte
	size uint64
}

// ReadABI reads the ABI of a shared library.
func ReadABI(r io.ReaderAt, size int64) (*ABI, error) {
	f, err := open(r, size)
	if err != nil {
		return nil, err
	}
	if f.typ != typeDyn {
		return nil, refuse("not a shared library")
	}
	a := &ABI{exports: map[string]export{}}
	if a.record, err = f.record(); err != nil {
		return nil, err
	}
	secs, err := f.sections()
	if err != nil {
		return nil, err
	}
	found := false
	for _, s := range secs {
		switch s.typ {
		case sectionVerdef:
			return nil, refuse("symbols with versions, which are not compared: link it without a version script")
		case sectionDynsym:
			found = true
			err = f.readExports(secs, s, a)
		case sectionDynamic:
			err = f.readSoname(secs, s, a)
		}
		if err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, refuse("a shared library without section headers or symbols: it cannot be compared")
	}
	if a.debug, err = f.debugSections(); err != nil || a.debug == nil {
		return a, err
	}
	if err := a.debug.read(); err != nil {
		return nil, err
	}
	return a, a.index()
}

// ABI reads the ABI of a library that was checked.
func (l *Library) ABI() (*ABI, error) { return ReadABI(l.r, l.Size) }

// comparison is of a library with an older one.
type comparison struct {
	old         weak.Pointer[Library]
	symbolsOnly bool
}

// Compare is CompareABI of two libraries, l the newer one. The result must not be changed.
func (l *Library) Compare(old *Library, symbolsOnly bool) (*Changes, error) {
	return l.compared.get(comparison{weak.Make(old), symbolsOnly}, func() (*Changes, error) {
		was, err := old.ABI()
		if err != nil {
			return nil, err
		}
		is, err := l.ABI()
		if err != nil {
			return nil, err
		}
		return CompareABI(was, is, symbolsOnly)
	})
}

// linked reads the strings that a section names, and the section itself.
func (f *file) linked(secs []section, s section, most uint64) (data, strings []byte, err error) {
	if uint64(s.link) >= uint64(len(secs)) || secs[s.link].typ != sectionStrtab {
		return nil, nil, refuse("damaged section: its strings are in section %d, which has none", s.link)
	}
	str := secs[s.link]
	if s.size > most || str.size > maxSymbols {
		return nil, nil, refuse("symbols or dynamic section of %d bytes, and %d of strings: too large", s.size, str.size)
	}
	if data, err = f.read(s.off, s.size); err != nil {
		return nil, nil, err
	}
	strings, err = f.read(str.off, str.size)
	return data, strings, err
}

func (f *file) readExports(secs []section, s section, a *ABI) error {
	data, strings, err := f.linked(secs, s, maxExports*symbolSize)
	if err != nil {
		return err
	}
	for ; len(data) >= symbolSize; data = data[symbolSize:] {
		typ, bind, visibility := data[4]&0xf, data[4]>>4, data[5]&3
		defined := le.Uint16(data[6:]) != 0
		if name := text(strings, uint64(le.Uint32(data))); defined && bind != bindLocal && (visibility == 0 || visibility == 3) && name != "" {
			a.exports[name] = export{typ, le.Uint64(data[16:])}
		}
	}
	return nil
}

func (f *file) readSoname(secs []section, s section, a *ABI) error {
	data, strings, err := f.linked(secs, s, maxDynamic)
	if err != nil {
		return err
	}
	for ; len(data) >= 16; data = data[16:] {
		switch le.Uint64(data) {
		case 0:
			return nil
		case tagSoname:
			a.soname = text(strings, le.Uint64(data[8:]))
		}
	}
	return nil
}

// index finds the functions and variables among the entries.
func (a *ABI) index() error {
	a.functions, a.variables, a.statics = map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	d := a.debug
	for i := range d.dies {
		e := &d.dies[i]
		if e.tag != tagSubprogram && e.tag != tagVariable || e.flags&dieDeclared != 0 {
			continue
		}
		first, err := d.first(e)
		if err != nil {
			return err
		}
		external := (e.flags|first.flags)&dieExternal != 0
		switch {
		case first.name == "":
		case e.tag == tagSubprogram && external:
			setFirst(a.functions, first.name, first.off)
		case e.tag == tagVariable && external && e.scope >= 0 && d.dies[e.scope].tag != tagSubprogram:
			setFirst(a.variables, first.name, d.typeOf(e, first))
		case e.tag == tagVariable && !external && e.flags&dieStatic != 0:
			where, err := d.where(e.scope)
			if err != nil {
				return err
			}
			if typ := d.typeOf(e, first); !d.constant(typ) {
				key := fmt.Sprintf("static %s of %s", first.name, where)
				for n := 2; a.statics[key] != 0; n++ {
					if key = fmt.Sprintf("static %s of %s, number %d", first.name, where, n); n > 100 {
						return refuse("more than 100 static variables %s of %s", first.name, where)
					}
				}
				a.statics[key] = typ
			}
		}
	}
	return nil
}

func setFirst(m map[string]uint64, name string, off uint64) {
	if _, ok := m[name]; !ok {
		m[name] = off
	}
}

// first is what e is an instance of, in the end.
func (d *dwarf) first(e *die) (*die, error) {
	for range dwarfChain {
		if e.origin == 0 {
			return e, nil
		}
		if e = d.find(e.origin); e == nil {
			return nil, errDwarf
		}
	}
	return nil, errDwarf
}

// typeOf is the type of a variable: what its definition says counts before its declaration, which may know less.
func (d *dwarf) typeOf(e, first *die) uint64 {
	if e.typ != 0 {
		return e.typ
	}
	return first.typ
}

// where names the function and the unit around an entry.
func (d *dwarf) where(scope int32) (string, error) {
	function, unit, err := d.around(scope)
	if err != nil || function == "" {
		return path.Base(unit), err
	}
	return function + " in " + path.Base(unit), nil
}

// around finds the functions around an entry, as people name them, and its unit's file.
func (d *dwarf) around(scope int32) (function, unit string, err error) {
	for range dwarfDepth {
		if scope < 0 {
			break
		}
		s := &d.dies[scope]
		if s.tag != tagSubprogram {
			return function, s.name, nil
		}
		fn, err := d.first(s)
		if err != nil {
			return "", "", err
		}
		if function != "" {
			function += " of "
		}
		function += fn.name + "()"
		if err := d.pay(len(function)); err != nil {
			return "", "", err
		}
		scope = s.scope
	}
	return "", "", errDwarf
}

// constant tells whether nothing of a variable can change.
func (d *dwarf) constant(off uint64) bool {
	for range dwarfChain {
		e := d.find(off)
		if e == nil {
			return false
		}
		switch e.tag {
		case tagConst:
			return true
		case tagTypedef, tagArray, tagVolatile:
			off = e.typ
		default:
			return false
		}
	}
	return false
}

// Changes is what is different between two libraries.
type Changes struct {
	Reasons   []string // why the new one cannot take the old one's place; none: it can
	Functions int      // that both have
	Variables int
	Added     int  // symbols that only the new one has
	Typed     bool // whether types were compared
}

// CompareABI tells whether now can take the place of old under programs that were linked to old, keeping its variables. Without debug
// information in both files types are not compared, which is a reason unless symbolsOnly is set.
func CompareABI(old, now *ABI, symbolsOnly bool) (*Changes, error) {
	c := &Changes{}
	c.identity(old, now)
	for name := range now.exports {
		if _, ok := old.exports[name]; !ok {
			c.Added++
		}
	}
	names := sorted(old.exports)
	for _, name := range names {
		c.export(name, old.exports[name], now)
	}
	if old.debug == nil || now.debug == nil {
		if !symbolsOnly {
			which := "the old library"
			if old.debug != nil {
				which = "the new library"
			}
			c.add("types cannot be compared: %s has no debug information: build it with -g", which)
		}
		return c, nil
	}
	c.Typed = true
	return c, c.types(old, now, names)
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *Changes) add(format string, args ...any) {
	switch len(c.Reasons) {
	case maxReasons:
	case maxReasons - 1:
		c.Reasons = append(c.Reasons, "and more")
	default:
		c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...))
	}
}

// identity compares what the libraries say they are.
func (c *Changes) identity(old, now *ABI) {
	if old.soname != now.soname {
		c.add("soname %q, was %q", now.soname, old.soname)
	}
	a, b := old.record, now.record
	switch {
	case a == nil:
	case b == nil:
		c.add("no restriction record, had one: sign it")
	case a.Name != b.Name:
		c.add("signed as %s, was %s", b.Name, a.Name)
	case b.Version < a.Version:
		c.add("version %d, was %d", b.Version, a.Version)
	case b.Loader > a.Loader:
		c.add("loader %s, was %s", b.Loader, a.Loader)
	}
}

var symbolKinds = map[byte]string{symbolNone: "label", symbolObject: "variable", symbolFunc: "function", symbolTLS: "thread-local variable", symbolIFunc: "indirect function"}

func (e export) kind() string {
	if k := symbolKinds[e.typ]; k != "" {
		return k
	}
	return fmt.Sprintf("symbol of type %d", e.typ)
}

func (c *Changes) export(name string, e export, now *ABI) {
	n, ok := now.exports[name]
	switch {
	case !ok:
		c.add("%s %s is removed", e.kind(), name)
	case n.typ != e.typ:
		c.add("%s is a %s, was a %s", name, n.kind(), e.kind())
	case e.typ == symbolTLS || e.typ == symbolIFunc:
		c.add("%s %s: it cannot be replaced", e.kind(), name)
	case e.typ == symbolFunc:
		c.Functions++
	case n.size != e.size:
		c.add("%s %s has %d bytes, had %d", e.kind(), name, n.size, e.size)
	default:
		c.Variables++
	}
}

// types compares the types of what both export, and of statics that both have. Of those that reach the same struct that is to
// blame the first is told, and how many others do.
func (c *Changes) types(old, now *ABI, names []string) error {
	t := newTypeDiff(old.debug, now.debug)
	blamed := map[string]int{} // which reason it is
	others := map[int]int{}
	found := func(what string, d difference, err error) error {
		if err != nil || d.text == "" {
			return err
		}
		if at, ok := blamed[d.root]; ok && d.root != "" {
			others[at]++
			return nil
		}
		blamed[d.root] = len(c.Reasons)
		c.add("%s: %s", what, d.text)
		return nil
	}
	for _, name := range names {
		e := old.exports[name]
		n, ok := now.exports[name]
		if !ok || n.typ != e.typ {
			continue
		}
		from, to := old.variables, now.variables
		if e.typ == symbolFunc {
			from, to = old.functions, now.functions
		}
		a, known := from[name]
		b, still := to[name]
		var d difference
		var err error
		switch {
		case !known: // assembler, most likely
		case !still:
			d = differs("there is no debug information about it any more")
		case e.typ == symbolFunc:
			d, err = t.prototype(old.debug.find(a), now.debug.find(b), 0)
		default:
			d, err = t.compare(a, b, 0)
		}
		if err := found(e.kind()+" "+name, d, err); err != nil {
			return err
		}
	}
	for _, key := range sorted(old.statics) {
		if b, ok := now.statics[key]; ok {
			d, err := t.compare(old.statics[key], b, 0)
			if err := found(key, d, err); err != nil {
				return err
			}
		}
	}
	for at, n := range others {
		if at < len(c.Reasons) {
			c.Reasons[at] += fmt.Sprintf(" (and %d others)", n)
		}
	}
	return nil
}

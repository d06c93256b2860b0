package elf

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	symbolFile   = 4 // type: names the unit that the local symbols after it are of
	sectionAlloc = 2 // flag: has addresses

	maxThings = 1 << 18 // functions, constants and variables of a library
)

// thing is a function, a constant or a variable of a library, as its symbol table has it.
type thing struct {
	name     string
	unit     string // the source file of a local one; "": others can have the name, too
	stem     string // the name without the number that a compiler has put behind that of something inside a function
	kind     uint32 // UpdateCode and its neighbours
	va, size uint64 // of the library's own addresses
	debug    *static
}

// local tells whether other units may have another thing by that name.
func (t *thing) local() bool { return t.unit != "" }

func (t *thing) numbered() bool { return t.stem != t.name }

var thingKinds = map[uint32]string{UpdateCode: "function", UpdateConst: "constant", UpdateData: "variable"}

// String names it for people.
func (t *thing) String() string {
	what := thingKinds[t.kind]
	switch name := printable(t.stem); {
	case !t.local():
		return what + " " + name
	case t.debug != nil && t.debug.function != "":
		return fmt.Sprintf("static %s %s of %s in %s", what, name, printable(t.debug.function), printable(t.unit))
	default:
		return fmt.Sprintf("static %s %s of %s", what, name, printable(t.unit))
	}
}

// linkerMade are the sections of things that each library has its own of: tables, and what the start goes by.
var linkerMade = map[string]bool{".got": true, ".got.plt": true, ".plt": true, ".plt.got": true, ".plt.sec": true, ".dynamic": true,
	".init_array": true, ".fini_array": true, ".preinit_array": true}

// relocatedConstants is the section of constants with pointers in them. Nobody writes to them but who relocates them.
const relocatedConstants = ".data.rel.ro"

// things reads a library's symbol table.
func (f *file) things(segs []Segment) ([]thing, error) {
	secs, err := f.sections()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(secs, func(s section) bool { return s.typ == sectionSymtab })
	if at < 0 {
		return nil, refuse("its symbol table is stripped: build it with kxsh cc -shared, and do not strip it")
	}
	sectionName, err := f.sectionNames(secs)
	if err != nil {
		return nil, err
	}
	data, names, err := f.linked(secs, secs[at], maxSymbols)
	if err != nil {
		return nil, err
	}
	var list []thing
	unit, files, locals := "", false, false
	for text := string(names); len(data) >= symbolSize; data = data[symbolSize:] {
		typ, bind, index := data[4]&0xf, data[4]>>4, int(le.Uint16(data[6:]))
		if typ != symbolFile && (typ > symbolFunc || index == 0 || index >= len(secs)) {
			continue
		}
		name, err := stringAt(text, uint64(le.Uint32(data)), "symbol table")
		if err != nil {
			return nil, err
		}
		if typ == symbolFile {
			files = files || name != ""
			if unit = name; name != "" {
				unit = path.Base(name)
			}
			continue
		}
		if name == "" { // of a section
			continue
		}
		t := thing{name: name, stem: name, va: le.Uint64(data[8:]), size: le.Uint64(data[16:])}
		if bind == bindLocal {
			t.unit = unit
		}
		if t.classify(typ, &secs[index], sectionName(secs[index].name), segs) {
			if len(list) == maxThings {
				return nil, refuse("more than %d functions and variables", maxThings)
			}
			list = append(list, t)
			locals = locals || bind == bindLocal && t.kind == UpdateData
		}
	}
	if locals && !files {
		return nil, refuse("its symbol table does not name source files: build it with kxsh cc -shared, and do not strip it")
	}
	slices.SortFunc(list, func(a, b thing) int { return cmp.Or(cmp.Compare(a.va, b.va), cmp.Compare(a.name, b.name)) })
	return list, nil
}

// classify finds what kind of thing it is, and its stem. False: it is nothing that is looked for in another library.
func (t *thing) classify(typ byte, s *section, sectionName string, segs []Segment) bool {
	if s.flags&sectionAlloc == 0 || linkerMade[sectionName] || t.va < s.va || t.va-s.va > s.size || t.size > s.size-(t.va-s.va) {
		return false
	}
	switch {
	case in(segs, t.va, t.size, Exec):
		// Assembler's functions may have no type.
		if t.kind = UpdateCode; typ != symbolFunc && (typ != symbolNone || t.local()) {
			return false
		}
	case typ != symbolObject || t.size == 0:
		return false
	case in(segs, t.va, t.size, Write) && sectionName != relocatedConstants:
		t.kind = UpdateData
	case in(segs, t.va, t.size, Read):
		t.kind = UpdateConst
	default:
		return false
	}
	if !t.local() {
		return true
	}
	if t.kind == UpdateCode {
		// Parts and copies of functions, which nobody has the address of.
		for _, part := range []string{".cold", ".part.", ".constprop.", ".isra."} {
			if strings.Contains(t.name, part) {
				return false
			}
		}
	}
	if i := strings.LastIndexByte(t.name, '.'); i > 0 && strings.Trim(t.name[i+1:], "0123456789") == "" {
		t.stem = t.name[:i]
	}
	return true
}

// static is what the debug information tells of a variable with an address.
type static struct {
	name     string
	function string // around it, as people name it; "": none
	unit     string // path of the source file
	off      uint64 // of its entry: those of one function are in the order of the source
}

// statics finds the variables by their addresses.
func (d *dwarf) statics() (map[uint64]*static, error) {
	all := map[uint64]*static{}
	for i := range d.dies {
		e := &d.dies[i]
		if e.tag != tagVariable || e.flags&dieStatic == 0 || all[e.at] != nil {
			continue
		}
		first, err := d.first(e)
		if err != nil {
			return nil, err
		}
		// An instance may be inside of another function: that which it was written in counts.
		function, unit, err := d.around(first.scope)
		if err != nil {
			return nil, err
		}
		all[e.at] = &static{first.name, function, unit, first.off}
	}
	return all, nil
}

// describe finds what the debug information tells of the local things; false: there is none.
func (l *Library) describe(things []thing) (bool, error) {
	f, err := open(l.r, l.Size)
	if err != nil {
		return false, err
	}
	d, err := f.debugSections()
	if err != nil || d == nil {
		return false, err
	}
	if err := d.read(); err != nil {
		return false, err
	}
	statics, err := d.statics()
	for i := range things {
		t := &things[i]
		if s := statics[t.va]; t.local() && t.kind != UpdateCode && s != nil && s.name == t.stem {
			t.debug = s
		}
	}
	return true, err
}

// thingsOf is what a library's symbol table has.
func (l *Library) thingsOf() ([]thing, error) {
	f, err := open(l.r, l.Size)
	if err != nil {
		return nil, err
	}
	return f.things(l.Segments)
}

// pair is a thing of one library, and the same of another.
type pair struct{ old, now *thing }

// group are things that cannot be told apart by unit and name alone.
type group struct{ old, now []*thing }

type groupKey struct {
	unit, stem string
	numbered   bool
	code       bool // of numbered ones
}

// match finds what two libraries both have, and all that the old one has. Where it is not sure it refuses variables, and leaves the others out.
func match(old, now *Library) (pairs []pair, all []thing, err error) {
	var lists [2][]thing
	for i, l := range []*Library{old, now} {
		if lists[i], err = l.thingsOf(); err != nil {
			return nil, nil, within(ages[i], err)
		}
	}
	groups := map[groupKey]*group{}
	var order []*group
	for i := range lists {
		for k := range lists[i] {
			t := &lists[i][k]
			key := groupKey{t.unit, t.stem, t.numbered(), t.numbered() && t.kind == UpdateCode}
			g := groups[key]
			if g == nil {
				g = &group{}
				groups[key] = g
				order = append(order, g)
			}
			if i == 0 {
				g.old = append(g.old, t)
			} else {
				g.now = append(g.now, t)
			}
		}
	}
	mend := ownNames
	if slices.ContainsFunc(order, (*group).unsure) {
		for i, l := range []*Library{old, now} {
			described, err := l.describe(lists[i])
			if err != nil {
				return nil, nil, within(ages[i], err)
			}
			if !described {
				mend = "build both libraries with -g"
			}
		}
	}
	for _, g := range order {
		if pairs, err = g.match(pairs, mend); err != nil {
			return nil, nil, err
		}
	}
	return pairs, lists[0], nil
}

const ownNames = "give them names of their own"

var ages = [2]string{"the old library", "the new library"}

// unsure tells whether more has to be known than unit and name.
func (g *group) unsure() bool {
	if len(g.old) == 0 || len(g.now) == 0 {
		return false
	}
	return len(g.old) > 1 || len(g.now) > 1 || g.old[0].numbered() && g.old[0].kind != UpdateCode
}

// match adds the pairs of a group; mend is what to do if the debug information does not tell which those are.
func (g *group) match(pairs []pair, mend string) ([]pair, error) {
	if len(g.old) == 0 || len(g.now) == 0 {
		return pairs, nil
	}
	described := !slices.ContainsFunc(slices.Concat(g.old, g.now), func(t *thing) bool { return t.debug == nil })
	switch {
	case described:
		return g.byFunction(pairs)
	case len(g.old) == 1 && len(g.now) == 1:
		return append(pairs, pair{g.old[0], g.now[0]}), nil
	}
	return pairs, g.ambiguous(mend)
}

// ambiguous refuses a group with variables.
func (g *group) ambiguous(mend string) error {
	for _, t := range slices.Concat(g.old, g.now) {
		if t.kind == UpdateData {
			return refuse("%s: there are %d in the old library and %d in the new one, which cannot be told apart: %s", t, len(g.old), len(g.now), mend)
		}
	}
	return nil
}

// byFunction matches what is of the same function of the same unit; of units whose files have the same name, those whose paths are the same.
func (g *group) byFunction(pairs []pair) ([]pair, error) {
	for _, s := range g.split(func(t *thing) string { return t.debug.function }) {
		units := s.split(func(t *thing) string { return t.debug.unit })
		if len(s.old) == 1 && len(s.now) == 1 || oneUnit(s.old) && oneUnit(s.now) {
			units = []*group{s}
		}
		var rest group
		for _, u := range units {
			switch {
			case len(u.old) == len(u.now):
				for i := range u.old {
					pairs = append(pairs, pair{u.old[i], u.now[i]})
				}
			case len(u.old) > 0 && len(u.now) > 0:
				if err := u.ambiguous(ownNames); err != nil {
					return nil, err
				}
			default:
				rest.old, rest.now = append(rest.old, u.old...), append(rest.now, u.now...)
			}
		}
		if len(rest.old) > 0 && len(rest.now) > 0 {
			if err := rest.ambiguous("compile both libraries by the same paths of their sources"); err != nil {
				return nil, err
			}
		}
	}
	return pairs, nil
}

func oneUnit(list []*thing) bool {
	return !slices.ContainsFunc(list, func(t *thing) bool { return t.debug.unit != list[0].debug.unit })
}

// split makes groups of things that have the same key, each in the order of the source.
func (g *group) split(key func(*thing) string) (parts []*group) {
	byKey := map[string]*group{}
	add := func(list []*thing, to func(*group) *[]*thing) {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b *thing) int { return cmp.Compare(a.debug.off, b.debug.off) })
		for _, t := range list {
			p := byKey[key(t)]
			if p == nil {
				p = &group{}
				byKey[key(t)] = p
				parts = append(parts, p)
			}
			*to(p) = append(*to(p), t)
		}
	}
	add(g.old, func(p *group) *[]*thing { return &p.old })
	add(g.now, func(p *group) *[]*thing { return &p.now })
	return parts
}

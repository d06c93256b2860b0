package elf

import (
	"fmt"
	"strings"
)

const (
	compareDepth = 200     // of types in types
	compareWork  = 1 << 22 // types, fields, arguments and enumerators that are looked at, and what is said about them by 64 bytes
	reasonMax    = 500     // bytes of a reason before what it is about is left out in the middle
	spelledDepth = 6       // of a type in a reason
)

// typeDiff compares types of one file's debug information with those of another's. Each pair is compared once; a pair that
// is being compared counts as alike, which is what makes lists end.
type typeDiff struct {
	old, new *dwarf
	seen     map[[2]uint64]difference
	work     int
	complete [2]map[string]uint64 // structs, unions and enums by kind and name, where they are defined
}

// difference is in which way two types are not alike. The zero value: they are.
type difference struct {
	text string
	root string // the innermost struct, union or enum that is to blame, and why; "" if there is none
}

// of says in what it is: a field, an argument.
func (d difference) of(format string, args ...any) difference {
	if d.text == "" {
		return d
	}
	rest := d.text
	if len(rest) > reasonMax {
		rest = "…: " + d.root
	}
	d.text = fmt.Sprintf(format, args...) + ": " + rest
	return d
}

// blamed is a difference of a struct, a union or an enum.
func (d difference) blamed() difference {
	if d.root == "" {
		d.root = d.text
	}
	return d
}

func differs(format string, args ...any) difference {
	return difference{text: fmt.Sprintf(format, args...)}
}

func newTypeDiff(old, new *dwarf) *typeDiff {
	return &typeDiff{old: old, new: new, seen: map[[2]uint64]difference{}, complete: [2]map[string]uint64{old.definitions(), new.definitions()}}
}

func (d *dwarf) definitions() map[string]uint64 {
	all := map[string]uint64{}
	for i := range d.dies {
		e := &d.dies[i]
		if key := definitionKey(e); key != "" && e.flags&dieDeclared == 0 {
			if _, ok := all[key]; !ok {
				all[key] = e.off
			}
		}
	}
	return all
}

// definitionKey is how a struct, union or enum with a name is found.
func definitionKey(e *die) string {
	switch e.tag {
	case tagStruct, tagUnion, tagEnum:
		if e.name != "" {
			return fmt.Sprintf("%d %s", e.tag, e.name)
		}
	}
	return ""
}

// peel follows what says nothing about the layout: typedefs, const, volatile, restrict, and a declaration to its definition. nil is void.
func (d *dwarf) peel(off uint64, complete map[string]uint64) (*die, error) {
	for range dwarfChain {
		if off == 0 {
			return nil, nil
		}
		e := d.find(off)
		if e == nil {
			return nil, errDwarf
		}
		switch e.tag {
		case tagTypedef, tagConst, tagVolatile, tagRestrict:
			off = e.typ
			continue
		}
		if def, ok := complete[definitionKey(e)]; ok && e.flags&dieDeclared != 0 {
			off = def
			continue
		}
		return e, nil
	}
	return nil, refuse("damaged debug information: a chain of more than %d typedefs", dwarfChain)
}

// compare says in which way the type at b, in the new file, is another than that at a, in the old one.
func (t *typeDiff) compare(a, b uint64, depth int) (same difference, err error) {
	if depth > compareDepth {
		return same, refuse("types nested more than %d deep", compareDepth)
	}
	if err := t.pay(1); err != nil {
		return same, err
	}
	x, err := t.old.peel(a, t.complete[0])
	if err != nil {
		return same, err
	}
	y, err := t.new.peel(b, t.complete[1])
	if err != nil {
		return same, err
	}
	if x == nil || y == nil {
		if x != y {
			return t.other(a, b), nil
		}
		return same, nil
	}
	pair := [2]uint64{x.off, y.off}
	if d, ok := t.seen[pair]; ok {
		return d, nil
	}
	t.seen[pair] = same
	d, err := t.differ(x, y, a, b, depth)
	t.seen[pair] = d
	if err == nil {
		err = t.pay(len(d.text) / 64)
	}
	return d, err
}

func (t *typeDiff) pay(n int) error {
	if t.work += n; t.work > compareWork {
		return refuse("more than %d types and fields to compare", compareWork)
	}
	return nil
}

// other words a type that has become another one.
func (t *typeDiff) other(a, b uint64) difference {
	return differs("%s, was %s", t.new.spell(b, spelledDepth), t.old.spell(a, spelledDepth))
}

func (t *typeDiff) differ(x, y *die, a, b uint64, depth int) (same difference, err error) {
	if x.tag != y.tag {
		return t.other(a, b), nil
	}
	switch x.tag {
	case tagUnknownType:
		return same, nil
	case tagBase:
		if x.size != y.size || x.at != y.at {
			return t.other(a, b), nil
		}
		return same, nil
	case tagPointer, tagAtomic:
		return t.compare(x.typ, y.typ, depth+1)
	case tagArray:
		if _, _, err := t.both(x, y, tagSubrange); err != nil {
			return same, err
		}
		if m, n := t.old.elements(x), t.new.elements(y); m != n {
			return t.other(a, b), nil
		}
		return t.compare(x.typ, y.typ, depth+1)
	case tagStruct, tagUnion:
		d, err := t.members(x, y, depth)
		if d.text != "" && x.name != y.name {
			d = t.other(a, b)
		}
		return d.blamed(), err
	case tagEnum:
		d, err := t.enumerators(x, y)
		return d.blamed(), err
	case tagSubroutine:
		d, err := t.prototype(x, y, depth)
		return d.of("function pointer"), err
	}
	return differs("a type of kind %#x, which is not compared", x.tag), nil
}

// elements says how many elements each dimension of an array has.
func (d *dwarf) elements(e *die) string {
	var s strings.Builder
	dims, _ := d.inside(e, tagSubrange)
	for _, c := range dims {
		if s.Len() < dwarfString {
			s.WriteByte('[')
			if c.flags&dieCounted != 0 {
				fmt.Fprint(&s, c.at)
			}
			s.WriteByte(']')
		}
	}
	return s.String()
}

// inside lists the entries of a kind directly inside e, and counts all.
func (d *dwarf) inside(e *die, tag uint32) (list []*die, all int) {
	d.children(d.index(e), func(c *die) {
		if all++; c.tag == tag {
			list = append(list, c)
		}
	})
	return list, all
}

// both is inside for x of the old file and y of the new one.
func (t *typeDiff) both(x, y *die, tag uint32) (old, now []*die, err error) {
	old, m := t.old.inside(x, tag)
	now, n := t.new.inside(y, tag)
	return old, now, t.pay(m + n)
}

func (t *typeDiff) members(x, y *die, depth int) (same difference, err error) {
	what := t.old.spell(x.off, 1)
	if x.flags&dieDeclared != 0 || y.flags&dieDeclared != 0 { // nobody here knows what is in it
		if x.name != y.name {
			return differs("%s, was %s", t.new.spell(y.off, 1), what), nil
		}
		return same, nil
	}
	old, now, err := t.both(x, y, tagMember)
	if err != nil {
		return same, err
	}
	for i, m := range old {
		if i >= len(now) {
			return differs("%s: field %s is removed", what, orNameless(m.name)), nil
		}
		n := now[i]
		if m.name != n.name {
			return differs("%s: field %d is %s, was %s", what, i+1, orNameless(n.name), orNameless(m.name)), nil
		}
		if m.at != n.at || m.bits != n.bits {
			return differs("%s: field %s is at %s, was at %s", what, orNameless(m.name), n.place(), m.place()), nil
		}
		if d, err := t.compare(m.typ, n.typ, depth+1); err != nil || d.text != "" {
			return d.of("%s: field %s", what, orNameless(m.name)), err
		}
	}
	if len(now) > len(old) {
		return differs("%s: field %s is added", what, orNameless(now[len(old)].name)), nil
	}
	if x.size != y.size {
		return differs("%s has %d bytes, had %d", what, y.size, x.size), nil
	}
	if x.align != y.align {
		return differs("%s is aligned otherwise", what), nil
	}
	return same, nil
}

// place says where a field is in its struct.
func (e *die) place() string {
	if e.bits > 0 {
		return fmt.Sprintf("bits %d to %d", e.at, e.at+e.bits-1)
	}
	return fmt.Sprintf("byte %d", e.at/8)
}

func orNameless(name string) string {
	if name == "" {
		return "without a name"
	}
	return name
}

// enumerators may become more.
func (t *typeDiff) enumerators(x, y *die) (same difference, err error) {
	what := t.old.spell(x.off, 1)
	if x.flags&dieDeclared != 0 || y.flags&dieDeclared != 0 {
		return same, nil
	}
	if x.size != y.size {
		return differs("%s has %d bytes, had %d", what, y.size, x.size), nil
	}
	values := map[string]uint64{}
	old, now, err := t.both(x, y, tagEnumerator)
	if err != nil {
		return same, err
	}
	for _, c := range now {
		values[c.name] = c.size
	}
	for _, c := range old {
		v, ok := values[c.name]
		if !ok {
			return differs("%s: %s is removed", what, c.name), nil
		}
		if v != c.size {
			return differs("%s: %s is %d, was %d", what, c.name, int64(v), int64(c.size)), nil
		}
	}
	return same, nil
}

// prototype compares what two functions, or types of functions, return and take.
func (t *typeDiff) prototype(x, y *die, depth int) (same difference, err error) {
	if d, err := t.compare(x.typ, y.typ, depth+1); err != nil || d.text != "" {
		return d.of("result"), err
	}
	old, now, err := t.both(x, y, tagParameter)
	if err != nil {
		return same, err
	}
	if len(old) != len(now) {
		return differs("takes %d arguments, took %d", len(now), len(old)), nil
	}
	for i := range old {
		if d, err := t.compare(old[i].typ, now[i].typ, depth+1); err != nil || d.text != "" {
			return d.of("argument %d", i+1), err
		}
	}
	if old, now, err = t.both(x, y, tagUnspecified); err != nil || len(old) != len(now) {
		return differs("takes other arguments behind the last"), err
	}
	return same, nil
}

// spell writes a type as C would, roughly.
func (d *dwarf) spell(off uint64, depth int) string {
	if off == 0 {
		return "void"
	}
	e := d.find(off)
	if e == nil || depth == 0 {
		return "…"
	}
	name := func(kind string) string { return strings.TrimRight(kind+" "+e.name, " ") }
	switch e.tag {
	case tagBase, tagTypedef:
		return e.name
	case tagStruct:
		return name("struct")
	case tagUnion:
		return name("union")
	case tagEnum:
		return name("enum")
	case tagPointer:
		return d.spell(e.typ, depth-1) + " *"
	case tagConst:
		return "const " + d.spell(e.typ, depth-1)
	case tagVolatile:
		return "volatile " + d.spell(e.typ, depth-1)
	case tagAtomic:
		return "_Atomic " + d.spell(e.typ, depth-1)
	case tagRestrict:
		return d.spell(e.typ, depth-1)
	case tagArray:
		return d.spell(e.typ, depth-1) + d.elements(e)
	case tagSubroutine:
		return d.spell(e.typ, depth-1) + " ()"
	}
	return fmt.Sprintf("a type of kind %#x", e.tag)
}

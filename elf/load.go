package elf

import (
	"cmp"
	"slices"
)

// Load puts libraries beside those of a program that runs: those of a tree that Grow has found, from an address on. Their symbols are looked for
// in the image, in the program's libraries, and then in the new ones, in the order of the tree; with lazy, calls are bound when they are made first, if the
// program's are. The result has no Content: what is new is in the Update, which has no old library. l is as it was, and both can be used at the same time.
func (l *Linked) Load(tree []Node, base uint64, lazy bool) (*Linked, *Update, error) {
	out, had := l.clone(), len(l.Libraries)
	bases, pages := Place(tree[had:], base)
	for i, n := range tree[had:] {
		out.Libraries = append(out.Libraries, Placed{Node: n, Base: bases[i]})
	}
	for item, i := range initOrder(tree, had) {
		out.Libraries[i].Item = had + item
	}
	for i := had; i < len(tree); i++ {
		m := out.Libraries[i].module()
		m.item = out.itemAt(out.Libraries[i].Item)
		if err := m.load(); err != nil {
			return nil, nil, within(m.name, err)
		}
		if lazy {
			m.resolveBy(out.resolver)
		}
		out.modules = append(out.modules, m)
	}
	u := &Update{New: Span{base, base + pages*PageSize}, Words: []Word{
		{out.table, uint64(len(tree))},
		{out.modules[had].item + tableNext, out.modules[had+1].item},
	}}
	for i := 1 + had; i < len(out.modules); i++ {
		m := &out.modules[i]
		if err := out.bind(i); err != nil {
			return nil, nil, within(m.name, err)
		}
		u.pages(m)
		u.words(out, i)
	}
	slices.SortFunc(u.Words, func(a, b Word) int { return cmp.Compare(a.VA, b.VA) })
	return out, u, nil
}

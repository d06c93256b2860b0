package elf

import (
	"cmp"
	"fmt"
	"slices"
)

// candidate is what may become a move, in the libraries' own addresses.
type candidate struct {
	Move
	pair
}

func (c *candidate) end() uint64 { return c.From + c.Size }

// matches are what two libraries have both, and all that the old one has.
type matches struct {
	pairs []pair
	all   []thing
}

// moves finds what both libraries have.
func (r *replacement) moves() error {
	list, all, err := r.candidates()
	if err != nil {
		return within(r.was().name, err)
	}
	was, is := r.was(), r.is()
	begins := map[uint64]bool{}
	for i := range all {
		begins[all[i].va] = true
	}
	for i := range list {
		c := &list[i]
		r.update.Moves = append(r.update.Moves, Move{was.base + c.From, is.base + c.To, c.Size, c.Kind})
		if c.Kind == UpdateCode || i+1 < len(list) && list[i+1].From == c.end() || !in(was.segs, c.end(), 1, Read) {
			continue
		}
		// A literal has no name, and the code that knows its address is not to be read: what is not zero may be one.
		p, err := was.content(c.end(), 1)
		if err != nil {
			return err
		}
		if begins[c.end()] || p[0] != 0 {
			r.update.Moves = append(r.update.Moves, Move{From: was.base + c.end(), Kind: UpdateGone})
		}
	}
	for i := range all {
		if t := &all[i]; t.kind == UpdateData && r.update.move(was.base+t.va) == nil {
			r.update.Lost = append(r.update.Lost, t.String())
		}
	}
	return nil
}

// candidates are the moves but for those of kind UpdateGone, and all things of the old library.
func (r *replacement) candidates() (list []candidate, all []thing, err error) {
	was, is := r.old.Libraries[r.i].Library, r.now.Libraries[r.i].Library
	m, err := is.matched.get(was, func() (*matches, error) {
		pairs, all, err := match(was, is)
		return &matches{pairs, all}, err
	})
	if err != nil {
		return nil, nil, err
	}
	copied := r.copied()
	for _, p := range m.pairs {
		c := candidate{Move{p.old.va, p.now.va, p.old.size, p.old.kind}, p}
		keep, err := c.check(copied)
		if err != nil {
			return nil, nil, err
		}
		if keep {
			list = append(list, c)
		}
	}
	list, err = arrange(list)
	return list, m.all, err
}

// copied are the addresses of the old library's variables that the image has copies of.
func (r *replacement) copied() map[uint64]bool {
	all := map[uint64]bool{}
	image := &r.old.modules[0]
	for i := range image.relocs {
		if at := &image.relocs[i]; at.typ == relocCopy {
			if owner, s := r.old.owner(image.symbols[at.sym].name); owner == 1+r.i {
				all[s.value] = true
			}
		}
	}
	return all
}

// check finds what kind of move it is. False: what the old library has, the new one has not.
func (c *candidate) check(copied map[uint64]bool) (bool, error) {
	old, now := c.old, c.now
	switch {
	case (old.kind == UpdateCode) != (now.kind == UpdateCode):
		return false, refuse("%s is a %s in the new library", old, thingKinds[now.kind])
	case old.kind == UpdateCode:
		c.Size = max(c.Size, 1) // an assembler's may have none
		return true, nil
	case old.kind == UpdateConst:
		return now.size >= old.size, nil
	case now.kind == UpdateConst && old.local():
		return false, nil // the compiler has seen that nobody writes to it any more
	case now.kind == UpdateConst:
		return false, refuse("%s is a constant in the new library", old)
	case copied[old.va]:
		c.Kind = UpdateConst
		return now.size == old.size, nil // what the image has counts, which is looked at by itself
	case now.size != old.size:
		return false, refuse("%s has %d bytes in the new library, had %d", old, now.size, old.size)
	}
	return true, nil
}

// arrange puts them in order, and leaves one for each address.
func arrange(list []candidate) (kept []candidate, err error) {
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(boolean(a.old.local()), boolean(b.old.local())), cmp.Compare(b.Size, a.Size), cmp.Compare(a.To, b.To))
	})
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].From == list[0].From {
			n++
		}
		c, ok, err := unalias(list[:n])
		if err != nil {
			return nil, err
		}
		if list = list[n:]; !ok {
			continue
		}
		if k := len(kept) - 1; k >= 0 && c.From < kept[k].end() {
			last := &kept[k]
			apart := c.To-last.To != c.From-last.From || c.end() > last.end()
			switch {
			case c.Kind == UpdateCode && last.Kind == UpdateCode: // another begin
				last.Size = c.From - last.From
				kept = append(kept, c)
			case apart && (c.Kind == UpdateData || last.Kind == UpdateData):
				return nil, refuse("%s and %s overlap, and not so in the new library", last.old, c.old)
			case apart && c.Size > last.Size:
				*last = c
			}
			continue
		}
		kept = append(kept, c)
	}
	return kept, targets(kept)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// unalias makes one of all that have one address, those that others can use first. False: nobody can tell which of them is meant.
func unalias(list []candidate) (c candidate, ok bool, err error) {
	c, ok = list[0], true
	for _, a := range list[1:] {
		switch {
		case a.To == c.To:
			c.Size = max(c.Size, a.Size)
		case a.Kind == UpdateData || !a.old.local():
			return c, false, refuse("%s and %s are one, and two in the new library", c.old, a.old)
		case c.old.local():
			ok = false
		}
	}
	return c, ok, nil
}

// targets holds that no two variables are to become one.
func targets(list []candidate) error {
	var data []candidate
	for _, c := range list {
		if c.Kind == UpdateData {
			data = append(data, c)
		}
	}
	slices.SortFunc(data, func(a, b candidate) int { return cmp.Compare(a.To, b.To) })
	for i := 1; i < len(data); i++ {
		if data[i].To < data[i-1].To+data[i-1].Size {
			return refuse("%s and %s are one in the new library", data[i-1].old, data[i].old)
		}
	}
	return nil
}

// literals finds the pointers in variables that begin as those to constants without names.
func (r *replacement) literals() error {
	was := r.was()
	for i := range was.relocs {
		at := &was.relocs[i]
		m := r.update.move(was.base + at.va)
		if m == nil || m.Kind != UpdateData || was.base+at.va >= m.From+m.Size {
			continue
		}
		value, err := r.old.value(was, at)
		if err != nil {
			return within(was.name, err)
		}
		if at.va%8 != 0 && r.update.Old.has(value) {
			return refuse("%s: %s", was.name, oddPointer(at))
		}
		if was.base+at.va+8 > m.From+m.Size || !r.update.Old.has(value) || !in(was.segs, value-was.base, 1, Read) || in(was.segs, value-was.base, 1, Write) || in(was.segs, value-was.base, 1, Exec) {
			continue
		}
		if r.update.move(value) == nil {
			r.update.Literals = append(r.update.Literals, Word{was.base + at.va, value})
		}
	}
	slices.SortFunc(r.update.Literals, func(a, b Word) int { return cmp.Compare(a.VA, b.VA) })
	r.update.Literals = slices.CompactFunc(r.update.Literals, func(a, b Word) bool { return a.VA == b.VA })
	return nil
}

// oddPointer is why a pointer that nobody would find is refused.
func oddPointer(at *reloc) string {
	return fmt.Sprintf("holds a pointer at %#x, which is no multiple of 8: do without packed structures", at.va)
}

// move is the one that an address, or the end of something before it, is in.
func (u *Update) move(va uint64) *Move {
	i, found := slices.BinarySearchFunc(u.Moves, va, func(m Move, va uint64) int { return cmp.Compare(m.From, va) })
	if !found {
		i--
	}
	if i < 0 || va > u.Moves[i].From+u.Moves[i].Size || u.Moves[i].Kind == UpdateGone {
		return nil
	}
	return &u.Moves[i]
}

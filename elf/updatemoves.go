package elf

import (
	"cmp"
	"fmt"
	"slices"
	"weak"
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

// moved is what they have both as a program needs it that has copies of some of the old one's variables: in the libraries' own addresses.
type moved struct {
	moves []Move
	lost  []string
}

// moving asks for it. copied are the addresses of those variables, in order, 8 bytes each.
type moving struct {
	was    weak.Pointer[Library]
	copied string
}

// moves finds what both libraries have.
func (r *replacement) moves() error {
	was, is := r.old.Libraries[r.i].Library, r.now.Libraries[r.i].Library
	copied := r.copied()
	m, err := is.moved.get(moving{weak.Make(was), keyOf(copied)}, func() (*moved, error) { return r.moved(was, is, copied) })
	if err != nil {
		return within(r.was().name, err)
	}
	r.update.Moves, r.update.Lost = slices.Clone(m.moves), m.lost
	for i := range r.update.Moves {
		move := &r.update.Moves[i]
		move.From += r.was().base
		if move.Kind != UpdateGone {
			move.To += r.is().base
		}
	}
	return nil
}

func keyOf(addresses []uint64) string {
	var key []byte
	for _, va := range addresses {
		key = le.AppendUint64(key, va)
	}
	return string(key)
}

// moved finds it in the files.
func (r *replacement) moved(was, is *Library, copied []uint64) (*moved, error) {
	both, err := is.matched.get(weak.Make(was), func() (*matches, error) {
		pairs, all, err := match(was, is)
		return &matches{pairs, all}, err
	})
	if err != nil {
		return nil, err
	}
	list, err := candidates(both.pairs, copied)
	if err != nil {
		return nil, err
	}
	begins := map[uint64]bool{}
	for i := range both.all {
		begins[both.all[i].va] = true
	}
	m := &moved{}
	for i := range list {
		c := &list[i]
		m.moves = append(m.moves, c.Move)
		if c.Kind == UpdateCode || i+1 < len(list) && list[i+1].From == c.end() || !in(was.segs, c.end(), 1, Read) {
			continue
		}
		// A literal has no name, and the code that knows its address is not to be read: what is not zero may be one.
		p, err := r.was().content(c.end(), 1)
		if err != nil {
			return nil, err
		}
		if begins[c.end()] || p[0] != 0 {
			m.moves = append(m.moves, Move{From: c.end(), Kind: UpdateGone})
		}
	}
	for i := range both.all {
		if t := &both.all[i]; t.kind == UpdateData && moveAt(m.moves, t.va) == nil {
			m.lost = append(m.lost, t.String())
		}
	}
	return m, nil
}

// candidates are the moves but for those of kind UpdateGone.
func candidates(pairs []pair, copied []uint64) (list []candidate, err error) {
	for _, p := range pairs {
		c := candidate{Move{p.old.va, p.now.va, p.old.size, p.old.kind}, p}
		keep, err := c.check(copied)
		if err != nil {
			return nil, err
		}
		if keep {
			list = append(list, c)
		}
	}
	return arrange(list)
}

// copied are the addresses of the old library's variables that the image has copies of, in order.
func (r *replacement) copied() (all []uint64) {
	image := &r.old.modules[0]
	for i := range image.relocs {
		if at := &image.relocs[i]; at.typ == relocCopy {
			if owner, s := r.old.owner(image.symbols[at.sym].name); owner == 1+r.i {
				all = append(all, s.value)
			}
		}
	}
	slices.Sort(all)
	return all
}

// check finds what kind of move it is. False: what the old library has, the new one has not.
func (c *candidate) check(copied []uint64) (bool, error) {
	old, now := c.old, c.now
	_, isCopied := slices.BinarySearch(copied, old.va)
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
	case isCopied:
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
	targets, err := r.old.targets(1 + r.i)
	if err != nil {
		return within(was.name, err)
	}
	for i := range was.relocs {
		at := &was.relocs[i]
		m := r.update.move(was.base + at.va)
		if m == nil || m.Kind != UpdateData || was.base+at.va >= m.From+m.Size {
			continue
		}
		value := r.old.word(at, targets[i])
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
func (u *Update) move(va uint64) *Move { return moveAt(u.Moves, va) }

func moveAt(moves []Move, va uint64) *Move {
	i, found := slices.BinarySearchFunc(moves, va, func(m Move, va uint64) int { return cmp.Compare(m.From, va) })
	if !found {
		i--
	}
	if i < 0 || va > moves[i].From+moves[i].Size || moves[i].Kind == UpdateGone {
		return nil
	}
	return &moves[i]
}

package elf

import (
	"cmp"
	"slices"
)

// Kinds of parts and moves. Source: KX_UPDATE_* of guest/include/kx_abi.h.
const (
	UpdateGone  uint32 = 0
	UpdateCode  uint32 = 1
	UpdateConst uint32 = 2
	UpdateData  uint32 = 3
)

// Update is what it takes to replace a library of a running program by another one, as struct kx_update has it: a word
// in memory that is the address of something of the old library is found by its value, wherever it is, and becomes that of the same thing in the new one.
type Update struct {
	Old, New Span
	Parts    []Part   // of the old library, by their addresses
	Pages    []Page   // of the new library, those of its writable segments, by their addresses
	Moves    []Move   // by From; they do not overlap
	Literals []Word   // in the old library's variables, by their addresses: pointers to constants without names, with their first values
	Words    []Word   // with new values, by their addresses: what the program's table of libraries says about this one
	Lost     []string // variables that the new library does not have, as people name them; what they hold is not kept
}

// Span is a range of addresses, whole pages.
type Span struct{ VA, End uint64 }

// Part is a run of mapped pages.
type Part struct {
	VA, End uint64
	Kind    uint32
}

// Page is a page of its own, and what it holds before anything runs: PageSize bytes, or nil for zeroes.
type Page struct {
	VA    uint64
	Bytes []byte
}

// Move is a function, a constant or a variable that both libraries have.
//
// A pointer to a function is one to its begin; Size is up to its end or what else begins in it. A pointer to a constant or a variable is one to any of its bytes, or to
// its end. What is of kind UpdateData is copied; Size is that of both. A constant is as the new library has it, with the old one's Size; one that has become smaller is no move, so
// that who goes through it comes to its end. A variable that the program has a copy of is moved as a constant: that copy is in use. UpdateGone, with no Size, is
// where a move ends and something else begins that is no move itself, or may begin: a pointer there is not one to that end.
type Move struct {
	From, To, Size uint64
	Kind           uint32
}

// Word is 8 bytes at an address.
type Word struct{ VA, Value uint64 }

// Replace puts another library, at a page-aligned address, in the place of l.Libraries[i], for a program that runs. The result has no Content: it is linked as l
// is, but for what the Update has. l is as it was, and both can be used at the same time.
//
// All that the other modules refer to, the new library must have, or what it is has to be where it was; what is missing, two things that cannot be told apart, and
// variables that cannot be taken over are refused by name with an *Error. It does not compare types: CompareABI does.
func (l *Linked) Replace(i int, now *Library, base uint64) (*Linked, *Update, error) {
	out := l.clone()
	place := &out.Libraries[i]
	place.Library, place.Base, place.Needs = now, base, nil
	for _, name := range now.Needed {
		at := slices.IndexFunc(l.Libraries, func(p Placed) bool { return p.Name == name })
		if at < 0 {
			return nil, nil, refuse("needs %s, which the program does not have", name)
		}
		place.Needs = append(place.Needs, at)
	}
	r := &replacement{old: l, now: out, i: i, update: &Update{Old: l.Libraries[i].span(), New: place.span()}}
	for _, step := range []func() error{r.link, r.moves, r.references, r.literals} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	r.parts()
	r.update.pages(r.is())
	return out, r.update, nil
}

// clone is the same, to be changed, without what was needed once.
func (l *Linked) clone() *Linked {
	return &Linked{Libraries: slices.Clone(l.Libraries), linker: linker{modules: slices.Clone(l.modules), table: l.table, resolver: l.resolver}}
}

func (p *Placed) span() Span { return Span{p.Base, p.Base + p.Pages()*PageSize} }

func (s Span) has(va uint64) bool { return va >= s.VA && va < s.End }

// replacement is a library that takes the place of another one.
type replacement struct {
	old, now *Linked
	i        int
	update   *Update
}

func (r *replacement) was() *module { return &r.old.modules[1+r.i] }
func (r *replacement) is() *module  { return &r.now.modules[1+r.i] }

// link binds the new library's symbols, its calls when they are made first if the program's are.
func (r *replacement) link() error {
	m := r.is()
	*m = r.now.Libraries[r.i].module()
	m.item = r.was().item
	if err := m.load(); err != nil {
		return within(m.name, err)
	}
	m.resolveBy(r.now.resolver)
	if err := r.now.bind(1 + r.i); err != nil {
		return within(m.name, err)
	}
	r.update.words(r.now, 1+r.i)
	return nil
}

// words are those of a module's part of the table.
func (u *Update) words(l *Linked, i int) {
	for k, value := range l.itemWords(i) {
		u.Words = append(u.Words, Word{l.modules[i].item + 8*uint64(k), value})
	}
}

// Set gives one more word a value.
func (u *Update) Set(va, value uint64) {
	i, _ := slices.BinarySearchFunc(u.Words, va, func(w Word, va uint64) int { return cmp.Compare(w.VA, va) })
	u.Words = slices.Insert(u.Words, i, Word{va, value})
}

// references holds that what the other modules refer to is the same thing in the new library, or where it was.
func (r *replacement) references() error {
	for k := range r.old.modules {
		m := &r.old.modules[k]
		if k == 1+r.i || len(m.symbols) == 0 {
			continue
		}
		was, err := r.old.targets(k)
		if err != nil {
			return within(m.name, err)
		}
		is, _ := r.now.targets(k) // nil: one of them fails, and will again
		for n, t := range was {
			now := func() (target, error) { return r.now.target(k, m.reloc(n)) }
			if is != nil {
				now = func() (target, error) { return is[n], nil }
			}
			if err := r.reference(m, m.reloc(n), t, now); err != nil {
				return within(m.name, err)
			}
		}
	}
	return nil
}

func (r *replacement) reference(m *module, at *reloc, then target, now func() (target, error)) error {
	s := &m.symbols[at.sym]
	switch at.typ {
	case relocRelative:
		return nil
	case relocCopy:
		if owner, _ := r.old.owner(s.name); owner != 1+r.i {
			return nil
		}
		switch owner, from := r.now.owner(s.name); {
		case owner != 1+r.i:
			return refuse("has a copy of %s, which the new %s does not have", printable(s.name), r.was().name)
		case from.size != s.size:
			return refuse("has a copy of %s with %d bytes, the new %s has %d", printable(s.name), s.size, r.was().name, from.size)
		}
		return nil
	}
	to, err := now()
	was, is := r.old.address(then), r.now.address(to)
	inOld := r.update.Old.has(was)
	switch {
	case inOld && (err != nil || !r.update.New.has(is)):
		return refuse("needs %s, which the new %s does not have", printable(s.name), r.was().name)
	case err != nil:
		return err
	case inOld && at.va%8 != 0:
		return refuse("%s", oddPointer(at))
	case !inOld && was != 0 && is != was:
		return refuse("has %s from elsewhere, and the new %s has one, too: give it another name", printable(s.name), r.was().name)
	}
	if inOld && !r.followed(was, is) {
		return refuse("needs %s, whose place in %s its symbol table does not tell: build both with kxsh cc -shared", printable(s.name), r.was().name)
	}
	return nil
}

// followed tells whether what holds an address of the old library does not become something else than the new one's: it is found by the address.
func (r *replacement) followed(was, is uint64) bool {
	m := r.update.move(was)
	if in(r.was().segs, was-r.was().base, 1, Exec) {
		return m != nil && m.From == was && m.To == is
	}
	return m == nil || m.To+was-m.From == is
}

// owner is the library that an image's copy of a variable comes from, as a module, and the variable there; 0: none has it.
func (k *linker) owner(name string) (int, *dynSymbol) {
	for i := 1; i < len(k.modules); i++ {
		if index, ok := k.modules[i].defined[name]; ok {
			return i, &k.modules[i].symbols[index]
		}
	}
	return 0, nil
}

// parts are the old library's pages.
func (r *replacement) parts() {
	for i := range r.was().segs {
		s := &r.was().segs[i]
		kind := UpdateConst
		switch {
		case s.Prot&Write != 0:
			kind = UpdateData
		case s.Prot&Exec != 0:
			kind = UpdateCode
		}
		va := r.was().base + s.VA&^(PageSize-1)
		r.update.Parts = append(r.update.Parts, Part{va, va + s.Pages()*PageSize, kind})
	}
}

// pages are those of a new library's writable segments, with what is in them.
func (u *Update) pages(m *module) {
	for i := range m.segs {
		s := &m.segs[i]
		if s.Prot&Write == 0 {
			continue
		}
		first := m.base + s.VA&^(PageSize-1)
		list := make([]Page, s.Pages())
		for k := range list {
			list[k].VA = first + uint64(k)*PageSize
		}
		for _, w := range m.writes {
			for at := w.VA - first; w.VA >= first && at < uint64(len(list))*PageSize && len(w.Bytes) > 0; {
				p := &list[at/PageSize]
				if p.Bytes == nil {
					p.Bytes = make([]byte, PageSize)
				}
				n := copy(p.Bytes[at%PageSize:], w.Bytes)
				at, w.Bytes = at+uint64(n), w.Bytes[n:]
			}
		}
		u.Pages = append(u.Pages, list...)
	}
	m.writes = nil
}

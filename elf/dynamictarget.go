package elf

import "weak"

// target is what a relocation refers to, wherever the modules are.
type target struct {
	module int    // whose address it is; -1: nobody's, as of a weak symbol that nobody has
	value  uint64 // in that module; without the addend, unless there is no symbol
}

// scope is the modules in which symbols are looked for, in that order. Programs with the same files have the same. own: the module's own are first.
type scope struct {
	modules [1 + MaxLibraries]weak.Pointer[Dynamic]
	own     bool
}

// targets are those of a module's relocs, and behind them of its slots; of what is to be copied there is none.
func (k *linker) targets(i int) ([]target, error) {
	m := &k.modules[i]
	where := scope{own: m.own}
	for j := range k.modules {
		where.modules[j] = weak.Make(k.modules[j].Dynamic)
	}
	return m.resolved.get(where, func() ([]target, error) {
		list := make([]target, len(m.relocs)+len(m.slots))
		for n := range list {
			r := m.reloc(n)
			if r.typ == relocCopy && n < len(m.relocs) {
				continue
			}
			var err error
			if list[n], err = k.target(i, r); err != nil {
				return nil, err
			}
		}
		return list, nil
	})
}

// reloc is the one that a target with that index is of.
func (d *Dynamic) reloc(n int) *reloc {
	if n < len(d.relocs) {
		return &d.relocs[n]
	}
	return &d.slots[n-len(d.relocs)]
}

// address is where a target is.
func (k *linker) address(t target) uint64 {
	if t.module < 0 {
		return t.value
	}
	return k.modules[t.module].base + t.value
}

// word is what a relocation is to store.
func (k *linker) word(r *reloc, t target) uint64 {
	if r.typ == reloc64 {
		return k.address(t) + r.addend
	}
	return k.address(t)
}

// target finds that of one relocation of a module.
func (k *linker) target(i int, r *reloc) (target, error) {
	m := &k.modules[i]
	switch r.typ {
	case relocRelative:
		return target{i, r.addend}, nil
	case relocCopy:
		return target{}, refuse("damaged relocation at %#x: a copy among the calls", r.va)
	}
	if len(m.symbols) == 0 {
		return target{}, refuse("damaged relocation at %#x: there are no symbols", r.va)
	}
	return k.lookup(i, &m.symbols[r.sym], r.typ == relocJumpSlot)
}

// lookup finds a symbol that a module refers to. A call never goes through an image's entry for the function.
func (k *linker) lookup(i int, s *dynSymbol, call bool) (target, error) {
	if s.typ == symbolTLS {
		return target{}, refuse("%s: %s", printable(s.name), threadLocal)
	}
	if s.name == "" || s.bind == bindLocal {
		return s.target(i), nil
	}
	if m := &k.modules[i]; m.prefers(s) {
		return m.symbols[m.defined[s.name]].target(i), nil
	}
	for j := range k.modules {
		o := &k.modules[j]
		if index, ok := o.defined[s.name]; ok {
			found := &o.symbols[index]
			if found.typ == symbolTLS {
				return target{}, refuse("%s: %s", printable(s.name), threadLocal)
			}
			return found.target(j), nil
		}
		if at, ok := o.canonical[s.name]; ok && !call && j == 0 {
			return target{0, at}, nil
		}
	}
	if s.bind == bindWeak {
		return target{-1, 0}, nil
	}
	return target{}, refuse("needs %s, which neither the image nor any of its libraries has: link the image again", printable(s.name))
}

// target is a symbol of a module.
func (s *dynSymbol) target(module int) target {
	if s.section == 0 || s.section == sectionAbs {
		module = -1
	}
	return target{module, s.value}
}

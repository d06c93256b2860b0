package elf

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Symbols that an image with libraries has: TableSymbol is the variable that tells its start, its end and its calls of its
// libraries, struct kx_libraries of guest/include/kx_abi.h; ResolveSymbol is the function by which a call comes that is not bound yet.
const (
	TableSymbol   = "kx_libraries"
	ResolveSymbol = "kx_resolve"
)

// Sizes of struct kx_libraries, bytes: a count, the image's item, and those of libraries.
const (
	tableHead = 8
	tableItem = 96
	tableBase = 40 // of base in an item
	tableNext = 88 // and of next
	tableSize = tableHead + (1+MaxLibraries)*tableItem
)

// Content is what writable memory holds at an address before the first instruction runs.
type Content struct {
	VA    uint64
	Bytes []byte
}

// Linked is an image with its libraries in their places.
type Linked struct {
	Libraries []Placed
	Content   []Content // of writable segments, where it is not that of the image's file, or zero

	linker
}

// Placed is a library at an address.
type Placed struct {
	Node
	Base uint64 // of the library's address 0; page-aligned
	Item int    // its place in the table, in the order in which constructors run
}

// module is an image or a library while it is linked.
type module struct {
	name string
	*Dynamic
	base   uint64
	r      io.ReaderAt // nil: the image
	item   uint64      // address of its part of the table
	lazy   bool        // calls are bound when they are made first
	own    bool        // of Node
	writes []Content
}

// linker binds symbols. The order of modules is that in which symbols are looked for: the image first.
type linker struct {
	modules  []module
	table    uint64 // address of TableSymbol
	copied   uint64 // bytes
	resolver uint64 // address of the function by which calls come that are made first; 0: all are bound at once
}

// maxCopied bounds what an image takes of its libraries' variables, bytes.
const maxCopied = 64 << 20

// maxAddresses is what all libraries of a pVM may have, bytes.
const maxAddresses = maxLibrary

// Place gives the libraries of a tree addresses from base on, each after a page that is left out. The result are the addresses of their
// addresses 0, and how many pages it takes.
func Place(tree []Node, base uint64) (bases []uint64, pages uint64) {
	for _, n := range tree {
		bases = append(bases, base+(pages+1)*PageSize)
		pages += 1 + n.Pages()
	}
	return bases, pages
}

// Link puts the libraries of a tree at page-aligned addresses and binds all symbols; with lazy, calls not yet, where that can be: the pVM
// does. A reference that nothing satisfies gives an *Error.
func Link(img *Image, tree []Node, bases []uint64, lazy bool) (*Linked, error) {
	libraries := make([]Placed, len(tree))
	for i, n := range tree {
		if bases[i]+n.Pages()*PageSize-bases[0] > maxAddresses {
			return nil, refuse("%s: no room: libraries have %d MiB of addresses", n.Name, maxAddresses>>20)
		}
		libraries[i] = Placed{Node: n, Base: bases[i]}
	}
	for item, i := range initOrder(tree, 0) {
		libraries[i].Item = item
	}
	return Relink(img, libraries, lazy)
}

// Relink finds out how an image is linked with libraries that are in their places. Their order is that in which symbols are looked for.
func Relink(img *Image, libraries []Placed, lazy bool) (*Linked, error) {
	out := &Linked{Libraries: libraries}
	k := &out.linker
	k.modules = []module{{name: "the image", Dynamic: img.Dynamic}}
	for i := range libraries {
		m := libraries[i].module()
		if err := m.load(); err != nil {
			return nil, within(m.name, err)
		}
		k.modules = append(k.modules, m)
	}
	if err := out.fillTable(lazy); err != nil {
		return nil, err
	}
	for i := len(k.modules) - 1; i >= 0; i-- { // the image last: it takes copies of what libraries hold
		if err := k.bind(i); err != nil {
			return nil, within(k.modules[i].name, err)
		}
	}
	for i := range k.modules {
		m := &k.modules[i]
		out.Content, m.writes = append(out.Content, m.writes...), nil
	}
	return out, nil
}

func (p *Placed) module() module {
	return module{name: p.Name, Dynamic: p.Dynamic, base: p.Base, r: p.r, own: p.Own}
}

// Calls counts, for each library, the calls of its functions that are bound, and those that are not yet, wherever they are made, in memory
// that read reads: 8 bytes at an address.
func (l *Linked) Calls(read func(va uint64, p []byte) error) (bound, unbound []int, err error) {
	bound, unbound = make([]int, len(l.Libraries)), make([]int, len(l.Libraries))
	var word [8]byte
	for k := range l.modules {
		m := &l.modules[k]
		targets, err := l.targets(k)
		if err != nil {
			return nil, nil, within(m.name, err)
		}
		for i := range m.slots {
			r, to := &m.slots[i], l.address(targets[len(m.relocs)+i])
			of := slices.IndexFunc(l.Libraries, func(p Placed) bool { return to >= p.Base && to-p.Base < p.Pages()*PageSize })
			if of < 0 {
				continue // the image's
			}
			if err := read(m.base+r.va, word[:]); err != nil {
				return nil, nil, err
			}
			if m.unbound[i] != 0 && le.Uint64(word[:]) == m.base+m.unbound[i] {
				unbound[of]++
			} else {
				bound[of]++
			}
		}
	}
	return bound, unbound, nil
}

// Name names an address in a library, for people: the library and the function, if others can call it, and how far in.
func (l *Linked) Name(address uint64) (name string, ok bool) {
	for i, p := range l.Libraries {
		at := address - p.Base
		if address < p.Base || at >= p.Pages()*PageSize {
			continue
		}
		for _, s := range l.modules[1+i].symbols {
			if s.typ == symbolFunc && s.section != 0 && at >= s.value && at-s.value < s.size {
				return fmt.Sprintf("%s:%s+0x%x", p.Node.Name, printable(s.name), at-s.value), true
			}
		}
		return fmt.Sprintf("%s+0x%x", p.Node.Name, at), true
	}
	return "", false
}

// Variable is the address of a variable of size bytes of the image's that libraries can use.
func (l *Linked) Variable(name string, size uint64) (va uint64, ok bool) {
	return l.modules[0].Variable(name, size)
}

// BaseWord is the address of the word, in the image, that tells where library i is: in its item of the table.
func (l *Linked) BaseWord(i int) uint64 { return l.modules[1+i].item + tableBase }

// within says in which module something is wrong.
func within(name string, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return refuse("%s: %s", name, own.Reason)
	}
	return err
}

// load reads what the writable segments of a library begin with.
func (m *module) load() error {
	for i := range m.segs {
		s := &m.segs[i]
		if s.Prot&Write == 0 || s.FileSize == 0 {
			continue
		}
		p, err := m.read(s.Off, s.FileSize)
		if err != nil {
			return err
		}
		m.writes = append(m.writes, Content{m.base + s.VA, p})
	}
	return nil
}

func (m *module) read(off, n uint64) ([]byte, error) {
	f := file{r: m.r}
	return f.read(off, n)
}

// set stores a word at an address of the module, in a writable segment.
func (m *module) set(va, value uint64) error {
	if m.r == nil {
		if n := len(m.writes); n > 0 && m.writes[n-1].VA+uint64(len(m.writes[n-1].Bytes)) == va {
			m.writes[n-1].Bytes = le.AppendUint64(m.writes[n-1].Bytes, value)
		} else {
			m.writes = append(m.writes, Content{va, le.AppendUint64(nil, value)})
		}
		return nil
	}
	for _, w := range m.writes {
		if off := m.base + va - w.VA; m.base+va >= w.VA && off+8 <= uint64(len(w.Bytes)) {
			le.PutUint64(w.Bytes[off:], value)
			return nil
		}
	}
	return refuse("damaged relocation at %#x: the file has nothing there", va)
}

// content is what a library has at an address before anything runs, n bytes of one segment.
func (m *module) content(va, n uint64) ([]byte, error) {
	p := make([]byte, n)
	for _, s := range m.segs {
		if off := va - s.VA; va >= s.VA && off < s.FileSize && s.Prot&Write == 0 {
			q, err := m.read(s.Off+off, min(n, s.FileSize-off))
			copy(p, q)
			return p, err
		}
	}
	for _, w := range m.writes {
		if off := m.base + va - w.VA; m.base+va >= w.VA && off < uint64(len(w.Bytes)) {
			copy(p, w.Bytes[off:])
		}
	}
	return p, nil
}

// bind does the relocations of a module. What a call means is looked for in any case.
func (k *linker) bind(i int) error {
	m := &k.modules[i]
	targets, err := k.targets(i)
	if err != nil {
		return err
	}
	for n, t := range targets {
		r := m.reloc(n)
		if r.typ == relocCopy {
			if err := k.copy(m, r); err != nil {
				return err
			}
			continue
		}
		value := k.word(r, t)
		if call := n - len(m.relocs); call >= 0 && m.lazy && m.unbound[call] != 0 && !(len(m.symbols) > 0 && m.prefers(&m.symbols[r.sym])) {
			value = m.base + m.unbound[call]
		}
		if err := m.set(r.va, value); err != nil {
			return err
		}
	}
	return nil
}

// prefers tells whether a symbol that the module refers to is its own, whatever others have by that name. The pVM knows nothing of this: such calls
// are bound at once.
func (m *module) prefers(s *dynSymbol) bool {
	_, has := m.defined[s.name]
	return m.own && has
}

// copy gives an image the first content of a library's variable that it has in its own memory.
func (k *linker) copy(m *module, r *reloc) error {
	if m.r != nil || len(m.symbols) == 0 {
		return refuse("relocation of type %d at %#x: compile it with kxsh cc -fPIC", r.typ, r.va)
	}
	s := &m.symbols[r.sym]
	for i := 1; i < len(k.modules); i++ {
		o := &k.modules[i]
		index, ok := o.defined[s.name]
		if !ok {
			continue
		}
		from := &o.symbols[index]
		switch {
		case from.section == sectionAbs || !in(m.segs, r.va, s.size, Write):
			return refuse("damaged relocation at %#x: %s has %d bytes", r.va, printable(s.name), s.size)
		case from.size != s.size:
			return refuse("%s has %d bytes in %s and %d in the image: link the image again", printable(s.name), from.size, o.name, s.size)
		}
		if k.copied += s.size; k.copied > maxCopied {
			return refuse("copies of its libraries' variables take more than %d MiB", maxCopied>>20)
		}
		p, err := o.content(from.value, s.size)
		if err != nil {
			return err
		}
		m.writes = append(m.writes, Content{r.va, p})
		return nil
	}
	return refuse("needs the variable %s, which none of its libraries has: link the image again", printable(s.name))
}

// fillTable fills the image's table, and has calls come by the resolver.
func (l *Linked) fillTable(lazy bool) error {
	image := &l.modules[0]
	index, ok := image.defined[TableSymbol]
	if !ok || image.symbols[index].size != tableSize || !in(image.segs, image.symbols[index].value, tableSize, Write) {
		return refuse("uses shared libraries without the start for them: link it with kxsh cc")
	}
	l.table = image.symbols[index].value
	image.item = l.table + tableHead
	for i := range l.Libraries {
		l.modules[1+i].item = l.itemAt(l.Libraries[i].Item)
	}
	p := make([]byte, tableHead+(1+len(l.Libraries))*tableItem)
	le.PutUint64(p, uint64(len(l.Libraries)))
	for i := range l.modules {
		at := l.modules[i].item - l.table
		if at+tableItem > uint64(len(p)) {
			return refuse("%s: damaged: library %d of %d", l.modules[i].name, l.Libraries[i-1].Item, len(l.Libraries))
		}
		for k, word := range l.itemWords(i) {
			le.PutUint64(p[at+8*uint64(k):], word)
		}
	}
	image.writes = append(image.writes, Content{l.table, p})
	if index, ok := image.defined[ResolveSymbol]; ok && lazy && in(image.segs, image.symbols[index].value, 1, Exec) {
		l.resolver = image.symbols[index].value
	}
	for i := range l.modules {
		l.modules[i].resolveBy(l.resolver)
	}
	return nil
}

// itemAt is the address of a library's part of the table.
func (l *Linked) itemAt(item int) uint64 { return l.table + tableHead + uint64(1+item)*tableItem }

// itemWords are struct kx_library of module i.
func (l *Linked) itemWords(i int) (words [tableItem / 8]uint64) {
	m := &l.modules[i]
	if i > 0 { // the image's own start calls its constructors
		words[0], words[1], words[2], words[3] = m.base+m.init.va, m.init.size/8, m.base+m.fini.va, m.fini.size/8
		for _, n := range l.Libraries[i-1].Needs {
			words[10] |= 1 << l.Libraries[n].Item
		}
	}
	words[4], words[5] = m.base+m.calls, m.base
	words[6], words[7], words[8] = m.base+m.tables.symbols, m.base+m.tables.strings, m.base+m.tables.hash
	if m.tables.name != 0 {
		words[9] = m.base + m.tables.name
	}
	if i+1 < len(l.modules) {
		words[11] = l.modules[i+1].item
	}
	return words
}

// resolveBy has a module's calls come by the resolver, if it can: they are bound when they are made first.
func (m *module) resolveBy(resolver uint64) {
	// The first word is the linker's own. A module without the others has no calls to be bound.
	if resolver != 0 && m.got != 0 && in(m.segs, m.got, 24, Write) && m.set(m.got+8, m.item) == nil && m.set(m.got+16, resolver) == nil {
		m.lazy = true
	}
}

package elf

import (
	"errors"
	"io"
)

// TableSymbol names the variable of an image that tells its start and its end what to call: struct kx_libraries of
// guest/include/kx_abi.h.
const TableSymbol = "kx_libraries"

// Sizes of struct kx_libraries, bytes.
const (
	tableHead = 8
	tableItem = 32
	tableSize = tableHead + MaxLibraries*tableItem
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
	Pages     uint64    // of image and libraries, from ImageVA
}

// Placed is a library at an address.
type Placed struct {
	Node
	Base uint64 // of the library's address 0; page-aligned
}

// module is an image or a library while it is linked.
type module struct {
	name string
	*Dynamic
	base   uint64
	r      io.ReaderAt // nil: the image
	writes []Content
}

// linker binds symbols. The order of modules is that in which symbols are looked for: the image first.
type linker struct {
	modules []module
	copied  uint64 // bytes
}

// maxCopied bounds what an image takes of its libraries' variables, bytes.
const maxCopied = 64 << 20

// Link places the libraries of a tree behind the image, the first one slide pages after a page that is left out, and binds all
// symbols. A reference that nothing satisfies gives an *Error.
func Link(img *Image, tree []Node, slide uint64) (*Linked, error) {
	out := &Linked{Pages: img.Pages() + slide}
	k := &linker{modules: []module{{name: "the image", Dynamic: img.Dynamic}}}
	for _, n := range tree {
		base := ImageVA + (out.Pages+1)*PageSize
		if base+n.Pages()*PageSize > ImageEnd {
			return nil, refuse("%s: no room: image and libraries have %d MiB of addresses", n.Name, (ImageEnd-ImageVA)>>20)
		}
		out.Pages += 1 + n.Pages()
		out.Libraries = append(out.Libraries, Placed{n, base})
		m := module{name: n.Name, Dynamic: n.Dynamic, base: base, r: n.r}
		if err := m.load(); err != nil {
			return nil, within(m.name, err)
		}
		k.modules = append(k.modules, m)
	}
	for i := range k.modules { // the image last: it takes copies of what libraries hold
		m := &k.modules[len(k.modules)-1-i]
		if err := k.bind(m); err != nil {
			return nil, within(m.name, err)
		}
	}
	if err := k.modules[0].table(out.Libraries); err != nil {
		return nil, err
	}
	for _, m := range k.modules {
		out.Content = append(out.Content, m.writes...)
	}
	return out, nil
}

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

// bind does the relocations of a module.
func (k *linker) bind(m *module) error {
	for _, list := range [][]reloc{m.relocs, m.slots} {
		for i := range list {
			r := &list[i]
			if r.typ == relocCopy {
				if err := k.copy(m, r); err != nil {
					return err
				}
				continue
			}
			value, err := k.value(m, r)
			if err != nil {
				return err
			}
			if err := m.set(r.va, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// value is what a relocation is to store.
func (k *linker) value(m *module, r *reloc) (uint64, error) {
	if r.typ == relocRelative {
		return m.base + r.addend, nil
	}
	if len(m.symbols) == 0 {
		return 0, refuse("damaged relocation at %#x: there are no symbols", r.va)
	}
	value, err := k.lookup(m, &m.symbols[r.sym], r.typ == relocJumpSlot)
	if r.typ == reloc64 {
		value += r.addend
	}
	return value, err
}

// lookup is the address of a symbol that a module refers to. A call never goes through an image's entry for the function.
func (k *linker) lookup(m *module, s *dynSymbol, call bool) (uint64, error) {
	if s.typ == symbolTLS {
		return 0, refuse("%s: %s", printable(s.name), threadLocal)
	}
	if s.name == "" || s.bind == bindLocal {
		return m.address(s), nil
	}
	for i := range k.modules {
		o := &k.modules[i]
		if index, ok := o.defined[s.name]; ok {
			found := &o.symbols[index]
			if found.typ == symbolTLS {
				return 0, refuse("%s: %s", printable(s.name), threadLocal)
			}
			return o.address(found), nil
		}
		if at, ok := o.canonical[s.name]; ok && !call && i == 0 {
			return at, nil
		}
	}
	if s.bind == bindWeak {
		return 0, nil
	}
	return 0, refuse("needs %s, which neither the image nor any of its libraries has: link the image again", printable(s.name))
}

// address is where a symbol of the module is.
func (m *module) address(s *dynSymbol) uint64 {
	if s.section == 0 || s.section == sectionAbs {
		return s.value
	}
	return m.base + s.value
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

// table fills the image's table of constructors and destructors.
func (m *module) table(libraries []Placed) error {
	index, ok := m.defined[TableSymbol]
	if !ok || m.symbols[index].size != tableSize || !in(m.segs, m.symbols[index].value, tableSize, Write) {
		return refuse("uses shared libraries without the start for them: link it with kxsh cc")
	}
	tree := make([]Node, len(libraries))
	for i, l := range libraries {
		tree[i] = l.Node
	}
	p := le.AppendUint64(nil, uint64(len(libraries)))
	for _, i := range initOrder(tree) {
		l := &libraries[i]
		for _, s := range []span{l.init, l.fini} {
			p = le.AppendUint64(le.AppendUint64(p, l.Base+s.va), s.size/8)
		}
	}
	m.writes = append(m.writes, Content{m.symbols[index].value, p})
	return nil
}

package privcmd

import (
	"fmt"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// walker reads a domain's page tables through read-only mappings of them.
type walker struct {
	c      *conn
	id     xen.DomID
	top    uint64
	tables map[uint64][]byte // by machine frame
}

func newWalker(c *conn, id xen.DomID, top uint64) *walker {
	return &walker{c: c, id: id, top: top, tables: map[uint64][]byte{}}
}

func (w *walker) close() {
	for _, t := range w.tables {
		w.c.munmap(t)
	}
}

// slot is the entry for an address in a table of the given level: its machine address, and what it
// holds. The guest writes its tables as it likes; Xen maps no frame for us that is not the guest's.
func (w *walker) slot(va uint64, level int) (at, entry uint64, err error) {
	if va >= 1<<47 {
		return 0, 0, fmt.Errorf("domain %d: no memory at %#x", w.id, va)
	}
	mfn := w.top
	for l := levels; ; l-- {
		t, ok := w.tables[mfn]
		if !ok {
			if t, err = w.c.mapFrames(w.id, []uint64{mfn}, protRead); err != nil {
				return 0, 0, fmt.Errorf("page tables: %w", err)
			}
			w.tables[mfn] = t
		}
		i := va >> (pageShift + 9*(l-1)) % perTable
		entry = (*[perTable]uint64)(unsafe.Pointer(&t[0]))[i]
		if l == level {
			return mfn<<pageShift + i*8, entry, nil
		}
		if entry&ptePresent == 0 {
			return 0, 0, fmt.Errorf("domain %d: no memory at %#x", w.id, va)
		}
		mfn = entry & pteFrame >> pageShift
	}
}

// frame is the machine frame behind an address.
func (w *walker) frame(va uint64) (uint64, error) {
	_, entry, err := w.slot(va, 1)
	if err == nil && entry&ptePresent == 0 {
		err = fmt.Errorf("domain %d: no memory at %#x", w.id, va)
	}
	return entry & pteFrame >> pageShift, err
}

// frames is frame for n pages.
func (w *walker) frames(va, n uint64) ([]uint64, error) {
	list := make([]uint64, n)
	for i := range list {
		var err error
		if list[i], err = w.frame(va + uint64(i)*pageSize); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// table is the machine frame of the table of level 1 for an address.
func (w *walker) table(va uint64) (uint64, error) {
	_, entry, err := w.slot(va, 2)
	if err == nil && entry&ptePresent == 0 {
		err = fmt.Errorf("domain %d: no memory at %#x", w.id, va)
	}
	return entry & pteFrame >> pageShift, err
}

// ReadMemory implements xen.Domain.
func (d *Domain) ReadMemory(va uint64, p []byte) error {
	if err := d.use(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	if va+uint64(len(p)) < va {
		return fmt.Errorf("domain %d: no memory at %#x", d.id, va)
	}
	if d.heir.Load() != nil {
		const region = 1 << abi.LazyShift
		for at := va &^ (region - 1); at < va+uint64(len(p)); at += region {
			if err := d.settle(at); err != nil {
				return err
			}
		}
	}
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	owners := []xen.DomID{d.id}
	for len(p) > 0 {
		into := va % pageSize
		n := min(pagesOf(into+uint64(len(p))), batchFrames)
		if len(owners) > 1 {
			n = 1
		}
		mfns, err := w.frames(va-into, n)
		if err != nil {
			return err
		}
		for i, owner := range owners {
			err = d.c.withFrames(owner, mfns, protRead, func(area []byte) error {
				done := copy(p, area[into:])
				p, va = p[done:], va+uint64(done)
				return nil
			})
			if err == nil {
				owners[0], owners[i] = owner, owners[0] // of the next one, too, most likely
				break
			}
		}
		if err == nil {
			continue
		}
		if len(owners) > 1 {
			return err
		}
		if owners = d.owners(); len(owners) == 1 {
			return err
		}
	}
	return nil
}

// owners are those to whom frames may belong that the domain has: itself, the holders of its libraries, and its ancestors.
func (d *Domain) owners() []xen.DomID {
	list := []xen.DomID{d.id}
	d.mapping.RLock()
	for _, s := range d.segment.Load().libraries {
		list = append(list, s.id)
	}
	d.mapping.RUnlock()
	return append(list, d.line...)
}

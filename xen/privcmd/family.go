package privcmd

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// The frames of a family area belong to a domain of their own, the holder, which is never started: so they stay whoever of the
// family ends first. It is made when the first member needs the area, and goes with the last one. Xen maps a frame
// into a member only while the holder is named as its owner, so nothing that a member has put in the place of an entry
// gets to another one.

const (
	// familyPages is the most that a family area has here: four page tables of each domain.
	familyPages = 2048
	// familyChunk is how many pages the area grows by.
	familyChunk = 64
)

// family is what a root and all its descendants have in common.
type family struct {
	h    *Hypervisor
	root xen.DomID

	mu      sync.Mutex
	holder  xen.DomID // 0: there is none
	mfns    []uint64  // of the area, in order
	unknown bool      // an earlier engine made the holder, and nobody has looked which frames it has
	members []*Domain // those born last at the end
}

// familyOf returns the family with that number; there is one as long as it has a member or a holder.
func (h *Hypervisor) familyOf(root xen.DomID) *family {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.families[root]
	if f == nil {
		f = &family{h: h, root: root}
		h.families[root] = f
	}
	return f
}

// join makes a domain that has just become known a member.
func (f *family) join(d *Domain) {
	d.family = f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = append(f.members, d)
}

// leave is the end of a member; with the last one the area goes.
func (f *family) leave(d *Domain) {
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = slices.DeleteFunc(f.members, func(m *Domain) bool { return m == d })
	for _, m := range f.members {
		m.closeLines(func(id xen.DomID) bool { return id == d.id })
	}
	if len(f.members) == 0 {
		f.end()
	}
}

// end ends the holder; the hypervisor and the family are locked.
func (f *family) end() {
	delete(f.h.families, f.root)
	if f.holder != 0 {
		f.h.c.destroy(f.holder)
		f.h.unlabel(f.holder, f.handle())
		f.holder, f.mfns = 0, nil
	}
}

// handle is the holder's.
func (f *family) handle() handle { return f.h.mark(holderMark, f.root) }

// Family implements xen.Domain.
func (d *Domain) Family(pages uint64) (uint64, error) {
	if err := d.useLiving(); err != nil {
		return 0, err
	}
	defer d.mu.RUnlock()
	f := d.family
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.know(d); err != nil {
		return 0, err
	}
	if err := f.grow(min(pages, familyPages)); err != nil {
		return uint64(len(f.mfns)), err
	}
	if err := f.show(d, d.familyTables); err != nil {
		return 0, err
	}
	shown := []*Domain{d}
	for _, m := range f.members {
		if m != d && m.mu.TryRLock() { // else it is being released
			defer m.mu.RUnlock()
			if !m.released && f.show(m, m.familyTables) == nil { // one that is going needs no more
				shown = append(shown, m)
			}
		}
	}
	for _, m := range shown { // who uses a page first must not be ahead of who looks at it next
		m.tellShown()
	}
	return uint64(len(f.mfns)), nil
}

// grow gives the holder frames, and makes it first if there is none.
func (f *family) grow(pages uint64) error {
	have := uint64(len(f.mfns))
	if pages <= have {
		return nil
	}
	want := min((pages+familyChunk-1)/familyChunk*familyChunk, familyPages)
	c := f.h.c
	if f.holder == 0 {
		id, err := c.create(&createDomain{handle: f.handle(), evtchnPort: 1})
		if err != nil {
			return fmt.Errorf("family area: %w", err)
		}
		f.holder = id
	}
	if err := domctl(c, domctlMaxMem, f.holder, &maxMem{want * pageSize >> 10}); err != nil {
		return fmt.Errorf("family area: %w", err)
	}
	more := make([]uint64, want-have)
	err := c.populate(f.holder, more)
	if err == nil && f.h.dirty {
		err = c.clearFrames(f.holder, more)
	}
	if err != nil {
		if have == 0 { // later the frames are looked up in a member
			c.destroy(f.holder)
			f.holder = 0
		}
		return fmt.Errorf("family area: %w", err)
	}
	f.mfns = append(f.mfns, more...)
	if have == 0 {
		f.h.label(f.holder, f.handle(), "kxsh-family")
	}
	return nil
}

// show maps what of the area a member does not have yet, by its tables; tellShown follows.
func (f *family) show(d *Domain, tablesOf func() ([]uint64, error)) error {
	if uint64(len(f.mfns)) <= d.familyShown {
		return nil
	}
	tables, err := tablesOf()
	if err != nil {
		return err
	}
	if _, err := f.h.c.mmuUpdates(d.id, f.holder, f.entries(tables, d.familyShown, uint64(len(f.mfns)), spanData)); err != nil {
		return err
	}
	d.familyShown = uint64(len(f.mfns))
	return nil
}

// Guard implements xen.Domain. Xen does not flush the domain's TLB for it: that is the domain's business, who is the only one to be protected from itself.
func (d *Domain) Guard(page, n uint64, readOnly bool) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	f := d.family
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.know(d); err != nil {
		return err
	}
	if page > d.familyShown || n > d.familyShown-page {
		return fmt.Errorf("family area: %d pages from %d of %d", n, page, d.familyShown)
	}
	tables, err := d.familyTables()
	if err != nil {
		return err
	}
	bits := uint64(spanData)
	if readOnly {
		bits &^= pteWrite
	}
	_, err = f.h.c.mmuUpdates(d.id, f.holder, f.entries(tables, page, page+n, bits))
	return err
}

// entries map pages of the area, from the first up to an end.
func (f *family) entries(tables []uint64, first, end, bits uint64) []mmuUpdate {
	ops := make([]mmuUpdate, 0, end-first)
	for i := first; i < end; i++ {
		page := abi.FamilyVa/pageSize + i
		ops = append(ops, mmuUpdate{Ptr: tables[i/perTable]<<pageShift + page%perTable*8, Val: f.mfns[i]<<pageShift | bits})
	}
	return ops
}

// tellShown says to a domain what it has been shown.
func (d *Domain) tellShown() {
	k := (*abi.KxControl)(unsafe.Pointer(&d.area[abi.ControlVa-abi.CtlVa]))
	atomic.StoreUint32(&k.FamilyPages, uint32(d.familyShown))
}

// familyTables are the machine frames of the tables of level 1 that the area is mapped by.
func (d *Domain) familyTables() (tables []uint64, err error) {
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	for va := uint64(abi.FamilyVa); va < abi.FamilyVa+familyPages*pageSize; va += perTable * pageSize {
		mfn, err := w.table(va)
		if err != nil {
			return nil, err
		}
		tables = append(tables, mfn)
	}
	return tables, nil
}

// know finds the frames of a holder that an earlier engine made, in a member. What that one has put in their place
// instead Xen maps for nobody else: the holder does not own it.
func (f *family) know(d *Domain) error {
	if !f.unknown {
		return nil
	}
	info, err := f.h.c.domainInfo(f.holder)
	if err != nil {
		return err
	}
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	mfns, err := w.frames(abi.FamilyVa, min(info.TotPages, familyPages))
	if err != nil {
		return errors.Join(xen.ErrNoFork, err)
	}
	f.mfns, f.unknown = mfns, false
	for _, m := range f.members {
		m.familyShown = uint64(len(mfns))
	}
	return nil
}

// adoptHolder remembers the holder of an earlier engine.
func (h *Hypervisor) adoptHolder(root, id xen.DomID) {
	f := h.familyOf(root)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holder, f.unknown = id, true
}

// endStrangers ends the holders of which no member was adopted, and has the other families forget members that were not.
func (h *Hypervisor) endStrangers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.families {
		f.mu.Lock()
		f.closeStale()
		if len(f.members) == 0 {
			f.end()
		}
		f.mu.Unlock()
	}
}

// joinFamily makes a child that has not run a member of its parent's family, with what that has. tables are its familyTables.
func (d *Domain) joinFamily(parent *Domain, tables []uint64) error {
	f := parent.family
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holder != 0 {
		if err := f.know(parent); err != nil {
			return err
		}
		if err := f.show(d, func() ([]uint64, error) { return tables, nil }); err != nil {
			return err
		}
		d.tellShown()
	}
	d.family = f
	f.members = append(f.members, d)
	return nil
}

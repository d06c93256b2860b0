package privcmd

import (
	"fmt"
	"slices"
	"sync/atomic"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// kindShared is what is in none of a parent's ranges, kindCopied all there is if it does not copy on write.
const (
	kindShared = 0
	kindCopied = abi.RangeCopy
)

// pteOurs is what of a page table entry is not Xen's own.
const pteOurs uint64 = pteFrame | pteNX | (pageSize - 1)

// apart says which pages of a RAM window are not to be shared: a kind for each, or nil for all.
type apart []uint8

// ranges reads what a domain says of them, each word once. What is out of bounds is cut: it is the domain that has to
// live with it.
func (d *Domain) ranges() apart {
	c, pages := d.control(), d.geometry.pages
	kinds := make(apart, pages)
	for i := range min(atomic.LoadUint32(&c.RangesCount), abi.Ranges) {
		r := &c.Ranges[i]
		first := min(uint64(atomic.LoadUint32(&r.First)), pages)
		end := min(first+uint64(atomic.LoadUint32(&r.Pages)), pages)
		kind := atomic.LoadUint32(&r.Kind)
		for k := first; k < end; k++ {
			if kind != abi.RangeDrop {
				kinds[k] = abi.RangeCopy
			} else if kinds[k] == kindShared {
				kinds[k] = abi.RangeDrop
			}
		}
	}
	return kinds
}

// holds tells whether a page of the window is in a range.
func (a apart) holds(page uint64) bool { return a[page] != kindShared }

func (a apart) kind(g *geometry, frame uint64) uint8 {
	switch {
	case a == nil:
		return kindCopied
	case frame < g.image:
		return kindShared
	}
	return a[frame-g.image]
}

// share gives the child the parent's frames, and takes the right to write to them from the parent, which is paused: Xen
// then has it forget its TLB. No frame can be given up before the child holds it, and Xen's reference counts do
// the rest. If a step fails, the parent may copy without need.
func (f *fork) share() error {
	var pages []*forked
	for i := range f.pages {
		if p := &f.pages[i]; p.shared {
			pages = append(pages, p)
		}
	}
	if len(pages) == 0 {
		return nil
	}
	if err := f.allowParent(); err != nil {
		return err
	}
	// The bit comes first: without it the parent would take its next write for a mistake of its program.
	err := f.eachNumber(f.parent.id, f.parent.list, true, pages, func(p *forked, number *uint64) {
		n := atomic.LoadUint64(number)
		p.owner = f.parent.id
		if owner := xen.DomID(n >> abi.MfnOwnerShift & abi.MfnOwner); n&abi.MfnShared != 0 && owner != 0 {
			p.owner = owner
		}
		atomic.StoreUint64(number, n|abi.MfnShared)
	})
	if err != nil {
		return err
	}
	// Xen has the last word on owners, but an ancestor it must be.
	byOwner := map[xen.DomID][]mmuUpdate{}
	var parent []mmuUpdate
	for _, p := range pages {
		if !slices.Contains(f.d.line, p.owner) {
			return fmt.Errorf("%#x: %w: it says that domain %d owns it", f.geo.address(p.frame), xen.ErrNoFork, p.owner)
		}
		entry := f.l.entry(f.mfns, f.geo.address(p.frame))
		byOwner[p.owner] = append(byOwner[p.owner], mmuUpdate{entry, p.from<<pageShift | p.bits})
		if p.entry&pteWrite != 0 {
			parent = append(parent, mmuUpdate{p.place, p.entry & pteOurs &^ pteWrite})
		}
	}
	for owner, ops := range byOwner {
		if _, err := f.h.c.mmuUpdates(f.d.id, owner, ops); err != nil {
			return err
		}
	}
	_, err = f.h.c.mmuUpdates(f.parent.id, f.parent.id, parent)
	return err
}

// allowParent lets the parent have copies of all its pages beside the frames that its descendants may still hold.
func (f *fork) allowParent() error {
	p := f.parent
	if p.capped.Load() {
		return nil
	}
	n := f.h.descendants(p.id) + 1 // with the child
	return domctl(f.h.c, domctlMaxMem, p.id, &maxMem{(p.base + uint64(n)*f.geo.frames()) * pageSize >> 10})
}

// descendants counts the living ones of a domain.
func (h *Hypervisor) descendants(id xen.DomID) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.domains {
		if !d.isGone() && slices.Contains(d.line, id) {
			n++
		}
	}
	return n
}

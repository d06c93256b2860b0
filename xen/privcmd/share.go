package privcmd

import (
	"fmt"
	"slices"
	"sync"
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

// apart says which pages of image and window are not to be shared: a kind for each.
type apart []uint8

// ranges reads what a domain says of its window, each word once. What is out of bounds is cut: it is the domain that has to
// live with it.
func (d *Domain) ranges() apart {
	c, g := d.control(), &d.geometry
	all := make(apart, g.frames())
	kinds := all[g.image:]
	for i := range min(atomic.LoadUint32(&c.RangesCount), abi.Ranges) {
		r := &c.Ranges[i]
		first := min(uint64(atomic.LoadUint32(&r.First)), g.pages)
		end := min(first+uint64(atomic.LoadUint32(&r.Pages)), g.pages)
		kind := atomic.LoadUint32(&r.Kind)
		for k := first; k < end; k++ {
			if kind != abi.RangeDrop {
				kinds[k] = abi.RangeCopy
			} else if kinds[k] == kindShared {
				kinds[k] = abi.RangeDrop
			}
		}
	}
	return all
}

// shared are the pages of which the child gets the parent's frames, in order: nearly all that were written to.
type shared struct {
	frames  []uint32    // pseudo-physical
	entries []uint64    // the parent's page table entries
	owners  []xen.DomID // whose the machine frames are
	updates []mmuUpdate // room for what is asked of Xen
}

// sharedPool saves most of the page faults: new memory for all the pages takes as long as looking at them.
var sharedPool = sync.Pool{New: func() any { return new(shared) }}

func (s *shared) done() {
	s.frames, s.entries = s.frames[:0], s.entries[:0]
	sharedPool.Put(s)
}

// share gives the child the parent's frames, and takes the right to write to them from the parent, which is paused: Xen
// then has it forget its TLB. No frame can be given up before the child holds it, and Xen's reference counts do
// the rest. If a step fails, the parent may copy without need.
func (f *fork) share() error {
	s := f.shared
	if len(s.frames) == 0 {
		return nil
	}
	if err := f.allowParent(); err != nil {
		return err
	}
	// The bit comes first: without it the parent would take its next write for a mistake of its program.
	const nobody = ^xen.DomID(0)
	var owners []xen.DomID // each once
	last, stranger := nobody, nobody
	s.owners = slices.Grow(s.owners[:0], len(s.frames))[:len(s.frames)]
	err := f.eachNumber(view{f.parent.id, f.parent.list, true}, s.frames, func(i int, number *uint64) {
		n := atomic.LoadUint64(number)
		owner := f.parent.id
		if named := xen.DomID(n >> abi.MfnOwnerShift & abi.MfnOwner); n&abi.MfnShared != 0 && named != 0 {
			owner = named
		}
		if s.owners[i] = owner; owner != last {
			// Xen has the last word on owners, but an ancestor it must be.
			if last = owner; !slices.Contains(f.d.line, owner) {
				stranger = owner
			} else if !slices.Contains(owners, owner) {
				owners = append(owners, owner)
			}
		}
		atomic.StoreUint64(number, n|abi.MfnShared)
	})
	if err != nil {
		return err
	}
	if stranger != nobody {
		return fmt.Errorf("%w: it says that domain %d owns some of its frames", xen.ErrNoFork, stranger)
	}
	s.updates = slices.Grow(s.updates[:0], len(s.frames))
	for _, owner := range owners {
		ops := s.updates[:0]
		for i, entry := range s.entries {
			if s.owners[i] == owner {
				ops = append(ops, mmuUpdate{f.geo.entry(f.d.leaves, uint64(s.frames[i])), entry&(pteFrame|pteNX) | pteBase})
			}
		}
		if _, err := f.h.c.mmuUpdates(f.d.id, owner, ops); err != nil {
			return err
		}
	}
	ops := s.updates[:0]
	for i, entry := range s.entries {
		if entry&pteWrite != 0 {
			ops = append(ops, mmuUpdate{f.geo.entry(f.parent.leaves, uint64(s.frames[i])), entry & pteOurs &^ pteWrite})
		}
	}
	_, err = f.h.c.mmuUpdates(f.parent.id, f.parent.id, ops)
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

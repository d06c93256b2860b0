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

// apart says which pages of image and window are not to be shared: a kind for each.
type apart []uint8

// of is for n pages, at most those of a table.
func (a apart) of(frame uint64, n int) apart {
	if a == nil {
		return allShared[:n]
	}
	return a[frame:][:n]
}

var allShared apart = make(apart, perTable)

// ranges reads what a domain says of its window, each word once, in place of what was in old. What is out of bounds is cut: it is the
// domain that has to live with it.
func (d *Domain) ranges(old apart) apart {
	c, g := d.control(), &d.geometry
	all := slices.Grow(old[:0], int(g.frames()))[:g.frames()]
	clear(all)
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

// share gives the child the parent's frames, and takes the right to write to them from the parent, which is paused: Xen
// then has it forget its TLB. No frame can be given up before the child holds it, and Xen's reference counts do
// the rest. If a step fails, the parent may copy without need.
func (p *part) share() error {
	s := p.shared
	if len(s.frames) == 0 {
		return nil
	}
	// The bit comes first: without it the parent would take its next write for a mistake of its program.
	const nobody = ^xen.DomID(0)
	var owners []xen.DomID // each once
	var lent uint32        // of the parent's own frames, for the first time
	last, stranger := nobody, nobody
	s.owners = slices.Grow(s.owners[:0], len(s.frames))[:len(s.frames)]
	err := p.eachNumber(view{p.parent.id, p.parent.list, true}, s.frames, func(i int, number *uint64) {
		n := atomic.LoadUint64(number)
		owner := p.parent.id
		if named := xen.DomID(n >> abi.MfnOwnerShift & abi.MfnOwner); n&abi.MfnShared != 0 && named != 0 {
			owner = named
		}
		if s.owners[i] = owner; owner != last {
			// Xen has the last word on owners, but an ancestor it must be.
			if last = owner; !slices.Contains(p.child.line, owner) {
				stranger = owner
			} else if !slices.Contains(owners, owner) {
				owners = append(owners, owner)
			}
		}
		if n&abi.MfnShared == 0 {
			lent++
		}
		atomic.StoreUint64(number, n|abi.MfnShared)
	})
	if !p.parent.destroyed.Load() { // its control area may have gone
		atomic.AddUint32(&p.parent.control().FramesLent, lent)
	}
	atomic.AddUint32(&p.child.control().FramesBorrowed, uint32(len(s.frames)))
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
				ops = append(ops, mmuUpdate{p.geo.entry(p.child.leaves, uint64(s.frames[i])), entry&(pteFrame|pteNX) | pteBase})
			}
		}
		if _, err := p.parent.h.c.mmuUpdates(p.child.id, owner, ops); err != nil {
			return err
		}
	}
	ops := s.updates[:0]
	for i, entry := range s.entries {
		if entry&pteWrite != 0 {
			ops = append(ops, mmuUpdate{p.geo.entry(p.parent.leaves, uint64(s.frames[i])), entry & pteOurs &^ pteWrite})
		}
	}
	_, err = p.parent.h.c.mmuUpdates(p.parent.id, p.parent.id, ops)
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

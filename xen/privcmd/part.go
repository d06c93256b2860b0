package privcmd

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// part is some of a parent's memory, on its way to a child: pages that it copies, and pages that both have from then on.
type part struct {
	parent  *Domain
	child   *Domain
	geo     geometry // of both
	marked  bool     // abi.ForkMarked
	sharing bool     // frames are shared: abi.ForkShared
	apart   apart    // nil: all is shared
	own     []forked
	shared  *shared
}

// forked is a page of the child that is not as a blank has it, and its own.
type forked struct {
	frame uint64 // pseudo-physical
	bits  uint64 // of the child's page table entry
	from  uint64 // the parent's machine frame if its content is wanted, or 0
	to    uint64 // the child's
}

// shared are the pages of which the child gets the parent's frames, in order: nearly all that were written to.
type shared struct {
	frames  []uint32    // pseudo-physical
	entries []uint64    // the parent's page table entries
	owners  []xen.DomID // whose the machine frames are
	updates []mmuUpdate // room for what is asked of Xen
	apart   apart       // room for part.apart
}

// sharedPool saves most of the page faults: new memory for all the pages takes as long as looking at them.
var sharedPool = sync.Pool{New: func() any { return new(shared) }}

func (s *shared) done() {
	s.frames, s.entries = s.frames[:0], s.entries[:0]
	sharedPool.Put(s)
}

// read looks at the parent's page table entries in tables of level 1, leaves of the geometry, in order. They are the parent's to
// write, and each is read once: Xen shows and counts no frame for us that is not the parent's.
func (p *part) read(leaves []int, numbers []uint64) error {
	mfns := make([]uint64, len(leaves))
	for i, leaf := range leaves {
		mfns[i] = p.parent.leaves[leaf]
	}
	for len(mfns) > 0 {
		n := min(len(mfns), windowFrames)
		err := p.parent.h.window.with(p.parent.h.c, view{p.parent.id, mfns[:n], false}, func(area []byte) error {
			for at, leaf := range leaves[:n] {
				first, count := p.geo.leaf(leaf)
				if err := p.sort(first, words(area[at*pageSize:][:pageSize])[:count], numbers); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		mfns, leaves = mfns[n:], leaves[n:]
	}
	return p.keep()
}

// sort finds out what is to be done for pages of image or window, by their page table entries. Without the parent's promise
// (abi.ForkMarked) all content counts, also of frames that are not mapped: only the LibOS knows which it has given up.
func (p *part) sort(frame uint64, entries, numbers []uint64) error {
	// The loop is what most of a large window's time goes to.
	image, apart, marked, sharing, shared := frame < p.geo.image, p.apart.of(frame, len(entries)), p.marked, p.sharing, p.shared
	for i := range entries {
		entry := atomic.LoadUint64(&entries[i])
		kind, present := apart[i], entry&ptePresent != 0
		switch {
		case marked && entry&(ptePresent|pteKept) == 0:
			continue
		case kind == kindLibrary && p.fromLibrary(frame+uint64(i), entry):
			continue
		case present && (kind == abi.RangeDrop || kind == kindShared && !image && entry&pteDirty == 0):
			continue // the child gets a page of zeroes when it looks
		case present && kind == kindShared && sharing && (!image || entry&pteWrite == 0):
			shared.frames, shared.entries = append(shared.frames, uint32(frame)+uint32(i)), append(shared.entries, entry)
			continue
		}
		f := forked{frame: frame + uint64(i)}
		switch {
		case present:
			mfn := entry & pteFrame >> pageShift
			if numbers != nil && numbers[f.frame] != mfn {
				return fmt.Errorf("%#x: %w: it has mapped another frame than that of its list", p.geo.address(f.frame), xen.ErrNoFork)
			}
			f.bits = entry&(pteWrite|pteNX) | pteBase&^pteDirty
			if !marked || image || entry&pteDirty != 0 {
				f.bits |= pteDirty
				f.from = mfn
			}
		case !marked:
			f.from = numbers[f.frame]
		case entry&pteKept != 0:
			f.bits = pteKept
		}
		if f.bits != 0 || f.from != 0 {
			p.own = append(p.own, f)
		}
	}
	return nil
}

// keep finds the frames that the parent has not mapped, but wants.
func (p *part) keep() error {
	var kept []*forked
	var frames []uint32
	for i := range p.own {
		if f := &p.own[i]; f.bits == pteKept {
			kept, frames = append(kept, f), append(frames, uint32(f.frame))
		}
	}
	return p.eachNumber(view{p.parent.id, p.parent.list, false}, frames, func(i int, number *uint64) { kept[i].from = atomic.LoadUint64(number) })
}

// eachNumber calls at with the place of each of some frames, which are in order, in a domain's list of machine frame numbers.
func (p *part) eachNumber(list view, frames []uint32, at func(i int, number *uint64)) error {
	first := p.geo.numbers() - p.geo.image
	for done := 0; done < len(frames); {
		shown, ends := view{id: list.id, writable: list.writable}, []int(nil)
		for end := done; end < len(frames) && len(ends) < windowFrames; ends = append(ends, end) {
			page := (first + uint64(frames[end])) / perTable
			shown.mfns = append(shown.mfns, list.mfns[page])
			end += sort.Search(len(frames)-end, func(k int) bool { return (first+uint64(frames[end+k]))/perTable > page })
		}
		err := p.parent.h.window.with(p.parent.h.c, shown, func(area []byte) error {
			for page, end := range ends {
				numbers := words(area[page*pageSize:][:pageSize])
				for ; done < end; done++ {
					at(done, &numbers[(first+uint64(frames[done]))%perTable])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// frames gets the child frames of its own; of a page that is shared it gets one when it copies.
func (p *part) frames() error {
	if len(p.own) == 0 {
		return nil
	}
	mfns := make([]uint64, len(p.own))
	if err := p.parent.h.c.populate(p.child.id, mfns); err != nil {
		return err
	}
	var zero []uint64
	for i := range p.own {
		f := &p.own[i]
		if f.to = mfns[i]; f.from == 0 && p.parent.h.dirty {
			zero = append(zero, f.to)
		}
	}
	return p.parent.h.c.clearFrames(p.child.id, zero)
}

func (p *part) copy() error {
	var from, to []uint64
	for i := range p.own {
		if f := &p.own[i]; f.from != 0 {
			from, to = append(from, f.from), append(to, f.to)
		}
	}
	return p.parent.h.window.copy(p.parent.h.c, p.parent.id, from, p.child.id, to)
}

// mapped makes the child's page table entries those of the parent, with its own frames.
func (p *part) mapped() error {
	var ops []mmuUpdate
	for i := range p.own {
		f := &p.own[i]
		if f.bits == 0 {
			continue
		}
		op := mmuUpdate{Ptr: p.geo.entry(p.child.leaves, f.frame), Val: f.bits}
		if f.bits&ptePresent != 0 {
			op.Val |= f.to << pageShift
		}
		ops = append(ops, op)
	}
	_, err := p.parent.h.c.mmuUpdates(p.child.id, p.child.id, ops)
	return err
}

// list writes the child's list of machine frame numbers.
func (p *part) list() error {
	list, own := view{p.child.id, p.child.list, true}, make([]uint32, len(p.own))
	for i := range p.own {
		own[i] = uint32(p.own[i].frame)
	}
	if err := p.eachNumber(list, own, func(i int, number *uint64) { *number = p.own[i].to }); err != nil {
		return err
	}
	owners := p.shared.owners
	return p.eachNumber(list, p.shared.frames, func(i int, number *uint64) { *number = abi.MfnShared | uint64(owners[i])<<abi.MfnOwnerShift })
}

// words is memory as numbers.
func words(area []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(area))), len(area)/8)
}

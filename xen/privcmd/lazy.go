package privcmd

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// What of a fork depends on how much memory there is comes after it: while the parent is paused, its regions of 2 MiB only lose
// write permission in the entries above, which are few. A child that lacks a region is its parent's heir. It gets the
// region when either of the two wants to use it, or else in the background; then the parent may write again. So a child that
// ends soon costs nearly nothing.

// fillAfter is how long a child is left alone before it gets what it has not asked for.
const fillAfter = 10 * time.Millisecond

// pteThawed marks the entry of a region that has been frozen, and can be written to again; it is software's.
const pteThawed = 1 << 9

// regions is a set of regions.
type regions [abi.LazyWords]uint64

func (s *regions) has(r int) bool { return s[r/64]>>(r%64)&1 != 0 }
func (s *regions) add(r int)      { s[r/64] |= 1 << (r % 64) }
func (s *regions) remove(r int)   { s[r/64] &^= 1 << (r % 64) }

// next is the first from r on, or -1.
func (s *regions) next(r int) int {
	for ; r < abi.LazyRegions; r++ {
		if s[r/64] == 0 {
			r |= 63
		} else if s.has(r) {
			return r
		}
	}
	return -1
}

// heir is a child that lacks regions; guarded by its parent's freezing.
type heir struct {
	part
	lacks regions
}

// lazyRegions lists the regions that can be shared later: those without a page that is not to be shared at all.
func (g *geometry) lazyRegions(a apart) (list []int) {
	var none [perTable]uint8
	for r := range min(abi.LazyRegions, tablesFor(g.pages)) {
		first, n := g.leaf(g.leafOf(r))
		if string(a[first:][:n]) == string(none[:n]) {
			list = append(list, r)
		}
	}
	return list
}

// regionAt is the region of an address, or -1.
func (g *geometry) regionAt(va uint64) int {
	r := (va - g.ramVA) >> abi.LazyShift
	if va < g.ramVA || r >= uint64(min(abi.LazyRegions, tablesFor(g.pages))) {
		return -1
	}
	return int(r)
}

// freeze takes the right to write to the lazy regions from the parent, which is paused: that flushes its TLB. The child becomes
// its heir.
func (f *fork) freeze() error {
	if len(f.regions) == 0 {
		return nil
	}
	p := f.parent
	p.freezing.Lock()
	defer p.freezing.Unlock()
	h := &heir{part: part{parent: p, child: f.d, geo: f.geo, marked: true, sharing: true}}
	for _, r := range f.regions {
		h.lacks.add(r)
		p.frozen.add(r)
	}
	p.heirs = append(p.heirs, h)
	f.d.heir.Store(h)
	f.steps.OnFailure(f.d.renounce)
	if err := p.setWritable(f.regions, false); err != nil {
		return err
	}
	// The bits come last: to an engine that comes after ours has died, one of a region that can be written to is a child's. See relink.
	h.lacks.tell(p)
	return nil
}

// tell has a domain know that the regions are lazy.
func (s *regions) tell(d *Domain) {
	for i := range s {
		atomic.OrUint64(&d.control().Lazy[i], s[i])
	}
}

// setWritable changes whether a domain can write to regions of its window, whatever their pages' own entries say.
func (d *Domain) setWritable(list []int, writable bool) error {
	ops := make([]mmuUpdate, len(list))
	for i, r := range list {
		leaf := d.geometry.leafOf(r)
		ops[i] = mmuUpdate{d.slots[leaf], d.leaves[leaf]<<pageShift | pteTable&^pteWrite}
		if writable {
			ops[i].Val |= pteWrite | pteThawed
		}
	}
	_, err := d.c.mmuUpdates(d.id, d.id, ops)
	return err
}

// Settle implements xen.Domain.
func (d *Domain) Settle(va uint64) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	return d.settle(va)
}

// settle gives a child the region of an address, if it lacks it, or has all heirs get it, so that this domain can write
// to it.
func (d *Domain) settle(va uint64) error {
	r := d.geometry.regionAt(va)
	if r < 0 || atomic.LoadUint64(&d.control().Lazy[r/64])>>(r%64)&1 == 0 {
		return nil
	}
	if h := d.heir.Load(); h != nil {
		h.parent.freezing.Lock()
		defer h.parent.freezing.Unlock()
		return h.get(r)
	}
	d.freezing.Lock()
	defer d.freezing.Unlock()
	if d.orphaned.has(r) {
		return d.errOrphaned(va)
	}
	for _, h := range slices.Clone(d.heirs) {
		h.getOrEnd(r)
	}
	return d.thaw([]int{r})
}

func (d *Domain) errOrphaned(va uint64) error {
	return fmt.Errorf("domain %d: %#x: %w: its parent ended before it had that memory", d.id, va, xen.ErrNoFork)
}

// settleOwn gives a child all that it lacks.
func (d *Domain) settleOwn() error {
	h := d.heir.Load()
	if h == nil {
		d.freezing.Lock()
		defer d.freezing.Unlock()
		if d.orphaned != (regions{}) {
			return d.errOrphaned(d.geometry.ramVA)
		}
		return nil
	}
	h.parent.freezing.Lock()
	defer h.parent.freezing.Unlock()
	for r := h.lacks.next(0); r >= 0; r = h.lacks.next(r) {
		if err := h.get(r); err != nil {
			return err
		}
	}
	return nil
}

// settleHeirs gives all heirs all that they lack: the domain is about to end.
func (d *Domain) settleHeirs() {
	d.freezing.Lock()
	defer d.freezing.Unlock()
	for _, h := range slices.Clone(d.heirs) {
		for r := h.lacks.next(0); r >= 0; r = h.lacks.next(r + 1) {
			h.getOrEnd(r)
		}
	}
}

// get gives an heir a region, if it lacks it. With what fails the heir is as it was, or has some of it: it may not look before it
// is told that it has all.
func (h *heir) get(r int) error {
	if !h.lacks.has(r) {
		return nil
	}
	p := h.parent
	if err := p.h.window.open(p.c, p.id, p.top); err != nil {
		return err
	}
	t := h.part
	t.shared = sharedPool.Get().(*shared)
	defer t.shared.done()
	err := t.read([]int{t.geo.leafOf(r)}, nil)
	for _, step := range []func() error{t.frames, t.copy, t.share, t.mapped, t.list} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return err
	}
	h.lacks.remove(r)
	h.child.unlazy(r)
	if h.lacks == (regions{}) {
		p.forget(h)
	}
	return p.thaw([]int{r})
}

// getOrEnd is get, or the heir's end.
func (h *heir) getOrEnd(r int) {
	if h.child.isGone() {
		return
	}
	if err := h.get(r); err != nil {
		h.child.end(xen.Exit{Reason: xen.ExitKilled, Detail: fmt.Sprintf("it could not get its parent's memory: %v", err)})
	}
}

// thaw gives the domain back the right to write to those of some regions that no heir lacks any more.
func (d *Domain) thaw(list []int) error {
	if d.destroyed.Load() { // nobody writes there any more
		return nil
	}
	var free, frozen []int
	for _, r := range list {
		if slices.ContainsFunc(d.heirs, func(h *heir) bool { return h.lacks.has(r) && !h.child.isGone() }) {
			continue
		}
		if free = append(free, r); d.frozen.has(r) {
			frozen = append(frozen, r)
		}
	}
	if err := d.setWritable(frozen, true); err != nil {
		return err
	}
	if len(frozen) > 0 {
		d.thaws.Add(1)
	}
	for _, r := range free {
		d.frozen.remove(r)
		d.unlazy(r)
	}
	return nil
}

// unlazy tells a domain that a region is as its page table entries say.
func (d *Domain) unlazy(r int) { atomic.AndUint64(&d.control().Lazy[r/64], ^(uint64(1) << (r % 64))) }

// forget ends a child's being an heir; freezing is held.
func (d *Domain) forget(h *heir) {
	d.heirs = slices.DeleteFunc(d.heirs, func(other *heir) bool { return other == h })
	h.child.heir.Store(nil)
}

// renounce is a child's end, as far as it lacks something.
func (d *Domain) renounce() {
	h := d.heir.Load()
	if h == nil {
		return
	}
	p := h.parent
	p.freezing.Lock()
	defer p.freezing.Unlock()
	if d.heir.Load() == nil {
		return
	}
	p.forget(h)
	var list []int
	for r := h.lacks.next(0); r >= 0; r = h.lacks.next(r + 1) {
		list = append(list, r)
	}
	again(func() error { return p.thaw(list) }) // or the parent asks
}

// fillLater gives a new child what it lacks, a region at a time, when it has been left alone for a while.
func (d *Domain) fillLater() {
	h := d.heir.Load()
	if h == nil {
		return
	}
	d.h.fills.Go(func() {
		select {
		case <-d.h.stop: // the next engine goes on
			return
		case <-time.After(d.h.fillAfter):
		}
		for h.fill() {
		}
	})
}

// fill gives an heir one region; false: there is none, or nobody wants it.
func (h *heir) fill() bool {
	p := h.parent
	p.freezing.Lock()
	defer p.freezing.Unlock()
	select {
	case <-p.h.stop:
		return false
	default:
	}
	r := h.lacks.next(0)
	if r < 0 || h.child.isGone() || h.child.heir.Load() != h {
		return false
	}
	return h.get(r) == nil // what it cannot get now it may ask for
}

// relink finds out what a domain that is being adopted has to do with an unfinished fork, from its page tables and its control area.
func (d *Domain) relink() error {
	if d.geometry.image == 0 {
		return nil
	}
	var marked, orphaned, frozen regions
	for i := range marked {
		marked[i] = atomic.LoadUint64(&d.control().Lazy[i])
	}
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	var untold []int // frozen, but the domain does not know
	for r := range min(abi.LazyRegions, tablesFor(d.geometry.pages)) {
		_, entry, err := w.slot(d.geometry.ramVA+uint64(r)<<abi.LazyShift, 2)
		switch writable := entry&pteWrite != 0; {
		case err != nil:
			return err
		case entry&ptePresent == 0 || writable && !marked.has(r):
		case !writable && marked.has(r): // it is a parent, and there may be a child that is still to be found
			frozen.add(r)
		case !writable:
			untold = append(untold, r)
		case entry&pteThawed != 0: // and the domain does not know
			d.unlazy(r)
		default:
			orphaned.add(r)
		}
	}
	if len(untold) > 0 || marked != (regions{}) {
		if err := d.find(); err != nil {
			return err
		}
	}
	d.freezing.Lock()
	d.orphaned, d.frozen = orphaned, frozen
	err := d.setWritable(untold, true)
	d.freezing.Unlock()
	if err != nil {
		return err
	}
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	for _, other := range d.h.domains {
		switch {
		case d.childOf(other):
			d.inheritFrom(other)
		case other.childOf(d):
			other.inheritFrom(d)
		}
	}
	return nil
}

func (d *Domain) childOf(p *Domain) bool { return len(d.line) > 0 && d.line[len(d.line)-1] == p.id }

// inheritFrom makes a child that an earlier engine made the heir of its parent again, of what that cannot write to. The rest it
// has got: the parent is told last.
func (d *Domain) inheritFrom(p *Domain) {
	g := p.geometry
	if g.slots != d.geometry.slots || g.ramVA != d.geometry.ramVA || g.image != d.geometry.image || g.dynamic != d.geometry.dynamic || g.pages != d.geometry.pages {
		return
	}
	p.freezing.Lock()
	defer p.freezing.Unlock()
	d.freezing.Lock()
	defer d.freezing.Unlock()
	h := &heir{part: part{parent: p, child: d, geo: g, marked: true, sharing: true}}
	for r := d.orphaned.next(0); r >= 0; r = d.orphaned.next(r + 1) {
		if p.frozen.has(r) {
			h.lacks.add(r)
		} else {
			d.unlazy(r)
		}
	}
	d.orphaned = regions{}
	if h.lacks != (regions{}) {
		p.heirs = append(p.heirs, h)
		d.heir.Store(h)
		d.fillLater()
	}
}

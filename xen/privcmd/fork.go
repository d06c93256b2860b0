package privcmd

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// fork makes a child of a domain: a blank with the same addresses, into which goes what the parent has.
type fork struct {
	*blank
	h       *Hypervisor
	parent  *Domain
	f       *xen.Fork
	geo     geometry
	held    bool // the parent is paused, and parent.pauses held, by us
	marked  bool // abi.ForkMarked
	sharing bool // frames are shared: abi.ForkShared
	apart   apart
	own     []forked
	shared  *shared
	context *vcpuContext // the parent's
	steps   xen.Steps
}

// Fork implements xen.Domain. The parent is paused while it is read, since nothing binds it to its promise
// to block; where it goes on is its own business.
func (d *Domain) Fork(ctx context.Context, c *xen.Fork) (xen.Domain, error) {
	if err := d.useLiving(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	f := &fork{h: d.h, parent: d, f: c, geo: d.geometry, shared: sharedPool.Get().(*shared)}
	defer f.shared.done()
	err := f.steps.Run(ctx, c.Step, xen.Step{Name: "check", Do: f.check}, xen.Step{Name: "pool", Do: f.take})
	if err == nil && f.blank == nil {
		f.blank = newBlank(d.h, f.shape(), f.geo.ramVA, &f.steps)
		err = f.steps.Run(ctx, c.Step, f.making()...)
	}
	if err == nil {
		err = f.steps.Run(ctx, c.Step, []xen.Step{
			{Name: "pause", Do: f.pause},
			{Name: "read", Do: f.read},
			{Name: "frames", Do: f.frames},
			{Name: "copy", Do: f.copy},
			{Name: "share", Do: f.share},
			{Name: "resume", Do: f.resume},
			{Name: "map", Do: f.mapped},
			{Name: "list", Do: f.list},
			{Name: "boot", Do: f.boot},
			{Name: "libraries", Do: f.libraries},
			{Name: "family", Do: f.family},
			{Name: "vcpu", Do: f.vcpu},
			{Name: "limits", Do: func() error { return f.d.inherit(d) }},
			{Name: "watch", Do: f.watch},
			{Name: "ready", Do: f.ready},
		}...)
	}
	if err != nil {
		return nil, fmt.Errorf("fork domain %d: %w", d.id, err)
	}
	return f.d, nil
}

// check looks at what was asked for, before anything is made.
func (f *fork) check() error {
	if f.geo.image == 0 {
		return fmt.Errorf("it was adopted without a token: %w", xen.ErrNoFork)
	}
	call := &(*abi.KxControl)(unsafe.Pointer(&f.parent.area[abi.ControlVa-abi.CtlVa])).Call
	flags := atomic.LoadUint32(&call.Flags)
	if f.marked = flags&abi.ForkMarked != 0; f.marked && flags&abi.ForkShared != 0 {
		f.apart = f.parent.ranges()
		f.sharing = f.h.scrubs // a frame that its owner has given back is free when the last relative lets go, who cannot clear it
	} else {
		f.apart = slices.Repeat(apart{kindCopied}, int(f.geo.frames()))
	}
	f.apart.libraries(f.parent.segment)
	if err := f.f.Check(f.geo.pages); err != nil {
		return err
	}
	return f.h.window.open(f.h.c, f.parent.id, f.parent.top)
}

// shape is the child's.
func (f *fork) shape() shape { return f.geo.childShape(f.f.Boot.ArgsLen()) }

// take takes a blank of the pool, if one waits, and moves its window to where the parent's is.
func (f *fork) take() (err error) {
	b := f.h.takeBlank(f.h.forks, f.shape(), f.geo.ramVA, &f.steps)
	if b == nil {
		return nil
	}
	var ops []mmuUpdate
	if b.l, ops = b.l.moved(b.mfns, f.geo.ramVA); len(ops) > 0 {
		_, err = f.h.c.mmuUpdates(b.d.id, b.d.id, ops)
	}
	f.blank = b
	return err
}

// pause stops the parent; when Xen's call is back it does not run any more. Xen counts pauses, so ours ends
// nobody else's. Meanwhile the child's UUID says so, to an engine that comes after ours has died: letGo.
func (f *fork) pause() error {
	p := f.parent
	mark := f.h.mark(pauseMark, p.id)
	if err := domctl(p.c, domctlSetHandle, f.d.id, &mark); err != nil {
		return err
	}
	p.pauses.Lock()
	if _, err := p.c.domctl(domctlPause, p.id, nil); err != nil {
		p.pauses.Unlock()
		return err
	}
	f.held = true
	f.steps.OnFailure(func() { f.resume() })
	return nil
}

// resume ends pause, once.
func (f *fork) resume() error {
	if !f.held {
		return nil
	}
	p := f.parent
	f.held = false
	defer p.pauses.Unlock()
	err := again(func() error {
		_, err := p.c.domctl(domctlUnpause, p.id, nil)
		return err
	})
	if err != nil {
		return err
	}
	return domctl(p.c, domctlSetHandle, f.d.id, &f.d.handle)
}

// letGo ends the pause of a fork that an earlier engine died in, if a domain is the child of one.
func (h *Hypervisor) letGo(child *domainInfo, all []domainInfo) {
	parent, ok := h.marked(pauseMark, child)
	for i := range all {
		if d := &all[i]; ok && xen.DomID(d.Domain) == parent && h.ours(d) && d.Flags&infPaused != 0 {
			h.c.domctl(domctlUnpause, parent, nil) // it may have ended
		}
	}
}

// read looks at the parent's page table entries, its list of machine frame numbers and its vcpu's context. All of it is the
// parent's to write, and each word is read once: Xen shows and counts no frame for us that is not the parent's.
func (f *fork) read() (err error) {
	p := f.parent
	if err := p.find(); err != nil {
		return err
	}
	var numbers []uint64
	if !f.marked {
		if numbers, err = f.numbersOf(p); err != nil {
			return err
		}
	}
	frame := uint64(0)
	for tables := p.leaves; len(tables) > 0; {
		n := min(len(tables), windowFrames)
		err := f.h.window.with(p.c, view{p.id, tables[:n], false}, func(area []byte) error {
			for at := range n {
				entries := words(area[at*pageSize:][:pageSize])[:min(perTable, f.run(frame))]
				if err := f.sort(frame, entries, numbers); err != nil {
					return err
				}
				frame += uint64(len(entries))
			}
			return nil
		})
		if err != nil {
			return err
		}
		tables = tables[n:]
	}
	if err := f.keep(); err != nil {
		return err
	}
	f.context, err = p.c.vcpuContext(p.id)
	return err
}

// find looks for the tables of level 1 of image and window, and for the list of machine frame numbers, in a domain that
// another engine made. The domain can say what it likes: its child has to live with it.
func (d *Domain) find() (err error) {
	if d.leaves != nil {
		return nil
	}
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	g := &d.geometry
	if d.list, err = w.frames(abi.P2mVa, pagesOf((newLayout(g.shape, g.ramVA).numbers+g.pages)*8)); err == nil {
		d.leaves, err = g.leavesOf(w.table)
	}
	return err
}

// numbersOf reads the parent's list of machine frame numbers.
func (f *fork) numbersOf(p *Domain) (numbers []uint64, err error) {
	first := f.l.numbers - f.geo.image
	numbers = make([]uint64, f.geo.frames())
	err = p.c.withFrames(p.id, p.list[:pagesOf((first+f.geo.frames())*8)], protRead, func(area []byte) error {
		copy(numbers, words(area)[first:])
		return nil
	})
	return numbers, err
}

// keep finds the frames that the parent has not mapped, but wants.
func (f *fork) keep() error {
	var kept []*forked
	var frames []uint32
	for i := range f.own {
		if p := &f.own[i]; p.bits == pteKept {
			kept, frames = append(kept, p), append(frames, uint32(p.frame))
		}
	}
	return f.eachNumber(view{f.parent.id, f.parent.list, false}, frames, func(i int, number *uint64) { kept[i].from = atomic.LoadUint64(number) })
}

// eachNumber calls at with the place of each of some frames, which are in order, in a domain's list of machine frame numbers.
func (f *fork) eachNumber(list view, frames []uint32, at func(i int, number *uint64)) error {
	first := f.l.numbers - f.geo.image
	for done := 0; done < len(frames); {
		shown, ends := view{id: list.id, writable: list.writable}, []int(nil)
		for end := done; end < len(frames) && len(ends) < windowFrames; ends = append(ends, end) {
			page := (first + uint64(frames[end])) / perTable
			shown.mfns = append(shown.mfns, list.mfns[page])
			end += sort.Search(len(frames)-end, func(k int) bool { return (first+uint64(frames[end+k]))/perTable > page })
		}
		err := f.h.window.with(f.h.c, shown, func(area []byte) error {
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

// forked is a page of the child that is not as a blank has it, and its own.
type forked struct {
	frame uint64 // pseudo-physical
	bits  uint64 // of the child's page table entry
	from  uint64 // the parent's machine frame if its content is wanted, or 0
	to    uint64 // the child's
}

// run is how many pages follow from a frame on, of the image or of the window.
func (f *fork) run(frame uint64) uint64 {
	if frame < f.geo.image {
		return f.geo.image - frame
	}
	return f.geo.frames() - frame
}

// sort finds out what is to be done for pages of image or window, by their page table entries. Without the parent's promise
// (abi.ForkMarked) all content counts, also of frames that are not mapped: only the LibOS knows which it has given up.
func (f *fork) sort(frame uint64, entries, numbers []uint64) error {
	// The loop is what most of a large window's time goes to.
	image, apart, marked, sharing, shared := frame < f.geo.image, f.apart[frame:][:len(entries)], f.marked, f.sharing, f.shared
	for i := range entries {
		entry := atomic.LoadUint64(&entries[i])
		kind, present := apart[i], entry&ptePresent != 0
		switch {
		case marked && entry&(ptePresent|pteKept) == 0:
			continue
		case kind == kindLibrary && f.fromLibrary(frame+uint64(i), entry):
			continue
		case present && (kind == abi.RangeDrop || kind == kindShared && !image && entry&pteDirty == 0):
			continue // the child gets a page of zeroes when it looks
		case present && kind == kindShared && sharing && (!image || entry&pteWrite == 0):
			shared.frames, shared.entries = append(shared.frames, uint32(frame)+uint32(i)), append(shared.entries, entry)
			continue
		}
		p := forked{frame: frame + uint64(i)}
		switch {
		case present:
			mfn := entry & pteFrame >> pageShift
			if numbers != nil && numbers[p.frame] != mfn {
				return fmt.Errorf("%#x: %w: it has mapped another frame than that of its list", f.geo.address(p.frame), xen.ErrNoFork)
			}
			p.bits = entry&(pteWrite|pteNX) | pteBase&^pteDirty
			if !marked || image || entry&pteDirty != 0 {
				p.bits |= pteDirty
				p.from = mfn
			}
		case !marked:
			p.from = numbers[p.frame]
		case entry&pteKept != 0:
			p.bits = pteKept
		}
		if p.bits != 0 || p.from != 0 {
			f.own = append(f.own, p)
		}
	}
	return nil
}

// frames gets the child's frames; of a page that is shared it gets one when it copies.
func (f *fork) frames() error {
	if err := f.allow(f.l.shared + f.geo.frames()); err != nil {
		return err
	}
	f.d.line = append(slices.Clone(f.parent.line), f.parent.id)
	f.shaped(geometry{shape: f.l.shape, ramVA: f.geo.ramVA, image: f.geo.image, pages: f.geo.pages})
	mfns := make([]uint64, len(f.own))
	if err := f.h.c.populate(f.d.id, mfns); err != nil {
		return err
	}
	var zero []uint64
	for i := range f.own {
		p := &f.own[i]
		if p.to = mfns[i]; p.from == 0 && f.h.dirty {
			zero = append(zero, p.to)
		}
	}
	return f.clear(zero)
}

func (f *fork) copy() error {
	var from, to []uint64
	for i := range f.own {
		if p := &f.own[i]; p.from != 0 {
			from, to = append(from, p.from), append(to, p.to)
		}
	}
	return f.h.window.copy(f.h.c, f.parent.id, from, f.d.id, to)
}

// mapped makes the child's page table entries those of the parent, with its own frames.
func (f *fork) mapped() error {
	var ops []mmuUpdate
	for i := range f.own {
		p := &f.own[i]
		if p.bits == 0 {
			continue
		}
		op := mmuUpdate{Ptr: f.geo.entry(f.d.leaves, p.frame), Val: p.bits}
		if p.bits&ptePresent != 0 {
			op.Val |= p.to << pageShift
		}
		ops = append(ops, op)
	}
	_, err := f.h.c.mmuUpdates(f.d.id, f.d.id, ops)
	return err
}

// list writes the child's list of machine frame numbers.
func (f *fork) list() error {
	list, own := view{f.d.id, f.d.list, true}, make([]uint32, len(f.own))
	for i := range f.own {
		own[i] = uint32(f.own[i].frame)
	}
	if err := f.eachNumber(list, own, func(i int, number *uint64) { *number = f.own[i].to }); err != nil {
		return err
	}
	owners := f.shared.owners
	return f.eachNumber(list, f.shared.frames, func(i int, number *uint64) { *number = abi.MfnShared | uint64(owners[i])<<abi.MfnOwnerShift })
}

// boot writes start_info and the boot parameters.
func (f *fork) boot() error {
	g := &f.geo
	ctl := f.d.area[:abi.CtlSize]
	err := f.f.Boot.Write(ctl, &xen.Place{
		ID: f.d.id, Evtchn: f.evtchn, SharedInfo: f.mfns[f.l.shared] << pageShift,
		MFNList: abi.P2mVa + (f.l.numbers-g.image)*8, ImagePages: g.image,
		RAMVA: g.ramVA, RAMPages: g.pages, RAMLater: g.pages, Dirty: f.h.dirty,
	})
	(*abi.KxControl)(unsafe.Pointer(&ctl[abi.ControlVa-abi.CtlVa])).State = abi.StateMain
	return err
}

// family maps what the family shares.
func (f *fork) family() error {
	err := f.d.joinFamily(f.parent)
	if err == nil {
		f.steps.OnFailure(func() { f.d.family.leave(f.d) })
	}
	return err
}

// vcpu gives the child what its parent has registered, and of the registers only those that it asked for: the others
// are those of a parent that waits, or does something else.
func (f *fork) vcpu() error {
	p := f.context
	v := vcpuContext{
		Flags: vgcfInKernel | vgcfOnline | p.Flags&(vgcfFailsafeMasks|vgcfSyscallMasks), Traps: p.Traps,
		EventCallback: p.EventCallback, FailsafeCallback: p.FailsafeCallback, SyscallCallback: p.SyscallCallback,
	}
	v.Regs.RIP, v.Regs.RSP, v.Regs.CS, v.Regs.SS, v.Regs.RFlags = f.f.RIP, f.f.RSP, kernelCS, kernelSS, flagsIF
	v.KernelSS, v.KernelSP = kernelSS, f.f.RSP
	v.CtrlReg[3], v.CtrlReg[4] = f.mfns[f.l.tables]<<pageShift, guestCR4
	return f.h.c.setVCPUContext(f.d.id, &v)
}

// watch hands the child over.
func (f *fork) watch() error {
	return f.blank.watch(f.parent.hypercallPage, f.f.Boot.Name)
}

// ready hands the child over.
func (f *fork) ready() error { return f.steps.Born(f.f, f.d) }

// words is memory as numbers.
func words(area []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(area))), len(area)/8)
}

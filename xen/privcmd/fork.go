package privcmd

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// fork makes a child of a domain: a blank with the same addresses, into which goes what the parent has.
type fork struct {
	*blank
	part
	h       *Hypervisor
	f       *xen.Fork
	regions []int        // of the window, of which the child gets its part later
	held    bool         // the parent is paused, and parent.pauses held, by us
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
	d.mapping.RLock()
	defer d.mapping.RUnlock()
	f := &fork{h: d.h, f: c, part: part{parent: d, geo: d.geometry, shared: sharedPool.Get().(*shared)}}
	defer f.shared.done()
	err := f.steps.Run(ctx, c.Step, xen.Step{Name: "check", Do: f.check}, xen.Step{Name: "pool", Do: f.take})
	if err == nil && f.blank == nil {
		f.blank = newBlank(d.h, f.shape(), f.geo.ramVA, &f.steps)
		err = f.steps.Run(ctx, c.Step, f.making()...)
	}
	if err == nil {
		err = f.steps.Run(ctx, c.Step, []xen.Step{
			{Name: "place", Do: f.place},
			{Name: "pause", Do: f.pause},
			{Name: "read", Do: f.read},
			{Name: "frames", Do: f.frames},
			{Name: "copy", Do: f.copy},
			{Name: "share", Do: f.share},
			{Name: "freeze", Do: f.freeze},
			{Name: "resume", Do: f.resume},
			{Name: "map", Do: f.mapped},
			{Name: "list", Do: f.list},
			{Name: "boot", Do: f.boot},
			{Name: "libraries", Do: f.libraries},
			{Name: "family", Do: f.family},
			{Name: "lines", Do: func() error { f.d.family.openLines(f.d); return nil }},
			{Name: "vcpu", Do: f.vcpu},
			{Name: "limits", Do: func() error { return f.d.inherit(d) }},
			{Name: "watch", Do: f.watch},
			{Name: "ready", Do: f.ready},
		}...)
	}
	if err != nil {
		return nil, fmt.Errorf("fork domain %d: %w", d.id, err)
	}
	d.forked.Store(true)
	f.d.forked.Store(true)
	f.d.fillLater()
	return f.d, nil
}

// check looks at what was asked for, before anything is made.
func (f *fork) check() error {
	if f.geo.image == 0 {
		return fmt.Errorf("it was adopted without a token: %w", xen.ErrNoFork)
	}
	flags := atomic.LoadUint32(&f.parent.control().Call.Flags)
	if f.marked = flags&abi.ForkMarked != 0; f.marked && flags&abi.ForkShared != 0 {
		f.shared.apart = f.parent.ranges(f.shared.apart)
		f.apart = f.shared.apart
		f.sharing = f.h.scrubs // a frame that its owner has given back is free when the last relative lets go, who cannot clear it
	} else {
		f.apart = slices.Repeat(apart{kindCopied}, int(f.geo.frames()))
	}
	if f.sharing && flags&abi.ForkLazy != 0 {
		f.regions = f.geo.lazyRegions(f.apart)
	}
	f.apart.libraries(&f.geo, f.parent.segment.Load())
	if err := f.f.Check(f.geo.pages); err != nil {
		return err
	}
	if err := f.h.window.open(f.h.c, f.parent.id, f.parent.top); err != nil {
		return err
	}
	return f.parent.settleOwn() // a child of a child names the owner of each frame, so the child must have it
}

// shape is the child's.
func (f *fork) shape() shape { return f.geo.childShape(f.f.Boot.ArgsLen()) }

// take takes a blank of the pool, if one waits, and moves its window to where the parent's is.
func (f *fork) take() (err error) {
	b := f.h.takeBlank(f.h.forks, f.shape(), f.geo.ramVA, &f.steps)
	if b == nil {
		return nil
	}
	f.blank = b
	return b.move(f.geo.ramVA)
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

// place says what of the blank the child uses, and lets it have all the frames that it may need.
func (f *fork) place() error {
	f.child = f.d
	f.d.line = append(slices.Clone(f.parent.line), f.parent.id)
	f.shaped(geometry{shape: f.l.shape, ramVA: f.geo.ramVA, image: f.geo.image, dynamic: f.geo.dynamic, pages: f.geo.pages})
	if err := f.allow(f.l.shared + f.geo.frames()); err != nil || !f.sharing {
		return err
	}
	return f.allowParent()
}

// read looks at what the child gets at once, and at the parent's vcpu.
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
	var now []int
	later := f.regions
	for leaf := range p.leaves {
		if len(later) > 0 && f.geo.leafOf(later[0]) == leaf {
			later = later[1:]
		} else {
			now = append(now, leaf)
		}
	}
	if err := f.part.read(now, numbers); err != nil {
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
	if d.list, err = w.frames(abi.P2mVa, pagesOf((g.numbers()+g.pages)*8)); err == nil {
		d.leaves, d.slots, err = g.leavesOf(func(va uint64) (slot, table uint64, err error) {
			slot, _, err = w.slot(va, 2)
			if err == nil {
				table, err = w.table(va)
			}
			return slot, table, err
		})
	}
	return err
}

// numbersOf reads the parent's list of machine frame numbers.
func (f *fork) numbersOf(p *Domain) (numbers []uint64, err error) {
	first := f.geo.numbers() - f.geo.image
	numbers = make([]uint64, f.geo.frames())
	err = p.c.withFrames(p.id, p.list[:pagesOf((first+f.geo.frames())*8)], protRead, func(area []byte) error {
		copy(numbers, words(area)[first:])
		return nil
	})
	return numbers, err
}

// boot writes start_info and the boot parameters.
func (f *fork) boot() error {
	g := &f.geo
	ctl := f.d.area[:abi.CtlSize]
	err := f.f.Boot.Write(ctl, &xen.Place{
		ID: f.d.id, Evtchn: f.evtchn, SharedInfo: f.mfns[f.l.shared] << pageShift,
		MFNList: abi.P2mVa + (f.l.numbers()-g.image)*8, ImagePages: g.image, DynamicPages: g.dynamic,
		RAMVA: g.ramVA, RAMPages: g.pages, RAMLater: g.pages, Dirty: f.h.dirty,
	})
	f.d.control().State = abi.StateMain
	if h := f.d.heir.Load(); h != nil { // else it has got all already: its parent is about to end
		f.parent.freezing.Lock()
		defer f.parent.freezing.Unlock()
		h.lacks.tell(f.d)
	}
	return err
}

// family maps what the family shares.
func (f *fork) family() error {
	err := f.d.joinFamily(f.parent, f.l.familyTables(f.mfns))
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

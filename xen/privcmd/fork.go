package privcmd

import (
	"context"
	"fmt"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// fork makes a child of a domain: a blank with the same addresses, into which goes what the parent has.
type fork struct {
	*blank
	h      *Hypervisor
	parent *Domain
	f      *xen.Fork
	geo    geometry
	held   bool // the parent is paused, and parent.pauses held, by us
	// What the parent has, and what its child gets, by pseudo-physical frame: machine frame numbers, 0 for none,
	// and page table entries.
	theirs, ours, entries []uint64
	context               *vcpuContext // the parent's
	steps                 xen.Steps
}

// Fork implements xen.Domain. The parent is paused while it is read, since nothing binds it to its promise
// to block; where it goes on is its own business.
func (d *Domain) Fork(ctx context.Context, c *xen.Fork) (xen.Domain, error) {
	if err := d.useLiving(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	f := &fork{h: d.h, parent: d, f: c, geo: d.geometry}
	err := f.steps.Run(ctx, c.Step, xen.Step{Name: "check", Do: f.check}, xen.Step{Name: "pool", Do: f.take})
	if err == nil && f.blank == nil {
		f.blank = newBlank(d.h, f.geo.shape, f.geo.ramVA, &f.steps)
		err = f.steps.Run(ctx, c.Step, f.making()...)
	}
	if err == nil {
		err = f.steps.Run(ctx, c.Step, []xen.Step{
			{Name: "pause", Do: f.pause},
			{Name: "read", Do: f.read},
			{Name: "frames", Do: f.frames},
			{Name: "copy", Do: f.copy},
			{Name: "resume", Do: f.resume},
			{Name: "map", Do: f.mapped},
			{Name: "list", Do: f.list},
			{Name: "boot", Do: f.boot},
			{Name: "vcpu", Do: f.vcpu},
			{Name: "watch", Do: f.watch},
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
	return f.f.Check(f.geo.pages)
}

// take takes a blank of the pool, if one waits and fits, and moves its window to where the parent's is.
func (f *fork) take() (err error) {
	g := &f.geo
	// The list of machine frame numbers must be at the same address, too.
	if !poolShape.fits(g.image, g.pages, 0) || pagesOf(poolShape.slots*8) != pagesOf(g.slots*8) ||
		!oneTable(g.ramVA, poolShape.ramPages) || g.ramVA > abi.RamEnd-poolShape.ramPages*pageSize {
		return nil
	}
	b := f.h.takeBlank(&f.steps)
	if b == nil {
		return nil
	}
	var ops []mmuUpdate
	if b.l, ops = b.l.moved(b.mfns, g.ramVA); len(ops) > 0 {
		_, err = f.h.c.mmuUpdates(b.d.id, b.d.id, ops)
	}
	f.blank = b
	return err
}

// pause stops the parent; when Xen's call is back it does not run any more. Xen counts pauses, so ours ends
// nobody else's.
func (f *fork) pause() error {
	p := f.parent
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
	return again(func() error {
		_, err := p.c.domctl(domctlUnpause, p.id, nil)
		return err
	})
}

// read copies the parent's list of machine frame numbers, its page table entries and its vcpu's context. All of it is the
// parent's to write, and used once: Xen maps and counts no frame for us that is not the parent's.
func (f *fork) read() (err error) {
	p, g := f.parent, &f.geo
	w := newWalker(p.c, p.id, p.top)
	defer w.close()
	first := f.l.numbers - g.image
	pages, err := w.frames(abi.P2mVa, pagesOf((first+g.frames())*8))
	if err != nil {
		return err
	}
	f.theirs = make([]uint64, g.frames())
	err = p.c.withFrames(p.id, pages, protRead, func(area []byte) error {
		copy(f.theirs, words(area)[first:])
		return nil
	})
	if err != nil {
		return err
	}
	image, err := w.entries(abi.ImageVa, g.image)
	if err != nil {
		return err
	}
	window, err := w.entries(g.ramVA, g.pages)
	if err != nil {
		return err
	}
	f.entries = append(image, window...)
	for i, entry := range f.entries {
		if entry&ptePresent != 0 && entry&pteFrame>>pageShift != f.theirs[i] {
			return fmt.Errorf("%#x: %w: it has mapped another frame than that of its list", g.address(uint64(i)), xen.ErrNoFork)
		}
	}
	f.context, err = p.c.vcpuContext(p.id)
	return err
}

// frames says which frame of the child is whose copy, and gets those that a blank does not have.
func (f *fork) frames() error {
	g, l := &f.geo, f.l
	if err := f.allow(l.shared + g.pages - l.ready); err != nil {
		return err
	}
	f.ours = make([]uint64, g.frames())
	copy(f.ours, f.mfns[:g.image])
	copy(f.ours[g.image:], f.mfns[l.slots:l.slots+l.ready])
	var later []uint64 // what the parent got itself
	for i := g.image + l.ready; i < g.frames(); i++ {
		if f.theirs[i] != 0 {
			later = append(later, i)
		}
	}
	spare := f.mfns[g.image:l.slots]
	if missing := len(later) - len(spare); missing > 0 {
		more := make([]uint64, missing)
		if err := f.h.c.populate(f.d.id, more); err != nil {
			return err
		}
		spare = append(append([]uint64(nil), spare...), more...)
	}
	for i, at := range later {
		f.ours[at] = spare[i]
	}
	return nil
}

// copyFrames is how many frames are copied at once.
const copyFrames = 2048

// copy copies the content of all frames, also of those that are not mapped: only the LibOS knows which of them it has
// not given up.
func (f *fork) copy() error {
	var from, to []uint64
	for i, mfn := range f.theirs {
		if mfn != 0 {
			from, to = append(from, mfn), append(to, f.ours[i])
		}
	}
	for len(from) > 0 {
		n := min(len(from), copyFrames)
		err := f.h.c.withFrames(f.parent.id, from[:n], protRead, func(source []byte) error {
			return f.h.c.withFrames(f.d.id, to[:n], protWrite, func(area []byte) error {
				copy(area, source)
				return nil
			})
		})
		if err != nil {
			return err
		}
		from, to = from[n:], to[n:]
	}
	return nil
}

// mapped makes the child's page table entries those of the parent, with its own frames. A blank has mapped the
// part of the window that is there from the start.
func (f *fork) mapped() error {
	var ops []mmuUpdate
	var at uint64
	for i, entry := range f.entries {
		va := f.geo.address(uint64(i))
		if at += 8; i == 0 || uint64(i) == f.geo.image || va>>pageShift%perTable == 0 {
			at = f.l.entry(f.mfns, va)
		}
		have, want := uint64(0), uint64(0)
		if ram := uint64(i) - f.geo.image; uint64(i) >= f.geo.image && ram < f.l.ready {
			have = f.ours[i]<<pageShift | spanData
		}
		if entry&ptePresent != 0 {
			want = f.ours[i]<<pageShift | entry&(pteWrite|pteNX) | pteBase
		}
		if have != want {
			ops = append(ops, mmuUpdate{Ptr: at, Val: want})
		}
	}
	_, err := f.h.c.mmuUpdates(f.d.id, f.d.id, ops)
	return err
}

// list writes the child's list of machine frame numbers.
func (f *fork) list() error {
	first := f.l.numbers - f.geo.image
	pages := f.mfns[f.l.p2m : f.l.p2m+pagesOf((first+f.geo.frames())*8)]
	return f.h.c.withFrames(f.d.id, pages, protWrite, func(area []byte) error {
		copy(words(area)[first:], f.ours)
		return nil
	})
}

// boot writes start_info and the boot parameters.
func (f *fork) boot() error {
	g := &f.geo
	later := g.pages - f.l.ready
	ctl := f.d.area[:abi.CtlSize]
	err := f.f.Boot.Write(ctl, &xen.Place{
		ID: f.d.id, Evtchn: f.evtchn, SharedInfo: f.mfns[f.l.shared] << pageShift,
		MFNList: abi.P2mVa + (f.l.numbers-g.image)*8, ImagePages: g.image,
		RAMVA: g.ramVA, RAMPages: g.pages, RAMLater: later, Dirty: f.h.dirty && later > 0,
	})
	(*abi.KxControl)(unsafe.Pointer(&ctl[abi.ControlVa-abi.CtlVa])).State = abi.StateMain
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
	g := geometry{shape: f.l.shape, ramVA: f.geo.ramVA, image: f.geo.image, pages: f.geo.pages}
	return f.blank.watch(f.parent.hypercallPage, g, f.f.Boot.Name)
}

// words is memory as numbers.
func words(area []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(area))), len(area)/8)
}

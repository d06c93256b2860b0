package privcmd

import (
	"context"
	"encoding/binary"
	"fmt"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

const (
	// maxMemory bounds a RAM window to what surely fits between any base and abi.RamEnd, and its
	// list of frames into its area.
	maxMemory = (abi.P2mEnd - abi.P2mVa) / 8 * pageSize / 2
	// maxEvtchnPort is the highest port of a domain: the ABI's shared_info has room for 4096.
	maxEvtchnPort = 1023
	// entryStack is how far into the RAM window the vcpu's first stack begins, bytes.
	entryStack = 2 * pageSize
	// Selectors of a PV guest's kernel, from public/arch-x86/xen-x86_64.h; data segments are null.
	kernelCS, kernelSS = abi.FlatRing3Cs64, abi.FlatRing3Ss64
	flagsIF            = 1 << 9
	// guestCR4 lets a pVM use rdfsbase and xsave, as under Linux: PAE, PGE, OSFXSR, OSXMMEXCPT,
	// FSGSBASE, OSXSAVE. Xen leaves out what the CPU has not.
	guestCR4 = 1<<5 | 1<<7 | 1<<9 | 1<<10 | 1<<16 | 1<<18
)

// build makes a domain of a blank one.
type build struct {
	*blank
	h         *Hypervisor
	c         *xen.Config
	img       *image
	libraries []*holder
	own       uint64            // pages of image and dynamic segment that need frames
	pages     uint64            // of the RAM window
	root      uint64            // pages of the root archive
	slotOf    map[uint64]uint64 // of the dynamic segment's own frames
	archived  []uint64          // frames of the root archive
	entered   []mmuUpdate       // what was written to the domain's page tables, but for libraries
	place     xen.Place
	steps     xen.Steps
}

// Create implements xen.Hypervisor.
func (h *Hypervisor) Create(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	b := &build{h: h, c: c}
	err := b.steps.Run(ctx, c.Step, xen.Step{Name: "check", Do: b.check}, xen.Step{Name: "pool", Do: b.take})
	if err == nil && b.blank == nil {
		b.begin()
		err = b.steps.Run(ctx, c.Step, b.making()...)
	}
	if err == nil {
		err = b.steps.Run(ctx, c.Step, append(b.filling(), xen.Step{Name: "watch", Do: b.watch})...)
	}
	if err != nil {
		return nil, err
	}
	return b.d, nil
}

// begin begins a blank that fits, where the pool has none.
func (b *build) begin() {
	s := shapeFor(b.own, b.pages, b.root)
	s.reach, s.room = b.img.pages, b.c.Dynamic.Pages
	ramVA := b.place.RAMVA
	if ramVA == 0 {
		ramVA = s.randomBase()
	}
	b.blank = newBlank(b.h, s, ramVA, &b.steps)
}

func (b *build) filling() []xen.Step {
	return []xen.Step{
		{Name: "image", Do: b.image},
		{Name: "root", Do: b.archive},
		{Name: "boot", Do: b.boot},
		{Name: "vcpu", Do: b.vcpu},
	}
}

// check looks at what was asked for, before anything is made.
func (b *build) check() (err error) {
	var ok bool
	if b.img, ok = b.c.Image.(*image); !ok {
		return fmt.Errorf("image of another hypervisor (%T)", b.c.Image)
	}
	if err := b.img.use(); err != nil {
		return err
	}
	if b.libraries, err = holdersOf(b.c.Libraries); err != nil {
		return err
	}
	if d := &b.c.Dynamic; d.VA != 0 {
		b.place.DynamicPages, b.place.RAMVA = d.Pages, d.VA+d.Pages*pageSize
	}
	b.own, b.place.ImagePages = b.img.pages, b.img.pages+b.place.DynamicPages
	for _, r := range b.c.Dynamic.Private {
		b.own += r.Pages
	}
	if b.c.Memory == 0 || b.c.Memory > maxMemory {
		return fmt.Errorf("memory: %d bytes: must be 1 to %d", b.c.Memory, uint64(maxMemory))
	}
	b.pages, b.root = max(pagesOf(b.c.Memory), entryStack/pageSize), pagesOf(uint64(len(b.c.Boot.Root)))
	if err := b.c.Boot.Check(pagesOf(b.c.Memory)); err != nil {
		return err
	}
	info, err := b.h.c.physInfo()
	if err != nil {
		return err
	}
	if need, free := b.own+b.pages, info.FreePages+info.ScrubPages; need > free {
		return fmt.Errorf("%w: %d MiB are needed, %d MiB are free: end a pVM, or give dom0 less",
			xen.ErrNoMemory, need>>8+1, free>>8)
	}
	return nil
}

// take takes a blank of the pool, if one waits and fits.
func (b *build) take() error {
	if !poolShape.fits(b.own, b.img.pages, b.place.DynamicPages, b.pages, b.root) || b.place.RAMVA != 0 && !poolShape.oneTable(b.place.RAMVA) {
		return nil
	}
	if b.blank = b.h.takeBlank(b.h.pool, poolShape, 0, &b.steps); b.blank == nil || b.place.RAMVA == 0 {
		return nil
	}
	return b.blank.move(b.place.RAMVA)
}

// image fills the frames of the image, lists them, and maps them into the domain. What it leaves over goes to
// the RAM window, to be mapped by the domain.
func (b *build) image() error {
	l, pages := b.l, b.place.ImagePages
	list := b.listed()
	copy(list[l.numbers()-pages:], b.mfns[:b.img.pages])
	next, err := b.dynamic(b.img.pages, list)
	if err != nil {
		return err
	}
	b.contents(b.slots())
	if l.ready < b.pages {
		left := min(l.slots-next, b.pages-l.ready)
		copy(list[l.numbers()+l.ready:], b.mfns[next:next+left])
	}
	b.place.RAMVA, b.place.RAMPages = l.ramVA, b.pages
	b.place.RAMLater = b.pages - l.ready
	b.place.Dirty = b.h.dirty && b.place.RAMLater > 0
	b.place.MFNList = abi.P2mVa + (l.numbers()-pages)*8
	ops := make([]mmuUpdate, 0, pages)
	for _, s := range b.img.spans {
		ops = b.entries(ops, s, b.mfns)
	}
	return b.enter(ops)
}

// contents are those of the frames of an image, which are zero.
func (b *build) contents(slots []byte) {
	for _, d := range b.img.data {
		copy(slots[d.first*pageSize:], d.bytes)
	}
	geo := b.geometry()
	for _, c := range b.c.Dynamic.Content {
		at, slotAt := c.VA-abi.ImageVa, func(frame uint64) uint64 { return frame } // the image's
		if c.VA >= abi.RamMin {
			at = geo.frameOf(c.VA)*pageSize + c.VA%pageSize
			slotAt = func(frame uint64) uint64 { return b.slotOf[frame] }
		}
		for p := c.Bytes; len(p) > 0; {
			slot := slotAt(at / pageSize)
			n := copy(slots[slot*pageSize+at%pageSize:(slot+1)*pageSize], p)
			at, p = at+uint64(n), p[n:]
		}
	}
}

// enter writes to the domain's page tables.
func (b *build) enter(ops []mmuUpdate) error {
	b.entered = append(b.entered, ops...)
	_, err := b.h.c.mmuUpdates(b.d.id, b.d.id, ops)
	return err
}

func (b *build) geometry() geometry {
	return geometry{shape: b.l.shape, ramVA: b.l.ramVA, image: b.place.ImagePages, dynamic: b.place.DynamicPages, pages: b.pages}
}

// entries appends the page table entries of a span, all of one image or window.
func (b *build) entries(ops []mmuUpdate, s span, mfns []uint64) []mmuUpdate {
	var at uint64
	for i := range s.pages {
		va := s.va + i*pageSize
		if at += 8; i == 0 || va>>pageShift%perTable == 0 {
			at = b.l.entry(b.mfns, va)
		}
		ops = append(ops, mmuUpdate{Ptr: at, Val: mfns[s.first+i]<<pageShift | s.bits})
	}
	return ops
}

// archive writes the root archive to the end of the RAM window, where there may be no frames yet, and says how
// many frames the domain may have.
func (b *build) archive() error {
	l := b.l
	if err := b.allow(l.shared + b.pages - l.ready + b.place.DynamicPages); err != nil || b.root == 0 {
		return err
	}
	first := b.pages - b.root
	mfns := b.mfns[l.ram+min(first, l.ready) : l.ram+min(b.pages, l.ready)]
	if first >= l.ready {
		mfns = make([]uint64, b.root)
		if err := b.h.c.populate(b.d.id, mfns); err != nil {
			return err
		}
		if b.h.dirty {
			if err := b.h.c.clearFrames(b.d.id, mfns); err != nil {
				return err
			}
		}
		if err := b.number(l.numbers()+first, mfns); err != nil {
			return err
		}
	}
	if err := b.h.c.write(b.d.id, mfns, b.c.Boot.Root); err != nil {
		return err
	}
	s := span{va: l.ramVA + first*pageSize, pages: b.root, bits: spanData}
	b.archived = mfns
	return b.enter(b.entries(nil, s, mfns))
}

// number enters frames into the list of machine frame numbers, parts of which are not mapped.
func (b *build) number(entry uint64, mfns []uint64) error {
	const size = 8
	pages := b.mfns[b.l.p2m+entry*size/pageSize : b.l.p2m+pagesOf((entry+uint64(len(mfns)))*size)]
	return b.h.c.withFrames(b.d.id, pages, protWrite, func(area []byte) error {
		for i, mfn := range mfns {
			binary.LittleEndian.PutUint64(area[(entry*size)%pageSize+uint64(i)*size:], mfn)
		}
		return nil
	})
}

// boot writes start_info and the boot parameters.
func (b *build) boot() error {
	b.place.ID, b.place.Evtchn = b.d.id, b.evtchn
	b.place.SharedInfo = b.mfns[b.l.shared] << pageShift
	return b.c.Boot.Write(b.d.area[:abi.CtlSize], &b.place)
}

// vcpu fills the hypercall page and gives the vcpu its first registers.
func (b *build) vcpu() error {
	c, id := b.h.c, b.d.id
	page := b.mfns[(b.img.hypercallPage-abi.ImageVa)/pageSize]
	if err := domctl(c, domctlHypercallInit, id, &hypercallInit{page}); err != nil {
		return err
	}
	return c.setVCPUContext(id, b.context())
}

// context is the vcpu's at the start.
func (b *build) context() *vcpuContext {
	v := &vcpuContext{Flags: vgcfInKernel | vgcfOnline}
	v.Regs.RIP, v.Regs.CS, v.Regs.SS, v.Regs.RFlags = b.img.entry, kernelCS, kernelSS, flagsIF
	v.Regs.RSI, v.Regs.RSP = abi.StartVa, b.l.ramVA+entryStack
	v.KernelSS, v.KernelSP = kernelSS, v.Regs.RSP
	v.CtrlReg[3], v.CtrlReg[4] = b.mfns[b.l.tables]<<pageShift, guestCR4
	return v
}

// watch hands everything over.
func (b *build) watch() error {
	b.shaped(b.geometry())
	b.h.familyOf(b.d.id).join(b.d)
	b.steps.OnFailure(func() { b.d.family.leave(b.d) })
	return b.blank.watch(b.img.hypercallPage, b.c.Boot.Name)
}

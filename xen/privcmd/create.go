package privcmd

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

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

// build is a domain under construction: a list of steps, each timed, each with its undo.
type build struct {
	h      *Hypervisor
	c      *xen.Config
	img    *image
	place  xen.Place
	handle handle
	l      *layout
	mfns   []uint64
	d      *Domain
	area   []byte
	undo   []func()
}

// Create implements xen.Hypervisor.
func (h *Hypervisor) Create(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	b := &build{h: h, c: c}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"check", b.check},
		{"domain", b.create},
		{"memory", b.memory},
		{"zero", b.zero},
		{"tables", b.tables},
		{"fill", b.fill},
		{"control", b.control},
		{"channel", b.channel},
		{"boot", b.boot},
		{"start", b.start},
		{"watch", b.watch},
	} {
		begin := time.Now()
		err := ctx.Err()
		if err == nil {
			err = step.do()
		}
		if err != nil {
			b.rollBack()
			return nil, fmt.Errorf("create domain: %s: %w", step.name, err)
		}
		if c.Step != nil {
			c.Step(step.name, time.Since(begin))
		}
	}
	return b.d, nil
}

func (b *build) rollBack() {
	for i := len(b.undo) - 1; i >= 0; i-- {
		b.undo[i]()
	}
}

func (b *build) onFailure(f func()) { b.undo = append(b.undo, f) }

// check looks at what was asked for, before anything is made.
func (b *build) check() error {
	var ok bool
	if b.img, ok = b.c.Image.(*image); !ok {
		return fmt.Errorf("image of another hypervisor (%T)", b.c.Image)
	}
	if err := b.img.use(); err != nil {
		return err
	}
	if b.c.Memory == 0 || b.c.Memory > maxMemory {
		return fmt.Errorf("memory: %d bytes: must be 1 to %d", b.c.Memory, uint64(maxMemory))
	}
	pages := pagesOf(b.c.Memory)
	if err := b.c.Boot.Check(pages); err != nil {
		return err
	}
	b.l = newLayout(b.img, max(pages, entryStack/pageSize), randomBase(pages))
	info, err := b.h.c.physInfo()
	if err != nil {
		return err
	}
	if free := info.FreePages + info.ScrubPages; b.l.shared > free {
		return fmt.Errorf("%w: %d MiB are needed, %d MiB are free: end a pVM, or give dom0 less",
			xen.ErrNoMemory, b.l.shared>>8+1, free>>8)
	}
	return nil
}

// create makes the domain, or takes a blank.
func (b *build) create() error {
	got, err := b.h.pool.take()
	if err != nil {
		return err
	}
	b.place.ID, b.handle = got.id, got.handle
	b.onFailure(func() { b.h.c.destroy(got.id) })
	return nil
}

// memory gives the domain its frames.
func (b *build) memory() error {
	id := b.place.ID
	if err := domctl(b.h.c, domctlMaxMem, id, &maxMem{b.l.shared * pageSize >> 10}); err != nil {
		return err
	}
	b.mfns = make([]uint64, b.l.shared, b.l.shared+1)
	if err := b.h.c.populate(id, b.mfns); err != nil {
		return err
	}
	info, err := b.h.c.domainInfo(id)
	if err != nil {
		return err
	}
	b.mfns = append(b.mfns, info.SharedInfoFrame)
	return nil
}

// zero clears the frames if this Xen hands out frames that are not.
func (b *build) zero() error {
	if !b.h.dirty {
		return nil
	}
	ops := make([]mmuExtOp, b.l.shared)
	for i := range ops {
		ops[i] = mmuExtOp{Cmd: mmuClearPage, Arg1: b.mfns[i]}
	}
	return b.h.c.mmuExt("clear_page", b.place.ID, ops)
}

// tables writes the page tables, and unmaps them: Xen does not accept a page table that anybody
// can write to.
func (b *build) tables() error {
	own := b.mfns[b.l.tables:b.l.shared]
	return b.h.c.withFrames(b.place.ID, own, protWrite, func(area []byte) error {
		return writeTables(area, b.l.byKey, own, b.l.spans, b.mfns)
	})
}

// fill writes what of the memory is not zero at the start.
func (b *build) fill() error {
	for _, d := range b.img.data {
		if err := b.put(d.first, d.bytes); err != nil {
			return err
		}
	}
	numbered := b.mfns[:b.l.p2m]
	if err := b.put(b.l.p2m, unsafe.Slice((*byte)(unsafe.Pointer(&numbered[0])), len(numbered)*8)); err != nil {
		return err
	}
	b.place.ImagePages, b.place.RAMPages, b.place.RAMVA = b.l.imagePages, b.l.ramPages, b.l.ramVA
	root := b.c.Boot.Root
	if len(root) == 0 {
		return nil
	}
	return b.put(b.l.imagePages+(b.place.RootVA(len(root))-b.l.ramVA)/pageSize, root)
}

// put writes bytes to frames of the domain.
func (b *build) put(first uint64, p []byte) error {
	for len(p) > 0 {
		n := min(pagesOf(uint64(len(p))), batchFrames)
		err := b.h.c.withFrames(b.place.ID, b.mfns[first:first+n], protWrite, func(area []byte) error {
			p = p[copy(area, p):]
			return nil
		})
		if err != nil {
			return err
		}
		first += n
	}
	return nil
}

// control maps the control area into the engine, for as long as the domain is not released.
func (b *build) control() (err error) {
	b.area, err = b.h.c.mapFrames(b.place.ID, b.l.control(b.mfns), protWrite)
	if err == nil {
		b.onFailure(func() { b.h.c.munmap(b.area) })
	}
	return err
}

// channel connects the domain's event channel to the engine.
func (b *build) channel() (err error) {
	b.d = newDomain(b.h, b.place.ID, b.handle)
	if b.place.Evtchn, err = b.h.c.allocUnbound(b.place.ID); err != nil {
		return err
	}
	if b.d.port, err = b.h.events.bind(b.place.ID, b.place.Evtchn, b.d.ring); err != nil {
		return err
	}
	b.onFailure(func() { b.h.events.unbind(b.d.port) })
	return nil
}

// boot writes start_info and the boot parameters.
func (b *build) boot() error {
	b.place.SharedInfo = b.mfns[b.l.shared] << pageShift
	b.place.MFNList = abi.P2mVa
	return b.c.Boot.Write(b.area, &b.place)
}

// start has Xen check and pin the page tables and gives the vcpu its first registers.
func (b *build) start() error {
	c, id := b.h.c, b.place.ID
	page := b.mfns[(b.img.hypercallPage-abi.ImageVa)/pageSize]
	if err := domctl(c, domctlHypercallInit, id, &hypercallInit{page}); err != nil {
		return err
	}
	top := b.mfns[b.l.tables]
	if err := c.mmuExt("pin_l4_table", id, []mmuExtOp{{Cmd: mmuPinL4, Arg1: top}}); err != nil {
		return err
	}
	v := vcpuContext{Flags: vgcfInKernel | vgcfOnline}
	v.Regs.RIP, v.Regs.CS, v.Regs.SS, v.Regs.RFlags = b.img.entry, kernelCS, kernelSS, flagsIF
	v.Regs.RSI, v.Regs.RSP = abi.StartVa, b.l.ramVA+entryStack
	v.KernelSS, v.KernelSP = kernelSS, v.Regs.RSP
	v.CtrlReg[3], v.CtrlReg[4] = top<<pageShift, guestCR4
	return c.setVCPUContext(id, &v)
}

// watch hands everything over.
func (b *build) watch() error {
	d := b.d
	d.area, d.remotePort = b.area, b.place.Evtchn
	d.hypercallPage = b.img.hypercallPage
	d.top = b.mfns[b.l.tables]
	d.name, d.fresh = b.c.Boot.Name, true
	if err := b.h.add(d); err != nil {
		return err
	}
	d.register()
	return nil
}

// Token implements xen.Domain: the domain's UUID, its port, its hypercall page and its name.
func (d *Domain) Token() []byte {
	t := append([]byte(nil), d.handle[:]...)
	t = binary.LittleEndian.AppendUint32(t, d.remotePort)
	t = binary.LittleEndian.AppendUint64(t, d.hypercallPage)
	return append(t, d.name...)
}

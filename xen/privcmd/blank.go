package privcmd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// blank is a domain that lacks only an image and what it is to do: it has its frames, all zero, its page
// tables, which Xen has checked, and the channel to the engine. To a later engine it is half made, and
// ended.
type blank struct {
	h      *Hypervisor
	d      *Domain
	l      *layout
	mfns   []uint64  // by the layout
	leaves []uint64  // tables of level 1 of all that an image and a window can be, of the image first
	named  []uint64  // the entries that name them: Domain.slots
	evtchn uint32    // the domain's port
	former xen.DomID // whose number it gets; 0: any
	steps  *xen.Steps

	labelled bool // xenstore has a name for it, or will
}

// poolShape is that of blanks that wait: for images of up to 2 MiB with few libraries, and windows of up to 64 MiB with a root
// archive of 8 MiB beside.
var poolShape = func() shape {
	s := shapeFor(2<<20/pageSize, 72<<20/pageSize, 0)
	s.room = xen.DynamicUnit
	return s
}()

// newBlank begins a blank, which the steps of making make; they undo all of it when one fails.
func newBlank(h *Hypervisor, s shape, ramVA uint64, steps *xen.Steps) *blank {
	return &blank{h: h, l: newLayout(s, ramVA), steps: steps}
}

func (b *blank) making() []xen.Step {
	return []xen.Step{
		{Name: "domain", Do: b.create},
		{Name: "memory", Do: b.memory},
		{Name: "zero", Do: b.zero},
		{Name: "tables", Do: b.tables},
		{Name: "pin", Do: b.pin},
		{Name: "control", Do: b.control},
		{Name: "numbers", Do: b.numbers},
		{Name: "channel", Do: b.channel},
	}
}

// create makes the domain: its UUID begins with what tells this engine's domains from others'.
func (b *blank) create() error {
	var hd handle
	copy(hd[:], b.h.key[:])
	rand.Read(hd[len(b.h.key):])
	c := &createDomain{number: b.former, handle: hd, evtchnPort: maxEvtchnPort}
	id, err := b.h.c.create(c)
	for begin := time.Now(); b.former != 0 && errors.Is(err, unix.EEXIST); id, err = b.h.c.create(c) {
		if time.Since(begin) > formerPatience {
			return notBlank("somebody has still something of it, or a new domain has its number")
		}
		time.Sleep(100 * time.Microsecond)
	}
	if err != nil {
		return err
	}
	b.d = newDomain(b.h, id, hd)
	b.steps.OnFailure(func() { b.h.c.destroy(id) })
	return domctl(b.h.c, domctlSetTSC, id, &tscInfo{Mode: tscNative})
}

// memory gives the domain its frames.
func (b *blank) memory() error {
	if err := b.allow(b.l.shared); err != nil {
		return err
	}
	b.mfns = make([]uint64, b.l.shared, b.l.shared+1)
	if err := b.h.c.populate(b.d.id, b.mfns); err != nil {
		return err
	}
	info, err := b.h.c.domainInfo(b.d.id)
	if err != nil {
		return err
	}
	b.mfns = append(b.mfns, info.SharedInfoFrame)
	return nil
}

// allow says how many frames the domain may have.
func (b *blank) allow(frames uint64) error {
	b.d.base = frames
	return domctl(b.h.c, domctlMaxMem, b.d.id, &maxMem{frames * pageSize >> 10})
}

// zero clears the frames if this Xen hands out frames that are not.
func (b *blank) zero() error {
	if !b.h.dirty {
		return nil
	}
	return b.h.c.clearFrames(b.d.id, b.mfns[:b.l.shared])
}

// tables writes the page tables, and unmaps them: Xen does not accept a page table that anybody
// can write to.
func (b *blank) tables() error {
	b.findLeaves()
	own := b.l.own(b.mfns)
	return b.h.c.withFrames(b.d.id, own[:b.l.written], protWrite, func(area []byte) error {
		return writeTables(area, b.l.byKey, own, b.l.spans, b.mfns)
	})
}

// pin has Xen check the page tables, which from now on only mmuUpdates writes.
func (b *blank) pin() error {
	return b.h.c.mmuExt("pin_l4_table", b.d.id, []mmuExtOp{{Cmd: mmuPinL4, Arg1: b.mfns[b.l.tables]}})
}

// control maps what the engine writes, for as long as the domain is not released: the control area, the
// list of machine frame numbers as far as it has any, and the frames of an image. One mapping of all:
// to unmap a frame takes longer than to fill it.
func (b *blank) control() (err error) {
	frames := b.l.control(b.mfns)
	frames = append(frames, b.mfns[b.l.p2m:b.l.p2m+b.l.listed()]...)
	frames = append(frames, b.mfns[:b.l.ram]...)
	b.d.area, err = b.h.c.mapFrames(b.d.id, frames, protWrite)
	if err == nil {
		b.steps.OnFailure(func() { b.h.c.munmap(b.d.area) })
	}
	return err
}

// listed is the mapped part of the list of machine frame numbers, slots are the frames of an image.
func (b *blank) listed() []uint64 {
	return words(b.d.area[abi.CtlSize:][:b.l.listed()*pageSize])
}

func (b *blank) slots() []byte { return b.d.area[abi.CtlSize+b.l.listed()*pageSize:] }

// numbers lists the machine frames of the RAM window that are there.
func (b *blank) numbers() error {
	copy(b.listed()[b.l.numbers():], b.mfns[b.l.ram:b.l.p2m])
	return nil
}

// channel connects the domain's event channel to the engine.
func (b *blank) channel() (err error) {
	if b.evtchn, err = b.h.c.allocUnbound(b.d.id); err != nil {
		return err
	}
	if b.d.port, err = b.h.events.bind(b.d.id, b.evtchn, b.d.ring); err != nil {
		return err
	}
	b.steps.OnFailure(func() { b.h.events.unbind(b.d.port) })
	b.steps.Instead(b.close)
	return nil
}

// close ends a blank that has all it needs. First the domain: as long as it is there, the mapping keeps its
// frames from another's hands.
func (b *blank) close() {
	b.h.c.destroy(b.d.id)
	b.h.events.unbind(b.d.port)
	b.h.c.munmap(b.d.area)
	if b.labelled {
		b.h.unlabel(b.d.id, b.d.handle)
	}
}

// findLeaves is for the window where it is: what a start or a fork would have to look up.
func (b *blank) findLeaves() {
	all := geometry{ramVA: b.l.ramVA, image: b.l.reach + b.l.room, dynamic: b.l.room, pages: b.l.ramPages}
	b.leaves, b.named, _ = all.leavesOf(func(va uint64) (slot, table uint64, err error) {
		return b.l.entryOf(b.mfns, 2, va), b.l.own(b.mfns)[b.l.byKey[keyOf(1, va)]], nil
	})
}

// shaped says what of the blank the domain uses, and where that is.
func (b *blank) shaped(g geometry) {
	d, other := b.d, tablesFor(b.l.reach)+tablesFor(b.l.room-g.dynamic)
	d.geometry, d.top, d.list = g, b.mfns[b.l.tables], b.mfns[b.l.p2m:b.l.ctl]
	used := func(all []uint64) []uint64 {
		return slices.Concat(all[:tablesFor(g.own())], all[other:][:tablesFor(g.dynamic)+tablesFor(g.pages)])
	}
	d.leaves, d.slots = used(b.leaves), used(b.named)
}

// watch makes a domain of the blank, which is known from now on.
func (b *blank) watch(hypercallPage uint64, name string) error {
	d := b.d
	d.remotePort, d.hypercallPage = b.evtchn, hypercallPage
	d.name, d.fresh = name, true
	if err := b.h.add(d); err != nil {
		return err
	}
	d.register(false)
	return nil
}

// check tells whether a blank that waited is still as it was made.
func (b *blank) check() error {
	info, err := b.h.c.domainInfo(b.d.id)
	if err == nil && (info.Handle != b.d.handle || info.Flags&(infDying|infShutdown) != 0) {
		err = fmt.Errorf("domain %d: %w", b.d.id, xen.ErrNoDomain)
	}
	return err
}

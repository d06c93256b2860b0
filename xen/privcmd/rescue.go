package privcmd

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// A domain whose stack is shared with a relative cannot copy the page when it writes to it: Xen ends a domain whose
// stack does not take the frame of a fault. Such an end is taken back: the engine copies the page, and the domain repeats
// the instruction.

const (
	// rescueEvery is how often a domain can be rescued in the long run, rescueBurst how many times at once: one
	// that does little else must not keep dom0 busy.
	rescueEvery = 10 * time.Millisecond
	rescueBurst = 64
	// rescueSame is how often a domain may come back with the same registers.
	rescueSame = 4
	// rescuePages are given at once.
	rescuePages = 16
)

// rescues is what a domain has had of them; only the watcher of exits looks at it.
type rescues struct {
	due      time.Time // when those it had would have been paid for
	rip, rsp uint64
	same     int
	thaws    uint64 // Domain.thaws at the last
}

// rescue tells whether a domain that has ended goes on after all, or will.
func (d *Domain) rescue(reason uint32) bool {
	if reason != abi.ShutdownCrash || d.geometry.image == 0 {
		return false
	}
	v, err := d.c.vcpuContext(d.id)
	if err != nil || d.inCall(v.Regs.RIP, abi.HypervisorSchedOp) || d.inCall(v.Regs.RIP, abi.HypervisorMulticall) {
		return false
	}
	if crash, _ := crashOf(v); crash.Vector != abi.X86TrapDf {
		return false
	}
	r := &d.rescues
	if r.rip != v.Regs.RIP || r.rsp != v.Regs.RSP {
		r.same = 0
	}
	if r.same++; r.same > rescueSame {
		return false
	}
	r.rip, r.rsp = v.Regs.RIP, v.Regs.RSP
	now := time.Now()
	if r.due.After(now.Add(rescueBurst * rescueEvery)) {
		r.same--
		time.AfterFunc(rescueEvery, d.h.lookNow)
		return true
	}
	if r.due.Before(now) {
		r.due = now
	}
	r.due = r.due.Add(rescueEvery)
	return d.goOn(v) == nil
}

// pushed is how many bytes Xen pushes at most, below a 16-byte boundary.
const pushed = 80

// goOn gives a domain the pages that its stack pointer needs, and lets it go on.
func (d *Domain) goOn(v *vcpuContext) error {
	if err := d.use(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	low, high := v.Regs.RSP&^15-pushed, v.Regs.RSP-1
	for _, va := range []uint64{low - rescuePages*pageSize, low, high} {
		if err := d.settle(va); err != nil {
			return err
		}
	}
	d.pauses.Lock()
	defer d.pauses.Unlock()
	if err := d.find(); err != nil {
		return err
	}
	given, err := d.give(low)
	if err == nil && high/pageSize != low/pageSize {
		var more bool
		more, err = d.give(high)
		given = given || more
	}
	// Recursion comes back for the next ones.
	for i := uint64(1); i < rescuePages && err == nil && given; i++ {
		_, err = d.give(low - i*pageSize)
	}
	// Or its stack was in a region that it could not write to then.
	thaws := d.thaws.Load()
	thawed := thaws != d.rescues.thaws
	d.rescues.thaws = thaws
	if err == nil && !given && !thawed {
		err = fmt.Errorf("domain %d: nothing is amiss with its stack at %#x", d.id, v.Regs.RSP)
	}
	if err != nil {
		return err
	}
	// Xen may have masked events for the frame already.
	c := d.control()
	masked := v.Regs.RIP >= atomic.LoadUint64(&c.Masked) && v.Regs.RIP < atomic.LoadUint64(&c.MaskedEnd)
	mask := &d.area[abi.SharedVa-abi.CtlVa+abi.XenSharedUpcallMask]
	if *mask = 0; masked {
		*mask = 1
	}
	_, err = d.c.domctl(domctlResume, d.id, nil)
	return err
}

// give lets a domain, which does not run, write to a page of its window that is shared, or absent from its stack; it tells
// whether it was one.
func (d *Domain) give(va uint64) (bool, error) {
	g := &d.geometry
	page := (va - g.ramVA) >> pageShift
	if va < g.ramVA || page >= g.pages {
		return false, nil
	}
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	place, entry, err := w.slot(va, 1)
	if err != nil {
		return false, err
	}
	at := g.numbers() + page
	number, err := d.number(at, nil)
	if err != nil {
		return false, err
	}
	shared := number&abi.MfnShared != 0 && entry&ptePresent != 0
	if !shared && (entry&ptePresent != 0 || d.ranges(nil)[g.image+page] == kindShared) {
		return false, nil
	}
	owner, own := xen.DomID(number>>abi.MfnOwnerShift&abi.MfnOwner), number&abi.MfnFrame
	frame := []uint64{own}
	if shared && owner == 0 || own == 0 {
		if err := d.c.populate(d.id, frame); err != nil {
			return false, err
		}
	}
	if shared {
		source := d.id
		if owner != 0 {
			if source = owner; !slices.Contains(d.line, owner) {
				return false, fmt.Errorf("domain %d: domain %d is no ancestor", d.id, owner)
			}
		}
		if err = d.h.window.open(d.c, d.id, d.top); err == nil {
			err = d.h.window.copy(d.c, source, []uint64{entry & pteFrame >> pageShift}, d.id, frame)
		}
	} else if own == 0 && d.h.dirty {
		err = d.c.clearFrames(d.id, frame)
	}
	if err == nil {
		_, err = d.c.mmuUpdates(d.id, d.id, []mmuUpdate{{place, frame[0]<<pageShift | spanData}})
	}
	if err == nil {
		_, err = d.number(at, &frame[0])
	}
	if err == nil && shared && owner == 0 {
		err = d.c.takeBack(d.id, own)
	}
	return err == nil, err
}

// number is an entry of the list of machine frame numbers, which becomes another if set is not nil.
func (d *Domain) number(at uint64, set *uint64) (n uint64, err error) {
	err = d.c.withFrames(d.id, d.list[at/perTable:][:1], protWrite, func(area []byte) error {
		p := &words(area)[at%perTable]
		if n = atomic.LoadUint64(p); set != nil {
			atomic.StoreUint64(p, *set)
		}
		return nil
	})
	return n, err
}

// control is the first page that the domain writes.
func (d *Domain) control() *abi.KxControl {
	return (*abi.KxControl)(unsafe.Pointer(&d.area[abi.ControlVa-abi.CtlVa]))
}

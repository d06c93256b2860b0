package privcmd

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
)

// A domain whose stack is shared with a relative cannot copy the page when it writes to it: Xen ends a domain whose
// stack does not take the frame of a fault. Such an end is taken back: the domain goes on in its handler for that
// (kx_control.double_fault), as it would on a machine that gives double faults a stack of their own.

const (
	// rescueEvery is how often a domain can be rescued in the long run, rescueBurst how many times at once: one
	// that does little else must not keep dom0 busy.
	rescueEvery = 10 * time.Millisecond
	rescueBurst = 64
	// rescueSame is how often a domain may come back with the same registers.
	rescueSame = 4
)

// rescues is what a domain has had of them; only the watcher of exits looks at it.
type rescues struct {
	due      time.Time // when those it had would have been paid for
	rip, rsp uint64
	same     int
}

// rescue tells whether a domain that has ended goes on after all, or will.
func (d *Domain) rescue(reason uint32) bool {
	if reason != abi.ShutdownCrash || d.hypercallPage == 0 {
		return false
	}
	c := (*abi.KxControl)(unsafe.Pointer(&d.area[abi.ControlVa-abi.CtlVa]))
	handler := atomic.LoadUint64(&c.DoubleFault)
	if handler < abi.ImageVa || handler >= abi.ImageEnd {
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
	return d.goOn(c, v, handler) == nil
}

// goOn has a domain go on in its handler.
func (d *Domain) goOn(c *abi.KxControl, v *vcpuContext, handler uint64) error {
	if err := d.use(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	c.FaultRegs = regsOf(&v.Regs)
	d.area[abi.SharedVa-abi.CtlVa+abi.XenSharedUpcallMask] = 1
	v.Regs.RIP = handler
	// The context has vector registers without their upper halves.
	vector, err := d.c.vcpuState(d.id)
	if err == nil {
		err = d.c.setVCPUContext(d.id, v)
	}
	if err == nil {
		err = d.c.setVCPUState(d.id, vector)
	}
	if err == nil {
		_, err = d.c.domctl(domctlResume, d.id, nil)
	}
	if err != nil {
		return fmt.Errorf("domain %d: double fault: %w", d.id, err)
	}
	return nil
}

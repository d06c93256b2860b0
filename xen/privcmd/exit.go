package privcmd

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// How often domains are looked at, beside when Xen says that one has ended: the interrupt for that
// may be another's, and one that was destroyed from outside is not always announced.
const (
	lookAlways = 20 * time.Millisecond
	lookSeldom = time.Second
)

// watchExits closes Gone of domains that have ended, until the hypervisor is closed.
func (h *Hypervisor) watchExits(period time.Duration) {
	defer close(h.watched)
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-h.look:
		case <-tick.C:
			if h.count() == 0 {
				continue
			}
		}
		h.findEnded()
	}
}

// findEnded compares the domains with Xen's.
func (h *Hypervisor) findEnded() {
	h.mu.Lock()
	var living []*Domain
	for _, d := range h.domains {
		if !d.isGone() {
			living = append(living, d)
		}
	}
	h.mu.Unlock()
	if len(living) == 0 {
		return
	}
	list, err := h.c.domainList()
	if err != nil {
		return // the next look may work
	}
	infos := make(map[xen.DomID]*domainInfo, len(list))
	for i := range list {
		infos[xen.DomID(list[i].Domain)] = &list[i]
	}
	for _, d := range living {
		info := infos[d.id]
		switch {
		case info == nil || info.Handle != d.handle || info.Flags&infDying != 0:
			if d.destroyed.Load() {
				d.end(xen.Exit{Reason: xen.ExitDestroyed})
			} else {
				d.end(xen.Exit{Reason: xen.ExitKilled, Detail: "it was destroyed from outside"})
			}
		case info.Flags&infShutdown != 0:
			if reason := info.Flags >> infShutdownShift & infShutdownMask; !d.rescue(reason) {
				d.end(d.why(reason))
			}
		default:
			d.noticePaused(info.Flags&infPaused != 0)
		}
	}
}

// why tells how a domain that has shut down came to it. Xen itself crashes a domain that faults
// without a handler, or whose stack cannot take the frame of an event; it says so in no other way than
// that the domain's last instruction was not its call to shut down.
func (d *Domain) why(reason uint32) xen.Exit {
	switch reason {
	case abi.ShutdownPoweroff:
		return xen.Exit{Reason: xen.ExitShutdown}
	case abi.ShutdownCrash:
	case abi.ShutdownReboot:
		return xen.Exit{Reason: xen.ExitCrash, Detail: "it asked for a reboot"}
	case abi.ShutdownSuspend:
		return xen.Exit{Reason: xen.ExitCrash, Detail: "it asked for a suspend"}
	default:
		return xen.Exit{Reason: xen.ExitCrash, Detail: fmt.Sprintf("it shut down for reason %d", reason)}
	}
	v, err := d.c.vcpuContext(d.id)
	if err != nil {
		return xen.Exit{Reason: xen.ExitCrash, Detail: err.Error()}
	}
	if d.inCall(v.Regs.RIP, abi.HypervisorSchedOp) || d.inCall(v.Regs.RIP, abi.HypervisorMulticall) {
		return xen.Exit{Reason: xen.ExitCrash}
	}
	crash, detail := crashOf(v)
	return xen.Exit{Reason: xen.ExitFault, Crash: crash, Detail: detail}
}

// inCall tells whether an address is that of a hypercall's return to the guest.
func (d *Domain) inCall(rip uint64, nr uint64) bool {
	off := rip - d.hypercallPage
	return off/abi.HypervisorSize == nr
}

// signals are what traps become, as on Linux.
var signals = [32]unix.Signal{
	abi.X86TrapDe: unix.SIGFPE, abi.X86TrapDb: unix.SIGTRAP, abi.X86TrapBp: unix.SIGTRAP, abi.X86TrapUd: unix.SIGILL,
	abi.X86TrapNp: unix.SIGBUS, abi.X86TrapSs: unix.SIGBUS, abi.X86TrapMf: unix.SIGFPE, abi.X86TrapAc: unix.SIGBUS,
	abi.X86TrapXm: unix.SIGFPE,
}

// crashOf reads what is left of a crash in the vcpu's context. A vector that has a handler, or none
// that is a trap, means that Xen could not push the frame: a double fault.
func crashOf(v *vcpuContext) (abi.KxCrash, string) {
	r := &v.Regs
	c := abi.KxCrash{Signo: uint32(unix.SIGSEGV), Vector: r.EntryVector & 0xff, Error: uint64(r.ErrorCode), Regs: regsOf(r)}
	if r.EntryVector&0xff >= 32 || v.Traps[c.Vector].Address != 0 {
		c.Vector = abi.X86TrapDf
		return c, "a fault or an event while its stack could not be written"
	}
	if s := signals[c.Vector]; s != 0 {
		c.Signo = uint32(s)
	}
	if c.Vector == abi.X86TrapPf {
		c.Addr = v.CtrlReg[2]
	}
	return c, "a fault without a handler"
}

func regsOf(r *userRegs) abi.KxRegs {
	return abi.KxRegs{
		Rax: r.RAX, Rbx: r.RBX, Rcx: r.RCX, Rdx: r.RDX, Rsi: r.RSI, Rdi: r.RDI, Rbp: r.RBP, Rsp: r.RSP,
		R8: r.R8, R9: r.R9, R10: r.R10, R11: r.R11, R12: r.R12, R13: r.R13, R14: r.R14, R15: r.R15,
		Rip: r.RIP, Rflags: r.RFlags,
	}
}

// Registers returns those of the first vcpu of any PV domain, whoever made it.
func (h *Hypervisor) Registers(id xen.DomID) (abi.KxRegs, error) {
	v, err := h.c.vcpuContext(id)
	return regsOf(&v.Regs), err
}

package engine

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
)

// faultReport is what the log of a pVM that died of a fault ends with: what happened where, then
// the registers, where they are known. The first line stands alone as the reason of the exit.
func faultReport(p *pvm, c *abi.KxCrash, detail string) []string {
	what := unix.SignalName(unix.Signal(c.Signo))
	if what == "" {
		what = "fault"
	}
	if unix.Signal(c.Signo) != unix.SIGSYS { // that one is the hypervisor's verdict, no exception
		what += ": " + faultCause(c)
	}
	if detail != "" {
		what += ": " + detail
	}
	r := &c.Regs
	if *r == (abi.KxRegs{}) { // it was killed on the spot
		return []string{what}
	}
	what += " at " + place(p, r.Rip)
	if c.Tid != 0 { // the hypervisor knows of no threads
		what += fmt.Sprintf(", thread %d", c.Tid)
	}
	lines := []string{what}
	regs := []struct {
		name string
		v    uint64
	}{
		{"rip", r.Rip}, {"rsp", r.Rsp}, {"rbp", r.Rbp}, {"rflags", r.Rflags},
		{"rax", r.Rax}, {"rbx", r.Rbx}, {"rcx", r.Rcx}, {"rdx", r.Rdx},
		{"rsi", r.Rsi}, {"rdi", r.Rdi}, {"r8", r.R8}, {"r9", r.R9},
		{"r10", r.R10}, {"r11", r.R11}, {"r12", r.R12}, {"r13", r.R13},
		{"r14", r.R14}, {"r15", r.R15},
	}
	const across = 3 // in 80 columns
	for i := 0; i < len(regs); i += across {
		var b strings.Builder
		for _, x := range regs[i:min(i+across, len(regs))] {
			fmt.Fprintf(&b, " %6s %016x", x.name, x.v)
		}
		lines = append(lines, b.String())
	}
	return lines
}

// faultCause puts vector, error code and address into words (Intel SDM vol. 3, 6.15).
func faultCause(c *abi.KxCrash) string {
	switch c.Vector {
	case abi.X86TrapPf:
		access := "read of"
		switch {
		case c.Error&0x10 != 0:
			access = "jump to"
		case c.Error&2 != 0:
			access = "write to"
		}
		why := "not mapped"
		if c.Error&1 != 0 {
			why = "not allowed"
		}
		return fmt.Sprintf("%s address 0x%x (%s)", access, c.Addr, why)
	case abi.X86TrapDe:
		return "division by zero or overflow"
	case abi.X86TrapUd:
		return "invalid instruction"
	case abi.X86TrapGp:
		return "general protection fault"
	case abi.X86TrapDf:
		return fmt.Sprintf("stack overflow, address 0x%x", c.Addr)
	case abi.X86TrapMf, abi.X86TrapXm:
		return "floating-point exception"
	case abi.X86TrapBp, abi.X86TrapDb:
		return "breakpoint or trace trap"
	case abi.X86TrapAc:
		return "unaligned access"
	}
	return fmt.Sprintf("exception %d, error 0x%x", c.Vector, c.Error)
}

// place names an instruction: symbol and offset where the image has a symbol table, and in a library.
func place(p *pvm, rip uint64) string {
	if p.syms != nil {
		if name, off, ok := p.syms.Lookup(rip); ok {
			return fmt.Sprintf("%s+0x%x [0x%x]", name, off, rip)
		}
	}
	if linked := p.linked.Load(); linked != nil {
		if name, ok := linked.Name(rip); ok {
			return fmt.Sprintf("%s [0x%x]", name, rip)
		}
	}
	return fmt.Sprintf("0x%x", rip)
}

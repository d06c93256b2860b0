// Package bell rings a domain of the hosted hypervisor, and holds the two system calls that all bells in
// shared memory are made of: whoever moves a word wakes, whoever has seen it unmoved sleeps.
package bell

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
)

// Bell is what gets a domain's attention. All of it lies in memory that the domain writes to, and is only
// ever accessed atomically: a domain that changes it can keep events from nobody but itself.
type Bell struct {
	Shared    *abi.SharedInfo
	Seq       *uint32      // moved with each event; its vcpu sleeps on it
	Sleeping  *uint32      // not 0: its vcpu sleeps, or is about to
	Interrupt func() error // for a vcpu that runs: makes its process look
}

// Ring sets one of the domain's first 64 event channels pending, as Xen does it.
func (b *Bell) Ring(port uint) error {
	bit := uint64(1) << port
	v := &b.Shared.VcpuInfo[0]
	if atomic.OrUint64(&b.Shared.EvtchnPending[0], bit)&bit != 0 || atomic.LoadUint64(&b.Shared.EvtchnMask[0])&bit != 0 {
		return nil
	}
	if atomic.OrUint64(&v.EvtchnPendingSel, 1)&1 != 0 {
		return nil
	}
	masked := atomic.OrUint32(upcall(v), 1)&0xff00 != 0
	return b.Kick(masked)
}

// RingAnew is Ring for who takes up a bell that others had: they may have woken nobody, since the domain has moved to another process or they were killed as they
// rang, so it is woken whatever is pending.
func (b *Bell) RingAnew(port uint) error {
	v := &b.Shared.VcpuInfo[0]
	atomic.OrUint64(&b.Shared.EvtchnPending[0], 1<<port)
	atomic.OrUint64(&v.EvtchnPendingSel, 1)
	atomic.OrUint32(upcall(v), 1)
	return b.Kick(false)
}

// upcall is a vcpu's pending byte and the mask byte beside it, as one word.
func upcall(v *abi.VcpuInfo) *uint32 { return (*uint32)(unsafe.Pointer(&v.EvtchnUpcallPending)) }

// Kick gets the vcpu's attention: the order of its steps is what block() in xen/hosted/stub/event.c relies on.
func (b *Bell) Kick(masked bool) error {
	atomic.AddUint32(b.Seq, 1)
	if atomic.LoadUint32(b.Sleeping) != 0 {
		Wake(b.Seq)
		return nil
	}
	if masked {
		return nil // the guest looks for itself when it unmasks
	}
	return b.Interrupt()
}

// Wait sleeps while *word is val, at most for d; for ever if d is 0. It may return sooner.
func Wait(word *uint32, val uint32, d time.Duration) {
	var limit *unix.Timespec
	if d != 0 {
		ts := unix.NsecToTimespec(d.Nanoseconds())
		limit = &ts
	}
	syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 0, uintptr(val), uintptr(unsafe.Pointer(limit)), 0, 0)
}

// Nap is Wait without telling Go's scheduler, and so for a moment only: the thread keeps its processor as if it ran. Go interrupts it when it wants that to collect garbage.
func Nap(word *uint32, val uint32, d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 0, uintptr(val), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// Wake wakes one sleeper.
func Wake(word *uint32) {
	syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 1, 1, 0, 0, 0)
}

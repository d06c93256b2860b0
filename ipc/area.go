// Package ipc holds the protocols on pages that the engine shares with a pVM, as the engine sees
// them: the console, the commands, and what a pVM says of itself in its control area. Layouts and
// rules are those of guest/include/kx_abi.h.
//
// The pVM writes to the same pages at any time and may be hostile. Everything read is copied once,
// the copy is checked, and only the copy is used; an index that is the engine's to write lives in
// the engine's own memory, and what the pVM does to the shared copy is ignored. The worst that a
// pVM can do is to earn an ErrCorrupt, or to keep its own data from itself.
//
// # Waiting
//
// One event channel serves all rings of a pVM, so an event says only "look again". A side that is
// about to sleep sets its wait flag, looks once more, and sleeps if there is still nothing. The
// other side moves its index and then looks at the flag; if it is set, it clears it and sends an
// event. All four are sequentially consistent accesses, hence one of the two always sees the other.
// A spurious event costs a look; an event that is never sent cannot happen.
//
// Here the methods that look are called Sleep: they return true if the caller may sleep until the
// next event. The methods that move an index return notify, true if the caller must now raise the
// event channel (xen.Domain.Notify).
//
// The control area must stay mapped as long as it is used: nothing here may be called after
// xen.Domain.Release.
package ipc

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
)

var (
	// ErrCorrupt says that a pVM broke the protocol; there is no way to go on with it.
	ErrCorrupt = errors.New("the pVM wrote nonsense to its control area")
	// ErrFull says that the pVM has not taken earlier commands yet.
	ErrFull = errors.New("the pVM does not take commands")
	// ErrClosed says that the pVM has ended.
	ErrClosed = errors.New("the pVM has ended")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// part returns n bytes of a control area, by their address in the pVM. An area that is too short
// or not aligned is a bug of the caller, who mapped it, and panics.
func part(ctl []byte, va, n uint64) []byte {
	if len(ctl) < abi.CtlSize {
		panic(fmt.Sprintf("ipc: control area of %d bytes, want %d", len(ctl), abi.CtlSize))
	}
	p := ctl[va-abi.CtlVa:][:n:n]
	if uintptr(unsafe.Pointer(&p[0]))%8 != 0 {
		panic("ipc: control area is not aligned")
	}
	return p
}

// control is the struct kx_control in a control area. Its fields may be read with atomic loads only.
func control(ctl []byte) *abi.KxControl {
	p := part(ctl, abi.ControlVa, uint64(unsafe.Sizeof(abi.KxControl{})))
	return (*abi.KxControl)(unsafe.Pointer(&p[0]))
}

// claim clears a wait flag of the other side and tells whether it was set. It is called after an
// index was moved.
func claim(flag *uint32) bool {
	return atomic.LoadUint32(flag) != 0 && atomic.SwapUint32(flag, 0) != 0
}

// copyOut fills dst from a ring of bytes, from a free-running index on.
func copyOut(dst, ring []byte, index uint32) {
	n := copy(dst, ring[index%uint32(len(ring)):])
	copy(dst[n:], ring)
}

// copyIn puts src into a ring of bytes, from a free-running index on.
func copyIn(ring []byte, index uint32, src []byte) {
	n := copy(ring[index%uint32(len(ring)):], src)
	copy(ring, src[n:])
}

// Package ipctest is the pVM's side of the protocols of package ipc, in Go, for tests: what
// guest/kern does in C. It is correct, not hostile.
package ipctest

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
)

// NewArea returns a control area, all zero and aligned like a mapped one.
func NewArea() []byte {
	pages := make([][abi.PageSize / 8]uint64, abi.CtlSize/abi.PageSize)
	return unsafe.Slice((*byte)(unsafe.Pointer(&pages[0])), abi.CtlSize)
}

// Guest is a pVM at its control area. It is for one goroutine, as a pVM has one vcpu.
type Guest struct {
	Control *abi.KxControl
	// Notify raises the event channel to the engine.
	Notify func()

	ctl []byte
}

// NewGuest is the pVM that lives in a control area.
func NewGuest(ctl []byte, notify func()) *Guest {
	return &Guest{
		Control: (*abi.KxControl)(unsafe.Pointer(&ctl[abi.ControlVa-abi.CtlVa])),
		Notify:  notify,
		ctl:     ctl,
	}
}

func (g *Guest) part(va, n uint64) []byte { return g.ctl[va-abi.CtlVa:][:n] }

func (g *Guest) claim(flag *uint32) {
	if atomic.SwapUint32(flag, 0) != 0 {
		g.Notify()
	}
}

// Print writes one record to the console; false if there is no room, and then the engine has been
// asked for an event.
func (g *Guest) Print(stream int, p []byte) bool {
	ring := &g.Control.Conout
	data := g.part(abi.ConoutVa, abi.ConoutSize)
	prod := atomic.LoadUint32(&ring.Prod)
	fits := func() bool {
		return abi.ConoutSize-(prod-atomic.LoadUint32(&ring.Cons)) >= uint32(4+len(p))
	}
	if !fits() {
		atomic.StoreUint32(&ring.ProdWaits, 1)
		if !fits() {
			return false
		}
		atomic.StoreUint32(&ring.ProdWaits, 0)
	}
	var head [4]byte
	binary.LittleEndian.PutUint32(head[:], uint32(stream)<<24|uint32(len(p)))
	for i, b := range append(head[:], p...) {
		data[(prod+uint32(i))%abi.ConoutSize] = b
	}
	atomic.StoreUint32(&ring.Prod, prod+uint32(4+len(p)))
	g.claim(&ring.ConsWaits)
	return true
}

// Input takes standard input; with none, it returns 0 and the engine has been asked for an event.
func (g *Guest) Input(p []byte) int {
	ring := &g.Control.Conin
	data := g.part(abi.ConinVa, abi.ConinSize)
	cons := atomic.LoadUint32(&ring.Cons)
	n := atomic.LoadUint32(&ring.Prod) - cons
	if n == 0 {
		atomic.StoreUint32(&ring.ConsWaits, 1)
		if n = atomic.LoadUint32(&ring.Prod) - cons; n == 0 {
			return 0
		}
		atomic.StoreUint32(&ring.ConsWaits, 0)
	}
	n = min(n, uint32(len(p)))
	for i := range n {
		p[i] = data[(cons+i)%abi.ConinSize]
	}
	atomic.StoreUint32(&ring.Cons, cons+n)
	g.claim(&ring.ProdWaits)
	return int(n)
}

// Command takes the next command; with none, it returns false and the engine has been asked for
// an event.
func (g *Guest) Command() (cmd abi.KxCmd, ok bool) {
	ring := &g.Control.Cmds
	cons := atomic.LoadUint32(&ring.Cons)
	if atomic.LoadUint32(&ring.Prod) == cons {
		atomic.StoreUint32(&ring.ConsWaits, 1)
		if atomic.LoadUint32(&ring.Prod) == cons {
			return cmd, false
		}
		atomic.StoreUint32(&ring.ConsWaits, 0)
	}
	size := uint64(unsafe.Sizeof(cmd))
	entry := g.part(abi.CmdsVa+uint64(cons%abi.Cmds)*size, size)
	cmd = *(*abi.KxCmd)(unsafe.Pointer(&entry[0]))
	atomic.StoreUint32(&ring.Cons, cons+1)
	g.claim(&ring.ProdWaits)
	return cmd, true
}

// Call makes a call and returns its result; wait sleeps until the next event.
func (g *Guest) Call(wait func(), op uint32, a ...uint64) int64 {
	asked := g.Ask(op, a...)
	for atomic.LoadUint32(&g.Control.Call.Done) != asked {
		wait()
	}
	return atomic.LoadInt64(&g.Control.Call.Result)
}

// Ask makes a call and returns its number; Control.Call.Done will be that when it is answered.
func (g *Guest) Ask(op uint32, a ...uint64) uint32 {
	c := &g.Control.Call
	atomic.StoreUint32(&c.Op, op)
	for i := range c.A {
		v := uint64(0)
		if i < len(a) {
			v = a[i]
		}
		atomic.StoreUint64(&c.A[i], v)
	}
	asked := atomic.AddUint32(&c.Asked, 1)
	g.Notify()
	return asked
}

// Enter reports a state: abi.StateBoot or abi.StateMain.
func (g *Guest) Enter(state uint32) { atomic.StoreUint32(&g.Control.State, state) }

// Exit reports how the program ended, as a wait(2) status word.
func (g *Guest) Exit(status uint32) {
	atomic.StoreUint32(&g.Control.Status, status)
	atomic.StoreUint32(&g.Control.State, abi.StateExited)
}

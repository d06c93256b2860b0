package ipc

import (
	"sync/atomic"

	"kxsh/ipc/abi"
)

// Call is what a pVM asks of the engine: abi.CallFork, abi.CallKill, abi.CallReap, or nonsense.
type Call struct {
	N     uint32 // its number
	Op    uint32
	Flags uint32
	A     [3]uint64
}

// Calls takes the calls of a pVM, one at a time: the pVM does nothing until it has been answered. It is
// for one goroutine. There is no Sleep: a pVM that calls always sends an event.
type Calls struct {
	area *abi.KxCall
	done uint32
}

// NewCalls goes on where an earlier Calls of this control area ended: a call that it took and did not
// answer comes again.
func NewCalls(ctl []byte) *Calls {
	area := &control(ctl).Call
	return &Calls{area: area, done: atomic.LoadUint32(&area.Done)}
}

// Next returns the call that waits for an answer, if there is one.
func (c *Calls) Next() (call Call, ok bool) {
	call.N = atomic.LoadUint32(&c.area.Asked)
	if call.N == c.done {
		return Call{}, false
	}
	call.Op = atomic.LoadUint32(&c.area.Op)
	call.Flags = atomic.LoadUint32(&c.area.Flags)
	for i := range call.A {
		call.A[i] = atomic.LoadUint64(&c.area.A[i])
	}
	return call, true
}

// Answer answers a call that Next returned. The caller must now raise the event channel.
func (c *Calls) Answer(call Call, result int64) {
	atomic.StoreInt64(&c.area.Result, result)
	c.done = call.N
	atomic.StoreUint32(&c.area.Done, c.done)
}

// SetLook says whether the pVM may look for what relatives do before it sleeps.
func SetLook(ctl []byte, may bool) {
	flags := &control(ctl).Flags
	if may {
		atomic.OrUint32(flags, abi.FLook)
	} else {
		atomic.AndUint32(flags, ^uint32(abi.FLook))
	}
}

// Waits tells whether a pVM has no program yet, and will ask for one. It is the pVM's word.
func Waits(ctl []byte) bool { return atomic.LoadUint32(&control(ctl).Flags)&abi.FWaits != 0 }

// SetParent changes what getppid() returns in a pVM.
func SetParent(ctl []byte, ppid int) { atomic.StoreUint32(&control(ctl).Ppid, uint32(ppid)) }

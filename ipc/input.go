package ipc

import (
	"sync"
	"sync/atomic"

	"kxsh/ipc/abi"
)

// Input writes to the standard input of a pVM. Its methods may be called from any goroutine.
type Input struct {
	mu   sync.Mutex
	ring *abi.KxRing
	data []byte
	prod uint32

	unread *uint32
}

// NewInput writes on where an earlier Input of this control area ended.
func NewInput(ctl []byte) *Input {
	c := control(ctl)
	return &Input{
		ring: &c.Conin, unread: &c.InputUnread,
		data: part(ctl, abi.ConinVa, abi.ConinSize),
		prod: atomic.LoadUint32(&c.Conin.Prod),
	}
}

// Write gives the pVM as much of p as there is room for, without waiting.
func (in *Input) Write(p []byte) (n int, notify bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	room, err := in.room()
	if err != nil {
		return 0, false, err
	}
	n = min(len(p), int(room))
	if n == 0 {
		return 0, false, nil
	}
	copyIn(in.data, in.prod, p[:n])
	in.prod += uint32(n)
	atomic.StoreUint32(&in.ring.Prod, in.prod)
	return n, claim(&in.ring.ConsWaits), nil
}

func (in *Input) room() (uint32, error) {
	used := in.prod - atomic.LoadUint32(&in.ring.Cons)
	if used > abi.ConinSize {
		return 0, corrupt("console input holds %d bytes of %d", int32(used), abi.ConinSize)
	}
	return abi.ConinSize - used, nil
}

// Taken is how many bytes the pVM has taken since it began, modulo 2^32. It is the pVM's own word.
func (in *Input) Taken() uint32 { return atomic.LoadUint32(&in.ring.Cons) }

// Unread is how many of the last that it has taken its program has not read, of a terminal. It is the pVM's own word.
func (in *Input) Unread() uint32 { return atomic.LoadUint32(in.unread) }

// Sleep asks the pVM for an event when it reads. It returns false if there is room already.
func (in *Input) Sleep() (bool, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	atomic.StoreUint32(&in.ring.ProdWaits, 1)
	room, err := in.room()
	if err != nil || room == 0 {
		return err == nil, err
	}
	atomic.StoreUint32(&in.ring.ProdWaits, 0)
	return false, nil
}

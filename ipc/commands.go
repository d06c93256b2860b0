package ipc

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
)

// Commands tells a pVM what to do. Its methods may be called from any goroutine.
type Commands struct {
	mu      sync.Mutex
	ring    *abi.KxRing
	entries *[abi.Cmds]abi.KxCmd
	prod    uint32
}

// NewCommands goes on where an earlier Commands of this control area ended.
func NewCommands(ctl []byte) *Commands {
	ring := &control(ctl).Cmds
	p := part(ctl, abi.CmdsVa, uint64(unsafe.Sizeof([abi.Cmds]abi.KxCmd{})))
	return &Commands{
		ring:    ring,
		entries: (*[abi.Cmds]abi.KxCmd)(unsafe.Pointer(&p[0])),
		prod:    atomic.LoadUint32(&ring.Prod),
	}
}

// Send queues a command, without waiting. ErrFull if abi.Cmds commands are still waiting.
func (c *Commands) Send(cmd abi.KxCmd) (notify bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := c.prod - atomic.LoadUint32(&c.ring.Cons)
	if used > abi.Cmds {
		return false, corrupt("command ring holds %d commands of %d", int32(used), abi.Cmds)
	}
	if used == abi.Cmds {
		return false, ErrFull
	}
	c.entries[c.prod%abi.Cmds] = cmd
	c.prod++
	atomic.StoreUint32(&c.ring.Prod, c.prod)
	return claim(&c.ring.ConsWaits), nil
}

// Left tells whether commands wait that the pVM has not taken. It is the pVM's own word.
func (c *Commands) Left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return atomic.LoadUint32(&c.ring.Cons) != c.prod
}

// Signal sends a signal in the name of a process.
func (c *Commands) Signal(sig, sender int) (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdSignal, Arg0: uint32(sig), A: [3]uint64{uint64(sender)}})
}

// Winsize tells the size of the terminal.
func (c *Commands) Winsize(rows, cols int) (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdWinsize, A: [3]uint64{uint64(rows), uint64(cols)}})
}

// EOF tells that no more standard input will come.
func (c *Commands) EOF() (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdEof})
}

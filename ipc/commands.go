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
	closed  bool
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

// Send queues a command, without waiting. ErrFull if abi.Cmds commands are still waiting, ErrClosed after Close.
func (c *Commands) Send(cmd abi.KxCmd) (notify bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, ErrClosed
	}
	full, err := c.full()
	if err != nil {
		return false, err
	}
	if full {
		return false, ErrFull
	}
	c.entries[c.prod%abi.Cmds] = cmd
	c.prod++
	atomic.StoreUint32(&c.ring.Prod, c.prod)
	return claim(&c.ring.ConsWaits), nil
}

func (c *Commands) full() (bool, error) {
	used := c.prod - atomic.LoadUint32(&c.ring.Cons)
	if used > abi.Cmds {
		return false, corrupt("command ring holds %d commands of %d", int32(used), abi.Cmds)
	}
	return used == abi.Cmds, nil
}

// Sleep asks the pVM for an event when it takes commands. It returns false if there is room already.
func (c *Commands) Sleep() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	atomic.StoreUint32(&c.ring.ProdWaits, 1)
	full, err := c.full()
	if full || err != nil {
		return full, err
	}
	atomic.StoreUint32(&c.ring.ProdWaits, 0)
	return false, nil
}

// Left tells whether commands wait that the pVM has not taken. It is the pVM's own word.
func (c *Commands) Left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return atomic.LoadUint32(&c.ring.Cons) != c.prod
}

// Close is when the pVM has ended: from now on nothing is queued. It tells what Left would.
func (c *Commands) Close() (left bool) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Left()
}

// Signal sends a signal in the name of a process.
func (c *Commands) Signal(sig, sender int) (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdSignal, Arg0: uint32(sig), A: [3]uint64{uint64(sender)}})
}

// Winsize tells the size of the terminal.
func (c *Commands) Winsize(rows, cols int) (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdWinsize, A: [3]uint64{uint64(rows), uint64(cols)}})
}

// Child tells what has become of a child: its wait(2) status word, and its CPU time in nanoseconds.
func (c *Commands) Child(pid int, status Status, cpu uint64) (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdChild, Arg0: uint32(pid), A: [3]uint64{uint64(status), cpu}})
}

// EOF tells that no more standard input will come.
func (c *Commands) EOF() (notify bool, err error) {
	return c.Send(abi.KxCmd{Op: abi.CmdEof})
}

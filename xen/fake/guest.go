package fake

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Guest is a domain as its program sees it.
type Guest struct {
	ID   xen.DomID
	Boot xen.Boot

	control []byte
	memory  uint64 // of the RAM window
	started time.Time
	events  chan struct{} // from the engine
	rang    chan struct{} // to the engine
	touched chan struct{}
	kill    chan struct{} // closed when the domain is destroyed
	gone    chan struct{}
	forked  atomic.Bool // it has forked, or was forked

	mu      sync.Mutex
	moved   *sync.Cond // paused or killed has changed
	paused  bool
	blocked bool
	killed  bool
	exit    xen.Exit
	used    uint64
	maxMem  uint64
	weight  int
	cpus    []int
	points  map[uint64]Program // where a child goes on, by rip
	mapped  []xen.Range        // pages of libraries
	words   map[uint64][8]byte // of its memory outside the control area, by their addresses
}

func (g *Guest) init() {
	g.started = time.Now()
	g.events, g.rang = make(chan struct{}, 1), make(chan struct{}, 1)
	g.touched = make(chan struct{}, 1)
	g.kill, g.gone = make(chan struct{}), make(chan struct{})
	g.moved = sync.NewCond(&g.mu)
	g.paused = true
}

func (g *Guest) token() string { return fmt.Sprintf("%d %p", g.ID, g) }

// run is the domain's life.
func (g *Guest) run(p Program) {
	defer func() {
		g.mu.Lock()
		if g.killed {
			g.exit = xen.Exit{Reason: xen.ExitDestroyed}
		}
		g.mu.Unlock()
		close(g.gone)
	}()
	g.pausePoint()
	p(g)
}

// Control returns the control area.
func (g *Guest) Control() []byte { return g.control }

// Ring raises the domain's event to the engine.
func (g *Guest) Ring() {
	g.pausePoint()
	g.ring()
}

func (g *Guest) ring() {
	select {
	case g.rang <- struct{}{}:
	default:
	}
}

// Wait sleeps until the engine has notified the domain since the last Wait.
func (g *Guest) Wait() {
	g.setBlocked(true)
	select {
	case <-g.events:
	case <-g.kill:
	}
	g.setBlocked(false)
	g.pausePoint()
}

func (g *Guest) setBlocked(b bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocked = b
}

// rests tells whether it waits, or is gone.
func (g *Guest) rests() bool {
	select {
	case <-g.gone:
		return true
	default:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked
}

// Yield lets the domain be paused or destroyed here. A program that runs for long must call it, or
// Ring or Wait, now and then.
func (g *Guest) Yield() {
	runtime.Gosched()
	g.pausePoint()
}

// pausePoint waits while the domain is paused, and ends a domain that was destroyed.
func (g *Guest) pausePoint() {
	g.mu.Lock()
	for g.paused && !g.killed {
		g.moved.Wait()
	}
	killed := g.killed
	g.mu.Unlock()
	if killed {
		runtime.Goexit()
	}
}

// SetWord makes a word of the domain's memory readable, outside its control area.
func (g *Guest) SetWord(va, value uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.words == nil {
		g.words = map[uint64][8]byte{}
	}
	g.words[va] = [8]byte(binary.LittleEndian.AppendUint64(nil, value))
}

// Mapped tells where pages of libraries are.
func (g *Guest) Mapped() []xen.Range {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.mapped)
}

// Use makes the domain use so many bytes of its memory.
func (g *Guest) Use(bytes uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = min(bytes, g.memory)
}

// Exit ends the program with an exit status, as exit(3) does. It does not return.
func (g *Guest) Exit(code int) { g.End(uint32(code&0xff)<<8, xen.Exit{Reason: xen.ExitShutdown}) }

// End ends the program with a wait(2) status word and an exit. It does not return.
func (g *Guest) End(status uint32, e xen.Exit) {
	c := (*abi.KxControl)(unsafe.Pointer(&g.control[abi.ControlVa-abi.CtlVa]))
	if e.Reason == xen.ExitShutdown {
		atomic.StoreUint32(&c.Status, status)
		atomic.StoreUint32(&c.State, abi.StateExited)
	}
	g.mu.Lock()
	g.exit = e
	g.mu.Unlock()
	runtime.Goexit()
}

package privcmd

import (
	"crypto/rand"
	"fmt"
	"sync"

	"kxsh/xen"
)

// maxPool bounds the blank domains that wait.
const maxPool = 64

// blank is a domain without memory. To a later engine it is half made, and ended.
type blank struct {
	id     xen.DomID
	handle handle
}

// pool keeps blank domains ready, oldest first, so that numbers are given in order.
type pool struct {
	make    func() (blank, error)
	destroy func(xen.DomID) error

	mu     sync.Mutex
	ready  []blank
	want   int
	busy   bool // a filler runs
	closed bool
	idle   sync.WaitGroup // of fillers
}

// blank makes one: its UUID begins with what tells this engine's domains from others'.
func (h *Hypervisor) blank() (b blank, err error) {
	copy(b.handle[:], h.key[:])
	rand.Read(b.handle[len(h.key):])
	if b.id, err = h.c.create(&createDomain{handle: b.handle, evtchnPort: maxEvtchnPort}); err != nil {
		return b, err
	}
	if err = domctl(h.c, domctlSetTSC, b.id, &tscInfo{Mode: tscNative}); err != nil {
		h.c.destroy(b.id)
	}
	return b, err
}

// take returns the oldest blank, or makes one.
func (p *pool) take() (blank, error) {
	p.mu.Lock()
	if len(p.ready) == 0 {
		p.mu.Unlock()
		return p.make()
	}
	b := p.ready[0]
	p.ready = p.ready[1:]
	p.fill()
	p.mu.Unlock()
	return b, nil
}

// fill starts a filler if one is needed; p.mu is held. One that fails stops until the next take.
func (p *pool) fill() {
	if p.busy || p.closed || len(p.ready) >= p.want {
		return
	}
	p.busy = true
	p.idle.Go(func() {
		for {
			b, err := p.make()
			p.mu.Lock()
			if err == nil {
				p.ready = append(p.ready, b)
			}
			if err != nil || p.closed || len(p.ready) >= p.want {
				p.busy = false
				p.shrink()
				p.mu.Unlock()
				return
			}
			p.mu.Unlock()
		}
	})
}

// shrink destroys what is too much, the youngest first; p.mu is held.
func (p *pool) shrink() {
	for len(p.ready) > p.want {
		last := len(p.ready) - 1
		p.destroy(p.ready[last].id)
		p.ready = p.ready[:last]
	}
}

func (p *pool) resize(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = n
	p.shrink()
	p.fill()
}

func (p *pool) state() xen.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return xen.Pool{Ready: len(p.ready), Want: p.want}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.want = 0
	p.shrink()
	p.mu.Unlock()
	p.idle.Wait()
}

// Pool implements xen.Hypervisor.
func (h *Hypervisor) Pool() xen.Pool { return h.pool.state() }

// SetPool implements xen.Hypervisor.
func (h *Hypervisor) SetPool(n int) error {
	if n < 0 || n > maxPool {
		return fmt.Errorf("pool: %d: must be 0 to %d", n, maxPool)
	}
	h.pool.resize(n)
	return nil
}

package privcmd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kxsh/xen"
)

const (
	// DefaultPool is how many blank domains wait if Options do not say, and maxPool how many may.
	DefaultPool = 4
	maxPool     = 64
	// refillDelay lets a domain that was just created start before the machine makes blanks again.
	refillDelay = time.Millisecond
)

// pool keeps blank domains ready, oldest first, so that numbers are given in order.
type pool struct {
	make func() (*blank, error)

	mu     sync.Mutex
	ready  []*blank
	want   int
	busy   bool // a filler runs
	closed bool
	idle   sync.WaitGroup // of fillers
}

// blank makes one for the pool.
func (h *Hypervisor) blank() (*blank, error) {
	var s xen.Steps
	b := newBlank(h, poolShape, randomBase(poolShape.ramPages), &s)
	return b, s.Run(context.Background(), nil, b.making()...)
}

// take returns the oldest blank, or nil.
func (p *pool) take() *blank {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.fill(refillDelay)
	if len(p.ready) == 0 {
		return nil
	}
	b := p.ready[0]
	p.ready[0] = nil
	p.ready = p.ready[1:]
	return b
}

// takeBlank takes the oldest blank of the pool, or nil, for the steps of which one fails.
func (h *Hypervisor) takeBlank(steps *xen.Steps) *blank {
	for b := h.pool.take(); b != nil; b = h.pool.take() {
		if b.check() == nil {
			steps.OnFailure(b.close)
			return b
		}
		b.close() // somebody has ended it while it waited
	}
	return nil
}

// fill starts a filler if one is needed, which waits first; p.mu is held. One that fails stops until the next take.
func (p *pool) fill(delay time.Duration) {
	if p.busy || p.closed || len(p.ready) >= p.want {
		return
	}
	p.busy = true
	p.idle.Go(func() {
		time.Sleep(delay)
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

// shrink ends what is too much, the youngest first; p.mu is held.
func (p *pool) shrink() {
	for len(p.ready) > p.want {
		last := len(p.ready) - 1
		p.ready[last].close()
		p.ready = p.ready[:last]
	}
}

func (p *pool) resize(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = n
	p.shrink()
	p.fill(0)
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

package privcmd

import (
	"context"
	"fmt"
	"slices"
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
	// labelAfter is how long a blank waits until it has a name for xl: where starts follow each other none is written.
	labelAfter = time.Second
)

// pool keeps blank domains of one shape ready, oldest first, so that numbers are given in order.
type pool struct {
	make func(s shape, ramVA uint64) (*blank, error)

	mu     sync.Mutex
	shape  shape  // none: nobody has asked for any yet
	missed shape  // another one that was asked for last
	ramVA  uint64 // of their windows; 0: anywhere
	ready  []*blank
	unfit  []*blank // of another shape, to be ended
	want   int
	busy   bool // a filler runs
	closed bool
	idle   sync.WaitGroup // of fillers
}

// blank makes one for a pool.
func (h *Hypervisor) blank(shape shape, ramVA uint64) (*blank, error) {
	var s xen.Steps
	if ramVA == 0 {
		ramVA = shape.randomBase()
	}
	b := newBlank(h, shape, ramVA, &s)
	return b, s.Run(context.Background(), nil, b.making()...)
}

// take returns the oldest blank, or nil. Who asks for another shape twice in a row gets the next ones in that shape, and
// with their windows there.
func (p *pool) take(s shape, ramVA uint64) *blank {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.fill(refillDelay)
	if p.shape != s {
		if p.missed != s && p.shape != (shape{}) {
			p.missed = s
			return nil
		}
		p.shape, p.ready, p.unfit = s, nil, append(p.unfit, p.ready...)
	}
	p.ramVA, p.missed = ramVA, shape{}
	if len(p.ready) == 0 {
		return nil
	}
	b := p.ready[0]
	p.ready[0] = nil
	p.ready = p.ready[1:]
	return b
}

// takeBlank takes the oldest blank of a pool that can have its window there, or nil, for the steps of which one fails.
// Address 0 is anywhere.
func (h *Hypervisor) takeBlank(p *pool, s shape, ramVA uint64, steps *xen.Steps) *blank {
	for b := p.take(s, ramVA); b != nil; b = p.take(s, ramVA) {
		if b.movable(ramVA) && b.check() == nil {
			steps.OnFailure(b.close)
			return b
		}
		b.close() // or somebody has ended it while it waited
	}
	return nil
}

// movable tells whether the window can be at an address.
func (b *blank) movable(ramVA uint64) bool {
	return ramVA == 0 || ramVA == b.l.ramVA || b.l.oneTable(ramVA) && b.l.oneTable(b.l.ramVA)
}

// move puts the window of a blank that is movable there.
func (b *blank) move(ramVA uint64) (err error) {
	if ramVA == b.l.ramVA {
		return nil
	}
	var ops []mmuUpdate
	b.l, ops = b.l.moved(b.mfns, ramVA)
	_, err = b.h.c.mmuUpdates(b.d.id, b.d.id, ops)
	b.findLeaves()
	return err
}

// fill starts a filler if one is needed, which waits first; p.mu is held. One that fails stops until the next take.
func (p *pool) fill(delay time.Duration) {
	if p.busy || p.closed || p.shape == (shape{}) || len(p.ready) >= p.want && len(p.unfit) == 0 {
		return
	}
	p.busy = true
	p.idle.Go(func() {
		time.Sleep(delay)
		p.mu.Lock()
		defer p.mu.Unlock()
		defer func() { p.busy = false }()
		for p.shrink(); len(p.ready) < p.want && !p.closed; p.shrink() {
			s, ramVA := p.shape, p.ramVA
			p.mu.Unlock()
			b, err := p.make(s, ramVA)
			p.mu.Lock()
			switch {
			case err != nil:
				return
			case s != p.shape:
				p.unfit = append(p.unfit, b)
			default:
				p.ready = append(p.ready, b)
				time.AfterFunc(labelAfter, func() { p.label(b) })
			}
		}
	})
}

// label gives a blank that still waits its name.
func (p *pool) label(b *blank) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.ready, b) {
		b.labelled = true
		b.h.label(b.d.id, b.d.handle, "kxsh-blank")
	}
}

// shrink ends what is too much, the youngest first; p.mu is held.
func (p *pool) shrink() {
	for _, b := range p.unfit {
		b.close()
	}
	p.unfit = nil
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

// state tells how many wait, and whether anybody has asked for any.
func (p *pool) state() (s xen.Pool, asked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return xen.Pool{Ready: len(p.ready), Want: p.want}, p.shape != shape{}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.want = 0
	p.shrink()
	p.mu.Unlock()
	p.idle.Wait()
}

// Pool implements xen.Hypervisor. Once something has forked, as many are ready as both a start and a fork find.
func (h *Hypervisor) Pool() xen.Pool {
	s, _ := h.pool.state()
	if f, asked := h.forks.state(); asked {
		s.Ready = min(s.Ready, f.Ready)
	}
	return s
}

// SetPool implements xen.Hypervisor.
func (h *Hypervisor) SetPool(n int) error {
	if n < 0 || n > maxPool {
		return fmt.Errorf("pool: %d: must be 0 to %d", n, maxPool)
	}
	h.pool.resize(n)
	h.forks.resize(n)
	return nil
}

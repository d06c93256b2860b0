package hosted

import (
	"sync"
	"time"

	"kxsh/xen"
)

const (
	// maxPool bounds the blanks that wait: each is a process.
	maxPool = 1024
	// refillDelay lets a domain that was just created start before the machine makes blanks again.
	refillDelay = 500 * time.Microsecond
	// refillRetry is the wait after a blank could not be made.
	refillRetry = time.Second
)

// pool keeps blanks ready, made in the background.
type pool struct {
	zygote *zygote
	wake   chan struct{} // something changed that the filler should look at
	done   chan struct{} // the filler has ended

	work sync.Mutex // held while a blank is made

	mu     sync.Mutex
	ready  []*blank
	want   int
	closed bool
}

func newPool(z *zygote, want int) *pool {
	p := &pool{zygote: z, want: want, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go p.fill()
	return p
}

// take returns a blank that waits, or nil. Whoever takes pokes afterwards: a birth comes before the next one's blank.
func (p *pool) take() *blank {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return nil
	}
	b := p.ready[0]
	p.ready[0] = nil
	p.ready = p.ready[1:]
	return b
}

func (p *pool) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// fill makes blanks until there are enough, and drops those that are too many.
func (p *pool) fill() {
	defer close(p.done)
	for {
		b, closed := p.excess()
		switch {
		case b != nil:
			b.close()
		case closed:
			return
		case p.lacks():
			if !p.add() {
				p.sleep(refillRetry)
			}
		default:
			<-p.wake
			p.sleep(refillDelay)
		}
	}
}

// sleep waits; not when the pool is being closed.
func (p *pool) sleep(d time.Duration) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return
	}
	time.Sleep(d)
}

// excess takes out a blank that is too many, and tells whether the pool is closed.
func (p *pool) excess() (*blank, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.ready); n > p.want {
		b := p.ready[n-1]
		p.ready = p.ready[:n-1]
		return b, p.closed
	}
	return nil, p.closed
}

func (p *pool) lacks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready) < p.want
}

func (p *pool) add() bool {
	p.work.Lock()
	b, err := newBlank(p.zygote)
	p.work.Unlock()
	if err != nil {
		return false
	}
	b.prepare()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, b)
	return true
}

func (p *pool) resize(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = n
	p.poke()
}

func (p *pool) state() xen.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return xen.Pool{Ready: len(p.ready), Want: p.want}
}

// close ends all blanks.
func (p *pool) close() {
	p.mu.Lock()
	p.closed, p.want = true, 0
	p.poke()
	p.mu.Unlock()
	<-p.done
}

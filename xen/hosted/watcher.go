package hosted

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// watcher waits for all domains at once: for their doorbells and for their end. One goroutine and
// one epoll descriptor serve any number of domains.
type watcher struct {
	epoll int
	stop  int // eventfd
	done  chan struct{}

	mu      sync.Mutex
	domains map[uint64]*Domain // by serial

	muted []*Domain // the goroutine's own: domains that ring too often, until their window ends
}

// A domain that rings more often than that is not listened to for the rest of the window: a flood
// of events costs the engine no more than an ordinary domain. No ring is lost by it.
const (
	ringWindow = 10 * time.Millisecond
	ringLimit  = 200
)

// rate counts the rings of one domain in a window of time.
type rate struct {
	start time.Time
	rings int
}

// over counts a ring and tells whether it was the last one to be heard in this window.
func (r *rate) over() bool {
	now := time.Now()
	if now.Sub(r.start) >= ringWindow {
		r.start, r.rings = now, 0
	}
	r.rings++
	return r.rings >= ringLimit
}

// The kinds of descriptors watched, in the low bits of an event's data; above them the serial.
const (
	kindStop = iota
	kindBell
	kindEnd
	kindBits = 2
)

func newWatcher() (*watcher, error) {
	w := &watcher{epoll: -1, stop: -1, done: make(chan struct{}), domains: map[uint64]*Domain{}}
	var err error
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if w.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		closeAll(w.epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err = w.watch(w.stop, 0, kindStop); err != nil {
		closeAll(w.epoll, w.stop)
		return nil, err
	}
	go w.run()
	return w, nil
}

func (w *watcher) watch(fd int, serial uint64, kind int) error {
	data := serial<<kindBits | uint64(kind)
	return attempt("epoll_ctl", func() error {
		return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
			Events: unix.EPOLLIN, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32)),
		})
	})
}

// add begins to watch a domain.
func (w *watcher) add(d *Domain) error {
	w.mu.Lock()
	w.domains[d.serial] = d
	w.mu.Unlock()
	err := w.watch(d.bell, d.serial, kindBell)
	if err == nil {
		if err = w.watch(d.pidfd, d.serial, kindEnd); err != nil {
			w.forget(d.bell)
		}
	}
	if err != nil {
		w.remove(d)
	}
	return err
}

func (w *watcher) remove(d *Domain) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.domains, d.serial)
}

func (w *watcher) forget(fd int) { unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

func (w *watcher) find(serial uint64) *Domain {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.domains[serial]
}

func (w *watcher) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, w.unmute())
		if err != nil {
			if err == unix.EINTR {
				continue
			}
			return // the descriptor was closed under us: a bug
		}
		for _, e := range events[:n] {
			data := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if data&(1<<kindBits-1) == kindStop {
				return
			}
			// A domain that is not found ended earlier in this round.
			if d := w.find(data >> kindBits); d != nil {
				w.handle(d, int(data&(1<<kindBits-1)))
			}
		}
	}
}

func (w *watcher) handle(d *Domain, kind int) {
	if kind == kindBell {
		d.answer()
		if !d.saysEnded() {
			if d.rate.over() {
				w.muted = append(w.muted, d)
				w.listen(d, 0)
			}
			return
		}
	}
	w.end(d)
}

// end stops watching a domain that is no more, or waits for Release.
func (w *watcher) end(d *Domain) {
	d.once.Do(func() {
		w.remove(d)
		w.forget(d.bell)
		w.forget(d.pidfd)
		d.ended()
	})
}

// listen sets what of a domain's doorbell wakes the watcher. The domain lives: only the watcher ends it.
func (w *watcher) listen(d *Domain, events uint32) {
	data := d.serial<<kindBits | kindBell
	unix.EpollCtl(w.epoll, unix.EPOLL_CTL_MOD, d.bell, &unix.EpollEvent{
		Events: events, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32)),
	})
}

// unmute listens again to the domains whose window has ended, and returns how many milliseconds
// the next one has; -1: there is none.
func (w *watcher) unmute() (timeout int) {
	timeout = -1
	left := w.muted[:0]
	for _, d := range w.muted {
		if w.find(d.serial) == nil {
			continue // it has ended, and may have been released
		}
		if rest := ringWindow - time.Since(d.rate.start); rest > 0 {
			left = append(left, d)
			timeout = max(timeout, int(rest.Milliseconds())+1)
			continue
		}
		w.listen(d, unix.EPOLLIN)
	}
	clear(w.muted[len(left):])
	w.muted = left
	return timeout
}

// answer empties the doorbell and passes the ring on. While the flag is set the domain writes no
// more; a ring between reading and clearing is one with the ring that is passed on afterwards.
func (d *Domain) answer() {
	var buf [64]byte
	for {
		n, err := unix.Read(d.bell, buf[:])
		if err == unix.EINTR {
			continue
		}
		if n < len(buf) {
			break
		}
	}
	atomic.StoreUint32(&d.state().Rang, 0)
	select {
	case d.rang <- struct{}{}:
	default:
	}
}

func (w *watcher) close() error {
	unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.done
	closeAll(w.epoll, w.stop)
	return nil
}

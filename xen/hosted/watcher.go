package hosted

import (
	"os"
	"runtime"
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
	watched map[uint64]watched // by serial

	busy  sync.Mutex // held while the goroutine works on what was found
	muted []watched  // the goroutine's own: those that ring too often, until their window ends
}

// watched is a domain with one of its processes: it may move to another.
type watched struct {
	*Domain
	p *process
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
	w := &watcher{epoll: -1, stop: -1, done: make(chan struct{}), watched: map[uint64]watched{}}
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

// add begins to watch a domain's process.
func (w *watcher) add(d *Domain, p *process) error {
	w.mu.Lock()
	w.watched[p.serial] = watched{d, p}
	w.mu.Unlock()
	err := w.watch(p.bell, p.serial, kindBell)
	if err == nil {
		err = w.watch(p.pidfd, p.serial, kindEnd)
	}
	if err != nil {
		w.remove(p)
	}
	return err
}

// remove stops watching a process.
func (w *watcher) remove(p *process) {
	w.mu.Lock()
	delete(w.watched, p.serial)
	w.mu.Unlock()
	w.forget(p.bell)
	w.forget(p.pidfd)
}

// settle returns when nobody works any more on a process that was removed.
func (w *watcher) settle() {
	w.busy.Lock()
	defer w.busy.Unlock()
}

func (w *watcher) forget(fd int) { unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

func (w *watcher) find(serial uint64) (watched, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, ok := w.watched[serial]
	return x, ok
}

func (w *watcher) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		w.busy.Lock()
		timeout := w.unmute()
		w.busy.Unlock()
		n, err := unix.EpollWait(w.epoll, events, timeout)
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
			w.busy.Lock()
			// What is not found ended earlier in this round, or has moved.
			if x, ok := w.find(data >> kindBits); ok {
				w.handle(x, int(data&(1<<kindBits-1)))
			}
			w.busy.Unlock()
		}
		// Who was rung for runs next, on this thread, rather than on one that has to be woken first.
		runtime.Gosched()
	}
}

func (w *watcher) handle(x watched, kind int) {
	if kind == kindBell {
		x.answer(x.p)
		if !x.p.saysEnded() {
			if x.rate.over() {
				w.muted = append(w.muted, x)
				w.listen(x, 0)
			}
			return
		}
	}
	w.end(x.Domain, x.p)
}

// end stops watching a process that is no more, or waits for Release.
func (w *watcher) end(d *Domain, p *process) {
	if _, ok := w.find(p.serial); ok {
		w.remove(p)
		d.ended(p)
	}
}

// listen sets what of a domain's doorbell wakes the watcher.
func (w *watcher) listen(x watched, events uint32) {
	data := x.p.serial<<kindBits | kindBell
	unix.EpollCtl(w.epoll, unix.EPOLL_CTL_MOD, x.p.bell, &unix.EpollEvent{
		Events: events, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32)),
	})
}

// unmute listens again to the domains whose window has ended, and returns how many milliseconds
// the next one has; -1: there is none.
func (w *watcher) unmute() (timeout int) {
	timeout = -1
	left := w.muted[:0]
	for _, x := range w.muted {
		if _, ok := w.find(x.p.serial); !ok {
			continue // it has ended, and may have been released
		}
		if rest := ringWindow - time.Since(x.rate.start); rest > 0 {
			left = append(left, x)
			timeout = max(timeout, int(rest.Milliseconds())+1)
			continue
		}
		w.listen(x, unix.EPOLLIN)
	}
	clear(w.muted[len(left):])
	w.muted = left
	return timeout
}

// answer empties the doorbell and passes the ring on. While the flag is set the domain writes no
// more; a ring between reading and clearing is one with the ring that is passed on afterwards.
func (d *Domain) answer(p *process) {
	var buf [64]byte
	for {
		n, err := unix.Read(p.bell, buf[:])
		if err == unix.EINTR {
			continue
		}
		if n < len(buf) {
			break
		}
	}
	atomic.StoreUint32(&p.state().Rang, 0)
	d.ring()
}

// ring passes a ring on.
func (d *Domain) ring() {
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

package hosted

import (
	"os"
	"sync"
	"sync/atomic"

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
		n, err := unix.EpollWait(w.epoll, events, -1)
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
		return
	}
	w.remove(d)
	w.forget(d.bell)
	w.forget(d.pidfd)
	d.ended()
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

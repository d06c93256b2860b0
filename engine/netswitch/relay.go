package netswitch

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// relay is a thread that hears the sockets of the lines of some ports, and the time. A port's are all one relay's, so that what its pVM is
// told of is much at once; there is one for each CPU, so that several servers do not wait for the same thread.
type relay struct {
	epoll, wake int // wake: eventfd
	done        chan struct{}
	stop        atomic.Bool
	timed       atomic.Int32 // lines with a deadline
	asleep      atomic.Bool  // without a limit

	mu      sync.Mutex
	lines   map[*line]struct{}
	byFD    map[int32]*line
	watched int32 // lines so far; it may go round

	ports int // the Switch's: how many are its
}

const (
	relayEvents = 128                   // that are handled before the pVMs are told
	relayTick   = 50 * time.Millisecond // while lines have deadlines
	relayRest   = time.Minute           // while there are lines
)

func newRelay() (r *relay, err error) {
	r = &relay{epoll: -1, wake: -1, done: make(chan struct{}), lines: map[*line]struct{}{}, byFD: map[int32]*line{}}
	defer func() {
		if err != nil {
			r.close()
			r = nil
		}
	}()
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return r, os.NewSyscallError("epoll_create1", err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return r, os.NewSyscallError("eventfd", err)
	}
	if err = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, r.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(r.wake)}); err != nil {
		return r, os.NewSyscallError("epoll_ctl", err)
	}
	return r, nil
}

func (r *relay) close() {
	for _, fd := range []int{r.epoll, r.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// end ends the thread. The lines have ended with their ports, but those that still deliver: they are reset.
func (r *relay) end() {
	r.stop.Store(true)
	r.interrupt()
	<-r.done
	for _, l := range r.all() {
		l.mu.Lock()
		l.over(true)
		l.mu.Unlock()
	}
	r.close()
}

func (r *relay) interrupt() { unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (r *relay) run() {
	defer close(r.done)
	manners := newManners()
	events := make([]unix.EpollEvent, relayEvents)
	var told []*port
	next := time.Duration(0)
	for !r.stop.Load() {
		n := epollNow(r.epoll, events, 0)
		if n == 0 {
			n = r.sleep(events, next)
		}
		now := clock()
		manners.look(now)
		for _, e := range events[:n] {
			if e.Fd == int32(r.wake) {
				unix.Read(r.wake, make([]byte, 8))
				continue
			}
			l := r.of(&e)
			if l == nil {
				continue
			}
			manners.meet(&l.met)
			l.ready(e.Events)
			if !l.port.untold {
				l.port.untold = true
				told = append(told, l.port)
			}
		}
		// Once for all that this round has brought: it costs more than the frames.
		for i, p := range told {
			p.untold = false
			p.kick()
			told[i] = nil
		}
		told = told[:0]
		if now >= next {
			next = now + relayTick
			for _, l := range r.all() {
				l.look(now)
			}
		}
	}
}

// sleep waits for events, at most until next if there are lines that have to be looked at then.
func (r *relay) sleep(events []unix.EpollEvent, next time.Duration) int {
	limit := -1
	r.asleep.Store(true)
	defer r.asleep.Store(false)
	switch {
	case r.timed.Load() > 0:
		limit = int(max(0, next-lately()).Milliseconds()) + 1
	case r.count() > 0:
		limit = int(relayRest.Milliseconds())
	}
	n := 0
	if nap(func() { n = epollNow(r.epoll, events, napTime) }) && n > 0 {
		return n
	}
	n, err := unix.EpollWait(r.epoll, events, limit)
	if err != nil { // EINTR
		return 0
	}
	return n
}

// wanted counts lines with a deadline.
func (r *relay) wanted(n int32) {
	if r.timed.Add(n) == 1 && n == 1 && r.asleep.Load() {
		r.interrupt()
	}
}

func (r *relay) add(l *line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[l] = struct{}{}
}

// watch hears a line's socket from now on.
func (r *relay) watch(l *line) error {
	r.mu.Lock()
	r.byFD[int32(l.fd)] = l
	r.watched++
	l.watched = r.watched
	r.mu.Unlock()
	const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, l.fd, &unix.EpollEvent{Events: edges, Fd: int32(l.fd), Pad: l.watched})
	return os.NewSyscallError("epoll_ctl", err)
}

// forget is called before the line's socket is closed.
func (r *relay) forget(l *line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.lines, l)
	if l.fd >= 0 && r.byFD[int32(l.fd)] == l {
		delete(r.byFD, int32(l.fd))
	}
}

// of is the line that an event is about; nil: that has ended since, and another may have its descriptor.
func (r *relay) of(e *unix.EpollEvent) *line {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.byFD[e.Fd]; l != nil && l.watched == e.Pad {
		return l
	}
	return nil
}

func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lines)
}

func (r *relay) all() []*line {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*line, 0, len(r.lines))
	for l := range r.lines {
		list = append(list, l)
	}
	return list
}

// ---- what a port has to do with lines ----

// lines are those of a port. The lists are its thread's alone.
type lines struct {
	mu     sync.RWMutex
	byEnds map[uint32]*line // local port, remote port
	next   uint16

	touched []*line // since the last time that they were settled
	owing   []owing
	due     time.Duration // the first of them
}

type owing struct {
	*line
	at time.Duration
}

const firstLocal = 16384 // TCP port of the gateway's end of a line

func (ls *lines) init() {
	ls.byEnds = map[uint32]*line{}
	ls.next = uint16(rand.Uint32())
}

// add finds a line its port at the gateway.
func (ls *lines) add(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for {
		ls.next = max(ls.next+1, firstLocal)
		key := uint32(ls.next)<<16 | uint32(l.remote)
		if ls.byEnds[key] == nil { // a port has far fewer connections
			l.local = ls.next
			ls.byEnds[key] = l
			return
		}
	}
}

func (p *port) forget(l *line) {
	p.lines.mu.Lock()
	defer p.lines.mu.Unlock()
	delete(p.lines.byEnds, uint32(l.local)<<16|uint32(l.remote))
}

// reach connects to a TCP port of the pVM.
func (p *port) reach(tcp uint16, patience time.Duration) (*line, error) {
	l := newLine(p, tcp)
	l.mu.Lock() // the port may end at once
	release, err := p.conns.take(&p.conns.tcp, maxConns, l.end)
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	l.release = release
	p.lines.add(l)
	p.relay.add(l)
	l.mu.Unlock()
	l.open()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.opened:
	case <-timer.C:
	}
	if !l.giveUp() {
		return nil, fmt.Errorf("port %d, TCP %d: %w", p.ID, tcp, errNotTaken)
	}
	return l, nil
}

// heard takes a frame for the gateway if it is a line's.
func (p *port) heard(frame []byte) bool {
	s, ok := parseSegment(frame)
	if !ok {
		return false
	}
	p.lines.mu.RLock()
	l := p.lines.byEnds[uint32(s.to)<<16|uint32(s.from)]
	p.lines.mu.RUnlock()
	if l == nil {
		return false
	}
	if l.hear(&s) && !l.touched {
		l.touched = true
		p.lines.touched = append(p.lines.touched, l)
	}
	return true
}

// settle sees to the lines that a batch of frames has touched, and to what the others owe. It returns how long that may wait; 0: for
// ever.
func (p *port) settle(manners *manners) time.Duration {
	ls := &p.lines
	for i, l := range ls.touched {
		l.touched = false
		manners.meet(&l.metByPort)
		if at := l.settle(); at != 0 && !l.listed {
			l.listed = true
			if ls.owing = append(ls.owing, owing{l, at}); len(ls.owing) == 1 || at < ls.due {
				ls.due = at
			}
		}
		ls.touched[i] = nil
	}
	ls.touched = ls.touched[:0]
	if len(ls.owing) == 0 {
		return 0
	}
	now := lately()
	if now >= ls.due {
		ls.look(now)
	}
	if len(ls.owing) == 0 {
		return 0
	}
	return max(ls.due-now, time.Microsecond)
}

// look sees to those that owe something by now.
func (ls *lines) look(now time.Duration) {
	left := ls.owing[:0]
	for _, o := range ls.owing {
		if o.at <= now {
			o.at = o.overdue(now)
		}
		if o.listed = o.at != 0; !o.listed {
			continue
		}
		if left = append(left, o); len(left) == 1 || o.at < ls.due {
			ls.due = o.at
		}
	}
	clear(ls.owing[len(left):])
	ls.owing = left
}

// ---- system calls that do not wait, and so need not tell the scheduler ----

func recvNow(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func sendNow(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// epollNow is the number of events that there are, or come within limit, a nap.
func epollNow(epoll int, events []unix.EpollEvent, limit time.Duration) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_WAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(limit.Milliseconds()), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// closeHost closes a socket of the host, or resets its connection.
func closeHost(fd int, reset bool) {
	if reset {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(fd)
}

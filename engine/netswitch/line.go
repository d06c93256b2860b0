package netswitch

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/netif"
)

// A line is a connection of a published port: between a socket of the host and a TCP port of a pVM, whose peer the gateway is. It does
// of TCP what that takes, beside netstack: its segments cross shared memory, in order and without loss unless the pVM is short of memory, so
// there is no window of congestion. Two threads see to it, with mu: the relay (relay.go) when the
// socket has something, and its port when the pVM has; neither hands a byte to another goroutine.
type line struct {
	ends
	port          *port
	local, remote uint16        // TCP ports: the gateway's and the pVM's
	opened        chan struct{} // closed when it no longer opens
	release       func()        // of its place among the port's connections

	mu     sync.Mutex // of what follows
	state  lineState
	fd     int  // the socket; -1: none yet
	orphan bool // the pVM has gone, and what it has sent is still to be delivered

	// To the pVM.
	out      queue  // from una on
	una      uint32 // the first byte that it has not acknowledged
	sent     int    // bytes of out
	most     int    // sequence numbers from una on that were sent at any time: a FIN's, too
	window   int    // bytes from una on that it takes
	scale    int    // of its windows
	mss      int
	readable bool // the socket may have more
	hung     bool // its end or an error may be behind that
	ask      int  // bytes to read next
	ended    bool // the host sends no more
	finSent  bool
	finAcked bool
	stalled  bool // waits for the port's room
	repeats  int  // acknowledgements of the same byte
	deadline time.Duration
	patience time.Duration // until what is not acknowledged is sent again
	timing   bool          // how long the pVM takes for the bytes before mark, sent at markAt
	mark     uint32
	markAt   time.Duration
	smooth   time.Duration // what it took, RFC 6298; 0: not known
	varied   time.Duration
	heard    time.Duration // the last segment
	waiting  time.Duration // since then it is to answer
	asked    time.Duration // whether it is still there

	// From it.
	back  queue         // for the socket
	rcv   uint32        // what comes next
	told  uint32        // what was acknowledged
	edge  uint32        // up to where it may send
	owed  bool          // an acknowledgement
	since time.Duration // owed
	delay time.Duration // that it may wait
	alone bool          // the last one has gone alone
	eager int           // bytes that come yet of which two segments do not wait for it
	said  bool          // the last segment ends what the pVM had to send
	grant int           // scale of our windows
	fin   bool          // the pVM sends no more
	shut  bool          // and the socket has been told

	watched         int32  // the relay's: which of those that it has watched
	touched, listed bool   // the port thread's: in its lists
	met, metByPort  uint32 // by the relay, and by the port's thread (manners)
}

type lineState int

const (
	lineOpening lineState = iota
	lineOpen
	lineOver
)

const (
	// lineBuffer is what a line holds for either side, in bytes: what a slow reader can make the gateway hold.
	lineBuffer = 128 << 10
	lineScale  = 2
	lineMSS    = mtu - ipHeader - tcpHeader
	defaultMSS = 536
	leastMSS   = 64

	// A pVM that is awake acknowledges at once.
	resendFirst = 200 * time.Millisecond
	resendMost  = 5 * time.Second
	// lineSilence is how long a pVM may leave bytes unanswered, and lineIdle how long both sides may be silent until the pVM is asked
	// whether it still knows the line.
	lineSilence = 15 * time.Minute
	lineIdle    = 2 * time.Hour
	// ackDelay is how long an acknowledgement waits for bytes to go along with. It becomes longer, up to mostDelay as on Linux, as long as
	// they come later, and the pVM did not wait for it before it said more (Nagle).
	ackDelay  = time.Millisecond
	mostDelay = 40 * time.Millisecond
	// Until a pVM has sent so much its window of congestion is small, and an acknowledgement of each two segments widens it. Then only one that has more to
	// send, or mostUntold bytes on the way, has it before others.
	eagerBytes = 64 << 10
	mostUntold = lineBuffer / 8

	leastRead = 4 << 10
	mostRead  = 64 << 10
)

var errNotTaken = errors.New("the pVM does not take the connection")

// clock is the time since the process began, and lately when it was last asked: a thread asks once for a batch, since that is a system call
// where the kernel's clock cannot be read without, as in dom0.
func clock() time.Duration {
	now := time.Since(started)
	latest.Store(int64(now))
	return now
}

func lately() time.Duration { return time.Duration(latest.Load()) }

var (
	started = time.Now()
	latest  atomic.Int64
)

func newLine(p *port, remote uint16) *line {
	return &line{
		ends: ends{fromMAC: p.sw.mac, toMAC: p.MAC, from: p.sw.ip, to: p.IP},
		port: p, remote: remote, opened: make(chan struct{}), fd: -1, una: rand.Uint32(),
		delay: ackDelay, eager: eagerBytes, mss: defaultMSS, ask: leastRead, patience: resendFirst, heard: clock(),
	}
}

// ---- segments to the pVM ----

// segment is one with what the pVM sent acknowledged.
func (l *line) segment(flags byte, seq uint32, data []byte) *segment {
	free := min((lineBuffer-l.back.len())>>l.grant, 1<<16-1)
	s := &segment{from: l.local, to: l.remote, seq: seq, ack: l.rcv, flags: flags | flagACK, window: uint16(free), data: data}
	l.told, l.edge, l.owed = l.rcv, l.rcv+uint32(free<<l.grant), false
	return s
}

// control sends a segment without data, of which the pVM is told with the next kick. It is never held up: there may be some that waits for room.
func (l *line) control(flags byte, seq uint32) { l.post(l.segment(flags, seq, nil)) }

func (l *line) post(s *segment) {
	f := frames.Get().(*[netif.MaxFrame]byte)
	defer frames.Put(f)
	frame := l.frame(f, s)
	l.port.mu.Lock()
	defer l.port.mu.Unlock()
	l.port.post(frame)
}

func (l *line) acknowledge() { l.control(flagACK, l.una+uint32(l.most)) }

func (l *line) syn() {
	l.post(&segment{from: l.local, to: l.remote, seq: l.una - 1, flags: flagSYN, window: 1<<16 - 1, mss: lineMSS, scale: lineScale})
}

// send sends n bytes of out. It returns false if the pVM has no room: the line goes on when there is.
func (l *line) send(at, n int) bool {
	flags := byte(flagACK)
	if at+n == l.out.len() {
		flags |= flagPSH
	}
	f := frames.Get().(*[netif.MaxFrame]byte)
	defer frames.Put(f)
	if l.stalled || !l.port.offer(l.frame(f, l.segment(flags, l.una+uint32(at), l.out.bytes()[at:at+n])), l) {
		return false
	}
	if l.alone {
		l.alone, l.delay = false, min(2*l.delay, mostDelay)
	}
	l.sent = max(l.sent, at+n)
	l.most = max(l.most, l.sent)
	l.arm()
	if !l.timing {
		l.timing, l.mark, l.markAt = true, l.una+uint32(at+n), lately()
	}
	return true
}

// timed learns from an acknowledgement how long the pVM takes: a machine that is emulated, or loaded, is not asked again and again.
func (l *line) timed() {
	if !l.timing || int32(l.una-l.mark) < 0 {
		return
	}
	l.timing = false
	took := lately() - l.markAt
	if l.smooth == 0 {
		l.smooth, l.varied = took, took/2
	} else {
		l.varied += ((l.smooth - took).Abs() - l.varied) / 4
		l.smooth += (took - l.smooth) / 8
	}
	l.patience = min(max(l.smooth+4*l.varied, resendFirst), resendMost)
}

// arm has the relay look after the line, if that does not already.
func (l *line) arm() {
	if l.deadline == 0 {
		l.waiting = lately()
		l.deadline = l.waiting + l.patience
		l.port.relay.wanted(1)
	}
}

func (l *line) disarm() {
	if l.deadline != 0 {
		l.deadline = 0
		l.port.relay.wanted(-1)
	}
}

// push sends what there is, as far as the pVM takes it, and then the end. It returns false if bytes wait.
func (l *line) push() bool {
	for l.sent < l.out.len() {
		left, room := l.out.len()-l.sent, l.window-l.sent
		n := min(left, l.mss, room)
		if n <= 0 || n == room && n < min(left, l.mss) && l.sent > 0 || !l.send(l.sent, n) {
			l.arm() // a window that was closed must be found open
			return false
		}
	}
	if l.ended && !l.finSent {
		l.finSent = true
		l.control(flagFIN, l.una+uint32(l.sent))
		l.most = max(l.most, l.sent+1)
		l.arm()
	}
	return true
}

// ---- the socket ----

// pump carries what the socket has to the pVM, until one of them has no more, or the other no room.
func (l *line) pump() {
	for l.state == lineOpen && !l.orphan && l.push() && l.fd >= 0 && l.readable && !l.ended {
		// All is sent; what is not acknowledged is in out. There is more behind it even if the pVM takes none now: it is to be asked.
		free := lineBuffer - l.out.len()
		if free <= 0 {
			return
		}
		space := l.out.room(min(l.ask, free))
		n, err := recvNow(l.fd, space)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			l.readable = false
			return
		case err != nil:
			l.abort()
			return
		case n == 0:
			l.ended = true
		}
		l.out.took(n)
		if n < len(space) && !l.hung {
			l.readable = false
			l.ask = leastRead
		} else {
			l.ask = min(2*l.ask, mostRead)
		}
	}
}

// flush carries what the pVM has sent to the socket, and its end behind it.
func (l *line) flush() {
	if l.fd < 0 || l.state != lineOpen {
		return
	}
	for l.back.len() > 0 {
		n, err := sendNow(l.fd, l.back.bytes())
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return // the relay hears when there is room
		case err != nil:
			l.abort()
			return
		}
		l.back.drop(n)
	}
	if l.fin && !l.shut {
		l.shut = true
		unix.Shutdown(l.fd, unix.SHUT_WR)
	}
	l.closeIfDone()
}

// ready is what epoll has said of the socket.
func (l *line) ready(events uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != lineOpen {
		return
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.readable = true
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.hung = true
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.flush()
		l.widen()
	}
	l.pump()
	if events&unix.EPOLLERR != 0 && l.ended {
		l.abort() // nobody would read that any more
	}
}

// widen tells the pVM of room that the socket has made.
func (l *line) widen() {
	if l.state == lineOpen && !l.fin && l.rcv+uint32(lineBuffer-l.back.len())-l.edge >= lineBuffer/4 && l.edge-l.rcv < lineBuffer/2 {
		l.acknowledge()
	}
}

// ---- segments from the pVM ----

// hear takes a segment of the pVM's. It returns whether the port has to settle the line afterwards.
func (l *line) hear(s *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == lineOpening:
		l.answered(s)
		return false
	case l.state != lineOpen || l.orphan:
		return false
	case s.flags&flagRST != 0:
		if s.seq-l.rcv <= uint32(lineBuffer) {
			l.flush() // its last words: a server that has not read all resets behind them
			l.over(true)
		}
		return false
	case s.flags&flagACK == 0:
		return false
	case s.flags&flagSYN != 0 || !l.acked(s):
		l.acknowledge()
		return false
	}
	l.heard = lately()
	l.take(s)
	l.pump()
	l.closeIfDone()
	return l.owed || l.back.len() > 0
}

// answered takes the answer to the SYN.
func (l *line) answered(s *segment) {
	if s.flags&flagACK == 0 {
		return
	}
	if s.ack != l.una {
		// It speaks of a connection that is forgotten here: with that ended it hears the SYN when it comes again.
		if s.flags&flagRST == 0 {
			l.reset(s.ack)
		}
		return
	}
	if s.flags&flagRST != 0 {
		l.over(true)
		return
	}
	if s.flags&flagSYN == 0 {
		return
	}
	if s.mss != 0 {
		l.mss = min(max(s.mss, leastMSS), lineMSS)
	}
	if s.scale != noScale {
		l.scale, l.grant = s.scale, lineScale
	}
	l.rcv, l.window = s.seq+1, int(s.window)
	l.disarm()
	l.timed()
	l.state = lineOpen
	close(l.opened)
	l.acknowledge()
}

// acked takes what a segment acknowledges. It returns false if that was never sent.
func (l *line) acked(s *segment) bool {
	n := int(int32(s.ack - l.una))
	window := int(s.window) << l.scale
	switch {
	case n > l.most:
		return false
	case n < 0:
		return true
	case n == 0:
		if l.sent > 0 && len(s.data) == 0 && s.flags&flagFIN == 0 && window == l.window {
			if l.repeats++; l.repeats == 3 {
				l.send(0, min(l.sent, l.mss))
			}
		}
	default:
		bytes := min(n, l.out.len())
		l.out.drop(bytes)
		l.una += uint32(n)
		l.sent = max(0, l.sent-bytes)
		l.most -= n
		l.finAcked = l.finAcked || n > bytes
		l.repeats = 0
		l.timed()
		l.disarm()
		if l.most > 0 {
			l.arm()
		}
	}
	l.window = window
	return true
}

// take takes a segment's bytes and its end, as far as they are what comes next and find room.
func (l *line) take(s *segment) {
	data, fin := s.data, s.flags&flagFIN != 0
	if len(data) == 0 && !fin {
		// A probe of one that thinks us gone: it asks for an answer with a byte that we have.
		if s.seq != l.rcv {
			l.owe()
		}
		return
	}
	if l.alone { // it has waited for that
		l.alone, l.delay, l.eager = false, ackDelay, eagerBytes
	}
	l.said = s.flags&flagPSH != 0
	l.owe()
	old := int(int32(l.rcv - s.seq))
	if old < 0 || old > len(data) || l.fin {
		l.since = 0 // at once: it is to send again, or to know that it need not
		return
	}
	data = data[old:]
	if free := lineBuffer - l.back.len(); len(data) > free {
		data, fin = data[:free], false
	}
	l.back.add(data)
	l.rcv += uint32(len(data))
	l.eager = max(l.eager-len(data), 0)
	if fin {
		l.fin = true
		l.rcv++
	}
}

func (l *line) owe() {
	if !l.owed {
		l.owed, l.since = true, lately()
	}
}

// settle is called when all that the pVM has sent for now has been heard: what came goes to the socket at once, and so do
// acknowledgements that cannot wait. It returns when the line has to be looked at again; 0: it need not.
func (l *line) settle() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	if l.state != lineOpen || !l.owed {
		return 0
	}
	untold := int(l.rcv - l.told)
	if l.fin || l.since == 0 || untold >= 2*l.mss && (l.eager > 0 || !l.said) || untold >= mostUntold {
		l.acknowledge()
		return 0
	}
	return l.since + l.delay
}

// overdue sends an acknowledgement that has waited in vain. It returns when to look again, as settle.
func (l *line) overdue(now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != lineOpen || !l.owed:
		return 0
	case now < l.since+l.delay: // of a later one; the first went along with something
		return l.since + l.delay
	}
	l.acknowledge()
	l.alone = true
	return 0
}

// resume goes on when the port has room again.
func (l *line) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = false
	l.pump()
}

// ---- time ----

// look is called now and then: what was not acknowledged is sent again, and a pVM that is silent for too long has its line ended.
func (l *line) look(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.port.kick()
	silent := now - l.heard
	switch {
	case l.state == lineOver || l.orphan:
	case l.state == lineOpening:
		if now >= l.deadline {
			l.again(now)
			l.syn()
		}
	case l.deadline != 0 && min(silent, now-l.waiting) > lineSilence, silent > lineIdle+lineSilence:
		l.abort()
	case l.deadline != 0 && now >= l.deadline:
		l.again(now)
		l.sent, l.finSent = 0, l.finAcked
		if l.window == 0 && l.out.len() > 0 {
			l.send(0, 1)
		}
		l.push()
	case silent > lineIdle && now-l.asked > time.Minute:
		l.asked = now
		l.control(flagACK, l.una-1)
	}
}

func (l *line) again(now time.Duration) {
	l.timing = false // one would not know which of the two was answered
	l.patience = min(2*l.patience, resendMost)
	l.deadline = now + l.patience
}

package netswitch

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
	"kxsh/ipc/netif"
)

// Port is what a pVM's port is made of.
type Port struct {
	ID   int        `json:"id"` // the pVM's number
	Name string     `json:"name,omitempty"`
	MAC  MAC        `json:"mac"`
	IP   netip.Addr `json:"ip"`

	// Interface is a network interface of the host at which the pVM's device ends, as Linux's netback makes one on Xen. Else it is
	// what follows that the switch is the other end of.
	Interface string `json:"interface,omitempty"`

	// Memory holds the net area (package netif), Pages pages at Offset, and a word that the pVM moves and
	// wakes when it has done something to its rings, at Bell.
	Memory *os.File `json:"-"`
	Offset int64    `json:"offset"`
	Pages  int      `json:"pages"`
	Bell   int64    `json:"bell"`

	Events Events `json:"events"`
}

// Events is how a pVM is told: as its hypervisor raises an event channel (package bell). All files are memory
// that cannot become smaller; offsets are in bytes.
type Events struct {
	Shared         *os.File `json:"-"` // holds Xen's shared_info
	SharedOffset   int64    `json:"shared_offset"`
	State          *os.File `json:"-"` // holds the words of the stub's state
	SeqOffset      int64    `json:"seq_offset"`
	SleepingOffset int64    `json:"sleeping_offset"`
	Process        *os.File `json:"-"` // pidfd of the process that the pVM is
	Channel        uint     `json:"channel"`
}

// port is a Port in use.
type port struct {
	Port
	sw    *Switch
	relay *relay   // of its lines
	link  *packets // of Interface; nil: what follows
	tx    *netif.Tx
	bell  *uint32
	maps  [][]byte
	stop  atomic.Bool
	down  chan struct{} // closed when run has ended
	gone  chan struct{} // closed when nobody looks at the memory any more
	once  sync.Once

	mu     sync.Mutex // of what follows
	rx     *netif.Rx
	queue  [][]byte // frames that wait for room, the oldest first
	held   []*line  // that wait for it, too
	events *events
	err    error
	closed bool

	conns  connections
	lines  lines
	untold bool // the relay's: it has to be kicked

	sent, received         [2]atomic.Uint64 // frames, bytes
	refused, dropped, asks atomic.Int64
}

// mapPart maps n bytes at an offset of a memory file, which must not be able to become smaller: whoever read
// behind its end would be killed.
func mapPart(f *os.File, off, n int64) (whole, part []byte, err error) {
	if f == nil {
		return nil, nil, fmt.Errorf("a descriptor is missing")
	}
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, nil, fmt.Errorf("%s: is no memory file that keeps its size (F_SEAL_SHRINK)", f.Name())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, nil, os.NewSyscallError("fstat", err)
	}
	if off < 0 || n <= 0 || off > st.Size || n > st.Size-off || off%4 != 0 {
		return nil, nil, fmt.Errorf("%s: has no %d bytes at %d, it has %d", f.Name(), n, off, st.Size)
	}
	start := off &^ (netif.PageSize - 1)
	whole, err = unix.Mmap(int(f.Fd()), start, int(off-start+n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("mmap: %w", err)
	}
	return whole, whole[off-start:], nil
}

func newPort(s *Switch, spec Port) (made *port, err error) {
	p := &port{Port: spec, sw: s, down: make(chan struct{}), gone: make(chan struct{})}
	p.conns.init()
	p.lines.init()
	defer func() {
		if err != nil {
			p.unmap()
			err = fmt.Errorf("port %d: %w", spec.ID, err)
		}
	}()
	if spec.Interface != "" {
		p.link, err = openPackets(spec.Interface)
		return p, err
	}
	if spec.Pages <= 0 || spec.Pages > netif.MaxPages || spec.Offset%netif.PageSize != 0 {
		return nil, fmt.Errorf("net area of %d pages at %d: must be at most %d pages, and begin at one", spec.Pages, spec.Offset, netif.MaxPages)
	}
	whole, area, err := mapPart(spec.Memory, spec.Offset, int64(spec.Pages)*netif.PageSize)
	if err != nil {
		return nil, err
	}
	p.maps = append(p.maps, whole)
	whole, word, err := mapPart(spec.Memory, spec.Bell, 4)
	if err != nil {
		return nil, err
	}
	p.maps = append(p.maps, whole)
	p.bell = (*uint32)(unsafe.Pointer(&word[0]))
	if p.tx, p.rx, err = netif.Attach(area); err != nil {
		return nil, err
	}
	if p.events, err = newEvents(spec.Events); err != nil {
		return nil, err
	}
	p.Memory, p.Events = nil, Events{} // the caller's
	return p, nil
}

func (p *port) unmap() {
	if p.link != nil {
		p.link.close()
	}
	for _, m := range p.maps {
		unix.Munmap(m)
	}
	p.events.close()
}

// names are those by which DNS knows a port.
func (p *port) names() []string {
	names := []string{strconv.Itoa(p.ID)}
	if p.Name != "" {
		names = append(names, strings.ToLower(p.Name))
	}
	return names
}

// batch is how many frames of a pVM are taken before it is told.
const batch = 32

// run takes what the pVM sends, until the port ends. The frame is copied once, out of the pVM's reach.
func (p *port) run() {
	defer close(p.down)
	manners := newManners()
	if p.link != nil {
		p.runLink(manners)
		return
	}
	frame := make([]byte, netif.MaxFrame)
	for !p.stop.Load() {
		seen := atomic.LoadUint32(p.bell)
		manners.look(clock())
		n, err := p.take(frame)
		limit := p.settle(manners)
		if err == nil {
			err = p.drain() // and tells the pVM of all of it
		}
		sleep := n == 0
		if err == nil && sleep {
			sleep, err = p.tx.Sleep()
		}
		if err != nil {
			p.end(err)
			return
		}
		if sleep && !p.stop.Load() {
			p.sleep(seen, limit)
		}
	}
}

// sleep waits until the bell is not as it was seen, at most for limit; 0: for ever. It may return sooner.
func (p *port) sleep(seen uint32, limit time.Duration) {
	short := napTime
	if limit != 0 {
		short = min(limit, napTime)
	}
	if nap(func() { bell.Nap(p.bell, seen, short) }) {
		if limit -= short; limit == 0 || atomic.LoadUint32(p.bell) != seen {
			return
		}
	}
	bell.Wait(p.bell, seen, max(limit, 0))
}

// take passes on at most a batch of frames; n is how many requests there were.
func (p *port) take(frame []byte) (n int, err error) {
	for ; n < batch; n++ {
		size, ok, err := p.tx.Next(frame)
		if err != nil {
			return n, err
		}
		if !ok {
			break
		}
		if size == 0 {
			p.refused.Add(1)
			continue
		}
		p.sent[0].Add(1)
		p.sent[1].Add(uint64(size))
		p.sw.forward(p, frame[:size])
	}
	if p.tx.Push() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closed {
			p.events.ring()
		}
	}
	return n, nil
}

// drain gives the pVM what waits for its room.
func (p *port) drain() error {
	held, err := p.release()
	for _, l := range held {
		l.resume()
	}
	if len(held) > 0 {
		p.kick()
	}
	return err
}

// release empties the queue as far as there is room, and returns the lines that may go on.
func (p *port) release() (held []*line, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil
	}
	if p.link == nil {
		err = p.flush()
	}
	if len(p.queue) == 0 {
		held, p.held = p.held, nil
	}
	return held, err
}

// offer gives the pVM a line's frame, of which it is told with the next kick. It returns false if there is no room: the line is resumed
// when there is.
func (p *port) offer(frame []byte, l *line) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	ok := false
	var err error
	switch {
	case p.link != nil:
		ok = p.link.put(frame)
	case len(p.queue) == 0:
		for none := false; !ok && !none && err == nil; {
			if ok, err = p.rx.Put(frame); !ok && err == nil {
				none, err = p.rx.Sleep()
			}
		}
	}
	if err != nil {
		p.fail(err)
		return false
	}
	if !ok {
		l.stalled = true
		p.held = append(p.held, l)
		if p.link != nil {
			p.link.interrupt() // to wait for it
		}
		return false
	}
	p.received[0].Add(1)
	p.received[1].Add(uint64(len(frame)))
	return true
}

// kick tells the pVM of frames that it was offered.
func (p *port) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && p.link == nil && p.rx.Push() {
		p.events.ring()
	}
}

// fail closes a port from where the lock is held.
func (p *port) fail(err error) {
	p.err, p.closed = err, true
	go p.end(err) // which waits for goroutines that wait for us
}

// flush moves the queue to the ring as far as there is room; if frames stay, the pVM will ring when it has made
// some.
func (p *port) flush() error {
	for len(p.queue) > 0 {
		ok, err := p.rx.Put(p.queue[0])
		if err != nil {
			return err
		}
		if ok {
			p.queue[0] = nil
			p.queue = p.queue[1:]
			continue
		}
		if none, err := p.rx.Sleep(); err != nil {
			return err
		} else if none {
			break
		}
	}
	if p.rx.Push() {
		p.events.ring()
	}
	return nil
}

// deliver gives the pVM a frame, which stays the caller's.
func (p *port) deliver(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.post(frame); !p.closed && p.link == nil && p.rx.Push() {
		p.events.ring()
	}
}

// post is deliver without telling the pVM, which the next kick does; p.mu is held.
func (p *port) post(frame []byte) {
	if p.closed {
		return
	}
	if p.link != nil {
		if !p.link.put(frame) {
			p.dropped.Add(1)
			return
		}
		p.received[0].Add(1)
		p.received[1].Add(uint64(len(frame)))
		return
	}
	ok := false
	var err error
	if len(p.queue) == 0 {
		ok, err = p.rx.Put(frame)
	}
	switch {
	case err != nil, ok:
	case len(p.queue) >= maxQueue:
		p.dropped.Add(1)
		return
	default:
		p.queue = append(p.queue, append([]byte(nil), frame...))
		err = p.flush()
	}
	if err != nil {
		p.fail(err)
		return
	}
	p.received[0].Add(1)
	p.received[1].Add(uint64(len(frame)))
}

// end closes a port; err says what its pVM did, nil that it is removed. It does not wait for p.gone.
func (p *port) end(err error) {
	p.once.Do(func() {
		p.mu.Lock()
		p.err, p.closed, p.queue, p.held = err, true, nil, nil
		p.mu.Unlock()
		if err != nil {
			p.sw.log.Warn("port closed", "port", p.ID, "err", err)
		}
		p.stop.Store(true)
		p.conns.abort()
		go func() {
			for {
				if p.link != nil {
					p.link.interrupt()
				} else { // The pVM can move the word back: wake it until it has heard.
					atomic.AddUint32(p.bell, 1)
					bell.Wake(p.bell)
				}
				select {
				case <-p.down:
					p.mu.Lock()
					p.unmap()
					p.mu.Unlock()
					close(p.gone)
					return
				case <-time.After(napClose):
				}
			}
		}()
	})
}

// hasEnded tells whether its pVM has, or the device's other end has gone with it.
func (p *port) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed || p.events.hasEnded()
}

func (p *port) info() PortInfo {
	i := PortInfo{
		ID: p.ID, Name: p.Name, MAC: p.MAC, IP: p.IP,
		Sent:     Count{p.sent[0].Load(), p.sent[1].Load()},
		Received: Count{p.received[0].Load(), p.received[1].Load()},
		Refused:  uint64(p.refused.Load()), Dropped: uint64(p.dropped.Load()),
	}
	i.Connections, i.Flows = p.conns.count()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		i.Error = p.err.Error()
	}
	return i
}

func (p *port) setEvents(e Events) error {
	n, err := newEvents(e)
	if err != nil {
		return fmt.Errorf("port %d: %w", p.ID, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		n.close()
		return fmt.Errorf("port %d: it is closed", p.ID)
	}
	p.events.close()
	p.events = n
	n.RingAnew(n.channel)
	return nil
}

// events is an Events in use.
type events struct {
	bell.Bell
	channel uint
	process int
	maps    [][]byte
}

func newEvents(e Events) (n *events, err error) {
	n = &events{channel: e.Channel, process: -1}
	defer func() {
		if err != nil {
			n.close()
			n, err = nil, fmt.Errorf("events: %w", err)
		}
	}()
	if e.Channel >= 64 {
		return n, fmt.Errorf("channel %d: must be below 64", e.Channel)
	}
	part := func(f *os.File, off, size int64) unsafe.Pointer {
		if err != nil {
			return nil
		}
		var whole, p []byte
		if whole, p, err = mapPart(f, off, size); err != nil {
			return nil
		}
		n.maps = append(n.maps, whole)
		return unsafe.Pointer(&p[0])
	}
	if e.SharedOffset%8 != 0 {
		return n, fmt.Errorf("shared_info at %d: must be a multiple of 8", e.SharedOffset)
	}
	n.Shared = (*abi.SharedInfo)(part(e.Shared, e.SharedOffset, int64(unsafe.Sizeof(abi.SharedInfo{}))))
	n.Seq = (*uint32)(part(e.State, e.SeqOffset, 4))
	n.Sleeping = (*uint32)(part(e.State, e.SleepingOffset, 4))
	if err != nil {
		return n, err
	}
	if e.Process == nil {
		return n, fmt.Errorf("the pidfd is missing")
	}
	n.process, err = unix.FcntlInt(e.Process.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	n.Interrupt = func() error { return unix.PidfdSendSignal(n.process, unix.SIGUSR1, nil, 0) }
	return n, err
}

// ring tells the pVM. One that has ended hears nothing; its port will be removed.
func (e *events) ring() { e.Bell.Ring(e.channel) }

// hasEnded is false for a device of Linux's, which has no events.
func (e *events) hasEnded() bool {
	if e == nil {
		return false
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(e.process), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

func (e *events) close() {
	if e == nil {
		return
	}
	for _, m := range e.maps {
		unix.Munmap(m)
	}
	e.maps = nil
	if e.process >= 0 {
		unix.Close(e.process)
	}
}

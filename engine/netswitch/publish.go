package netswitch

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reachTimeout is how long a pVM may take to accept a connection until the next is asked, and lastTimeout how long if there is no next one.
const (
	reachTimeout = 3 * time.Second
	lastTimeout  = 15 * time.Second
)

// Target is where connections to a published port may go.
type Target struct {
	Port   int    `json:"port"`   // of the switch: the pVM's number
	Number uint16 `json:"number"` // of TCP or UDP
}

// published is a port of the host that leads to pVMs.
type published struct {
	sw      *Switch
	key     string
	ln      *net.TCPListener // nil: it is one of UDP
	udp     *clients
	done    chan struct{}
	mu      sync.Mutex
	targets []Target
	next    int
}

// Publication is a published port, as asked for and as told.
type Publication struct {
	Address string   `json:"address"` // of the host, with its port: 127.0.0.1:8080 or :8080; of UDP with /udp behind it
	Targets []Target `json:"targets"`
}

// Publish gives a port of the host to pVMs: its connections are spread over those of the targets that take
// them, in turn; its datagrams by who sends them. One that is published already gets other targets, and keeps its connections.
func (s *Switch) Publish(p Publication) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	if old := s.published[p.Address]; old != nil {
		old.mu.Lock()
		defer old.mu.Unlock()
		old.targets = slices.Clone(p.Targets)
		return nil
	}
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return fmt.Errorf("publish %s: the switch is closed", p.Address)
	}
	n := &published{sw: s, key: p.Address, done: make(chan struct{}), targets: slices.Clone(p.Targets)}
	run, err := n.run, error(nil)
	if address, ok := strings.CutSuffix(p.Address, "/udp"); ok {
		run, err = n.runUDP, n.listenUDP(address)
	} else {
		err = n.listen(p.Address)
	}
	if err != nil {
		return publishError(p.Address, err)
	}
	s.published[p.Address] = n
	go run()
	return nil
}

// listen begins to listen.
func (n *published) listen(address string) error {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil || addr.Port == 0 {
		return errNoAddress
	}
	n.ln, err = net.ListenTCP("tcp", addr)
	return err
}

// errNoAddress says that an address to publish is none.
var errNoAddress = errors.New("must be a port of the host, as 127.0.0.1:8080, [::1]:8080 or :53/udp")

func publishError(key string, err error) error {
	mend := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		mend = ": publish another port, or end what listens there"
	case errors.Is(err, fs.ErrPermission):
		mend = ": publish a port above 1023"
	}
	var sys *net.OpError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return fmt.Errorf("publish %s: %w%s", key, err, mend)
}

// Unpublish closes a published port. Its connections go on, of UDP there are none.
func (s *Switch) Unpublish(address string) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	n := s.published[address]
	if n == nil {
		return fmt.Errorf("unpublish %s: it is not published", address)
	}
	delete(s.published, address)
	if n.udp != nil {
		n.udp.conn.Close()
	} else {
		n.ln.Close()
	}
	<-n.done
	return nil
}

func (s *Switch) publishedKeys() []string {
	var keys []string
	for _, p := range s.Published() {
		keys = append(keys, p.Address)
	}
	return keys
}

// Published tells of all published ports, by address.
func (s *Switch) Published() []Publication {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	list := []Publication{}
	for key, n := range s.published {
		n.mu.Lock()
		list = append(list, Publication{Address: key, Targets: slices.Clone(n.targets)})
		n.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Publication) int {
		if a.Address < b.Address {
			return -1
		}
		return 1
	})
	return list
}

// acceptPause is how long a listener rests when the host has no more descriptors; each time is a line of the log.
const acceptPause = time.Second

func (n *published) run() {
	defer close(n.done)
	for {
		c, err := n.ln.AcceptTCP()
		switch {
		case err == nil:
			go n.serve(c)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			n.sw.log.Warn("published port", "address", n.key, "err", err)
			time.Sleep(acceptPause)
		}
	}
}

// A connection that nobody takes is offered again for beginTime, at first after beginPause, then each time after twice as long: a server that has been started, or is
// started again, may be about to listen, and members of a family to look for connections.
const (
	beginTime  = time.Second
	beginPause = 5 * time.Millisecond
)

// serve gives a connection to the next pVM that takes it. If none does, it is reset: nobody listens.
func (n *published) serve(host *net.TCPConn) {
	end := time.Now().Add(beginTime)
	for pause := beginPause; ; pause *= 2 {
		l, full := n.offer()
		if l != nil {
			l.join(detach(host))
			return
		}
		left := time.Until(end)
		if full || left <= 0 {
			hostConn{host}.Abort()
			return
		}
		time.Sleep(min(pause, left))
	}
}

// offer has the next pVM that takes it accept a connection; nil: none did. full tells whether one of them has as many as it may.
func (n *published) offer() (l *line, full bool) {
	turn := n.turn()
	for i, t := range turn {
		n.sw.mu.RLock()
		p := n.sw.ports[t.Port]
		n.sw.mu.RUnlock()
		if p == nil {
			continue
		}
		patience := reachTimeout
		if i == len(turn)-1 {
			patience = lastTimeout
		}
		l, err := p.reach(t.Number, patience)
		if err == nil {
			return l, false
		}
		full = full || errors.Is(err, errTooMany)
	}
	return nil, full
}

// detach takes a socket from Go's poller, which would look after it, too; -1: there are no more descriptors.
func detach(c *net.TCPConn) int {
	defer c.Close()
	fd := -1
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(old uintptr) { fd, _ = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	}
	return fd
}

// turn is the targets, each time beginning with another.
func (n *published) turn() []Target {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.targets) == 0 {
		return nil
	}
	first := n.next % len(n.targets)
	n.next++
	return append(slices.Clone(n.targets[first:]), n.targets[:first]...)
}

package netswitch

import (
	"bytes"
	"cmp"
	"container/list"
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A published UDP port. Whoever sends to it, from one address and port, is a client, and has an end of its own in the gateway, so that what a pVM answers
// finds its way back. A client goes when nothing came from it or to it for flowIdle; when its pVM ends; and when there are maxClients others that are younger.

// sameMost is how much of a client's first datagram is kept until it is answered, in bytes: for the next pVM, when one refuses it.
const sameMost = 2048

// clients are those of a published UDP port.
type clients struct {
	conn   *net.UDPConn
	mu     sync.Mutex // of what follows
	closed bool
	of     map[netip.AddrPort]*client
	age    list.List // of *client, the one that was silent longest first
}

type client struct {
	in      *published
	from    netip.AddrPort
	control []byte // sends answers from the address that it has sent to
	rank    int    // which of the pVMs for its address has it
	ep      tcpip.Endpoint
	wq      waiter.Queue
	entry   waiter.Entry

	// in.udp.mu's.
	last    time.Time
	place   *list.Element
	first   []byte // that nobody has answered yet; nil: somebody has, or it is too long
	ended   bool
	release func()
}

// listenUDP begins to listen.
func (n *published) listenUDP(address string) error {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil || addr.Port == 0 {
		return errNoAddress
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	if err := tellDestination(conn); err != nil {
		conn.Close()
		return err
	}
	n.udp = &clients{conn: conn, of: map[netip.AddrPort]*client{}}
	return nil
}

// tellDestination has the kernel say which address a datagram was sent to: a host has several.
func tellDestination(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) {
		var at unix.Sockaddr
		if at, err = unix.Getsockname(int(fd)); err != nil {
			return
		}
		if _, ok := at.(*unix.SockaddrInet4); ok {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	return os.NewSyscallError("setsockopt", errors.Join(e, err))
}

// answerControl turns the control message of a datagram into that of its answer: from the same address, through whichever interface leads there. What is
// link-local needs the same.
func answerControl(control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			i := *(*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			i.Ifindex = 0
			return unix.PktInfo4(&i)
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			i := *(*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			if !netip.AddrFrom16(i.Addr).IsLinkLocalUnicast() {
				i.Ifindex = 0
			}
			return unix.PktInfo6(&i)
		}
	}
	return nil
}

// runUDP passes on what comes from clients.
func (n *published) runUDP() {
	defer close(n.done)
	defer n.endClients()
	buf, control := make([]byte, maxDatagram), make([]byte, 128)
	for {
		n.udp.conn.SetReadDeadline(n.expire())
		size, controls, _, from, err := n.udp.conn.ReadMsgUDPAddrPort(buf, control)
		switch {
		case err == nil:
			n.pass(from, control[:controls], buf[:size])
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
		default:
			n.sw.log.Warn("published port", "address", n.key, "err", err)
			time.Sleep(acceptPause)
		}
	}
}

// expire ends the clients that were silent for long, and returns when to look again; zero: there are none.
func (n *published) expire() time.Time {
	for {
		n.udp.mu.Lock()
		e := n.udp.age.Front()
		if e == nil {
			n.udp.mu.Unlock()
			return time.Time{}
		}
		oldest := e.Value.(*client)
		until := oldest.last.Add(flowIdle)
		n.udp.mu.Unlock()
		if time.Now().Before(until) {
			return until
		}
		oldest.end()
	}
}

func (n *published) endClients() {
	n.udp.mu.Lock()
	n.udp.closed = true
	all := make([]*client, 0, len(n.udp.of))
	for _, c := range n.udp.of {
		all = append(all, c)
	}
	n.udp.mu.Unlock()
	for _, c := range all {
		c.end()
	}
}

// pass gives a datagram to the pVM that has its client.
func (n *published) pass(from netip.AddrPort, control, data []byte) {
	n.udp.mu.Lock()
	c := n.udp.of[from]
	if c != nil {
		c.used()
	}
	n.udp.mu.Unlock()
	if c != nil {
		c.ep.Write(bytes.NewReader(data), tcpip.WriteOptions{}) // what finds no room is lost, as on any wire
		return
	}
	n.welcome(from, answerControl(control), 0, data)
}

// used makes a client the youngest. in.clients.mu is held.
func (c *client) used() {
	c.last = time.Now()
	c.in.udp.age.MoveToBack(c.place)
}

// welcome gives a new client's first datagram to the first pVM of its ranking, from one on, that is there.
func (n *published) welcome(from netip.AddrPort, control []byte, rank int, data []byte) {
	for ranked := n.ranked(from.Addr().Unmap()); rank < len(ranked); rank++ {
		t := ranked[rank]
		n.sw.mu.RLock()
		p := n.sw.ports[t.Port]
		n.sw.mu.RUnlock()
		if p == nil {
			continue
		}
		c := &client{in: n, from: from, control: control, rank: rank}
		if c.open(p, t.Number, data) {
			c.ep.Write(bytes.NewReader(data), tcpip.WriteOptions{})
			return
		}
	}
}

var rankSeed = maphash.MakeSeed()

// ranked is the targets in the order of a client's address: the same for all that it sends, and hardly another when a pVM comes or goes.
func (n *published) ranked(client netip.Addr) []Target {
	n.mu.Lock()
	list := slices.Clone(n.targets)
	n.mu.Unlock()
	rank := func(t Target) uint64 {
		return maphash.Comparable(rankSeed, struct {
			netip.Addr
			int
		}{client, t.Port})
	}
	slices.SortFunc(list, func(a, b Target) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

// open connects the gateway to a port of a pVM for a client; false: that cannot be.
func (c *client) open(p *port, number uint16, data []byte) bool {
	u, s := c.in.udp, c.in.sw
	ep, err := s.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, &c.wq)
	if err != nil {
		return false
	}
	if err := ep.Connect(tcpip.FullAddress{NIC: nic, Addr: address(p.IP), Port: number}); err != nil {
		ep.Close()
		return false
	}
	c.ep = ep
	c.entry = waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.EventErr, c.answered)
	c.wq.EventRegister(&c.entry)
	var oldest *client
	u.mu.Lock()
	if len(u.of) >= maxClients {
		oldest = u.age.Front().Value.(*client)
	}
	if len(data) <= sameMost {
		c.first = bytes.Clone(data)
	}
	c.place = u.age.PushBack(c)
	c.used()
	u.of[c.from] = c
	closed := u.closed
	u.mu.Unlock()
	if oldest != nil {
		oldest.end()
	}
	release, taken := p.conns.take(&p.conns.clients, maxClients, c.end)
	if closed || taken != nil {
		c.end()
	}
	u.mu.Lock()
	c.release = release
	ended := c.ended // by now the pVM may have
	u.mu.Unlock()
	if ended && release != nil {
		release()
	}
	return !ended
}

var answers = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// answered sends a client what its pVM has answered. It is called where packets of the pVM are passed on, with the queue's lock.
func (c *client) answered(events waiter.EventMask) {
	buf := answers.Get().(*[maxDatagram]byte)
	defer answers.Put(buf)
	for {
		w := tcpip.SliceWriter(buf[:])
		r, err := c.ep.Read(&w, tcpip.ReadOptions{})
		if _, refused := err.(*tcpip.ErrConnectionRefused); refused {
			go c.refused()
			continue
		}
		if err != nil {
			return
		}
		c.in.udp.mu.Lock()
		c.used()
		c.first = nil
		c.in.udp.mu.Unlock()
		c.in.udp.conn.WriteMsgUDPAddrPort(buf[:r.Count], c.control, c.from)
	}
}

// refused gives a client that nobody has answered yet to the next pVM: this one has nobody at the port.
func (c *client) refused() {
	c.in.udp.mu.Lock()
	first := c.first
	c.in.udp.mu.Unlock()
	if first == nil {
		return
	}
	c.end()
	c.in.welcome(c.from, c.control, c.rank+1, first)
}

// end forgets a client. It must not be called with the queue's lock.
func (c *client) end() {
	u := c.in.udp
	u.mu.Lock()
	ended, release := c.ended, c.release
	c.ended = true
	u.age.Remove(c.place)
	if u.of[c.from] == c {
		delete(u.of, c.from)
	}
	u.mu.Unlock()
	if ended {
		return
	}
	c.wq.EventUnregister(&c.entry)
	c.ep.Close()
	if release != nil {
		release()
	}
}

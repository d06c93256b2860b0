package netswitch

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	dialTimeout = 30 * time.Second // until the host gives up for a pVM
	flowIdle    = 60 * time.Second // of UDP
	maxDatagram = 65535
)

// outside is where a pVM's packet for an address and port goes to, as the host sees it. false: nowhere.
func (s *Switch) outside(to netip.AddrPort) (netip.AddrPort, bool) {
	ip := to.Addr()
	switch {
	case ip == s.ip && s.config.Loopback:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()), true
	case s.config.Gateway.Contains(ip), ip.As4()[0] == 0, ip.IsLoopback(), ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.As4()[0] >= 240:
		return netip.AddrPort{}, false
	}
	return to, true
}

// ends4 are the pVM's end of a connection, and the one that it wants.
func ends4(id tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(id.As4()), port)
}

// natTCP makes a connection for a pVM. The host's comes first, so that a refusal is one for the pVM, too.
func (s *Switch) natTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	to, ok := s.outside(ends4(id.LocalAddress, id.LocalPort))
	p := s.portByIP(netip.AddrFrom4(id.RemoteAddress.As4()))
	if !ok || p == nil {
		r.Complete(true)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	release, err := p.conns.take(&p.conns.dials, maxDials, cancel)
	if err != nil {
		r.Complete(true)
		return
	}
	var dialer net.Dialer
	host, err := dialer.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		release()
		r.Complete(true)
		return
	}
	out := hostConn{host.(*net.TCPConn)}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq) // which waits for the pVM
	release()
	r.Complete(terr != nil)
	if terr != nil {
		out.Abort()
		return
	}
	p.carry(newGuestConn(&wq, ep), out)
}

// drainTime is how long what a pVM has sent before it ended may take to those who want it.
const drainTime = 10 * time.Second

// carry joins a connection's ends as one of the port's, or resets both.
func (p *port) carry(guest guestConn, host hostConn) {
	drained := make(chan struct{})
	abort := func() {
		guest.Abort()
		host.Abort()
	}
	release, err := p.conns.take(&p.conns.tcp, maxConns, func() {
		if !guest.finished() {
			abort()
			return
		}
		go func() {
			select {
			case <-drained:
			case <-time.After(drainTime):
			}
			host.Close() // first: what the kernel still has of it is not to be reset
			guest.Abort()
		}()
	})
	if err != nil {
		abort()
		return
	}
	defer release()
	join(guest, host, drained)
}

// natUDP makes a flow for a pVM's first datagram to an address. It is called where packets are passed on, and must
// not wait.
func (s *Switch) natUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to, ok := s.outside(ends4(id.LocalAddress, id.LocalPort))
	p := s.portByIP(netip.AddrFrom4(id.RemoteAddress.As4()))
	if !ok || p == nil {
		return true // neither an answer nor a message of ICMP
	}
	f := &flow{done: make(chan struct{})}
	release, err := p.conns.take(&p.conns.udp, maxFlows, f.end)
	if err != nil {
		return true
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	if terr != nil {
		release()
		return true
	}
	f.guest = gonet.NewUDPConn(&wq, ep)
	go func() {
		defer release()
		defer f.guest.Close()
		host, err := net.Dial("udp4", net.JoinHostPort(to.Addr().String(), strconv.Itoa(int(to.Port()))))
		if err != nil {
			return
		}
		defer host.Close()
		f.run(host)
	}()
	return true
}

// flow is UDP between a pVM's address and one of the world.
type flow struct {
	guest net.Conn
	done  chan struct{}
}

// end ends a flow of a port that ends, which does so once.
func (f *flow) end() { close(f.done) }

// run carries datagrams until there were none for flowIdle.
func (f *flow) run(host net.Conn) {
	over := make(chan struct{}, 2)
	extend := func() {
		until := time.Now().Add(flowIdle)
		f.guest.SetReadDeadline(until)
		host.SetReadDeadline(until)
	}
	extend()
	carry := func(from, to net.Conn) {
		defer func() { over <- struct{}{} }()
		buf := make([]byte, maxDatagram)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			// One that cannot be sent is lost, as others may be.
			if _, err := to.Write(buf[:n]); err == nil {
				extend()
			}
		}
	}
	go carry(f.guest, host)
	go carry(host, f.guest)
	left := 2
	select {
	case <-over:
		left--
	case <-f.done:
	}
	now := time.Unix(1, 0)
	f.guest.SetReadDeadline(now)
	host.SetReadDeadline(now)
	for ; left > 0; left-- {
		<-over
	}
}

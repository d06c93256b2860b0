// Package netswitch is the network of the pVMs of a hosted hypervisor: a switch whose ports are Xen's network
// rings in memory shared with each pVM, and a gateway that is a TCP/IP stack (gVisor's netstack). It needs no
// privileges: what a pVM sends to the world leaves through sockets of the user.
//
// It runs as a process of its own (server.go), which the engine starts when it needs it first (client.go), so
// that connections outlive an engine, and untrusted frames are parsed where no other state is.
//
// # What a pVM may do
//
// A port has one MAC and one IPv4 address. Frames from others, or with other protocols than ARP and IPv4, are
// dropped and counted. A frame goes to one port or to the gateway, never to several: an ARP request goes to
// whom it asks for, DHCP is answered by the switch itself, and all other broadcasts are dropped. So the table
// of addresses has one entry a port, and nothing is learnt from frames.
//
// The gateway connects TCP and UDP to the world (nat.go), except to addresses that are the host's own
// business: loopback, link-local (where clouds keep their credentials), multicast and the pVMs' network. It
// answers DNS (dns.go). Connections of published ports go by a TCP of their own (line.go, relay.go). Limits bound what one pVM can take of memory, sockets and time from others.
package netswitch

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Limits of one port.
const (
	maxConns   = 1024 // TCP connections through the gateway, both directions together
	maxDials   = 64   // of them, those that are being made by the pVM
	maxFlows   = 128  // UDP
	maxClients = 1024 // of its published UDP ports; also of one such port
	maxAsks    = 32   // DNS questions that wait for the host's resolver
	maxQueue   = 1024 // frames that wait for the pVM's room
)

// Limits of all ports together.
const (
	maxPorts     = 4096
	maxHandshake = 4096 // connections being made to the gateway
	maxName      = 63   // bytes of a name, as of a label in DNS
)

// Config is what a switch is started with.
type Config struct {
	// Gateway is the switch's own address, with the network's size: 10.88.0.1/16.
	Gateway netip.Prefix
	// Loopback makes the gateway's address that of the host's loopback interface, so that pVMs reach servers
	// that listen on 127.0.0.1 alone.
	Loopback bool
	// Resolvers are DNS servers; none: those of /etc/resolv.conf.
	Resolvers []netip.AddrPort
	Log       *slog.Logger
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m *MAC) UnmarshalText(text []byte) error {
	n, err := fmt.Sscanf(string(text), "%02x:%02x:%02x:%02x:%02x:%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5])
	if err != nil || n != 6 || m.String() != strings.ToLower(string(text)) {
		return fmt.Errorf("MAC %q: must be six pairs of hexadecimal digits", text)
	}
	return nil
}

// Switch is a network. Its methods may be called by any goroutine.
type Switch struct {
	config  Config
	log     *slog.Logger
	mac     MAC // the gateway's
	ip      netip.Addr
	stack   *stack.Stack
	link    *link
	nameSrv *nameServer
	relays  []*relay

	mu     sync.RWMutex
	closed bool
	ports  map[int]*port // by number
	byMAC  map[MAC]*port
	byIP   map[netip.Addr]*port
	byName map[string][]*port // lower case, the oldest first

	publishing sync.Mutex
	published  map[string]*published
}

// New makes a switch without ports.
func New(c Config) (*Switch, error) {
	if !c.Gateway.Addr().Is4() || c.Gateway.Bits() < 8 || c.Gateway.Bits() > 30 || c.Gateway.Masked().Addr() == c.Gateway.Addr() {
		return nil, fmt.Errorf("gateway %v: must be an IPv4 address of a network of 8 to 30 bits, as 10.88.0.1/16", c.Gateway)
	}
	s := &Switch{
		config: c, log: c.Log, ip: c.Gateway.Addr(), mac: gatewayMAC(c.Gateway.Addr()),
		ports: map[int]*port{}, byMAC: map[MAC]*port{}, byIP: map[netip.Addr]*port{}, byName: map[string][]*port{},
		published: map[string]*published{},
	}
	made := false
	defer func() {
		if !made {
			for _, r := range s.relays {
				r.close()
			}
		}
	}()
	for range runtime.NumCPU() {
		r, err := newRelay()
		if err != nil {
			return nil, err
		}
		s.relays = append(s.relays, r)
	}
	if err := s.newGateway(); err != nil {
		return nil, fmt.Errorf("gateway %v: %w", c.Gateway, err)
	}
	made = true
	for _, r := range s.relays {
		go r.run()
	}
	return s, nil
}

// gatewayMAC is a locally administered address that tells its IP.
func gatewayMAC(ip netip.Addr) MAC {
	a := ip.As4()
	return MAC{0x02, 0x00, a[0], a[1], a[2], a[3]}
}

// Close ends all connections and ports.
func (s *Switch) Close() {
	s.mu.Lock()
	s.closed = true
	var ports []int
	for id := range s.ports {
		ports = append(ports, id)
	}
	s.mu.Unlock()
	for _, key := range s.publishedKeys() {
		s.Unpublish(key)
	}
	for _, id := range ports {
		s.Remove(id)
	}
	for _, r := range s.relays {
		r.end()
	}
	s.nameSrv.close()
	s.stack.Destroy()
}

// Add makes a port. The files of p stay the caller's.
func (s *Switch) Add(p Port) error {
	if err := s.checkPort(&p); err != nil {
		return err
	}
	n, err := newPort(s, p)
	if err != nil {
		return err
	}
	s.mu.Lock()
	err = s.free(&p)
	if err == nil {
		s.ports[p.ID], s.byMAC[p.MAC], s.byIP[p.IP] = n, n, n
		n.relay = slices.MinFunc(s.relays, func(a, b *relay) int { return a.ports - b.ports })
		n.relay.ports++
		for _, name := range n.names() {
			s.byName[name] = append(s.byName[name], n)
		}
	}
	s.mu.Unlock()
	if err != nil {
		n.unmap()
		return err
	}
	s.setNeighbour(p.IP, p.MAC)
	go n.run()
	return nil
}

func (s *Switch) checkPort(p *Port) error {
	network := s.config.Gateway.Masked()
	switch {
	case p.MAC[0]&1 != 0 || p.MAC == MAC{} || p.MAC == s.mac:
		return fmt.Errorf("port %d: MAC %v: must be an address of one station, and not the gateway's", p.ID, p.MAC)
	case !p.IP.Is4() || !network.Contains(p.IP) || p.IP == s.ip || p.IP == network.Addr() || p.IP == lastOf(network):
		return fmt.Errorf("port %d: IP %v: must be a free address of %v", p.ID, p.IP, network)
	case len(p.Name) > maxName || strings.ContainsAny(p.Name, ". "):
		return fmt.Errorf("port %d: name %q: must have at most %d bytes, without dots and spaces", p.ID, p.Name, maxName)
	}
	return nil
}

// free tells whether what p wants is nobody's.
func (s *Switch) free(p *Port) error {
	switch {
	case s.closed:
		return fmt.Errorf("port %d: the switch is closed", p.ID)
	case len(s.ports) >= maxPorts:
		return fmt.Errorf("port %d: the switch has %d ports already", p.ID, maxPorts)
	case s.ports[p.ID] != nil:
		return fmt.Errorf("port %d: is there already", p.ID)
	case s.byMAC[p.MAC] != nil:
		return fmt.Errorf("port %d: MAC %v: is port %d's", p.ID, p.MAC, s.byMAC[p.MAC].ID)
	case s.byIP[p.IP] != nil:
		return fmt.Errorf("port %d: IP %v: is port %d's", p.ID, p.IP, s.byIP[p.IP].ID)
	}
	return nil
}

// lastOf is the broadcast address of a network.
func lastOf(n netip.Prefix) netip.Addr {
	a := n.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(a[:]) | 1<<(32-n.Bits()) - 1
	binary.BigEndian.PutUint32(a[:], last)
	return netip.AddrFrom4(a)
}

// Remove ends a port's connections, and the port. When it returns nobody looks at its memory any more.
func (s *Switch) Remove(id int) error {
	s.mu.Lock()
	p := s.ports[id]
	if p != nil {
		delete(s.ports, id)
		delete(s.byMAC, p.MAC)
		delete(s.byIP, p.IP)
		p.relay.ports--
		for _, name := range p.names() {
			s.byName[name] = slices.DeleteFunc(s.byName[name], func(o *port) bool { return o == p })
			if len(s.byName[name]) == 0 {
				delete(s.byName, name)
			}
		}
	}
	s.mu.Unlock()
	if p == nil {
		return noPort(id)
	}
	s.removeNeighbour(p.IP)
	p.end(nil)
	<-p.gone
	return nil
}

func noPort(id int) error { return fmt.Errorf("port %d: there is none", id) }

// SetEvents says anew how a port's pVM is told of frames, when it goes on in another process.
func (s *Switch) SetEvents(id int, e Events) error {
	s.mu.RLock()
	p := s.ports[id]
	s.mu.RUnlock()
	if p == nil {
		return noPort(id)
	}
	return p.setEvents(e)
}

// removeEnded removes the ports of pVMs that have ended.
func (s *Switch) removeEnded() {
	s.mu.RLock()
	var ended []int
	for id, p := range s.ports {
		if p.hasEnded() {
			ended = append(ended, id)
		}
	}
	s.mu.RUnlock()
	for _, id := range ended {
		s.Remove(id)
	}
}

// PortInfo is a port and what passed through it. Sent and received are as the pVM has it.
type PortInfo struct {
	ID          int        `json:"id"`
	Name        string     `json:"name,omitempty"`
	MAC         MAC        `json:"mac"`
	IP          netip.Addr `json:"ip"`
	Sent        Count      `json:"sent"`
	Received    Count      `json:"received"`
	Refused     uint64     `json:"refused"` // frames that the pVM must not send, or that were damaged
	Dropped     uint64     `json:"dropped"` // frames for the pVM that found no room
	Connections int        `json:"connections"`
	Flows       int        `json:"flows"`           // UDP
	Error       string     `json:"error,omitempty"` // why the port was closed
}

// Count is of frames, and their bytes.
type Count struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// Ports tells of all ports, by number.
func (s *Switch) Ports() []PortInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]PortInfo, 0, len(s.ports))
	for _, p := range s.ports {
		list = append(list, p.info())
	}
	slices.SortFunc(list, func(a, b PortInfo) int { return a.ID - b.ID })
	return list
}

// forward passes on a frame that a pVM has sent; the frame is the caller's again afterwards.
func (s *Switch) forward(from *port, frame []byte) {
	where := classify(frame, from.MAC, from.IP)
	switch where.to {
	case toNobody:
		return
	case toRefuse:
		from.refused.Add(1)
		return
	case toDHCP:
		if reply := dhcpReply(frame, s.mac, s.config.Gateway, from.MAC, from.IP); reply != nil {
			from.deliver(reply)
		}
		return
	case toIP:
		if where.ip == s.ip {
			s.link.inject(frame)
		} else if to := s.portByIP(where.ip); to != nil && to != from {
			to.deliver(frame)
		}
		return
	}
	mac := MAC(frame[:6])
	if mac == s.mac {
		if !from.heard(frame) {
			s.link.inject(frame)
		}
	} else if to := s.portByMAC(mac); to != nil && to != from {
		to.deliver(frame)
	}
}

func (s *Switch) portByMAC(mac MAC) *port {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byMAC[mac]
}

func (s *Switch) portByIP(ip netip.Addr) *port {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byIP[ip]
}

// napClose is how often a port that ends is woken until it has heard it.
const napClose = time.Millisecond

// lines is the number of connections of published ports, those included whose port has gone and that still deliver.
func (s *Switch) lines() (n int) {
	for _, r := range s.relays {
		n += r.count()
	}
	return n
}

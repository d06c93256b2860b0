package netswitch

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"kxsh/ipc/netif"
)

const (
	nic = 1
	mtu = netif.MaxFrame - etherHeader
)

// Buffers of a connection's end in the gateway, in bytes: what a slow reader can make the gateway hold. A round
// trip to a pVM takes far less than a millisecond, so more would not be faster.
const (
	minBuffer = 4 << 10
	defBuffer = 128 << 10
	maxBuffer = 256 << 10
)

// timeWait is how long the ports of a closed connection rest. Nothing is under way to a pVM for longer than it takes
// to look, and a pVM may use few ports over and over.
const timeWait = 100 * time.Millisecond

// link is the gateway's network card: its other end is the switch.
type link struct {
	sw *Switch
	mu sync.RWMutex
	d  stack.NetworkDispatcher
}

// inject gives the gateway a frame that is for it.
func (l *link) inject(frame []byte) {
	l.mu.RLock()
	d := l.d
	l.mu.RUnlock()
	proto := tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(frame[12:]))
	body := frame[etherHeader:]
	// The stack takes all addresses for its own, and would answer a ping for the whole world.
	if proto == typeIPv4 && body[9] != protoTCP && body[9] != protoUDP && netip.AddrFrom4([4]byte(body[16:20])) != l.sw.ip {
		return
	}
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(body)})
	defer pkt.DecRef()
	d.DeliverNetworkPacket(proto, pkt)
}

var frames = sync.Pool{New: func() any { return new([netif.MaxFrame]byte) }}

// WritePackets implements stack.LinkEndpoint.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	f := frames.Get().(*[netif.MaxFrame]byte)
	defer frames.Put(f)
	list := pkts.AsSlice()
	for _, pkt := range list {
		mac := pkt.EgressRoute.RemoteLinkAddress
		if len(mac) != len(MAC{}) || pkt.Size() > mtu {
			continue
		}
		copy(f[:], mac)
		copy(f[6:], l.sw.mac[:])
		binary.BigEndian.PutUint16(f[12:], uint16(pkt.NetworkProtocolNumber))
		n := etherHeader
		for _, part := range pkt.AsSlices() {
			n += copy(f[n:], part)
		}
		if to := l.sw.portByMAC(MAC(f[:6])); to != nil {
			to.deliver(f[:n])
		}
	}
	return len(list), nil
}

func (l *link) MTU() uint32                             { return mtu }
func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return tcpip.LinkAddress(l.sw.mac[:]) }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}

func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.d = d
}

func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.d != nil
}

// newGateway makes the stack, which takes packets for all addresses, and what serves them.
func (s *Switch) newGateway() error {
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	s.link = &link{sw: s}
	if err := s.startGateway(); err != nil {
		s.stack.Destroy()
		return err
	}
	return nil
}

func (s *Switch) startGateway() error {
	var first tcpip.Error
	do := func(err tcpip.Error) {
		if first == nil {
			first = err
		}
	}
	sendBuffer := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: defBuffer, Max: maxBuffer}
	receiveBuffer := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: defBuffer, Max: maxBuffer}
	sack, wait := tcpip.TCPSACKEnabled(true), tcpip.TCPTimeWaitTimeoutOption(timeWait)
	do(s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sendBuffer))
	do(s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &receiveBuffer))
	do(s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack))
	do(s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &wait))
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s.stack, defBuffer, maxHandshake, s.natTCP).HandlePacket)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s.stack, s.natUDP).HandlePacket)
	do(s.stack.CreateNIC(nic, s.link))
	network := s.config.Gateway.Masked()
	do(s.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(s.ip), PrefixLen: network.Bits()},
	}, stack.AddressProperties{}))
	do(s.stack.SetPromiscuousMode(nic, true))
	do(s.stack.SetSpoofing(nic, true))
	if first != nil {
		return fmt.Errorf("netstack: %s", first)
	}
	subnet, err := tcpip.NewSubnet(address(network.Addr()), tcpip.MaskFromBytes(netMask(network)))
	if err != nil {
		return err
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: subnet, NIC: nic}})
	s.nameSrv, err = newNameServer(s)
	return err
}

func address(ip netip.Addr) tcpip.Address { return tcpip.AddrFrom4(ip.As4()) }

func netMask(n netip.Prefix) []byte {
	return binary.BigEndian.AppendUint32(nil, math.MaxUint32<<(32-n.Bits()))
}

// setNeighbour tells the gateway a port's MAC, so that it need not ask the pVM.
func (s *Switch) setNeighbour(ip netip.Addr, mac MAC) {
	if err := s.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, address(ip), tcpip.LinkAddress(mac[:])); err != nil {
		s.log.Error("neighbour", "ip", ip, "err", err.String())
	}
}

func (s *Switch) removeNeighbour(ip netip.Addr) {
	if err := s.stack.RemoveNeighbor(nic, ipv4.ProtocolNumber, address(ip)); err != nil {
		s.log.Error("neighbour", "ip", ip, "err", err.String())
	}
}

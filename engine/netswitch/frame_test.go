package netswitch

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kxsh/ipc/netif"
)

var (
	theMAC = MAC{2, 1, 0, 0, 0, 1}
	other  = MAC{2, 1, 0, 0, 0, 2}
	all    = MAC{255, 255, 255, 255, 255, 255}
	theIP  = netip.MustParseAddr("10.88.1.1")
	otheIP = netip.MustParseAddr("10.88.1.2")
	noIP   = netip.IPv4Unspecified()
)

func ether(to, from MAC, kind uint16, body []byte) []byte {
	f := append(append([]byte(nil), to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(f, kind), body...)
}

func arpPacket(op uint16, mac MAC, ip, target netip.Addr) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, byte(op)}
	p = append(append(p, mac[:]...), ip.AsSlice()...)
	return append(append(p, make([]byte, 6)...), target.AsSlice()...)
}

// ipPacket is a packet of UDP with right checksums.
func ipPacket(from, to netip.Addr, fromPort, toPort uint16, data []byte) []byte {
	f := datagram(MAC{}, MAC{}, from, to, data)[etherHeader:]
	udp := header.UDP(f[ipHeader:])
	udp.SetSourcePort(fromPort)
	udp.SetDestinationPort(toPort)
	udp.SetChecksum(0)
	sum := header.PseudoHeaderChecksum(protoUDP, address(from), address(to), uint16(len(udp)))
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(data, sum)))
	return f
}

// TestClassify holds where frames go, and which their sender must not send.
func TestClassify(t *testing.T) {
	udp := ipPacket(theIP, otheIP, 1000, 2000, []byte("data"))
	fragment := ipPacket(theIP, otheIP, 67, 68, []byte("data"))
	binary.BigEndian.PutUint16(fragment[6:], 100)
	odd := ipPacket(theIP, otheIP, 67, 68, []byte("data"))
	odd[0] = 0x4f
	for name, c := range map[string]struct {
		frame []byte
		want  destination
	}{
		"UDP":                       {ether(other, theMAC, typeIPv4, udp), toStation},
		"with another's MAC":        {ether(other, other, typeIPv4, udp), toRefuse},
		"with another's address":    {ether(other, theMAC, typeIPv4, ipPacket(otheIP, theIP, 1, 2, nil)), toRefuse},
		"with the gateway's":        {ether(other, theMAC, typeIPv4, ipPacket(gatewayAddr, theIP, 53, 2, nil)), toRefuse},
		"without an address":        {ether(other, theMAC, typeIPv4, ipPacket(noIP, theIP, 1, 2, nil)), toRefuse},
		"cut":                       {ether(other, theMAC, typeIPv4, udp)[:etherHeader+ipHeader-1], toRefuse},
		"nothing":                   {ether(other, theMAC, typeIPv4, nil)[:13], toRefuse},
		"not version 4":             {ether(other, theMAC, typeIPv4, append([]byte{0x65}, udp[1:]...)), toRefuse},
		"broadcast":                 {ether(all, theMAC, typeIPv4, ipPacket(theIP, netip.MustParseAddr("10.88.255.255"), 1, 2, nil)), toNobody},
		"multicast":                 {ether(MAC{1, 0, 0x5e, 0, 0, 1}, theMAC, typeIPv4, udp), toNobody},
		"IPv6":                      {ether(other, theMAC, 0x86dd, udp), toNobody},
		"a VLAN":                    {ether(other, theMAC, 0x8100, udp), toNobody},
		"DHCP":                      {ether(all, theMAC, typeIPv4, ipPacket(noIP, netip.MustParseAddr("255.255.255.255"), 68, 67, nil)), toDHCP},
		"DHCP, renewed":             {ether(other, theMAC, typeIPv4, ipPacket(theIP, gatewayAddr, 68, 67, nil)), toDHCP},
		"as a DHCP server":          {ether(other, theMAC, typeIPv4, ipPacket(theIP, otheIP, 67, 68, nil)), toRefuse},
		"a later fragment":          {ether(other, theMAC, typeIPv4, fragment), toStation},
		"a header beyond the frame": {ether(other, theMAC, typeIPv4, odd), toStation},
		"ARP request":               {ether(all, theMAC, typeARP, arpPacket(arpRequest, theMAC, theIP, otheIP)), toIP},
		"ARP probe":                 {ether(all, theMAC, typeARP, arpPacket(arpRequest, theMAC, noIP, theIP)), toIP},
		"ARP reply":                 {ether(other, theMAC, typeARP, arpPacket(arpReply, theMAC, theIP, otheIP)), toStation},
		"ARP reply to all":          {ether(all, theMAC, typeARP, arpPacket(arpReply, theMAC, theIP, otheIP)), toNobody},
		"ARP as another":            {ether(other, theMAC, typeARP, arpPacket(arpReply, theMAC, otheIP, otheIP)), toRefuse},
		"ARP as the gateway":        {ether(all, theMAC, typeARP, arpPacket(arpRequest, theMAC, gatewayAddr, otheIP)), toRefuse},
		"ARP with another's MAC":    {ether(all, theMAC, typeARP, arpPacket(arpRequest, other, theIP, otheIP)), toRefuse},
		"ARP reply of nobody":       {ether(other, theMAC, typeARP, arpPacket(arpReply, theMAC, noIP, otheIP)), toRefuse},
		"RARP":                      {ether(all, theMAC, typeARP, arpPacket(3, theMAC, theIP, otheIP)), toRefuse},
		"ARP, cut":                  {ether(all, theMAC, typeARP, arpPacket(arpRequest, theMAC, theIP, otheIP)[:27]), toRefuse},
	} {
		if got := classify(c.frame, theMAC, theIP); got.to != c.want {
			t.Errorf("%s: %d, want %d", name, got.to, c.want)
		}
	}
}

// FuzzClassify holds that no frame passes that says that it is another's.
func FuzzClassify(f *testing.F) {
	f.Add(ether(other, theMAC, typeIPv4, ipPacket(theIP, otheIP, 1000, 2000, []byte("data"))))
	f.Add(ether(all, theMAC, typeARP, arpPacket(arpRequest, theMAC, theIP, otheIP)))
	f.Add(ether(all, theMAC, typeIPv4, ipPacket(noIP, otheIP, 68, 67, nil)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		where := classify(frame, theMAC, theIP)
		switch where.to {
		case toStation, toIP:
			body := frame[etherHeader:]
			source := body[12:16]
			if frame[12] == 8 && frame[13] == 6 {
				source = body[14:18]
			}
			probe := where.to == toIP && netip.AddrFrom4([4]byte(source)) == noIP
			if MAC(frame[6:12]) != theMAC || netip.AddrFrom4([4]byte(source)) != theIP && !probe {
				t.Fatalf("passed: % x", frame)
			}
		case toDHCP:
			dhcpReply(frame, other, gatewayNet, theMAC, theIP)
		}
	})
}

// TestSpoofing holds that what a pVM must not send reaches nobody and is counted, and what it may arrives, by the
// real rings.
func TestSpoofing(t *testing.T) {
	s := newSwitch(t, Config{})
	a, b := newGuest(t, 1, "a"), newGuest(t, 2, "b")
	var mu sync.Mutex
	var got [][]byte
	b.recv = func(frame []byte) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, append([]byte(nil), frame...))
	}
	a.run()
	b.run()
	for _, g := range []*guest{a, b} {
		if err := s.Add(g.port); err != nil {
			t.Fatal(err)
		}
	}
	am, bm, ai, bi := a.port.MAC, b.port.MAC, a.port.IP, b.port.IP
	a.send(ether(bm, bm, typeIPv4, ipPacket(ai, bi, 1, 2, []byte("with its MAC"))))
	a.send(ether(bm, am, typeIPv4, ipPacket(gatewayAddr, bi, 53, 2, []byte("with the gateway's address"))))
	a.send(ether(bm, am, typeARP, arpPacket(arpReply, am, gatewayAddr, bi)))
	a.send(ether(bm, am, typeIPv4, ipPacket(ai, bi, 67, 68, []byte("as a DHCP server"))))
	a.send(ether(all, am, typeIPv4, ipPacket(ai, netip.MustParseAddr("255.255.255.255"), 1, 2, []byte("to all"))))
	a.send(ether(am, am, typeIPv4, ipPacket(ai, bi, 1, 2, []byte("to itself"))))
	a.send(ether(bm, am, typeIPv4, ipPacket(ai, bi, 1, 2, []byte("honest"))))
	a.send(ether(all, am, typeARP, arpPacket(arpRequest, am, ai, bi)))
	eventually(t, "two frames have come", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= 2
	})
	time.Sleep(20 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 2 || string(got[0][len(got[0])-6:]) != "honest" || got[1][13] != 6 {
		t.Errorf("%d frames have come: %q", len(got), got)
	}
	eventually(t, "all are counted", func() bool { i := portInfo(t, s, 1); return i.Refused == 4 && i.Sent.Frames == 8 })
}

// TestPortsRefused holds which ports there cannot be, and that such an Add leaves nothing behind.
func TestPortsRefused(t *testing.T) {
	s := newSwitch(t, Config{})
	first := newGuest(t, 1, "a")
	if err := s.Add(first.port); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(p *Port){
		"the same number":         func(p *Port) { p.ID = 1 },
		"the same MAC":            func(p *Port) { p.MAC = first.port.MAC },
		"the same address":        func(p *Port) { p.IP = first.port.IP },
		"the gateway's MAC":       func(p *Port) { p.MAC = s.mac },
		"a MAC of a group":        func(p *Port) { p.MAC[0] = 1 },
		"the gateway's address":   func(p *Port) { p.IP = gatewayAddr },
		"the network's address":   func(p *Port) { p.IP = netip.MustParseAddr("10.88.0.0") },
		"the broadcast address":   func(p *Port) { p.IP = netip.MustParseAddr("10.88.255.255") },
		"an address elsewhere":    func(p *Port) { p.IP = netip.MustParseAddr("10.89.0.2") },
		"an address of IPv6":      func(p *Port) { p.IP = netip.MustParseAddr("::1") },
		"a name with a dot":       func(p *Port) { p.Name = "a.b" },
		"no pages":                func(p *Port) { p.Pages = 0 },
		"two pages":               func(p *Port) { p.Pages = 2 },
		"pages behind the end":    func(p *Port) { p.Pages = guestPages + 3 },
		"too many pages":          func(p *Port) { p.Pages = netif.MaxPages + 1 },
		"an offset within a page": func(p *Port) { p.Offset = 4 },
		"an offset below":         func(p *Port) { p.Offset = -netif.PageSize },
		"a bell behind the end":   func(p *Port) { p.Bell = 1 << 40 },
		"an odd bell":             func(p *Port) { p.Bell++ },
		"an odd shared_info":      func(p *Port) { p.Events.SharedOffset += 4 },
		"no shared_info":          func(p *Port) { p.Events.SharedOffset = (guestPages+2)*netif.PageSize - 8 },
		"channel 64":              func(p *Port) { p.Events.Channel = 64 },
		"no memory":               func(p *Port) { p.Memory = nil },
		"no process":              func(p *Port) { p.Events.Process = nil },
		"a file that can shrink":  func(p *Port) { p.Memory = p.Events.Process },
	} {
		g := newGuest(t, 2, "b")
		p := g.port
		change(&p)
		if err := s.Add(p); err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := s.Add(g.port); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		} else if err := s.Remove(2); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(2); err == nil {
		t.Error("port 2 was removed twice")
	}
}

func TestMACText(t *testing.T) {
	var m MAC
	if err := m.UnmarshalText([]byte("02:0A:ff:00:01:0b")); err != nil || m.String() != "02:0a:ff:00:01:0b" {
		t.Error(m, err)
	}
	for _, bad := range []string{"", "02:0a:ff:00:01", "02:0a:ff:00:01:0b:0c", "2:a:ff:0:1:b", "02-0a-ff-00-01-0b", "zz:0a:ff:00:01:0b"} {
		if m.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is no MAC", bad)
		}
	}
}

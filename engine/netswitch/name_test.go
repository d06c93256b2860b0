package netswitch

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"kxsh/engine/porttest"
)

func question(id uint16, name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	p, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return p
}

// ask asks the gateway and returns the addresses of the answer.
func (g *guest) ask(name string, kind dnsmessage.Type) (code dnsmessage.RCode, ips []string) {
	g.t.Helper()
	to := full(gatewayAddr, portDNS)
	c, err := gonet.DialUDP(g.stack, nil, &to, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write(question(77, name, kind))
	buf := make([]byte, maxReply)
	n, err := c.Read(buf)
	if err != nil {
		g.t.Fatal(name, err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil || m.ID != 77 || !m.Response || len(m.Questions) != 1 || m.Questions[0].Name.String() != name {
		g.t.Fatalf("%s: %v, %v", name, m, err)
	}
	for _, a := range m.Answers {
		if r, ok := a.Body.(*dnsmessage.AResource); ok {
			ips = append(ips, netip.AddrFrom4(r.A).String())
		}
	}
	return m.RCode, ips
}

// resolver is a DNS server of the host that answers all with one address.
func resolver(t *testing.T) netip.AddrPort {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response = true
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
			}}
			forged, _ := m.Pack()
			forged[0]++ // an answer to another question first: it is not taken
			c.WriteTo(forged, from)
			p, _ := m.Pack()
			c.WriteTo(p, from)
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// TestNames holds that pVMs are found by name and number, and other names by the host's resolver.
func TestNames(t *testing.T) {
	dead := netip.MustParseAddrPort(porttest.Free(t))
	s := newSwitch(t, Config{Resolvers: []netip.AddrPort{dead, resolver(t)}})
	g := add(t, s, 1, "Web")
	add(t, s, 2, "web")
	add(t, s, 300, "db")
	for name, want := range map[string][]string{
		"web.":         {"10.88.1.1", "10.88.1.2"},
		"WEB.":         {"10.88.1.1", "10.88.1.2"},
		"db.":          {"10.88.2.44"},
		"300.":         {"10.88.2.44"},
		"1.":           {"10.88.1.1"},
		"example.com.": {"192.0.2.7"},
		"web.com.":     {"192.0.2.7"},
		"3.":           {"192.0.2.7"},
	} {
		code, ips := g.ask(name, dnsmessage.TypeA)
		for tries := 0; code == dnsmessage.RCodeServerFailure && tries < 5; tries++ { // the resolver was too slow
			code, ips = g.ask(name, dnsmessage.TypeA)
		}
		if code != 0 || !slices.Equal(ips, want) {
			t.Errorf("%s: %v, %v, want %v", name, code, ips, want)
		}
	}
	if code, ips := g.ask("web.", dnsmessage.TypeAAAA); code != 0 || ips != nil {
		t.Error("a pVM has no address of IPv6, and no other server is asked:", code, ips)
	}
	s.Remove(2)
	if _, ips := g.ask("web.", dnsmessage.TypeA); !slices.Equal(ips, []string{"10.88.1.1"}) {
		t.Error("one of two has gone:", ips)
	}
	s.Remove(300)
	if _, ips := g.ask("db.", dnsmessage.TypeA); !slices.Equal(ips, []string{"192.0.2.7"}) {
		t.Error("all have gone:", ips)
	}
	alone := newSwitch(t, Config{Resolvers: []netip.AddrPort{dead}})
	if code, _ := add(t, alone, 1, "g").ask("example.com.", dnsmessage.TypeA); code != dnsmessage.RCodeServerFailure {
		t.Error("no resolver answers:", code)
	}
}

// TestFlows holds that datagrams go to the host and back, each sender's apart.
func TestFlows(t *testing.T) {
	s := newSwitch(t, Config{Loopback: true})
	g := add(t, s, 1, "g")
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(buf[:n], from)
		}
	}()
	to := full(gatewayAddr, server.LocalAddr().(*net.UDPAddr).Port)
	buf, patience := make([]byte, maxDatagram), time.Minute
	talk := func(c net.Conn, size int) error {
		data := random(uint64(size), size)
		c.SetDeadline(time.Now().Add(patience))
		c.Write(data)
		n, err := c.Read(buf)
		if err == nil && !bytes.Equal(buf[:n], data) {
			t.Errorf("%d bytes came for %d", n, size)
		}
		return err
	}
	var conns []net.Conn
	for range maxFlows {
		c, err := gonet.DialUDP(g.stack, nil, &to, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := talk(c, 10); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, size := range []int{1, 1472, 1473, 9000} {
		if err := talk(conns[3], size); err != nil {
			t.Error(size, err)
		}
	}
	if n := portInfo(t, s, 1).Flows; n != maxFlows {
		t.Errorf("%d flows", n)
	}
	c, _ := gonet.DialUDP(g.stack, nil, &to, ipv4.ProtocolNumber)
	defer c.Close()
	if patience = 2 * time.Second; talk(c, 10) == nil {
		t.Error("more flows than a port may have")
	}
	if err := s.Remove(1); err != nil {
		t.Error(err)
	}
}

func FuzzAnswerName(f *testing.F) {
	f.Add(question(1, "web.", dnsmessage.TypeA))
	f.Add(question(1, "example.com.", dnsmessage.TypeAAAA))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > maxQuestion {
			return
		}
		reply, forward := answerName(p, func(string) []netip.Addr { return []netip.Addr{theIP} })
		if reply != nil && (forward || len(reply) > maxQuestion+16 || !bytes.Equal(reply[:2], p[:2])) {
			t.Fatalf("% x: % x, %v", p, reply, forward)
		}
	})
}

func TestResolvers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	os.WriteFile(path, []byte("# nameserver 1.1.1.1\nsearch x\nnameserver 192.0.2.1\nnameserver x\nnameserver\nnameserver ::1 # local\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"), 0o600)
	want := []string{"192.0.2.1:53", "[::1]:53", "192.0.2.3:53"}
	for _, got := range [][]netip.AddrPort{hostResolvers(path)} {
		var text []string
		for _, a := range got {
			text = append(text, a.String())
		}
		if !slices.Equal(text, want) {
			t.Error(text)
		}
	}
	if got := hostResolvers(path + ".none"); len(got) != 1 || got[0].String() != "127.0.0.1:53" {
		t.Error(got)
	}
}

func dhcpAskFor(kind byte, mac MAC, ciaddr netip.Addr, options ...byte) []byte {
	p := make([]byte, dhcpFixed)
	copy(p, []byte{1, 1, 6, 9, 0xde, 0xad, 0xbe, 0xef})
	copy(p[12:], ciaddr.AsSlice())
	copy(p[28:], mac[:])
	p = binary.BigEndian.AppendUint32(p, dhcpCookie)
	p = append(append(append(p, optType, 1, kind, optPad), options...), optEnd)
	return ether(all, mac, typeIPv4, ipPacket(ciaddr, netip.MustParseAddr("255.255.255.255"), 68, 67, p))
}

// TestDHCP holds what the server says, by the real rings.
func TestDHCP(t *testing.T) {
	s := newSwitch(t, Config{})
	g := newGuest(t, 1, "g")
	answers := make(chan []byte, 10)
	g.recv = func(f []byte) { answers <- append([]byte(nil), f...) }
	g.run()
	if err := s.Add(g.port); err != nil {
		t.Fatal(err)
	}
	mac, ip, us := g.port.MAC, g.port.IP, gatewayAddr.AsSlice()
	requested := append([]byte{optRequested, 4}, ip.AsSlice()...)
	for name, c := range map[string]struct {
		frame []byte
		kind  byte // of the answer; 0: none
		your  netip.Addr
	}{
		"discover":                {dhcpAskFor(dhcpDiscover, mac, noIP), dhcpOffer, ip},
		"request":                 {dhcpAskFor(dhcpRequest, mac, noIP, append(requested, append([]byte{optServer, 4}, us...)...)...), dhcpAck, ip},
		"renewal":                 {dhcpAskFor(dhcpRequest, mac, ip), dhcpAck, ip},
		"another address":         {dhcpAskFor(dhcpRequest, mac, noIP, optRequested, 4, 10, 88, 9, 9), dhcpNak, noIP},
		"no address":              {dhcpAskFor(dhcpRequest, mac, noIP), dhcpNak, noIP},
		"inform":                  {dhcpAskFor(dhcpInform, mac, ip), dhcpAck, noIP},
		"another server's":        {dhcpAskFor(dhcpRequest, mac, noIP, append(requested, optServer, 4, 1, 2, 3, 4)...), 0, noIP},
		"release":                 {dhcpAskFor(7, mac, ip), 0, noIP},
		"an option that is cut":   {dhcpAskFor(dhcpDiscover, mac, noIP, optRequested, 200, 1), dhcpOffer, ip},
		"a message that is short": {ether(all, mac, typeIPv4, ipPacket(noIP, ip, 68, 67, make([]byte, 100))), 0, noIP},
	} {
		g.send(c.frame)
		if c.kind == 0 {
			select {
			case <-answers:
				t.Errorf("%s: answered", name)
			case <-time.After(30 * time.Millisecond):
			}
			continue
		}
		select {
		case f := <-answers:
			p := f[etherHeader+ipHeader+udpHeader:]
			if MAC(f) != mac || [4]byte(p[4:8]) != [4]byte{0xde, 0xad, 0xbe, 0xef} || netip.AddrFrom4([4]byte(p[16:20])) != c.your {
				t.Errorf("%s: % x", name, f)
			}
			options := parseOptions(p[dhcpFixed+4:])
			if options.kind != c.kind || !bytes.Equal(options.server, us) {
				t.Errorf("%s: %+v", name, options)
			}
			if c.kind != dhcpNak && !bytes.Contains(p, append([]byte{optMask, 4, 255, 255, 0, 0, optRouter, 4}, us...)) {
				t.Errorf("%s: no mask and router: % x", name, p)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: no answer", name)
		}
	}
}

package netswitch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// answers sends back each datagram that comes to a port of the guest, behind the guest's number.
func (g *guest) answers(port uint16) {
	at := g.at(port)
	c, err := gonet.DialUDP(g.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(append([]byte{byte('0' + g.port.ID)}, buf[:n]...), from)
		}
	}()
}

// freeUDP is a port of UDP that nobody has.
func freeUDP(t *testing.T) int {
	t.Helper()
	for range 1000 { // as freePort
		port := 10000 + rand.IntN(20000)
		if c, err := net.ListenPacket("udp", fmt.Sprint(":", port)); err == nil {
			c.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// asker is a client of an address of the host, which is connected: only answers from there come.
func asker(t *testing.T, from, to string, port int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("udp", net.JoinHostPort(to, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// asks sends a word, and returns who has answered it; "": nobody has.
func asks(t *testing.T, c net.Conn, word []byte) string {
	t.Helper()
	if _, err := c.Write(word); err != nil {
		return ""
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, maxDatagram)
	n, err := c.Read(buf)
	if err != nil {
		return ""
	}
	if !bytes.Equal(buf[1:n], word) {
		t.Errorf("%d bytes came back as %d others", len(word), n-1)
	}
	return string(buf[:1])
}

// TestPublishUDP holds that a client's datagrams go to one pVM, answers come from where it has asked, clients are spread by their address over the pVMs that
// listen, and one whose pVM ends goes on with another.
func TestPublishUDP(t *testing.T) {
	s := newSwitch(t, Config{})
	add(t, s, 1, "deaf")
	for id := 2; id <= 3; id++ {
		add(t, s, id, "").answers(53)
	}
	port := freeUDP(t)
	key := fmt.Sprintf(":%d/udp", port)
	targets := []Target{{1, 53}, {2, 53}, {3, 53}}
	if err := s.Publish(Publication{key, targets}); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(Publication{key, targets}); err != nil || len(s.Published()) != 1 {
		t.Error(err, s.Published())
	}
	long := make([]byte, 5000)
	for i := range long {
		long[i] = byte(rand.Uint32())
	}
	by := map[string]int{}
	var last net.Conn
	var who string
	for i := range 30 {
		client := fmt.Sprintf("127.0.1.%d", i+1)
		last = asker(t, client, fmt.Sprintf("127.0.2.%d", i+1), port)
		who = asks(t, last, []byte("first"))
		by[who]++
		for range 2 {
			if now := asks(t, last, long); now != who {
				t.Errorf("%s: %q, then %q", client, who, now)
			}
		}
		if now := asks(t, asker(t, client, "127.0.0.1", port), nil); now != who {
			t.Errorf("%s from another port: %q, then %q", client, who, now)
		}
	}
	if by["2"] < 3 || by["3"] < 3 || by["2"]+by["3"] != 30 {
		t.Errorf("answered by %v", by)
	}
	id, _ := strconv.Atoi(who)
	if n := portInfo(t, s, id).Flows; n != 2*by[who] {
		t.Errorf("%d flows of %d clients", n, by[who])
	}
	if err := s.Remove(id); err != nil {
		t.Fatal(err)
	}
	if now := asks(t, last, []byte("again")); now == who || now == "" {
		t.Errorf("after it has ended: %q", now)
	}
	if err := s.Publish(Publication{fmt.Sprintf("127.0.0.1:%d/udp", port), targets}); err == nil || !strings.Contains(err.Error(), "address already in use: publish another port") {
		t.Error(err)
	}
	if err := s.Unpublish(key); err != nil {
		t.Fatal(err)
	}
	if n := portInfo(t, s, 5-id).Flows; n != 0 {
		t.Errorf("%d flows of a port that is published no more", n)
	}
	if err := s.Publish(Publication{key, []Target{{1, 53}}}); err != nil {
		t.Fatal(err)
	}
	last.Write([]byte("to nobody"))
	eventually(t, "a client whom nobody takes is forgotten", func() bool { return portInfo(t, s, 1).Flows == 0 && portInfo(t, s, 1).Received.Frames > 0 })
}

// TestPublishUDPBounds holds that clients are at most so many, of whom the one that was silent longest makes room, and that who is silent for long is forgotten.
func TestPublishUDPBounds(t *testing.T) {
	s := newSwitch(t, Config{})
	add(t, s, 2, "").answers(53)
	port := freeUDP(t)
	key := fmt.Sprintf("127.0.0.1:%d/udp", port)
	if err := s.Publish(Publication{key, []Target{{2, 53}}}); err != nil {
		t.Fatal(err)
	}
	first := asker(t, "127.0.0.1", "127.0.0.1", port)
	second := asker(t, "127.0.0.1", "127.0.0.1", port)
	asks(t, first, []byte("x"))
	asks(t, second, []byte("x"))
	u := s.published[key].udp
	has := func(c net.Conn) bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.of[c.LocalAddr().(*net.UDPAddr).AddrPort()] != nil
	}
	for i := range maxClients - 1 {
		if i == maxClients/2 {
			asks(t, first, []byte("x"))
		}
		c := asker(t, "127.0.0.1", "127.0.0.1", port)
		if who := asks(t, c, []byte("x")); who != "2" {
			t.Fatalf("client %d: %q", i, who)
		}
	}
	if n := portInfo(t, s, 2).Flows; n != maxClients || !has(first) || has(second) {
		t.Errorf("%d flows, first %v, second %v", n, has(first), has(second))
	}
	if who := asks(t, second, []byte("x")); who != "2" {
		t.Errorf("%q", who)
	}
	u.mu.Lock()
	for _, c := range u.of {
		c.last = c.last.Add(-flowIdle)
	}
	u.mu.Unlock()
	if next := s.published[key].expire(); !next.IsZero() {
		t.Errorf("a client is left until %v", next)
	}
	eventually(t, "all are forgotten", func() bool { return portInfo(t, s, 2).Flows == 0 })
	if who := asks(t, first, []byte("x")); who != "2" {
		t.Errorf("%q", who)
	}
}

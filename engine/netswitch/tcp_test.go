package netswitch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kxsh/engine/porttest"
)

// gatewayAddr is the gateway as guests reach it.
var gatewayAddr = gatewayNet.Addr()

// random is n bytes that are the same for each seed.
func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// exchange sends n bytes, closes that direction, and expects their hash, then the end.
func exchange(c halfCloser, seed uint64, n int) error {
	data := random(seed, n)
	c.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := c.Write(data); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if want := sha256.Sum256(data); !bytes.Equal(got, want[:]) {
		return fmt.Errorf("%d bytes sent, the other side has other ones: %x", n, got)
	}
	return nil
}

// hash answers with the hash of all that came.
func hash(c net.Conn) {
	h := sha256.New()
	if _, err := io.Copy(h, c); err == nil {
		c.Write(h.Sum(nil))
	}
}

// TestTCP holds that bytes arrive, that one direction may end before the other, and that frames are counted:
// between two pVMs, from the host to a pVM, and from a pVM to the host.
func TestTCP(t *testing.T) {
	const size = 4 << 20
	s := newSwitch(t, Config{Loopback: true})
	a, b := add(t, s, 1, "a"), add(t, s, 2, "b")
	b.serve(80, hash)
	if err := exchange(a.mustDial(b.at(80)), 1, size); err != nil {
		t.Error("pVM to pVM:", err)
	}
	if i, j := portInfo(t, s, 1), portInfo(t, s, 2); i.Sent.Bytes < size || i.Sent.Frames < size/1500 || j.Received.Bytes < size || i.Connections != 0 {
		t.Errorf("counted: %+v, %+v", i, j)
	}
	address := porttest.Free(t)
	if err := s.Publish(Publication{Address: address, Targets: []Target{{2, 80}}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := exchange(c.(*net.TCPConn), 2, size); err != nil {
		t.Error("host to pVM:", err)
	}
	port := hostServer(t, func(c *net.TCPConn) { hash(c) })
	if err := exchange(a.mustDial(full(gatewayAddr, port)), 3, size); err != nil {
		t.Error("pVM to host:", err)
	}
	eventually(t, "no connections", func() bool {
		return portInfo(t, s, 1).Connections == 0 && portInfo(t, s, 2).Connections == 0
	})
}

// TestPublishTurns holds that connections are spread over those pVMs that listen, and reset if none does.
func TestPublishTurns(t *testing.T) {
	s := newSwitch(t, Config{})
	address := porttest.Free(t)
	var targets []Target
	for id := 1; id <= 4; id++ {
		if g := add(t, s, id, "web"); id != 3 {
			g.serve(80, func(c net.Conn) { fmt.Fprint(c, id) })
		}
		targets = append(targets, Target{id, 80})
	}
	targets = append(targets, Target{99, 80}) // has gone
	if err := s.Publish(Publication{address, targets}); err != nil {
		t.Fatal(err)
	}
	ask := func() (string, error) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		data, err := io.ReadAll(c)
		return string(data), err
	}
	who := map[string]int{}
	for range 50 {
		answer, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		who[answer]++
	}
	if who["1"] < 10 || who["2"] < 10 || who["4"] < 10 || len(who) != 3 {
		t.Error("who answered how often:", who)
	}
	if err := s.Publish(Publication{address, targets[2:3]}); err != nil {
		t.Fatal(err)
	}
	if answer, err := ask(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("nobody listens: %q, %v", answer, err)
	}
	other := newSwitch(t, Config{})
	if err := other.Publish(Publication{Address: address}); err == nil || !strings.Contains(err.Error(), "address already in use: publish another port") {
		t.Error("published twice:", err)
	}
	if err := s.Unpublish(address); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error("not published any more:", err)
	}
	for _, address := range []string{"", "80:80:80", "127.0.0.1", "127.0.0.1:0"} {
		if s.Publish(Publication{Address: address}) == nil {
			t.Errorf("%q is no address", address)
		}
	}
}

// TestPublishSilent holds that a pVM that answers nothing, as one that is stopped, delays a connection and does not
// take it from one that listens.
func TestPublishSilent(t *testing.T) {
	s := newSwitch(t, Config{})
	silent := newGuest(t, 1, "silent").run()
	if err := s.Add(silent.port); err != nil {
		t.Fatal(err)
	}
	add(t, s, 2, "web").serve(80, echo)
	address := porttest.Free(t)
	if err := s.Publish(Publication{address, []Target{{1, 80}, {2, 80}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(reachTimeout + 10*time.Second))
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
}

// TestResets holds that a reset comes through, in all four directions.
func TestResets(t *testing.T) {
	s := newSwitch(t, Config{Loopback: true})
	g := add(t, s, 1, "g")
	accepted := make(chan net.Conn, 1)
	g.serve(80, func(c net.Conn) { accepted <- c; select {} })
	address := porttest.Free(t)
	if err := s.Publish(Publication{address, []Target{{1, 80}}}); err != nil {
		t.Fatal(err)
	}
	isReset := func(what string, c net.Conn) {
		t.Helper()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", what, err)
		}
	}
	published := func() (host *net.TCPConn, guest net.Conn) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn), <-accepted
	}
	host, guest := published()
	hostConn{host}.Abort()
	isReset("the client resets", guest)
	host, guest = published()
	// What it has not read makes its end a reset.
	host.Write([]byte("unread"))
	guest.SetReadDeadline(time.Now().Add(20 * time.Second))
	guest.Read(make([]byte, 1))
	guest.Close()
	isReset("the published server resets", host)

	toHost := make(chan *net.TCPConn, 1)
	port := hostServer(t, func(c *net.TCPConn) { toHost <- c; select {} })
	out := g.mustDial(full(gatewayAddr, port))
	hostConn{<-toHost}.Abort()
	isReset("the host's server resets", out)
	out = g.mustDial(full(gatewayAddr, port))
	in := <-toHost
	in.Write([]byte("unread"))
	out.SetReadDeadline(time.Now().Add(20 * time.Second))
	out.Read(make([]byte, 1))
	out.Close()
	isReset("the pVM resets", in)
	eventually(t, "no connections", func() bool { return portInfo(t, s, 1).Connections == 0 })
}

// TestRefused holds what a pVM cannot reach.
func TestRefused(t *testing.T) {
	s := newSwitch(t, Config{Loopback: true})
	g := add(t, s, 1, "g")
	port := hostServer(t, func(c *net.TCPConn) { echo(c) })
	closed := netip.MustParseAddrPort(porttest.Free(t)).Port()
	for name, to := range map[string]netip.AddrPort{
		"a port that nobody listens on": netip.AddrPortFrom(gatewayAddr, closed),
		"a cloud's credentials":         netip.MustParseAddrPort("169.254.169.254:80"),
		"class E":                       netip.MustParseAddrPort("250.1.1.1:80"),
	} {
		c, err := g.dial(full(to.Addr(), int(to.Port())))
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	private := newSwitch(t, Config{})
	h := add(t, private, 1, "h")
	if _, err := h.dial(full(gatewayAddr, port)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error("the host's loopback interface is not for pVMs unless it is said:", err)
	}
	for _, to := range []string{"127.0.0.1:80", "0.0.0.0:80", "224.0.0.1:80", "10.88.3.3:80", "255.255.255.255:80", "0.1.2.3:80"} {
		if at, ok := s.outside(netip.MustParseAddrPort(to)); ok {
			t.Errorf("%s: leads to %v", to, at)
		}
	}
	if at, ok := s.outside(netip.MustParseAddrPort("192.0.2.1:80")); !ok || at.String() != "192.0.2.1:80" {
		t.Error("the world:", at, ok)
	}
}

// TestManyConnections holds a thousand at once, and that one more than a port may have is reset.
func TestManyConnections(t *testing.T) {
	s := newSwitch(t, Config{})
	g := add(t, s, 1, "g")
	g.serve(80, echo)
	address := porttest.Free(t)
	if err := s.Publish(Publication{address, []Target{{1, 80}}}); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	var wg sync.WaitGroup
	conns, errs := make([]net.Conn, n), make([]error, n)
	say := func(i int) error {
		msg := fmt.Appendf(nil, "connection %d", i)
		conns[i].SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := conns[i].Write(msg); err != nil {
			return err
		}
		got := make([]byte, len(msg))
		if _, err := io.ReadFull(conns[i], got); err != nil || !bytes.Equal(got, msg) {
			return fmt.Errorf("%q, %v", got, err)
		}
		return nil
	}
	for i := range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(i, err)
		}
		defer c.Close()
		conns[i] = c
		if i%50 == 0 { // not all at once: the pVM's backlog has ten places
			if err := say(i); err != nil {
				t.Fatal(i, err)
			}
		}
		wg.Go(func() { errs[i] = say(i) })
		if i%10 == 9 {
			wg.Wait()
		}
	}
	wg.Wait()
	for i := range n {
		wg.Go(func() { errs[i] = errors.Join(errs[i], say(i)) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	if c := portInfo(t, s, 1).Connections; c != n {
		t.Errorf("%d connections, want %d", c, n)
	}
	refused := 0
	for range maxConns - n + 20 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			_, err = c.Write([]byte("x"))
		}
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < 20 {
		t.Errorf("%d refused beyond %d connections, want 20", refused, maxConns)
	}
}

// TestReconnects holds that no connection is lost when the gateway has used its ports many times, faster than closed
// connections are forgotten, whoever closes first.
func TestReconnects(t *testing.T) {
	s := newSwitch(t, Config{})
	if err := s.stack.SetPortRange(50000, 50499); err != nil {
		t.Fatal(err)
	}
	g := add(t, s, 1, "g")
	g.serve(80, echo)
	g.serve(81, func(c net.Conn) { io.CopyN(c, c, 1) })
	var addresses []string
	for _, port := range []uint16{80, 81} {
		address := porttest.Free(t)
		if err := s.Publish(Publication{address, []Target{{1, port}}}); err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, address)
	}
	once := func(i int) error {
		c, err := net.Dial("tcp", addresses[i%2])
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write([]byte{byte(i)})
		got := make([]byte, 1)
		if _, err := io.ReadFull(c, got); err != nil || got[0] != byte(i) {
			return fmt.Errorf("%x, %w", got, err)
		}
		if i%2 == 1 {
			_, err = io.Copy(io.Discard, c)
		}
		return err
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				if err := once(worker + 5*i); err != nil {
					t.Errorf("worker %d, connection %d: %v", worker, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestSlowReader holds that a reader that does not read stops its writer, and nobody else.
func TestSlowReader(t *testing.T) {
	s := newSwitch(t, Config{})
	g := add(t, s, 1, "g")
	g.serve(80, func(net.Conn) { select {} })
	g.serve(81, echo)
	slow, quick := porttest.Free(t), porttest.Free(t)
	for address, port := range map[string]uint16{slow: 80, quick: 81} {
		if err := s.Publish(Publication{address, []Target{{1, port}}}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("tcp", slow)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	n, err := c.Write(make([]byte, 64<<20))
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || n > 32<<20 {
		t.Errorf("%d bytes taken for a pVM that reads nothing, %v", n, err)
	}
	q, err := net.Dial("tcp", quick)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	q.SetDeadline(time.Now().Add(10 * time.Second))
	q.Write([]byte("x"))
	if _, err := q.Read(make([]byte, 1)); err != nil {
		t.Error("another connection of the pVM:", err)
	}
}

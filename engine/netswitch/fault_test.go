package netswitch

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"

	"kxsh/engine/porttest"
	"kxsh/ipc/netif"
)

// TestHostileRing holds that a ring that cannot be closes its port and resets its connections, while others' go
// on: rings for both directions, in the middle of a transfer.
func TestHostileRing(t *testing.T) {
	for name, spoil := range map[string]func(g *guest){
		"tx index": func(g *guest) { atomic.StoreUint32(&g.front.Tx.ReqProd, 1<<31) },
		"rx index": func(g *guest) { atomic.StoreUint32(&g.front.Rx.ReqProd, 1<<31) },
		"tx entry": func(g *guest) {
			g.front.Request(5, 0, netif.TxExtraInfo, 1, 100)
			g.front.PushTx()
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			s := newSwitch(t, Config{})
			bad, a, b := add(t, s, 1, "bad"), add(t, s, 2, "a"), add(t, s, 3, "b")
			b.serve(80, hash)
			bad.serve(80, func(c net.Conn) { io.Copy(io.Discard, c) })
			address := porttest.Free(t)
			if err := s.Publish(Publication{address, []Target{{1, 80}}}); err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			ended := make(chan error, 1)
			go func() {
				for {
					if _, err := c.Write(make([]byte, 1<<16)); err != nil {
						ended <- err
						return
					}
				}
			}()
			eventually(t, "a transfer", func() bool { return portInfo(t, s, 1).Received.Bytes > 1<<20 })
			eventually(t, "the port is closed", func() bool {
				// Again and again: its stack, which is honest, sets it right.
				bad.tx.Lock()
				spoil(bad)
				bad.tx.Unlock()
				bad.ring()
				return portInfo(t, s, 1).Error != ""
			})
			bad.end()
			if e := portInfo(t, s, 1).Error; !strings.Contains(e, netif.ErrRing.Error()) {
				t.Error(e)
			}
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Error("its connection:", err)
			}
			if err := exchange(a.mustDial(b.at(80)), 1, 1<<20); err != nil {
				t.Error("others:", err)
			}
			if err := s.Remove(1); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRemove holds that the end of a port in the middle of transfers resets what comes from the host, does not
// wait for anybody, and that its memory is not written to any more.
func TestRemove(t *testing.T) {
	s := newSwitch(t, Config{Loopback: true})
	g := add(t, s, 1, "g")
	g.serve(80, func(c net.Conn) { io.Copy(io.Discard, c) })
	address := porttest.Free(t)
	if err := s.Publish(Publication{address, []Target{{1, 80}}}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := c.Write(make([]byte, 1<<16)); err != nil {
				ended <- err
				return
			}
		}
	}()
	port := hostServer(t, func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	out := g.mustDial(full(gatewayAddr, port))
	go io.Copy(out, endless{})
	eventually(t, "transfers", func() bool {
		i := portInfo(t, s, 1)
		return i.Received.Bytes > 1<<20 && i.Sent.Bytes > 1<<20
	})
	start := time.Now()
	if err := s.Remove(1); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > drainTime/2 {
		t.Error("took", d)
	}
	responses := atomic.LoadUint32(&g.front.Rx.RspProd)
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("a transfer ended as if it were complete")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a connection of a port that is no more goes on")
		}
	}
	if now := atomic.LoadUint32(&g.front.Rx.RspProd); now != responses {
		t.Error("its memory is still written to")
	}
	// Its place is free.
	if err := s.Add(newGuest(t, 1, "g").port); err != nil {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// syn is a frame that asks the gateway for a connection.
func syn(g *guest, fromPort uint16, to netip.AddrPort) []byte {
	p := make([]byte, ipHeader+header.TCPMinimumSize)
	ip := header.IPv4(p)
	src, dst := address(g.port.IP), address(to.Addr())
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(p)), TTL: 64, Protocol: protoTCP, SrcAddr: src, DstAddr: dst})
	ip.SetChecksum(^ip.CalculateChecksum())
	tcp := header.TCP(p[ipHeader:])
	tcp.Encode(&header.TCPFields{SrcPort: fromPort, DstPort: to.Port(), SeqNum: uint32(seqnum.Value(fromPort) * 77), DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 65535})
	tcp.SetChecksum(^tcp.CalculateChecksum(header.PseudoHeaderChecksum(protoTCP, src, dst, uint16(len(tcp)))))
	return ether(gatewayMAC(gatewayAddr), g.port.MAC, typeIPv4, p)
}

// TestSYNFlood holds that a pVM that begins connections and never goes on takes nothing from another.
func TestSYNFlood(t *testing.T) {
	s := newSwitch(t, Config{Loopback: true})
	bad := newGuest(t, 1, "bad").run() // without a stack: it answers nothing
	if err := s.Add(bad.port); err != nil {
		t.Fatal(err)
	}
	good := add(t, s, 2, "good")
	accepted := atomic.Int32{}
	port := hostServer(t, func(c *net.TCPConn) { accepted.Add(1); echo(c) })
	for i := range 20000 {
		bad.send(syn(bad, uint16(1024+i), netip.AddrPortFrom(gatewayAddr, uint16(port))))
	}
	eventually(t, "all of it was taken", func() bool { return portInfo(t, s, 1).Sent.Frames == 20000 })
	c := good.mustDial(full(gatewayAddr, port))
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if n := accepted.Load(); n > maxDials+1 {
		t.Errorf("the host has accepted %d connections, of which one pVM may begin %d at once", n, maxDials)
	}
}

// TestFullRing holds that frames for a pVM that takes none wait, up to a limit, and that it gets those when it does.
func TestFullRing(t *testing.T) {
	s := newSwitch(t, Config{})
	a, b := newGuest(t, 1, "a"), newGuest(t, 2, "b")
	for _, g := range []*guest{a, b} {
		if err := s.Add(g.port); err != nil {
			t.Fatal(err)
		}
	}
	a.run()
	const n = netif.RingSize + maxQueue + 100
	for i := range n {
		a.send(ether(b.port.MAC, a.port.MAC, typeIPv4, ipPacket(a.port.IP, b.port.IP, 1, uint16(i), nil)))
	}
	eventually(t, "100 frames were dropped", func() bool { return portInfo(t, s, 2).Dropped == 100 })
	next := make(chan uint16, n)
	b.recv = func(f []byte) { next <- header.UDP(f[etherHeader+ipHeader:]).DestinationPort() }
	b.run()
	for i := range n - 100 {
		select {
		case got := <-next:
			if got != uint16(i) {
				t.Fatalf("frame %d came as number %d", got, i)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("after frame %d none came", i)
		}
	}
}

// TestMoved holds that a pVM that has moved to another process is woken there, though it has been rung already: that has woken nobody.
func TestMoved(t *testing.T) {
	s := newSwitch(t, Config{})
	g := newGuest(t, 1, "a")
	if err := s.Add(g.port); err != nil {
		t.Fatal(err)
	}
	atomic.StoreUint64(&g.shared.EvtchnPending[0], 1<<guestChannel)
	atomic.StoreUint64(&g.shared.VcpuInfo[0].EvtchnPendingSel, 1)
	next := g.port.Events
	next.SeqOffset += 8
	next.SleepingOffset += 8
	if err := s.SetEvents(1, next); err != nil {
		t.Fatal(err)
	}
	seq := (*uint32)(unsafe.Add(unsafe.Pointer(g.seq), 8))
	if atomic.LoadUint32(seq) == 0 || g.shared.VcpuInfo[0].EvtchnUpcallPending == 0 {
		t.Errorf("seq %d, upcall %d", *seq, g.shared.VcpuInfo[0].EvtchnUpcallPending)
	}
}

// TestConnectionsTake holds the limits, and that nothing begins at a port that has ended.
func TestConnectionsTake(t *testing.T) {
	var c connections
	c.init()
	ended := 0
	release, err := c.take(&c.udp, 2, func() { ended++ })
	if err != nil {
		t.Fatal(err)
	}
	c.take(&c.udp, 2, func() { ended++ })
	if _, err := c.take(&c.udp, 2, nil); !errors.Is(err, errTooMany) {
		t.Error(err)
	}
	release()
	if _, err := c.take(&c.udp, 2, func() { ended++ }); err != nil {
		t.Error(err)
	}
	c.abort()
	if _, err := c.take(&c.udp, 9, nil); !errors.Is(err, errPortGone) || ended != 2 {
		t.Error(err, ended)
	}
}

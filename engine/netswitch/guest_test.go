package netswitch

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
	"kxsh/ipc/netif"
	"kxsh/ipc/netif/netiftest"
)

// TestMain lets the test program be a switch's process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Main(os.Args[2:]))
	}
	signal.Ignore(syscall.SIGUSR1) // of events for guests that run, which look by themselves
	os.Exit(m.Run())
}

var gatewayNet = netip.MustParsePrefix("10.88.0.1/16")

func newSwitch(t testing.TB, c Config) *Switch {
	t.Helper()
	c.Gateway = gatewayNet
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// guestPages is the size of a guest's net area: a page for each request.
const (
	guestPages   = netif.FirstBuffer + netif.RingSize
	guestChannel = 5
)

// guest is a pVM of the tests: real rings in a memory file, an event channel as a hosted domain has it, and, once
// started, a TCP/IP stack.
type guest struct {
	t     testing.TB
	port  Port
	mem   []byte
	front *netiftest.Front

	shared        *abi.SharedInfo
	bell          *uint32
	seq, sleeping *uint32

	tx   sync.Mutex
	room chan struct{}
	stop atomic.Bool
	done chan struct{}
	recv func(frame []byte)
	lose func() bool // nil; whether the next frame that came is lost

	stack *stack.Stack
	d     stack.NetworkDispatcher
}

func newGuest(t testing.TB, id int, name string) *guest {
	t.Helper()
	const size = (guestPages + 2) * netif.PageSize
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "guest")
	f.Truncate(size)
	unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	const shared, words = guestPages * netif.PageSize, (guestPages + 1) * netif.PageSize
	word := func(off int) *uint32 { return (*uint32)(unsafe.Pointer(&mem[words+off])) }
	g := &guest{
		t: t, mem: mem, room: make(chan struct{}, 1), done: make(chan struct{}),
		shared: (*abi.SharedInfo)(unsafe.Pointer(&mem[shared])), bell: word(0), seq: word(4), sleeping: word(8),
		port: Port{
			ID: id, Name: name, MAC: MAC{2, 1, 0, 0, byte(id >> 8), byte(id)}, IP: netip.AddrFrom4([4]byte{10, 88, byte(1 + id>>8), byte(id)}),
			Memory: f, Offset: 0, Pages: guestPages, Bell: words,
			Events: Events{Shared: f, SharedOffset: shared, State: f, SeqOffset: words + 4, SleepingOffset: words + 8,
				Process: os.NewFile(uintptr(pidfd), "pidfd"), Channel: guestChannel},
		},
	}
	if g.front, _, err = netiftest.New(mem[:guestPages*netif.PageSize]); err != nil {
		t.Fatal(err)
	}
	g.recv = func([]byte) {}
	t.Cleanup(func() {
		f.Close()
		g.port.Events.Process.Close()
	})
	return g
}

// run receives until the test ends.
func (g *guest) run() *guest {
	go g.receive()
	g.t.Cleanup(g.end)
	return g
}

func (g *guest) end() {
	g.stop.Store(true)
	for {
		atomic.AddUint32(g.seq, 1)
		bell.Wake(g.seq)
		select {
		case <-g.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// receive is the driver's event handler, and the sleep of an idle pVM.
func (g *guest) receive() {
	defer close(g.done)
	buf := make([]byte, netif.PageSize)
	for !g.stop.Load() {
		seq := atomic.LoadUint32(g.seq)
		for {
			n, ok, notify, err := g.front.Receive(buf)
			if err != nil {
				g.t.Error(err)
				return
			}
			if notify {
				g.ring()
			}
			if !ok {
				break
			}
			if g.lose == nil || !g.lose() {
				g.recv(buf[:n])
			}
		}
		select {
		case g.room <- struct{}{}:
		default:
		}
		v := &g.shared.VcpuInfo[0]
		atomic.AndUint32((*uint32)(unsafe.Pointer(&v.EvtchnUpcallPending)), ^uint32(0xff))
		atomic.StoreUint64(&v.EvtchnPendingSel, 0)
		atomic.AndUint64(&g.shared.EvtchnPending[0], ^uint64(1<<guestChannel))
		atomic.StoreUint32(g.sleeping, 1)
		if g.front.Sleep() && atomic.LoadUint64(&g.shared.EvtchnPending[0]) == 0 {
			bell.Wait(g.seq, seq, 0)
		}
		atomic.StoreUint32(g.sleeping, 0)
	}
}

func (g *guest) ring() {
	atomic.AddUint32(g.bell, 1)
	bell.Wake(g.bell)
}

// send sends a frame, and waits for room.
func (g *guest) send(frame []byte) {
	g.tx.Lock()
	defer g.tx.Unlock()
	for !g.stop.Load() {
		ok, notify, err := g.front.Send(frame)
		if err != nil {
			g.t.Error(err)
			return
		}
		if notify {
			g.ring()
		}
		if ok {
			return
		}
		select {
		case <-g.room:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// guestLink is the guest's driver as its stack has it.
type guestLink struct {
	link
	g *guest
}

func (l *guestLink) LinkAddress() tcpip.LinkAddress { return tcpip.LinkAddress(l.g.port.MAC[:]) }

func (l *guestLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	list := pkts.AsSlice()
	for _, pkt := range list {
		f := make([]byte, etherHeader, netif.MaxFrame)
		copy(f, pkt.EgressRoute.RemoteLinkAddress)
		copy(f[6:], l.g.port.MAC[:])
		binary.BigEndian.PutUint16(f[12:], uint16(pkt.NetworkProtocolNumber))
		for _, part := range pkt.AsSlices() {
			f = append(f, part...)
		}
		l.g.send(f)
	}
	return len(list), nil
}

// start gives the guest a stack with its address and the gateway as router.
func (g *guest) start() *guest {
	g.t.Helper()
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	l := &guestLink{g: g}
	if err := g.stack.CreateNIC(1, l); err != nil {
		g.t.Fatal(err)
	}
	addr := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(g.port.IP), PrefixLen: 16}}
	if err := g.stack.AddProtocolAddress(1, addr, stack.AddressProperties{}); err != nil {
		g.t.Fatal(err)
	}
	subnet := addr.AddressWithPrefix.Subnet()
	g.stack.SetRouteTable([]tcpip.Route{{Destination: subnet, NIC: 1}, {Destination: header.IPv4EmptySubnet, Gateway: address(gatewayNet.Addr()), NIC: 1}})
	g.recv = func(frame []byte) {
		l.mu.RLock()
		d := l.d
		l.mu.RUnlock()
		if d == nil {
			return
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame[etherHeader:])})
		d.DeliverNetworkPacket(tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(frame[12:])), pkt)
		pkt.DecRef()
	}
	g.t.Cleanup(g.stack.Close)
	return g.run()
}

// add makes a guest with a stack and its port.
func add(t testing.TB, s interface{ Add(Port) error }, id int, name string) *guest {
	t.Helper()
	g := newGuest(t, id, name).start()
	if err := s.Add(g.port); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guest) at(port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{Addr: address(g.port.IP), Port: port}
}

func full(ip netip.Addr, port int) tcpip.FullAddress {
	return tcpip.FullAddress{Addr: address(ip), Port: uint16(port)}
}

func (g *guest) listen(port uint16) *gonet.TCPListener {
	g.t.Helper()
	ln, err := gonet.ListenTCP(g.stack, g.at(port), ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { ln.Close() })
	return ln
}

// serve has each connection to a port of the guest handled.
func (g *guest) serve(port uint16, handle func(net.Conn)) {
	ln := g.listen(port)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
}

func (g *guest) dial(to tcpip.FullAddress) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, to, ipv4.ProtocolNumber)
}

func (g *guest) mustDial(to tcpip.FullAddress) *gonet.TCPConn {
	g.t.Helper()
	c, err := g.dial(to)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

func echo(c net.Conn) { io.Copy(c, c) }

// hostServer is a TCP server on the host's loopback interface.
func hostServer(t testing.TB, handle func(*net.TCPConn)) int {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

// portInfo is what is told of a port.
func portInfo(t testing.TB, s *Switch, id int) PortInfo {
	t.Helper()
	for _, p := range s.Ports() {
		if p.ID == id {
			return p
		}
	}
	t.Fatalf("no port %d", id)
	return PortInfo{}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

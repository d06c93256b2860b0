package netswitch

import (
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"kxsh/engine/porttest"
)

// The benchmarks take both ends' work, too: two stacks of gVisor in this process beside the switch's, on its CPUs.

// stream measures bytes carried from w to r.
func stream(b *testing.B, w io.Writer, r io.Reader) {
	const size = 1 << 20
	b.SetBytes(size)
	buf := make([]byte, size)
	b.ResetTimer()
	go func() {
		for range b.N {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	}()
	got := make([]byte, 256<<10)
	for left := b.N * size; left > 0; {
		n, err := r.Read(got)
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
}

// turns measures round trips of one byte over a connection to an echo.
func turns(b *testing.B, c net.Conn) {
	buf := make([]byte, 1)
	for b.Loop() {
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// scene is a switch in a process of its own, as it is in use, two pVMs, and a port published of the second.
func scene(b *testing.B) (a, z *guest, address string) {
	o := process(b)
	o.Loopback = true
	c, _ := engine(b, o)
	a, z = add(b, c, 1, "a"), add(b, c, 2, "z")
	address = porttest.Free(b)
	if err := c.Publish(Publication{address, []Target{{2, 80}}}); err != nil {
		b.Fatal(err)
	}
	return a, z, address
}

func dialHost(b *testing.B, address string) net.Conn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func BenchmarkStreamBetween(b *testing.B) {
	a, z, _ := scene(b)
	ln := z.listen(80)
	w := a.mustDial(z.at(80))
	r, _ := ln.Accept()
	stream(b, w, r)
}

func BenchmarkStreamIn(b *testing.B) {
	_, z, address := scene(b)
	ln := z.listen(80)
	w := dialHost(b, address)
	r, _ := ln.Accept()
	stream(b, w, r)
}

func BenchmarkStreamOut(b *testing.B) {
	a, _, _ := scene(b)
	accepted := make(chan net.Conn)
	port := hostServer(b, func(c *net.TCPConn) { accepted <- c; select {} })
	w := a.mustDial(full(gatewayAddr, port))
	stream(b, w, <-accepted)
}

func BenchmarkTurnBetween(b *testing.B) {
	a, z, _ := scene(b)
	z.serve(80, echo)
	turns(b, a.mustDial(z.at(80)))
}

func BenchmarkTurnIn(b *testing.B) {
	_, z, address := scene(b)
	z.serve(80, echo)
	turns(b, dialHost(b, address))
}

// BenchmarkConnect is a connection from the host to a published port, a byte there and back, and its end.
func BenchmarkConnect(b *testing.B) {
	_, z, address := scene(b)
	z.serve(80, echo)
	buf := make([]byte, 1)
	for b.Loop() {
		c, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// manyTurns is turns of 50 connections at once, as of a benchmark's clients.
func manyTurns(b *testing.B, dial func() net.Conn) {
	const clients = 50
	var conns []net.Conn
	for range clients {
		conns = append(conns, dial())
		conns[len(conns)-1].Write([]byte{1})
		if _, err := conns[len(conns)-1].Read(make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			buf := make([]byte, 64)
			for range b.N/clients + min(1, max(0, b.N%clients-i)) {
				c.Write(buf)
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkManyTurnsIn(b *testing.B) {
	_, z, address := scene(b)
	z.serve(80, echo)
	manyTurns(b, func() net.Conn { return dialHost(b, address) })
}

// BenchmarkManyTurnsNative is the same without pVMs and switch.
func BenchmarkManyTurnsNative(b *testing.B) {
	port := hostServer(b, func(c *net.TCPConn) { echo(c) })
	manyTurns(b, func() net.Conn { return dialHost(b, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) })
}

package netswitch

import (
	"errors"
	"io"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// connections are what a port has open in the gateway. All of it ends with the port.
type connections struct {
	mu    sync.Mutex
	over  bool
	tcp   int
	dials int
	udp   int
	// of its published UDP ports
	clients int

	open map[int]func() // by a number of ours: ends it at once
	next int
}

var (
	errPortGone = errors.New("the pVM has gone")
	errTooMany  = errors.New("the pVM has too many connections")
)

func (c *connections) init() { c.open = map[int]func(){} }

// take counts one more of what n counts, if there are not yet limit, until the function returned is called; end
// is called if the port ends before.
func (c *connections) take(n *int, limit int, end func()) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return nil, errPortGone
	case *n >= limit:
		return nil, errTooMany
	}
	*n++
	id := c.next
	c.next++
	c.open[id] = end
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		*n--
		delete(c.open, id)
	}, nil
}

// abort ends all of them, and lets none begin any more.
func (c *connections) abort() {
	c.mu.Lock()
	c.over = true
	ends := make([]func(), 0, len(c.open))
	for _, end := range c.open {
		ends = append(ends, end)
	}
	c.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

func (c *connections) count() (tcp, udp int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tcp, c.udp + c.clients
}

// end is one end of a connection that goes through the gateway.
type end interface {
	io.Reader
	io.Writer
	io.Closer
	CloseWrite() error
	// Abort resets the connection.
	Abort()
}

// hostConn is the end at a socket of the host.
type hostConn struct{ *net.TCPConn }

func (c hostConn) Abort() {
	c.SetLinger(0)
	c.Close()
}

// guestConn is the end at a pVM.
type guestConn struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
}

func newGuestConn(wq *waiter.Queue, ep tcpip.Endpoint) guestConn {
	// A pVM that sends nothing and has nothing to hear must still be found to have forgotten a connection.
	ep.SocketOptions().SetKeepAlive(true)
	// What is small is not held back: whoever sent it has decided that already.
	ep.SocketOptions().SetDelayOption(false)
	return guestConn{TCPConn: gonet.NewTCPConn(wq, ep), ep: ep}
}

func (c guestConn) Abort() { c.ep.Abort() }

// finished tells whether the pVM has said that it sends no more, and all that it has sent is here.
func (c guestConn) finished() bool {
	switch tcp.EndpointState(c.ep.State()) {
	case tcp.StateCloseWait, tcp.StateLastAck, tcp.StateClosing, tcp.StateTimeWait:
		return true
	}
	return false
}

// chunk is what is copied at once, in bytes.
const chunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// join carries data between two ends until both directions have ended. An end that closes one direction has it
// closed at the other; one that resets has the other reset. It closes both. done is closed when all of a has gone to b.
func join(a, b end, done chan struct{}) {
	go func() {
		carry(a, b)
		close(done)
	}()
	carry(b, a)
	<-done
	a.Close()
	b.Close()
}

func carry(from, to end) {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	// Without their ReadFrom and WriteTo, which would take buffers of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf[:])
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		from.Abort()
		to.Abort()
	}
}

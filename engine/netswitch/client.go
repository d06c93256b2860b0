package netswitch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// callTimeout is how long a switch may take to answer.
const callTimeout = 10 * time.Second

// ErrGone says that the switch's process has ended, and with it all ports and their connections.
var ErrGone = errors.New("the network switch has gone")

// Options are how a switch is found or started.
type Options struct {
	Dir      string   // of its socket, lock and log
	Self     []string // the kxsh that becomes one
	Gateway  netip.Prefix
	Loopback bool
}

// Client is an engine's connection to its switch. Its methods may be called by any goroutine.
type Client struct {
	conn    *net.UnixConn
	mu      sync.Mutex // one request at a time
	answers chan response
	done    chan struct{}
}

// Exists tells whether there may be a switch of a folder.
func Exists(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, socketName))
	return err == nil
}

// Dial connects to the switch of o.Dir, and starts it if there is none. The ports of an earlier engine are
// still there: State tells of them.
func Dial(ctx context.Context, o Options) (*Client, error) {
	c, err := dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("network switch: %w", err)
	}
	return c, nil
}

func dial(ctx context.Context, o Options) (*Client, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("%s: must be an absolute path", o.Dir) // the switch has another working directory
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	// Through the descriptor: a socket's path has at most 107 bytes, a folder's more.
	dir, err := os.Open(o.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	socket := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName)
	lock, err := os.OpenFile(filepath.Join(o.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("%s: %w", lock.Name(), err)
	}
	c, st, err := connect(ctx, socket)
	// ErrGone: it was ended just now, and its socket is still closing.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, ErrGone) {
		if err = start(o, socket); err == nil {
			c, st, err = connect(ctx, socket)
		}
		if err != nil {
			os.Remove(socket)
		}
	}
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, ErrGone), errors.Is(err, unix.ECONNREFUSED):
		err = fmt.Errorf("it ended at once: see %s", filepath.Join(o.Dir, logName))
	case err == nil && (st.Gateway != o.Gateway || st.Loopback != o.Loopback):
		err = fmt.Errorf("one runs with gateway %v and loopback %v: end all pVMs with a network to have %v and %v", st.Gateway, st.Loopback, o.Gateway, o.Loopback)
	}
	if err != nil && c != nil {
		c.Close()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// start starts a switch that listens on a socket made here, so that whoever connects need not wait for it.
func start(o Options, socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	ln := os.NewFile(uintptr(fd), socketName)
	defer ln.Close()
	// Before it has a name: it must be nobody else's at any time.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return os.NewSyscallError("listen", err)
	}
	log, err := os.OpenFile(filepath.Join(o.Dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := append(o.Self[1:len(o.Self):len(o.Self)], Command, o.Dir, o.Gateway.String(), fmt.Sprint(o.Loopback))
	cmd := exec.Command(o.Self[0], argv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{ln}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // no zombie; the switch goes on without us
	return nil
}

// connect connects to a switch that answers.
func connect(ctx context.Context, socket string) (*Client, State, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, State{}, err
	}
	c := &Client{conn: conn, answers: make(chan response), done: make(chan struct{})}
	go c.read()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	st, err := c.State()
	if err != nil {
		c.Close()
		return nil, State{}, err
	}
	return c, st, nil
}

// read passes on answers, and finds the end of the switch.
func (c *Client) read() {
	defer close(c.done)
	in := json.NewDecoder(bufio.NewReader(c.conn))
	for {
		var r response
		if in.Decode(&r) != nil {
			c.conn.Close()
			return
		}
		select {
		case c.answers <- r:
		case <-time.After(callTimeout): // nobody asked
			c.conn.Close()
			return
		}
	}
}

// call sends a request and waits for its answer. One that does not come ends the connection: the next one would be
// taken for it.
func (c *Client) call(q *request) (*response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		return nil, ErrGone
	default:
	}
	c.conn.SetWriteDeadline(time.Now().Add(callTimeout))
	if err := q.send(c.conn); err != nil {
		var sys *net.OpError
		if errors.As(err, &sys) {
			c.conn.Close()
			return nil, ErrGone
		}
		return nil, err
	}
	select {
	case r := <-c.answers:
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		return &r, nil
	case <-c.done:
		return nil, ErrGone
	case <-time.After(callTimeout):
		c.conn.Close()
		return nil, fmt.Errorf("it did not answer for %v", callTimeout)
	}
}

// Done is closed when the switch has gone, or the client was closed.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection; ports and all else go on.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// State tells of the switch, its ports and what passed through them.
func (c *Client) State() (State, error) {
	r, err := c.call(&request{Op: "state"})
	if err != nil {
		return State{}, err
	}
	if r.State == nil {
		return State{}, ErrGone
	}
	return *r.State, nil
}

// Add is Switch.Add.
func (c *Client) Add(p Port) error { return c.do(&request{Op: "add", Port: &p}) }

// Remove is Switch.Remove.
func (c *Client) Remove(id int) error { return c.do(&request{Op: "remove", ID: id}) }

// SetEvents is Switch.SetEvents.
func (c *Client) SetEvents(id int, e Events) error {
	return c.do(&request{Op: "events", ID: id, Events: &e})
}

// Publish is Switch.Publish.
func (c *Client) Publish(p Publication) error {
	return c.do(&request{Op: "publish", Publication: &p})
}

// Unpublish is Switch.Unpublish.
func (c *Client) Unpublish(address string) error {
	return c.do(&request{Op: "unpublish", Address: address})
}

// Spare says that nobody will need the switch: without ports it leaves as soon as this connection is closed, and what pVMs have sent is delivered.
func (c *Client) Spare() error { return c.do(&request{Op: "spare"}) }

func (c *Client) do(q *request) error {
	_, err := c.call(q)
	return err
}

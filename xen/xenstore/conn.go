// Package xenstore is a client of xenstore, the small database that Xen's tools share, and keeps the
// names of pVMs there for them. Nothing of kxsh needs it: it may be missing, stop, or hang at any time.
package xenstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience bounds every wait for xenstored; where a pVM cannot be without, devicePatience does: an emulated dom0 may be busy for a second.
	patience       = time.Second
	devicePatience = 10 * time.Second
	// window is how many requests are under way at once.
	window = 32
	// conflicts is how often a transaction that met another is tried.
	conflicts = 10
	// restarts is how often a list that changes while it is read is begun anew.
	restarts = 10
)

// Where xenstored is reached: its socket, or through the kernel where it lives in a domain of its own.
const (
	socketPath = "/run/xenstored/socket"
	devicePath = "/dev/xen/xenbus"
)

// transport is a socket or the kernel's device, which takes one message a write.
type transport interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// conn is a connection, for one goroutine. After an error that is no errno it is of no more use, and every call returns that error: replies to
// what was asked before would be taken for others.
type conn struct {
	t        transport
	r        *bufio.Reader
	next     uint32 // request number
	patience time.Duration
	broken   error
}

func newConn(t transport) *conn { return &conn{t: t, r: bufio.NewReader(t), patience: patience} }

// dialSocket connects to xenstored's socket.
func dialSocket(wait time.Duration) (*conn, error) {
	s, err := net.DialTimeout("unix", socketPath, wait)
	if err != nil {
		return nil, err
	}
	c := newConn(s)
	c.patience = wait
	return greet(c)
}

// dialDevice goes through the kernel.
func dialDevice() (*conn, error) {
	f, err := os.OpenFile(devicePath, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return greet(newConn(f))
}

// greet makes sure that somebody answers, before anything is asked that would be done late.
func greet(c *conn) (*conn, error) {
	got, err := c.exchange(0, []request{{op: opDomainPath, args: []string{"0", ""}}})
	if err == nil && got[0].err != nil {
		err = got[0].err
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) close() error { return c.t.Close() }

// request is an operation with its arguments; the last one is not ended by a NUL, the others are.
type request struct {
	op   uint32
	args []string
}

func (r *request) what() string { return strings.TrimSpace(opNames[r.op] + " " + r.args[0]) }

// reply is the answer: a body or an errno.
type reply struct {
	body []byte
	err  error
}

// exchange makes requests, several at a time, and returns their replies in the order of the requests.
// The error is the connection's.
func (c *conn) exchange(tx uint32, reqs []request) ([]reply, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	replies := make([]reply, 0, len(reqs))
	for len(reqs) > 0 {
		n := min(len(reqs), window)
		got, err := c.batch(tx, reqs[:n])
		if err != nil {
			c.broken = fmt.Errorf("xenstore: %w", err)
			return nil, c.broken
		}
		replies, reqs = append(replies, got...), reqs[n:]
	}
	return replies, nil
}

func (c *conn) batch(tx uint32, reqs []request) ([]reply, error) {
	if err := c.t.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return nil, err
	}
	first := c.next
	for i := range reqs {
		b, err := (&message{op: reqs[i].op, req: c.next, tx: tx, body: []byte(strings.Join(reqs[i].args, "\x00"))}).encode()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", reqs[i].what(), err)
		}
		c.next++
		if _, err := c.t.Write(b); err != nil {
			return nil, err
		}
	}
	replies := make([]reply, len(reqs))
	answered := make([]bool, len(reqs))
	for range reqs {
		m, err := readMessage(c.r)
		if err != nil {
			return nil, err
		}
		i := int(m.req - first)
		if i < 0 || i >= len(reqs) || answered[i] || m.tx != tx && reqs[i].op != opTransactionStart {
			return nil, fmt.Errorf("%w: an answer to no question", errProtocol)
		}
		answered[i] = true
		switch m.op {
		case reqs[i].op:
			replies[i].body = m.body
		case opError:
			if replies[i].err = errorOf(m.body); errors.Is(replies[i].err, errProtocol) {
				return nil, replies[i].err
			}
		default:
			return nil, fmt.Errorf("%w: a reply of type %d to %s", errProtocol, m.op, reqs[i].what())
		}
	}
	return replies, nil
}

// read returns the values of paths, "" for those that do not exist or may not be read.
func (c *conn) read(tx uint32, paths ...string) ([]string, error) {
	reqs := make([]request, len(paths))
	for i, p := range paths {
		if !validPath(p) {
			return nil, fmt.Errorf("xenstore: read %q: not a path", p)
		}
		reqs[i] = request{opRead, []string{p, ""}}
	}
	replies, err := c.exchange(tx, reqs)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(paths))
	for i, r := range replies {
		values[i] = string(r.body)
	}
	return values, nil
}

// change writes and removes, in this order of the requests; what is not there needs no removing.
func (c *conn) change(tx uint32, reqs ...request) error {
	for i := range reqs {
		if !validPath(reqs[i].args[0]) {
			return fmt.Errorf("xenstore: %s: not a path", reqs[i].what())
		}
	}
	replies, err := c.exchange(tx, reqs)
	if err != nil {
		return err
	}
	for i, r := range replies {
		if r.err != nil && !(reqs[i].op == opRemove && errors.Is(r.err, unix.ENOENT)) {
			return fmt.Errorf("xenstore: %s: %w", reqs[i].what(), r.err)
		}
	}
	return nil
}

func set(path, value string) request { return request{opWrite, []string{path, value}} }
func remove(path string) request     { return request{opRemove, []string{path, ""}} }

// transaction does f as one: nobody sees half of it. f may be done several times.
func (c *conn) transaction(f func(tx uint32) error) error {
	for try := 1; ; try++ {
		got, err := c.exchange(0, []request{{opTransactionStart, []string{"", ""}}})
		if err == nil {
			err = got[0].err
		}
		if err != nil {
			return err
		}
		id, _, _ := strings.Cut(string(got[0].body), "\x00")
		tx, err := strconv.ParseUint(id, 10, 32)
		if err != nil || tx == 0 {
			return fmt.Errorf("xenstore: %w: transaction %.32q", errProtocol, id)
		}
		verdict := "T"
		failure := f(uint32(tx))
		if failure != nil {
			verdict = "F"
		}
		got, err = c.exchange(uint32(tx), []request{{opTransactionEnd, []string{verdict, ""}}})
		switch {
		case err != nil:
			return err
		case failure != nil:
			return failure
		case got[0].err == nil:
			return nil
		case !errors.Is(got[0].err, unix.EAGAIN) || try == conflicts:
			return fmt.Errorf("xenstore: transaction: %w", got[0].err)
		}
	}
}

// list returns the names below a path; none if it does not exist. It is read in parts, for a reply holds
// no more than payloadMax bytes.
func (c *conn) list(path string) ([]string, error) {
	var all []byte
	generation := ""
	for try := 0; try < restarts; {
		got, err := c.exchange(0, []request{{opDirectoryPart, []string{path, strconv.Itoa(len(all)), ""}}})
		if err != nil {
			return nil, err
		}
		if errors.Is(got[0].err, unix.ENOENT) {
			return nil, nil
		}
		if got[0].err != nil {
			return nil, fmt.Errorf("xenstore: directory part %s: %w", path, got[0].err)
		}
		gen, part, ok := strings.Cut(string(got[0].body), "\x00")
		switch {
		case !ok:
			return nil, fmt.Errorf("xenstore: %w: a list without generation", errProtocol)
		case len(all) > 0 && gen != generation:
			all = nil
			try++
			continue
		}
		generation = gen
		// The end of the list is an empty name.
		if rest, end := strings.CutSuffix(part, "\x00\x00"); end || part == "\x00" || part == "" {
			all = append(all, rest...)
			return splitNames(string(all)), nil
		}
		all = append(all, part...)
		if len(all) > listMax {
			return nil, fmt.Errorf("xenstore: %w: a list without end", errProtocol)
		}
	}
	return nil, fmt.Errorf("xenstore: directory part %s: it changes all the time", path)
}

// listMax bounds a list: more than 32752 domains do not exist.
const listMax = 1 << 20

func splitNames(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == 0 })
}

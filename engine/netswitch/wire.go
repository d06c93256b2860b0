package netswitch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// The control protocol: on a stream socket each side sends lines of JSON, a response for each request. The files
// of a request come with its first byte (SCM_RIGHTS), in the order of files below.

const (
	maxLine  = 64 << 10 // bytes of a request
	maxFiles = 4        // of a request
)

type request struct {
	Op          string       `json:"op"` // state, traffic, add, remove, events, publish, unpublish
	Port        *Port        `json:"port,omitempty"`
	ID          int          `json:"id,omitempty"`
	Events      *Events      `json:"events,omitempty"`
	Publication *Publication `json:"publication,omitempty"`
	Address     string       `json:"address,omitempty"`
	Files       int          `json:"files,omitempty"`
}

type response struct {
	Error string `json:"error,omitempty"`
	State *State `json:"state,omitempty"`

	Traffic []wireTraffic `json:"traffic,omitempty"`
}

// State is all that a switch tells of itself.
type State struct {
	PID       int           `json:"pid"`
	Gateway   netip.Prefix  `json:"gateway"`
	Loopback  bool          `json:"loopback"`
	Ports     []PortInfo    `json:"ports"`
	Published []Publication `json:"published"`
}

// files are where those that come with a request go to.
func (r *request) files() []**os.File {
	switch {
	case r.Port != nil && r.Port.Interface != "":
		return nil
	case r.Port != nil:
		e := &r.Port.Events
		return []**os.File{&r.Port.Memory, &e.Shared, &e.State, &e.Process}
	case r.Events != nil:
		return []**os.File{&r.Events.Shared, &r.Events.State, &r.Events.Process}
	}
	return nil
}

func (r *request) close() {
	for _, f := range r.files() {
		if *f != nil {
			(*f).Close()
		}
	}
}

// send sends a request.
func (r *request) send(c *net.UnixConn) error {
	var fds []int
	for _, f := range r.files() {
		if *f == nil {
			return errors.New("a descriptor is missing")
		}
		fds = append(fds, int((*f).Fd()))
	}
	r.Files = len(fds)
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if len(line) > maxLine {
		return fmt.Errorf("a request of %d bytes: must have at most %d", len(line), maxLine)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(line, rights, nil)
	if err == nil && n < len(line) {
		_, err = c.Write(line[n:])
	}
	return err
}

// receiver takes requests from a connection.
type receiver struct {
	conn *net.UnixConn
	line []byte // what was read behind the last request
	fds  []int  // that came, and belong to no request yet
}

// next is the next request. The caller closes it.
func (r *receiver) next() (*request, error) {
	for {
		if end := bytes.IndexByte(r.line, '\n'); end >= 0 {
			var q request
			err := json.Unmarshal(r.line[:end], &q)
			r.line = append([]byte(nil), r.line[end+1:]...)
			if err != nil {
				return nil, err
			}
			return &q, r.attach(&q)
		}
		if len(r.line) > maxLine {
			return nil, fmt.Errorf("a request of more than %d bytes", maxLine)
		}
		if err := r.read(); err != nil {
			return nil, err
		}
	}
}

func (r *receiver) read() error {
	buf, oob := make([]byte, maxLine), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, m, flags, _, err := r.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		return err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return err
		}
		r.fds = append(r.fds, fds...)
	}
	r.line = append(r.line, buf[:n]...)
	if flags&unix.MSG_CTRUNC != 0 || len(r.fds) > maxFiles {
		return fmt.Errorf("more than %d files with a request", maxFiles)
	}
	return nil
}

// attach gives a request its files. There may be more already, of the request behind it: the kernel gives those
// with the last bytes read.
func (r *receiver) attach(q *request) error {
	places := q.files()
	left := len(r.fds) - q.Files
	if q.Files != len(places) || left < 0 || left > 0 && len(r.line) == 0 {
		err := fmt.Errorf("%s: %d files came, %d were announced, it takes %d", q.Op, len(r.fds), q.Files, len(places))
		r.drop()
		return err
	}
	for i := range places {
		*places[i] = os.NewFile(uintptr(r.fds[i]), "memory of the port")
	}
	r.fds = r.fds[len(places):]
	return nil
}

func (r *receiver) drop() {
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	r.fds = nil
}

func (r *receiver) close() {
	r.drop()
	r.conn.Close()
}

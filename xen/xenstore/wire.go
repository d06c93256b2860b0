package xenstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// Message types, limits and the header's layout. Source: xen/include/public/io/xs_wire.h.
const (
	opRead             = 2
	opTransactionStart = 6
	opTransactionEnd   = 7
	opDomainPath       = 10
	opWrite            = 11
	opRemove           = 13
	opError            = 16
	opDirectoryPart    = 22

	headerSize = 16
	payloadMax = 4096
	pathMax    = 3072
)

var opNames = map[uint32]string{
	opRead: "read", opTransactionStart: "transaction start", opTransactionEnd: "transaction end",
	opDomainPath: "get domain path", opWrite: "write", opRemove: "rm", opDirectoryPart: "directory part",
}

// errnos are the errors that xenstored names.
var errnos = map[string]unix.Errno{
	"EINVAL": unix.EINVAL, "EACCES": unix.EACCES, "EEXIST": unix.EEXIST, "EISDIR": unix.EISDIR, "ENOENT": unix.ENOENT,
	"ENOMEM": unix.ENOMEM, "ENOSPC": unix.ENOSPC, "EIO": unix.EIO, "ENOTEMPTY": unix.ENOTEMPTY, "ENOSYS": unix.ENOSYS,
	"EROFS": unix.EROFS, "EBUSY": unix.EBUSY, "EAGAIN": unix.EAGAIN, "EISCONN": unix.EISCONN, "E2BIG": unix.E2BIG,
	"EPERM": unix.EPERM,
}

// errProtocol says that the other end does not speak the protocol; the connection is of no more use.
var errProtocol = errors.New("not xenstore's protocol")

// message is one request or reply.
type message struct {
	op, req, tx uint32
	body        []byte
}

// encode lays a message out: type, request, transaction, length, all little endian, then the body.
func (m *message) encode() ([]byte, error) {
	if len(m.body) > payloadMax {
		return nil, fmt.Errorf("message of %d bytes: at most %d", len(m.body), payloadMax)
	}
	b := make([]byte, 0, headerSize+len(m.body))
	for _, word := range []uint32{m.op, m.req, m.tx, uint32(len(m.body))} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return append(b, m.body...), nil
}

// readMessage reads one message. A longer one than the protocol allows is not read.
func readMessage(r io.Reader) (message, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return message{}, err
	}
	le := binary.LittleEndian
	m := message{op: le.Uint32(h[0:]), req: le.Uint32(h[4:]), tx: le.Uint32(h[8:])}
	n := le.Uint32(h[12:])
	if n > payloadMax {
		return message{}, fmt.Errorf("%w: a message of %d bytes", errProtocol, n)
	}
	m.body = make([]byte, n)
	if _, err := io.ReadFull(r, m.body); err != nil {
		return message{}, fmt.Errorf("%w: a message cut short", errProtocol)
	}
	return m, nil
}

// errorOf reads the body of an error reply.
func errorOf(body []byte) error {
	name, _, _ := strings.Cut(string(body), "\x00")
	if e, ok := errnos[name]; ok {
		return e
	}
	return fmt.Errorf("%w: error %.32q", errProtocol, name)
}

// validPath tells whether p is an absolute path as docs/misc/xenstore.txt of Xen allows it.
func validPath(p string) bool {
	if len(p) < 2 || len(p) > pathMax || p[0] != '/' || p[len(p)-1] == '/' || strings.Contains(p, "//") {
		return false
	}
	for _, c := range []byte(p) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '/', c == '_', c == '@':
		default:
			return false
		}
	}
	return true
}

package files

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Types of requests; a reply has the type of its request plus one.
const (
	rlerror    = 7
	tstatfs    = 8
	tlopen     = 12
	tlcreate   = 14
	tsymlink   = 16
	treadlink  = 22
	tgetattr   = 24
	tsetattr   = 26
	treaddir   = 40
	tfsync     = 50
	tlink      = 70
	tmkdir     = 72
	trenameat  = 74
	tunlinkat  = 76
	tversion   = 100
	tattach    = 104
	twalk      = 110
	tread      = 116
	twrite     = 118
	tclunk     = 120
	headSize   = 7  // size, type, tag
	ioHead     = 24 // of a message with data, at most
	qidSize    = 13
	walkMax    = 16
	version    = "9P2000.L"
	minMessage = 4096
)

// Request is what a pVM asks for, taken apart from front to back. What it lacks is 0 or empty, and short is set.
type request struct {
	rest  []byte
	short bool
}

func (r *request) take(n int) []byte {
	if n > len(r.rest) {
		r.short = true
		r.rest = nil
		return make([]byte, min(n, 8))
	}
	p := r.rest[:n:n]
	r.rest = r.rest[n:]
	return p
}

func (r *request) u8() byte    { return r.take(1)[0] }
func (r *request) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *request) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *request) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *request) text() string {
	n := int(r.u16())
	if n > len(r.rest) {
		r.short = true
		return ""
	}
	return string(r.take(n))
}

// reply is built from front to back in memory that is large enough for all but data, whose size the request bounds.
type reply struct{ b []byte }

func (w *reply) u8(v byte)     { w.b = append(w.b, v) }
func (w *reply) u16(v uint16)  { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *reply) u32(v uint32)  { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *reply) u64(v uint64)  { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *reply) text(s string) { w.u16(uint16(len(s))); w.b = append(w.b, s...) }

// status is what a file is.
type status struct {
	unix.Stat_t
	born uint32 // tells it from one that has got its number later; 0 where the host does not know
}

func statusOf(fd int) (st status, err error) {
	if err = unix.Fstat(fd, &st.Stat_t); err != nil {
		return st, err
	}
	var x unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BTIME, &x) == nil && x.Mask&unix.STATX_BTIME != 0 {
		st.born = uint32(x.Btime.Sec)*1000000007 ^ x.Btime.Nsec
	}
	return st, nil
}

// qid is what a file is: its kind, and number and birth, which no other file has had. Nobody caches, so the version need not tell of changes.
func (w *reply) qid(st *status) {
	var kind byte
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		kind = 0x80
	case unix.S_IFLNK:
		kind = 0x02
	}
	w.u8(kind)
	w.u32(st.born)
	w.u64(st.Ino)
}

// finish fills in the head.
func (w *reply) finish(kind byte, tag uint16) []byte {
	binary.LittleEndian.PutUint32(w.b, uint32(len(w.b)))
	w.b[4] = kind
	binary.LittleEndian.PutUint16(w.b[5:], tag)
	return w.b
}

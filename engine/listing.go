package engine

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
	"unsafe"
)

// To write and read a listing as JSON takes several times as long as everything else that ps does. So our
// own client asks for listingType: the fields of Snapshot in their order, integers as varints (package
// encoding/binary), texts and lists behind their length. Everybody else gets JSON.
const listingType = "application/x-kxsh-listing"

// encodeListing is the inverse of decodeListing.
func encodeListing(s *Snapshot) []byte {
	w := listingWriter{b: make([]byte, 0, 256+len(s.Processes)*192)}
	w.time(s.Time)
	w.text(s.Host)
	w.text(s.Hypervisor)
	w.int(int(s.Uptime))
	for _, p := range []PoolState{s.Pool.PoolState, s.Pool.Placeholders} {
		w.int(p.Ready)
		w.int(p.Want)
	}
	w.int(len(s.Processes))
	for i := range s.Processes {
		w.process(&s.Processes[i])
	}
	return w.b
}

type listingWriter struct{ b []byte }

func (w *listingWriter) int(n int)     { w.b = binary.AppendVarint(w.b, int64(n)) }
func (w *listingWriter) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *listingWriter) text(s string) { w.uint(uint64(len(s))); w.b = append(w.b, s...) }

func (w *listingWriter) texts(list []string) {
	w.int(len(list))
	for _, s := range list {
		w.text(s)
	}
}

func (w *listingWriter) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

// time keeps what JSON does: the moment, to the nanosecond, and whether it is known.
func (w *listingWriter) time(t time.Time) {
	w.bool(!t.IsZero())
	if !t.IsZero() {
		w.int(int(t.UnixNano()))
	}
}

func (w *listingWriter) process(p *Process) {
	w.int(p.PID)
	w.int(p.PPID)
	w.int(p.Family)
	w.text(p.Name)
	w.text(p.Stat)
	w.uint(math.Float64bits(p.CPU))
	w.int(int(p.Time))
	w.uint(p.Memory)
	w.uint(p.MaxMem)
	w.uint(p.Shared)
	w.uint(p.CoW)
	w.text(p.Image)
	w.texts(p.Args)
	w.texts(p.Libs)
	w.int(p.VCPUs)
	w.time(p.Started)
	w.int(p.UID)
	w.int(p.HostPID)
	w.text(p.IP)
	w.text(p.Vif)
	w.bool(p.Traffic != nil)
	if t := p.Traffic; t != nil {
		for _, n := range t.counts() {
			w.uint(*n)
		}
		for _, rate := range t.rates() {
			w.bool(*rate != nil)
			if *rate != nil {
				w.uint(**rate)
			}
		}
	}
	w.bool(p.TTY)
	w.bool(p.Foreign)
	w.bool(p.Exit != nil)
	if x := p.Exit; x != nil {
		w.int(x.Code)
		w.int(x.Signal)
		w.text(x.Reason)
		w.time(x.Time)
		w.uint(uint64(x.InputTaken))
		w.uint(uint64(x.InputUnread))
		w.bool(x.Unheard)
	}
}

// counts and rates are the fields of a Traffic.
func (t *Traffic) counts() []*uint64 {
	return []*uint64{&t.ReceivedBytes, &t.ReceivedPackets, &t.SentBytes, &t.SentPackets, &t.Dropped}
}
func (t *Traffic) rates() []**uint64 { return []**uint64{&t.ReceiveRate, &t.SendRate} }

var errListing = errors.New("a listing that cannot be read: is it another version of kxsh?")

// decodeListing reads what encodeListing wrote. b must not change afterwards: the texts are parts of it.
func decodeListing(b []byte) (s *Snapshot, err error) {
	r := listingReader{b}
	defer func() {
		if v := recover(); v != nil {
			if v != any(errListing) {
				panic(v)
			}
			s, err = nil, errListing
		}
	}()
	s = &Snapshot{Time: r.time(), Host: r.text(), Hypervisor: r.text(), Uptime: time.Duration(r.int())}
	s.Pool = Pool{PoolState{Ready: r.int(), Want: r.int()}, PoolState{Ready: r.int(), Want: r.int()}}
	s.Processes = make([]Process, r.length())
	for i := range s.Processes {
		r.process(&s.Processes[i])
	}
	if len(r.b) != 0 {
		return nil, errListing
	}
	return s, nil
}

// listingReader panics with errListing where there is less than there should be.
type listingReader struct{ b []byte }

func (r *listingReader) take(n int) []byte {
	if n > len(r.b) {
		panic(errListing)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *listingReader) int() int {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		panic(errListing)
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *listingReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		panic(errListing)
	}
	r.b = r.b[n:]
	return v
}

// length is how many elements follow, each of a byte at least.
func (r *listingReader) length() int {
	n := r.int()
	if n < 0 || n > len(r.b) {
		panic(errListing)
	}
	return n
}

func (r *listingReader) text() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		panic(errListing)
	}
	b := r.take(int(n))
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// texts fills list.
func (r *listingReader) texts(list []string) []string {
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func (r *listingReader) bool() bool { return r.take(1)[0] != 0 }

func (r *listingReader) time() time.Time {
	if !r.bool() {
		return time.Time{}
	}
	return time.Unix(0, int64(r.int())).UTC()
}

func (r *listingReader) process(p *Process) {
	p.PID = r.int()
	p.PPID = r.int()
	p.Family = r.int()
	p.Name = r.text()
	p.Stat = r.text()
	p.CPU = math.Float64frombits(r.uint())
	p.Time = time.Duration(r.int())
	p.Memory = r.uint()
	p.MaxMem = r.uint()
	p.Shared = r.uint()
	p.CoW = r.uint()
	p.Image = r.text()
	p.Args = r.texts(make([]string, r.length()))
	if n := r.length(); n > 0 {
		p.Libs = r.texts(make([]string, n))
	}
	p.VCPUs = r.int()
	p.Started = r.time()
	p.UID = r.int()
	p.HostPID = r.int()
	p.IP = r.text()
	p.Vif = r.text()
	if r.bool() {
		p.Traffic = new(Traffic)
		for _, n := range p.Traffic.counts() {
			*n = r.uint()
		}
		for _, rate := range p.Traffic.rates() {
			if r.bool() {
				n := r.uint()
				*rate = &n
			}
		}
	}
	p.TTY = r.bool()
	p.Foreign = r.bool()
	if r.bool() {
		p.Exit = &Exit{Code: r.int(), Signal: r.int(), Reason: r.text(), Time: r.time(), InputTaken: uint32(r.uint()), InputUnread: uint32(r.uint()), Unheard: r.bool()}
	}
}

// Package netif is the back end's side of Xen's network rings (xen/include/public/io/netif.h), over memory
// that is shared with a pVM: the pVM's driver cannot tell it from Linux's netback.
//
// The memory is the net area: page 0 is the ring of frames that the pVM sends (tx), page 1 that of frames for
// it (rx), and the pages behind them are buffers. Grant reference n is page n of the area. No feature of the
// protocol is offered: a frame has at most MaxFrame bytes and lies in one page, with its checksums made.
//
// The pVM writes to the area at any time and may be hostile. Every request is copied once, the copy is
// checked, and only the copy is used; a frame is copied before anybody looks at it; the indices that are the
// back end's to write live in its own memory. An index that cannot be ends the ring with ErrRing: there is no
// way to go on. A request that cannot be is answered with an error, and harms its sender alone.
package netif

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

const (
	PageSize    = 4096
	RingSize    = 256  // requests of a ring
	MaxFrame    = 1514 // bytes: an Ethernet header and 1500
	MinFrame    = 14   // an Ethernet header
	TxPage      = 0
	RxPage      = 1
	FirstBuffer = 2       // its page, and its grant reference
	MaxPages    = 1 << 16 // of an area
)

// Flags of tx requests, and status of responses.
const (
	TxCsumBlank     = 1 << 0
	TxDataValidated = 1 << 1
	TxMoreData      = 1 << 2
	TxExtraInfo     = 1 << 3

	StatusOK    = 0
	StatusError = -1
)

// ErrRing says that a pVM broke the protocol of its rings.
var ErrRing = errors.New("the pVM wrote nonsense to its network ring")

// Header begins a page with a ring; all of it is accessed atomically. It is struct netif_tx_sring and struct
// netif_rx_sring, whose entries follow.
type Header struct {
	ReqProd, ReqEvent, RspProd, RspEvent uint32
	_                                    [48]byte
}

const (
	headerSize = 64
	txEntry    = 12 // bytes of union netif_tx_sring_entry
	rxEntry    = 8
)

// Ring is a ring's header and the address of its entries.
type Ring struct {
	*Header
	page []byte
	size int // of an entry
}

// Rings returns both rings of an area.
func Rings(area []byte) (tx, rx Ring) {
	ring := func(page, size int) Ring {
		p := area[page*PageSize:][:PageSize:PageSize]
		return Ring{Header: (*Header)(unsafe.Pointer(&p[0])), page: p, size: size}
	}
	return ring(TxPage, txEntry), ring(RxPage, rxEntry)
}

// Word is 32-bit word n of the entry for a free-running index.
func (r Ring) Word(index uint32, n int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.page[headerSize+int(index%RingSize)*r.size+4*n]))
}

// back is what the ends of both rings have in common. Each request is answered before the next is taken, so
// that one index counts both.
type back struct {
	Ring
	area   []byte
	done   uint32 // requests answered
	pushed uint32 // of them, those that the pVM has been told of
	name   string
}

// Check tells whether memory can be a net area. One that does not begin at a page is a bug of the caller.
func Check(area []byte) error {
	if n := len(area) / PageSize; len(area)%PageSize != 0 || n <= FirstBuffer || n > MaxPages {
		return fmt.Errorf("net area of %d bytes: must be %d to %d pages of %d bytes", len(area), FirstBuffer+1, MaxPages, PageSize)
	}
	if uintptr(unsafe.Pointer(&area[0]))%PageSize != 0 {
		panic("netif: area does not begin at a page")
	}
	return nil
}

// Attach goes on where an earlier back end of this area ended: what it took and did not answer comes again.
func Attach(area []byte) (*Tx, *Rx, error) {
	if err := Check(area); err != nil {
		return nil, nil, err
	}
	tx, rx := Rings(area)
	t := &Tx{back: back{Ring: tx, area: area, name: "tx"}}
	r := &Rx{back: back{Ring: rx, area: area, name: "rx"}}
	for _, b := range []*back{&t.back, &r.back} {
		b.done = atomic.LoadUint32(&b.RspProd)
		b.pushed = b.done
	}
	return t, r, nil
}

// waiting is the number of requests that have not been answered.
func (b *back) waiting() (uint32, error) {
	n := atomic.LoadUint32(&b.ReqProd) - b.done
	if n > RingSize {
		return 0, fmt.Errorf("%w: %s holds %d requests of %d", ErrRing, b.name, n, RingSize)
	}
	return n, nil
}

// Push publishes the responses; notify: the pVM has asked to be told of one of them.
// RING_PUSH_RESPONSES_AND_CHECK_NOTIFY.
func (b *back) Push() (notify bool) {
	if b.pushed == b.done {
		return false
	}
	old := b.pushed
	b.pushed = b.done
	atomic.SwapUint32(&b.RspProd, b.done) // a store that the race detector makes is no barrier before the load
	return b.done-atomic.LoadUint32(&b.RspEvent) < b.done-old
}

// Sleep asks the pVM for a bell at its next request. It returns false if there is one already.
// RING_FINAL_CHECK_FOR_REQUESTS.
func (b *back) Sleep() (bool, error) {
	atomic.SwapUint32(&b.ReqEvent, b.done+1) // as in Push
	n, err := b.waiting()
	return n == 0, err
}

// buffer returns n bytes at an offset of the page that a grant reference means, nil if it means none.
func (b *back) buffer(ref uint32, offset, n int) []byte {
	if ref < FirstBuffer || uint64(ref) >= uint64(len(b.area)/PageSize) || offset+n > PageSize {
		return nil
	}
	return b.area[int(ref)*PageSize+offset:][:n:n]
}

// Tx takes the frames that a pVM sends. It is for one goroutine.
type Tx struct {
	back
	chain bool // within a frame of several requests
}

// Next copies the next frame to dst, which has MaxFrame bytes, and answers its request; Push tells the pVM. n
// is 0 for a request that was refused. ok is false when there is none.
func (t *Tx) Next(dst []byte) (n int, ok bool, err error) {
	waiting, err := t.waiting()
	if waiting == 0 {
		return 0, false, err
	}
	ref := atomic.LoadUint32(t.Word(t.done, 0))
	place := atomic.LoadUint32(t.Word(t.done, 1)) // offset, flags
	what := atomic.LoadUint32(t.Word(t.done, 2))  // id, size
	offset, flags, id, size := int(place&0xffff), place>>16, what&0xffff, int(what>>16)
	if flags&TxExtraInfo != 0 {
		// The next entry would not be a request.
		return 0, false, fmt.Errorf("%w: a tx request with extra information, which was not offered", ErrRing)
	}
	var frame []byte
	if size >= MinFrame && size <= MaxFrame && flags&(TxMoreData|TxCsumBlank) == 0 && !t.chain {
		frame = t.buffer(ref, offset, size)
	}
	t.chain = flags&TxMoreData != 0
	status := int16(StatusOK)
	if frame == nil {
		status = StatusError
	}
	n = copy(dst, frame)
	atomic.StoreUint32(t.Word(t.done, 0), id|uint32(uint16(status))<<16)
	t.done++
	return n, true, nil
}

// Rx puts frames where a pVM wants them. It is for one goroutine at a time.
type Rx struct{ back }

// Put copies a frame of at most MaxFrame bytes to the pVM; Push tells it. It returns false if the pVM has no
// room.
func (r *Rx) Put(frame []byte) (bool, error) {
	n, err := r.waiting()
	if err != nil {
		return false, err
	}
	for ; n > 0; n-- {
		id := atomic.LoadUint32(r.Word(r.done, 0)) & 0xffff
		buf := r.buffer(atomic.LoadUint32(r.Word(r.done, 1)), 0, len(frame))
		status := int16(copy(buf, frame))
		if buf == nil {
			status = StatusError
		}
		atomic.StoreUint32(r.Word(r.done, 0), id) // offset 0
		atomic.StoreUint32(r.Word(r.done, 1), uint32(uint16(status))<<16)
		r.done++
		if buf != nil {
			return true, nil
		}
	}
	return false, nil
}

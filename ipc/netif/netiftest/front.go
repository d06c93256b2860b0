// Package netiftest is the front end of package netif, as a pVM's driver is one, for tests.
package netiftest

import (
	"errors"
	"fmt"
	"sync/atomic"

	"kxsh/ipc/netif"
)

// half is the size of a buffer: two in a page.
const half = netif.PageSize / 2

// Front is a pVM's end of a net area. Send and Receive are for one goroutine each.
type Front struct {
	Tx, Rx netif.Ring

	area     []byte
	buffers  int // of each direction
	free     []uint16
	txReq    uint32 // requests made
	txRsp    uint32 // responses seen
	rxReq    uint32
	rxRsp    uint32
	Rejected int // frames that the back end did not take
}

// New makes both rings of an area and offers room for frames. notify: the back end wants a bell.
func New(area []byte) (f *Front, notify bool, err error) {
	if err := netif.Check(area); err != nil {
		return nil, false, err
	}
	f = &Front{area: area}
	f.Tx, f.Rx = netif.Rings(area)
	for _, r := range []netif.Ring{f.Tx, f.Rx} {
		atomic.StoreUint32(&r.ReqEvent, 1)
		atomic.StoreUint32(&r.RspEvent, 1)
	}
	f.buffers = min(len(area)/netif.PageSize-netif.FirstBuffer, netif.RingSize)
	for i := range f.buffers {
		f.free = append(f.free, uint16(i))
		f.offer(uint16(i))
	}
	return f, f.pushRequests(f.Rx, 0, f.rxReq), nil
}

// page is the grant reference of page i of the buffers. Its first half is for a frame that comes, its second for
// one that goes.
func page(i uint16) uint32 { return netif.FirstBuffer + uint32(i) }

// offer gives the first half of page i to the back end.
func (f *Front) offer(i uint16) {
	atomic.StoreUint32(f.Rx.Word(f.rxReq, 0), uint32(i))
	atomic.StoreUint32(f.Rx.Word(f.rxReq, 1), page(i))
	f.rxReq++
}

// pushRequests is RING_PUSH_REQUESTS_AND_CHECK_NOTIFY.
func (f *Front) pushRequests(r netif.Ring, old, prod uint32) (notify bool) {
	atomic.SwapUint32(&r.ReqProd, prod) // a store that the race detector makes is no barrier before the load
	return prod-atomic.LoadUint32(&r.ReqEvent) < prod-old
}

// Send sends a frame. It returns false if there is no room until the back end has answered.
func (f *Front) Send(frame []byte) (ok, notify bool, err error) {
	if err := f.answers(); err != nil {
		return false, false, err
	}
	if len(f.free) == 0 {
		// RING_FINAL_CHECK_FOR_RESPONSES
		atomic.SwapUint32(&f.Tx.RspEvent, f.txRsp+1)
		if err := f.answers(); err != nil || len(f.free) == 0 {
			return false, false, err
		}
	}
	i := f.free[len(f.free)-1]
	f.free = f.free[:len(f.free)-1]
	copy(f.area[page(i)*netif.PageSize+half:][:half], frame)
	f.Request(page(i), half, 0, i, len(frame))
	return true, f.pushRequests(f.Tx, f.txReq-1, f.txReq), nil
}

// Request writes a tx request, whatever it says, without telling of it.
func (f *Front) Request(ref uint32, offset int, flags uint32, id uint16, size int) {
	atomic.StoreUint32(f.Tx.Word(f.txReq, 0), ref)
	atomic.StoreUint32(f.Tx.Word(f.txReq, 1), uint32(offset)|flags<<16)
	atomic.StoreUint32(f.Tx.Word(f.txReq, 2), uint32(id)|uint32(size)<<16)
	f.txReq++
}

// PushTx tells of the requests written.
func (f *Front) PushTx() { atomic.StoreUint32(&f.Tx.ReqProd, f.txReq) }

// answers takes the back end's answers to what was sent.
func (f *Front) answers() error {
	for prod := atomic.LoadUint32(&f.Tx.RspProd); f.txRsp != prod; f.txRsp++ {
		if prod-f.txRsp > f.txReq-f.txRsp {
			return fmt.Errorf("%d answers to %d requests", prod-f.txRsp, f.txReq-f.txRsp)
		}
		word := atomic.LoadUint32(f.Tx.Word(f.txRsp, 0))
		if int16(word>>16) != netif.StatusOK {
			f.Rejected++
		}
		if int(word&0xffff) < f.buffers {
			f.free = append(f.free, uint16(word))
		}
	}
	return nil
}

// Receive copies the next frame to dst and offers its room again. ok is false if there is none: Sleep, then
// wait for an event.
func (f *Front) Receive(dst []byte) (n int, ok, notify bool, err error) {
	if atomic.LoadUint32(&f.Rx.RspProd) == f.rxRsp {
		return 0, false, false, nil
	}
	i := uint16(atomic.LoadUint32(f.Rx.Word(f.rxRsp, 0)))
	status := int16(atomic.LoadUint32(f.Rx.Word(f.rxRsp, 1)) >> 16)
	if int(i) >= f.buffers || status < 0 || int(status) > half {
		return 0, false, false, errors.New("the back end answered what was not asked")
	}
	f.rxRsp++
	n = copy(dst, f.area[page(i)*netif.PageSize:][:status])
	f.offer(i)
	return n, true, f.pushRequests(f.Rx, f.rxReq-1, f.rxReq), nil
}

// Sleep asks for an event at the next frame; false: there is one already.
func (f *Front) Sleep() bool {
	atomic.SwapUint32(&f.Rx.RspEvent, f.rxRsp+1)
	return atomic.LoadUint32(&f.Rx.RspProd) == f.rxRsp
}

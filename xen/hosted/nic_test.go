package hosted

import (
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
	"kxsh/ipc/netif"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// wireFrames is a back end for the conformance suite.
type wireFrames struct {
	bell  bell.Bell
	port  uint
	rings *uint32
	tx    *netif.Tx
	rx    *netif.Rx
}

func openWire(t testing.TB, w *xen.Wire) (xentest.Frames, error) {
	m := w.Memory
	t.Cleanup(w.Close)
	areas := make([][]byte, 2)
	for i, f := range []*os.File{m.Control, m.State} {
		area, err := mapShared(int(f.Fd()), ctlSize)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { unix.Munmap(area) })
		areas[i] = area
	}
	word := func(area []byte, at int64) *uint32 { return (*uint32)(unsafe.Pointer(&area[at])) }
	f := &wireFrames{
		bell: bell.Bell{
			Shared: (*abi.SharedInfo)(unsafe.Pointer(&areas[0][m.Shared])), Seq: word(areas[1], m.Seq), Sleeping: word(areas[1], m.Sleeping),
			Interrupt: func() error { return signalTo(int(m.Process.Fd()), unix.SIGUSR1) },
		},
		port: m.Port, rings: word(areas[0], m.Bell),
	}
	var err error
	f.tx, f.rx, err = netif.Attach(areas[0][m.Rings:][:abi.NetPages*abi.PageSize])
	return f, err
}

func (f *wireFrames) Send(frame []byte) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		ok, err := f.rx.Put(frame)
		if err == nil && f.rx.Push() {
			err = f.bell.Ring(f.port)
		}
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return os.ErrDeadlineExceeded
		}
	}
}

func (f *wireFrames) Receive(until time.Time) ([]byte, error) {
	frame := make([]byte, netif.MaxFrame)
	for time.Now().Before(until) {
		rung := atomic.LoadUint32(f.rings)
		n, ok, err := f.tx.Next(frame)
		if err == nil && f.tx.Push() {
			err = f.bell.Ring(f.port)
		}
		if ok || err != nil {
			return frame[:n], err
		}
		if quiet, err := f.tx.Sleep(); err != nil {
			return nil, err
		} else if quiet {
			bell.Wait(f.rings, rung, time.Second)
		}
	}
	return nil, os.ErrDeadlineExceeded
}

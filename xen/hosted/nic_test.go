package hosted

import (
	"os"
	"testing"
	"time"

	"kxsh/ipc/netif"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// portFrames is a back end for the conformance suite.
type portFrames struct {
	port *Port
	tx   *netif.Tx
	rx   *netif.Rx
}

func openPort(t testing.TB, w *xen.Wire) (xentest.Frames, error) {
	port, err := OpenPort(w.Files)
	w.Close()
	if err != nil {
		return nil, err
	}
	t.Cleanup(port.Close)
	f := &portFrames{port: port}
	f.tx, f.rx, err = netif.Attach(port.Memory())
	return f, err
}

func (f *portFrames) Send(frame []byte) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		ok, err := f.rx.Put(frame)
		if err == nil && f.rx.Push() {
			err = f.port.Notify()
		}
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return os.ErrDeadlineExceeded
		}
	}
}

func (f *portFrames) Receive(until time.Time) ([]byte, error) {
	frame := make([]byte, netif.MaxFrame)
	for time.Now().Before(until) {
		rings := f.port.Rings()
		n, ok, err := f.tx.Next(frame)
		if err == nil && f.tx.Push() {
			err = f.port.Notify()
		}
		if ok || err != nil {
			return frame[:n], err
		}
		if quiet, err := f.tx.Sleep(); err != nil {
			return nil, err
		} else if quiet {
			f.port.Wait(rings, time.Second)
		}
	}
	return nil, os.ErrDeadlineExceeded
}

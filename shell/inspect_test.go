package shell

import (
	"testing"

	"kxsh/engine"
)

// What members say of their channels may be nonsense: then there is no rate, or some large one, and no crash.
func TestMeasure(t *testing.T) {
	f := newFake()
	reply, err := f.Run(t.Context(), engineRequest("spin.kx"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.IPC(t.Context(), reply.PID, engine.IPCRequest{Op: engine.IPCList})
	if err != nil {
		t.Fatal(err)
	}
	p := f.pvms[reply.PID]
	p.Shares, p.Traffic = list.Objects, &engine.Traffic{ReceivedBytes: 5000, SentBytes: 7}
	d := &engine.Detail{Process: engine.Process{PID: reply.PID, Started: p.Started, Traffic: &engine.Traffic{ReceivedBytes: 4000, SentBytes: 7}}, Shares: []engine.SharedObject{
		{Kind: engine.KindPipe, ID: 14, TotalBytes: 4000},
		{Kind: engine.KindPipe, ID: 14, TotalBytes: 5000},
		{Kind: engine.KindPipe, ID: 14, TotalBytes: 6000},
		{Kind: engine.KindPipe, ID: 11, TotalBytes: 1},
		{Kind: engine.KindQueue, ID: 11, Bytes: 3, MaxBytes: 4, Count: 2},
		{Kind: engine.KindSegment, ID: 12, Bytes: 7},
	}}
	c := &Call{Context: t.Context()}
	c.measure(f, d)
	if rx, tx := d.Traffic.ReceiveRate, d.Traffic.SendRate; rx == nil || *rx < 1 || *rx > 5000 || tx == nil || *tx != 0 {
		t.Errorf("%v, %v", rx, tx)
	}
	for i, want := range []struct {
		least, most uint64
		depth, text string
	}{
		{1, 5000, "0 of 0 bytes", ""},
		{0, 0, "0 of 0 bytes", ", 4.9K so far, 0/s"},
		{1, 0, "0 of 0 bytes", ", 5.9K so far"},
		{1, 0, "0 of 0 bytes", ", 1 so far"},
		{1 << 63, 1 << 63, "2 messages, 3 of 4 bytes", ", 0 so far, 8.0E/s"},
		{1, 0, "7 bytes", ""},
	} {
		o := &d.Shares[i]
		if got := depthText(o); got != want.depth {
			t.Errorf("%d: depth %q", i, got)
		}
		if o.Rate == nil != (want.least > want.most) || o.Rate != nil && (*o.Rate < want.least || *o.Rate > want.most) {
			t.Errorf("%d: %+v", i, o)
		}
		if got := throughputText(o); i > 0 && got != want.text {
			t.Errorf("%d: %q", i, got)
		}
	}
}

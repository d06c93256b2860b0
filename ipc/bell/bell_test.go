package bell

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"kxsh/ipc/abi"
)

// TestRing holds what is set pending, and when a vcpu is woken, interrupted or left alone.
func TestRing(t *testing.T) {
	const port = 5
	interrupted := errors.New("interrupted")
	for name, c := range map[string]struct {
		set           func(sh *abi.SharedInfo, sleeping *uint32)
		err           error
		moved, upcall bool
	}{
		"it runs":            {func(*abi.SharedInfo, *uint32) {}, interrupted, true, true},
		"it sleeps":          {func(_ *abi.SharedInfo, sleeping *uint32) { *sleeping = 1 }, nil, true, true},
		"with events masked": {func(sh *abi.SharedInfo, _ *uint32) { sh.VcpuInfo[0].EvtchnUpcallMask = 1 }, nil, true, true},
		"already pending":    {func(sh *abi.SharedInfo, _ *uint32) { sh.EvtchnPending[0] = 1 << port }, nil, false, false},
		"this one masked":    {func(sh *abi.SharedInfo, _ *uint32) { sh.EvtchnMask[0] = 1 << port }, nil, false, false},
		"another pending":    {func(sh *abi.SharedInfo, _ *uint32) { sh.VcpuInfo[0].EvtchnPendingSel = 1 }, nil, false, false},
	} {
		var sh abi.SharedInfo
		var seq, sleeping uint32
		c.set(&sh, &sleeping)
		b := Bell{Shared: &sh, Seq: &seq, Sleeping: &sleeping, Interrupt: func() error { return interrupted }}
		if err := b.Ring(port); err != c.err {
			t.Errorf("%s: %v", name, err)
		}
		if sh.EvtchnPending[0] != 1<<port || (seq == 1) != c.moved || (sh.VcpuInfo[0].EvtchnUpcallPending == 1) != c.upcall {
			t.Errorf("%s: pending %#x, seq %d, upcall %d", name, sh.EvtchnPending[0], seq, sh.VcpuInfo[0].EvtchnUpcallPending)
		}
	}
}

// TestRingAnew holds that a vcpu is woken though the channel is pending.
func TestRingAnew(t *testing.T) {
	const port = 5
	var sh abi.SharedInfo
	sh.EvtchnPending[0], sh.VcpuInfo[0].EvtchnPendingSel = 1<<port, 1
	seq, sleeping := uint32(0), uint32(1)
	b := Bell{Shared: &sh, Seq: &seq, Sleeping: &sleeping}
	if err := b.RingAnew(port); err != nil || seq != 1 || sh.VcpuInfo[0].EvtchnUpcallPending != 1 || sh.EvtchnPending[0] != 1<<port {
		t.Errorf("%v, seq %d, %+v", err, seq, sh.VcpuInfo[0])
	}
}

// TestWait holds that a sleeper is woken, that one whose word has moved does not sleep, and that time ends a sleep.
func TestWait(t *testing.T) {
	var word uint32
	Wait(&word, 1, 0)
	Wait(&word, 0, time.Millisecond)
	done := make(chan struct{})
	go func() {
		for atomic.LoadUint32(&word) == 0 {
			Wait(&word, 0, 0)
		}
		close(done)
	}()
	time.Sleep(10 * time.Millisecond)
	atomic.StoreUint32(&word, 1)
	Wake(&word)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("still asleep")
	}
}

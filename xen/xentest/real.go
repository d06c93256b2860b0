package xentest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// testABI runs the programs that check the guest ABI by themselves.
func testABI(t *testing.T, b *bench) {
	for _, args := range [][]string{{"traps"}, {"protect"}, {"errors"}, {"timer", "20"}, {"state", "0"}} {
		t.Run(args[0], func(t *testing.T) {
			b.exited(b.start(args...), 0)
		})
	}
	t.Run("hello", func(t *testing.T) {
		d := b.start("hello", "wörld")
		b.exited(d, 0)
		chunks, err := ipc.NewOutput(d.Control()).Read()
		var got strings.Builder
		for _, c := range chunks {
			got.Write(c.Data)
		}
		if want := "guest\nhello\nwörld\nA=1\nconstantdata"; err != nil || got.String() != want {
			t.Errorf("printed %q, %v, want %q", got.String(), err, want)
		}
	})
}

// testReadImage reads the image's constants and data, and the root archive, as the domain sees them.
func testReadImage(t *testing.T, b *bench) {
	c := b.config("status", "0")
	c.Boot.Root = []byte(strings.Repeat("archive!", 1000))
	d, err := b.hv.Create(context.Background(), c)
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	all := make([]byte, control(d).ImagePages*abi.PageSize)
	b.must(d.ReadMemory(abi.ImageVa, all))
	if s := string(all); !strings.Contains(s, "constant\x00") || !strings.Contains(s, "data\x00") {
		t.Error("the image is not in memory")
	}
	root := make([]byte, len(c.Boot.Root))
	b.must(d.ReadMemory(control(d).RootVa, root))
	if string(root) != string(c.Boot.Root) {
		t.Error("the root archive is not in memory")
	}
}

// testUpcalls sends events at any moment of a guest that computes and makes hypercalls, by both ways
// back from an upcall; registers, vector state and FS base survive.
func testUpcalls(t *testing.T, b *bench) {
	for _, way := range []string{"iretq", "hypercall"} {
		t.Run(way, func(t *testing.T) {
			const events = 1000
			d := b.start("state", strconv.Itoa(events), way)
			await(t, d.Rang(), "the start")
			for begin := time.Now(); ; {
				select {
				case <-d.Gone():
					b.exited(d, 0)
					return
				default:
				}
				if time.Since(begin) > patience {
					t.Fatalf("%d of %d events in %v", result(d.Control(), 1), events, patience)
				}
				d.Notify()
			}
		})
	}
}

func testFaults(t *testing.T, b *bench) {
	for _, c := range []struct {
		kind   string
		signo  uint32
		vector uint32
		addr   uint64
	}{
		{"n", 11, abi.X86TrapPf, 0},
		{"j", 11, abi.X86TrapPf, 0x1234000},
		{"u", 4, abi.X86TrapUd, 0},
		{"d", 11, abi.X86TrapDf, 0},
		{"r", 11, abi.X86TrapPf, 0},
	} {
		d := b.start("fault", c.kind)
		await(t, d.Gone(), "the end of a faulty guest")
		e := d.Exit()
		if e.Reason != xen.ExitFault || e.Crash.Signo != c.signo || e.Crash.Vector != c.vector {
			t.Errorf("%s: exit %+v", c.kind, e)
		}
		if c.addr != 0 && e.Crash.Addr != c.addr {
			t.Errorf("%s: address %#x, want %#x", c.kind, e.Crash.Addr, c.addr)
		}
	}
	d := b.start("fault", "e")
	await(t, d.Rang(), "the start")
	eventually(t, "the end of a guest without a stack", func() bool {
		d.Notify()
		select {
		case <-d.Gone():
			return true
		default:
			return false
		}
	})
	if e := d.Exit(); e.Reason != xen.ExitFault || e.Crash.Vector != abi.X86TrapDf {
		t.Errorf("exit %+v", e)
	}
}

// testClock compares the guest's clocks with the host's for some seconds, over new stamps.
func testClock(t *testing.T, b *bench) {
	d := b.start("clock")
	time.Sleep(100 * time.Millisecond)
	// The guest writes every 20 ms: begin with what is fresh.
	stale := result(d.Control(), 1)
	eventually(t, "the guest's clock", func() bool { return result(d.Control(), 1) != stale })
	begin := time.Now()
	first := result(d.Control(), 1)
	for time.Since(begin) < 2500*time.Millisecond {
		time.Sleep(250 * time.Millisecond)
		guest := time.Duration(result(d.Control(), 1) - first)
		if diff := time.Since(begin) - guest; diff < -25*time.Millisecond || diff > 150*time.Millisecond {
			t.Errorf("the guest's clock is off by %v", diff)
		}
		wall := time.Unix(0, int64(result(d.Control(), 2)))
		if diff := time.Since(wall); diff < -25*time.Millisecond || diff > 150*time.Millisecond {
			t.Errorf("the guest's wall clock is off by %v", diff)
		}
	}
	b.must(d.Notify())
	b.exited(d, 0)
}

// testScribble has a guest write nonsense over all it shares with the engine: whatever is asked of
// the domain answers, other domains go on, and it can be destroyed.
func testScribble(t *testing.T, b *bench) {
	pong := b.start("pong")
	for _, what := range []string{"control", "stub"} {
		d := b.start("scribble", what)
		for range 200 {
			d.Notify()
			if st, err := d.Status(); err == nil && st.State > xen.StateDying {
				t.Errorf("state %d", st.State)
			}
			d.ReadMemory(abi.ImageVa, make([]byte, 64))
			ipc.NewOutput(d.Control()).Read()
			ipc.ReadStatus(d.Control())
			b.must(pong.Notify())
			await(t, pong.Rang(), "an answer beside a scribbler")
		}
		d.Pause()
		d.Unpause()
		b.must(d.Destroy())
		await(t, d.Gone(), "the end of a scribbler")
		d.Exit()
		b.must(d.Release())
	}
}

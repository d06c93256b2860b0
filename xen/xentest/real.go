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
			seen := uint64(0)
			for begin := time.Now(); ; {
				select {
				case <-d.Gone():
					b.exited(d, 0)
					return
				default:
				}
				if now := result(d.Control(), 1); now != seen {
					seen, begin = now, time.Now()
				} else if time.Since(begin) > patience {
					t.Fatalf("no event after %d of %d", seen, events)
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

// How far two clocks of one host may part: Xen's and Linux's scale the TSC each in its own way, and set
// that right once a second by another clock, as exactly as the machine lets them; an emulated one stalls
// between the two readings.
const (
	drift = 1e-3 // of the time between two readings
	skew  = 20 * time.Millisecond
)

// testClock compares the guest's clocks with the host's over some new stamps. The guest reads its clocks
// when it is asked: for certain after the host's question and before its answer has come. So however
// long each of these takes, all of the bounds that they give for the difference of the clocks overlap. What
// the longest took is what the machine may stall at other times.
func testClock(t *testing.T, b *bench) {
	d := b.start("clock")
	var low, high [2]time.Duration // bounds of host's clock - guest's, of system time and wall clock
	var stall time.Duration
	begin := time.Now()
	for samples := 0; samples == 0 || time.Since(begin) < 2500*time.Millisecond; samples++ {
		answers := result(d.Control(), 3)
		asked := time.Now()
		b.must(d.Notify())
		for result(d.Control(), 3) == answers {
			await(t, d.Rang(), "the guest's clock")
		}
		told := time.Now()
		stall = max(stall, told.Sub(asked))
		slack := time.Duration(drift*float64(told.Sub(begin))) + skew + stall
		for i, clock := range []struct {
			name        string
			asked, told time.Duration
		}{
			{"clock", asked.Sub(begin), told.Sub(begin)},
			{"wall clock", time.Duration(asked.UnixNano()), time.Duration(told.UnixNano())},
		} {
			guest := time.Duration(result(d.Control(), 1+i))
			l, h := clock.asked-guest, clock.told-guest
			if off := max(l-high[i], low[i]-h); samples > 0 && off > slack {
				t.Errorf("the guest's %s went off the host's by %v in %v, more than %v", clock.name, off, told.Sub(begin), slack)
			}
			if samples == 0 || l > low[i] {
				low[i] = l
			}
			if samples == 0 || h < high[i] {
				high[i] = h
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("host's - guest's: clock %v to %v, wall clock %v to %v; the longest answer took %v", low[0], high[0], low[1], high[1], stall)
	// The host sets the wall clock of its domains to its own, as exactly as it can.
	const apart = time.Second
	if low[1] > apart || high[1] < -apart {
		t.Errorf("the guest's wall clock is off by %v to %v", low[1], high[1])
	}
	select {
	case <-d.Gone():
		t.Errorf("the guest's clock went backwards: %+v; line %d of guest.c", d.Exit(), result(d.Control(), 0))
	default:
	}
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

package xentest

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"kxsh/xen"
)

// The programs of guest/hostile.c harm nobody but themselves: beside them a victim computes and takes
// events, the hypervisor answers, and they can be destroyed.

// victim is a domain that others try to harm.
type victim struct {
	xen.Domain
	b *bench
}

func (b *bench) victim() victim {
	d := b.start("spin")
	await(b.t, d.Rang(), "the start of the victim")
	return victim{d, b}
}

// turns is how far the victim's loop is.
func (v victim) turns() uint64 { return result(v.Control(), 2) }

// goesOn waits until the victim has taken an event and computed; the hypervisor answers as well.
func (v victim) goesOn(beside string) {
	v.b.t.Helper()
	turns, events := v.turns(), result(v.Control(), 1)
	v.b.must(v.Notify())
	eventually(v.b.t, "a victim beside "+beside, func() bool {
		return v.turns() > turns+1000 && result(v.Control(), 1) > events
	})
	ids, err := v.b.hv.Domains()
	v.b.must(err)
	if len(ids) == 0 || ids[0] != v.ID() {
		v.b.t.Fatalf("beside %s: domains %v, want %d first", beside, ids, v.ID())
	}
}

// speed is how many turns the victim makes in a second.
func (v victim) speed() float64 {
	const sample = 200 * time.Millisecond
	begin, turns := time.Now(), v.turns()
	time.Sleep(sample)
	return float64(v.turns()-turns) / time.Since(begin).Seconds()
}

// attack runs a program for a while, or until it has brought itself down, and ends it.
func (b *bench) attack(v victim, length time.Duration, args ...string) xen.Domain {
	b.t.Helper()
	d := b.start(args...)
	select {
	case <-d.Gone():
	case <-time.After(length):
	}
	v.goesOn(fmt.Sprint(args))
	end(b.t, d)
	v.goesOn(fmt.Sprint("the end of ", args))
	return d
}

// SeedsEnv is the environment variable that says which seeds to fuzz with: FIRST or FIRST-LAST.
const SeedsEnv = "KX_XENTEST_SEEDS"

func seeds(t testing.TB) (first, last int) {
	first, last = 1, 10
	text := os.Getenv(SeedsEnv)
	if text == "" {
		return first, last
	}
	n, _ := fmt.Sscanf(text, "%d-%d", &first, &last)
	if n == 0 || n == 1 && text != strconv.Itoa(first) {
		t.Fatalf("%s=%s: want FIRST or FIRST-LAST", SeedsEnv, text)
	}
	if n == 1 {
		last = first
	}
	return first, last
}

// testFuzz makes hypercalls of every number with arguments of every kind.
func testFuzz(t *testing.T, b *bench) {
	const life = 300 * time.Millisecond
	v := b.victim()
	var calls, died uint64
	first, last := seeds(t)
	for seed := first; seed <= last; seed++ {
		d := b.start("fuzz", strconv.Itoa(seed))
		select {
		case <-d.Gone():
			died++
			r := results(d.Control())
			t.Logf("seed %d: call %d (%d, %#x %#x %#x %#x): %s", seed, r[1], r[2], r[3], r[4], r[5], r[6], d.Exit().Detail)
		case <-time.After(life):
		}
		v.goesOn(fmt.Sprint("fuzz ", seed))
		calls += result(d.Control(), 1)
		end(t, d)
	}
	v.goesOn("the ends of all")
	t.Logf("seeds %d to %d: %d hypercalls, %d brought themselves down", first, last, calls, died)
	if calls == 0 {
		t.Error("nothing was called")
	}
}

// testGarbage has guests give nonsense to the hypervisor about their own state, and use it.
func testGarbage(t *testing.T, b *bench) {
	v := b.victim()
	for kind, variants := range map[string][]int{
		"traps": {0, 1, 2, 3, 4}, "iret": {0, 1, 2, 3, 4, 9, 14, 24, 34, 44, 52, 99}, "stack": {0, 2, 3}, "gdt": {0, 1, 2},
		"callbacks": {0, 2, 3}, "base": {0, 1, 2}, "unmapped": {0}, "assists": {0, 1}, "flags": {0},
	} {
		for _, n := range variants {
			b.attack(v, 100*time.Millisecond, "garbage", kind, strconv.Itoa(n))
		}
	}
}

// testHogs has guests take all they can get: they get what they are meant to have, and others theirs.
func testHogs(t *testing.T, b *bench) {
	v := b.victim()
	for what, most := range map[string]int{"ports": b.Ports, "grants": b.Grants, "memory": 0} {
		d := b.start("hog", what)
		await(t, d.Rang(), "a hog of "+what)
		eventually(t, "a hog of "+what, func() bool {
			st, err := d.Status()
			return err == nil && st.State == xen.StateBlocked
		})
		if got := result(d.Control(), 1); got > uint64(most) || got == 0 && most != 0 {
			t.Errorf("%s: it got %d, want at most %d", what, got, most)
		}
		v.goesOn("a hog of " + what)
		b.exited(b.start("status", "5"), 5)
		end(t, d)
	}
}

// testStorms has guests keep the hypervisor busy, in all ways; others go on, are built and end.
func testStorms(t *testing.T, b *bench) {
	v := b.victim()
	calm := b.start("spin")
	await(t, calm.Rang(), "a calm neighbour")
	before := v.speed()
	end(t, calm)
	for _, kind := range []string{"rings", "timers", "yields", "flushes", "ports", "watchdogs", "memory"} {
		d := b.start("storm", kind)
		await(t, d.Rang(), "a storm of "+kind)
		t.Logf("beside %s the victim has %.0f%% of its speed beside a calm neighbour", kind, 100*v.speed()/before)
		v.goesOn("a storm of " + kind)
		b.exited(b.start("status", "5"), 5)
		select {
		case <-d.Gone():
			t.Errorf("%s: it ended: %+v; line %d of hostile.c", kind, d.Exit(), result(d.Control(), 0))
		default:
		}
		end(t, d)
	}
}

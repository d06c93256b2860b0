// Package xentest is the conformance suite of package xen: what every implementation does, and with
// real guests what the guest ABI promises.
package xentest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Suite says how to get at an implementation.
type Suite struct {
	// Open starts a hypervisor that finds the domains of those opened before with the same key, at
	// most one of which is open at a time.
	Open func(t testing.TB, key string) xen.Hypervisor
	// Prepare makes an image of the test guests.
	Prepare func(t testing.TB, hv xen.Hypervisor) xen.Image
	// Real is true if guests are real code.
	Real bool
	// Populated is true if a domain has all its memory from the start, used or not.
	Populated bool
	// Ports and Grants are how many event channels and frames of grants a domain can have of its own.
	Ports, Grants int
	// Moves is true if a parent may go on where its child does, rather than where it was.
	Moves bool
	// Cycles is how many forks and exits in a row must leave nothing, Resets how many resets.
	Cycles, Resets int
	// Frames is how the tests get at the frames of a network device; they end with the test. nil: there are no devices here.
	Frames func(t testing.TB, w *xen.Wire) (Frames, error)
	// Watch, if not nil, notes what the host has; its result, called when all is closed, compares. adopted is true if a hypervisor
	// that was closed still holds its part of domains that another one has adopted.
	Watch func(t testing.TB) func(adopted bool)
}

// patience is how long a test waits for what must come.
const patience = 3 * time.Minute

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *bench)
		real bool
	}{
		{"Life", testLife, false},
		{"Boot", testBoot, false},
		{"Events", testEvents, false},
		{"Pause", testPause, false},
		{"PauseNew", testPauseNew, false},
		{"Destroy", testDestroy, false},
		{"Crash", testCrash, false},
		{"Status", testStatus, false},
		{"Limits", testLimits, false},
		{"ReadMemory", testReadMemory, false},
		{"Adopt", testAdopt, false},
		{"Refusals", testRefusals, false},
		{"Pool", testPool, false},
		{"Flood", testFlood, false},
		{"Many", testMany, false},
		{"Reset", testReset, false},
		{"ResetSoiled", testResetSoiled, true},
		{"ResetHostile", testResetHostile, true},
		{"ResetForked", testResetForked, true},
		{"ResetAdopted", testResetAdopted, false},
		{"ResetOften", testResetOften, false},
		{"ABI", testABI, true},
		{"ReadImage", testReadImage, true},
		{"Upcalls", testUpcalls, true},
		{"Faults", testFaults, true},
		{"Clock", testClock, true},
		{"Scribble", testScribble, true},
		{"Fuzz", testFuzz, true},
		{"Garbage", testGarbage, true},
		{"Hogs", testHogs, true},
		{"Storms", testStorms, true},
		{"Net", testNet, true},
	} {
		if c.real && !s.Real || c.name == "Net" && s.Frames == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.run(t, newBench(t, s))
		})
	}
	if s.Real {
		t.Run("Fork", func(t *testing.T) { testFork(t, s) })
	}
}

// bench is one hypervisor with the test guests ready.
type bench struct {
	Suite
	t   *testing.T
	key string
	hv  xen.Hypervisor
	im  xen.Image
	// passing is true if another hypervisor adopts what this one makes.
	passing bool
	adopts  bool     // it is not the first one itself
	promise []string // arguments of guests that fork
}

// seeOut ends a domain when the test ends.
func (b *bench) seeOut(d xen.Domain) {
	b.t.Cleanup(func() {
		if b.passing { // its hypervisor lets go of what it maps, where it still can
			d.Destroy()
			d.Release()
			return
		}
		end(b.t, d)
	})
}

func newBench(t *testing.T, s Suite) *bench {
	b := &bench{Suite: s, t: t, key: strings.ReplaceAll(t.Name(), "/", "-")}
	if s.Watch != nil {
		compare := s.Watch(t)
		t.Cleanup(func() { compare(b.adopts) })
	}
	b.open()
	t.Cleanup(func() {
		if ids, err := b.hv.Domains(); err != nil || len(ids) != 0 {
			t.Errorf("domains left: %v, %v", ids, err)
		}
		if err := b.hv.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) open() {
	b.adopts = b.hv != nil
	b.hv = b.Open(b.t, b.key)
	b.im = b.Prepare(b.t, b.hv)
}

func (b *bench) config(args ...string) *xen.Config {
	return &xen.Config{
		Image: b.im, Memory: 1 << 20,
		Boot: xen.Boot{Name: "test", Args: append([]string{"guest"}, args...), Env: []string{"A=1"}},
	}
}

// create makes a domain that runs one of the test programs, and sees it out at the end.
func (b *bench) create(args ...string) xen.Domain {
	b.t.Helper()
	d, err := b.hv.Create(context.Background(), b.config(args...))
	if err != nil {
		b.t.Fatalf("create %v: %v", args, err)
	}
	b.t.Cleanup(func() { end(b.t, d) })
	return d
}

// start is create and Unpause.
func (b *bench) start(args ...string) xen.Domain {
	b.t.Helper()
	d := b.create(args...)
	b.must(d.Unpause())
	return d
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// end destroys and releases a domain, in whatever state a test left it.
func end(t testing.TB, d xen.Domain) {
	if err := d.Destroy(); err != nil {
		if !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("destroy: %v", err)
		}
		return // released already
	}
	await(t, d.Gone(), "the end of a destroyed domain")
	if err := d.Release(); err != nil && !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("release: %v", err)
	}
}

func await(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// exited waits for a domain's own end and checks that it was satisfied.
func (b *bench) exited(d xen.Domain, code int) {
	b.t.Helper()
	await(b.t, d.Gone(), "the end of a domain")
	if e := d.Exit(); e.Reason != xen.ExitShutdown {
		b.t.Fatalf("exit %+v, want a shutdown", e)
	}
	status, ok, err := ipc.ReadStatus(d.Control())
	if err != nil || !ok || status.Code() != code {
		b.t.Fatalf("status %d, %v, %v, want %d; line %d of guest.c", status.Code(), ok, err, code, result(d.Control(), 0))
	}
}

func control(d xen.Domain) *abi.KxControl {
	return (*abi.KxControl)(unsafe.Pointer(&d.Control()[abi.ControlVa-abi.CtlVa]))
}

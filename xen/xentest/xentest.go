// Package xentest is the conformance suite of package xen: what every implementation does, and with
// real guests what the guest ABI promises.
package xentest

import (
	"context"
	"errors"
	"strings"
	"sync"
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
	// Watch, if not nil, notes what the host has; its result, called after Close, compares.
	Watch func(t testing.TB) func()
}

// patience is how long a test waits for what must come.
const patience = time.Minute

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
		{"Fork", testFork, true},
	} {
		if c.real && !s.Real {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.run(t, newBench(t, s))
		})
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
	compare := func() {}
	if s.Watch != nil {
		compare = s.Watch(t)
	}
	b.open()
	t.Cleanup(func() {
		if ids, err := b.hv.Domains(); err != nil || len(ids) != 0 {
			t.Errorf("domains left: %v, %v", ids, err)
		}
		if err := b.hv.Close(); err != nil {
			t.Error(err)
		}
		compare()
	})
	return b
}

func (b *bench) open() {
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

func testLife(t *testing.T, b *bench) {
	info, err := b.hv.Info()
	b.must(err)
	if info.Name == "" || info.CPUs < 1 || info.Memory == 0 {
		t.Errorf("info %+v", info)
	}
	c := b.config("status", "42")
	var steps []string
	c.Step = func(name string, took time.Duration) {
		if took < 0 || name == "" {
			t.Errorf("step %q took %v", name, took)
		}
		steps = append(steps, name)
	}
	d, err := b.hv.Create(context.Background(), c)
	b.must(err)
	if len(steps) == 0 {
		t.Error("no steps")
	}
	if d.ID() == 0 || d.ID() > xen.MaxDomID {
		t.Errorf("number %d", d.ID())
	}
	if ids, err := b.hv.Domains(); err != nil || len(ids) != 1 || ids[0] != d.ID() {
		t.Errorf("domains %v, %v, want %d", ids, err, d.ID())
	}
	if st, err := d.Status(); err != nil || st.State != xen.StatePaused {
		t.Errorf("new domain: %+v, %v", st, err)
	}
	if err := d.Release(); err == nil {
		t.Error("a living domain was released")
	}
	time.Sleep(10 * time.Millisecond)
	if _, ok, _ := ipc.ReadStatus(d.Control()); ok {
		t.Error("a new domain runs before Unpause")
	}
	b.must(d.Unpause())
	b.exited(d, 42)
	if st, err := d.Status(); err != nil || st.State != xen.StateDying {
		t.Errorf("domain that is gone: %+v, %v", st, err)
	}
	if ids, err := b.hv.Domains(); err != nil || len(ids) != 0 {
		t.Errorf("domains %v, %v, want none", ids, err)
	}
	b.must(d.Destroy())
	for name, f := range map[string]func() error{"Unpause": d.Unpause, "Pause": d.Pause, "Notify": d.Notify} {
		if err := f(); !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("%s of a domain that is gone: %v", name, err)
		}
	}
	b.must(d.Release())
	_, statusErr := d.Status()
	for name, err := range map[string]error{
		"Status": statusErr, "Destroy": d.Destroy(), "Release": d.Release(), "Notify": d.Notify(),
		"SetWeight": d.SetWeight(1), "SetAffinity": d.SetAffinity(nil), "ReadMemory": d.ReadMemory(abi.CtlVa, make([]byte, 1)),
	} {
		if !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("%s after Release: %v", name, err)
		}
	}
	next := b.create("status", "0")
	if next.ID() <= d.ID() {
		t.Errorf("number %d follows %d", next.ID(), d.ID())
	}
}

func testBoot(t *testing.T, b *bench) {
	c := b.config("status", "0", "", "last")
	c.Boot.Env = []string{"A=1", "LONG=" + strings.Repeat("x", 100000)}
	c.Boot.Name = strings.Repeat("n", 100)
	c.Boot.PPID, c.Boot.TTY, c.Boot.Rows, c.Boot.Cols = 7, true, 24, 80
	c.Boot.Root = []byte("an archive")
	d, err := b.hv.Create(context.Background(), c)
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	k := control(d)
	if k.Magic != abi.ControlMagic || k.Abi != abi.AbiVersion || k.Domid != uint32(d.ID()) || k.Family != k.Domid || k.Ppid != 7 {
		t.Errorf("control %+v", k)
	}
	if k.Flags&^abi.FBells != abi.FTty || k.Rows != 24 || k.Cols != 80 || k.Argc != 5 || k.Envc != 2 || k.RamPages != 256 {
		t.Errorf("control %+v", k)
	}
	if got := string(k.Name[:]); got != strings.Repeat("n", 63)+"\x00" {
		t.Errorf("name %q", got)
	}
	want := "guest\x00status\x000\x00\x00last\x00A=1\x00LONG=" + strings.Repeat("x", 100000) + "\x00"
	if got := string(d.Control()[abi.ArgsVa-abi.CtlVa:][:k.ArgsLen]); got != want {
		t.Errorf("strings %.60q of %d bytes", got, len(got))
	}
	if k.RootLen != 10 || k.RootVa%abi.PageSize != 0 || k.RootVa < k.RamVa || k.RootVa+k.RootLen > k.RamVa+k.RamPages*abi.PageSize {
		t.Errorf("root archive at %#x", k.RootVa)
	}
	if k.RamVa < abi.RamMin || k.RamVa+k.RamPages*abi.PageSize > abi.RamEnd || k.RamVa%(2<<20) != 0 {
		t.Errorf("RAM at %#x", k.RamVa)
	}
	other := control(b.create("status", "0"))
	if other.Seed == k.Seed {
		t.Error("two domains have the same random seed")
	}
}

// testEvents goes to and fro; nothing is lost, and a thousand times nothing hangs.
func testEvents(t *testing.T, b *bench) {
	d := b.start("pong")
	for i := range 1000 {
		b.must(d.Notify())
		await(t, d.Rang(), "an answer")
		if result(d.Control(), 1) == 0 && i > 0 {
			t.Fatal("no event was counted")
		}
	}
}

func testPause(t *testing.T, b *bench) {
	d := b.start("spin")
	await(t, d.Rang(), "the start")
	count := func() uint64 { return result(d.Control(), 2) }
	eventually(t, "a running domain", func() bool { return count() > 0 })
	b.must(d.Pause())
	b.must(d.Pause())
	if st, err := d.Status(); err != nil || st.State != xen.StatePaused {
		t.Errorf("paused domain: %+v, %v", st, err)
	}
	eventually(t, "a domain to stop", func() bool {
		before := count()
		time.Sleep(20 * time.Millisecond)
		return count() == before
	})
	before := count()
	b.must(d.Notify()) // is not lost
	b.must(d.Unpause())
	b.must(d.Unpause())
	eventually(t, "a domain to go on", func() bool { return count() > before })
	if b.Real {
		eventually(t, "the event", func() bool { return result(d.Control(), 1) == 1 })
	}
	b.must(d.Pause())
	b.must(d.Destroy())
	await(t, d.Gone(), "the end of a paused domain")
}

// testPauseNew holds that Pause before the first Unpause changes nothing.
func testPauseNew(t *testing.T, b *bench) {
	d := b.create("status", "3")
	b.must(d.Pause())
	b.must(d.Unpause())
	b.exited(d, 3)
}

func testDestroy(t *testing.T, b *bench) {
	for _, args := range [][]string{{"spin"}, {"pong"}, {"new"}} {
		d := b.create(args...)
		if args[0] != "new" {
			b.must(d.Unpause())
		}
		b.must(d.Destroy())
		b.must(d.Destroy())
		await(t, d.Gone(), "the end of a destroyed domain")
		if e := d.Exit(); e.Reason != xen.ExitDestroyed {
			t.Errorf("%v: exit %+v", args, e)
		}
		b.must(d.Destroy())
		b.must(d.Release())
	}
}

func testCrash(t *testing.T, b *bench) {
	d := b.start("crash")
	await(t, d.Gone(), "the end")
	if e := d.Exit(); e.Reason != xen.ExitCrash {
		t.Errorf("exit %+v", e)
	}
	d = b.start("fault", "n")
	await(t, d.Gone(), "the end")
	if e := d.Exit(); e.Reason != xen.ExitFault || e.Crash.Signo != 11 || e.Crash.Vector != abi.X86TrapPf ||
		e.Crash.Regs.Rip < abi.ImageVa || e.Crash.Regs.Rip >= abi.ImageEnd {
		t.Errorf("exit %+v", e)
	}
}

func testStatus(t *testing.T, b *bench) {
	d := b.create("touch", "200")
	before, err := d.Status()
	b.must(err)
	b.must(d.Unpause())
	await(t, d.Rang(), "the touching of memory")
	eventually(t, "a blocked domain", func() bool {
		st, err := d.Status()
		return err == nil && st.State == xen.StateBlocked
	})
	after, err := d.Status()
	b.must(err)
	if grown := after.Memory - before.Memory; !b.Populated && (grown < 190*abi.PageSize || grown > 300*abi.PageSize) {
		t.Errorf("memory went from %d to %d, want 200 pages more", before.Memory, after.Memory)
	}
	if after.MaxMem < 1<<20 || after.Memory > after.MaxMem || after.VCPUs != 1 || after.Weight != 256 || after.CPUs != nil {
		t.Errorf("status %+v", after)
	}
	s := b.start("spin")
	await(t, s.Rang(), "the start")
	one, err := s.Status()
	b.must(err)
	eventually(t, "5 ms of CPU time", func() bool {
		two, err := s.Status()
		b.must(err)
		return two.CPUTime-one.CPUTime > 5*time.Millisecond
	})
	if one.State != xen.StateRunning {
		t.Errorf("spinning domain: %+v", one)
	}
}

func testLimits(t *testing.T, b *bench) {
	d := b.start("touch", "20")
	await(t, d.Rang(), "the start")
	b.must(d.SetWeight(128))
	b.must(d.SetAffinity([]int{0}))
	st, err := d.Status()
	b.must(err)
	if st.Weight != 128 || len(st.CPUs) != 1 || st.CPUs[0] != 0 {
		t.Errorf("status %+v", st)
	}
	b.must(d.SetAffinity(nil))
	cap := st.Memory + 40*abi.PageSize
	b.must(d.SetMaxMem(cap))
	if st, err = d.Status(); err != nil || st.MaxMem != cap || st.CPUs != nil {
		t.Errorf("status %+v, %v", st, err)
	}
	for name, err := range map[string]error{
		"weight 0": d.SetWeight(0), "weight 65536": d.SetWeight(65536), "CPU -1": d.SetAffinity([]int{-1}),
		"CPU 100000": d.SetAffinity([]int{100000}), "cap below use": d.SetMaxMem(1), "cap above size": d.SetMaxMem(1 << 40),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func testReadMemory(t *testing.T, b *bench) {
	d := b.create("status", "0")
	magic := make([]byte, 4)
	b.must(d.ReadMemory(abi.ControlVa, magic))
	if string(magic) != "KXCT" {
		t.Errorf("read %q", magic)
	}
	for _, va := range []uint64{0, abi.ImageEnd - 1, abi.RamEnd, 0x7ff000000000, 1<<64 - 1} {
		if err := d.ReadMemory(va, magic); err == nil {
			t.Errorf("read %#x", va)
		}
	}
}

// testAdopt has a second engine take over what a first one left.
func testAdopt(t *testing.T, b *bench) {
	// Not b.create: what the first engine held is of no use after its end.
	start := func(args ...string) xen.Domain {
		d, err := b.hv.Create(context.Background(), b.config(args...))
		b.must(err)
		// The first engine lets go of what it maps, where it still can, after the second one has ended it.
		t.Cleanup(func() { d.Destroy(); d.Release() })
		return d
	}
	pong, waiting, dead := start("pong"), start("status", "9"), start("spin")
	b.must(pong.Unpause())
	b.must(dead.Unpause())
	b.must(pong.Notify())
	await(t, pong.Rang(), "an answer")
	ids := []xen.DomID{pong.ID(), waiting.ID(), dead.ID()}
	tokens := [][]byte{pong.Token(), waiting.Token(), dead.Token()}
	b.must(b.hv.Close())
	b.must(dead.Destroy())
	b.open()
	eventually(t, "two domains", func() bool {
		left, err := b.hv.Domains()
		return err == nil && len(left) == 2 && left[0] == ids[0] && left[1] == ids[1]
	})
	for name, f := range map[string]func() (xen.Domain, error){
		"dead":        func() (xen.Domain, error) { return b.hv.Adopt(ids[2], tokens[2]) },
		"wrong token": func() (xen.Domain, error) { return b.hv.Adopt(ids[0], tokens[1]) },
		"unknown":     func() (xen.Domain, error) { return b.hv.Adopt(4711, tokens[0]) },
	} {
		if _, err := f(); !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("adopt %s: %v", name, err)
		}
	}
	d, err := b.hv.Adopt(ids[0], tokens[0])
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	if _, err := b.hv.Adopt(ids[0], tokens[0]); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("adopted twice: %v", err)
	}
	await(t, d.Rang(), "the ring of an adopted domain")
	for range 100 {
		b.must(d.Notify())
		await(t, d.Rang(), "an answer to the second engine")
	}
	if st, err := d.Status(); err != nil || st.Memory == 0 || st.Weight != 256 {
		t.Errorf("status %+v, %v", st, err)
	}
	w, err := b.hv.Adopt(ids[1], tokens[1])
	b.must(err)
	t.Cleanup(func() { end(t, w) })
	if k := control(w); k.Domid != uint32(ids[1]) {
		t.Errorf("control %+v", k)
	}
	b.must(w.Unpause())
	b.exited(w, 9)
	if fresh := b.create("status", "0"); fresh.ID() == ids[0] {
		t.Error("a number that is in use was given again")
	}
}

func testRefusals(t *testing.T, b *bench) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, f := range map[string]func(*xen.Config) context.Context{
		"no memory": func(c *xen.Config) context.Context { c.Memory = 0; return context.Background() },
		"long argument": func(c *xen.Config) context.Context {
			c.Boot.Args[0] = strings.Repeat("x", abi.ArgsSize)
			return context.Background()
		},
		"many variables": func(c *xen.Config) context.Context {
			c.Boot.Env = make([]string, abi.ArgsSize)
			return context.Background()
		},
		"NUL":        func(c *xen.Config) context.Context { c.Boot.Args[0] = "a\x00b"; return context.Background() },
		"large root": func(c *xen.Config) context.Context { c.Boot.Root = make([]byte, 1<<20); return context.Background() },
		"canceled":   func(*xen.Config) context.Context { return canceled },
	} {
		c := b.config("status", "0")
		if d, err := b.hv.Create(f(c), c); err == nil {
			t.Errorf("%s: created", name)
			end(t, d)
		}
	}
	if ids, err := b.hv.Domains(); err != nil || len(ids) != 0 {
		t.Errorf("domains left: %v, %v", ids, err)
	}
}

func testPool(t *testing.T, b *bench) {
	b.must(b.hv.SetPool(3))
	eventually(t, "a full pool", func() bool { return b.hv.Pool() == xen.Pool{Ready: 3, Want: 3} })
	b.must(b.hv.SetPool(0))
	eventually(t, "an empty pool", func() bool { return b.hv.Pool() == xen.Pool{} })
	if err := b.hv.SetPool(-1); err == nil {
		t.Error("a pool of -1")
	}
	b.exited(b.start("status", "5"), 5)
}

// testFlood has one domain do nothing but ring; others and the hypervisor go on.
func testFlood(t *testing.T, b *bench) {
	flood, pong := b.start("flood"), b.start("pong")
	for range 100 {
		await(t, flood.Rang(), "a ring of a flood")
		b.must(pong.Notify())
		await(t, pong.Rang(), "an answer beside a flood")
	}
}

func testMany(t *testing.T, b *bench) {
	var mu sync.Mutex
	seen := map[xen.DomID]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 10 {
				d, err := b.hv.Create(context.Background(), b.config("status", "7"))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[d.ID()] {
					t.Errorf("number %d was given twice", d.ID())
				}
				seen[d.ID()] = true
				mu.Unlock()
				if i%2 == 0 {
					if err := d.Unpause(); err != nil {
						t.Error(err)
					}
					await(t, d.Gone(), "the end of one of many")
				}
				end(t, d)
			}
		})
	}
	wg.Wait()
}

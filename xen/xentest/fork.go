package xentest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

const (
	// ForkPages are those of guest/fork.c, each of which holds one number: at first its own and 1. The last few are at the end of the RAM window.
	ForkPages = 18
	forkFirst = 32 // RESULT of the first

	// forkWritable are the pages that can be written when nothing is asked for.
	forkWritable = 1<<ForkPages - 1 - (1<<12 | 1<<13 | 1<<14)
)

// member is one domain of a family, and what must be in its memory.
type member struct {
	*Forker
	b     *bench
	model [ForkPages]uint64
}

// founder starts the first domain of a family, perhaps with a library, which nobody else keeps.
func (b *bench) founder(library ...func(*xen.Config) xen.Shared) *member {
	b.t.Helper()
	c := ForkerConfig(b.im, ForkerMemory, b.promise...)
	var kept []xen.Shared
	for _, add := range library {
		kept = append(kept, add(c))
	}
	m := b.member(StartForkerOf(b.t, b.hv, c), [ForkPages]uint64{})
	for _, s := range kept {
		b.must(s.Close())
	}
	for i := range m.model {
		m.model[i] = uint64(i) + 1
	}
	return m
}

// member is a forker that the test ends.
func (b *bench) member(f *Forker, model [ForkPages]uint64) *member {
	b.seeOut(f.Domain)
	return &member{f, b, model}
}

// fill writes a page, or all.
func (m *member) fill(page int, seed uint64) {
	m.b.t.Helper()
	for i := range m.model {
		if i == page || page == ForkPages {
			m.model[i] = seed
		}
	}
	m.Fill(page, seed)
}

// check looks at all of a member's memory and protections.
func (m *member) check(when string) {
	m.b.t.Helper()
	if got := m.Look(); got != m.model {
		m.b.t.Errorf("%s: domain %d has %v, want %v", when, m.ID(), got, m.model)
	}
	if got := m.do(forkProtections, 0, 0); got != forkWritable {
		m.b.t.Errorf("%s: domain %d can write %#x, want %#x", when, m.ID(), got, forkWritable)
	}
}

// fork makes a child, which waits to be unpaused.
func (m *member) fork(depth uint64) *member {
	m.b.t.Helper()
	d, err := m.Fork(context.Background(), m.Called(depth))
	m.b.must(err)
	m.Tell(int64(d.ID()))
	return m.b.member(AsForker(m.b.t, d), m.model)
}

// child is fork, and lets the child run.
func (m *member) child() *member {
	m.b.t.Helper()
	c := m.fork(0)
	m.b.must(c.Unpause())
	c.Born()
	return c
}

// leave ends a member for good.
func (m *member) leave() {
	m.b.t.Helper()
	m.ask(forkExit, 7, 0)
	m.b.exited(m.Domain, 7)
	m.b.must(m.Release())
}

func testFork(t *testing.T, s Suite) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"Snapshot", forkSnapshot}, {"Area", forkArea}, {"Waiting", forkWaiting}, {"Generations", forkGenerations},
		{"Refusals", forkRefusals}, {"Anywhere", forkAnywhere}, {"Paused", forkPaused}, {"Adopted", forkAdopted}, {"Many", forkMany},
		{"Pooled", forkPooled}, {"Cycles", forkCycles}, {"Tree", forkTree}, {"Limits", forkLimits}, {"Libraries", forkLibraries}, {"Mapped", forkMapped},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBench(t, s)) })
	}
	for name, promise := range map[string]string{"Marked": "marked", "Shared": "shared", "Lazy": "lazy"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, s)
			b.promise = []string{promise}
			for _, run := range []func(*testing.T, *bench){forkSnapshot, forkPooled, forkGenerations, forkTree, forkLibraries, forkMapped} {
				run(t, b)
			}
		})
	}
}

// forkSnapshot holds that a child has its parent's memory as of the fork, and each its own from then on.
func forkSnapshot(t *testing.T, b *bench) {
	m := b.founder()
	m.check("before")
	c := m.fork(3)
	m.check("the parent after a fork")
	m.fill(ForkPages, 1000) // before the child has run at all
	b.must(c.Unpause())
	c.Born()
	c.check("the child")
	m.check("the parent beside its child")
	c.fill(ForkPages, 2000)
	m.check("the parent after its child wrote")
	c.check("the child after it wrote")
	m.fill(5, 3000)
	c.check("the child after its parent wrote again")
	c.leave()
	m.check("the parent after its child's end")
	c = m.child()
	end(t, m.Domain)
	c.check("an orphan")
	c.fill(ForkPages, 4000)
	c.check("an orphan that wrote")
	c.leave()
}

// forkLimits holds that a child has its parent's share and place.
func forkLimits(t *testing.T, b *bench) {
	m := b.founder()
	b.must(m.SetWeight(128))
	b.must(m.SetAffinity([]int{0}))
	st, err := m.child().child().Status()
	if err != nil || st.Weight != 128 || !slices.Equal(st.CPUs, []int{0}) {
		t.Errorf("a grandchild: %+v, %v", st, err)
	}
	b.must(m.SetWeight(64)) // not more again: that is root's
	b.must(m.SetAffinity(nil))
	if st, err = m.child().Status(); err != nil || st.Weight != 64 || st.CPUs != nil {
		t.Errorf("a child of later: %+v, %v", st, err)
	}
}

// forkArea holds that the child's control area is its own.
func forkArea(t *testing.T, b *bench) {
	m := b.founder()
	f := m.Called(0)
	f.Boot.Env = []string{"B=2"}
	f.Boot.TTY, f.Boot.Rows, f.Boot.Cols = true, 24, 80
	var steps []string
	f.Step = func(name string, _ time.Duration) { steps = append(steps, name) }
	d, err := m.Fork(context.Background(), f)
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	m.Tell(int64(d.ID()))
	if len(steps) == 0 {
		t.Error("no steps")
	}
	if ids, err := b.hv.Domains(); err != nil || len(ids) != 2 {
		t.Errorf("domains %v, %v", ids, err)
	}
	if st, err := d.Status(); err != nil || st.State != xen.StatePaused {
		t.Errorf("the child: %+v, %v", st, err)
	}
	p, k := control(m), control(d)
	if k.Magic != abi.ControlMagic || k.Abi != abi.AbiVersion || k.Domid != uint32(d.ID()) || k.Ppid != p.Domid || k.Family != p.Family {
		t.Errorf("control %+v", k)
	}
	if k.ImagePages != p.ImagePages || k.RamVa != p.RamVa || k.RamPages != p.RamPages || k.RootLen != 0 || k.State != abi.StateMain {
		t.Errorf("control %+v, the parent's %+v", k, p)
	}
	if k.Seed == p.Seed || k.Call != (abi.KxCall{}) || k.Flags&abi.FTty == 0 || k.Rows != 24 {
		t.Errorf("control %+v", k)
	}
	want := "guest\x00child\x00B=2\x00"
	if got := string(d.Control()[abi.ArgsVa-abi.CtlVa:][:k.ArgsLen]); got != want {
		t.Errorf("strings %q", got)
	}
	// Events go to whom they are for.
	b.must(d.Unpause())
	AsForker(t, d).Born()
	await(t, d.Rang(), "the child's ring")
	if st, err := m.Status(); err != nil || st.State != xen.StateBlocked && st.State != xen.StateRunning {
		t.Errorf("the parent: %+v, %v", st, err)
	}
}

// forkWaiting has a parent woken for nothing while it waits, as often as it takes.
func forkWaiting(t *testing.T, b *bench) {
	m := b.founder()
	var wg sync.WaitGroup
	for round := range 5 {
		f := m.Called(uint64(round))
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					m.Notify()
				}
			}
		})
		d, err := m.Fork(context.Background(), f)
		close(stop)
		wg.Wait()
		b.must(err)
		t.Cleanup(func() { end(t, d) })
		c := &member{AsForker(t, d), b, m.model}
		b.must(d.Unpause())
		c.Born()
		c.check("the child of a restless parent")
		m.Tell(int64(d.ID()))
		m.check("a restless parent")
		c.leave()
		m.fill(round, uint64(round)+100)
	}
}

// forkGenerations makes a chain, and ends it from the middle.
func forkGenerations(t *testing.T, b *bench) {
	line := []*member{b.founder()}
	for i := range 6 {
		c := line[i].child()
		c.fill(i, uint64(i)+500)
		line = append(line, c)
	}
	for _, m := range line {
		m.check("a generation")
	}
	for _, i := range []int{3, 0, 2} {
		line[i].leave()
		line = slices.Delete(line, i, i+1)
		for _, m := range line {
			m.check("a generation beside a gap")
		}
	}
	last := line[len(line)-1]
	last.child().check("a child of the last one")
}

// forkRefusals holds that a fork that fails changes nothing.
func forkRefusals(t *testing.T, b *bench) {
	m := b.founder()
	for name, f := range map[string]func(*xen.Fork) context.Context{
		"canceled": func(*xen.Fork) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx
		},
		"rip":  func(f *xen.Fork) context.Context { f.RIP = 1 << 63; return context.Background() },
		"rsp":  func(f *xen.Fork) context.Context { f.RSP = 1<<63 + 5; return context.Background() },
		"root": func(f *xen.Fork) context.Context { f.Boot.Root = make([]byte, 10); return context.Background() },
		"NUL":  func(f *xen.Fork) context.Context { f.Boot.Args = []string{"\x00"}; return context.Background() },
	} {
		c := m.Called(0)
		if d, err := m.Fork(f(c), c); err == nil {
			t.Errorf("%s: forked", name)
			end(t, d)
		}
		m.Tell(-12)
		m.check(name)
	}
	if ids, err := b.hv.Domains(); err != nil || len(ids) != 1 {
		t.Errorf("domains %v, %v", ids, err)
	}
	m.child().check("a child after refusals")
	f := m.Called(0)
	b.must(m.Destroy())
	await(t, m.Gone(), "the end of a destroyed domain")
	if _, err := m.Fork(context.Background(), f); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("fork of a domain that is gone: %v", err)
	}
	b.must(m.Release())
	if _, err := m.Fork(context.Background(), f); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("fork of a domain that was released: %v", err)
	}
}

// forkAnywhere forks domains that have not asked for it, and do something else: whatever becomes of a child, others go on,
// and so does its parent, unless a fork moves it to where it lied that it would go on.
func forkAnywhere(t *testing.T, b *bench) {
	pong := b.start("pong")
	for _, args := range [][]string{{"spin"}, {"scribble", "control"}, {"flood"}} {
		d := b.start(args...)
		await(t, d.Rang(), "the start")
		for i := range 4 {
			f := &xen.Fork{Boot: xen.Boot{Name: "child"}, RIP: abi.ImageVa + uint64(i)*1000, RSP: abi.ImageVa + uint64(i)*0x10000000}
			c, err := d.Fork(context.Background(), f)
			if err != nil {
				t.Logf("%v: %v", args, err)
				continue
			}
			b.must(c.Unpause())
			b.must(pong.Notify())
			await(t, pong.Rang(), "an answer beside a child that was not asked for")
			end(t, c)
		}
		if b.Moves {
			end(t, d)
			continue
		}
		select {
		case <-d.Gone():
			t.Errorf("%v: exit %+v", args, d.Exit())
		default:
		}
		if count := result(d.Control(), 2); args[0] == "spin" {
			eventually(t, "a parent to go on", func() bool { return result(d.Control(), 2) > count })
		}
		end(t, d)
	}
}

// forkPaused holds that a parent that somebody has paused stays so.
func forkPaused(t *testing.T, b *bench) {
	m := b.founder()
	f := m.Called(0)
	b.must(m.Pause())
	d, err := m.Fork(context.Background(), f)
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	if st, err := m.Status(); err != nil || st.State != xen.StatePaused {
		t.Errorf("a paused parent: %+v, %v", st, err)
	}
	c := &member{AsForker(t, d), b, m.model}
	b.must(d.Unpause())
	c.Born()
	c.check("the child of a paused parent")
	b.must(m.Unpause())
	m.Tell(int64(d.ID()))
	m.check("a parent that was paused")
}

// forkAdopted has a second engine fork what a first one started and forked.
func forkAdopted(t *testing.T, b *bench) {
	start := &bench{Suite: b.Suite, t: t, key: b.key, hv: b.hv, im: b.im, passing: true}
	m := start.founder(func(c *xen.Config) xen.Shared { return AddLibrary(t, b.hv, c) })
	c := m.child()
	c.fill(3, 33)
	family := []*member{m, c}
	waiting := m.Called(0)
	b.must(b.hv.Close())
	b.open()
	for _, m := range family {
		d, err := b.hv.Adopt(m.ID(), m.Token())
		b.must(err)
		t.Cleanup(func() { end(t, d) })
		m.Forker, m.b = AsForker(t, d), b
	}
	d, err := m.Fork(context.Background(), waiting)
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	b.must(d.Unpause())
	m.Tell(int64(d.ID()))
	s := &member{AsForker(t, d), b, m.model}
	s.Born()
	s.check("a child of an adopted one")
	g := c.child()
	g.check("a child of an adopted child")
	g.child().check("its child")
	for _, d := range []xen.Domain{s, g, c, m} {
		b.hasLibrary(d)
	}
	c.check("an adopted child")
	m.check("an adopted parent")
}

// forkMany forks several families at once.
func forkMany(t *testing.T, b *bench) {
	var families []*member
	for range 4 {
		families = append(families, b.founder())
	}
	var wg sync.WaitGroup
	children := make([]xen.Domain, len(families))
	for i, m := range families {
		f := m.Called(0)
		wg.Go(func() {
			d, err := m.Fork(context.Background(), f)
			if err != nil {
				t.Error(err)
				return
			}
			children[i] = d
		})
	}
	wg.Wait()
	for i, m := range families {
		d := children[i]
		if d == nil {
			t.Fatal("no child")
		}
		t.Cleanup(func() { end(t, d) })
		m.Tell(int64(d.ID()))
		b.must(d.Unpause())
		c := &member{AsForker(t, d), b, m.model}
		c.Born()
		c.check("a child of many")
	}
}

// forkPooled holds that it is the same whether parent or child were blanks of the pool.
func forkPooled(t *testing.T, b *bench) {
	pool := func(n int) {
		b.must(b.hv.SetPool(n))
		eventually(t, "a pool", func() bool { return b.hv.Pool().Ready == n })
	}
	for _, parent := range []int{0, 1} {
		pool(parent)
		m := b.founder()
		m.fill(ForkPages, 7)
		for _, child := range []int{0, 1} {
			pool(child)
			c := m.child()
			c.check("a child, by the pool")
			c.fill(5, 8)
			m.check("its parent")
			for _, grandchild := range []int{0, 1} {
				pool(grandchild)
				c.child().check("a grandchild, by the pool")
			}
		}
	}
	b.must(b.hv.SetPool(0))
}

// forkCycles forks again and again; the bench compares what is left.
func forkCycles(t *testing.T, b *bench) {
	begin := time.Now()
	m := b.founder()
	for i := range b.Cycles {
		c := m.fork(0)
		switch i % 3 {
		case 0: // it never runs
			end(t, c.Domain)
			continue
		case 1:
			b.must(c.Unpause())
			c.Born()
			c.fill(i%ForkPages, uint64(i)+1)
		case 2:
			b.must(c.Unpause())
			c.Born()
			m.leave()
			m = c
			continue
		}
		c.leave()
	}
	m.check("after many forks")
	t.Logf("%d in %v", b.Cycles, time.Since(begin))
}

// forkTree forks, writes and ends at random, and holds each member's memory against a model.
func forkTree(t *testing.T, b *bench) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	family := []*member{b.founder()}
	for n := range 60 {
		i := r.IntN(len(family))
		m := family[i]
		switch k := r.IntN(10); {
		case k < 3 && len(family) < 8:
			c := m.fork(uint64(r.IntN(5)))
			if r.IntN(2) == 0 {
				m.fill(r.IntN(ForkPages), uint64(n)+1)
			}
			b.must(c.Unpause())
			c.Born()
			family = append(family, c)
		case k < 4 && len(family) > 1:
			m.leave()
			family = append(family[:i], family[i+1:]...)
		case k < 8:
			m.fill(r.IntN(ForkPages+1), uint64(n)+1)
		default:
			m.check("a member")
		}
	}
	for _, m := range family {
		m.check("at the end")
	}
}

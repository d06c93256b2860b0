package xentest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

func testLife(t *testing.T, b *bench) {
	info, err := b.hv.Info()
	b.must(err)
	if info.Name == "" || info.CPUs < 1 || info.Memory == 0 {
		t.Errorf("info %+v", info)
	}
	if later, err := b.hv.Info(); err != nil || info.Idle <= 0 || later.Idle < info.Idle {
		t.Errorf("the CPUs were idle for %v, then for %v; %v", info.Idle, later.Idle, err)
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

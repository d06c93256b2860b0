package xentest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"kxsh/ipc"
	"kxsh/xen"
)

// reset resets a domain that has ended, and sees what comes of it out.
func (b *bench) reset(d xen.Domain, c *xen.Config) xen.Domain {
	b.t.Helper()
	next, err := d.Reset(context.Background(), c)
	b.must(err)
	b.t.Cleanup(func() { end(b.t, next) })
	if next.ID() != d.ID() {
		b.t.Fatalf("domain %d was reset as %d", d.ID(), next.ID())
	}
	return next
}

// run lets a domain run to its end.
func (b *bench) run(d xen.Domain, code int) xen.Domain {
	b.t.Helper()
	b.must(d.Unpause())
	b.exited(d, code)
	return d
}

func testReset(t *testing.T, b *bench) {
	d := b.start("spin")
	await(t, d.Rang(), "the start")
	if _, err := d.Reset(context.Background(), b.config("status", "1")); err == nil {
		t.Error("a running domain was reset")
	}
	b.must(d.SetWeight(100))
	b.must(d.Destroy())
	await(t, d.Gone(), "the end")
	c := b.config("status", "2")
	c.Memory = 0
	if _, err := d.Reset(context.Background(), c); err == nil {
		t.Error("a domain was reset to one without memory")
	}
	next := b.reset(d, b.config("status", "2"))
	if _, err := d.Status(); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("a domain that was reset is still there: %v", err)
	}
	if _, err := d.Reset(context.Background(), b.config("status", "2")); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("a domain was reset twice: %v", err)
	}
	if st, err := next.Status(); err != nil || st.State != xen.StatePaused || st.Weight != 256 {
		t.Errorf("after the reset: %+v, %v", st, err)
	}
	if ids, err := b.hv.Domains(); err != nil || len(ids) != 1 || ids[0] != d.ID() {
		t.Errorf("domains %v, %v, want %d", ids, err, d.ID())
	}
	if _, ok, _ := ipc.ReadStatus(next.Control()); ok {
		t.Error("it runs before Unpause")
	}
	if control(next).Domid != uint32(d.ID()) {
		t.Errorf("it is told that it is %d", control(next).Domid)
	}
	b.run(next, 2)
	crash := b.reset(next, b.config("crash"))
	b.must(crash.Unpause())
	await(t, crash.Gone(), "the end of one that crashes")
	pong := b.reset(crash, b.config("pong"))
	b.must(pong.Unpause())
	for range 10 {
		b.must(pong.Notify())
		await(t, pong.Rang(), "an answer after a reset")
	}
}

// testResetSoiled has a domain leave what it can, and the next one of its number look for it.
func testResetSoiled(t *testing.T, b *bench) {
	soil := func() *xen.Config {
		return b.config("soil", fmt.Sprint(uint64(privateVA)), fmt.Sprint(privatePages))
	}
	c := soil()
	s := AddLibrary(t, b.hv, c)
	d, err := b.hv.Create(context.Background(), c)
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	ram, seeds := control(d).RamVa, map[[32]byte]bool{control(d).Seed: true}
	b.run(d, 0)
	for i := range 3 {
		fresh := b.config("fresh", "7")
		fresh.Libraries, fresh.Dynamic = c.Libraries, c.Dynamic
		d = b.reset(d, fresh)
		b.hasLibrary(d)
		b.run(d, 7)
		again := soil()
		again.Libraries, again.Dynamic = c.Libraries, c.Dynamic
		d = b.reset(d, again)
		seeds[control(d).Seed] = true
		b.run(d, 0)
		if len(seeds) != i+2 {
			t.Error("a seed was used again")
		}
	}
	b.must(s.Close())
	d = b.reset(d, b.config("fresh", "8")) // without libraries
	if control(d).RamVa == ram {
		t.Errorf("its memory is at %#x again", ram)
	}
	b.run(d, 8)
}

// testResetHostile: what a program has done to itself, and to the hypervisor's patience, the next one of its number does not feel.
func testResetHostile(t *testing.T, b *bench) {
	d := b.create("status", "0")
	for _, args := range [][]string{
		{"scribble", "control"}, {"scribble", "stub"}, {"hog", "ports"}, {"hog", "grants"}, {"hog", "memory"}, {"storm", "timers"}, {"fuzz", "1"}, {"fuzz", "2"},
		{"garbage", "gdt", "1"}, {"garbage", "callbacks", "0"}, {"garbage", "base", "1"}, {"garbage", "assists", "1"},
	} {
		b.must(d.Destroy())
		await(t, d.Gone(), "the end before a hostile program")
		d = b.reset(d, b.config(args...))
		b.must(d.Unpause())
		select {
		case <-d.Gone():
		case <-time.After(50 * time.Millisecond):
		}
		b.must(d.Destroy())
		await(t, d.Gone(), "the end of a hostile program")
		d = b.run(b.reset(d, b.config("fresh", "9")), 9)
	}
}

// testResetForked: neither a parent nor its child is reset.
func testResetForked(t *testing.T, b *bench) {
	m := b.founder()
	child := m.child()
	for _, m := range []*member{child, m} {
		m.ask(forkExit, 7, 0)
		b.exited(m.Domain, 7)
		if _, err := m.Reset(context.Background(), b.config("status", "1")); !errors.Is(err, xen.ErrNotBlank) {
			t.Errorf("one of a family was reset: %v", err)
		}
	}
}

// testResetAdopted: the next engine finds a domain that was reset, if this one has not said so to anybody; the domain before is no more.
func testResetAdopted(t *testing.T, b *bench) {
	d, err := b.hv.Create(context.Background(), b.config("status", "3"))
	b.must(err)
	token := d.Token()
	next, err := b.run(d, 3).Reset(context.Background(), b.config("pong"))
	b.must(err)
	t.Cleanup(func() { next.Destroy(); next.Release() })
	b.must(next.Unpause())
	b.must(b.hv.Close())
	b.open()
	if _, err := b.hv.Adopt(d.ID(), token); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("the domain before was adopted: %v", err)
	}
	adopted, err := b.hv.Adopt(d.ID(), nil)
	b.must(err)
	t.Cleanup(func() { end(t, adopted) })
	await(t, adopted.Rang(), "the ring of an adopted domain")
	b.must(adopted.Notify())
	await(t, adopted.Rang(), "an answer to the second engine")
	b.must(adopted.Destroy())
	await(t, adopted.Gone(), "the end of an adopted domain")
	next.Destroy()
	next.Release() // what the first engine maps would go with its process
	b.run(b.reset(adopted, b.config("status", "4")), 4)
}

// testResetOften leaves nothing, which newBench looks for.
func testResetOften(t *testing.T, b *bench) {
	d := b.run(b.create("status", "0"), 0)
	for i := range max(b.Resets, 10) {
		d = b.run(b.reset(d, b.config("status", fmt.Sprint(i%100))), i%100)
	}
}

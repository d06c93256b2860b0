//go:build xen

package privcmd

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Words of RESULT in xentest/guest/fork.c.
const (
	forkAsked  = 8
	forkOp     = 9
	forkAnswer = 12
	forkDone   = 13
	forkBorn   = 14
	forkFork   = 3
)

func (d *Domain) word(i int) *uint64 {
	const off = abi.ArgsVa + abi.ArgsSize - abi.PageSize - abi.CtlVa
	return &(*[512]uint64)(unsafe.Pointer(&d.area[off]))[i]
}

func (d *Domain) call() *abi.KxCall {
	return &(*abi.KxControl)(unsafe.Pointer(&d.area[abi.ControlVa-abi.CtlVa])).Call
}

func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// forker starts a domain that forks; called has it ask for one, told answers.
func forker(t *testing.T, h *Hypervisor, im xen.Image, promise ...string) *Domain {
	t.Helper()
	x, err := h.Create(context.Background(), &xen.Config{Image: im, Memory: 12 << 20, Boot: xen.Boot{Name: "forker", Args: append([]string{"guest", "fork"}, promise...)}})
	if err != nil {
		t.Fatal(err)
	}
	d := x.(*Domain)
	if err := d.Unpause(); err != nil {
		t.Fatal(err)
	}
	within(t, "a forker", func() bool { return atomic.LoadUint64(d.word(forkBorn)) == 1 })
	return d
}

func (d *Domain) called(t *testing.T) *xen.Fork {
	t.Helper()
	*d.word(forkOp) = forkFork
	atomic.AddUint64(d.word(forkAsked), 1)
	if err := d.Notify(); err != nil {
		t.Fatal(err)
	}
	c := d.call()
	within(t, "a call", func() bool { return atomic.LoadUint32(&c.Asked) != atomic.LoadUint32(&c.Done) })
	return &xen.Fork{Boot: xen.Boot{Name: "child", PPID: d.id, Family: d.id}, RIP: c.A[0], RSP: c.A[1]}
}

func (d *Domain) told(t *testing.T, result int64, in *injection) {
	t.Helper()
	c := d.call()
	c.Result = result
	atomic.StoreUint32(&c.Done, atomic.LoadUint32(&c.Asked))
	twice(t, d.Notify, in)
	within(t, "the parent", func() bool { return atomic.LoadUint64(d.word(forkDone)) == atomic.LoadUint64(d.word(forkAsked)) })
	if got := int64(atomic.LoadUint64(d.word(forkAnswer))); got != result {
		t.Fatalf("fork returned %d, want %d", got, result)
	}
}

// forkedLife is a fork with a promise in which every request may fail: its parent goes on.
func forkedLife(promise string) func(*testing.T, *Hypervisor, *xen.Config, func() *injection) {
	return func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		forkLived(t, h, c, begin, promise)
	}
}

func forkLived(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection, promise string) {
	defer h.window.close(h.c) // so that each fork has to make it
	d := forker(t, h, c.Image, promise)
	f := d.called(t)
	in := begin()
	child, err := d.Fork(context.Background(), f)
	if err != nil {
		in.explains(t, err)
		if info, err := h.c.domainInfo(d.id); err != nil || info.Flags&infPaused != 0 {
			t.Fatalf("%s: the parent: %+v, %v", in.call(), info, err)
		}
		d.told(t, -12, in)
	} else {
		twice(t, child.Unpause, in)
		within(t, "the child", func() bool { return atomic.LoadUint64(child.(*Domain).word(forkBorn)) == 1 })
		d.told(t, int64(child.ID()), in)
		quit(t, child, in)
	}
	quit(t, d, in)
}

// forkOnce forks, so that what a hypervisor keeps from its first fork on is there.
func (g guests) forkOnce() {
	d := forker(g.t, g.h, g.im)
	child, err := d.Fork(context.Background(), d.called(g.t))
	g.must(err)
	g.end(child.(*Domain))
	g.end(d)
}

// TestForkUnderneath has somebody else destroy the parent before the nth request of a fork, for every n: the fork
// fails, or the child has all it needs.
func TestForkUnderneath(t *testing.T) {
	g := newGuests(t, "forkunderneath")
	other, err := dial()
	g.must(err)
	defer other.release()
	g.must(other.probe())
	g.forkOnce()
	before := settled(t, g.h.c)
	before.frames -= heap
	failed, forked := 0, 0
	for n := int64(1); ; n += 2 { // not each one: it takes its time
		d := forker(t, g.h, g.im)
		f := d.called(t)
		var count atomic.Int64
		inject := func(call string) unix.Errno {
			if call != background && count.Add(1) == n {
				other.destroy(d.id)
			}
			return 0
		}
		g.h.c.inject.Store(&inject)
		child, err := d.Fork(context.Background(), f)
		g.h.c.inject.Store(nil)
		if err != nil {
			failed++
			oneLine(t, err, "fork domain ")
		} else {
			forked++
			g.must(child.Unpause())
			g.eventually("the child", func() bool { return atomic.LoadUint64(child.(*Domain).word(forkBorn)) == 1 })
			g.end(child.(*Domain))
		}
		g.end(d)
		leftovers(t, g.h.c, before, "a parent that was destroyed underneath")
		if count.Load() < n {
			t.Logf("%d failed, %d forked", failed, forked)
			if failed < 5 || forked < 1 {
				t.Error("too few")
			}
			return
		}
	}
}

// TestForkOutOfMemory forks while Xen has less and less memory.
func TestForkOutOfMemory(t *testing.T) {
	g := newGuests(t, "forkmemory")
	b := newBallast(g)
	d := forker(t, g.h, g.im)
	defer g.end(d)
	info, err := g.h.c.domainInfo(d.id)
	g.must(err)
	g.forkOnce()
	failed := map[string]int{}
	const step = 20
	for left := info.TotPages + 2*step; left > info.TotPages-3*step; left -= step {
		b.leave(left)
		f := d.called(t)
		before := settled(t, g.h.c)
		child, err := d.Fork(context.Background(), f)
		if err == nil {
			g.end(child.(*Domain))
			failed["nothing"]++
		} else {
			oneLine(t, err, "fork domain ", "memory", "end a pVM")
			if !errors.Is(err, xen.ErrNoMemory) {
				t.Errorf("%d frames: %v", left, err)
			}
			failed["something"]++
		}
		before.frames -= min(before.frames, heap)
		leftovers(t, g.h.c, before, "a lack of memory")
		d.told(t, -12, new(injection))
	}
	t.Logf("%d frames a domain: %v", info.TotPages, failed)
	if len(failed) != 2 {
		t.Error("memory did not end in a fork")
	}
}

// TestForkThief holds that a parent cannot have frames of others copied for its child: neither by its list of
// frame numbers nor by its page tables.
func TestForkThief(t *testing.T) {
	g := newGuests(t, "forkthief")
	v := g.create("spin")
	const page = 100
	secret := g.frameOf(v, v.ramVA()+page*pageSize)
	dom0, err := g.h.c.domainInfo(0)
	g.must(err)
	d := forker(t, g.h, g.im)
	defer g.end(d)
	put := func(mfn uint64) (old uint64) {
		first := newLayout(d.geometry.shape, d.geometry.ramVA).numbers + page
		list := g.frameOf(d, abi.P2mVa+first*8)
		g.must(g.h.c.withFrames(d.id, []uint64{list}, protWrite, func(area []byte) error {
			at := area[first%perTable*8:]
			old = binary.LittleEndian.Uint64(at)
			binary.LittleEndian.PutUint64(at, mfn)
			return nil
		}))
		return old
	}
	refused := func(what string) {
		t.Helper()
		f := d.called(t)
		child, err := d.Fork(context.Background(), f)
		if err == nil {
			t.Errorf("%s: forked", what)
			g.end(child.(*Domain))
		} else if !strings.HasPrefix(err.Error(), "fork domain ") {
			t.Errorf("%s: %v", what, err)
		}
		d.told(t, -1, new(injection))
	}
	// The page is not mapped, so that only the list tells of it.
	w := newWalker(d.c, d.id, d.top)
	at, entry, err := w.slot(d.ramVA()+page*pageSize, 1)
	w.close()
	g.must(err)
	_, err = g.h.c.mmuUpdates(d.id, d.id, []mmuUpdate{{at, 0}})
	g.must(err)
	own := put(secret)
	if own != entry&pteFrame>>pageShift {
		t.Fatalf("the list has %#x, the tables %#x", own, entry)
	}
	refused("a frame of another")
	put(dom0.SharedInfoFrame)
	refused("a frame of Xen")
	put(1 << 40)
	refused("no frame")
	put(own)
	_, err = g.h.c.mmuUpdates(d.id, domidSelf, []mmuUpdate{{at, secret<<pageShift | spanConst}})
	g.must(err)
	refused("a mapping of another's frame")
	_, err = g.h.c.mmuUpdates(d.id, d.id, []mmuUpdate{{at, entry}})
	g.must(err)
	f := d.called(t)
	child, err := d.Fork(context.Background(), f)
	g.must(err)
	d.told(t, 1, new(injection))
	g.end(child.(*Domain))
}

// TestForkToken holds that what a token says is held against what a domain can be.
func TestForkToken(t *testing.T) {
	g := newGuests(t, "forktoken")
	made, err := g.h.Create(context.Background(), &xen.Config{Image: g.im, Memory: 1 << 20, Boot: xen.Boot{Args: []string{"guest", "pong"}}})
	g.must(err)
	d := made.(*Domain)
	g.must(d.Unpause())
	token := d.Token()
	forget(t, g.h, d)
	for i := int(unsafe.Offsetof(tokenHead{}.Slots)); i < tokenSize; i += 8 {
		bad := append([]byte(nil), token...)
		binary.LittleEndian.PutUint64(bad[i:], 1<<50+1)
		if _, err := g.h.Adopt(d.id, bad); !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("word at %d: %v", i, err)
		}
	}
	x, err := g.h.Adopt(d.id, nil)
	g.must(err)
	if _, err := x.Fork(context.Background(), &xen.Fork{RIP: abi.ImageVa}); !errors.Is(err, xen.ErrNoFork) {
		t.Errorf("without a token: %v", err)
	}
	g.end(x.(*Domain))
}

//go:build xen

package privcmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// forkedLife is a fork with a promise in which every request may fail: its parent goes on.
func forkedLife(promise string) func(*testing.T, *Hypervisor, *xen.Config, func() *injection) {
	return func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		forkLived(t, h, c, begin, promise)
	}
}

func forkLived(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection, promise string) {
	defer h.window.close(h.c) // so that each fork has to make it
	h.fillAfter = time.Hour
	parent := xentest.ForkerConfig(c.Image, xentest.ForkerMemory, promise)
	s := xentest.AddLibrary(t, h, parent)
	m := xentest.StartForkerOf(t, h, parent)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d := m.Domain.(*Domain)
	f := m.Called(0)
	in := begin()
	tell := func(result int64) {
		m.Reply(result)
		twice(t, d.Notify, in)
		m.Returned(result)
	}
	child, err := d.Fork(context.Background(), f)
	if err != nil {
		in.explains(t, err)
		if info, err := h.c.domainInfo(d.id); err != nil || info.Flags&infPaused != 0 {
			t.Fatalf("%s: the parent: %+v, %v", in.call(), info, err)
		}
		tell(-12)
	} else {
		twice(t, child.Unpause, in)
		xentest.AsForker(t, child).Born()
		tell(int64(child.ID()))
		twice(t, func() error { return child.Settle(lastPage(d)) }, in)
		twice(t, func() error { return d.Settle(lastPage(d) - 4<<20) }, in)
		quit(t, child, in)
	}
	quit(t, d, in)
}

// lastPage is the address of the last page of a domain's window.
func lastPage(d *Domain) uint64 { return d.geometry.ramVA + (d.geometry.pages-1)*pageSize }

// forkOnce forks, so that what a hypervisor keeps from its first fork on is there.
func (g guests) forkOnce() {
	m := xentest.StartForker(g.t, g.h, g.im, xentest.ForkerMemory)
	child, err := m.Fork(context.Background(), m.Called(0))
	g.must(err)
	g.end(child.(*Domain))
	g.end(m.Domain.(*Domain))
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
		m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory)
		d := m.Domain.(*Domain)
		f := m.Called(0)
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
			xentest.AsForker(t, child).Born()
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
	m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory)
	d := m.Domain.(*Domain)
	defer g.end(d)
	first, err := d.Fork(context.Background(), m.Called(0))
	g.must(err)
	info, err := g.h.c.domainInfo(first.ID())
	g.must(err)
	g.end(first.(*Domain))
	m.Tell(-12)
	failed := map[string]int{}
	const step = 20
	for left := info.TotPages + 2*step; left > info.TotPages-3*step; left -= step {
		b.leave(left)
		f := m.Called(0)
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
		m.Tell(-12)
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
	m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory)
	d := m.Domain.(*Domain)
	defer g.end(d)
	put := func(mfn uint64) (old uint64) {
		first := d.geometry.numbers() + page
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
		f := m.Called(0)
		child, err := d.Fork(context.Background(), f)
		if err == nil {
			t.Errorf("%s: forked", what)
			g.end(child.(*Domain))
		} else if !strings.HasPrefix(err.Error(), "fork domain ") {
			t.Errorf("%s: %v", what, err)
		}
		m.Tell(-1)
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
	f := m.Called(0)
	child, err := d.Fork(context.Background(), f)
	g.must(err)
	m.Tell(1)
	g.end(child.(*Domain))
}

// dieAfter says after which step of a fork a process that TestForkDied starts kills itself.
const dieAfter = "KX_TEST_DIE_AFTER"

// TestForkDied has an engine die after each step of a fork, while its parent is paused and while it is not: the next engine
// finds the parent as it was, and forks it for the call that it still makes. One that somebody else has paused stays so.
func TestForkDied(t *testing.T) {
	if step := os.Getenv(dieAfter); step != "" {
		dieForking(t, step)
	}
	g := newGuests(t, "forkdied in peace")
	g.forkOnce()
	m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory, "lazy")
	var steps []string
	f := m.Called(0)
	f.Step = func(name string, _ time.Duration) { steps = append(steps, name) }
	child, err := m.Fork(context.Background(), f)
	g.must(err)
	g.end(child.(*Domain))
	g.end(m.Domain.(*Domain))
	for i, step := range steps {
		byOthers := i%2 != 0
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestForkDied$")
		cmd.Env = append(os.Environ(), dieAfter+"="+step)
		cmd.Stderr = os.Stderr
		out, _ := cmd.Output()
		var id xen.DomID
		var token []byte
		if _, err := fmt.Fscanf(bytes.NewReader(out), "%d %x", &id, &token); err != nil {
			t.Fatalf("%s: %v: %s", step, err, out)
		}
		if byOthers {
			_, err = g.h.c.domctl(domctlPause, id, nil)
			g.must(err)
		}
		h := open(t, dyingKey)
		x, err := h.Adopt(id, token)
		g.must(err)
		st, err := x.Status()
		if g.must(err); (st.State == xen.StatePaused) != byOthers {
			t.Errorf("%s: the parent's state is %v", step, st.State)
		}
		g.must(x.Unpause())
		m := xentest.AsForker(t, x)
		child, err := x.Fork(context.Background(), m.Calling())
		g.must(err)
		g.must(child.Unpause())
		xentest.AsForker(t, child).Born()
		m.Tell(int64(child.ID()))
		m.Fill(xentest.ForkPages, 6)
		if got := xentest.AsForker(t, child).Look(); got != content() {
			t.Errorf("%s: the child has %v", step, got)
		}
		g.end(child.(*Domain))
		g.end(x.(*Domain))
		left, err := h.Domains()
		g.must(err)
		for _, id := range left { // as the engine does
			x, err := h.Adopt(id, nil)
			g.must(err)
			g.end(x.(*Domain))
		}
		g.must(h.Close())
	}
}

const dyingKey = "forkdied"

// dieForking says which domain it forks, and dies after a step.
func dieForking(t *testing.T, step string) {
	h := open(t, dyingKey)
	m := xentest.StartForker(t, h, xentest.PrepareGuest(t, h), xentest.ForkerMemory, "lazy")
	f := m.Called(0)
	f.Step = func(name string, _ time.Duration) {
		if name == step {
			fmt.Printf("%d %x\n", m.ID(), m.Token())
			unix.Kill(os.Getpid(), unix.SIGKILL)
		}
	}
	m.Fork(context.Background(), f)
	t.Fatal("alive")
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

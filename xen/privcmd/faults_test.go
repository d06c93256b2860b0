//go:build xen

package privcmd

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// oneLine fails the test unless an error is what a user can read.
func oneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	s := err.Error()
	if strings.Contains(s, "\n") || len(s) > 300 {
		t.Errorf("%q", s)
	}
	for _, p := range parts {
		if !strings.Contains(s, p) {
			t.Errorf("%q does not say %q", s, p)
		}
	}
}

// ballast takes memory from Xen until so many frames are free: a domain that never runs holds it.
type ballast struct {
	g  guests
	id xen.DomID
}

func newBallast(g guests) *ballast {
	b := &ballast{g: g}
	var err error
	b.id, err = g.empty()
	g.must(err)
	g.must(domctl(g.h.c, domctlMaxMem, b.id, &maxMem{1 << 40 >> 10}))
	g.t.Cleanup(func() { g.must(g.h.c.destroy(b.id)) })
	return b
}

// empty makes a domain that has nothing.
func (g guests) empty() (xen.DomID, error) {
	c := createDomain{evtchnPort: maxEvtchnPort}
	copy(c.handle[:], g.h.key[:])
	return g.h.c.create(&c)
}

// leave takes what is more than n frames.
func (b *ballast) leave(n uint64) {
	b.g.t.Helper()
	if free := b.g.free(); free > n {
		mfns := make([]uint64, free-n)
		if err := b.g.h.c.populate(b.id, mfns); err != nil && !errors.Is(err, xen.ErrNoMemory) {
			b.g.t.Fatal(err)
		}
	}
}

func (g guests) free() uint64 {
	g.t.Helper()
	phys, err := g.h.c.physInfo()
	g.must(err)
	return phys.FreePages + phys.ScrubPages
}

// TestOutOfMemory builds domains while Xen has less and less memory, which ends at any moment of the
// building: each failure says so, and leaves all that was free free.
func TestOutOfMemory(t *testing.T) {
	g := newGuests(t, "memory")
	b := newBallast(g)
	config := &xen.Config{Image: g.im, Memory: 1 << 20, Boot: xen.Boot{Name: "test", Args: []string{"guest", "status", "0"}}}
	d, err := g.h.Create(context.Background(), config)
	g.must(err)
	info, err := g.h.c.domainInfo(d.ID())
	g.must(err)
	need := info.TotPages
	g.end(d.(*Domain))
	const above, step = 27, 3 // frames; what Xen needs for itself is less than that
	failed := map[string]int{}
	b.leave(need + above)
	for left := need + above; left > need-2*step; left -= step {
		b.leave(left)
		before := settled(t, g.h.c)
		d, err := g.h.Create(context.Background(), config)
		if err == nil {
			g.must(d.Unpause())
			<-d.Gone()
			g.end(d.(*Domain))
			failed["nothing"]++
		} else {
			oneLine(t, err, "create domain: ", "memory", "end a pVM")
			if !errors.Is(err, xen.ErrNoMemory) {
				t.Errorf("%d frames: %v", left, err)
			}
			what, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "create domain: "), ":")
			if failed[what]++; failed[what] == 1 {
				t.Logf("%d frames above what the domain needs: %v", int(left)-int(need), err)
			}
		}
		before.frames -= min(before.frames, heap)
		leftovers(t, g.h.c, before, "a lack of memory")
	}
	t.Logf("%d frames a domain; what failed: %v", need, failed)
	if failed["nothing"] == 0 || len(failed) < 2 || len(failed) == 2 && failed["check"] != 0 {
		t.Error("memory did not end in the middle of anything")
	}
}

// TestDomainLimit makes domains until Xen refuses one more, then goes on with less.
func TestDomainLimit(t *testing.T) {
	g := newGuests(t, "limit")
	b := newBallast(g)
	b.leave(800)
	var ids []xen.DomID
	for {
		id, err := g.empty()
		if err != nil {
			if !errors.Is(err, xen.ErrNoMemory) {
				t.Error(err)
			}
			oneLine(t, err, "domctl ", "ENOMEM", "end a pVM")
			t.Logf("after %d: %v", len(ids), err)
			break
		}
		if ids = append(ids, id); len(ids) > 2000 {
			t.Error("more domains than memory")
			break
		}
	}
	if err := g.h.SetPool(3); err != nil { // cannot be filled, and harms nobody
		t.Error(err)
	}
	if _, err := g.h.Create(context.Background(), &xen.Config{Image: g.im, Memory: 1 << 20}); !errors.Is(err, xen.ErrNoMemory) {
		t.Errorf("no memory: %v", err)
	}
	g.must(g.h.SetPool(0))
	g.h.pool.idle.Wait()
	for _, id := range ids {
		g.must(g.h.c.destroy(id))
	}
	g.eventually("their frames", func() bool { return g.free() > 600 })
	d := g.create("status", "0")
	g.must(d.Unpause())
	<-d.Gone()
	if e := d.Exit(); e.Reason != xen.ExitShutdown {
		t.Errorf("%+v", e)
	}
}

// TestDestroyedUnderneath has somebody else destroy a domain before the nth request, for every n of its
// life: a building one fails, a running one is found gone, and nothing is left of it.
func TestDestroyedUnderneath(t *testing.T) {
	g := newGuests(t, "underneath")
	other, err := dial()
	g.must(err)
	defer other.release()
	g.must(other.probe())
	_, err = other.domainList() // takes its buffers
	g.must(err)
	config := &xen.Config{Image: g.im, Memory: 256 << 10, Boot: xen.Boot{Name: "test", Args: []string{"guest", "spin"}, Root: []byte("an archive")}}
	before := settled(t, g.h.c)
	before.frames -= heap
	var building, running int
	for n := int64(1); ; n++ {
		var killed atomic.Bool
		var mu sync.Mutex
		count := int64(0)
		inject := func(call string) unix.Errno {
			mu.Lock()
			defer mu.Unlock()
			if call == background || killed.Load() {
				return 0
			}
			if count++; count < n {
				return 0
			}
			list, err := other.domainList()
			if err != nil {
				return unix.EIO
			}
			for _, d := range list {
				if d.Domain != 0 && d.Flags&infDying == 0 && other.destroy(xen.DomID(d.Domain)) == nil {
					killed.Store(true)
				}
			}
			return 0
		}
		g.h.c.inject.Store(&inject)
		d, err := g.h.Create(context.Background(), config)
		if err != nil {
			building++
			oneLine(t, err, "create domain: ")
		} else {
			for _, f := range []func() error{d.Unpause, d.Notify, func() error { _, err := d.Status(); return err }, d.Pause, d.Unpause} {
				if err := f(); err != nil && !errors.Is(err, xen.ErrNoDomain) {
					oneLine(t, err)
				}
			}
			if killed.Load() {
				running++
				<-d.Gone()
				if e := d.Exit(); e.Reason != xen.ExitKilled || e.Detail == "" {
					t.Errorf("exit %+v", e)
				}
			}
			g.h.c.inject.Store(nil)
			g.end(d.(*Domain))
		}
		g.h.c.inject.Store(nil)
		leftovers(t, g.h.c, before, "a domain that was destroyed underneath")
		if !killed.Load() {
			t.Logf("destroyed %d times while it was built, %d times while it ran", building, running)
			if building < 5 || running < 3 {
				t.Error("too few")
			}
			return
		}
	}
}

// TestNotRoot opens Xen as a user who may not.
func TestNotRoot(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its rights
		if _, err := unix.SetfsuidRetUid(1000); err != nil {
			done <- err
			return
		}
		h, err := New(Options{Key: "user"})
		if err == nil {
			h.Close()
		}
		done <- err
	}()
	err := <-done
	if !errors.Is(err, unix.EACCES) {
		t.Fatal(err)
	}
	oneLine(t, err, "xen: /dev/xen/privcmd: ", "permission denied", "be root")
}

// TestStopped has a domain be shut down by somebody else, as xl shutdown does at last: SCHEDOP_remote_shutdown.
func TestStopped(t *testing.T) {
	g := newGuests(t, "stopped")
	d := g.create("spin")
	g.must(d.Unpause())
	g.eventually("the domain", func() bool { return d.result(2) > 0 })
	const reasonCrash = 3
	g.must(withStruct(g.h.c, &remoteShutdown{uint16(d.id), 0, reasonCrash}, func(at uint64) error {
		_, err := g.h.c.call("sched_op remote_shutdown", hvSchedOp, schedopRemoteShutdown, at)
		return err
	}))
	<-d.Gone()
	if e := d.Exit(); e.Reason != xen.ExitCrash && e.Reason != xen.ExitFault {
		t.Errorf("%+v", e)
	}
}

// remoteShutdown is struct sched_remote_shutdown of public/sched.h.
type remoteShutdown struct {
	Dom    uint16
	_      uint16
	Reason uint32
}

const (
	hvSchedOp             = 29 // __HYPERVISOR_sched_op
	schedopRemoteShutdown = 4  // SCHEDOP_remote_shutdown
)

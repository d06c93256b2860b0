//go:build xen

package privcmd

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

// errnos are what injected failures fail with, in turn. None says that a thing is gone: that would be
// believed.
var errnos = []unix.Errno{unix.ENOMEM, unix.EBUSY, unix.EPERM, unix.EINVAL, unix.ENOSPC, unix.EFAULT}

// background is the call that the watcher of exits makes at any time; it is not counted.
const background = "sysctl getdomaininfolist"

// injection makes one request of a device fail.
type injection struct {
	count  atomic.Int64
	failed atomic.Pointer[string]
	errno  unix.Errno
}

// failNth makes the nth request fail.
func failNth(c *conn, n int) *injection {
	in := &injection{errno: errnos[n%len(errnos)]}
	inject := func(call string) unix.Errno {
		if call == background || in.count.Add(1) != int64(n) {
			return 0
		}
		in.failed.Store(&call)
		return in.errno
	}
	c.inject.Store(&inject)
	return in
}

// call is the request that failed, "" if there were not so many.
func (in *injection) call() string {
	if call := in.failed.Load(); call != nil {
		return *call
	}
	return ""
}

// explains fails the test unless an error says which request failed and why.
func (in *injection) explains(t *testing.T, err error) {
	t.Helper()
	e := new(Error)
	if in.call() == "" || !errors.As(err, &e) || e.Call != in.call() || e.Errno != in.errno {
		t.Fatalf("%q failed: %v", in.call(), err)
	}
}

// life is one way through what a domain can go through, in which every request may fail; its end, the
// undoing of what was done, is made in any case.
type life struct {
	name string
	few  int // requests it makes at least
	run  func(t *testing.T, h *Hypervisor, c *xen.Config, in func() *injection)
}

// quit destroys and releases a domain, a second time where the first fails.
func quit(t *testing.T, d xen.Domain, in *injection) {
	t.Helper()
	twice(t, d.Destroy, in)
	<-d.Gone()
	twice(t, d.Release, in)
}

func twice(t *testing.T, f func() error, in *injection) {
	t.Helper()
	if err := f(); err != nil {
		in.explains(t, err)
		if err := f(); err != nil {
			t.Fatalf("%s, and again: %v", in.call(), err)
		}
	}
}

var lives = []life{
	{"killed", 15, func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		in := begin()
		d, err := h.Create(context.Background(), c)
		if err != nil {
			in.explains(t, err)
			return
		}
		for _, f := range []func() error{d.Unpause, d.Notify, d.Pause, d.Unpause} {
			twice(t, f, in)
		}
		for _, f := range []func() error{
			func() error { _, err := d.Status(); return err },
			func() error { return d.ReadMemory(c.Image.(*image).entry, make([]byte, 8)) },
			func() error { return d.SetWeight(100) },
			func() error { return d.SetAffinity([]int{0}) },
			func() error { return d.SetMaxMem(8 << 20) },
		} {
			twice(t, f, in)
		}
		quit(t, d, in)
	}},
	{"exits", 15, func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		in := begin()
		c.Boot.Args = []string{"guest", "crash"}
		d, err := h.Create(context.Background(), c)
		if err != nil {
			in.explains(t, err)
			return
		}
		twice(t, d.Unpause, in)
		select {
		case <-d.Gone():
		case <-time.After(patience):
			t.Fatalf("%s: the end was not seen", in.call())
		}
		if e := d.Exit(); e.Reason != xen.ExitCrash {
			t.Fatalf("%s: exit %+v", in.call(), e)
		}
		quit(t, d, in)
	}},
	{"pool", 5, func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		in := begin()
		if err := h.SetPool(2); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); h.Pool().Ready < 2 && in.call() == ""; time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("%s: pool %+v", in.call(), h.Pool())
			}
		}
		d, err := h.Create(context.Background(), c)
		if err != nil {
			in.explains(t, err)
		} else {
			quit(t, d, in)
		}
		if err := h.SetPool(0); err != nil {
			t.Fatal(err)
		}
		h.pool.idle.Wait()
	}},
	{"adopted", 8, func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		d, err := h.Create(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Unpause(); err != nil {
			t.Fatal(err)
		}
		token := d.Token()
		forget(t, h, d.(*Domain))
		in := begin()
		next, err := h.Adopt(d.ID(), token)
		if err != nil {
			in.explains(t, err)
			if next, err = h.Adopt(d.ID(), token); err != nil {
				t.Fatalf("%s, and again: %v", in.call(), err)
			}
		}
		twice(t, next.Notify, in)
		quit(t, next, in)
	}},
	{"reset", 60, func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		c.Boot.Args = []string{"guest", "status", "0"}
		d, err := h.Create(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Unpause(); err != nil {
			t.Fatal(err)
		}
		<-d.Gone()
		in := begin()
		next, err := d.Reset(context.Background(), c)
		if err == nil {
			quit(t, next, in)
			return
		}
		in.explains(t, err)
		if err := d.Release(); err != nil && !errors.Is(err, xen.ErrNoDomain) {
			t.Fatalf("%s, and a release: %v", in.call(), err)
		}
	}},
	{"library", 25, func(t *testing.T, h *Hypervisor, c *xen.Config, begin func() *injection) {
		in := begin()
		s, err := h.Share(make([]byte, 3*pageSize))
		if err != nil {
			in.explains(t, err)
			return
		}
		twice(t, s.Close, in)
		h.c.inject.Store(nil)
		defer xentest.AddLibrary(t, h, c).Close()
		in = begin()
		d, err := h.Create(context.Background(), c)
		if err != nil {
			in.explains(t, err)
			return
		}
		quit(t, d, in)
	}},
	{"forked", 35, forkedLife("")},
	{"forked, shared", 40, forkedLife("shared")},
	{"forked, lazy", 60, forkedLife("lazy")},
}

// forget does to a domain what the death of its engine does: mapping, port and record are gone.
func forget(t *testing.T, h *Hypervisor, d *Domain) {
	t.Helper()
	if err := errors.Join(h.events.unbind(d.port), h.c.munmap(d.area)); err != nil {
		t.Fatal(err)
	}
	h.remove(d)
	d.released = true
	d.c.release()
}

// stride is how many requests may lie between two that TestFailures makes fail, and one: an emulated machine (KXSH_TEST_PATIENCE) takes a tenth of a second
// for each, and so has others in each run.
var stride = func() int {
	if os.Getenv("KXSH_TEST_PATIENCE") != "" {
		return 4
	}
	return 1
}()

// TestFailures makes the nth request of a device fail, for every n of each life, and finds nothing left
// each time: no domain, no zombie, no frame, no port, no mapping.
func TestFailures(t *testing.T) {
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) {
			h := open(t, "failures")
			defer h.Close()
			im := xentest.PrepareGuest(t, h)
			pass := func(n int) *injection {
				c := &xen.Config{Image: im, Memory: 256 << 10, Boot: xen.Boot{
					Name: "failures", Args: []string{"guest", "spin"}, Root: []byte("an archive"),
				}}
				in := new(injection)
				l.run(t, h, c, func() *injection { in = failNth(h.c, n); return in })
				h.c.inject.Store(nil)
				return in
			}
			pass(0) // makes the buffers that stay
			before := settled(t, h.c)
			for n := 1; ; n += 1 + rand.IntN(stride) {
				in := pass(n)
				leftovers(t, h.c, before, in.call())
				if in.call() == "" {
					t.Logf("fewer than %d requests", n)
					if n <= l.few {
						t.Error("too few requests were seen")
					}
					return
				}
			}
		})
	}
}

// TestOpenFailures makes the nth request of opening a hypervisor fail, for every n.
func TestOpenFailures(t *testing.T) {
	g := newGuests(t, "opened")
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		g.must(err)
		return len(list)
	}
	// What an engine that died left half made, each time anew.
	before, fds := settled(t, g.h.c), descriptors()
	before.frames -= heap
	for n := 1; ; n++ {
		if _, err := g.empty(); err != nil {
			t.Fatal(err)
		}
		c, err := dial()
		g.must(err)
		in := failNth(c, n)
		h, err := start(c, Options{Key: "opened", Pool: -1})
		if err != nil {
			in.explains(t, err)
			c.inject.Store(nil)
			c.release()
			h = open(t, "opened")
		}
		h.c.inject.Store(nil)
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", in.call(), err)
		}
		leftovers(t, g.h.c, before, in.call())
		if now := descriptors(); now != fds {
			t.Errorf("%s: %d descriptors, before %d", in.call(), now, fds)
		}
		if in.call() == "" {
			t.Logf("%d requests", n-1)
			if n < 8 {
				t.Error("too few requests were seen")
			}
			return
		}
	}
}

// TestBlindWatcher has the look for ended domains fail for a while: the end is found later.
func TestBlindWatcher(t *testing.T) {
	h := open(t, "blind")
	defer h.Close()
	before := settled(t, h.c)
	d, err := h.Create(context.Background(), &xen.Config{Image: xentest.PrepareGuest(t, h), Memory: 256 << 10,
		Boot: xen.Boot{Args: []string{"guest", "status", "0"}}})
	if err != nil {
		t.Fatal(err)
	}
	var looks atomic.Int64
	inject := func(call string) unix.Errno {
		if call == background && looks.Add(1) <= 2 {
			return unix.ENOMEM
		}
		return 0
	}
	h.c.inject.Store(&inject)
	if err := d.Unpause(); err != nil {
		t.Fatal(err)
	}
	<-d.Gone()
	if looks.Load() <= 2 {
		t.Errorf("%d looks", looks.Load())
	}
	h.c.inject.Store(nil)
	if err := d.Release(); err != nil {
		t.Fatal(err)
	}
	leftovers(t, h.c, before, "a blind watcher")
}

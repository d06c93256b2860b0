package hosted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// things lists what a hypervisor holds of the host: descriptors, mappings of control areas, children.
func things(t testing.TB) string {
	var s []string
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			if i := strings.IndexAny(to, "[("); i > 0 { // inode numbers change
				to = to[:i]
			}
			s = append(s, to)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(s)
	children := 0
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		b, _ := os.ReadFile(l) // the thread may have ended
		children += len(strings.Fields(string(b)))
	}
	return fmt.Sprintf("%d descriptors, %d control areas, %d children: %s", len(s),
		strings.Count(string(maps), "memfd:kx-ctl"), children, strings.Join(s, " "))
}

// TestEveryFailure makes the n-th system call of Create fail, for every n, with and without a blank
// in the pool; nothing is left of the domain, and the next one is made.
func TestEveryFailure(t *testing.T) {
	for _, pool := range []int{-1, 1} {
		t.Run(fmt.Sprintf("pool %d", pool), func(t *testing.T) {
			h := openPool(t, t.Name(), pool)
			defer h.Close()
			c := config(xentest.PrepareGuest(t, h), "first")
			defer xentest.AddLibrary(t, h, c).Close()
			settled := func() string {
				for h.Pool().Ready < h.Pool().Want {
					time.Sleep(time.Millisecond)
				}
				h.pool.work.Lock() // the filler rests
				defer h.pool.work.Unlock()
				return things(t)
			}
			remove(t, create(t, h, c))
			before := settled()
			n := 1
			for ; ; n++ {
				var at string
				d, err := failingNth(h, n, &at, func() (xen.Domain, error) { return h.Create(context.Background(), c) })
				if at == "" { // there are fewer calls
					remove(t, d)
					break
				}
				if err == nil || !errors.Is(err, xen.ErrNoMemory) {
					t.Errorf("call %d, %s: %v", n, at, err)
				}
				if ids, err := h.Domains(); err != nil || len(ids) != 0 {
					t.Errorf("call %d, %s: domains %v, %v", n, at, ids, err)
				}
				remove(t, create(t, h, c)) // and a zygote that was given up is there again
				remains(t, fmt.Sprintf("call %d, %s", n, at), before)
			}
			if n < 8 {
				t.Errorf("only %d calls could fail", n-1)
			}
		})
	}
}

// nthFails makes the nth system call fail, and notes in at which it was.
func nthFails(n int, at *string) func(call string) error {
	return func(call string) error {
		if n--; n == 0 {
			*at = call
			return unix.ENOMEM
		}
		return nil
	}
}

// failingNth makes a domain while the n-th system call fails for lack of memory, 0: none; at names it.
// The filler of the pool does not work meanwhile.
func failingNth(h *Hypervisor, n int, at *string, f func() (xen.Domain, error)) (xen.Domain, error) {
	h.pool.work.Lock()
	defer h.pool.work.Unlock()
	failing = nthFails(n, at)
	defer func() { failing = nil }()
	return f()
}

// TestNoMemory asks for more than the host has.
func TestNoMemory(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "first")
	c.Memory = 1 << 43
	if _, err := h.Create(context.Background(), c); !errors.Is(err, xen.ErrNoMemory) {
		t.Errorf("8 TiB: %v", err)
	}
	c.Memory = 1 << 60
	if _, err := h.Create(context.Background(), c); err == nil {
		t.Error("an absurd size was accepted")
	}
}

// TestZygoteKilled holds that a hypervisor whose zygote was killed goes on.
func TestZygoteKilled(t *testing.T) {
	h := openPool(t, t.Name(), -1)
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "first")
	remove(t, create(t, h, c))
	unix.Kill(h.zygote.pid, unix.SIGKILL)
	for range 3 {
		remove(t, create(t, h, c))
	}
}

// TestBlankKilled holds that blanks that were killed while they waited are not used.
func TestBlankKilled(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "first")
	for h.Pool().Ready < h.Pool().Want {
		time.Sleep(time.Millisecond)
	}
	h.pool.mu.Lock()
	for _, b := range h.pool.ready {
		unix.Kill(b.pid, unix.SIGKILL)
		for !hasEnded(b.pidfd) {
			time.Sleep(time.Millisecond)
		}
	}
	h.pool.mu.Unlock()
	for range 8 {
		d := create(t, h, c)
		if err := d.Unpause(); err != nil {
			t.Error(err)
		}
		<-d.Rang()
		remove(t, d)
	}
}

// TestProcessKilled holds that a domain whose process was killed from outside is reported so.
func TestProcessKilled(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	d := create(t, h, config(xentest.PrepareGuest(t, h), "pong"))
	d.Unpause()
	st, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	unix.Kill(st.HostPID, unix.SIGKILL)
	if e := d.Exit(); e.Reason != xen.ExitKilled || !strings.Contains(e.Detail, "SIGKILL") {
		t.Errorf("exit %+v", e)
	}
	remove(t, d)
}

// TestMemoryCap holds that a domain that outgrows its cap is destroyed, and that it is told why.
func TestMemoryCap(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "touch", "2000")
	c.Memory = 16 << 20
	d := create(t, h, c)
	st, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetMaxMem(st.Memory + 1<<20); err != nil {
		t.Fatal(err)
	}
	d.Unpause()
	if e := d.Exit(); e.Reason != xen.ExitDestroyed || !strings.Contains(e.Detail, "cap") {
		t.Errorf("exit %+v", e)
	}
	remove(t, d)
}

// TestHostMemoryGone gives a domain a RAM window of which the host has only half, as it is when the
// host runs out: the domain ends, and the reason is told.
func TestHostMemoryGone(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "touch", "300")
	b := &build{h: h, c: c, ram: -1}
	for _, step := range []func() error{
		b.check, b.takeBlank, b.memory, func() error { b.place.RAMPages *= 2; return nil }, b.order, b.fill, b.boot, b.watch, b.awaitMapped,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	defer remove(t, b.d)
	b.d.Unpause()
	if e := b.d.Exit(); e.Reason != xen.ExitFault || e.Crash.Signo != uint32(unix.SIGBUS) || !strings.Contains(e.Detail, "no memory left") {
		t.Errorf("exit %+v", e)
	}
}

// TestNumbers holds that numbers begin again after the last one, and that none is given twice.
func TestNumbers(t *testing.T) {
	key := fmt.Sprintf("%s %d", t.Name(), os.Getpid())
	keys = append(keys, key)
	h, err := New(Options{Key: key, FirstID: xen.MaxDomID - 1, Pool: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "pong")
	for _, want := range []xen.DomID{xen.MaxDomID - 1, xen.MaxDomID, 1, 2} {
		d := create(t, h, c)
		defer remove(t, d)
		if d.ID() != want {
			t.Errorf("number %d, want %d", d.ID(), want)
		}
	}
	h.mu.Lock()
	h.nextID = xen.MaxDomID
	h.mu.Unlock()
	d := create(t, h, c)
	defer remove(t, d)
	if d.ID() != 3 {
		t.Errorf("number %d, want 3", d.ID())
	}
}

// TestShareFailure makes every system call of Share fail; nothing is left of it, nor after its end.
func TestShareFailure(t *testing.T) {
	h := openPool(t, t.Name(), -1)
	defer h.Close()
	defer func() { failing = nil }()
	before := things(t)
	for n := 1; ; n++ {
		failing = nthFails(n, new(string))
		s, err := h.Share([]byte("pages"))
		if err == nil {
			s.Close()
		} else if !errors.Is(err, xen.ErrNoMemory) {
			t.Errorf("call %d: %v", n, err)
		}
		remains(t, fmt.Sprint("call ", n), before)
		if err == nil {
			if n < 4 {
				t.Errorf("only %d calls could fail", n-1)
			}
			return
		}
	}
}

// TestPrepareFailure makes every system call of Prepare fail; nothing is left of the image.
func TestPrepareFailure(t *testing.T) {
	h := openPool(t, t.Name(), -1)
	defer h.Close()
	f, err := os.Open(xentest.GuestPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := elf.ParseImage(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { failing = nil }()
	before := things(t)
	for n := 1; ; n++ {
		failing = nthFails(n, new(string))
		im, err := h.Prepare(img, f)
		if err == nil {
			im.Close()
			if n < 5 {
				t.Errorf("only %d calls could fail", n-1)
			}
			break
		}
		if !errors.Is(err, xen.ErrNoMemory) {
			t.Errorf("call %d: %v", n, err)
		}
		remains(t, fmt.Sprint("call ", n), before)
	}
	remains(t, "after Close", before)
}

package engine

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// The next engine finds each family as it was, whatever happened to it meanwhile.
func TestFamilyAdoption(t *testing.T) {
	host := bodies(map[string]func(body){
		// keeper makes a child that lives, one that ends at once and one that ends later, and reaps none.
		"keeper": func(b body) {
			lives := b.fork(func(c body) {
				for {
					c.signal()
					c.printf("parent %d\n", atomic.LoadUint32(&c.k.Control.Ppid))
				}
			})
			brief := b.fork(func(c body) { c.Guest.Exit(7) })
			later := b.fork(func(c body) { c.signal(); c.Guest.Exit(8) })
			b.printf("lives %d brief %d later %d\n", lives, brief, later)
			for n := 1; ; n++ {
				pid, status := b.child()
				b.printf("news %d: %d %#x\n", n, pid, status)
			}
		},
		// mortal makes a child and ends when told.
		"mortal": func(b body) {
			b.printf("made %d\n", b.fork(func(c body) {
				c.signal()
				c.printf("parent %d\n", atomic.LoadUint32(&c.k.Control.Ppid))
				c.sleep()
			}))
			b.signal()
		},
	})
	state := t.TempDir()
	a := newEngine(t, host, state)
	ctx := context.Background()
	keeper, mortal := launch(t, a, "keeper"), launch(t, a, "mortal")
	var lives, brief, later int
	fmt.Sscanf(said(t, a, keeper, "lives "), "%d brief %d later %d", &lives, &brief, &later)
	orphan := saidNumber(t, a, mortal, "made ")
	if got, want := said(t, a, keeper, "news 1: "), fmt.Sprintf("%d 0x700", brief); got != want {
		t.Errorf("news %q, want %q", got, want)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	// While no engine is there, a parent and a child end.
	host.Kill(xen.DomID(mortal))
	host.Kill(xen.DomID(later))
	b := newEngine(t, host, state)
	defer b.Stop()
	defer b.Shutdown(ctx, true)
	if p := process(t, b, lives, false); p == nil || p.PPID != keeper || p.Family != keeper || p.Stat == "Z" {
		t.Errorf("a child that lives: %+v", p)
	}
	for pid, code := range map[int]int{brief: 7, later: 137} {
		if p := process(t, b, pid, false); p == nil || p.Stat != "Z" || p.Exit.Code != code {
			t.Errorf("zombie %d: %+v, want exit %d", pid, p, code)
		}
	}
	// What the dead engine said is said again; the program's LibOS knows that it knows.
	var news []string
	eventually(t, "news of both zombies", func() bool {
		news = nil
		for line := range strings.Lines(logs(t, b, keeper)[Stdout]) {
			if strings.HasPrefix(line, "news ") {
				_, what, _ := strings.Cut(strings.TrimSpace(line), ": ")
				news = append(news, what)
			}
		}
		return len(news) == 3
	})
	for _, want := range []string{fmt.Sprintf("%d 0x700", brief), fmt.Sprintf("%d 0x9", later)} {
		if news[1] != want && news[2] != want {
			t.Errorf("news %q, no %q", news, want)
		}
	}
	b.Signal(ctx, orphan, int(unix.SIGUSR1))
	if got := saidNumber(t, b, orphan, "parent "); got != 0 {
		t.Errorf("getppid() of an orphan is %d", got)
	}
	if p := process(t, b, orphan, false); p.PPID != 0 || p.Family != mortal {
		t.Errorf("orphan: %+v", p)
	}
	b.Signal(ctx, lives, int(unix.SIGUSR1))
	if got := saidNumber(t, b, lives, "parent "); got != keeper {
		t.Errorf("getppid() of an adopted child is %d", got)
	}
	if got := logs(t, b, keeper)[Stdout]; !strings.Contains(got, fmt.Sprintf("parent %d\n", keeper)) {
		t.Errorf("the root's log has not what an adopted child writes: %q", got)
	}
	b.Signal(ctx, keeper, int(unix.SIGKILL))
	wait(t, b, keeper)
	if p := process(t, b, lives, false); p == nil || p.PPID != 0 {
		t.Errorf("an orphan of an adopted parent: %+v", p)
	}
}

// A call that an engine did not answer is answered by the next: a fork by "try again" if something was made for
// it, of which nothing is left; one of which there is no trace is made.
func TestOpenCallsAtAdoption(t *testing.T) {
	var gone atomic.Bool // the first engine
	host := bodies(map[string]func(body){
		"forker": func(b body) {
			b.printf("made %d\n", b.fork(func(c body) {
				c.printf("grandchild %d\n", c.fork(body.sleep)) // perhaps before its parent says anything
				c.sleep()
			}))
			b.signal()
			// As if its engine had died between the child's record and the answer.
			call := &b.k.Control.Call
			atomic.StoreUint32(&call.Done, call.Done-1)
			b.printf("waits\n")
			for atomic.LoadUint32(&call.Done) != call.Asked {
				b.Wait()
			}
			b.printf("answer %d\n", call.Result)
			b.sleep()
		},
		"late": func(b body) {
			b.printf("waits\n")
			for !gone.Load() {
				b.Yield()
			}
			b.printf("made %d\n", b.fork(body.sleep))
			b.sleep()
		},
		"reaper": func(b body) {
			pid := b.fork(func(body) {})
			b.child()
			b.printf("zombie %d\n", pid)
			b.signal()
			b.printf("waits\n")
			for !gone.Load() {
				b.Yield()
			}
			b.printf("reaped %d\n", b.call(abi.CallReap, uint64(pid)))
			b.sleep()
		},
	})
	state := t.TempDir()
	a := newEngine(t, host, state)
	ctx := context.Background()
	forker, reaper, late := launch(t, a, "forker"), launch(t, a, "reaper"), launch(t, a, "late")
	child := saidNumber(t, a, forker, "made ")
	grandchild := saidNumber(t, a, child, "grandchild ")
	said(t, a, reaper, "zombie ")
	for _, pid := range []int{forker, reaper, late} {
		a.Signal(ctx, pid, int(unix.SIGUSR1))
		said(t, a, pid, "waits")
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	gone.Store(true)
	b := newEngine(t, host, state)
	if got := saidNumber(t, b, forker, "answer "); got != -int(unix.EAGAIN) {
		t.Errorf("the open fork gives %d", got)
	}
	for _, pid := range []int{child, grandchild} {
		if p := process(t, b, pid, true); p != nil {
			t.Errorf("left of a fork that failed: %+v", p)
		}
	}
	if got := saidNumber(t, b, reaper, "reaped "); got != 0 {
		t.Errorf("the open reap gives %d", got)
	}
	if got := saidNumber(t, b, late, "made "); process(t, b, got, false) == nil {
		t.Errorf("a fork that was asked for between two engines gives %d", got)
	}
	if s, _ := b.Snapshot(ctx, false); len(s.Processes) != 4 {
		t.Errorf("processes %+v", s.Processes)
	}
	if ids, _ := b.hv.Domains(); len(ids) != 4 {
		t.Errorf("domains %v", ids)
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	c := newEngine(t, host, state)
	defer c.Stop()
	if s, _ := c.Snapshot(ctx, true); len(s.Processes) != 5 {
		t.Errorf("the store has %+v", s.Processes)
	}
	c.Shutdown(ctx, true)
}

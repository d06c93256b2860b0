package hosted

import (
	"context"
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

// Words of RESULT in xentest/guest/fork.c.
const (
	forkAsked = 8
	forkOp    = 9
	forkDone  = 13
	forkBorn  = 14
	forkFork  = 3
)

func word(d xen.Domain, i int) *uint64 {
	return (*uint64)(unsafe.Pointer(&d.Control()[abi.ArgsVa+abi.ArgsSize-abi.PageSize-abi.CtlVa+8*i]))
}

func within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// forker starts a domain that forks when it is told to.
func forker(t testing.TB, h *Hypervisor, im xen.Image) *Domain {
	t.Helper()
	c := config(im, "fork")
	c.Memory = 12 << 20
	d := create(t, h, c)
	if err := d.Unpause(); err != nil {
		t.Fatal(err)
	}
	within(t, "a forker", func() bool { return atomic.LoadUint64(word(d, forkBorn)) == 1 })
	return d
}

func call(d xen.Domain) *abi.KxCall {
	return &(*abi.KxControl)(unsafe.Pointer(&d.Control()[abi.ControlVa-abi.CtlVa])).Call
}

// called has a forker ask for a fork; told answers.
func called(t testing.TB, d xen.Domain) *xen.Fork {
	t.Helper()
	*word(d, forkOp) = forkFork
	atomic.AddUint64(word(d, forkAsked), 1)
	if err := d.Notify(); err != nil {
		t.Fatal(err)
	}
	c := call(d)
	within(t, "a call", func() bool { return atomic.LoadUint32(&c.Asked) != atomic.LoadUint32(&c.Done) })
	return &xen.Fork{Boot: xen.Boot{Name: "child", PPID: d.ID(), Family: d.ID()}, RIP: c.A[0], RSP: c.A[1]}
}

func told(t testing.TB, d xen.Domain, result int64) {
	t.Helper()
	c := call(d)
	c.Result = result
	atomic.StoreUint32(&c.Done, atomic.LoadUint32(&c.Asked))
	if err := d.Notify(); err != nil {
		t.Fatal(err)
	}
	within(t, "the parent", func() bool { return atomic.LoadUint64(word(d, forkDone)) == atomic.LoadUint64(word(d, forkAsked)) })
}

// child forks a forker, and lets the child run.
func child(t testing.TB, d xen.Domain) *Domain {
	t.Helper()
	c, err := d.Fork(context.Background(), called(t, d))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Unpause(); err != nil {
		t.Fatal(err)
	}
	within(t, "a child", func() bool { return atomic.LoadUint64(word(c, forkBorn)) == 1 })
	told(t, d, int64(c.ID()))
	return c.(*Domain)
}

// TestEveryForkFailure makes the n-th system call of a fork fail, for every n, of a first fork and of a later one:
// nothing is left of the child, and the parent goes on and can be forked.
func TestEveryForkFailure(t *testing.T) {
	for _, pool := range []int{-1, 2} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("pool %d, later %v", pool, later), func(t *testing.T) {
				h := openPool(t, t.Name(), pool)
				defer h.Close()
				im := xentest.PrepareGuest(t, h)
				settled := func() string {
					within(t, "the pool", func() bool { return h.Pool().Ready >= h.Pool().Want })
					time.Sleep(5 * time.Millisecond) // the filler looks once more
					return things(t)
				}
				before, n := "", 0
				for at := "none yet"; at != ""; n++ {
					d := forker(t, h, im)
					if later {
						remove(t, child(t, d))
					}
					f := called(t, d)
					at = ""
					c, err := failingNth(h, n, &at, func() (xen.Domain, error) { return d.Fork(context.Background(), f) })
					switch {
					case err == nil && at != "":
						t.Errorf("call %d, %s: forked", n, at)
					case err != nil && !errors.Is(err, xen.ErrNoMemory):
						t.Errorf("call %d, %s: %v", n, at, err)
					}
					if ids, err := h.Domains(); err != nil || c == nil && len(ids) != 1 {
						t.Errorf("call %d, %s: domains %v, %v", n, at, ids, err)
					}
					if c != nil {
						remove(t, c)
					}
					told(t, d, -12)
					remove(t, child(t, d))
					remove(t, d)
					if after := settled(); before != "" && after != before {
						t.Fatalf("call %d, %s: left behind:\nbefore %s\nafter  %s", n, at, before, after)
					} else if before == "" {
						before, at = after, "none yet" // the first time nothing failed
					}
				}
				if n < 10 {
					t.Errorf("only %d calls could fail", n-1)
				}
			})
		}
	}
}

// TestForkHostile has guests make processes by themselves: they wait for a word that does not come, and are ended when
// another domain forks.
func TestForkHostile(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	im := xentest.PrepareGuest(t, h)
	d := forker(t, h, im)
	defer remove(t, d)
	defer remove(t, child(t, d))
	hostile := create(t, h, config(im, "via", fmt.Sprint(stubSyscall(t)), fmt.Sprint(unix.SYS_CLONE), fmt.Sprint(unix.CLONE_PARENT|int(unix.SIGCHLD)), "0", "0", "0", "0"))
	defer remove(t, hostile)
	hostile.Unpause()
	pid := hostile.proc.Load().pid
	within(t, "a call of clone", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		return strings.HasPrefix(string(b), fmt.Sprintf("%d ", unix.SYS_CLONE))
	})
	domains, _ := stubsOf(fmt.Sprintf("%s %d", t.Name(), os.Getpid()))
	if domains != 3 {
		t.Errorf("%d domains run", domains)
	}
	remove(t, child(t, d))
	if e := hostile.Exit(); e.Reason != xen.ExitKilled {
		t.Errorf("exit %+v", e)
	}
}

// TestForkUnborn has a stub fork for an engine that has died, after its successor has looked who is there: what it makes is
// ended, and the parent can be forked.
func TestForkUnborn(t *testing.T) {
	first := open(t, t.Name())
	im := xentest.PrepareGuest(t, first)
	old := forker(t, first, im)
	remove(t, child(t, old))
	f := called(t, old)
	b := &fork{h: first, d: old, f: f, old: old.proc.Load(), image: -1}
	defer b.closeSpare()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.check())
	must(first.Close())
	h := open(t, t.Name())
	defer h.Close()
	must(b.files())
	must(b.boot())
	must(b.clone())
	within(t, "the end of an unborn process", func() bool { return hasEnded(b.child.pidfd) })
	reap(b.child.pidfd)
	x, err := h.Adopt(old.id, old.Token())
	must(err)
	d := x.(*Domain)
	defer remove(t, d)
	c, err := d.Fork(context.Background(), f)
	must(err)
	defer remove(t, c)
	must(c.Unpause())
	within(t, "a child", func() bool { return atomic.LoadUint64(word(c, forkBorn)) == 1 })
	told(t, d, int64(c.ID()))
	remove(t, child(t, d))
}

// TestForkLie has a stub name a stranger's process for its child: the fork fails, and the stranger goes on.
func TestForkLie(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	d := forker(t, h, xentest.PrepareGuest(t, h))
	defer remove(t, d)
	remove(t, child(t, d))
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	f := called(t, d)
	p := d.proc.Load()
	s := p.state()
	unix.Kill(p.pid, unix.SIGSTOP) // the stub itself says nothing
	before := forkNumber.Load()
	told := make(chan struct{})
	go func() { // as a guest that writes to its state page does, before the stub can
		defer close(told)
		for forkNumber.Load() == before {
		}
		for range 1000 {
			atomic.StoreUint32(&s.Answered, forkNumber.Load()|1<<31)
			atomic.StoreInt32(&s.Forked, int32(stranger.Process.Pid))
			time.Sleep(time.Microsecond)
		}
	}()
	if _, err := d.Fork(context.Background(), f); err == nil {
		t.Error("forked")
	}
	<-told
	select {
	case err := <-ended:
		t.Errorf("the stranger has ended: %v", err)
	default:
		stranger.Process.Kill()
		<-ended
	}
}

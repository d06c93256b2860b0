package hosted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
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

func within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("waited in vain for %s", what)
		}
	}
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
					h.pool.work.Lock() // the filler rests
					defer h.pool.work.Unlock()
					return things(t)
				}
				before, n := "", 0
				for at := "none yet"; at != ""; n++ {
					d := xentest.StartForker(t, h, im, xentest.ForkerMemory)
					if later {
						remove(t, d.Child())
					}
					f := d.Called(0)
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
					d.Tell(-12)
					remove(t, d.Child())
					remove(t, d)
					if before == "" {
						before, at = settled(), "none yet" // the first time nothing failed
					} else {
						remains(t, fmt.Sprintf("call %d, %s", n, at), before)
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
	d := xentest.StartForker(t, h, im, xentest.ForkerMemory)
	defer remove(t, d)
	defer remove(t, d.Child())
	hostile := create(t, h, config(im, "via", fmt.Sprint(stubSyscall(t)), fmt.Sprint(unix.SYS_CLONE), fmt.Sprint(unix.CLONE_PARENT|int(unix.SIGCHLD)), "0", "0", "0", "0"))
	defer remove(t, hostile)
	hostile.Unpause()
	pid := hostile.proc.Load().pid
	within(t, "a call of clone", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		return strings.HasPrefix(string(b), fmt.Sprintf("%d ", unix.SYS_CLONE))
	})
	// The process that the parent was before it moved may take a while to end.
	within(t, "three domains", func() bool {
		domains, _ := stubsOf(fmt.Sprintf("%s %d", t.Name(), os.Getpid()))
		return domains == 3
	})
	remove(t, d.Child())
	if e := hostile.Exit(); e.Reason != xen.ExitKilled {
		t.Errorf("exit %+v", e)
	}
}

// forkByHand begins a later fork of a domain, whose steps the test takes. The caller closes what is spare.
func forkByHand(t *testing.T, h *Hypervisor) (*xentest.Forker, *fork, func(error)) {
	t.Helper()
	m := xentest.StartForker(t, h, xentest.PrepareGuest(t, h), xentest.ForkerMemory)
	remove(t, m.Child())
	d := m.Domain.(*Domain)
	b := &fork{h: h, d: d, f: m.Called(0), old: d.proc.Load(), image: -1}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.check())
	return m, b, must
}

// TestForkUntold has a parent killed when its stub has made the child, and has not said so: the child, which need not be let go,
// is ended.
func TestForkUntold(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	m, b, must := forkByHand(t, h)
	defer b.closeSpare()
	b.f.Ready = func(xen.Domain) error { return nil }
	must(b.files())
	must(b.boot())
	listener, err := b.old.take(fdListen)
	must(err)
	defer unix.Close(listener)
	pid, err := b.tell(listener, &stubFork{RIP: b.f.RIP, RSP: b.f.RSP, Number: forkNumber.Add(1) | 1<<31})
	must(err)
	child, err := pidfdOpen(pid)
	must(err)
	defer unix.Close(child)
	m.Domain.Destroy()
	<-m.Gone()
	b.endUntold()
	within(t, "the end of a child that nobody was told of", func() bool { return hasEnded(child) })
	h.set(b.place.ID, nil)
	remove(t, b.d)
}

// forkAdopted adopts the parent of a fork that another engine has begun, and forks it.
func forkAdopted(t *testing.T, h *Hypervisor, b *fork, must func(error)) {
	t.Helper()
	x, err := h.Adopt(b.d.id, b.d.Token())
	must(err)
	d := xentest.AsForker(t, x)
	defer remove(t, d)
	c, err := d.Fork(context.Background(), b.f)
	must(err)
	defer remove(t, c)
	must(c.Unpause())
	xentest.AsForker(t, c).Born()
	d.Tell(int64(c.ID()))
	remove(t, d.Child())
}

// TestForkUnborn has a stub fork for an engine that has died, after its successor has looked who is there: what it makes is
// ended, and the parent can be forked.
func TestForkUnborn(t *testing.T) {
	first := open(t, t.Name())
	_, b, must := forkByHand(t, first)
	defer b.closeSpare()
	must(first.Close())
	h := open(t, t.Name())
	defer h.Close()
	must(b.files())
	must(b.boot())
	must(b.clone())
	within(t, "the end of an unborn process", func() bool { return hasEnded(b.child.pidfd) })
	reap(b.child.pidfd)
	forkAdopted(t, h, b, must)
}

// TestForkUnanswered has an engine die when it has heard what a stub asks, and has not answered: the kernel tells nobody else of it. The next one can fork the
// parent all the same.
func TestForkUnanswered(t *testing.T) {
	first := open(t, t.Name())
	_, b, must := forkByHand(t, first)
	defer b.closeSpare()
	must(b.files())
	must(b.boot())
	listener, err := b.old.take(fdListen)
	must(err)
	must(b.command(&stubFork{RIP: b.f.RIP, RSP: b.f.RSP, Number: forkNumber.Add(1) | 1<<31}))
	if asked, err := readable(listener, time.Second); !asked {
		t.Fatal("it does not ask", err)
	}
	var n notification
	must(ioctl(listener, ioctlNotifyReceive, unsafe.Pointer(&n)))
	unix.Close(listener)
	must(first.Close())
	h := open(t, t.Name())
	defer h.Close()
	forkAdopted(t, h, b, must)
}

// TestReadHidden holds that memory which a domain has hidden from itself is read all the same, in a process whose it is alone, too: a parent that has moved, and
// a child, have all protections once more.
func TestReadHidden(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	d := xentest.StartForker(t, h, xentest.PrepareGuest(t, h), xentest.ForkerMemory)
	defer remove(t, d)
	read := func(who string, x xen.Domain) {
		t.Helper()
		k := (*abi.KxControl)(unsafe.Pointer(&x.Control()[abi.ControlVa-abi.CtlVa]))
		page := make([]byte, abi.PageSize)
		for i := range k.RamPages {
			if err := x.ReadMemory(k.RamVa+i*abi.PageSize, page); err != nil {
				t.Errorf("%s, page %d: %v", who, i, err)
			}
		}
	}
	read("before a fork", d)
	c := d.Child()
	defer remove(t, c)
	d.Look()
	xentest.AsForker(t, c).Look()
	read("the parent", d)
	read("the child", c)
}

// TestDying holds that a process which has been killed is known for dying at once, though it has not come to its turn to hear of it: its engine took it for
// dead, and let another go on in its place.
func TestDying(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil { // the other has it, too, and waits for it
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &all)
	for range 20 {
		cmd := exec.Command("sleep", "100")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		start, err := startTime(pid)
		if err == nil {
			err = unix.SchedSetAttr(pid, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0)
		}
		s := stray{pid, start}
		before := s.dying()
		unix.Kill(pid, unix.SIGKILL)
		after := s.dying()
		cmd.Wait()
		if err != nil || before || !after {
			t.Fatalf("dying: %v before and %v after it was killed; %v", before, after, err)
		}
	}
}

// TestForkDelay has a domain that was told to fork not come to it, and one whose child does not come to rest: forks of another
// family do not wait for them, and they go on when they come.
func TestForkDelay(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	im := xentest.PrepareGuest(t, h)
	slow, d := xentest.StartForker(t, h, im, xentest.ForkerMemory), xentest.StartForker(t, h, im, xentest.ForkerMemory)
	defer remove(t, d)
	defer remove(t, slow)
	remove(t, slow.Child())
	remove(t, d.Child())
	longest := func() (most time.Duration) {
		for range 10 {
			begin := time.Now()
			c := d.Child()
			most = max(most, time.Since(begin))
			remove(t, c)
		}
		return most
	}
	alone := longest()
	p := slow.Domain.(*Domain).proc.Load()
	s := p.state()
	for _, c := range []struct {
		name string
		// hinder is called before the fork; what it returns while it is under way, to stop a process.
		hinder func() (stop func() (pid int))
	}{
		{"a parent", func() func() int {
			unix.Kill(p.pid, unix.SIGSTOP)
			return func() int {
				within(t, "an order", func() bool { return atomic.LoadUint32(&s.Fork) != 0 })
				return p.pid
			}
		}},
		{"a child", func() func() int {
			before := atomic.LoadUint32(&s.Answered)
			return func() int {
				for atomic.LoadUint32(&s.Answered) == before || atomic.LoadInt32(&s.Forked) == 0 {
				}
				child := int(atomic.LoadInt32(&s.Forked))
				unix.Kill(child, unix.SIGSTOP)
				return child
			}
		}},
	} {
		for hindered := false; !hindered; { // it may be too late for that
			forked := make(chan error, 1)
			f := slow.Called(0)
			stop := c.hinder()
			go func() {
				child, err := slow.Fork(context.Background(), f)
				if err == nil {
					remove(t, child)
				}
				forked <- err
			}()
			pid := stop()
			beside := longest()
			select {
			case err := <-forked:
				if err != nil {
					t.Error(err)
				}
			default:
				hindered = true
				unix.Kill(pid, unix.SIGCONT)
				if err := <-forked; err != nil {
					t.Error(err)
				}
				t.Logf("a fork took %v at most, %v beside one that waits for %s", alone, beside, c.name)
				// One that waited would wait until now, or for as long as the engine has patience.
				if beside > alone+forkPatience/2 {
					t.Error("it waits for another family")
				}
			}
			slow.Tell(-12)
		}
	}
	remove(t, slow.Child())
}

// TestForkedMemory has a child write to pages of its parent's: they are its own from then on, and no more memory than it had.
func TestForkedMemory(t *testing.T) {
	const pages = 500
	h := open(t, t.Name())
	defer h.Close()
	d := xentest.StartForker(t, h, xentest.PrepareGuest(t, h), xentest.ForkerMemory)
	defer remove(t, d)
	d.Touch(pages)
	c := d.Child()
	defer remove(t, c)
	about := func(got, want uint64) bool { return got < want+30*abi.PageSize && want < got+30*abi.PageSize }
	status := func(d xen.Domain) xen.Status {
		t.Helper()
		st, err := d.Status()
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	before, beside := status(c), status(d)
	if !about(before.Shared, before.Memory) || before.Shared < pages*abi.PageSize || before.MaxMem > xentest.ForkerMemory+4<<20 {
		t.Errorf("a new child: %+v", before)
	}
	c.Touch(pages)
	if after := status(c); !about(after.Memory, before.Memory) || !about(after.Shared, before.Shared-pages*abi.PageSize) {
		t.Errorf("a child that has written: %+v, before %+v", after, before)
	}
	if after := status(d); !about(after.Memory, beside.Memory) || !about(after.Shared, beside.Shared) {
		t.Errorf("its parent: %+v, before %+v", after, beside)
	}
}

// TestCapOfOneMember has a member of a family use memory: it does not count for the cap of another, which is held all the same.
func TestCapOfOneMember(t *testing.T) {
	const pages = 500
	h := open(t, t.Name())
	defer h.Close()
	d := xentest.StartForker(t, h, xentest.PrepareGuest(t, h), xentest.ForkerMemory)
	defer remove(t, d)
	c := d.Child()
	defer remove(t, c)
	st, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetMaxMem(st.Memory + pages/2*abi.PageSize); err != nil {
		t.Fatal(err)
	}
	c.Touch(pages)
	if after, err := c.Status(); err != nil || after.Memory < st.Memory+pages/2*abi.PageSize {
		t.Errorf("a child that has written: %+v, %v", after, err)
	}
	select {
	case <-d.Gone():
		t.Fatalf("for what its child has: %+v", d.Exit())
	case <-time.After(3 * capPeriod):
	}
	d.StartTouch(pages)
	within(t, "the end at a cap", func() bool {
		select {
		case <-d.Gone():
			return true
		default:
			return false
		}
	})
	if e := d.Exit(); !strings.Contains(e.Detail, "more than its cap") {
		t.Errorf("exit %+v", e)
	}
}

// TestSweepHoldsUpNobody looks for what nobody knows while a birth takes long: others are born meanwhile.
func TestSweepHoldsUpNobody(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	times := sweepAfter
	defer func() { sweepAfter = times }()
	sweepAfter = []time.Duration{0}
	h.swept = make(chan struct{})
	h.births.RLock()
	go h.sweep()
	for range 50 {
		time.Sleep(time.Millisecond)
		if !h.births.TryRLock() {
			t.Error("it stands in the way")
			break
		}
		h.births.RUnlock()
	}
	h.births.RUnlock()
	<-h.swept
}

// TestForkTheft has a stub name another family's newborn for what it has made by an old order: that goes on.
func TestForkTheft(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	im := xentest.PrepareGuest(t, h)
	d, thief := xentest.StartForker(t, h, im, xentest.ForkerMemory), xentest.StartForker(t, h, im, xentest.ForkerMemory)
	defer remove(t, d)
	defer remove(t, thief)
	remove(t, d.Child())
	remove(t, thief.Child())
	victim := d.Domain.(*Domain)
	b := &fork{h: h, d: victim, f: d.Called(0), old: victim.proc.Load(), image: -1}
	defer b.closeSpare()
	for _, step := range []func() error{b.check, b.files, b.boot, b.clone} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	s := thief.Domain.(*Domain).proc.Load().state()
	f := thief.Called(0)
	unix.Kill(thief.Domain.(*Domain).proc.Load().pid, unix.SIGSTOP)
	before := forkNumber.Load()
	go func() {
		for forkNumber.Load() == before {
		}
		for range 1000 { // the engine sets it to 0 before it tells
			atomic.StoreInt32(&s.Forked, int32(b.child.pid))
			time.Sleep(time.Microsecond)
		}
		unix.Kill(thief.Domain.(*Domain).proc.Load().pid, unix.SIGCONT)
	}()
	if c, err := thief.Fork(context.Background(), f); err == nil {
		remove(t, c)
	}
	if hasEnded(b.child.pidfd) {
		t.Error("a newborn of another family was ended")
	}
	b.endChild(b.child.pid)
	h.set(b.place.ID, nil)
	d.Tell(-12)
	thief.Tell(-12)
}

// TestForkLie has a stub name a stranger's process for its child: the fork fails, and the stranger goes on.
func TestForkLie(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	d := xentest.StartForker(t, h, xentest.PrepareGuest(t, h), xentest.ForkerMemory)
	defer remove(t, d)
	remove(t, d.Child())
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	f := d.Called(0)
	p := d.Domain.(*Domain).proc.Load()
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

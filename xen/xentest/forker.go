package xentest

import (
	"context"
	"sync/atomic"
	"testing"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Words of RESULT in guest/fork.c.
const (
	forkAsked = iota + 8
	forkOp
	forkArg0
	forkArg1
	forkAnswer
	forkDone
	forkBorn
)

// Commands of guest/fork.c.
const (
	forkFill = iota + 1
	forkLook
	forkFork
	forkProtections
	forkExit
	forkTouch
	forkPeek
)

// ForkerMemory is enough for a forker, in bytes: more than there is of it from the start.
const ForkerMemory = 12 << 20

// Forker is a domain that runs fork of guest/fork.c: it forks when it is told to, and so do its children. What does not
// come within a minute fails the test.
type Forker struct {
	xen.Domain
	t testing.TB
}

// StartForker makes a forker and lets it run. The caller ends it; what it has not ended when the test does is killed.
func StartForker(t testing.TB, hv xen.Hypervisor, im xen.Image, memory uint64, args ...string) *Forker {
	t.Helper()
	return StartForkerOf(t, hv, ForkerConfig(im, memory, args...))
}

// ForkerConfig is what a forker is made of.
func ForkerConfig(im xen.Image, memory uint64, args ...string) *xen.Config {
	return &xen.Config{Image: im, Memory: memory, Boot: xen.Boot{Name: "forker", Args: append([]string{"guest", "fork"}, args...)}}
}

// StartForkerOf is StartForker of something that begins with ForkerConfig.
func StartForkerOf(t testing.TB, hv xen.Hypervisor, c *xen.Config) *Forker {
	t.Helper()
	d, err := hv.Create(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Destroy(); d.Release() })
	if err := d.Unpause(); err != nil {
		t.Fatal(err)
	}
	f := AsForker(t, d)
	f.Born()
	return f
}

// AsForker is a domain that is a forker: a child of one, or one that was adopted.
func AsForker(t testing.TB, d xen.Domain) *Forker { return &Forker{d, t} }

// Born waits until it runs.
func (f *Forker) Born() {
	f.t.Helper()
	eventually(f.t, "a member of a family", func() bool { return f.alive() && f.IsBorn() })
}

// IsBorn tells whether it runs.
func (f *Forker) IsBorn() bool { return result(f.Control(), forkBorn) == 1 }

// alive fails the test if it has ended.
func (f *Forker) alive() bool {
	f.t.Helper()
	select {
	case <-f.Gone():
		f.t.Fatalf("domain %d: exit %+v; line %d of its source", f.ID(), f.Exit(), result(f.Control(), 0))
	default:
	}
	return true
}

// ask gives a command; answer waits for what comes of it.
func (f *Forker) ask(op, a, b uint64) {
	f.t.Helper()
	r := results(f.Control())
	r[forkOp], r[forkArg0], r[forkArg1] = op, a, b
	atomic.AddUint64(&r[forkAsked], 1)
	if err := f.Notify(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *Forker) answer() uint64 {
	f.t.Helper()
	eventually(f.t, "an answer", func() bool { return f.alive() && f.settled() && f.Answered() })
	return result(f.Control(), forkAnswer)
}

// settled serves its call for what a fork has left for later, if it makes it, as an engine does.
func (f *Forker) settled() bool {
	f.t.Helper()
	call := &control(f).Call
	if atomic.LoadUint32(&call.Asked) == atomic.LoadUint32(&call.Done) || call.Op != abi.CallSettle {
		return true
	}
	if err := f.Settle(call.A[0]); err != nil {
		f.t.Fatal(err)
	}
	f.Reply(0)
	if err := f.Notify(); err != nil {
		f.t.Fatal(err)
	}
	return true
}

// Answered tells whether it has done what it was asked last.
func (f *Forker) Answered() bool {
	return result(f.Control(), forkDone) == result(f.Control(), forkAsked)
}

// Fill has it fill a page, or all if there is none of that number, and Look tells what is in each.
func (f *Forker) Fill(page int, seed uint64) {
	f.t.Helper()
	f.do(forkFill, uint64(page), seed)
}

func (f *Forker) Look() [ForkPages]uint64 {
	f.t.Helper()
	if n := f.do(forkLook, 0, 0); n != ForkPages {
		f.t.Fatalf("%d pages", n)
	}
	return [ForkPages]uint64(results(f.Control())[forkFirst:])
}

// Touch has it write to so many pages, StartTouch does not wait until it has.
func (f *Forker) Touch(pages uint64) {
	f.t.Helper()
	f.do(forkTouch, pages, 0)
}

func (f *Forker) StartTouch(pages uint64) {
	f.t.Helper()
	f.ask(forkTouch, pages, 0)
}

func (f *Forker) do(op, a, b uint64) uint64 {
	f.t.Helper()
	f.ask(op, a, b)
	return f.answer()
}

// Called has it call fork, so deep down its stack, and returns what it asks for; it waits for Tell.
func (f *Forker) Called(depth uint64) *xen.Fork {
	f.t.Helper()
	f.ask(forkFork, depth, 0)
	return f.Calling()
}

// Calling is what a call of fork asks for that it has made.
func (f *Forker) Calling() *xen.Fork {
	f.t.Helper()
	call := &control(f).Call
	eventually(f.t, "a call", func() bool {
		return f.alive() && f.settled() && atomic.LoadUint32(&call.Asked) != atomic.LoadUint32(&call.Done)
	})
	if call.Op != abi.CallFork {
		f.t.Fatalf("call %d", call.Op)
	}
	return &xen.Fork{
		Boot: xen.Boot{Name: "child", Args: []string{"guest", "child"}, PPID: f.ID(), Family: xen.DomID(control(f).Family)},
		RIP:  call.A[0], RSP: call.A[1],
	}
}

// Tell answers its call of fork: the child's number, or -errno.
func (f *Forker) Tell(result int64) {
	f.t.Helper()
	f.Reply(result)
	if err := f.Notify(); err != nil {
		f.t.Fatal(err)
	}
	f.Returned(result)
}

// Reply writes the answer to its call; it hears of it with the next event.
func (f *Forker) Reply(result int64) {
	call := &control(f).Call
	call.Result = result
	atomic.StoreUint32(&call.Done, atomic.LoadUint32(&call.Asked))
}

// Returned waits until its fork has returned that.
func (f *Forker) Returned(result int64) {
	f.t.Helper()
	if got := int64(f.answer()); got != result {
		f.t.Fatalf("domain %d: fork returned %d, want %d", f.ID(), got, result)
	}
}

// Child forks it and lets the child, which the caller ends, run.
func (f *Forker) Child() *Forker {
	f.t.Helper()
	d, err := f.Fork(context.Background(), f.Called(0))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := d.Unpause(); err != nil {
		f.t.Fatal(err)
	}
	c := AsForker(f.t, d)
	c.Born()
	f.Tell(int64(c.ID()))
	return c
}

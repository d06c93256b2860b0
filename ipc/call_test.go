package ipc

import (
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
)

// TestCallsProperty has a guest make calls while the engine answers, both sleeping whenever they may:
// each is answered once, by its own answer, across the wrap of their numbers.
func TestCallsProperty(t *testing.T) {
	const n = 20000
	ctl := ipctest.NewArea()
	control(ctl).Call.Asked, control(ctl).Call.Done = 0xfffffff0, 0xfffffff0
	toGuest, toEngine := newChannel(), newChannel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g := ipctest.NewGuest(ctl, toEngine.ring)
		for i := range uint64(n) {
			if got := g.Call(func() { toGuest.wait(t) }, uint32(i%5), i, i+1, i+2); got != -int64(i) {
				t.Errorf("call %d: result %d", i, got)
				return
			}
		}
	}()
	calls, served := NewCalls(ctl), uint64(0)
	for {
		for call, ok := calls.Next(); ok; call, ok = calls.Next() {
			if call.Op != uint32(served%5) || call.A != [3]uint64{served, served + 1, served + 2} {
				t.Fatalf("call %d: %+v", served, call)
			}
			calls.Answer(call, -int64(served))
			served++
			toGuest.ring()
		}
		select {
		case <-toEngine:
		case <-done:
			if served != n {
				t.Errorf("%d calls served, %d made", served, n)
			}
			return
		case <-time.After(20 * time.Second):
			t.Fatal("no event comes")
		}
	}
}

// TestCallsAdopt holds that a new engine gets a call that the old one did not answer, and no other.
func TestCallsAdopt(t *testing.T) {
	ctl := ipctest.NewArea()
	g := ipctest.NewGuest(ctl, func() {})
	if call, ok := NewCalls(ctl).Next(); ok {
		t.Errorf("a call that nobody made: %+v", call)
	}
	g.Ask(abi.CallReap, 7)
	old := NewCalls(ctl)
	old.Next()
	adopted := NewCalls(ctl)
	call, ok := adopted.Next()
	if want := (Call{N: 1, Op: abi.CallReap, A: [3]uint64{7}}); !ok || call != want {
		t.Fatalf("a new engine gets %+v, %v", call, ok)
	}
	adopted.Answer(call, 0)
	if call, ok := NewCalls(ctl).Next(); ok {
		t.Errorf("answered, and comes again: %+v", call)
	}
	SetParent(ctl, 9)
	if g.Control.Ppid != 9 {
		t.Errorf("parent %d", g.Control.Ppid)
	}
}

// TestCommandsSleep holds that an engine that waits for room in the command ring hears of it.
func TestCommandsSleep(t *testing.T) {
	ctl := ipctest.NewArea()
	rang := 0
	c, g := NewCommands(ctl), ipctest.NewGuest(ctl, func() { rang++ })
	if sleep, err := c.Sleep(); sleep || err != nil {
		t.Errorf("Sleep with room: %v, %v", sleep, err)
	}
	for i := range abi.Cmds {
		if _, err := c.Child(i, ExitStatus(3), 4); err != nil {
			t.Fatal(err)
		}
	}
	if sleep, err := c.Sleep(); !sleep || err != nil {
		t.Errorf("Sleep without room: %v, %v", sleep, err)
	}
	if cmd, _ := g.Command(); cmd != (abi.KxCmd{Op: abi.CmdChild, A: [3]uint64{0x300, 4}}) || rang != 1 {
		t.Errorf("the guest got %+v and rang %d times", cmd, rang)
	}
	g.Command()
	if rang != 1 {
		t.Errorf("the guest rang %d times, for an engine that is awake", rang)
	}
}

func TestStatusWords(t *testing.T) {
	for s, want := range map[Status]uint32{ExitStatus(3): 0x300, ExitStatus(0): 0, KillStatus(9): 9, StopStatus(19): 0x137f, StatusContinued: 0xffff} {
		if uint32(s) != want {
			t.Errorf("%#x, want %#x", uint32(s), want)
		}
	}
}

package ipc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
)

// channel is an event channel: rings that nobody has received yet are one.
type channel chan struct{}

func newChannel() channel { return make(channel, 1) }

func (c channel) ring() {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait fails the test if no event comes: an event that was promised and never sent.
func (c channel) wait(t *testing.T) bool {
	select {
	case <-c:
		return true
	case <-time.After(20 * time.Second):
		t.Error("no event comes")
		return false
	}
}

// startIndex puts the indices of all rings just before they wrap, at 2^32.
func startIndex(ctl []byte, at uint32) {
	c := control(ctl)
	for _, r := range []*abi.KxRing{&c.Cmds, &c.Conin, &c.Conout} {
		r.Prod, r.Cons = at, at
	}
	c.Call.Asked, c.Call.Done = at, at
}

// TestOutputResume kills engines between what they keep and what they give back: every byte is kept once.
func TestOutputResume(t *testing.T) {
	ctl := ipctest.NewArea()
	startIndex(ctl, 0xfffff000)
	r := rand.New(rand.NewPCG(1, 2))
	g := ipctest.NewGuest(ctl, func() {})
	var printed, kept [4][]byte
	end := uint32(0xfffff000)
	for range 3000 {
		for range r.IntN(4) {
			p, stream := randomBytes(r, r.IntN(300)), 1+r.IntN(3)
			if g.Print(stream, p) {
				printed[stream] = append(printed[stream], p...)
			}
		}
		o := NewOutput(ctl)
		o.Resume(end)
		chunks, err := o.Read()
		if err != nil {
			t.Fatal(err)
		}
		dies := r.IntN(len(chunks) + 2)
		for _, c := range chunks[:min(dies, len(chunks))] {
			kept[c.Stream] = append(kept[c.Stream], c.Data...)
			end = c.End
		}
		if dies > len(chunks) {
			o.Release()
		}
	}
	o := NewOutput(ctl)
	o.Resume(end)
	chunks, err := o.Read()
	for _, c := range chunks {
		kept[c.Stream] = append(kept[c.Stream], c.Data...)
	}
	for s := range printed {
		if err != nil || !bytes.Equal(kept[s], printed[s]) {
			t.Errorf("stream %d: %d bytes printed, %d other bytes kept, %v", s, len(printed[s]), len(kept[s]), err)
		}
	}
	o.Release()
	for _, end := range []uint32{end - 1, end + 1, end + 1<<31, 0} { // nobody's
		o := NewOutput(ctl)
		if o.Resume(end); o.cons != NewOutput(ctl).cons {
			t.Errorf("index %#x was believed", end)
		}
	}
}

// TestOutputProperty has a guest print random records while the engine reads, both at full speed
// and sleeping whenever they may; every stream must arrive byte for byte.
func TestOutputProperty(t *testing.T) {
	for seed := range uint64(8) {
		ctl := ipctest.NewArea()
		startIndex(ctl, uint32(seed)*0x10000-0x8765)
		toGuest, toEngine := newChannel(), newChannel()
		var printed [4][]byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := rand.New(rand.NewPCG(seed, 1))
			g := ipctest.NewGuest(ctl, toEngine.ring)
			for range 3000 {
				n := r.IntN(100)
				if r.IntN(20) == 0 {
					n = r.IntN(abi.RecordMax + 1)
				}
				p, stream := randomBytes(r, n), 1+r.IntN(3)
				for !g.Print(stream, p) {
					if !toGuest.wait(t) {
						return
					}
				}
				printed[stream] = append(printed[stream], p...)
			}
		}()
		got := readAll(t, NewOutput(ctl), toGuest, toEngine, done)
		<-done
		for s := range printed {
			if !bytes.Equal(got[s], printed[s]) {
				t.Fatalf("seed %d, stream %d: %d bytes printed, %d other bytes read", seed, s, len(printed[s]), len(got[s]))
			}
		}
	}
}

// readAll reads until the guest is done and nothing is left.
func readAll(t *testing.T, o *Output, toGuest, toEngine channel, done <-chan struct{}) (got [4][]byte) {
	last := false
	for {
		chunks, err := o.Read()
		if err != nil {
			t.Error(err)
			return got
		}
		for _, c := range chunks {
			got[c.Stream] = append(got[c.Stream], c.Data...)
		}
		if o.Release() {
			toGuest.ring()
		}
		if len(chunks) > 0 || !o.Sleep() {
			continue
		}
		if last {
			return got
		}
		select {
		case <-toEngine:
		case <-done:
			last = true
		case <-time.After(20 * time.Second):
			t.Error("no event comes")
			return got
		}
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// TestInputProperty is the same for standard input.
func TestInputProperty(t *testing.T) {
	for seed := range uint64(8) {
		ctl := ipctest.NewArea()
		startIndex(ctl, uint32(seed)*0x1000-0x765)
		toGuest, toEngine := newChannel(), newChannel()
		sent := randomBytes(rand.New(rand.NewPCG(seed, 2)), 1<<18)
		got := make(chan []byte)
		go func() {
			r := rand.New(rand.NewPCG(seed, 3))
			g := ipctest.NewGuest(ctl, toEngine.ring)
			var all []byte
			for len(all) < len(sent) {
				p := make([]byte, 1+r.IntN(2*abi.ConinSize))
				n := g.Input(p)
				if n == 0 && !toGuest.wait(t) {
					break
				}
				all = append(all, p[:n]...)
			}
			got <- all
		}()
		go func() {
			in := NewInput(ctl)
			r := rand.New(rand.NewPCG(seed, 4))
			for rest := sent; len(rest) > 0; {
				n, notify, err := in.Write(rest[:min(len(rest), 1+r.IntN(2*abi.ConinSize))])
				if err != nil {
					t.Error(err)
					return
				}
				if notify {
					toGuest.ring()
				}
				if rest = rest[n:]; n > 0 {
					continue
				}
				if sleep, err := in.Sleep(); err != nil || sleep && !toEngine.wait(t) {
					t.Error("writing stopped:", err)
					return
				}
			}
		}()
		if all := <-got; !bytes.Equal(all, sent) {
			t.Fatalf("seed %d: %d bytes sent, %d other bytes read", seed, len(sent), len(all))
		}
	}
}

// TestCommandsProperty has four goroutines send commands; all arrive, those of one goroutine in
// order.
func TestCommandsProperty(t *testing.T) {
	const senders, each = 4, 2000
	ctl := ipctest.NewArea()
	startIndex(ctl, 0xffffff00)
	toGuest := newChannel()
	commands := NewCommands(ctl)
	for s := range senders {
		go func() {
			for i := range each {
				for {
					notify, err := commands.Send(abi.KxCmd{Op: abi.CmdSignal, Arg0: uint32(s), A: [3]uint64{uint64(i)}})
					if notify {
						toGuest.ring()
					}
					if err == nil {
						break
					}
					if err != ErrFull {
						t.Error(err)
						return
					}
					time.Sleep(10 * time.Microsecond)
				}
			}
		}()
	}
	g := ipctest.NewGuest(ctl, func() {})
	var next [senders]uint64
	for range senders * each {
		cmd, ok := g.Command()
		for !ok {
			if !toGuest.wait(t) {
				return
			}
			cmd, ok = g.Command()
		}
		if cmd.Op != abi.CmdSignal || cmd.A[0] != next[cmd.Arg0] {
			t.Fatalf("sender %d: command %d came, want %d", cmd.Arg0, cmd.A[0], next[cmd.Arg0])
		}
		next[cmd.Arg0]++
	}
}

func TestCommandsFull(t *testing.T) {
	ctl := ipctest.NewArea()
	c, g := NewCommands(ctl), ipctest.NewGuest(ctl, func() {})
	for range abi.Cmds {
		if _, err := c.Signal(15, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.EOF(); err != ErrFull {
		t.Fatalf("one too many: error %v, want ErrFull", err)
	}
	if cmd, ok := g.Command(); !ok || cmd != (abi.KxCmd{Op: abi.CmdSignal, Arg0: 15, A: [3]uint64{1}}) {
		t.Fatalf("the guest got %+v, %v", cmd, ok)
	}
	if _, err := c.Winsize(24, 80); err != nil {
		t.Fatal(err)
	}
	if !c.Close() {
		t.Fatal("Close of a full ring: nothing is left")
	}
	g.Command()
	if _, err := c.Winsize(24, 80); err != ErrClosed {
		t.Fatalf("after Close: error %v, want ErrClosed", err)
	}
}

// TestNotify holds that an event is sent to a side that sleeps, and to no other.
func TestNotify(t *testing.T) {
	ctl := ipctest.NewArea()
	rang := 0
	g := ipctest.NewGuest(ctl, func() { rang++ })
	o, in, c := NewOutput(ctl), NewInput(ctl), NewCommands(ctl)
	step := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: got %v, want %v", what, got, want)
		}
	}

	g.Print(abi.Stdout, []byte("a"))
	step("events while the engine is awake", rang, 0)
	step("Sleep with something to read", o.Sleep(), false)
	chunks, err := o.Read()
	step("chunks", len(chunks), 1)
	step("error", err, nil)
	step("notify for a guest that does not wait", o.Release(), false)
	step("Sleep with nothing to read", o.Sleep(), true)
	g.Print(abi.Stdout, []byte("b"))
	g.Print(abi.Stdout, []byte("c"))
	step("events for a sleeping engine", rang, 1)
	for g.Print(abi.Stdout, make([]byte, 1000)) {
	}
	o.Read()
	step("notify for a guest that waits for room", o.Release(), true)
	step("notify again", o.Release(), false)

	_, notify, _ := in.Write([]byte("x"))
	step("notify for a guest that does not read", notify, false)
	g.Input(make([]byte, 10))
	g.Input(make([]byte, 10))
	_, notify, _ = in.Write(make([]byte, 2*abi.ConinSize))
	step("notify for a guest that reads", notify, true)
	sleep, _ := in.Sleep()
	step("Sleep with no room", sleep, true)
	rang = 0
	g.Input(make([]byte, 1))
	step("events for an engine that waits for room", rang, 1)
	sleep, _ = in.Sleep()
	step("Sleep with room", sleep, false)

	notify, _ = c.EOF()
	step("notify for a guest that takes no commands", notify, false)
	g.Command()
	g.Command()
	notify, _ = c.EOF()
	step("notify for a guest that waits for commands", notify, true)
}

// TestAdopt holds that a new engine goes on where the old one stopped: what was read and not
// released comes again, the rest is neither lost nor repeated.
func TestAdopt(t *testing.T) {
	ctl := ipctest.NewArea()
	g := ipctest.NewGuest(ctl, func() {})
	g.Print(abi.Stdout, []byte("one"))
	o := NewOutput(ctl)
	o.Read()
	o.Release()
	g.Print(abi.Stdout, []byte("two"))
	o.Read()
	chunks, err := NewOutput(ctl).Read()
	if err != nil || len(chunks) != 1 || string(chunks[0].Data) != "two" {
		t.Errorf("a new engine reads %v, %v", chunks, err)
	}

	NewInput(ctl).Write([]byte("in"))
	NewInput(ctl).Write([]byte("put"))
	p := make([]byte, 10)
	if n := g.Input(p); string(p[:n]) != "input" {
		t.Errorf("the guest reads %q", p[:n])
	}
	NewCommands(ctl).Signal(1, 0)
	NewCommands(ctl).Signal(2, 0)
	a, _ := g.Command()
	b, _ := g.Command()
	if a.Arg0 != 1 || b.Arg0 != 2 {
		t.Errorf("the guest gets signals %d, %d", a.Arg0, b.Arg0)
	}
}

// TestJoin holds that neighbours of one stream become one chunk, and others keep their order.
func TestJoin(t *testing.T) {
	ctl := ipctest.NewArea()
	g := ipctest.NewGuest(ctl, func() {})
	for _, r := range []struct {
		stream int
		text   string
	}{{1, "a"}, {1, "bc"}, {1, ""}, {1, "def"}, {2, "g"}, {1, "h"}, {2, ""}, {1, "i"}, {3, "jk"}, {3, "l"}} {
		g.Print(r.stream, []byte(r.text))
	}
	chunks, err := NewOutput(ctl).Read()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range chunks {
		got = append(got, string(rune('0'+c.Stream))+string(c.Data))
	}
	if want := []string{"1abcdef", "2g", "1hi", "3jkl"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		word      uint32
		code, sig int
		bad       bool
	}{
		{0, 0, 0, false},
		{0x100, 1, 0, false},
		{0xff00, 255, 0, false},
		{9, 137, 9, false},
		{11 | 0x80, 139, 11, false},
		{64, 192, 64, false},
		{65, 0, 0, true},
		{0x7f, 0, 0, true},
		{0x137f, 0, 0, true},
		{0x10000, 0, 0, true},
		{0x80, 0, 0, true},
		{0x109, 0, 0, true},
	} {
		ctl := ipctest.NewArea()
		g := ipctest.NewGuest(ctl, func() {})
		if _, ok, err := ReadStatus(ctl); ok || err != nil {
			t.Fatalf("before the end: %v, %v", ok, err)
		}
		g.Exit(c.word)
		s, ok, err := ReadStatus(ctl)
		if c.bad {
			if ok || !errors.Is(err, ErrCorrupt) {
				t.Errorf("%#x: %v, %v, want ErrCorrupt", c.word, s, err)
			}
		} else if !ok || err != nil || s.Code() != c.code || s.Signal() != c.sig {
			t.Errorf("%#x: code %d signal %d, %v; want %d, %d", c.word, s.Code(), s.Signal(), err, c.code, c.sig)
		}
	}
}

func TestStateAndCrash(t *testing.T) {
	ctl := ipctest.NewArea()
	g := ipctest.NewGuest(ctl, func() {})
	for s := range State(4) {
		g.Enter(uint32(s))
		if got, err := ReadState(ctl); err != nil || got != s {
			t.Errorf("state %d: %v, %v", s, got, err)
		}
	}
	g.Enter(4)
	if _, err := ReadState(ctl); !errors.Is(err, ErrCorrupt) {
		t.Errorf("state 4: error %v", err)
	}
	if c, err := ReadCrash(ctl); c != nil || err != nil {
		t.Errorf("no crash: %v, %v", c, err)
	}
	want := abi.KxCrash{Signo: 11, Vector: abi.X86TrapPf, Error: 6, Addr: 8, Tid: 2}
	want.Regs.Rax, want.Regs.Rflags = 1, 0x202
	g.Control.Crash = want
	if c, err := ReadCrash(ctl); err != nil || *c != want {
		t.Errorf("crash: %+v, %v", c, err)
	}
	g.Control.Crash.Signo = 65
	if _, err := ReadCrash(ctl); !errors.Is(err, ErrCorrupt) {
		t.Errorf("signal 65: error %v", err)
	}
	g.Control.MainNs = 77
	if ReadMain(ctl) != 77 {
		t.Errorf("main at %d", ReadMain(ctl))
	}
}

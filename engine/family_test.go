package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// The family's limit refuses forks, and says so once a second; a new engine knows it.
func TestFamilyLimit(t *testing.T) {
	host := bodies(map[string]func(body){"parent": func(b body) {
		for n := 1; ; n++ {
			b.signal()
			made := 0
			var last int
			for made < 10 {
				if last = b.fork(body.sleep); last < 0 {
					break
				}
				made++
			}
			b.printf("round %d: %d made, then %d\n", n, made, last)
		}
	}})
	state := t.TempDir()
	e := newEngine(t, host, state)
	ctx := context.Background()
	pid := launch(t, e, "parent")
	round := func(n, limit int, want string) {
		t.Helper()
		if err := e.Limit(ctx, pid, Limits{Family: &limit}); err != nil {
			t.Fatal(err)
		}
		e.Signal(ctx, pid, int(unix.SIGUSR1))
		if got := said(t, e, pid, fmt.Sprintf("round %d: ", n)); got != want {
			t.Errorf("round %d, limit %d: %s, want %s", n, limit, got, want)
		}
	}
	begin := time.Now()
	round(1, 3, "2 made, then -11")
	round(2, 3, "0 made, then -11")
	round(3, 2, "0 made, then -11")
	round(4, 4, "1 made, then -11")
	evs := eventsOf(t, e, "refused") // one a second
	if most := 2 + int(time.Since(begin)/time.Second); len(evs) == 0 || len(evs) > most || evs[0].PID != pid || !strings.Contains(evs[0].Text, fmt.Sprintf("limit --family N %%%d", pid)) {
		t.Errorf("events %+v", evs)
	}
	none := 0
	if err := e.Limit(ctx, pid, Limits{Family: &none}); err == nil {
		t.Error("a family of none is allowed")
	}
	e.Stop()
	e = newEngine(t, host, state)
	defer e.Stop()
	if d, err := e.Inspect(ctx, pid); err != nil || d.MaxFamily != 4 || d.Members != 4 {
		t.Errorf("after a new engine: %d members of %d, %v", d.Members, d.MaxFamily, err)
	}
	e.Signal(ctx, pid, int(unix.SIGUSR1))
	if got := said(t, e, pid, "round 5: "); got != "0 made, then -11" {
		t.Errorf("after a new engine: %s", got)
	}
	if err := e.SignalFamily(ctx, pid, int(unix.SIGKILL)); err != nil {
		t.Error(err)
	}
}

// When a parent ends, its living children get the host as their parent and its zombies are gone.
func TestOrphans(t *testing.T) {
	e, _ := familyEngine(t, map[string]func(body){"parent": func(b body) {
		child := b.fork(func(c body) {
			grandchild := c.fork(func(c body) {
				for {
					c.signal()
					c.printf("parent %d\n", atomic.LoadUint32(&c.k.Control.Ppid))
				}
			})
			c.printf("grandchild %d\n", grandchild)
			c.signal()
		})
		brief := b.fork(func(body) {})
		b.printf("child %d, brief %d\n", child, brief)
		b.sleep()
	}})
	ctx := context.Background()
	parent := launch(t, e, "parent")
	var child, brief int
	fmt.Sscanf(said(t, e, parent, "child "), "%d, brief %d", &child, &brief)
	grandchild := saidNumber(t, e, child, "grandchild ")
	wait(t, e, brief)
	eventually(t, "the zombie", func() bool { p := process(t, e, brief, false); return p != nil && p.Stat == "Z" })

	// The middle generation first: nobody waits for it, for its parent does not.
	e.Signal(ctx, child, int(unix.SIGTERM))
	wait(t, e, child)
	eventually(t, "an orphan", func() bool { return process(t, e, grandchild, false).PPID == 0 })
	e.Signal(ctx, grandchild, int(unix.SIGUSR1))
	if got := saidNumber(t, e, grandchild, "parent "); got != 0 {
		t.Errorf("getppid() of an orphan is %d", got)
	}
	if p := process(t, e, grandchild, false); p.Family != parent {
		t.Errorf("the orphan left its family: %+v", p)
	}
	e.Signal(ctx, parent, int(unix.SIGKILL))
	wait(t, e, parent)
	for _, zombie := range []int{child, brief} {
		if p := process(t, e, zombie, true); p == nil || p.Stat != "X" {
			t.Errorf("a zombie without a parent: %+v", p)
		}
	}
	if s, _ := e.Snapshot(ctx, false); len(s.Processes) != 1 {
		t.Errorf("processes %+v", s.Processes)
	}
	if evs := eventsOf(t, e, "reparented"); len(evs) != 1 || evs[0].PID != grandchild {
		t.Errorf("events %+v", evs)
	}
	e.Signal(ctx, grandchild, int(unix.SIGKILL))
	wait(t, e, grandchild)
	eventually(t, "an orphan's end", func() bool { return process(t, e, grandchild, false) == nil })
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.families) != 0 {
		t.Errorf("families left: %d", len(e.families))
	}
}

// Nothing is lost of the news of many children that end at once, however late the parent takes it.
func TestManyChildrenEndAtOnce(t *testing.T) {
	const n = 500
	var listen atomic.Bool
	e, _ := familyEngine(t, map[string]func(body){"parent": func(b body) {
		start := make(chan struct{})
		ends := map[int]uint64{}
		for i := range n {
			pid := b.fork(func(c body) {
				select {
				case <-start:
				case <-time.After(20 * time.Second):
				}
				c.Guest.Exit(i % 256)
			})
			if pid < 0 {
				b.printf("fork %d: %d\n", i, pid)
				b.Guest.Exit(1)
			}
			ends[pid] = uint64(i%256) << 8
		}
		close(start)
		b.printf("made\n")
		for !listen.Load() {
			time.Sleep(time.Millisecond)
			b.Yield()
		}
		for len(ends) > 0 {
			pid, status := b.child()
			if want, ok := ends[pid]; !ok || want != status {
				b.printf("child %d: status %#x, want %#x\n", pid, status, want)
				b.Guest.Exit(1)
			}
			delete(ends, pid)
			if r := b.call(abi.CallReap, uint64(pid)); r != 0 {
				b.printf("reap %d: %d\n", pid, r)
			}
		}
		b.printf("left %d\n", len(ends))
		b.sleep()
	}})
	pid := launch(t, e, "parent")
	said(t, e, pid, "made")
	eventually(t, "the end of all", func() bool {
		s, _ := e.Snapshot(context.Background(), false)
		zombies := 0
		for _, p := range s.Processes {
			if p.Stat == "Z" && p.Exit != nil {
				zombies++
			}
		}
		return zombies == n
	})
	listen.Store(true)
	if got := saidNumber(t, e, pid, "left "); got != 0 {
		t.Errorf("%d ends unheard of", got)
	}
	if s, _ := e.Snapshot(context.Background(), false); len(s.Processes) != 1 {
		t.Errorf("%d processes left", len(s.Processes))
	}
	if s, _ := e.Snapshot(context.Background(), true); len(s.Processes) > Remembered+1 {
		t.Errorf("%d remembered", len(s.Processes))
	}
}

// A fork bomb is stopped by the family's limit and dies by one command.
func TestForkBomb(t *testing.T) {
	var bomb func(b body)
	bomb = func(b body) {
		for {
			b.fork(bomb)
			b.k.Command()
			b.Yield()
		}
	}
	for what, kill := range map[string]func(api API, pid int) error{
		"tree":   func(api API, pid int) error { return api.SignalTree(context.Background(), pid, int(unix.SIGKILL)) },
		"family": func(api API, pid int) error { return api.SignalFamily(context.Background(), pid, int(unix.SIGKILL)) },
		"engine": func(api API, _ int) error { return api.Shutdown(context.Background(), true) },
	} {
		t.Run(what, func(t *testing.T) {
			host := bodies(map[string]func(body){"bomb": bomb, "bystander": body.sleep})
			e := newEngine(t, host, t.TempDir())
			defer e.Stop()
			e.o.FamilyLimit = 40
			api := viaSocket(t, e)
			bystander := launch(t, api, "bystander")
			pid := launch(t, api, "bomb")
			eventually(t, "the bomb", func() bool {
				s, err := api.Snapshot(context.Background(), false)
				return err == nil && len(s.Processes) == 41
			})
			if err := kill(api, pid); err != nil {
				t.Fatal(err)
			}
			s, err := e.Snapshot(context.Background(), false)
			if err != nil {
				t.Fatal(err)
			}
			if what != "engine" && (len(s.Processes) != 1 || s.Processes[0].PID != bystander) || what == "engine" && len(s.Processes) != 0 {
				t.Errorf("left: %+v", s.Processes)
			}
			e.Shutdown(context.Background(), true)
			if ids, _ := e.hv.Domains(); len(ids) != 0 {
				t.Errorf("domains left: %v", ids)
			}
		})
	}
}

func TestSignalTreeOfNobody(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		ctx := context.Background()
		for _, err := range []error{api.SignalTree(ctx, 4711, 9), api.SignalFamily(ctx, 4711, 9)} {
			var own *Error
			if !errors.As(err, &own) || own.Code != CodeNoPVM {
				t.Error(err)
			}
		}
		pid := launch(t, api, "sleep")
		if err := api.SignalTree(ctx, pid, 99); err == nil {
			t.Error("signal 99 was taken")
		}
		if err := api.SignalTree(ctx, pid, 0); err != nil {
			t.Error(err)
		}
		if err := api.SignalFamily(ctx, pid, int(unix.SIGTERM)); err != nil {
			t.Error(err)
		}
		if x := wait(t, api, pid); x.Signal != int(unix.SIGTERM) {
			t.Errorf("exit %+v", x)
		}
	})
}

// A pVM that is about to stop when SIGCONT comes goes on: it has to take that first.
func TestStopOvertaken(t *testing.T) {
	e, _ := familyEngine(t, map[string]func(body){
		"stopper": func(b body) {
			ring := &b.k.Control.Cmds
			stop := func() int64 { return b.call(abi.CallKill, uint64(b.ID), uint64(unix.SIGTSTP)) }
			b.printf("ready 1\n")
			for atomic.LoadUint32(&ring.Prod) == atomic.LoadUint32(&ring.Cons) {
				time.Sleep(time.Millisecond) // an event would interrupt the next call
			}
			early := stop()
			cmd := b.command()
			b.printf("overtaken %d, signal %d\n", early, cmd.Arg0)
			stop()
			b.printf("went on after %d\n", b.signal())
			b.sleep()
		},
	})
	ctx := context.Background()
	pid := launch(t, e, "stopper")
	saidNumber(t, e, pid, "ready ")
	if err := e.Signal(ctx, pid, int(unix.SIGCONT)); err != nil {
		t.Fatal(err)
	}
	if got := said(t, e, pid, "overtaken "); !strings.HasPrefix(got, fmt.Sprintf("%d, signal %d", -int(unix.EAGAIN), unix.SIGCONT)) {
		t.Fatal(got)
	}
	for process(t, e, pid, false).Stat != "T" {
		time.Sleep(time.Millisecond)
	}
	if err := e.Signal(ctx, pid, int(unix.SIGCONT)); err != nil {
		t.Fatal(err)
	}
	saidNumber(t, e, pid, "went on after ")
}

// Groups are of one family: a stranger's is not there, whatever the number says. Which one a member is in outlives the engine.
func TestGroupCall(t *testing.T) {
	host, state := bodies(map[string]func(body){
		"stranger": body.sleep,
		"parent": func(b body) {
			group := func(pid, what, g uint64) int64 { return b.call(abi.CallGroup, pid, what, g) }
			stranger := uint64(b.signal()) // its PID, for once
			b.printf("stranger %d %d %d, joined %d, killed %d, odd %d %d, by number %d %d\n", group(stranger, abi.GroupOf, 0), group(stranger, abi.GroupSession, 0),
				group(stranger, abi.GroupJoin, 0), group(0, abi.GroupJoin, stranger), b.call(abi.CallKill, -stranger, 15), group(0, 4, 0), group(1<<63, abi.GroupOf, 0), b.call(abi.CallKill, uint64(b.ID), 0, 1), b.call(abi.CallKill, stranger, 0, 1))
			own := int64(b.ID)
			b.printf("leads %t %t, leaves %d %d\n", group(0, abi.GroupOf, 0) == own, group(uint64(own), abi.GroupSession, 0) == own, group(0, abi.GroupLeave, 0), group(0, abi.GroupJoin, 0))
			one := b.fork(func(c body) { c.call(abi.CallGroup, 0, abi.GroupLeave, 0); c.sleep() })
			two := b.fork(body.sleep)
			b.printf("moved %d\n", group(uint64(two), abi.GroupJoin, 0))
			for group(uint64(one), abi.GroupSession, 0) != int64(one) {
				time.Sleep(time.Millisecond)
			}
			b.signal()
			b.printf("later %t %t %t %d\n", group(uint64(one), abi.GroupOf, 0) == int64(one), group(uint64(one), abi.GroupSession, 0) == int64(one),
				group(uint64(two), abi.GroupOf, 0) == int64(two), b.call(abi.CallKill, 0, 15))
			b.sleep()
		},
	}), t.TempDir()
	e := newEngine(t, host, state)
	stranger, pid := launch(t, e, "stranger"), launch(t, e, "parent")
	e.Signal(context.Background(), pid, stranger)
	for prefix, want := range map[string]string{"stranger ": "-3 -3 -3, joined -1, killed -3, odd -22 -3, by number 1 -3", "leads ": "true true, leaves -1 -1", "moved ": "0"} {
		if got := said(t, e, pid, prefix); got != want {
			t.Errorf("%s%s, not %s", prefix, got, want)
		}
	}
	e.Stop()
	e = newEngine(t, host, state)
	t.Cleanup(func() {
		e.Shutdown(context.Background(), true)
		e.Stop()
	})
	e.Signal(context.Background(), pid, int(unix.SIGUSR1))
	if got := said(t, e, pid, "later "); got != "true true true 1" {
		t.Errorf("later %s", got)
	}
	for _, p := range e.table { // had the first engine been killed before it answered, this one would be asked again
		leave := ipc.Call{N: p.rec.Left, A: [3]uint64{0, abi.GroupLeave}}
		if p.rec.Left == 0 {
			continue
		}
		if got := e.callGroup(p, leave); got != int64(p.pid) {
			t.Errorf("asked again: %d", got)
		}
		leave.N++
		if got := e.callGroup(p, leave); got != -int64(unix.EPERM) {
			t.Errorf("a leader leaves: %d", got)
		}
		pid = 0
	}
	if pid != 0 {
		t.Error("nobody has left")
	}
}

// kill(2) of a pVM reaches its family and nobody else.
func TestKillCall(t *testing.T) {
	e, _ := familyEngine(t, map[string]func(body){
		"stranger": body.sleep,
		"parent": func(b body) {
			tell := func(c body) {
				for {
					if cmd := c.command(); cmd.Op == abi.CmdSignal {
						c.printf("signal %d from %d\n", cmd.Arg0, cmd.A[0])
						c.Guest.End(cmd.Arg0, xen.Exit{Reason: xen.ExitShutdown})
					}
				}
			}
			kill := func(pid, sig int64) int64 { return b.call(abi.CallKill, uint64(pid), uint64(sig)) }
			stranger := b.signal() // its PID, for once
			brief := b.fork(func(body) {})
			b.child()
			alone := kill(0, 15)
			b.printf("stranger %d, nobody %d, odd %d, zombie %d, alone %d\n",
				kill(int64(stranger), 0), kill(4711, 15), kill(int64(brief), 65), kill(int64(brief), 15), alone)
			one, two, three := b.fork(tell), b.fork(tell), b.fork(body.sleep)
			b.printf("there %d, term %d\n", kill(int64(one), 0), kill(int64(one), 15))
			who, status := b.child()
			b.printf("ended %t %d\n", who == one, status)
			b.printf("stop %d\n", kill(int64(three), 19))
			who, status = b.child()
			b.printf("stopped %t %#x\n", who == three, status)
			b.printf("cont %d\n", kill(int64(three), 18))
			who, status = b.child()
			b.printf("continued %t %#x\n", who == three, status)
			b.printf("all %d\n", kill(-1, 10))
			who, status = b.child()
			b.printf("ended %t %d\n", who == two, status)
			b.printf("kill %d\n", kill(int64(three), 9))
			who, status = b.child()
			b.printf("killed %t %d\n", who == three, status)
			b.printf("two is %d\n", two)
			b.sleep()
		},
	})
	stranger := launch(t, e, "stranger")
	pid := launch(t, e, "parent")
	e.Signal(context.Background(), pid, stranger)
	two := saidNumber(t, e, pid, "two is ")
	var mine []string
	for line := range strings.Lines(logs(t, e, pid)[Stdout]) {
		if !strings.HasPrefix(line, "signal ") && !strings.HasPrefix(line, "two ") {
			mine = append(mine, strings.TrimSpace(line))
		}
	}
	want := []string{
		"stranger -3, nobody -3, odd -22, zombie 0, alone 1", "there 0, term 0", "ended true 15", "stop 0", "stopped true 0x137f",
		"cont 0", "continued true 0xffff", "all 0", "ended true 10", "kill 0", "killed true 9",
	}
	if !slices.Equal(mine, want) {
		t.Errorf("got %q, want %q", mine, want)
	}
	if got := logs(t, e, two)[Stdout]; got != fmt.Sprintf("signal 10 from %d\n", pid) {
		t.Errorf("who was signalled says %q", got)
	}
	if p := process(t, e, stranger, false); p == nil {
		t.Error("a stranger suffered")
	}
	if evs := eventsOf(t, e, "refused"); len(evs) != 1 || evs[0].PID != pid || evs[0].Text != fmt.Sprintf("kill: %d is of another family", stranger) {
		t.Errorf("events %+v", evs)
	}
}

// Children wait for whoever must not lose anything of the root's console, as the root does.
func TestHeldReaderHoldsTheFamily(t *testing.T) {
	const each = 3 << 19 // both together more than may be held back
	e, _ := familyEngine(t, map[string]func(body){"parent": func(b body) {
		line := strings.Repeat("x", 1023) + "\n"
		for range 2 {
			b.fork(func(c body) {
				for range each / len(line) {
					c.printf("%s", line)
				}
			})
		}
		b.child()
		b.child()
	}})
	pid := launch(t, e, "parent", func(r *RunRequest) { r.Hold = true })
	time.Sleep(50 * time.Millisecond)
	con, err := e.Attach(context.Background(), pid, AttachOptions{FromStart: true})
	if err != nil {
		t.Fatal(err)
	}
	defer con.Close()
	if n := len(output(t, con.Recv)[Stdout]); n != 2*each {
		t.Errorf("%d of %d bytes", n, 2*each)
	}
}

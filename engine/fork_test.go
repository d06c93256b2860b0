package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
	"kxsh/xen"
	"kxsh/xen/fake"
)

// body is a program of these tests with what it needs of a LibOS.
type body struct {
	*fake.Guest
	k *ipctest.Guest
}

// bodies makes a host on which each program is one of these, by its name.
func bodies(programs map[string]func(body)) *fake.Host {
	return fake.NewHost(func(b *xen.Boot) fake.Program { return inhabit(programs[b.Args[0]]) })
}

func inhabit(f func(body)) fake.Program {
	return func(g *fake.Guest) {
		b := body{g, ipctest.NewGuest(g.Control(), g.Ring)}
		b.k.Enter(abi.StateMain)
		f(b)
	}
}

func (b body) call(op uint32, a ...uint64) int64 { return b.k.Call(b.Wait, op, a...) }

// fork makes a child that does f and exits 0.
func (b body) fork(f func(body)) int {
	return int(b.call(abi.CallFork, b.Point(inhabit(func(c body) { f(c); c.Guest.Exit(0) }))))
}

func (b body) printf(format string, args ...any) {
	for p := fmt.Appendf(nil, format, args...); !b.k.Print(Stdout, p); {
		b.Wait()
	}
}

// command waits for the next command.
func (b body) command() abi.KxCmd {
	for {
		if c, ok := b.k.Command(); ok {
			return c
		}
		b.Wait()
	}
}

// child waits for news of a child, and returns its PID and status word.
func (b body) child() (pid int, status uint64) {
	for {
		if c := b.command(); c.Op == abi.CmdChild {
			return int(c.Arg0), c.A[0]
		}
	}
}

// signal waits for a signal.
func (b body) signal() int {
	for {
		if c := b.command(); c.Op == abi.CmdSignal {
			return int(c.Arg0)
		}
	}
}

func (b body) sleep() {
	for {
		b.Wait()
	}
}

// familyEngine is an engine on a host with these programs, which ends with the test.
func familyEngine(t *testing.T, programs map[string]func(body)) (*Engine, *fake.Host) {
	t.Helper()
	host := bodies(programs)
	e := newEngine(t, host, t.TempDir())
	t.Cleanup(func() {
		e.Shutdown(context.Background(), true)
		e.Stop()
	})
	return e, host
}

// process returns a pVM of the snapshot, or nil.
func process(t *testing.T, api API, pid int, exited bool) *Process {
	t.Helper()
	s, err := api.Snapshot(context.Background(), exited)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Processes {
		if s.Processes[i].PID == pid {
			return &s.Processes[i]
		}
	}
	return nil
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// said waits for a line of a pVM's standard output that begins so, and returns what follows.
func said(t *testing.T, api API, pid int, begin string) (rest string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d says %q", pid, begin), func() bool {
		for line := range strings.Lines(logs(t, api, pid)[Stdout]) {
			if after, ok := strings.CutPrefix(line, begin); ok && strings.HasSuffix(line, "\n") {
				rest = strings.TrimSpace(after)
				return true
			}
		}
		return false
	})
	return rest
}

func saidNumber(t *testing.T, api API, pid int, begin string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(said(t, api, pid, begin), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eventsOf(t *testing.T, e *Engine, typ string) (list []Event) {
	t.Helper()
	r, _ := e.Events(context.Background(), 0, false)
	for {
		ev, err := r.Recv()
		if err != nil {
			return list
		}
		if ev.Type == typ {
			list = append(list, ev)
		}
	}
}

// A pVM forks, its child is a process of its own, a zombie when it has ended, and gone when waited for.
func TestFork(t *testing.T) {
	programs := map[string]func(body){"parent": func(b body) {
		b.printf("before\n")
		pid := b.fork(func(c body) {
			c.printf("child %d of %d, family %d\n", c.ID, c.k.Control.Ppid, c.k.Control.Family)
			c.signal()
			c.printf("goes\n")
			c.Guest.Exit(3)
		})
		b.printf("made %d\n", pid)
		who, status := b.child()
		b.printf("ended %d %#x\n", who, status)
		b.signal()
		b.printf("reaped %d\n", b.call(abi.CallReap, uint64(pid)))
		b.printf("again %d\n", b.call(abi.CallReap, uint64(pid)))
		b.printf("odd %d %d\n", b.call(77), b.call(abi.CallReap, 1<<40))
		b.sleep()
	}}
	for _, via := range []string{"direct", "socket"} {
		t.Run(via, func(t *testing.T) {
			e, _ := familyEngine(t, programs)
			api := API(e)
			if via == "socket" {
				api = viaSocket(t, e)
			}
			ctx := context.Background()
			parent := launch(t, api, "parent")
			child := saidNumber(t, api, parent, "made ")
			if got, want := said(t, api, child, "child "), fmt.Sprintf("%d of %d, family %d", child, parent, parent); got != want {
				t.Errorf("the child says %q, want %q", got, want)
			}
			p := process(t, api, child, false)
			if p.PPID != parent || p.Family != parent || p.Name != "parent" || p.Exit != nil {
				t.Errorf("child %+v", p)
			}
			d, err := api.Inspect(ctx, parent)
			if err != nil || !slices.Equal(d.Children, []int{child}) || d.Members != 2 || d.MaxFamily != DefaultFamilyLimit {
				t.Errorf("inspect: children %v, %d members of at most %d, %v", d.Children, d.Members, d.MaxFamily, err)
			}
			if err := api.Signal(ctx, child, int(unix.SIGTERM)); err != nil {
				t.Error(err)
			}
			if x := wait(t, api, child); x.Code != 3 {
				t.Errorf("exit %+v", x)
			}
			if got, want := said(t, api, parent, "ended "), fmt.Sprintf("%d 0x300", child); got != want {
				t.Errorf("the parent hears %q, want %q", got, want)
			}
			if p := process(t, api, child, false); p == nil || p.Stat != "Z" || p.Exit == nil || p.Exit.Code != 3 {
				t.Errorf("zombie %+v", p)
			}
			for _, send := range []func(context.Context, int, int) error{api.Signal, api.Force} {
				if err := send(ctx, child, int(unix.SIGTERM)); err != nil {
					t.Errorf("a zombie does not take a signal: %v", err)
				}
			}
			api.Signal(ctx, parent, int(unix.SIGUSR1))
			if got := saidNumber(t, api, parent, "reaped "); got != 0 {
				t.Errorf("reap: %d", got)
			}
			if p := process(t, api, child, false); p != nil {
				t.Errorf("reaped, and still there: %+v", p)
			}
			if p := process(t, api, child, true); p == nil || p.Stat != "X" {
				t.Errorf("remembered: %+v", p)
			}
			if got := saidNumber(t, api, parent, "again "); got != 0 {
				t.Errorf("reaped once more: %d", got)
			}
			if got := said(t, api, parent, "odd "); got != "-38 -10" {
				t.Errorf("an unknown call and a reap of nobody: %s", got)
			}
			all := logs(t, api, parent)[Stdout]
			for _, want := range []string{"before\n", fmt.Sprintf("child %d of", child), "goes\nended"} {
				if !strings.Contains(strings.ReplaceAll(all, fmt.Sprintf("made %d\n", child), ""), want) {
					t.Errorf("the root's log has no %q: %q", want, all)
				}
			}
			evs := eventsOf(t, e, "forked")
			if len(evs) != 1 || evs[0].PID != parent || evs[0].Child != child || len(evs[0].Steps) < 5 {
				t.Errorf("events %+v", evs)
			}
		})
	}
}

// A child may run, and be gone, before its fork is over.
func TestForkOfTheQuick(t *testing.T) {
	e, host := familyEngine(t, map[string]func(body){"parent": func(b body) {
		pid := b.fork(func(c body) { c.Guest.Exit(3) })
		b.printf("forked %d\n", pid)
		_, status := b.child()
		b.printf("status %d\n", status)
		b.sleep()
	}})
	host.SetEager(true)
	p := launch(t, e, "parent")
	if pid := saidNumber(t, e, p, "forked"); pid <= 0 {
		t.Errorf("fork: %d", pid)
	}
	if status := saidNumber(t, e, p, "status"); status != 3<<8 {
		t.Errorf("status %#x", status)
	}
}

// What a child writes before its fork is over is not forgotten: it does not ring again.
func TestForkOfATalker(t *testing.T) {
	e, host := familyEngine(t, map[string]func(body){"parent": func(b body) {
		pid := b.fork(func(c body) {
			c.printf("early\n")
			c.sleep()
		})
		b.printf("forked %d\n", pid)
		b.sleep()
	}})
	host.SetEager(true)
	said(t, e, saidNumber(t, e, launch(t, e, "parent"), "forked"), "early")
}

// Whatever step of a fork fails, nothing is left of it and the parent goes on.
func TestFailedForkLeavesNothing(t *testing.T) {
	e, host := familyEngine(t, map[string]func(body){"parent": func(b body) {
		for n := 1; ; n++ {
			b.signal()
			b.printf("%d: %d\n", n, b.fork(body.sleep))
		}
	}})
	pid := launch(t, e, "parent")
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	n := 0
	fails := func(what string, want unix.Errno) {
		t.Helper()
		n++
		if err := e.Signal(context.Background(), pid, int(unix.SIGUSR1)); err != nil {
			t.Fatal(err)
		}
		if got := saidNumber(t, e, pid, fmt.Sprintf("%d: ", n)); got != -int(want) {
			t.Errorf("%s: fork gives %d, want %d", what, got, -int(want))
		}
		if ids, _ := e.hv.Domains(); len(ids) != 1 {
			t.Errorf("%s: domains left: %v", what, ids)
		}
		e.mu.Lock()
		if len(e.table) != 1 || e.running != running || e.families[pid].members != 1 {
			t.Errorf("%s: %d in the table, %d run, %d in the family", what, len(e.table), e.running, e.families[pid].members)
		}
		e.mu.Unlock()
		if ents, _ := os.ReadDir(filepath.Join(e.o.State, "logs")); len(ents) != 1 {
			t.Errorf("%s: %d logs", what, len(ents))
		}
	}
	for step, give := range map[string]error{"fork memory": xen.ErrNoMemory, "fork boot": errors.New("out"), "fork start": xen.ErrNoFork} {
		host.Fail(func(s string) error {
			if s == step {
				return give
			}
			return nil
		})
		fails(step, forkErrno(give))
	}
	host.Fail(nil)
	e.mu.Lock()
	e.table[pid].doomed = true
	e.mu.Unlock()
	fails("a doomed parent", unix.EAGAIN)
	e.mu.Lock()
	e.table[pid].doomed = false
	e.mu.Unlock()
	if evs := eventsOf(t, e, "refused"); len(evs) == 0 || len(evs) > n || !strings.Contains(evs[0].Text, "fork: ") {
		t.Errorf("events %+v", evs)
	}
	e.store.fail()
	fails("the record", unix.EAGAIN)
}

// A fork from outside makes children of one point, of which the parent's program hears nothing.
func TestForkFromOutside(t *testing.T) {
	programs := map[string]func(body){
		"willing": func(b body) {
			for {
				switch c := b.command(); c.Op {
				case abi.CmdFork:
					b.printf("forked %d\n", b.call(abi.CallFork, b.Point(inhabit(func(c body) { c.signal(); c.Guest.Exit(0) })), 0, c.A[0]))
				case abi.CmdChild:
					b.printf("child %d\n", c.Arg0)
				}
			}
		},
		"liar": func(b body) { // makes up a token
			b.printf("forked %d\n", b.call(abi.CallFork, b.Point(inhabit(body.sleep)), 0, 4711))
			b.sleep()
		},
		"deaf": body.sleep,
		"mortal": func(b body) {
			b.command()
			b.Guest.Exit(0)
		},
	}
	code := func(err error) Code {
		var own *Error
		if errors.As(err, &own) && !strings.Contains(own.Msg, "\n") {
			return own.Code
		}
		return Code(fmt.Sprint(err))
	}
	for _, via := range []string{"direct", "socket"} {
		t.Run(via, func(t *testing.T) {
			e, host := familyEngine(t, programs)
			api := API(e)
			if via == "socket" {
				api = viaSocket(t, e)
			}
			ctx := context.Background()
			willing := launch(t, api, "willing")
			pids, err := api.Fork(ctx, willing, 3)
			if err != nil || len(pids) != 3 {
				t.Fatalf("fork: %v %v", pids, err)
			}
			if got := saidNumber(t, api, willing, "forked "); got != 3 {
				t.Errorf("the parent's call gives %d", got)
			}
			for _, pid := range pids {
				if p := process(t, api, pid, false); p == nil || p.PPID != willing || p.Family != willing {
					t.Errorf("child %d: %+v", pid, p)
				}
				api.Signal(ctx, pid, int(unix.SIGTERM))
				wait(t, api, pid)
				eventually(t, "the end of a child made from outside", func() bool { return process(t, api, pid, false) == nil })
			}
			limit := 3
			if err := api.Limit(ctx, willing, Limits{Family: &limit}); err != nil {
				t.Fatal(err)
			}
			pids, err = api.Fork(ctx, willing, 5)
			if len(pids) != 2 || code(err) != CodeLimit {
				t.Errorf("five children for a family of at most three: %v, %v", pids, err)
			}
			host.Fail(func(step string) error {
				if step == "fork memory" {
					return xen.ErrNoFork
				}
				return nil
			})
			api.Signal(ctx, pids[0], int(unix.SIGKILL))
			wait(t, api, pids[0])
			if pids, err = api.Fork(ctx, willing, 1); len(pids) != 0 || code(err) != CodeInternal || !strings.Contains(err.Error(), "cannot fork") {
				t.Errorf("a hypervisor that cannot fork: %v, %v", pids, err)
			}
			host.Fail(nil)
			api.Signal(ctx, willing, int(unix.SIGSTOP))
			if _, err = api.Fork(ctx, willing, 1); code(err) != CodeBusy || !strings.Contains(err.Error(), "kill -CONT") {
				t.Errorf("a stopped pVM: %v", err)
			}
			if got := logs(t, api, willing)[Stdout]; strings.Contains(got, "child") {
				t.Errorf("the parent heard of children that are not its: %q", got)
			}

			liar := launch(t, api, "liar")
			if got := saidNumber(t, api, liar, "forked "); got != -int(unix.EAGAIN) {
				t.Errorf("a made-up token: %d", got)
			}
			deaf := launch(t, api, "deaf")
			e.patience = 50 * time.Millisecond
			if _, err = api.Fork(ctx, deaf, 1); code(err) != CodeBusy || !strings.Contains(err.Error(), "50ms") {
				t.Errorf("a pVM that does not come to its safe point: %v", err)
			}
			e.patience = forkPatience
			if _, err = api.Fork(ctx, launch(t, api, "mortal"), 1); code(err) != CodeNoPVM {
				t.Errorf("a pVM that ends instead: %v", err)
			}
			for pid, want := range map[int]Code{4711: CodeNoPVM, 0: CodeForeign} {
				if _, err = api.Fork(ctx, pid, 1); code(err) != want {
					t.Errorf("fork of %d: %v", pid, err)
				}
			}
			if _, err = api.Fork(ctx, deaf, 0); code(err) != CodeInvalid {
				t.Errorf("no children: %v", err)
			}
		})
	}
}

// A pVM that is stopped does not fork before it goes on.
func TestForkWaitsForAStoppedParent(t *testing.T) {
	var asked atomic.Bool
	e, _ := familyEngine(t, map[string]func(body){"parent": func(b body) {
		b.signal()
		for !asked.Load() {
			b.Yield()
		}
		b.printf("made %d\n", b.fork(body.sleep))
		b.sleep()
	}})
	ctx := context.Background()
	pid := launch(t, e, "parent")
	p, _ := e.find(pid, "")
	if err := e.Signal(ctx, pid, int(unix.SIGUSR1)); err != nil {
		t.Fatal(err)
	}
	p.still.Lock() // as a STOP that comes between the call and its service
	asked.Store(true)
	eventually(t, "the call", func() bool {
		c := ipctest.NewGuest(p.dom.Control(), nil).Control
		return atomic.LoadUint32(&c.Call.Asked) == 1
	})
	p.stopped = true
	p.still.Unlock()
	time.Sleep(20 * time.Millisecond)
	if n := len(eventsOf(t, e, "forked")); n != 0 {
		t.Errorf("%d forks of a stopped pVM", n)
	}
	if err := e.Signal(ctx, pid, int(unix.SIGCONT)); err != nil {
		t.Fatal(err)
	}
	if child := saidNumber(t, e, pid, "made "); child <= pid {
		t.Errorf("fork: %d", child)
	}
}

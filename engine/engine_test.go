package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
	"kxsh/xen"
	"kxsh/xen/fake"
	"kxsh/xen/xentest"
)

// The domains of these tests are Go functions: what is tested is the engine's bookkeeping.
func programs(b *xen.Boot) fake.Program {
	return func(g *fake.Guest) {
		k := ipctest.NewGuest(g.Control(), g.Ring)
		print := func(stream int, s string) {
			for !k.Print(stream, []byte(s)) {
				g.Wait()
			}
		}
		k.Enter(abi.StateMain)
		switch b.Args[0] {
		case "hello":
			print(Stdout, "hello\n")
			print(Stderr, "and goodbye\n")
			g.Exit(3)
		case "cat":
			buf := make([]byte, 512)
			for {
				if n := k.Input(buf); n > 0 {
					print(Stdout, string(buf[:n]))
					continue
				}
				if c, ok := k.Command(); ok && c.Op == abi.CmdEof {
					g.Exit(0)
				} else if !ok {
					g.Wait()
				}
			}
		case "sleep": // dies of the signal it is sent
			for {
				if c, ok := k.Command(); ok && c.Op == abi.CmdSignal {
					g.End(c.Arg0, xen.Exit{Reason: xen.ExitShutdown})
				} else if !ok {
					g.Wait()
				}
			}
		case "deaf": // takes no commands
			for {
				g.Wait()
			}
		case "scribble":
			atomic.StoreUint32(&k.Control.Conout.Prod, 1<<30)
			g.Ring()
			for {
				g.Wait()
			}
		case "fault":
			g.End(0, xen.Exit{Reason: xen.ExitFault, Crash: abi.KxCrash{
				Signo: uint32(syscall.SIGSEGV), Vector: abi.X86TrapPf, Error: 2, Addr: 0x10, Tid: 1, Regs: abi.KxRegs{Rip: 0x401000},
			}})
		case "liar": // says that it exited with a status word of no meaning
			g.End(0xdead0000, xen.Exit{Reason: xen.ExitShutdown})
		case "flood":
			line := strings.Repeat("x", 1023) + "\n"
			for range 8 << 10 {
				print(Stdout, line)
			}
			g.Exit(0)
		}
	}
}

func newEngine(t *testing.T, host *fake.Host, state string) *Engine {
	t.Helper()
	e, err := New(Options{Open: func(first xen.DomID) (xen.Hypervisor, error) { return host.Open(first), nil }, State: state, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testEngine(t *testing.T) (*Engine, *fake.Host) {
	host := fake.NewHost(programs)
	e := newEngine(t, host, t.TempDir())
	t.Cleanup(func() {
		e.Shutdown(context.Background(), true)
		e.Stop()
	})
	return e, host
}

func launch(t *testing.T, api API, program string, change ...func(*RunRequest)) int {
	t.Helper()
	r := RunRequest{Image: xentest.GuestPath(t), Args: []string{program}, Name: program}
	for _, f := range change {
		f(&r)
	}
	rep, err := api.Run(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return rep.PID
}

func wait(t *testing.T, api API, pid int) *Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	x, err := api.Wait(ctx, pid)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func output(t *testing.T, recv func() (Chunk, error)) (streams [4]string) {
	t.Helper()
	for {
		c, err := recv()
		if err == io.EOF {
			return streams
		}
		if err != nil {
			t.Fatal(err)
		}
		streams[c.Stream] += string(c.Data)
	}
}

func logs(t *testing.T, api API, pid int) [4]string {
	t.Helper()
	lr, err := api.Logs(context.Background(), pid, LogOptions{Lines: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer lr.Close()
	return output(t, lr.Recv)
}

// viaSocket is the same engine seen through server and client.
func viaSocket(t *testing.T, e *Engine) API {
	t.Helper()
	dir, err := os.MkdirTemp("", "kx")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(e, ln)
	go s.Serve()
	c, err := Connect(context.Background(), filepath.Join(dir, "s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
		os.RemoveAll(dir)
	})
	return c
}

// both runs a test on the engine itself and through its socket.
func both(t *testing.T, f func(t *testing.T, api API)) {
	t.Run("direct", func(t *testing.T) {
		e, _ := testEngine(t)
		f(t, e)
	})
	t.Run("socket", func(t *testing.T) {
		e, _ := testEngine(t)
		f(t, viaSocket(t, e))
	})
}

func TestLifeAndDeath(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		ctx := context.Background()
		pid := launch(t, api, "hello")
		if x := wait(t, api, pid); x.Code != 3 || x.Signal != 0 {
			t.Errorf("exit %+v, want status 3", x)
		}
		if got := logs(t, api, pid); got[Stdout] != "hello\n" || got[Stderr] != "and goodbye\n" {
			t.Errorf("logs %q", got)
		}
		if s, err := api.Snapshot(ctx, false); err != nil || len(s.Processes) != 0 {
			t.Errorf("an ended pVM is still there: %+v %v", s, err)
		}
		s, err := api.Snapshot(ctx, true)
		if err != nil || len(s.Processes) != 1 || s.Processes[0].Stat != "X" || s.Processes[0].Exit.Code != 3 || s.Processes[0].CPU == 0 {
			t.Errorf("remembered: %+v %v", s, err)
		}
		d, err := api.Inspect(ctx, pid)
		if err != nil || d.Name != "hello" || len(d.Steps) < 5 || d.LogBytes == 0 || len(d.ImageSHA) != 64 {
			t.Errorf("inspect: %+v %v", d, err)
		}
		for _, err := range []error{
			api.Signal(ctx, pid, int(syscall.SIGTERM)), api.Signal(ctx, 4711, 0), api.Limit(ctx, 4711, Limits{}),
		} {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeNoPVM || !strings.Contains(e.Msg, "no such pVM") {
				t.Errorf("error %v", err)
			}
		}
	})
}

func TestSignals(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		ctx := context.Background()
		sleeper, deaf := launch(t, api, "sleep"), launch(t, api, "deaf")
		if err := api.Signal(ctx, sleeper, int(syscall.SIGUSR1)); err != nil {
			t.Fatal(err)
		}
		if x := wait(t, api, sleeper); x.Code != 128+int(syscall.SIGUSR1) || x.Signal != int(syscall.SIGUSR1) {
			t.Errorf("exit %+v", x)
		}
		var full error
		for range abi.Cmds + 1 {
			full = api.Signal(ctx, deaf, int(syscall.SIGTERM))
		}
		var e *Error
		if !errors.As(full, &e) || e.Code != CodeBusy {
			t.Errorf("signal %d of a deaf pVM: %v", abi.Cmds+1, full)
		}
		stat := func() string {
			s, err := api.Snapshot(ctx, false)
			if err != nil || len(s.Processes) != 1 {
				t.Fatal(s, err)
			}
			return s.Processes[0].Stat
		}
		if err := api.Signal(ctx, deaf, int(syscall.SIGSTOP)); err != nil || stat() != "T" {
			t.Errorf("STOP: %v, STAT %s", err, stat())
		}
		if err := api.Signal(ctx, deaf, 65); err == nil {
			t.Error("signal 65 was taken")
		}
		if err := api.Signal(ctx, deaf, int(syscall.SIGKILL)); err != nil {
			t.Error(err)
		}
		if x := wait(t, api, deaf); x.Code != 137 {
			t.Errorf("exit %+v, want 137", x)
		}
	})
}

func TestConsole(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		ctx := context.Background()
		pid := launch(t, api, "cat", func(r *RunRequest) { r.Stdin = true })
		con, err := api.Attach(ctx, pid, AttachOptions{Stdin: true, FromStart: true})
		if err != nil {
			t.Fatal(err)
		}
		defer con.Close()
		sent := strings.Repeat("0123456789abcdef", 4096) // far more than the input ring holds
		go func() {
			con.Send([]byte(sent))
			con.CloseSend()
		}()
		if got := output(t, con.Recv); got[Stdout] != sent {
			t.Errorf("cat of %d bytes gave %d", len(sent), len(got[Stdout]))
		}
		if x := wait(t, api, pid); x.Code != 0 {
			t.Errorf("exit %+v", x)
		}
		if _, err := api.Attach(ctx, pid, AttachOptions{}); err == nil {
			t.Error("attached to an ended pVM")
		}
	})
}

// A reader that was promised loses nothing, however late and slow it is.
func TestForegroundLosesNothing(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		pid := launch(t, api, "flood", func(r *RunRequest) { r.Hold = true })
		time.Sleep(50 * time.Millisecond)
		con, err := api.Attach(context.Background(), pid, AttachOptions{FromStart: true})
		if err != nil {
			t.Fatal(err)
		}
		defer con.Close()
		if n := len(output(t, con.Recv)[Stdout]); n != 8<<20 {
			t.Errorf("%d of %d bytes", n, 8<<20)
		}
	})
}

// A pVM can be killed while output waits for a reader that has stopped reading.
func TestKillDespiteAStuckReader(t *testing.T) {
	e, _ := testEngine(t)
	pid := launch(t, e, "flood", func(r *RunRequest) { r.Hold = true })
	con, err := e.Attach(context.Background(), pid, AttachOptions{FromStart: true})
	if err != nil {
		t.Fatal(err)
	}
	defer con.Close()
	time.Sleep(50 * time.Millisecond)
	if err := e.Signal(context.Background(), pid, int(syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if x := wait(t, e, pid); x.Code != 137 {
		t.Errorf("exit %+v", x)
	}
}

func TestHostilePVMs(t *testing.T) {
	e, _ := testEngine(t)
	good := launch(t, e, "sleep")
	for program, want := range map[string]struct {
		code   int
		reason string
	}{
		"scribble": {137, "console output holds"},
		"liar":     {137, "exit status"},
		"fault":    {139, "SIGSEGV: write to address 0x10 (not mapped) at"},
	} {
		pid := launch(t, e, program)
		x := wait(t, e, pid)
		if x.Code != want.code || !strings.Contains(x.Reason, want.reason) {
			t.Errorf("%s: %+v, want %d and %q", program, x, want.code, want.reason)
		}
		if program == "fault" && !strings.Contains(logs(t, e, pid)[Kernel], "rip 0000000000401000") {
			t.Errorf("the log does not end with the registers: %q", logs(t, e, pid)[Kernel])
		}
	}
	if s, _ := e.Snapshot(context.Background(), false); len(s.Processes) != 1 || s.Processes[0].PID != good {
		t.Errorf("the others suffered: %+v", s.Processes)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	e, host := testEngine(t)
	xentest.GuestPath(t)
	for _, step := range []string{"memory", "boot", "start"} {
		host.Fail(func(s string) error {
			if s == step {
				return fmt.Errorf("%s is out: %w", s, xen.ErrNoMemory)
			}
			return nil
		})
		_, err := e.Run(context.Background(), RunRequest{Image: xentest.GuestPath(t), Args: []string{"sleep"}})
		var own *Error
		if !errors.As(err, &own) || own.Code != CodeLimit || strings.Contains(own.Msg, "\n") {
			t.Errorf("%s fails: %v", step, err)
		}
	}
	host.Fail(nil)
	e.store.db.Close() // the record cannot be written
	if _, err := e.Run(context.Background(), RunRequest{Image: xentest.GuestPath(t), Args: []string{"sleep"}}); err == nil {
		t.Error("started without a record")
	}
	if ids, _ := e.hv.Domains(); len(ids) != 0 {
		t.Errorf("domains left: %v", ids)
	}
	if s, _ := e.Snapshot(context.Background(), true); len(s.Processes) != 0 {
		t.Errorf("pVMs left: %+v", s.Processes)
	}
	if ents, _ := os.ReadDir(filepath.Join(e.o.State, "logs")); len(ents) != 0 {
		t.Errorf("%d logs left", len(ents))
	}
}

func TestBadRequests(t *testing.T) {
	e, _ := testEngine(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755)
	guest := xentest.GuestPath(t)
	for _, c := range []struct {
		r    RunRequest
		code Code
	}{
		{RunRequest{Image: filepath.Join(dir, "none")}, CodeNoImage},
		{RunRequest{Image: text}, CodeBadImage},
		{RunRequest{Image: dir}, CodeBadImage},
		{RunRequest{Image: "relative"}, CodeInvalid},
		{RunRequest{Image: guest, Memory: 4096}, CodeInvalid},
		{RunRequest{Image: guest, Name: "7"}, CodeInvalid},
		{RunRequest{Image: guest, Name: "a*"}, CodeInvalid},
		{RunRequest{Image: guest, Args: []string{"a\x00b"}}, CodeInvalid},
		{RunRequest{Image: guest, Restart: Restart{Policy: "sometimes"}}, CodeInvalid},
		{RunRequest{Image: guest, Root: text}, CodeInvalid},
	} {
		_, err := e.Run(context.Background(), c.r)
		var own *Error
		if !errors.As(err, &own) || own.Code != c.code || strings.Contains(own.Msg, "\n") {
			t.Errorf("%+v: %v, want code %s", c.r, err, c.code)
		}
	}
}

func TestDefaultName(t *testing.T) {
	for image, want := range map[string]string{
		"/a/hello.kx": "hello", "/a/007": "pvm007", "/a/my prog*.kx": "my_prog_", "/a/.kx": "pvm", "/a/-x.kx": "pvm-x",
		"/a/" + strings.Repeat("n", 99): strings.Repeat("n", 63), "/a/" + strings.Repeat("1", 99): "pvm" + strings.Repeat("1", 60),
	} {
		if got := defaultName(image); got != want || !validName(got) {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

func TestRestartPolicy(t *testing.T) {
	e, _ := testEngine(t)
	ctx := context.Background()
	policy := func(p string, most int) func(*RunRequest) {
		return func(r *RunRequest) { r.Restart = Restart{Policy: p, Max: most} }
	}
	lives := func(name string) (n int) {
		s, _ := e.Snapshot(ctx, true)
		for _, p := range s.Processes {
			if p.Name == name {
				n++
			}
		}
		return n
	}
	launch(t, e, "hello", policy("on-failure", 2))
	for end := time.Now().Add(10 * time.Second); lives("hello") < 3 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	killed := launch(t, e, "sleep", policy("always", 0))
	e.Signal(ctx, killed, int(syscall.SIGTERM)) // a user's wish
	wait(t, e, killed)
	time.Sleep(2 * restartFirst)
	if n := lives("hello"); n != 3 {
		t.Errorf("on-failure:2 lived %d times, want 3", n)
	}
	if n := lives("sleep"); n != 1 {
		t.Errorf("a pVM that a user ended lived %d times", n)
	}
	for n, want := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		if got := restartDelay(n); got != want {
			t.Errorf("delay before restart %d: %v, want %v", n+1, got, want)
		}
	}
	if got := restartDelay(1000); got != restartMost {
		t.Errorf("delay after many restarts: %v", got)
	}
}

// The next engine adopts what runs and remembers what ended.
func TestAdoption(t *testing.T) {
	host, state := fake.NewHost(programs), t.TempDir()
	a := newEngine(t, host, state)
	sleeper, done := launch(t, a, "sleep"), launch(t, a, "hello")
	wait(t, a, done)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	b := newEngine(t, host, state)
	defer b.Stop()
	ctx := context.Background()
	s, err := b.Snapshot(ctx, true)
	if err != nil || len(s.Processes) != 2 {
		t.Fatalf("after a new engine: %+v %v", s, err)
	}
	if x := wait(t, b, done); x.Code != 3 {
		t.Errorf("remembered exit %+v", x)
	}
	if got := logs(t, b, done)[Stdout]; got != "hello\n" {
		t.Errorf("remembered log %q", got)
	}
	b.Signal(ctx, sleeper, int(syscall.SIGHUP))
	if x := wait(t, b, sleeper); x.Signal != int(syscall.SIGHUP) {
		t.Errorf("adopted pVM: exit %+v", x)
	}
	if n := launch(t, b, "hello"); n <= max(sleeper, done) {
		t.Errorf("PID %d was given out again at once", n)
	}
	var types []string
	er, _ := b.Events(ctx, 0, false)
	for {
		ev, err := er.Recv()
		if err != nil {
			break
		}
		types = append(types, ev.Type)
	}
	for _, want := range []string{"engine", "started", "exited", "adopted", "signalled"} {
		if !slices.Contains(types, want) {
			t.Errorf("no %s among the events %v", want, types)
		}
	}
}

// A domain that was being made when the engine died is known to nobody, and goes.
func TestHalfMadeDomainIsEnded(t *testing.T) {
	host := fake.NewHost(programs)
	if _, err := host.Open(1).Create(context.Background(), &xen.Config{Boot: xen.Boot{Args: []string{"sleep"}}, Memory: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, host, t.TempDir())
	defer e.Stop()
	if ids, err := e.hv.Domains(); err != nil || len(ids) != 0 {
		t.Errorf("domains %v %v", ids, err)
	}
}

func TestMemoryOfTheDeadIsBounded(t *testing.T) {
	e, _ := testEngine(t)
	var first int
	for i := range Remembered + 10 {
		pid := launch(t, e, "hello")
		wait(t, e, pid)
		if i == 0 {
			first = pid
		}
	}
	if s, _ := e.Snapshot(context.Background(), true); len(s.Processes) != Remembered {
		t.Errorf("%d ended pVMs are remembered, want %d", len(s.Processes), Remembered)
	}
	if _, err := e.Wait(context.Background(), first); err == nil {
		t.Error("the first is still remembered")
	}
	if ents, _ := os.ReadDir(filepath.Join(e.o.State, "logs")); len(ents) != Remembered {
		t.Errorf("%d logs are kept, want %d", len(ents), Remembered)
	}
}

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second engine on one socket: %v", err)
	}
	// One that a killed engine left is taken over.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if ln, err = Listen(path); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	os.WriteFile(path, nil, 0o600)
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("a file in the way: %v", err)
	}
	if _, err := Connect(context.Background(), filepath.Join(dir, "none"), nil); err == nil || !strings.Contains(err.Error(), "no engine answers") {
		t.Errorf("no engine: %v", err)
	}
}

// Clients that come and go between two looks keep an engine from leaving, as those do that stay.
func TestBusyWithBriefClients(t *testing.T) {
	e, _ := testEngine(t)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(e, ln)
	go s.Serve()
	defer s.Close()
	c, err := Connect(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !s.Busy() || !s.Busy() {
		t.Error("not busy with a client that is there")
	}
	c.Close()
	for s.clients.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if s.Busy() {
		t.Error("busy with nobody")
	}
	if c, err = Connect(context.Background(), path, nil); err != nil {
		t.Fatal(err)
	}
	c.Info(context.Background())
	c.Close()
	for s.clients.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if !s.Busy() || s.Busy() {
		t.Error("a client that came and went does not count once")
	}
}

// A question that falls into the death of an engine is put to the next one.
func TestQuestionToADyingEngine(t *testing.T) {
	e, _ := testEngine(t)
	dir, err := os.MkdirTemp("", "kx")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	dying, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Connect(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		if conn, err := dying.Accept(); err == nil { // Connect's, which is the question's
			conn.Read(make([]byte, 1024))
			conn.Close()
		}
		dying.Close()
		if ln, err := Listen(path); err == nil {
			s := NewServer(e, ln)
			defer s.Close()
			s.Serve()
		}
	}()
	if s, err := c.Snapshot(context.Background(), false); err != nil || s.Hypervisor != "fake" {
		t.Errorf("snapshot %v %v", s, err)
	}
}

func TestStateFolderReadOnly(t *testing.T) {
	if err := unix.Access("/proc/version", unix.R_OK); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{State: "/proc/nowhere"})
	if err == nil || !strings.Contains(err.Error(), "state folder") {
		t.Errorf("state below /proc: %v", err)
	}
}

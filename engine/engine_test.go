package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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

// A signal that is said to have reached a pVM which ends without looking was not heard, however close to the end it came.
func TestSignalAtTheEnd(t *testing.T) {
	e, _ := testEngine(t)
	ctx := context.Background()
	for range 500 {
		pid := launch(t, e, "hello")
		sent := make(chan bool)
		go func() { // the last that were taken are those that count
			reached := false
			for e.SignalFamily(ctx, pid, int(syscall.SIGINT)) == nil {
				reached = true
			}
			sent <- reached
		}()
		x := wait(t, e, pid)
		if reached := <-sent; reached && !x.Unheard {
			t.Fatal("the pVM is said to have heard of the signal")
		}
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

func TestStateFolderReadOnly(t *testing.T) {
	if err := unix.Access("/proc/version", unix.R_OK); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{State: "/proc/nowhere"})
	if err == nil || !strings.Contains(err.Error(), "state folder") {
		t.Errorf("state below /proc: %v", err)
	}
}

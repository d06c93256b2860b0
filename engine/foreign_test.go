package engine

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/xen"
	"kxsh/xen/fake"
)

// eachAPI is both with the host at hand.
func eachAPI(t *testing.T, f func(t *testing.T, api API, host *fake.Host)) {
	t.Run("direct", func(t *testing.T) {
		e, host := testEngine(t)
		f(t, e, host)
	})
	t.Run("socket", func(t *testing.T) {
		e, host := testEngine(t)
		f(t, viaSocket(t, e), host)
	})
}

// others puts two domains of others on a host.
func others(host *fake.Host) {
	host.Other(xen.Listed{ID: 70, UUID: xen.UUID{7}, Name: "debian", Started: time.Now().Add(-100 * time.Second),
		Status: xen.Status{State: xen.StateBlocked, CPUTime: 50 * time.Second, Memory: 1 << 28, MaxMem: 1 << 29, VCPUs: 4}})
	host.Other(xen.Listed{ID: 71, UUID: xen.UUID{8}, Status: xen.Status{State: xen.StateRunning, CPUTime: time.Second, VCPUs: 1}})
}

// Domains of others are in the table with what the hypervisor knows, and in nothing else.
func TestOthersListed(t *testing.T) {
	eachAPI(t, func(t *testing.T, api API, host *fake.Host) {
		ctx := context.Background()
		others(host)
		pid := launch(t, api, "sleep")
		s, err := api.Snapshot(ctx, false)
		if err != nil || len(s.Processes) != 3 || s.Processes[0].PID != pid || s.Processes[0].Foreign {
			t.Fatalf("%+v, %v", s, err)
		}
		p := s.Processes[1]
		if p.PID != 70 || p.PPID != 0 || p.Family != 70 || !p.Foreign || p.Name != "debian" || p.Stat != "S" || p.VCPUs != 4 ||
			p.Memory != 1<<28 || p.MaxMem != 1<<29 || p.Time != 50*time.Second || p.CPU < 45 || p.CPU > 50 || p.HostPID != 0 {
			t.Errorf("%+v", p)
		}
		if p := s.Processes[2]; p.Name != "Domain-71" || p.Stat != "R" || !p.Started.IsZero() || p.CPU != 0 {
			t.Errorf("without name and start time: %+v", p)
		}
		d, err := api.Inspect(ctx, 70)
		if err != nil || !d.Foreign || d.Name != "debian" || !strings.HasPrefix(d.UUID, "07000000-") {
			t.Errorf("inspect: %+v, %v", d, err)
		}
		if i, err := api.Info(ctx); err != nil || i.Running != 1 {
			t.Errorf("info counts %d running, %v", i.Running, err)
		}
	})
}

// What is not ours is left alone, and the error says how to reach it.
func TestOthersLeftAlone(t *testing.T) {
	eachAPI(t, func(t *testing.T, api API, host *fake.Host) {
		ctx := context.Background()
		others(host)
		_, wait := api.Wait(ctx, 70)
		_, attach := api.Attach(ctx, 70, AttachOptions{})
		_, logs := api.Logs(ctx, 70, LogOptions{})
		for want, err := range map[string]error{
			"(70): a domain that somebody else made: KILL, STOP and CONT reach it with --force":              api.Signal(ctx, 70, int(syscall.SIGKILL)),
			"(70): a domain that somebody else made: only pVMs can be waited for":                            wait,
			"(70): a domain that somebody else made: xl console 70 has its console":                          attach,
			"(70): a domain that somebody else made: its console is not kept here; xl console 70 has it":     logs,
			"(70): a domain that somebody else made: xl sched-credit2, xl vcpu-pin and xl mem-max change it": api.Limit(ctx, 70, Limits{}),
			"(70): a domain that somebody else made takes no SIGTERM: only KILL, STOP and CONT":              api.Force(ctx, 70, int(syscall.SIGTERM)),
			"(0): the host itself, no pVM": api.Force(ctx, 0, int(syscall.SIGKILL)),
		} {
			if err == nil || err.Error() != want || err.(*Error).Code != CodeForeign {
				t.Errorf("%v\nwant %s", err, want)
			}
		}
		for _, err := range []error{api.Force(ctx, 72, int(syscall.SIGKILL)), api.Signal(ctx, 72, 0)} {
			if err == nil || err.Error() != "(72): no such pVM" {
				t.Errorf("nobody's: %v", err)
			}
		}
		if s, _ := api.Snapshot(ctx, false); len(s.Processes) != 2 || s.Processes[0].Stat != "S" {
			t.Errorf("something was done to them: %+v", s.Processes)
		}
	})
}

// By force they are paused, unpaused and destroyed; a pVM of ours is as without.
func TestForce(t *testing.T) {
	eachAPI(t, func(t *testing.T, api API, host *fake.Host) {
		ctx := context.Background()
		others(host)
		stat := func() string {
			s, err := api.Snapshot(ctx, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range s.Processes {
				if p.PID == 70 {
					return p.Stat
				}
			}
			return "-"
		}
		for _, c := range []struct {
			sig  syscall.Signal
			want string
		}{{0, "S"}, {syscall.SIGSTOP, "T"}, {syscall.SIGCONT, "S"}, {syscall.SIGKILL, "-"}} {
			if err := api.Force(ctx, 70, int(c.sig)); err != nil || stat() != c.want {
				t.Errorf("signal %d: %v, then %s, want %s", c.sig, err, stat(), c.want)
			}
		}
		pid := launch(t, api, "sleep")
		if err := api.Force(ctx, pid, int(syscall.SIGUSR1)); err != nil {
			t.Error(err)
		}
		if x := wait(t, api, pid); x.Signal != int(syscall.SIGUSR1) {
			t.Errorf("%+v", x)
		}
	})
}

// A pVM that somebody else pauses is shown so, and said.
func TestTouched(t *testing.T) {
	e, host := testEngine(t)
	ctx := context.Background()
	pid := launch(t, e, "sleep")
	er, _ := e.Events(ctx, 0, true)
	defer er.Close()
	for _, c := range []struct {
		paused     bool
		stat, want string
	}{{true, "T", "stopped from outside"}, {false, "R", "continued from outside"}} {
		host.Touch(xen.DomID(pid), c.paused)
		for {
			ev, err := er.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if ev.Text == c.want && ev.PID == pid {
				break
			}
		}
		if s, _ := e.Snapshot(ctx, false); s.Processes[0].Stat == "T" != c.paused {
			t.Errorf("%+v", s.Processes)
		}
	}
}

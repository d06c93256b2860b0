package engine

import (
	"context"
	"slices"
	"syscall"
	"testing"

	"kxsh/xen"
	"kxsh/xen/fake"
)

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

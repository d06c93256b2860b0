package engine

import (
	"context"
	"syscall"
	"testing"
	"time"
)

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
	eventually(t, "three lives", func() bool { return lives("hello") >= 3 })
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

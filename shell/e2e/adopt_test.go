package e2e

import (
	"context"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
)

// killEngine ends the engine as the OOM killer would.
func (h *home) killEngine(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	c, err := engine.Connect(ctx, h.socket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !gone(info.PID, patience) {
		t.Fatal("the engine survives SIGKILL")
	}
}

// A killed engine loses nothing: the next one finds the pVM, its console from byte 0, its
// children's exit statuses, and can do everything to it.
func TestEngineKilled(t *testing.T) {
	h := newHome(t)
	pid, _, _ := h.run(t, "-c", "run -d --name t $APPS/tick.kx")
	pid = strings.TrimSpace(pid)
	spin, _, _ := h.run(t, "-c", "run -d --name s $APPS/spin.kx")
	spin = strings.TrimSpace(spin)
	done, _, _ := h.run(t, "-c", "p=$(run -d $APPS/crash.kx abort); wait $p; echo $p")
	done = strings.TrimSpace(done)
	h.logged(t, pid, "tick 1\n")
	h.killEngine(t)
	time.Sleep(1100 * time.Millisecond) // it ticks on, with nobody there
	h.logged(t, pid, "tick 2\n")

	out, _, _ := h.run(t, "ps", "-o", "pid,name", "--no-headers")
	if f := strings.Fields(out); len(f) != 4 || f[0] != pid || f[1] != "t" || f[2] != spin || f[3] != "s" {
		t.Fatalf("ps after the engine's death: %q, want %s t and %s s", out, pid, spin)
	}
	if _, _, code := h.run(t, "wait", done); code != 134 {
		t.Errorf("wait for a pVM that ended before: status %d, want 134", code)
	}
	if out, _, code := h.run(t, "-c", "kill "+pid+"; wait "+pid+"; echo $?; logs "+pid); code != 0 ||
		!strings.HasPrefix(out, "0\ntick 1\ntick 2\n") || !strings.HasSuffix(out, "tick: told to stop\n") {
		t.Errorf("kill, wait, logs of an adopted pVM: %q", out)
	}
	if out, _, _ := h.run(t, "-c", "kill -STOP s; ps -o stat --no-headers s; kill -9 s; wait "+spin+"; echo $?"); strings.Join(strings.Fields(out), " ") != "T 137" {
		t.Errorf("stop and kill of an adopted pVM: %q", out)
	}
}

// A foreground run, a console and a wait go on with the next engine, which they start: nothing of the
// output is missing or comes twice, input and exit status arrive.
func TestForegroundOutlivesEngine(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t, "-c", "run --name c $APPS/cat.kx; echo status $?")
	term.send("before\r")
	term.expect("before\r\nbefore\r\n")
	out := make(chan string, 1)
	go func() {
		text, _, _ := h.run(t, "-c", "run --name tick $APPS/tick.kx 4 2>&1; echo $?; wait c 2>&1; echo $?")
		out <- text
	}()
	h.logged(t, "tick", "tick 1\n")
	h.killEngine(t)
	term.expect("its successor goes on\r\n")
	term.send("after\r")
	term.expect("after\r\nafter\r\n")
	h.logged(t, "tick", "tick 3\n")
	h.killEngine(t)
	term.expect("its successor goes on\r\n")
	term.send("\x04")
	term.expect("status 0\r\n")
	got := strings.ReplaceAll(<-out, "kxsh: the engine has gone; its successor goes on\n", "")
	if got != "tick 1\ntick 2\ntick 3\ntick 4\n0\n0\n" {
		t.Errorf("run and wait over two dead engines: %q", got)
	}
}

// A pVM that ends while there is no engine keeps its exit status for the next one.
func TestExitWithoutEngine(t *testing.T) {
	h := newHome(t)
	out, _, _ := h.run(t, "-c", "run -d $APPS/tick.kx 2")
	pid := strings.TrimSpace(out)
	h.killEngine(t)
	time.Sleep(3 * time.Second) // it ticks twice, and ends, with nobody there
	out, _, code := h.run(t, "-c", "wait "+pid+"; echo $?; logs "+pid)
	if code != 0 || out != "0\ntick 1\ntick 2\n" {
		t.Errorf("wait and logs: %q", out)
	}
}

// Killing the engine in the middle of many starts leaves no domain that nobody knows.
func TestEngineKilledWhileStarting(t *testing.T) {
	h := newHome(t)
	h.run(t, "ps")
	s := h.start(t, "-c", strings.Repeat("run -d $APPS/spin.kx; ", max(16/slowness, 8)))
	s.expect(`(?m)^\d+\n\d+\n\d+\n`)
	h.killEngine(t)
	<-s.done
	if _, errs, code := h.run(t, "ps"); code != 0 {
		t.Errorf("ps: %s", errs)
	}
	// home.end finds any process that shutdown did not reach.
}

// Output that the disk has no room for is lost, not the pVM; and whoever runs it hears of that.
func TestDiskFull(t *testing.T) {
	h := newHome(t)
	if _, errs, code := h.run(t, "-c", "run $APPS/hello.kx; rm -r $KXSH_STATE/logs; : >$KXSH_STATE/logs"); code != 0 {
		t.Fatal(errs)
	}
	out, errs, code := h.run(t, "-c", "run $APPS/hello.kx")
	if code != 0 || out != "" || !strings.HasPrefix(errs, "run: hello.kx (") || !strings.Contains(errs, "17 bytes of its output are lost: mkdir ") {
		t.Errorf("run without room for its console: status %d, %q, %q", code, out, errs)
	}
}

// logged waits until a pVM has written something. A name that is not there yet is waited for too.
func (h *home) logged(t *testing.T, name, want string) {
	t.Helper()
	await(t, "in the log of "+name+": "+want, func() (bool, string) {
		out, errs, _ := h.run(t, "logs", name)
		return strings.Contains(out, want), out + errs
	})
}

// What has happened is told by the next engine, however soon after it this one is killed.
func TestEventsOfAKilledEngine(t *testing.T) {
	h := newHome(t)
	for i := range 5 {
		pid := strings.TrimSpace(h.output(t, "-c", `p=$(run -d $APPS/spin.kx); kill -TERM $p; wait $p; echo $p`))
		h.killEngine(t)
		if out := h.output(t, "events"); !regexp.MustCompile(`exited +` + pid + ` spin `).MatchString(out) {
			t.Errorf("%d: nothing of %s in\n%s", i, pid, out)
		}
	}
}

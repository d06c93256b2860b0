package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// logs -f goes on with the next engine, which it starts, and shows nothing twice.
func TestFollowOutlivesEngine(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name t $APPS/tick.kx")
	all, tail := h.start(t, "logs", "-f", "t"), h.start(t, "logs", "-f", "-n", "0", "t")
	all.expect(`tick 2\n`)
	for range 2 {
		h.killEngine(t)
		// At most one line is still on its way from the engine that died; what comes after is its successor's.
		all.expect(fmt.Sprintf(`tick %d\n`, strings.Count(all.out.String(), "\n")+2))
	}
	h.output(t, "kill", "t")
	all.exit(0)
	tail.exit(0)
	got := all.out.String()
	want := ""
	for n := range strings.Count(got, "\n") - 1 {
		want += fmt.Sprintf("tick %d\n", n+1)
	}
	want += "tick: told to stop\n"
	if got != want {
		t.Errorf("from the start: %q", got)
	}
	if got := tail.out.String(); got == "" || !strings.HasSuffix(want, got) {
		t.Errorf("from the end: %q", got)
	}
	if got := all.errs.String(); strings.Count(got, "kxsh: the engine has gone; its successor goes on\n") != 2 {
		t.Errorf("said: %q", got)
	}
}

// Whoever follows leaves on Ctrl-C, also while there is no engine.
func TestFollowInterrupted(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name t $APPS/tick.kx")
	term := h.terminal(t, "logs", "-f", "t")
	term.expect("tick 2")
	term.send("\x03")
	term.exit(130)
}

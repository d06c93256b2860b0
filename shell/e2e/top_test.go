package e2e

import (
	"strings"
	"testing"

	"github.com/creack/pty"
)

// On a terminal: what is searched for in the tree gets a signal with all that is below it, and nothing else does.
func TestTopKillsATree(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name victim $APPS/tick.kx; run -d --name other $APPS/tick.kx")
	h.started(t, "victim")
	h.output(t, "-c", "fork -n 2 $(pidof victim)")
	term := h.terminal(t, "top", "-d", "0.2")
	term.expect("victim(?s:.*)victim(?s:.*)victim")
	term.send("t*/victim\rK\t\r")
	await(t, "the family gone", func() (bool, string) {
		out := h.output(t, "ps", "-o", "name", "--no-headers")
		return !strings.Contains(out, "victim"), out
	})
	if out := h.output(t, "ps", "-o", "name", "--no-headers"); strings.TrimSpace(out) != "other" {
		t.Errorf("left are %q", out)
	}
	term.send("q")
	term.exit(0)
}

// Marked pVMs get a signal together; what a filter leaves has details and a console. Read-only does nothing to any.
func TestTopLooksAndMarks(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name one $APPS/tick.kx; run -d --name two $APPS/tick.kx; run -d --name three $APPS/tick.kx")
	for _, name := range []string{"one", "two"} { // from then on it sleeps
		h.logged(t, name, "tick 1\n")
	}
	term := h.terminal(t, "top", "-d", "0.2")
	term.expect("three")
	term.send("fname~o & mem<1G & stat=S\rd")
	term.expect("2 of 3(?s:.*)details of (one|two)(?s:.*)private(?s:.*)Steps of its birth")
	term.send("l")
	term.expect("tick 1(?s:.*)tick 2")
	term.send("lpg")
	term.send("  K\r")
	await(t, "the marked two gone", func() (bool, string) {
		out := h.output(t, "ps", "-o", "name", "--no-headers")
		return strings.TrimSpace(out) == "three", out
	})
	term.send("q")
	term.exit(0)

	term = h.terminal(t, "top", "--read-only") // as it was left
	term.expect("three(?s:.*)read-only +sorted by PID")
	if err := pty.Setsize(term.pty, &pty.Winsize{Rows: 12, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	term.expect(`memory \S+ of \S+`)
	term.send("K\rq")
	term.exit(0)
	if out := h.output(t, "ps", "-o", "name", "--no-headers"); strings.TrimSpace(out) != "three" {
		t.Errorf("left are %q", out)
	}
}

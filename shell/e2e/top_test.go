package e2e

import (
	"strings"
	"testing"
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

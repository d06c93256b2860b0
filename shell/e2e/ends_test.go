package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A parent hears of an exit before the engine does (guest/kern/ended.c), and nobody can tell: the console has everything in its order, a family
// that has room for one child only can always make the next one, and a parent that ends right after its children is not survived by them.
func TestEarlyEnds(t *testing.T) {
	rounds := 60 / slowness // an emulated machine takes a fifth of a second for each
	h := newHome(t)
	h.env = append(h.env, "KXSH_FAMILY_LIMIT=2")
	var want strings.Builder
	for i := range rounds {
		fmt.Fprintf(&want, "child %[1]d\nparent %[1]d\n", i)
	}
	out, errs, code := h.run(t, "-c", fmt.Sprintf("run %s %d && ps --no-headers", h.compileFork(t, "ends"), rounds))
	if out != want.String() || errs != "" || code != 0 {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
	events := h.output(t, "events")
	for _, unwanted := range []string{"refused", "reparented", "corrupt"} {
		if strings.Contains(events, unwanted) {
			t.Errorf("%s in\n%s", unwanted, events)
		}
	}
	if n := strings.Count(events, " forked "); n != 2*rounds {
		t.Errorf("%d forks of %d in\n%s", n, 2*rounds, events)
	}
}

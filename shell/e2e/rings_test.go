package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Relatives wake each other without the engine: while there is none no round of theirs takes long. Whoever comes after one that
// was killed is woken like it, and by whom.
func TestRingsWithoutEngine(t *testing.T) {
	h := newHome(t)
	root := h.launch(t, h.compileFork(t, "wakes"))
	worker := func(n int) (pid string) {
		await(t, fmt.Sprint("worker ", n), func() (bool, string) {
			lines := strings.Fields(h.output(t, "logs", strconv.Itoa(root)))
			if len(lines) == 2*n {
				pid = lines[len(lines)-1]
			}
			return pid != "", strings.Join(lines, " ")
		})
		return pid
	}
	for n := 1; n <= 3; n++ {
		h.output(t, "kill", "-9", worker(n))
	}
	worker(4)
	away := 3 * time.Second
	if slowness > 1 {
		away *= 2
	}
	time.Sleep(away / 3) // first contact is behind them
	h.killEngine(t)
	time.Sleep(away)
	h.output(t, "kill", strconv.Itoa(root))
	out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; logs -n 1 %[1]d", root))
	m := regexp.MustCompile(`^pipes (\d+) (\d+) queue (\d+) (\d+)\n$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("%q", out)
	}
	for i := 1; i < len(m); i += 2 {
		if rounds, longest := number(t, m[i]), number(t, m[i+1]); rounds < 100 || time.Duration(longest)*time.Millisecond > away/2 {
			t.Errorf("%d rounds, longest %d ms, without engine for %v: %s", rounds, longest, away, out)
		}
	}
}

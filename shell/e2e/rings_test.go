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
	h.output(t, "kill", "-9", worker(1))
	worker(2)
	away := 6 * time.Second * time.Duration(min(slowness, 2))
	time.Sleep(away / 3) // first contact is behind them
	h.killEngine(t)
	time.Sleep(away)
	h.output(t, "kill", strconv.Itoa(root))
	out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; logs -n 1 %[1]d", root))
	for _, r := range rounds(t, out) {
		if r.n < 100 || r.longest > away/2 {
			t.Errorf("without engine for %v: %s", away, out)
		}
	}
}

type tally struct {
	n       int
	longest time.Duration
}

// rounds reads the last line of wakes: what there was of pipes, and of the queue.
func rounds(t *testing.T, line string) (r []tally) {
	t.Helper()
	m := regexp.MustCompile(`^pipes (\d+) (\d+) queue (\d+) (\d+)\n$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("%q", line)
	}
	for i := 1; i < len(m); i += 2 {
		r = append(r, tally{number(t, m[i]), time.Duration(number(t, m[i+1])) * time.Millisecond})
	}
	return r
}

// A member that never stops to ring its relatives holds up none of them.
func TestFloodOfRings(t *testing.T) {
	h := newHome(t)
	root := h.launch(t, h.compileFork(t, "wakes"), "flood")
	h.logged(t, strconv.Itoa(root), "worker")
	during := 6 * time.Second * time.Duration(min(slowness, 2))
	time.Sleep(during)
	h.output(t, "kill", strconv.Itoa(root))
	out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; logs -n 1 %[1]d", root))
	t.Log(out)
	for _, r := range rounds(t, out) {
		if r.n < 30 || r.longest > during/2 {
			t.Error(out)
		}
	}
}

// A member that is asleep when its sibling is born is woken by it without the engine, whoever has forked the two, and however many others there have been meanwhile: it
// has event channels for those that live.
func TestSiblingsWithoutEngine(t *testing.T) {
	many := 3000
	if slowness > 1 {
		many = 100
	}
	h := newHome(t)
	later := 2 * time.Second * time.Duration(min(slowness, 2))
	root := h.launch(t, h.compileFork(t, "contact"), strconv.Itoa(many), strconv.Itoa(int(later.Milliseconds())))
	for i := range 2 {
		h.logged(t, strconv.Itoa(root), fmt.Sprint("ready ", i))
		h.killEngine(t)
		time.Sleep(3 * later) // who has to be woken by the next engine is woken after this
	}
	out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; logs %[1]d", root))
	contacts := regexp.MustCompile(`took (\d+) ports (\d+)\n`).FindAllStringSubmatch(out, -1)
	if len(contacts) != 2 {
		t.Fatal(out)
	}
	for _, m := range contacts {
		took, ports := time.Duration(number(t, m[1]))*time.Millisecond, number(t, m[2])
		if took > later*3/2 || ports > 40 { // the engine opens 16 at most, and each relative that has been rung has one or two
			t.Errorf("%v, %d ports; %s", took, ports, out)
		}
	}
}

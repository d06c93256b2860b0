package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A program reads the clock without the LibOS being entered: also where it is forked from outside in the midst of it, stopped, and has another
// engine, time goes on for everybody, and so do the threads of all with their memory.
func TestClockOfForks(t *testing.T) {
	h := newHome(t)
	pid := h.launch(t, h.compileFork(t, "clock"))
	h.logged(t, fmt.Sprint(pid), "reads\n")
	rounds, forks := 4, 5
	if slowness > 1 { // all of them compute
		rounds, forks = 1, 2
	}
	for range rounds {
		children := strings.Fields(h.output(t, "fork", "-n", fmt.Sprint(forks), fmt.Sprint(pid)))
		if len(children) != forks {
			t.Fatalf("fork -n %d prints %q", forks, children)
		}
		time.Sleep(50 * time.Millisecond)
		for _, c := range children[1:] {
			out := h.output(t, "-c", fmt.Sprintf("kill %[1]s; wait %[1]s; echo $?; logs %[1]s", c))
			compare(t, out, "0\nwell\n")
		}
	}
	h.output(t, "kill", "-STOP", fmt.Sprint(pid))
	h.killEngine(t)
	h.output(t, "kill", "-CONT", fmt.Sprint(pid))
	time.Sleep(1100 * time.Millisecond) // longer than what the hypervisor tells of the time is good for
	for _, p := range h.awaitMembers(t, pid, 1+rounds) {
		out := h.output(t, "-c", fmt.Sprintf("kill %[1]d; wait %[1]d; echo $?; logs -n 1 %[1]d", p.PID))
		compare(t, out, "0\nwell\n")
	}
}

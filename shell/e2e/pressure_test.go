package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// memoryGroup is a control group that bounds memory, of either version of the interface.
type memoryGroup struct {
	dir          string
	usage, limit string // its files
}

// newMemoryGroup makes one below this process's; the test is skipped where that may not be.
func newMemoryGroup(t *testing.T) memoryGroup {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip("no control groups: ", err)
	}
	var g memoryGroup
	name := fmt.Sprintf("kxsh-test-%d", os.Getpid())
	if m := regexp.MustCompile(`(?m)^\d+:(?:.*,)?memory(?:,.*)?:(.*)$`).FindSubmatch(own); m != nil {
		g = memoryGroup{filepath.Join("/sys/fs/cgroup/memory", string(m[1]), name), "memory.usage_in_bytes", "memory.limit_in_bytes"}
	} else {
		// Below the root, the only group that may have processes and bounded groups at once.
		g = memoryGroup{filepath.Join("/sys/fs/cgroup", name), "memory.current", "memory.max"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Skip("needs a memory control group: ", err)
	}
	t.Cleanup(func() { os.Remove(g.dir) })
	if _, err := os.Stat(filepath.Join(g.dir, g.limit)); err != nil {
		t.Skip("needs a memory control group: ", err)
	}
	return g
}

// used is how many bytes its processes use.
func (g memoryGroup) used(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, g.usage))
	if err != nil {
		t.Fatal(err)
	}
	return number(t, string(b))
}

func (g memoryGroup) bound(t *testing.T, bytes int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, g.limit), []byte(strconv.Itoa(bytes)), 0); err != nil {
		t.Fatal(err)
	}
}

// What a member of a family copies when it writes, the host may not have: it dies of SIGKILL, with the reason in events, and nobody
// else does, neither the engine nor its relatives, whoever has more memory.
func TestNoMemoryForACopy(t *testing.T) {
	onlyOn(t, "hosted", "on Xen the LibOS copies: TestForkUnderPressure")
	g := newMemoryGroup(t)
	h := newHome(t)
	first := h.command("ps")
	first.Path, first.Args = "/bin/sh", []string{"sh", "-c", fmt.Sprintf("echo 0 >%s/cgroup.procs && exec %s ps", g.dir, h.bin)}
	if out, err := first.CombinedOutput(); err != nil {
		t.Fatalf("ps: %v\n%s", err, out)
	}
	before := h.info(t).PID
	image := h.compileFork(t, "copier")
	const mib, children = 48, 3
	pid := number(t, h.output(t, "run", "-d", "-m", "64M", "--name", "root", image, strconv.Itoa(mib), strconv.Itoa(children)))
	witness := h.launch(t, "--name", "witness", image, "4", "0")
	list := h.awaitMembers(t, pid, children+1)
	for _, p := range list {
		h.logged(t, strconv.Itoa(p.PID), fmt.Sprintf("ready %d\n", p.PID))
	}
	// When that is spent, the engine is larger than what has copied it.
	g.bound(t, g.used(t)+6<<20)
	greedy := strconv.Itoa(child(t, list, pid))
	h.output(t, "kill", "-USR1", greedy)
	h.logged(t, strconv.Itoa(pid), "a child ended by 9\n")
	if out := h.output(t, "events"); !regexp.MustCompile(`exited +` + greedy + ` root .*SIGKILL: .*the host has no memory left`).MatchString(out) {
		t.Errorf("events do not tell why:\n%s", out)
	}
	// Everybody else is as before.
	if now := h.info(t).PID; now != before {
		t.Errorf("the engine was %d and is %d", before, now)
	}
	for _, p := range append(h.awaitMembers(t, pid, children), h.members(t, witness)...) {
		h.output(t, "kill", "-USR2", strconv.Itoa(p.PID))
		h.logged(t, strconv.Itoa(p.PID), "there with 1\n")
	}
	// There is room again: another can.
	second := ""
	for _, p := range h.members(t, pid) {
		if p.PID != pid {
			second = strconv.Itoa(p.PID)
		}
	}
	g.bound(t, g.used(t)+2*mib<<20)
	h.output(t, "kill", "-USR1", second)
	h.logged(t, second, fmt.Sprintf("wrote to %d\n", mib))
	// And one can tell who has copied what.
	for _, p := range h.members(t, pid) {
		share := number(t, h.output(t, "ps", "--no-headers", "-o", "%shr", strconv.Itoa(p.PID)))
		if copied := strconv.Itoa(p.PID) == second; copied && share > 10 || !copied && share < 90 {
			t.Errorf("%d, of them %s has copied all: shares %d %%", p.PID, second, share)
		}
	}
	h.output(t, "kill", "-KILL", "--tree", strconv.Itoa(pid))
	h.output(t, "kill", "-KILL", strconv.Itoa(witness))
}

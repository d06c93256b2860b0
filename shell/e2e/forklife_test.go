package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

// Whoever dies first, the others go on, and are their parent's or the host's.
func TestForkDeaths(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "family")
	parents := func(t *testing.T, family int, want map[int]int) {
		t.Helper()
		await(t, fmt.Sprint("parents ", want), func() (bool, string) {
			list := h.members(t, family)
			right := 0
			for _, p := range list {
				if ppid, ok := want[p.PID]; ok && p.PPID == ppid && p.Stat != "Z" {
					right++
				}
			}
			return right == len(want), fmt.Sprintf("%+v", list)
		})
		// And they say so themselves.
		for pid, ppid := range want {
			h.output(t, "kill", "-USR1", strconv.Itoa(pid))
			h.logged(t, strconv.Itoa(pid), fmt.Sprintf("%d has the parent %d\n", pid, ppid))
		}
	}
	// The chain: root, middle, last.
	chain := func(t *testing.T) (root, middle, last int) {
		t.Helper()
		root = h.launch(t, image, "1.1")
		list := h.awaitMembers(t, root, 3)
		middle = child(t, list, root)
		return root, middle, child(t, list, middle)
	}
	end := func(pid int) { h.output(t, "-c", fmt.Sprintf("kill %[1]d; wait %[1]d; true", pid)) }

	t.Run("parent first", func(t *testing.T) {
		root, middle, last := chain(t)
		end(root)
		parents(t, root, map[int]int{middle: 0, last: middle})
		end(middle)
		parents(t, root, map[int]int{last: 0})
		// An orphan can still fork, and its children are of the same family.
		more := number(t, h.output(t, "fork", strconv.Itoa(last)))
		if list := h.awaitMembers(t, root, 2); child(t, list, last) != more {
			t.Errorf("the orphan's child: %+v", list)
		}
		end(last)
		end(more)
		h.awaitMembers(t, root, 0)
	})
	t.Run("middle first", func(t *testing.T) {
		root, middle, last := chain(t)
		end(middle)
		parents(t, root, map[int]int{root: 0, last: 0})
		if out := h.output(t, "ps", "--no-headers", "-o", "stat", strconv.Itoa(middle)); strings.TrimSpace(out) != "Z" {
			t.Errorf("nobody has waited for the middle one: %q", out)
		}
		end(last)
		end(root)
		h.awaitMembers(t, root, 0)
	})
	t.Run("child first", func(t *testing.T) {
		root, middle, last := chain(t)
		h.output(t, "kill", "-KILL", strconv.Itoa(last))
		parents(t, root, map[int]int{root: 0, middle: root})
		h.output(t, "kill", "-KILL", strconv.Itoa(root))
		parents(t, root, map[int]int{middle: 0})
		h.output(t, "kill", "-KILL", strconv.Itoa(middle))
		h.awaitMembers(t, root, 0)
	})
	t.Run("all at once", func(t *testing.T) {
		root := h.launch(t, image, "3.2")
		h.awaitMembers(t, root, 10)
		h.output(t, "kill", "-KILL", fmt.Sprintf("%%%d", root))
		if left := h.members(t, root); len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

// Memory that is out in the middle of copying on write ends who needs it, by SIGKILL and with the reason, and nobody else.
func TestForkUnderPressure(t *testing.T) {
	onlyOn(t, "xen", "on the hosted hypervisor Linux copies: TestNoMemoryForACopy")
	h := newHome(t)
	root := h.launch(t, h.compileFork(t, "pressure"), "1500")
	kid := child(t, h.awaitMembers(t, root, 2), root)
	for _, pid := range []int{root, kid} {
		h.logged(t, strconv.Itoa(pid), fmt.Sprintf("%d waits\n", pid))
	}
	var parent engine.Process
	for _, p := range h.members(t, root) {
		if p.PID == root {
			parent = p
		}
	}
	h.output(t, "limit", "-m", fmt.Sprintf("%dK", parent.Memory>>10+400), strconv.Itoa(root))
	h.output(t, "kill", "-USR1", strconv.Itoa(root))
	await(t, "the parent's end in the events", func() (bool, string) {
		out := h.output(t, "events")
		return regexp.MustCompile(fmt.Sprintf(`exited +%d .*SIGKILL: out of memory`, root)).MatchString(out), out
	})
	h.output(t, "kill", "-USR1", strconv.Itoa(kid))
	h.logged(t, strconv.Itoa(kid), fmt.Sprintf("%d wrote\n", kid))
	h.output(t, "kill", strconv.Itoa(kid))
	h.awaitMembers(t, root, 0)
}

// Forks in the middle of output: no line is lost, doubled or torn, neither on the console nor in what is kept.
func TestForkDuringOutput(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "noise")
	const children, lines = 6, 200
	want := func(who, n int) map[string]int {
		all := map[string]int{}
		for i := range n {
			all[fmt.Sprintf("member %d line %d: the quick brown fox jumps over the lazy dog\n", who, i)] = 1
		}
		return all
	}
	check := func(what, got string, want map[string]int) {
		t.Helper()
		n := 0
		for line := range strings.Lines(got) {
			n++
			if want[line] != 1 {
				t.Fatalf("%s: once too often, or never written: %q", what, line)
			}
			want[line]--
		}
		if n != len(want) {
			t.Errorf("%s: %d lines, want %d", what, n, len(want))
		}
	}
	all := want(0, (children+1)*lines)
	for c := 1; c <= children; c++ {
		for line := range want(c, lines) {
			all[line] = 1
		}
	}
	out, errs, code := h.run(t, "-c", "run -m 16M --name noise "+image+" "+fmt.Sprint(children, " ", lines))
	if code != 0 || errs != "" {
		t.Fatalf("status %d: %s", code, errs)
	}
	check("the console", out, all)
	// Each one's own log has what it wrote.
	var members []engine.Process
	unmarshal(t, h.output(t, "ps", "-e", "--json"), &members)
	if len(members) != children+1 {
		t.Fatalf("%d members are remembered", len(members))
	}
	seen := map[int]bool{} // numbers need not be given in the order of births
	for _, p := range members {
		if p.PID == p.Family {
			continue
		}
		log, c := h.output(t, "logs", strconv.Itoa(p.PID)), 0
		fmt.Sscanf(log, "member %d", &c)
		check(fmt.Sprint("the log of ", p.PID), log, want(c, lines))
		seen[c] = true
	}
	if len(seen) != children || seen[0] {
		t.Errorf("logs of %v", seen)
	}
}

// The engine dies in the middle of forks: each of them gives a child or fails, in the parent's own account, and
// there are no others.
func TestEngineKilledWhileForking(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "forker")
	pid := h.launch(t, "--name", "f", image)
	h.logged(t, "f", "forks\n")
	for range max(12/slowness, 3) {
		time.Sleep(time.Duration(rand.IntN(40*slowness)) * time.Millisecond) // anywhere in a fork
		h.killEngine(t)
		await(t, "it goes on", func() (bool, string) {
			before := h.output(t, "events")
			time.Sleep(20 * time.Millisecond)
			return strings.Count(h.output(t, "events"), " forked ") > strings.Count(before, " forked "), before
		})
	}
	out, errs, code := h.run(t, "-c", fmt.Sprintf("kill %[1]d; wait %[1]d; echo $?; logs -n 1 %[1]d", pid))
	m := regexp.MustCompile(`^0\nmade (\d+) waited (\d+) wrong 0 failed (\d+) others -1\n$`).FindStringSubmatch(out)
	if code != 0 || m == nil || m[1] != m[2] {
		t.Fatalf("status %d: %s%s", code, out, errs)
	}
	if n := number(t, m[1]); n < 10 {
		t.Errorf("only %d forks", n)
	}
	await(t, "nothing left", func() (bool, string) { out := h.output(t, "ps", "--no-headers"); return out == "", out })
}

// What blocks in fork while there is no engine goes on with the next one, and a family is adopted as it was.
func TestFamilyAdopted(t *testing.T) {
	h := newHome(t)
	root := h.launch(t, h.compileFork(t, "family"), "2.1")
	before := h.awaitMembers(t, root, 5)
	h.killEngine(t)
	after := h.awaitMembers(t, root, 5)
	for i := range after {
		if after[i].PID != before[i].PID || after[i].PPID != before[i].PPID {
			t.Errorf("%d, child of %d, has become %d, child of %d", before[i].PID, before[i].PPID, after[i].PID, after[i].PPID)
		}
	}
	middle := child(t, after, root)
	h.output(t, "kill", "-KILL", "--tree", strconv.Itoa(middle))
	more := number(t, h.output(t, "fork", strconv.Itoa(root)))
	h.output(t, "-c", fmt.Sprintf("kill -KILL %%%d; wait %d; true", root, more))
	if left := h.members(t, root); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

// cycles is how many fork/exit cycles must leave nothing, part how many a parent makes of them. An emulated machine takes a fifth of a
// second for each: a twentieth of them, by as many parents as may leave something, have to do there.
var cycles, part = func() (int, int) {
	if slowness > 1 {
		return 500, 250
	}
	return 10000, 500
}()

// No process, no descriptor, no memory file is left of many children.
func TestForkLeavesNothing(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "cycles")
	// The first pVM, and its first children, make what an engine keeps.
	h.output(t, "-c", "run -m 16M "+image+" 50 >/dev/null")
	before := h.settled(t)
	files := memoryFiles(t, h.info(t).PID)
	for n := 0; n < cycles; n += part {
		out, errs, code := h.run(t, "run", "-m", "16M", image, strconv.Itoa(part))
		if code != 0 || out != fmt.Sprintf("%d cycles\n", part) {
			t.Fatalf("status %d: %s%s", code, out, errs)
		}
	}
	before.logs = h.settled(t).logs // of what is remembered
	h.nothingLeft(t, before)
	await(t, "memory files as before", func() (bool, string) {
		now := memoryFiles(t, h.info(t).PID)
		return now <= files, fmt.Sprintf("%d, before %d", now, files)
	})
	if out := h.output(t, "ps", "--no-headers"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// memoryFiles counts the mappings of memory files, and of foreign domains' memory, in a process.
func memoryFiles(t testing.TB, pid int) int {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "/memfd:") + strings.Count(string(maps), "privcmd")
}

// The end of a family's members one by one, in any order, from outside, while they fork.
func TestKillMembersWhileForking(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "forker")
	for range 3 {
		pid := h.launch(t, image)
		h.logged(t, strconv.Itoa(pid), "forks\n")
		children := strings.Fields(h.output(t, "fork", "-n", "4", strconv.Itoa(pid)))
		h.output(t, append([]string{"-c", `for each in "$@"; do kill -KILL $each; done`, "killer"}, append(children, strconv.Itoa(pid))...)...)
		await(t, "nothing left", func() (bool, string) { out := h.output(t, "ps", "--no-headers"); return out == "", out })
	}
}

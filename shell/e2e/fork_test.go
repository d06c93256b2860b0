package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kxsh/engine"
)

// compileFork builds a program of testdata/fork.
func (h *home) compileFork(t *testing.T, name string) string {
	t.Helper()
	return h.image(t, filepath.Join(root, "shell/e2e/testdata/fork", name+".c"), "-O2", "-Wall", "-Wextra", "-Werror")
}

// launch starts a pVM in the background.
func (h *home) launch(t *testing.T, args ...string) int {
	t.Helper()
	return number(t, h.output(t, append([]string{"run", "-d", "-m", "16M"}, args...)...))
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// members lists a family, zombies included.
func (h *home) members(t *testing.T, family int) (list []engine.Process) {
	t.Helper()
	var all []engine.Process
	unmarshal(t, h.output(t, "ps", "--json"), &all)
	for _, p := range all {
		if p.Family == family {
			list = append(list, p)
		}
	}
	return list
}

// awaitMembers waits until a family has so many members, none of them a zombie.
func (h *home) awaitMembers(t *testing.T, family, n int) (list []engine.Process) {
	t.Helper()
	await(t, fmt.Sprint(n, " members"), func() (bool, string) {
		list = h.members(t, family)
		return len(list) == n && !slices.ContainsFunc(list, func(p engine.Process) bool { return p.Stat == "Z" }), fmt.Sprintf("%+v", list)
	})
	return list
}

// child is the only child of a member.
func child(t *testing.T, list []engine.Process, parent int) int {
	t.Helper()
	for _, p := range list {
		if p.PPID == parent {
			return p.PID
		}
	}
	t.Fatalf("%d has no child in %+v", parent, list)
	return 0
}

// A fork from outside, wherever the program is: everybody computes on, with the registers that there were.
func TestForkFromOutside(t *testing.T) {
	h := newHome(t)
	pid := h.launch(t, "--name", "s", h.compileFork(t, "steady"))
	h.logged(t, "s", "computes\n")
	first := number(t, h.output(t, "fork", strconv.Itoa(pid)))
	lines := strings.Fields(h.output(t, "fork", "-n", "3", strconv.Itoa(pid)))
	if len(lines) != 3 {
		t.Fatalf("fork -n 3 prints %q", lines)
	}
	grandchild := number(t, h.output(t, "fork", lines[1]))
	list := h.awaitMembers(t, pid, 6)
	for _, p := range list {
		want := pid
		switch p.PID {
		case pid:
			want = 0
		case grandchild:
			want = number(t, lines[1])
		}
		if p.PPID != want || p.Name != "s" {
			t.Errorf("%d: PPID %d, want %d; name %s", p.PID, p.PPID, want, p.Name)
		}
	}
	if !slices.ContainsFunc(list, func(p engine.Process) bool { return p.PID == first }) {
		t.Errorf("fork printed %d, which is not there: %+v", first, list)
	}
	// The program has not forked: it waits for nobody, and nobody becomes a zombie.
	for _, p := range list {
		out, errs, code := h.run(t, "-c", fmt.Sprintf("kill %[1]d; wait %[1]d; echo $?; logs %[1]d", p.PID))
		want := "0\nsteady\n"
		if p.PID == pid {
			want = "0\ncomputes\n"
		}
		if code != 0 || !strings.HasPrefix(out, want) || !strings.Contains(out, "steady\n") {
			t.Errorf("%d: status %d: %s%s", p.PID, code, out, errs)
		}
	}
	if left := h.members(t, pid); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	for _, c := range [][]string{
		{"fork: (999999): no such pVM\n", "fork", "999999"},
		{"fork: -n 0: at least 1; see: help fork\n", "fork", "-n", "0", "1"},
	} {
		if _, errs, code := h.run(t, c[1:]...); code == 0 || errs != c[0] {
			t.Errorf("%q: status %d: %s", c[1:], code, errs)
		}
	}
}

// What spins and knows nothing of forks is forked all the same, and children can be waited for.
func TestForkOfSpin(t *testing.T) {
	h := newHome(t)
	out := h.output(t, "-c", `p=$(run -d $APPS/spin.kx); c=$(fork $p); d=$(fork -n 2 $c); set -- $d
		kill $c $1 $2; wait $c; echo $?; wait $1; echo $?; wait $2; echo $?; ps --no-headers -o pid | wc -l; kill -9 $p; wait $p; echo $?`)
	if strings.Join(strings.Fields(out), " ") != "143 143 143 1 137" {
		t.Errorf("%q", out)
	}
}

// A family as ps, pstree and kill see it. The names of ps --forest are indented.
func TestFamilyTree(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "family")
	a := h.launch(t, "--name", "a", image, "2.2")
	b := h.launch(t, "--name", "b", image, "1")
	list := h.awaitMembers(t, a, 7)
	h.awaitMembers(t, b, 2)
	forest := h.output(t, "ps", "--forest", "--no-headers", "-o", "pid,ppid,fam,name")
	depths := map[int]int{}
	for line := range strings.Lines(forest) {
		m := regexp.MustCompile(`^ *(\d+) +(\d+) +(\d+) ([ \\_|]*)[ab]\n$`).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("ps --forest: %q in\n%s", line, forest)
		}
		depths[len(m[4])]++
	}
	if len(depths) != 3 || depths[0] != 2 {
		t.Errorf("depths %v in\n%s", depths, forest)
	}
	if tree := h.output(t, "pstree", "-p", strconv.Itoa(a)); strings.Count(tree, "a(") != 7 {
		t.Errorf("pstree -p: %s", tree)
	}
	if out := h.output(t, "ps", "--no-headers", "-o", "name", fmt.Sprintf("%%%d", a)); strings.Count(out, "a\n") != 7 {
		t.Errorf("ps %%%d: %s", a, out)
	}

	// A subtree goes: the middle child and its two children; the others hear nothing.
	middle := child(t, list, a)
	h.output(t, "kill", "-KILL", "--tree", strconv.Itoa(middle))
	await(t, "four members, one a zombie", func() (bool, string) {
		list := h.members(t, a)
		zombies := 0
		for _, p := range list {
			if p.Stat == "Z" {
				zombies++
			}
		}
		return len(list) == 5 && zombies == 1, fmt.Sprintf("%+v", list)
	})
	if out := h.output(t, "ps", "--no-headers", "-o", "pid,stat,name", strconv.Itoa(middle)); !strings.Contains(out, "Z") || !strings.Contains(out, "<defunct: SIGKILL>") {
		t.Errorf("the zombie: %s", out)
	}
	h.output(t, "kill", "-TERM", "--tree", strconv.Itoa(a))
	await(t, "b alone", func() (bool, string) { out := h.output(t, "ps"); return strings.Count(out, "\n") == 3, out })
	if out := h.output(t, "-c", fmt.Sprintf("wait %d; echo $?", a)); out != "7\n" {
		t.Errorf("status of a family's root: %q", out)
	}
	h.output(t, "kill", "-KILL", fmt.Sprintf("%%%d", b))
	if out := h.output(t, "ps", "--no-headers"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// The quota stops a fork bomb, in its family alone, and one command ends it.
func TestForkBomb(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "KXSH_FAMILY_LIMIT=8")
	image := h.compileFork(t, "bomb")
	witness := h.launch(t, "--name", "w", h.compileFork(t, "family"), "1")
	h.awaitMembers(t, witness, 2)
	h.output(t, "limit", "--family", "3", strconv.Itoa(witness))
	pid := h.launch(t, "--name", "bomb", image)
	h.logged(t, strconv.Itoa(pid), "no more\n")
	h.awaitMembers(t, pid, 8) // the last one may be on its way
	h.output(t, "limit", "--family", "12", strconv.Itoa(pid))
	await(t, "12 members", func() (bool, string) { n := len(h.members(t, pid)); return n == 12, fmt.Sprint(n) })
	if out := h.output(t, "events"); !regexp.MustCompile(`refused +\d+ bomb .*family \d+ has \d+ members, as many as it may: limit --family N %\d+ allows more`).MatchString(out) {
		t.Errorf("events say nothing of the limit:\n%s", out)
	}
	if n := number(t, h.output(t, "fork", strconv.Itoa(witness))); n == 0 {
		t.Error("another family cannot fork")
	}
	if _, errs, code := h.run(t, "fork", strconv.Itoa(witness)); code == 0 || !strings.Contains(errs, "has 3 members, as many as it may") {
		t.Errorf("beyond the limit: status %d: %s", code, errs)
	}
	h.output(t, "kill", "-KILL", fmt.Sprintf("%%%d", pid))
	if left := h.members(t, pid); len(left) > 0 {
		t.Errorf("left of the bomb: %+v", left)
	}
	h.output(t, "kill", "-KILL", "--tree", strconv.Itoa(witness))
	await(t, "nothing", func() (bool, string) { out := h.output(t, "ps", "--no-headers"); return out == "", out })
}

// The program's handler hears of it in each child that was made from outside, whatever the program was doing, and the parent's does
// not.
func TestOnClone(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "onclone")
	for how, handled := range map[string]int{"spin": 1, "pause": 1, "none": 0} {
		pid := h.launch(t, "--name", how, image, how)
		h.logged(t, strconv.Itoa(pid), "ready\n")
		children := strings.Fields(h.output(t, "fork", "-n", "2", strconv.Itoa(pid)))
		for _, c := range children {
			want := ""
			if handled != 0 {
				want = fmt.Sprintf("clone %s of %d\n", c, pid)
				h.logged(t, c, want)
			}
			if out := h.output(t, "-c", fmt.Sprintf("kill %[1]s; wait %[1]s; echo $?; logs %[1]s", c)); out != fmt.Sprintf("%d\n%s", handled, want) {
				t.Errorf("%s, a child: %q", how, out)
			}
		}
		// The parent has heard nothing.
		if out := h.output(t, "-c", fmt.Sprintf("kill %[1]d; wait %[1]d; echo $?", pid)); out != "0\n" {
			t.Errorf("%s, the parent: %q", how, out)
		}
	}
}

// In a child that was made from outside a process and its threads find themselves by their numbers, and their locks.
func TestRaiseInClone(t *testing.T) {
	h := newHome(t)
	pid := h.launch(t, h.compileFork(t, "raises"))
	h.logged(t, strconv.Itoa(pid), "ready\n")
	child := strings.TrimSpace(h.output(t, "fork", strconv.Itoa(pid)))
	for _, c := range []string{child, strings.TrimSpace(h.output(t, "fork", strconv.Itoa(pid)))} {
		want := "143\n" + strings.Repeat("raise kill pthread_kill tgkill ", 2) + "0 0 0\n"
		if out := h.output(t, "-c", fmt.Sprintf("wait %[1]s; echo $?; logs %[1]s", c)); out != want {
			t.Errorf("child %s: %q", c, out)
		}
	}
	h.output(t, "kill", "-KILL", strconv.Itoa(pid))
}

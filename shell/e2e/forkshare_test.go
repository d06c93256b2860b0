package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

// What a family shares outlives the engine, and who is killed then, or while there is none, is noticed by the others.
func TestSharedAdopted(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "share")
	last := func(root int) int {
		lines := strings.Fields(h.output(t, "logs", strconv.Itoa(root)))
		if len(lines) == 0 {
			return -1
		}
		n, _ := strconv.Atoi(lines[len(lines)-1])
		return n
	}
	goesOn := func(root int) {
		t.Helper()
		from := last(root)
		await(t, "more numbers", func() (bool, string) { n := last(root); return n > from+5, fmt.Sprint(n) })
	}
	ends := func(root int) {
		t.Helper()
		out := strings.Fields(h.output(t, "-c", fmt.Sprintf("wait %[1]d; echo $?; logs %[1]d", root)))
		// What an engine has logged, and not taken, when it dies, the next one logs again.
		for i, line := range slices.Compact(out[1 : len(out)-1]) {
			if line != strconv.Itoa(i) {
				t.Errorf("line %d: %s", i, line)
			}
		}
		if out[0] != "0" || out[len(out)-1] != "end" {
			t.Errorf("its end: %v", out)
		}
	}
	root := h.launch(t, image, "relay")
	writer := child(t, h.awaitMembers(t, root, 2), root)
	goesOn(root)
	h.killEngine(t)
	goesOn(root)
	h.output(t, "kill", "-9", strconv.Itoa(writer))
	ends(root)
	// A second writer, by a fork from outside, shares the first one's pipe: the end comes when both have gone.
	root = h.launch(t, image, "relay")
	writer = child(t, h.awaitMembers(t, root, 2), root)
	goesOn(root)
	h.killEngine(t)
	second := number(t, h.output(t, "fork", strconv.Itoa(writer)))
	h.output(t, "kill", "-9", strconv.Itoa(writer))
	goesOn(root)
	h.output(t, "kill", "-9", strconv.Itoa(second))
	if out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; echo $?; logs -n 1 %[1]d", root)); out != "0\nend\n" {
		t.Errorf("its end: %q", out)
	}
}

// Nothing is left of what many families, and many children of one, have shared: no page, no descriptor, no domain.
func TestSharingLeavesNothing(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "share")
	dash := []string{"run", "-m", "16M", filepath.Join(root, "guest/ports/dash/dash.kx"), "-c", "echo a | while read x; do y=$(echo $x); done"}
	// The first pVM of an image, and its first children, make what an engine keeps.
	h.output(t, dash...)
	h.output(t, "-c", "run -m 16M "+image+" cycles 20 >/dev/null")
	before := h.settled(t)
	files := memoryFiles(t, h.info(t).PID)
	part := max(2000/(slowness*slowness), 60) // an emulated machine takes a fifth of a second for each
	for range 2 {
		out, errs, code := h.run(t, "run", "-m", "16M", image, "cycles", strconv.Itoa(part))
		if code != 0 || out != fmt.Sprintf("%d cycles\n", part) {
			t.Fatalf("status %d: %s%s", code, out, errs)
		}
	}
	for range max(10/slowness, 3) {
		h.output(t, dash...)
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

// A member that writes nonsense all over what the family shares neither ends nor stops another one.
func TestScribblingMember(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "scribble")
	for range 3 {
		seed := strconv.Itoa(int(time.Now().UnixNano() % 1e9))
		out, errs, code := h.run(t, "run", "-m", "16M", image, seed)
		if code != 0 || !strings.HasSuffix(out, "\nalive\n") {
			t.Errorf("seed %s: status %d\n%s%s", seed, code, out, errs)
		}
		t.Logf("%q", out)
	}
}

// Who has copied what since a fork shows, on every hypervisor: a child has its parent's memory, and shares it until it writes there.
func TestMemoryShared(t *testing.T) {
	h := newHome(t)
	const mib = 48
	root := number(t, h.output(t, "run", "-d", "-m", "64M", "--name", "root", h.compileFork(t, "copier"), strconv.Itoa(mib), "1"))
	list := h.awaitMembers(t, root, 2)
	writer := child(t, list, root)
	for _, p := range list {
		h.logged(t, strconv.Itoa(p.PID), fmt.Sprintf("ready %d\n", p.PID))
	}
	shares := func(pid int, what string, right func(percent uint64) bool) {
		t.Helper()
		await(t, fmt.Sprint(pid, ": ", what), func() (bool, string) {
			all := h.members(t, root)
			p := all[slices.IndexFunc(all, func(p engine.Process) bool { return p.PID == pid })]
			return right(100*p.CoW/p.Memory) && p.CoW <= p.Shared && p.Shared <= p.Memory, fmt.Sprint(p.CoW, " copy on write of ", p.Shared, " shared of ", p.Memory)
		})
	}
	most := func(percent uint64) bool { return percent >= 70 } // the rest is the LibOS's own
	shares(root, "most is shared", most)
	shares(writer, "most is shared", most)
	if p := h.members(t, root); p[0].Memory < mib<<20 || p[1].Memory < mib<<20 {
		t.Errorf("they have %d and %d bytes", p[0].Memory, p[1].Memory)
	}
	h.output(t, "kill", "-USR1", strconv.Itoa(writer))
	h.logged(t, strconv.Itoa(writer), fmt.Sprintf("wrote to %d\n", mib))
	shares(writer, "little is shared", func(percent uint64) bool { return percent < 25 })
	h.output(t, "kill", "-KILL", "--tree", strconv.Itoa(root))
}

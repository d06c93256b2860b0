package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kxsh/engine"
)

// updated is what update --json says of one pVM.
type updated struct {
	engine.UpdateResult
	Error   string
	Reasons []string
}

// counter makes a program with a library, and what may replace that: its next version, and libraries that cannot.
func (h *home) counter(t *testing.T) (app, next string) {
	t.Helper()
	src := func(name string) string { return filepath.Join(root, "shell/e2e/testdata/update", name+".c") }
	flags := []string{"-O2", "-g", "-shared", "-Wl,-soname,libcounter.so"}
	h.compiled(t, src("counter"), "libcounter.so", append(flags, "-DVERSION=1"), h.cc)
	return h.image(t, src("server"), "-O2", "-L.", "-lcounter"), h.compiled(t, src("counter"), "next.so", append(flags, "-DVERSION=2"), h.cc)
}

// server starts the program.
func (h *home) server(t *testing.T, args ...string) (pid string) {
	t.Helper()
	pid = strings.TrimSpace(h.output(t, append([]string{"run", "-d"}, args...)...))
	h.awaitLog(t, pid, "ready\n")
	return pid
}

// sees is what the program says the nth time that it is asked. One shell asks and waits: to start one takes an emulated machine a while.
func (h *home) sees(t *testing.T, pid string, n int) string {
	t.Helper()
	begin := fmt.Sprintf("%s %d: ", pid, n)
	script := fmt.Sprintf("kill -USR1 %s; for i in $(seq 500); do logs %s | grep '^%s' && break; sleep 0.02; done", pid, pid, begin)
	out := h.output(t, "-c", script)
	if out == "" {
		t.Fatalf("%s: waited in vain for round %d\n%s", pid, n, h.output(t, "logs", pid))
	}
	return strings.TrimPrefix(strings.TrimSuffix(out, "\n"), begin)
}

// thread sends a thread into the library, or calls it back, and waits until it is where.
func (h *home) thread(t *testing.T, pid, where string) {
	t.Helper()
	h.output(t, "-c", fmt.Sprintf("kill -USR2 %s; for i in $(seq 500); do logs %s | grep -q '^%s' && break; sleep 0.02; done", pid, pid, where))
}

// waiting starts an update, or the way back, of a library that a thread is in, and returns when it says so, which it does on a terminal.
func (h *home) waiting(t *testing.T, args ...string) *terminal {
	t.Helper()
	term := h.terminal(t, args...)
	term.expect("waits for thread")
	return term
}

// counted is what it says in a round, with a total, by a version of the library. What points to text of the first version keeps that.
func counted(round, total, version int) string {
	step, words, held := 1, "first text", "one"
	if version == 2 {
		step, words, held = 100, "second text", "two"
	}
	hand := fmt.Sprintf("%d %d 33 9 first text %s", step, total, held)
	return fmt.Sprintf("calls %d %d step %d total %d table 1 9 text %s global %s stack %s heap %s", round, 50+round, step, total, words, hand, hand, hand)
}

func (h *home) wantSeen(t *testing.T, pid string, round, total, version int) {
	t.Helper()
	if got, want := h.sees(t, pid, round), counted(round, total, version); got != want {
		t.Errorf("(%s): round %d: %s, want %s", pid, round, got, want)
	}
}

// update is one that works.
func (h *home) update(t *testing.T, args ...string) (u updated) {
	t.Helper()
	var list []updated
	unmarshal(t, h.output(t, append([]string{"update", "--json"}, args...)...), &list)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	return list[0]
}

// notUpdated is one that is refused, for a reason.
func (h *home) notUpdated(t *testing.T, reason string, args ...string) {
	t.Helper()
	out, errs, code := h.run(t, append([]string{"update"}, args...)...)
	if code != 1 || !strings.Contains(errs, reason) {
		t.Errorf("update %q: status %d, want 1 and %q\n%s%s", args, code, reason, out, errs)
	}
}

// A library is replaced under a program that goes on: functions are new, variables keep their values, what it holds is as it should
// be. A thread in the library delays that; and the way back is the same.
func TestUpdate(t *testing.T) {
	h := newHome(t)
	app, next := h.counter(t)
	pid := h.server(t, app)
	h.wantSeen(t, pid, 1, 6, 1)
	if u := h.update(t, "--dry-run", pid, next, "libcounter.so"); !u.DryRun || u.Scanned == 0 {
		t.Errorf("%+v", u)
	}
	h.wantSeen(t, pid, 2, 7, 1)
	u := h.update(t, pid, next, "libcounter.so")
	if u.New.Path != next || u.Functions == 0 || u.Variables == 0 || u.Pointers == 0 || u.Pinned == 0 || u.Pause <= 0 || len(u.Steps) != 9 {
		t.Errorf("%+v", u)
	}
	t.Logf("pause %v, steps %v", u.Pause, u.Steps)
	h.wantSeen(t, pid, 3, 107, 2)
	if l := h.ldd(t, pid); len(l) != 1 || l[0].Path != next || l[0].Bound < 1 {
		t.Errorf("%+v", l)
	}
	if out := h.output(t, "update", pid+",", next+",", "libcounter.so"); !strings.HasSuffix(out, "is "+next+" already\n") {
		t.Errorf("again: %s", out)
	}

	h.thread(t, pid, "inside")
	out, errs, code := h.run(t, "rollback", "--timeout", "100ms", pid, "libcounter.so")
	if code != 1 || !strings.Contains(errs, "libcounter.so is in use: thread ") || !strings.Contains(errs, " in libcounter.so:hold+0x") {
		t.Errorf("with a thread in it: status %d\n%s%s", code, out, errs)
	}
	h.wantSeen(t, pid, 4, 207, 2)
	back := h.waiting(t, "rollback", "--timeout", fmt.Sprint(2*patience), pid, "libcounter.so")
	h.output(t, "kill", "-USR2", pid)
	back.expect(regexp.QuoteMeta("/libcounter.so instead of " + next))
	back.exit(0)
	h.wantSeen(t, pid, 5, 208, 1)
	if out := h.output(t, "events"); strings.Count(out, "updated") != 2 || !strings.Contains(out, "update refused") {
		t.Errorf("events:\n%s", out)
	}
}

// An update is a child's alone, or a parent's, or both have it; a child has what its parent has, and the way back, too.
func TestUpdateFamily(t *testing.T) {
	h := newHome(t)
	app, next := h.counter(t)
	parent := h.server(t, app)
	h.wantSeen(t, parent, 1, 6, 1)
	child := strings.TrimSpace(h.output(t, "fork", parent))
	h.update(t, child, next, "libcounter.so")
	h.wantSeen(t, child, 2, 106, 2)
	h.wantSeen(t, parent, 2, 7, 1)
	grandchild := strings.TrimSpace(h.output(t, "fork", child))
	h.output(t, "rollback", grandchild, "libcounter.so")
	h.wantSeen(t, grandchild, 3, 107, 1)
	h.wantSeen(t, child, 3, 206, 2)
	h.update(t, parent, next, "libcounter.so")
	h.wantSeen(t, parent, 3, 107, 2)
	h.wantSeen(t, grandchild, 4, 108, 1)
	if out := h.output(t, "update", "%"+parent, next, "libcounter.so"); !strings.HasSuffix(out, "3 of 3 updated\n") || strings.Count(out, "already") != 2 {
		t.Errorf("all of a family: %s", out)
	}
	h.wantSeen(t, grandchild, 5, 208, 2)
}

// With --all the first pVM is updated alone: if that fails, nothing else is touched.
func TestUpdateAll(t *testing.T) {
	h := newHome(t)
	app, next := h.counter(t)
	first, second := h.server(t, app), h.server(t, app)
	h.output(t, "run", "-d", filepath.Join(root, "guest/apps/spin.kx")) // has none
	h.thread(t, first, "inside")
	h.notUpdated(t, "it was the first: 1 more not touched", "--timeout", "50ms", "--all", next, "libcounter.so")
	h.wantSeen(t, second, 1, 6, 1)
	h.thread(t, first, "outside")
	if out := h.output(t, "update", "--watch", "50ms", "--all", next, "libcounter.so"); !strings.HasSuffix(out, "2 of 2 updated\n") {
		t.Errorf("%s", out)
	}
	h.wantSeen(t, first, 1, 105, 2)
	h.wantSeen(t, second, 2, 106, 2)
}

// What is refused is refused by name, and changes nothing.
func TestUpdateRefused(t *testing.T) {
	h := newHome(t)
	app, next := h.counter(t)
	src := filepath.Join(root, "shell/e2e/testdata/update/counter.c")
	flags := []string{"-O2", "-shared", "-Wl,-soname,libcounter.so"}
	without := h.compiled(t, src, "without.so", append(flags, "-g", "-DVERSION=3"), h.cc)
	plain := h.compiled(t, src, "plain.so", append(flags, "-DVERSION=2"), h.cc)
	narrow := h.compiled(t, filepath.Join(filepath.Dir(src), "narrow.c"), "narrow.so", append(flags, "-g"), h.cc)
	pid := h.server(t, app)
	h.wantSeen(t, pid, 1, 6, 1)
	h.notUpdated(t, "no such file", pid, "nosuch.so", "libcounter.so")
	h.notUpdated(t, "a program, not a library", pid, app, "libcounter.so")
	h.notUpdated(t, "has no library libother.so", pid, next, "libother.so")
	h.notUpdated(t, "no such pVM", "4711", next, "libcounter.so")
	h.notUpdated(t, "update: function step is removed", pid, narrow, "libcounter.so")
	h.notUpdated(t, narrow+" cannot take the place of", pid, narrow, "libcounter.so")
	h.notUpdated(t, "no debug information", pid, plain, "libcounter.so")
	h.notUpdated(t, "cannot be told apart", "--symbols-only", pid, plain, "libcounter.so")
	h.notUpdated(t, "libcounter.so+0x", "--timeout", "50ms", pid, without, "libcounter.so")
	if _, errs, code := h.run(t, "rollback", pid, "libcounter.so"); code != 1 || !strings.Contains(errs, "nothing to go back to") {
		t.Errorf("back, without a step: status %d\n%s", code, errs)
	}
	h.output(t, "kill", "-STOP", pid)
	h.notUpdated(t, "is stopped: kill -CONT "+pid+" first", pid, next, "libcounter.so")
	h.output(t, "kill", "-CONT", pid)
	h.wantSeen(t, pid, 2, 7, 1)

	h.output(t, "-c", "cd "+h.dir+"; keygen --trust; sign server.kx libcounter.so")
	signed := h.server(t, "--require", "signed", app)
	h.notUpdated(t, "refused by rule signed", signed, next, "libcounter.so")
	h.output(t, "-c", "cd "+h.dir+"; sign --name libcounter.so next.so")
	h.update(t, signed, next, "libcounter.so")
	h.wantSeen(t, signed, 1, 105, 2)
}

// An engine that is killed in an update is followed by one that takes back what was mapped for it; and the next update works.
func TestUpdateEngineKilled(t *testing.T) {
	h := newHome(t)
	app, next := h.counter(t)
	pid := h.server(t, app)
	h.wantSeen(t, pid, 1, 6, 1)
	h.thread(t, pid, "inside")
	s := h.waiting(t, "update", "--timeout", fmt.Sprint(2*patience), pid, next, "libcounter.so")
	h.killEngine(t)
	s.exit(1)
	h.wantSeen(t, pid, 2, 7, 1)
	h.thread(t, pid, "outside")
	h.update(t, pid, next, "libcounter.so")
	h.wantSeen(t, pid, 3, 107, 2)
	h.killEngine(t)
	h.wantSeen(t, pid, 4, 207, 2)
	h.output(t, "rollback", pid, "libcounter.so") // the next engine links it anew
	h.wantSeen(t, pid, 5, 208, 1)
}

// /proc/self/maps shows libraries by name, as they are now; of one that was replaced it shows what is there still.
func TestUpdateMaps(t *testing.T) {
	h := newHome(t)
	_, next := h.counter(t)
	app := h.image(t, filepath.Join(root, "shell/e2e/testdata/update/maps.c"), "-O2", "-L.", "-lcounter")
	pid := h.server(t, app)
	library := "code r-xp/libcounter.so variable rw-p/libcounter.so literal r--p/libcounter.so"
	compare(t, h.sees(t, pid, 1), library+" first r--p/libcounter.so program r-xp/maps")
	h.update(t, pid, next, "libcounter.so")
	compare(t, h.sees(t, pid, 2), library+" first r--p program r-xp/maps")
	child := strings.TrimSpace(h.output(t, "fork", pid))
	compare(t, h.sees(t, child, 3), library+" first r--p program r-xp/maps")
}

// A program may have its own library replaced, by files of its libraries' folders, and is held to what an update from outside is held to.
func TestUpdateSelf(t *testing.T) {
	h := newHome(t)
	h.counter(t)
	app := h.image(t, filepath.Join(root, "shell/e2e/testdata/update/self.c"), "-O2", "-L.", "-lcounter")
	asks := func(pid, event string) {
		t.Helper()
		h.output(t, "kill", "-USR2", pid)
		h.awaitLog(t, pid, "asked: No error information Resource temporarily unavailable\n")
		await(t, event, func() (bool, string) {
			out := h.output(t, "events")
			return strings.Contains(out, event), out
		})
	}
	pid := h.server(t, app)
	none := " No such file or directory"
	if out := h.output(t, "logs", pid); !strings.Contains(out, "refused:"+none+none+none+" Invalid argument Invalid argument Bad address\n") {
		t.Errorf("%s", out)
	}
	compare(t, h.sees(t, pid, 1), "calls 1 step 1")
	asks(pid, "libcounter.so: "+filepath.Join(h.dir, "next.so"))
	compare(t, h.sees(t, pid, 2), "calls 2 step 100")

	h.output(t, "-c", "cd "+h.dir+"; keygen --trust; sign self.kx libcounter.so")
	pid = h.server(t, "--require", "signed", app)
	asks(pid, "next.so: refused by rule signed")
	compare(t, h.sees(t, pid, 1), "calls 1 step 1")
}

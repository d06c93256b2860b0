package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

func recycleSource(name string) string {
	return filepath.Join(root, "shell/e2e/testdata/recycle", name+".c")
}

// job makes the application of the tests, and the image of the same source.
func (h *home) job(t *testing.T) (app, image string) {
	t.Helper()
	return h.library(t, recycleSource("job"), "-O2"), h.image(t, recycleSource("job"), "-O2")
}

// What a program finds and what becomes of it is the same, whether it is an application or an image.
func TestRecycle(t *testing.T) {
	h := newHome(t)
	app, image := h.job(t)
	pid := regexp.MustCompile(`PID \d+`)
	for _, c := range []struct {
		flags, args []string
		input       string
	}{
		{args: []string{"a", "b c", ""}},
		{flags: []string{"-e", "NAME=x y", "-e", "EMPTY="}},
		{flags: []string{"-i"}, args: []string{"copy"}, input: "one\ntwo"},
		{args: []string{"copy"}, input: "nobody reads this"},
		{flags: []string{"-i", "-t"}, args: []string{"terminal"}, input: "typed\n"},
		{args: []string{"family"}},
		{args: []string{"abort"}},
		{args: []string{"heap"}},
		{flags: []string{"-m", "200M"}, args: []string{"heap"}},
		{flags: []string{"--root", filepath.Join(root, "shell/e2e/testdata/recycle")}, args: []string{"root"}},
	} {
		say := func(flags ...string) (string, string, int) {
			args := append(append(append([]string{"run", "--name", "job"}, flags...), c.flags...), app)
			if len(flags) == 0 {
				args[len(args)-1] = image
			}
			out, errs, code := h.runInput(t, c.input, append(args, c.args...)...)
			out = strings.ReplaceAll(pid.ReplaceAllString(out, "PID"), image, app)
			return out, strings.ReplaceAll(errs, "job.kx", "libjob.so"), code
		}
		want, wantErrs, wantCode := say()
		if out, errs, code := say("--recycle"); out != want || code != wantCode || (errs == "") != (wantErrs == "") {
			t.Errorf("%q %q: status %d, want %d\n%s%s---- want:\n%s%s", c.flags, c.args, code, wantCode, out, errs, want, wantErrs)
		}
	}
	if out, errs, code := h.run(t, "run", "--recycle", app, "crash"); code != 139 || !strings.Contains(errs, "libjob.so:main+0x") {
		t.Errorf("a fault: status %d\n%s%s", code, out, errs)
	}
	// Nobody else's random numbers, and nobody else's addresses.
	seen := map[string]bool{}
	const rounds = 8
	for range rounds {
		for _, word := range strings.Fields(strings.TrimSuffix(h.output(t, "run", "--recycle", app, "random"), "end\n")) {
			seen[word] = true
		}
	}
	if len(seen) != 3*rounds {
		t.Errorf("of %d random numbers and addresses %d are different: %v", 3*rounds, len(seen), seen)
	}
	entry := h.library(t, recycleSource("job"), "-O2", "-DENTRY")
	if out, errs, code := h.run(t, "run", "--recycle", entry, "x"); code != 7 || !strings.Contains(out, "2 arguments, constructors: 1, basename: own\n") {
		t.Errorf("app_entry: status %d\n%s%s", code, out, errs)
	}
}

// An application has all libraries that it needs, kxsh's own too, and they use it.
func TestRecycleLibraries(t *testing.T) {
	h := newHome(t)
	h.library(t, recycleSource("help"), "-O2")
	app := h.library(t, recycleSource("sums"), "-O2", "-L.", "-lhelp", "-lm")
	for range 3 {
		if out := h.output(t, "run", "--recycle", app, "256"); out != "4.500000 24.000000\n" {
			t.Errorf("it says %q", out)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"run --recycle " + filepath.Join(root, "guest/apps/hello.kx"), "hello.kx: an image, no application: run it without --recycle"},
		{"run --recycle " + filepath.Join(h.dir, "libhelp.so"), "libhelp.so: no application: it has neither app_entry nor main"},
		{"run " + app, "libsums.so: an application: run it with --recycle"},
	} {
		if out, errs, code := h.run(t, strings.Fields(c.args)...); code != 126 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: status %d: %s%s", c.args, code, out, errs)
		}
	}
	// Only a blank domain gets one.
	needy := h.image(t, librarySource("needy"), "-O2", "-L.", "-lsums", "-lhelp", "-lm")
	const rule = "an application, which goes into a blank domain only"
	if out, errs, code := h.run(t, "run", needy); code != 126 || !strings.Contains(errs, rule) {
		t.Errorf("an image that needs an application: status %d: %s%s", code, out, errs)
	}
	pid := h.late(t, h.libraries(t))
	if out, errs, code := h.run(t, "update", pid+",", app+",", "libbase.so"); code == 0 || !strings.Contains(errs, rule) {
		t.Errorf("an application in the place of a library: status %d: %s%s", code, out, errs)
	}
}

// What one application leaves behind, none of the next finds, though they get its domain.
func TestRecycleSecret(t *testing.T) {
	h := newHome(t)
	app, _ := h.job(t)
	if out := h.output(t, "run", "--recycle", app, "hide", "seek"); !regexp.MustCompile(`^looked: [1-9]\d+ found, in xmm7: 1, /secret: there\n`).MatchString(out) {
		t.Fatalf("it cannot be found even while it is there: %s", out)
	}
	run := func(what string, rounds int) (pids []string) {
		for range rounds {
			out := h.output(t, "-c", fmt.Sprintf("p=$(run -d --recycle %s %s); wait $p; logs $p; echo $p", app, what))
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if what == "seek" && lines[0] != "looked: 0 found, in xmm7: 0, /secret: none" {
				t.Errorf("the next one: %s", out)
			}
			pids = append(pids, lines[len(lines)-1])
		}
		return pids
	}
	h.output(t, "run", "-d", "--recycle", app, "wait") // or the engine leaves
	hid := run("hide", 3)
	await(t, "an event recycled", func() (bool, string) {
		out := h.output(t, "events")
		return regexp.MustCompile(`(?m) recycled +` + hid[0] + ` `).MatchString(out), out
	})
	time.Sleep(6 * time.Second) // for the next five its number is not given again
	sought := run("seek", 4)
	if !slices.ContainsFunc(sought, func(pid string) bool { return slices.Contains(hid, pid) }) {
		t.Errorf("none of %q is one of %q again:\n%s", sought, hid, h.output(t, "events"))
	}
}

// Signals, a kill in the middle, and whoever comes next.
func TestRecycleEnds(t *testing.T) {
	h := newHome(t)
	app, _ := h.job(t)
	for _, c := range []struct {
		signal string
		code   int
		said   string
	}{{"TERM", 9, "ready\ntold\n"}, {"KILL", 137, "ready\n"}, {"INT", 130, "ready\n"}} {
		pid := strings.TrimSpace(h.output(t, "run", "-d", "--recycle", app, "wait"))
		h.awaitLog(t, pid, "ready\n")
		h.output(t, "kill", "-"+c.signal, pid)
		if _, errs, code := h.run(t, "wait", pid); code != c.code {
			t.Errorf("%s: status %d: %s", c.signal, code, errs)
		}
		if said := h.output(t, "logs", pid); said != c.said {
			t.Errorf("%s: it said %q", c.signal, said)
		}
	}
	// Forked from outside, it is the root of a family as any other.
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--name", "root", "--recycle", app, "wait"))
	h.awaitLog(t, pid, "ready\n")
	children := strings.Fields(h.output(t, "fork", "-n", "2", pid))
	if out := h.output(t, "-c", `ps --json | jq -r '.[] | "\(.name) \(.libs)"'`); len(children) != 2 || strings.Count(out, `root ["libjob.so"]`) != 3 {
		t.Errorf("children %v of %s", children, out)
	}
	h.output(t, "kill", "--tree", pid)
	for _, p := range append(children, pid) {
		if _, errs, code := h.run(t, "wait", p); code != 9 {
			t.Errorf("%s: status %d: %s", p, code, errs)
		}
	}
	// It is started anew as it was.
	h.output(t, "run", "-d", "--name", "again", "--restart", "on-failure:2", "--recycle", app)
	await(t, "three runs that have ended", func() (bool, string) {
		out := h.output(t, "ps", "-e", "--no-headers", "-o", "name,stat,image")
		return len(regexp.MustCompile(`(?m)^again +X .*libjob\.so$`).FindAllString(out, -1)) == 3, out
	})
}

// pool is what pool list says of placeholders.
func (h *home) placeholders(t *testing.T) (ready, want int) {
	t.Helper()
	var rows []struct {
		Kind        string
		Ready, Want int
	}
	unmarshal(t, h.output(t, "pool", "--json"), &rows)
	return rows[1].Ready, rows[1].Want
}

func (h *home) awaitPlaceholders(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if ready, want := h.placeholders(t); ready >= n && want == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %d placeholders", n)
		}
	}
}

// Placeholders are nobody's processes, and go with their engine, however it ends.
func TestRecyclePool(t *testing.T) {
	h := newHome(t)
	app, _ := h.job(t)
	if ready, want := h.placeholders(t); ready != 0 || want != 3 {
		t.Errorf("before the first use %d of %d wait", ready, want)
	}
	h.run(t, "run", "--recycle", app)
	h.awaitPlaceholders(t, 3)
	h.output(t, "pool", "resize", "--recycle", "4")
	h.awaitPlaceholders(t, 4)
	if out := h.output(t, "ps", "--no-headers"); out != "" {
		t.Errorf("ps shows %s", out)
	}
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--recycle", app, "wait"))
	h.awaitLog(t, pid, "ready\n")
	before := h.ldd(t, pid)
	h.killEngine(t)
	if list := h.ldd(t, pid); len(list) != 1 || list[0].Name != "libjob.so" || list[0] != before[0] {
		t.Errorf("libraries, by another engine: %+v, before %+v", list, before)
	}
	if events := h.output(t, "events"); strings.Contains(events, "half made") {
		t.Errorf("placeholders are taken for something else:\n%s", events)
	}
	var list []engine.Process
	unmarshal(t, h.output(t, "ps", "--json"), &list)
	if len(list) != 1 || fmt.Sprint(list[0].PID) != pid || list[0].Image != app {
		t.Errorf("left: %+v", list)
	}
	h.output(t, "fork", pid) // of its own image, as before
	h.output(t, "kill", "-TERM", "%"+pid)
	if _, errs, code := h.run(t, "wait", pid); code != 9 {
		t.Errorf("status %d: %s", code, errs)
	}
	if _, errs, code := h.run(t, "run", "--recycle", app); code != 7 {
		t.Errorf("by another engine: status %d: %s", code, errs)
	}
}

// What was run last is mapped in those that wait; if another application comes instead, or its file has changed, nothing is left of that.
func TestRecyclePrepared(t *testing.T) {
	h := newHome(t)
	marked := filepath.Join(h.dir, "libmarked.so")
	if err := os.Rename(h.library(t, recycleSource("stray"), "-O2", "-DMARK"), marked); err != nil {
		t.Fatal(err)
	}
	stray := h.library(t, recycleSource("stray"), "-O2")
	h.output(t, "pool", "resize", "--recycle", "1")
	run := func(app, want string) (prepared bool) {
		t.Helper()
		h.awaitPlaceholders(t, 1)
		if out := h.output(t, "run", "--recycle", app); out != want+", holes: some\n" {
			t.Errorf("%s: it says %q, want %s", filepath.Base(app), out, want)
		}
		return !strings.Contains(h.output(t, "-c", "events --json | jq -c 'select(.type == \"started\") | [.steps[].name]' | tail -n 1"), `"link"`)
	}
	awaitPrepared := func(app, want string) {
		t.Helper()
		await(t, "one that is prepared", func() (bool, string) { return run(app, want), h.output(t, "events") })
	}
	h.output(t, "run", "-d", "--recycle", h.library(t, recycleSource("job"), "-O2"), "wait") // or the engine leaves
	marks := fmt.Sprintf("found: %d", 64<<10)
	run(marked, marks)
	awaitPrepared(marked, marks)
	if run(stray, "found: 0") {
		t.Error("what nobody has run is prepared")
	}
	awaitPrepared(stray, "found: 0")
	run(marked, marks)
	if err := os.Rename(stray, marked); err != nil {
		t.Fatal(err)
	}
	if run(marked, "found: 0") {
		t.Error("another file is prepared")
	}
	awaitPrepared(marked, "found: 0")
	if out := h.output(t, "run", "-e", "LD_BIND_NOW=1", "--recycle", marked); !strings.HasPrefix(out, "found: 0") {
		t.Errorf("all calls bound: it says %q", out)
	}
}

// Two hundred of them leave nothing; the end of the home holds that.
func TestRecycleMany(t *testing.T) {
	h := newHome(t)
	app, _ := h.job(t)
	n := 200
	if where == "xen" {
		n = 40
	}
	out := h.output(t, "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do run --recycle %s >/dev/null; echo $?; i=$((i+1)); done | sort | uniq -c", n, app))
	if want := fmt.Sprintf("%d 7", n); strings.TrimSpace(out) != want {
		t.Errorf("statuses: %s, want %s", out, want)
	}
	h.awaitPlaceholders(t, 3)
}

// An application is held to what an image is held to.
func TestRecycleSigned(t *testing.T) {
	h := newHome(t)
	h.library(t, recycleSource("help"), "-O2")
	app := h.library(t, recycleSource("sums"), "-O2", "-L.", "-lhelp", "-lm")
	help := filepath.Join(h.dir, "libhelp.so")
	h.output(t, "keygen", "--trust")
	refused := func(why string) {
		t.Helper()
		if out, errs, code := h.run(t, "run", "--recycle", "--require", "signed", app); code != 126 || !strings.Contains(errs, why) {
			t.Errorf("status %d, want %q: %s%s", code, why, out, errs)
		}
	}
	refused("libsums.so: refused by rule signed")
	h.output(t, "sign", "--need-signed", app)
	refused("libhelp.so: refused by rule signed")
	h.output(t, "sign", help)
	if out := h.output(t, "run", "--recycle", "--require", "signed", app); out != "2.500000 24.000000\n" {
		t.Errorf("signed: %s", out)
	}
}

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"kxsh/engine"
)

// Two engines on one Xen: what one has made is somebody else's to the other, shown and left alone, and
// can be paused and destroyed by force; the engine that made it hears of that.
func TestOthersDomains(t *testing.T) {
	onlyOn(t, "xen", "hosted there are no domains of others")
	theirs, ours := newHome(t), newHome(t)
	theirs.noPool(t)
	pid := strings.TrimSpace(theirs.output(t, "-c", "run -d --name theirs $APPS/spin.kx"))
	own := strings.TrimSpace(ours.output(t, "-c", "run -d --name web $APPS/tick.kx"))
	defer func() { // so that neither home finds the other's domains when it ends
		for _, h := range []*home{theirs, ours} {
			if err := shutdown(h.socket()); err != nil {
				t.Error(err)
			}
		}
	}()

	out := ours.output(t, "ps")
	if !regexp.MustCompile(`(?m)^ *`+pid+` +0 +`+pid+` [RS]x +0.0 +[\d.]+M +0 +\d\d:\d\d (theirs|Domain-`+pid+`)$`).MatchString(out) ||
		!regexp.MustCompile(`(?m)^ *`+own+` +0 +`+own+` [RS] .* web$`).MatchString(out) {
		t.Errorf("ps:\n%s", out)
	}
	var list []engine.Process
	unmarshal(t, ours.output(t, "ps", "--json", pid), &list)
	if len(list) != 1 || !list[0].Foreign || list[0].VCPUs != 1 || list[0].Memory < 1<<20 || list[0].MaxMem < 60<<20 || list[0].Time == 0 {
		t.Errorf("ps --json: %+v", list)
	}
	if d := ours.inspect(t, pid); !d.Foreign || len(d.UUID) != 36 {
		t.Errorf("inspect: %+v", d)
	}
	if out := ours.output(t, "pstree", "-p"); !strings.Contains(out, "(0)\n") || !strings.Contains(out, "("+pid+")\n") || !strings.Contains(out, "─web("+own+")\n") {
		t.Errorf("pstree: %s", out)
	}
	if out := ours.output(t, "top", "-b", "-n", "1"); !strings.Contains(out, "pVMs: 1, ") || !strings.Contains(out, "others' domains: 1") || !regexp.MustCompile(pid+` +0 +\d+ +[RS]x `).MatchString(out) {
		t.Errorf("top: %s", out)
	}
	if i := ours.info(t); i.Running != 1 {
		t.Errorf("info counts %d pVMs", i.Running)
	}

	const made = `: \(%s\): a domain that somebody else made`
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"kill " + pid, 1, "^kill" + made + `: KILL, STOP and CONT reach it with --force\n$`},
		{"kill -9 " + pid, 1, "^kill" + made},
		{"kill --force " + pid, 1, "^kill" + made + ` takes no SIGTERM: only KILL, STOP and CONT\n$`},
		{"wait " + pid, 127, "^wait" + made + `: only pVMs can be waited for\n$`},
		{"logs " + pid, 1, "^logs" + made + `: its console is not kept here; xl console %s has it\n$`},
		{"console " + pid, 1, "^console" + made},
		{"renice 100 " + pid, 1, "^renice" + made + `: xl sched-credit2,`},
		{"taskset " + pid, 1, "^taskset" + made + `: xl vcpu-list %s shows it\n$`},
		{"kill --force -9 0", 1, `^kill: \(0\): the host itself, no pVM\n$`},
		{"pkill -9 -v web", 1, `^$`},
		{"kill -9 --force no*", 1, `^kill: \(no\*\): no such pVM\n$`},
	} {
		out, errs, code := ours.run(t, strings.Fields(c.args)...)
		if want := strings.ReplaceAll(c.want, "%s", pid); out != "" || code != c.code || !regexp.MustCompile(want).MatchString(errs) {
			t.Errorf("%s: status %d, %q, %q; want %d, %s", c.args, code, out, errs, c.code, want)
		}
	}
	stat := func(h *home) string { return strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "stat", pid)) }
	if got := stat(theirs); got != "R" && got != "S" {
		t.Fatalf("after all that it is %s", got)
	}

	// By force; its own engine's table and events follow.
	ours.output(t, "kill", "--force", "-STOP", pid)
	if a, b := stat(ours), stat(theirs); a != "Tx" || b != "T" {
		t.Errorf("stopped by force: %s, to its engine %s", a, b)
	}
	theirs.event(t, pid, "paused", "stopped from outside")
	ours.output(t, "kill", "--force", "-CONT", pid)
	theirs.event(t, pid, "resumed", "continued from outside")
	if got := stat(theirs); got == "T" {
		t.Error("it does not go on")
	}
	// Two have stopped it; its owner's CONT is enough.
	theirs.output(t, "kill", "-STOP", pid)
	ours.output(t, "kill", "--force", "-STOP", pid)
	theirs.output(t, "kill", "-CONT", pid)
	if got := stat(theirs); got == "T" {
		t.Error("CONT left it stopped")
	}
	ours.output(t, "kill", "--force", "-KILL", pid)
	if out := theirs.output(t, "-c", "wait "+pid+"; echo $?"); out != "137\n" {
		t.Errorf("destroyed by force: %q", out)
	}
	theirs.event(t, pid, "exited", "SIGKILL: it was destroyed from outside")
	await(t, "gone from ps", func() (bool, string) {
		out := ours.output(t, "ps", "--no-headers", "-o", "pid")
		return strings.TrimSpace(out) == own, out
	})
}

// event waits for an event of a pVM.
func (h *home) event(t testing.TB, pid, typ, text string) {
	t.Helper()
	await(t, fmt.Sprintf("event %s %s", typ, text), func() (bool, string) {
		out := h.output(t, "events")
		return regexp.MustCompile(`(?m) ` + typ + ` +` + pid + ` .*` + regexp.QuoteMeta(text) + `$`).MatchString(out), out
	})
}

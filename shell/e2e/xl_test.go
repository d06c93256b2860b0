package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/xen/privcmd"
)

// These tests hold kxsh against Xen's own tools, in the lab with --xl.
func needXL(t *testing.T) {
	t.Helper()
	onlyOn(t, "xen", "xl is Xen's")
	if _, err := exec.LookPath("xl"); err != nil {
		t.Skip("needs xl and xenstored: lab test --xl")
	}
}

// tool runs one of Xen's tools.
func tool(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, out, errs.String())
	}
	return string(out)
}

// xlList is the names of all domains as xl shows them, by number.
func xlList(t testing.TB) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, line := range strings.Split(tool(t, "xl", "list"), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 1 {
			names[f[1]] = f[0]
		}
	}
	return names
}

// Names of domains that are no pVMs: one that waits in a pool, one that holds a library's pages, and one that holds a family's.
const blankName, libraryName, familyName = "kxsh-blank", "kxsh-library", "kxsh-family"

// ourEntries is what xenstore has of pVMs, and of domains that others made.
func ourEntries(t testing.TB) string {
	t.Helper()
	text := ""
	for _, block := range entries(t) {
		if !regexp.MustCompile(`name = "(` + blankName + `|` + libraryName + `|` + familyName + `)"`).MatchString(block) {
			text += block
		}
	}
	return text
}

// entries is what xenstore has of each domain other than dom0, in two places each.
func entries(t testing.TB) (list []string) {
	t.Helper()
	for _, path := range []string{"/local/domain", "/vm"} {
		out, _ := exec.Command("xenstore-ls", path).CombinedOutput()
		for _, block := range regexp.MustCompile(`(?m)^\S[^\n]*\n(?: [^\n]*\n)*`).FindAllString(string(out), -1) {
			if !strings.HasPrefix(block, "0 = ") && !strings.HasPrefix(block, "xenstore-ls: ") {
				list = append(list, block)
			}
		}
	}
	return list
}

// noPool keeps blank domains from being others' to another engine, and from taking memory meanwhile.
func (h *home) noPool(t testing.TB) {
	t.Helper()
	h.output(t, "pool", "resize", "0")
	await(t, "an empty pool", func() (bool, string) { p := h.info(t).Pool; return p.Ready == 0, fmt.Sprint(p) })
}

// xl shows pVMs by name, those that an engine adopted too; nothing of one that has ended is left in
// xenstore, also if no engine was there when it ended.
func TestXLNames(t *testing.T) {
	needXL(t)
	h := newHome(t)
	if left := ourEntries(t); left != "" {
		t.Fatalf("in xenstore before:\n%s", left)
	}
	pids := strings.Fields(h.output(t, "-c", "run -d --name web $APPS/spin.kx; run -d --name web.2+x_y- $APPS/tick.kx; run -d $APPS/tick.kx 2"))
	await(t, "the names in xl list", func() (bool, string) {
		l := xlList(t)
		return l[pids[0]] == "web" && l[pids[1]] == "web.2+x_y-", fmt.Sprint(l)
	})
	if got := strings.TrimSpace(tool(t, "xl", "domid", "web")); got != pids[0] {
		t.Errorf("xl domid web: %s, want %s", got, pids[0])
	}
	h.output(t, "-c", "wait "+pids[2])
	await(t, "the third gone from xenstore", func() (bool, string) {
		e := ourEntries(t)
		return !regexp.MustCompile(`(?m)^`+pids[2]+` = `).MatchString(e) && strings.Count(e, `"web`) == 4 && strings.Count(e, "name = ") == 4, e
	})
	h.killEngine(t)
	if l := xlList(t); l[pids[0]] != "web" {
		t.Errorf("without engine: %v", l)
	}
	tool(t, "xl", "destroy", "web.2+x_y-")
	if out := h.output(t, "ps", "--no-headers", "-o", "name"); out != "web\n" {
		t.Errorf("ps: %q", out)
	}
	fourth := strings.TrimSpace(h.output(t, "-c", "run -d --name dies $APPS/tick.kx"))
	await(t, "the fourth in xl list", func() (bool, string) { l := xlList(t); return l[fourth] == "dies", fmt.Sprint(l) })
	// It finds the signal when it is continued, which nobody does while there is an engine.
	h.logged(t, fourth, "tick 1\n")
	h.output(t, "-c", "kill -STOP dies; kill dies")
	h.killEngine(t)
	tool(t, "xl", "unpause", "dies")
	await(t, "its end, alone", func() (bool, string) {
		text := tool(t, "xl", "list", fourth)
		return regexp.MustCompile(` ---s-?- +[\d.]+\n$`).MatchString(text), text
	})
	if out := h.output(t, "-c", "wait "+fourth+"; echo $?"); out != "0\n" {
		t.Errorf("ended alone: %q", out)
	}
	await(t, "only the first in xenstore", func() (bool, string) {
		e := ourEntries(t)
		return strings.Count(e, "name = ") == 2 && strings.Count(e, `name = "web"`) == 2, e
	})
	h.output(t, "-c", "kill -9 web; wait "+pids[0]+" || true")
	await(t, "an empty xenstore", func() (bool, string) { e := ourEntries(t); return e == "", e })
}

// xl shows the domains that wait in the pool by what they are, and xenstore keeps nothing of one that has become a pVM or has
// ended, however that came.
func TestXLBlanks(t *testing.T) {
	needXL(t)
	h := newHome(t)
	blanks := func() (ids []string) {
		for id, name := range xlList(t) {
			if name == blankName {
				ids = append(ids, id)
			}
		}
		return ids
	}
	wait := func(n int) {
		t.Helper()
		await(t, fmt.Sprintf("%d blanks by name, and no domain without", n), func() (bool, string) {
			l := xlList(t)
			unnamed := strings.Contains(fmt.Sprint(l), "null")
			return !unnamed && len(blanks()) == n && strings.Count(strings.Join(entries(t), ""), blankName) == 2*n, fmt.Sprint(l)
		})
	}
	none := func() {
		t.Helper()
		await(t, "nothing in xenstore", func() (bool, string) { e := strings.Join(entries(t), ""); return e == "", e })
	}
	h.output(t, "-c", "pool resize 2; run -d --name web $APPS/spin.kx")
	wait(2)
	was := blanks()
	// A start takes the oldest, whose name it replaces.
	next := strings.TrimSpace(h.output(t, "-c", "run -d --name next $APPS/spin.kx"))
	if !slices.Contains(was, next) {
		t.Fatalf("pVM %s was none of the blanks %v", next, was)
	}
	await(t, "the pVM's own name", func() (bool, string) {
		l := xlList(t)
		return l[next] == "next" && strings.Count(strings.Join(entries(t), ""), `"next"`) == 2, fmt.Sprint(l)
	})
	wait(2)
	// Also where the pVM has ended before its name was written.
	h.output(t, "-c", "run $APPS/hello.kx")
	// A fork has blanks of its own.
	h.output(t, "-c", "fork web; kill --tree -9 web; wait web || true")
	wait(4)
	// One that somebody has ended goes with the others.
	tool(t, "xl", "destroy", blanks()[0])
	h.output(t, "pool", "resize", "0")
	wait(0)
	h.output(t, "pool", "resize", "2")
	wait(4)
	was = blanks()
	h.killEngine(t)
	if now := blanks(); len(now) != len(was) {
		t.Errorf("without engine: %v, %v before", now, was)
	}
	h.output(t, "-c", "pool resize 1; ps")
	wait(1)
	if now := blanks(); slices.Contains(was, now[0]) {
		t.Errorf("the next engine kept %v of %v", now, was)
	}
	h.output(t, "pool", "resize", "0")
	if e := ourEntries(t); !strings.Contains(e, `"next"`) || strings.Contains(e, `"web"`) {
		t.Errorf("of pVMs:\n%s", e)
	}
	h.output(t, "-c", "kill -9 next; wait next || true")
	none()
	h.output(t, "-c", "pool resize 2; run $APPS/hello.kx")
	wait(2)
	if err := shutdown(h.socket()); err != nil {
		t.Fatal(err)
	}
	none()
}

// xl shows what holds pages of pVMs by what it is, also after an engine was killed, until it ends.
func TestXLHolders(t *testing.T) {
	needXL(t)
	h := newHome(t)
	h.noPool(t)
	lua := strings.TrimSpace(h.output(t, "-c", "run -d --name lua $PORTS/lua/lua.kx -e 'while true do end'; msgget -c 5 >/dev/null"))
	named := func() {
		t.Helper()
		await(t, "three domains by name", func() (bool, string) {
			l := xlList(t)
			names := slices.Sorted(maps.Values(l))
			return slices.Equal(names, []string{"Domain-0", familyName, libraryName, "lua"}) && len(entries(t)) == 6, fmt.Sprint(l)
		})
	}
	named()
	h.killEngine(t)
	h.noPool(t)
	named()
	h.output(t, "-c", "kill -9 lua; wait "+lua+" || true")
	if err := shutdown(h.socket()); err != nil {
		t.Fatal(err)
	}
	await(t, "nothing in xenstore", func() (bool, string) { e := strings.Join(entries(t), ""); return e == "", e })
}

// What xl does to a pVM is in the table and in the events.
func TestXLUnderneath(t *testing.T) {
	needXL(t)
	h := newHome(t)
	pid := strings.TrimSpace(h.output(t, "-c", "run -d --name web $APPS/tick.kx"))
	stat := func() string { return strings.TrimSpace(h.output(t, "ps", "-e", "--no-headers", "-o", "stat", pid)) }
	await(t, "a name for xl", func() (bool, string) { l := xlList(t); return l[pid] == "web", fmt.Sprint(l) })
	tool(t, "xl", "pause", "web")
	if got := stat(); got != "T" {
		t.Errorf("after xl pause: %s", got)
	}
	h.event(t, pid, "paused", "stopped from outside")
	h.output(t, "kill", "-CONT", "web")
	if got := stat(); got == "T" {
		t.Error("CONT left it as xl had it")
	}
	h.output(t, "kill", "-STOP", "web")
	tool(t, "xl", "unpause", "web")
	h.event(t, pid, "resumed", "continued from outside")
	if got := stat(); got == "T" {
		t.Error("still stopped after xl unpause")
	}
	tool(t, "xl", "destroy", "web")
	if out := h.output(t, "-c", "wait "+pid+"; echo $?"); out != "137\n" || stat() != "X" {
		t.Errorf("after xl destroy: %q, %s", out, stat())
	}
	h.event(t, pid, "exited", "SIGKILL: it was destroyed from outside")
	await(t, "an empty xenstore", func() (bool, string) { e := ourEntries(t); return e == "", e })
}

// Weight, CPUs and memory cap are Xen's: its own tool reads them back.
func TestXLLimits(t *testing.T) {
	needXL(t)
	h := newHome(t)
	pid := strings.TrimSpace(h.output(t, "-c", "run -d --name web -m 16M $APPS/spin.kx"))
	await(t, "a name for xl", func() (bool, string) { l := xlList(t); return l[pid] == "web", fmt.Sprint(l) })
	maxMem := func() uint64 {
		hv, err := privcmd.New(privcmd.Options{Key: "limits", Pool: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer hv.Close()
		list, err := hv.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			if strconv.Itoa(int(l.ID)) == pid {
				return l.Status.MaxMem
			}
		}
		t.Fatal("no such domain")
		return 0
	}
	check := func(args []string, want string) {
		t.Helper()
		if got := tool(t, args...); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q:\n%swant %s", args, got, want)
		}
	}
	weight, cpus := []string{"xl", "sched-credit2", "-d", "web"}, []string{"xl", "vcpu-list", "web"}
	check(weight, `(?m)^web +`+pid+` +256 `)
	check(cpus, `(?m)^web +`+pid+` +0 .* all / all *$`)
	h.output(t, "renice", "512", "web")
	check(weight, `(?m)^web +`+pid+` +512 `)
	h.output(t, "renice", "-n", "10", "web")
	check(weight, `(?m)^web +`+pid+` +27 `)
	h.output(t, "taskset", "-c", "1", "web")
	check(cpus, `(?m) 1 / all *$`)
	h.output(t, "limit", "--weight", "1000", "--cpus", "0", "-m", "64M", "web")
	check(weight, `(?m)^web +`+pid+` +1000 `)
	check(cpus, `(?m) 0 / all *$`)
	if got := maxMem(); got != 64<<20 {
		t.Errorf("memory cap %d, want 64 MiB", got)
	}
	h.output(t, "taskset", "-c", "all", "web")
	check(cpus, `(?m) all / all *$`)
	// The other way round: what xl sets is what kxsh shows.
	tool(t, "xl", "sched-credit2", "-d", "web", "-w", "300")
	tool(t, "xl", "vcpu-pin", "web", "0", "1")
	if d := h.inspect(t, "web"); d.Weight != 300 || fmt.Sprint(d.CPUs) != "[1]" || d.MaxMem != 64<<20 {
		t.Errorf("weight %d, CPUs %v, cap %d; want 300, [1], 64 MiB", d.Weight, d.CPUs, d.MaxMem)
	}
}

// info says of Xen what xl info does.
func TestXLInfo(t *testing.T) {
	needXL(t)
	h := newHome(t)
	h.noPool(t)
	i, text := h.info(t), tool(t, "xl", "info")
	field := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + ` *: (.*)$`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("xl info has no %s:\n%s", name, text)
		}
		return m[1]
	}
	number := func(name string) uint64 {
		n, err := strconv.ParseUint(field(name), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if want := field("xen_version"); i.Memory>>20 != number("total_memory") || i.Hypervisor != "xen" || i.HVVersion != want || i.Scheduler != field("xen_scheduler") || uint64(i.CPUs) != number("nr_cpus") {
		t.Errorf("%+v\n%s", i, text)
	}
	await(t, "as much free memory", func() (bool, string) { // blanks that have ended may not be freed yet
		i, text = h.info(t), tool(t, "xl", "info")
		free := number("free_memory") << 20
		return i.FreeMemory <= free+8<<20 && i.FreeMemory+8<<20 >= free, fmt.Sprintf("%d MiB free; xl: %d", i.FreeMemory>>20, free>>20)
	})
}

// A domain that xl made has its name, its start and what Xen knows. Its image is signed, which Xen's builder does not mind.
func TestXLCreated(t *testing.T) {
	needXL(t)
	h := newHome(t)
	hello, err := os.ReadFile(filepath.Join(root, "guest/apps/hello.kx"))
	if err != nil {
		t.Fatal(err)
	}
	image := h.write(t, "hello.kx", hello)
	h.output(t, "-c", "keygen $HOME/key && sign --key $HOME/key "+image)
	config := h.write(t, "debian.cfg", fmt.Appendf(nil, "name=\"debian\"\ntype=\"pv\"\nkernel=%q\nmemory=32\nvcpus=1\non_poweroff=\"preserve\"\non_crash=\"preserve\"\n",
		image))
	exec.Command("xl", "create", "-q", "-p", config).Run() // its part that stays in the background may fail
	pid := strings.TrimSpace(tool(t, "xl", "domid", "debian"))
	defer func() {
		exec.Command("xl", "destroy", "debian").Run()
		for _, path := range []string{"/local/domain/" + pid, "/local/domain/0/backend", "/libxl/" + pid, "/vm"} {
			exec.Command("xenstore-rm", path).Run()
		}
	}()
	// A listing waits for xenstore's word no longer than a moment: the name may come with a later one.
	line := regexp.MustCompile(`^ *` + pid + ` +0 +` + pid + ` Tx +0.0 +32M +0 +00:00 debian\n$`)
	await(t, "ps to show it by its name", func() (bool, string) {
		out := h.output(t, "ps", "--no-headers")
		return line.MatchString(out), out
	})
	d := h.inspect(t, "debian")
	if age := time.Since(d.Started); d.Name != "debian" || !d.Foreign || age < -2*time.Second || age > 10*time.Minute || !strings.Contains(tool(t, "xenstore-read", "/local/domain/"+pid+"/vm"), d.UUID) {
		t.Errorf("%+v", d)
	}
	if out := h.output(t, "-c", "pgrep debian; pidof debian; pgrep -c ."); out != pid+"\n"+pid+"\n1\n" {
		t.Errorf("pgrep, pidof: %q", out)
	}
	if _, errs, code := h.run(t, "kill", "debian"); code != 1 || !strings.Contains(errs, "somebody else made") {
		t.Errorf("kill: %d, %s", code, errs)
	}
	h.output(t, "kill", "--force", "-9", "debian")
	await(t, "gone", func() (bool, string) { out := h.output(t, "ps", "--no-headers"); return out == "", out })
}

// A xenstored that hangs or has gone holds nobody up; when it is back it is told.
func TestXenstoredHangs(t *testing.T) {
	needXL(t)
	h := newHome(t)
	pid, err := os.ReadFile("/run/xenstored.pid")
	if err != nil {
		if pid, err = exec.Command("pidof", "xenstored").Output(); err != nil {
			t.Fatal(err)
		}
	}
	daemon, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	life := func(h *home) time.Duration {
		begin := time.Now()
		if out := h.output(t, "-c", "run $APPS/hello.kx; run $APPS/hello.kx; ps --no-headers"); out != "Hello from a pVM\nHello from a pVM\n" {
			t.Errorf("%q", out)
		}
		return time.Since(begin)
	}
	h.noPool(t)
	life(h)
	usual := life(h)
	if err := syscall.Kill(daemon, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	on := func() { syscall.Kill(daemon, syscall.SIGCONT) }
	defer on()
	for what, h := range map[string]*home{"an engine that knew it": h, "an engine that starts": newHome(t)} {
		h.noPool(t)
		if took := life(h); took > 3*usual+patience/6 {
			t.Errorf("xenstored hangs: %s takes %v, %v before", what, took, usual)
		}
	}
	web := strings.TrimSpace(h.output(t, "-c", "run -d --name web $APPS/spin.kx"))
	on()
	await(t, "the name of what started meanwhile", func() (bool, string) { l := xlList(t); return l[web] == "web", fmt.Sprint(l) })
	h.output(t, "kill", "-9", "web")
	await(t, "an empty xenstore", func() (bool, string) { e := ourEntries(t); return e == "", e })
}

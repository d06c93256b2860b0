package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/engine"
)

// Every command explains itself, and refuses a flag that it does not have.
func TestHelp(t *testing.T) {
	h := newHome(t)
	table := regexp.MustCompile(`(?m)^  (\w+) +\S`).FindAllStringSubmatch(h.output(t, "help"), -1)
	if len(table) < 20 {
		t.Fatalf("help lists %d commands", len(table))
	}
	// One shell asks for all of them: to start kxsh for each takes an emulated machine a minute.
	var script strings.Builder
	for _, m := range table {
		fmt.Fprintf(&script, "help %[1]s; echo =; %[1]s --help; echo =; %[1]s --no-such-flag 2>&1; echo $?; echo =\n", m[1])
	}
	said := strings.Split(h.output(t, "-c", script.String()), "=\n")
	if len(said) != 3*len(table)+1 {
		t.Fatalf("%d answers for %d commands", len(said), len(table))
	}
	for i, m := range table {
		name, long, short, refusal := m[1], said[3*i], said[3*i+1], said[3*i+2]
		if !strings.Contains(long, "\nusage: "+name) {
			t.Errorf("help %s: no usage:\n%s", name, long)
		}
		if short != long {
			t.Errorf("%s --help is not help %s:\n%s", name, name, short)
		}
		if name == "cc" { // gcc's own flags
			continue
		}
		if strings.Count(refusal, "\n") != 2 || !strings.HasPrefix(refusal, name+": ") || !strings.HasSuffix(refusal, "\n2\n") {
			t.Errorf("%s --no-such-flag: %s", name, refusal)
		}
	}
	for i, m := range table {
		if m[1] != "engine" && m[1] != "run" { // main has its own way with engine
			continue
		}
		if short := h.output(t, m[1], "--help"); short != said[3*i] {
			t.Errorf("kxsh %s --help:\n%s", m[1], short)
		}
		if out, errs, code := h.run(t, m[1], "--no-such-flag"); code != 2 || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, m[1]+": ") {
			t.Errorf("kxsh %s --no-such-flag: status %d\n%s%s", m[1], code, out, errs)
		}
	}
	if out, errs, code := h.run(t, "ps", "--state", "x"); code != 2 || out != "" || errs != "ps: --state: goes before the command: kxsh --state … ps; see: help ps\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if _, errs, code := h.run(t, "ps", "--theme", "x"); code != 2 || errs != "ps: --theme: no such flag; see: help ps\n" {
		t.Errorf("%d %q", code, errs)
	}
	if out, errs, code := h.run(t, "--stat", "x", "ps"); code != 2 || out != "" || errs != "kxsh: --stat: no such flag: did you mean --state?; see: kxsh --help\n" {
		t.Errorf("kxsh --stat: status %d\n%s%s", code, out, errs)
	}
	if _, errs, code := h.run(t, "help", "rum"); code == 0 || errs != "help: rum: no such command: did you mean run?\n" {
		t.Errorf("help rum: status %d: %s", code, errs)
	}
	if _, err := os.Stat(h.socket()); err == nil {
		t.Error("asking for help started an engine")
	}
}

// Settings: flag, environment, configuration file, default, in this order.
func TestConfiguration(t *testing.T) {
	h := newHome(t)
	conf := filepath.Join(h.dir, "conf/kxsh")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	place := func(name string) string { return filepath.Join(h.dir, name) }
	write := func(file, socket string) {
		if err := os.WriteFile(file, []byte("socket: "+place(socket)+"\nno-start: true\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(conf, "config.yaml"), "byfile")
	write(place("other.yaml"), "byother")
	var env []string
	for _, kv := range h.env {
		if !strings.HasPrefix(kv, "KXSH_S") && !strings.HasPrefix(kv, "XDG_") {
			env = append(env, kv)
		}
	}
	env = append(env, "XDG_RUNTIME_DIR="+h.dir, "KXSH_STATE="+place("state"))
	file := "XDG_CONFIG_HOME=" + place("conf")
	for _, c := range []struct {
		env, args []string
		socket    string
	}{
		{[]string{file}, nil, place("byfile")},
		{[]string{file, "KXSH_SOCKET=" + place("byenv")}, nil, place("byenv")},
		{[]string{file, "KXSH_SOCKET=" + place("byenv")}, []string{"--socket", place("byflag")}, place("byflag")},
		{[]string{file}, []string{"--config", place("other.yaml")}, place("byother")},
		{[]string{file, "KXSH_CONFIG=" + place("other.yaml")}, nil, place("byother")},
		{[]string{"XDG_CONFIG_HOME=" + place("none"), "KXSH_NO_START=true"}, []string{"--socket=" + place("noconf")}, place("noconf")},
	} {
		cmd := h.command(append(c.args, "ps")...)
		cmd.Env = append(append([]string{}, env...), c.env...)
		out, _ := cmd.CombinedOutput()
		if want := "ps: engine: " + c.socket + ": no engine answers: start one with kxsh engine\n"; string(out) != want {
			t.Errorf("%q %q: %swant %s", c.env, c.args, out, want)
		}
	}
	for _, c := range [][2]string{
		{"--config=/no/such.yaml", "kxsh: --config /no/such.yaml: no such file\n"},
		{"--log-level=loud", "kxsh: --log-level loud: debug, info, warn or error\n"},
		{"--color=red", "kxsh: --color red: auto, always or never\n"},
		{"--hypervisor=bochs", "kxsh: --hypervisor bochs: auto, xen or hosted\n"},
		{"--family-limit=0", "kxsh: --family-limit 0: a number of pVMs, at least 1\n"},
		{"--socket=", "kxsh: --socket : a path is missing\n"},
	} {
		if out, errs, code := h.run(t, c[0], "ps"); code != 2 || out != "" || errs != c[1] {
			t.Errorf("%s: status %d: %s%s", c[0], code, out, errs)
		}
	}
}

// events -f goes on with what comes later.
func TestFollowEvents(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run $APPS/hello.kx")
	s := h.start(t, "events", "-f", "--json")
	next := func() (e engine.Event) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.expect(`(\{.*\})\n`)[1]), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	seq := uint64(0)
	for _, want := range []string{"engine", "started hello", "exited hello", "started later", "paused later", "resumed later", "signalled later", "exited later"} {
		if want == "started later" {
			h.output(t, "-c", "p=$(run -d --name later $APPS/spin.kx); kill -STOP $p; kill -CONT $p; kill $p; wait $p 2>/dev/null; true")
		}
		e := next()
		for e.Type == "signalled" && !strings.HasPrefix(want, "signalled") {
			e = next() // STOP and CONT are told as such too
		}
		if got := strings.TrimSpace(e.Type + " " + e.Name); got != want || e.Seq <= seq {
			t.Fatalf("event %d %q after event %d, want %q", e.Seq, got, seq, want)
		}
		seq = e.Seq
	}
	s.cmd.Process.Signal(unix.SIGINT)
	s.exit(130)
}

// Limits change what the hypervisor does with a pVM, and an adopted one keeps them.
func TestLimits(t *testing.T) {
	h := newHome(t)
	pid := strings.TrimSpace(h.output(t, "-c", "run -d --name s $APPS/spin.kx"))
	one := firstCPU(t)
	h.output(t, "taskset", "-c", strconv.Itoa(one), "s")
	if got := h.output(t, "taskset", "s"); got != fmt.Sprintf("%s: %d\n", pid, one) {
		t.Errorf("taskset s: %q", got)
	}
	h.output(t, "limit", "--cpus", "all", "s")
	if d := h.inspect(t, "s"); len(d.CPUs) != 0 {
		t.Errorf("CPUs %v, want all", d.CPUs)
	}

	h.output(t, "limit", "--no-spin", "s")
	if !h.inspect(t, "s").NoSpin {
		t.Error("it may spin")
	}
	h.output(t, "limit", "--no-spin=false", "s")
	if h.inspect(t, "s").NoSpin {
		t.Error("it may not spin")
	}

	// Only root may raise a weight again, so it goes down from step to step.
	most := strconv.FormatUint(h.inspect(t, "s").MaxMem, 10)
	h.output(t, "limit", "--weight", "82", "--cpus", strconv.Itoa(one), "-m", most, "s")
	if d := h.inspect(t, "s"); d.Weight != 82 || fmt.Sprint(d.CPUs) != fmt.Sprintf("[%d]", one) {
		t.Errorf("weight %d, CPUs %v, want 82 on %d", d.Weight, d.CPUs, one)
	}
	h.output(t, "renice", "-n", "10", "s")
	h.killEngine(t)
	if d := h.inspect(t, "s"); d.Weight < 25 || d.Weight > 29 || fmt.Sprint(d.CPUs) != fmt.Sprintf("[%d]", one) {
		t.Errorf("adopted with weight %d, CPUs %v", d.Weight, d.CPUs)
	}

	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"taskset -c 9-1 s", 2, `^taskset: -c 9-1: not a list of CPUs`},
		{"taskset -c 8000 s", 1, `^taskset: \(\d+\): affinity: no CPU 8000(: the host has \d+)?\n$`},
		{"taskset 7777", 1, `^taskset: \(7777\): no such pVM\n$`},
		{"renice 0 s", 2, `^renice: 0: a weight is 1 to 65535`},
		{"renice -n 20 s", 2, `^renice: -n 20: -20 to 19`},
		{"renice 256 nobody", 1, `^renice: \(nobody\): no such pVM\n$`},
		{"limit s", 2, `^limit: say what to change`},
		{"limit --weight 100 7777", 1, `^limit: \(7777\): no such pVM\n$`},
		{"limit -m nothing s", 2, `^limit: -m nothing: not a size`},
		{"limit -m 1024G s", 1, `^limit: \(\d+\): .*1099511627776.*: it was started with \d+ bytes, and only run -m gives more\n$|above the host's \d+`},
	} {
		out, errs, code := h.run(t, strings.Fields(c.args)...)
		if code != c.code || out != "" || !regexp.MustCompile(c.want).MatchString(errs) {
			t.Errorf("%s: status %d\n%s%swant %d, %s", c.args, code, out, errs, c.code, c.want)
		}
	}
}

// firstCPU is the lowest number of a CPU that we may use.
func firstCPU(t *testing.T) int {
	t.Helper()
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		t.Fatal(err)
	}
	one := 0
	for !own.IsSet(one) {
		one++
	}
	return one
}

// On the hosted hypervisor limits are those of a pVM's process.
func TestLimitsOfTheProcess(t *testing.T) {
	onlyOn(t, "hosted", "on Xen a pVM has no process; Xen keeps its limits: TestLimits")
	h := newHome(t)
	h.output(t, "-c", "run -d --name s $APPS/spin.kx")
	host := h.inspect(t, "s").HostPID
	niceness := func() int {
		t.Helper()
		stat := procFile(t, host, "stat")
		n, err := strconv.Atoi(strings.Fields(stat[strings.LastIndex(stat, ")")+1:])[16]) // field 19
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	cpus := func() string {
		t.Helper()
		return regexp.MustCompile(`Cpus_allowed_list:\s*(\S+)`).FindStringSubmatch(procFile(t, host, "status"))[1]
	}
	all, one := cpus(), firstCPU(t)
	before := niceness()

	h.output(t, "taskset", "-c", strconv.Itoa(one), "s")
	if got := cpus(); got != strconv.Itoa(one) {
		t.Errorf("Cpus_allowed_list %s, want %d", got, one)
	}
	h.output(t, "limit", "--cpus", "all", "s")
	if got := cpus(); got != all {
		t.Errorf("Cpus_allowed_list %s, want %s", got, all)
	}
	h.output(t, "limit", "--weight", "82", "s")
	if got := niceness(); got != min(19, before+5) { // 256 / 1.25^5
		t.Errorf("nice %d at weight 82, %d before", got, before)
	}
	h.output(t, "renice", "-n", "10", "s")
	ten := min(19, before+10)
	if got := niceness(); got != ten {
		t.Errorf("nice %d after renice -n 10, %d before", got, before)
	}
	h.killEngine(t)
	if h.output(t, "ps"); niceness() != ten {
		t.Errorf("adopted with nice %d, %d before", niceness(), before)
	}
}

// The pool grows and shrinks to what it is asked for, and a run works without it.
func TestPool(t *testing.T) {
	h := newHome(t)
	for _, n := range []int{7, 2, 0, 3} {
		h.output(t, "pool", "resize", strconv.Itoa(n))
		await(t, fmt.Sprint("a pool of ", n), func() (bool, string) {
			p := h.info(t).Pool
			return p.Ready == n && p.Want == n, fmt.Sprint(p)
		})
		if got := strings.Fields(h.output(t, "pool", "list", "--no-headers")); fmt.Sprint(got) != fmt.Sprintf("[blank %d %d placeholder 0 3]", n, n) {
			t.Errorf("pool list: %q, want %d", got, n)
		}
		if out := h.output(t, "-c", "run $APPS/hello.kx"); out != "Hello from a pVM\n" {
			t.Errorf("with a pool of %d: %q", n, out)
		}
	}
}

// A word after engine is a mistake: nobody becomes an engine by it.
func TestEngineTakesFlagsOnly(t *testing.T) {
	h := newHome(t)
	if out, errs, code := h.run(t, "engine", "stop"); out != "" || errs != "usage: engine [--background]\n" || code != 2 {
		t.Errorf("engine stop: status %d\n%s%s", code, out, errs)
	}
}

// logs -f shows what is written later, --since leaves out what was written before.
func TestFollowLogs(t *testing.T) {
	h := newHome(t)
	h.output(t, "-c", "run -d --name t $APPS/tick.kx")
	s := h.start(t, "logs", "-f", "t")
	s.expect("tick 1\n")
	since := time.Now().Format(time.RFC3339Nano)
	s.expect("tick 2\n")
	await(t, "logs --since "+since, func() (bool, string) { // some of the later ones may be older than the look at the clock
		out := h.output(t, "logs", "--since", since, "t")
		if strings.Contains(out, "tick 1\n") {
			t.Errorf("logs --since %s: %q", since, out)
		}
		return strings.HasPrefix(out, "tick "), out
	})
	h.output(t, "kill", "t")
	s.expect("tick: told to stop\n")
	s.exit(0)
}

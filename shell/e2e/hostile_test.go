package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
)

// arena is an engine with a witness: a pVM that counts aloud while hostile ones run beside it.
type arena struct {
	*home
	engine  int // its PID
	witness string
}

func newArena(t *testing.T) *arena {
	h := newHome(t)
	a := &arena{home: h}
	a.witness = strings.TrimSpace(h.output(t, "run", "-d", h.compile(t, "witness")))
	a.engine = h.info(t).PID
	t.Cleanup(func() { a.unharmed(t) })
	return a
}

// compile builds a program of testdata/hostile.
func (h *home) compile(t *testing.T, name string) string {
	t.Helper()
	return h.image(t, filepath.Join(root, "shell/e2e/testdata/hostile", name+".c"), "-O1", "-Wall", "-Wextra", "-Werror")
}

// output runs kxsh, which must succeed and say nothing on standard error.
func (h *home) output(t testing.TB, args ...string) string {
	t.Helper()
	out, errs, code := h.run(t, args...)
	if code != 0 || errs != "" {
		t.Fatalf("kxsh %q: status %d\n%s%s", args, code, out, errs)
	}
	return out
}

// unharmed checks that the witness missed nothing, that the engine is the one it was, and that
// nothing of the hostile pVMs is left.
func (a *arena) unharmed(t *testing.T) {
	t.Helper()
	info := a.info(t)
	if info.PID != a.engine {
		t.Errorf("engine %d has become engine %d", a.engine, info.PID)
	}
	if info.Running != 1 {
		t.Errorf("%d pVMs run, want the witness alone:\n%s", info.Running, a.output(t, "ps"))
	}
	if out := a.output(t, "-c", fmt.Sprintf("kill %[1]s; wait %[1]s; echo $?", a.witness)); out != "0\n" {
		t.Errorf("the witness ends with %q", out)
	}
	lines := strings.Split(strings.TrimSuffix(a.output(t, "logs", a.witness), "\n"), "\n")
	n := len(lines) - 1
	for i, line := range lines[:n] {
		if line != fmt.Sprint("witness ", i+1) {
			t.Fatalf("the witness says %q after %d", line, i)
		}
	}
	if want := fmt.Sprint("unharmed after ", n); lines[n] != want || n == 0 {
		t.Errorf("the witness ends with %q, want %q", lines[n], want)
	}
	await(t, "no process of a pVM", func() (bool, string) {
		s := a.state(t)
		return len(s.processes) == 0, fmt.Sprint(s.processes)
	})
}

// ended is how a pVM ended, and what its log holds.
type ended struct {
	code         int
	stdout, errs string
}

// finish starts a pVM, waits for its end and reads its log.
func (h *home) finish(t *testing.T, args ...string) (e ended, pid string) {
	t.Helper()
	out, errs, _ := h.run(t, append([]string{"-c", `p=$(run -d "$@"); wait $p; echo $p $?; logs $p`, "sh"}, args...)...)
	status, rest, _ := strings.Cut(out, "\n")
	if _, err := fmt.Sscan(status, &pid, &e.code); err != nil {
		t.Fatalf("%q: %s%s", args, out, errs)
	}
	e.stdout, e.errs = rest, errs
	return e, pid
}

// report is the end of the log of a pVM that died of a fault: what, where, and all registers.
const report = `kxsh: (?P<what>SIG\w+: .*)\n` +
	`kxsh: +rip [0-9a-f]{16} +rsp [0-9a-f]{16} +rbp [0-9a-f]{16}\n` +
	`kxsh: +rflags [0-9a-f]{16} +rax [0-9a-f]{16} +rbx [0-9a-f]{16}\n` +
	`kxsh: +rcx [0-9a-f]{16} +rdx [0-9a-f]{16} +rsi [0-9a-f]{16}\n` +
	`kxsh: +rdi [0-9a-f]{16} +r8 [0-9a-f]{16} +r9 [0-9a-f]{16}\n` +
	`kxsh: +r10 [0-9a-f]{16} +r11 [0-9a-f]{16} +r12 [0-9a-f]{16}\n` +
	`kxsh: +r13 [0-9a-f]{16} +r14 [0-9a-f]{16} +r15 [0-9a-f]{16}\n$`

// aFault is what becomes of a fault: the signal and the first line of the report.
type aFault struct {
	mode string
	sig  syscall.Signal
	what string
}

var faults = []aFault{
	{"read_null", syscall.SIGSEGV, `read of address 0x0 \(not mapped\) at read_null\+0x`},
	{"write_null", syscall.SIGSEGV, `write to address 0x10 \(not mapped\) at write_null\+0x`},
	{"jump_null", syscall.SIGSEGV, `jump to address 0x0 \(not mapped\) at 0x0`},
	{"write_text", syscall.SIGSEGV, `write to address 0x[0-9a-f]+ \(not allowed\) at write_text\+0x`},
	{"write_constant", syscall.SIGSEGV, `write to address 0x[0-9a-f]+ \(not allowed\) at write_constant\+0x`},
	{"jump_data", syscall.SIGSEGV, `jump to address 0x[0-9a-f]+ \(not allowed\) at `},
	{"jump_stack", syscall.SIGSEGV, `jump to address 0x[0-9a-f]+ \(not allowed\) at `},
	{"jump_heap", syscall.SIGSEGV, `jump to address 0x[0-9a-f]+ \(not allowed\) at `},
	{"write_unmapped", syscall.SIGSEGV, `write to address 0x[0-9a-f]+ \(not mapped\) at write_unmapped\+0x`},
	{"write_readonly", syscall.SIGSEGV, `write to address 0x[0-9a-f]+ \(not allowed\) at write_readonly\+0x`},
	{"stack", syscall.SIGSEGV, `stack overflow, address 0x[0-9a-f]+.* at deeper`},
	{"leap", syscall.SIGSEGV, `write to address 0x[0-9a-f]+ \(not mapped\) at leap\+0x`},
	{"bad_stack", syscall.SIGSEGV, `stack overflow, address 0x[0-9a-f]+.* at bad_stack\+0x`},
	{"no_stack", syscall.SIGSEGV, `stack overflow, address 0x[0-9a-f]+.* at no_stack\+0x`},
	{"kernel_stack", syscall.SIGSEGV, `stack overflow, address 0x[0-9a-f]+.* at kernel_stack\+0x`},
	{"garbage", syscall.SIGILL, `invalid instruction at garbage\+0x`},
	{"bytes", syscall.SIGILL, `invalid instruction at bytes\+0x`},
	{"halt", syscall.SIGSEGV, `general protection fault at halt\+0x`},
	{"port", syscall.SIGSEGV, `general protection fault at port\+0x`},
	{"interrupts", syscall.SIGSEGV, `general protection fault at interrupts\+0x`},
	{"breakpoint", syscall.SIGTRAP, `breakpoint or trace trap at breakpoint\+0x`},
	{"interrupt", syscall.SIGSEGV, `general protection fault at interrupt\+0x`},
	{"wild", syscall.SIGSEGV, `general protection fault at wild\+0x`},
	{"kernel", syscall.SIGSEGV, `write to address 0xffff800000000000 \(not \w+\) at kernel\+0x`},
	{"divide", syscall.SIGFPE, `division by zero or overflow at divide\+0x`},
	{"handler", syscall.SIGSEGV, `write to address 0x0 \(not mapped\) at again\+0x`},
	{"blocked", syscall.SIGSEGV, `write to address 0x0 \(not mapped\) at blocked\+0x`},
}

// hostedFaults are no faults on Xen, which lets a domain read its CR3 and takes syscall for a hypercall.
var hostedFaults = []aFault{
	{"cr3", syscall.SIGSEGV, `general protection fault at cr3\+0x`},
	{"linux_call", syscall.SIGSYS, `it made system call 39 of the host at linux_call\+0x`},
}

// A fault ends its pVM with 128 + the signal, in main as in a thread, and the log ends with the
// report.
func TestFaults(t *testing.T) {
	a := newArena(t)
	a.faults(t, a.compile(t, "faults"), faults)
}

func TestHostedFaults(t *testing.T) {
	onlyOn(t, "hosted", "Xen lets a domain read CR3, and its hypercalls are syscall instructions")
	a := newArena(t)
	image := a.compile(t, "faults")
	a.faults(t, image, hostedFaults)
	// The 32-bit gate kills at once: there are no registers to tell. A kernel without one (ia32_emulation=off) makes it a fault.
	killed := regexp.MustCompile(`^kxsh: SIGSYS: it made a system call of the host.*\n$`)
	faulted := regexp.MustCompile(`^kxsh: SIGSEGV: general protection fault at linux_int80\+0x`)
	for _, mode := range []string{"linux_int80", "thread-linux_int80"} {
		e, _ := a.finish(t, image, mode)
		ended := e.code == 128+int(syscall.SIGSYS) && killed.MatchString(e.errs) || e.code == 128+int(syscall.SIGSEGV) && faulted.MatchString(e.errs)
		if !ended || e.stdout != "about to\n" {
			t.Errorf("%s: status %d, the log ends with\n%s", mode, e.code, e.errs)
		}
	}
}

// What would be a system call of Linux is none of Xen's.
func TestLinuxCallsOnXen(t *testing.T) {
	onlyOn(t, "xen", "hosted forbids the host's system calls: TestHostedFaults")
	a := newArena(t)
	image := a.compile(t, "faults")
	a.faults(t, image, []aFault{{"linux_int80", syscall.SIGSEGV, `general protection fault at linux_int80\+0x`}})
	for _, mode := range []string{"linux_call", "thread-linux_call"} {
		// 39 is no hypercall that there is: -ENOSYS.
		if e, _ := a.finish(t, image, mode); e.code != 1 || e.stdout != "about to\nthe host answered -38\n"+mode+": still alive\n" || e.errs != "" {
			t.Errorf("%s: %+v", mode, e)
		}
	}
}

// faults has each end its pVM.
func (a *arena) faults(t *testing.T, image string, faults []aFault) {
	t.Helper()
	for _, f := range faults {
		for _, mode := range []string{f.mode, "thread-" + f.mode} {
			e, pid := a.finish(t, image, mode)
			if want := 128 + int(f.sig); e.code != want {
				t.Errorf("%s: status %d, want %d", mode, e.code, want)
			}
			if e.stdout != "about to\n" {
				t.Errorf("%s: standard output %q", mode, e.stdout)
			}
			m := regexp.MustCompile(report).FindStringSubmatch(e.errs)
			if m == nil || !regexp.MustCompile(f.what).MatchString(m[1]) {
				t.Errorf("%s: the log ends with\n%swant %s", mode, e.errs, f.what)
				continue
			}
			// The hypervisor, where it is the one to report, knows of no threads.
			if tid := regexp.MustCompile(`, thread (\d+)$`).FindStringSubmatch(m[1]); tid != nil && (tid[1] == pid) != (mode == f.mode) {
				t.Errorf("%s: pVM %s: %s", mode, pid, m[1])
			}
		}
	}
}

// Ends that are no faults have the status that a process would have.
func TestEnds(t *testing.T) {
	a := newArena(t)
	image := a.compile(t, "ends")
	for _, c := range []struct {
		args   string
		code   int
		stdout string
	}{
		{"thread-exit", 42, "a thread leaves for all\nat exit\n"},
		{"main-returns", 7, ""},
		{"main-leaves", 0, "the last thread\n"},
	} {
		if e, _ := a.finish(t, image, c.args); e.code != c.code || e.stdout != c.stdout || e.errs != "" {
			t.Errorf("%s: %+v, want %d and %q", c.args, e, c.code, c.stdout)
		}
	}
	for sig := syscall.Signal(1); sig < 32; sig++ {
		switch sig {
		case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH, // ignored
			syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU: // stop
			continue
		}
		modes := []string{"kill", "thread-kill"}
		if slowness > 1 { // an emulated machine takes half a second for each
			modes = modes[sig%2:][:1]
		}
		for _, mode := range modes {
			if e, _ := a.finish(t, image, mode, strconv.Itoa(int(sig))); e.code != 128+int(sig) || e.stdout != "" {
				t.Errorf("%s %d: %+v, want %d", mode, sig, e, 128+int(sig))
			}
		}
	}
	s := a.start(t, "run", "--name", "spin", image, "spin")
	s.expect("spinning")
	a.output(t, "kill", "spin")
	s.exit(143)
	s = a.start(t, "run", "--name", "deaf", image, "deaf")
	s.expect("deaf")
	a.output(t, "kill", "deaf")
	a.output(t, "-c", "kill -INT deaf; kill -QUIT deaf; ps deaf >/dev/null")
	a.output(t, "kill", "-9", "deaf")
	s.exit(137)
}

// A pVM that writes nonsense where hypervisor and engine read, or makes hypercalls in masses, may
// live or die of it, but it can be killed and harms nobody.
func TestScribblers(t *testing.T) {
	a := newArena(t)
	scribble, storm := a.compile(t, "scribble"), a.compile(t, "storm")
	for _, area := range []string{"all", "start", "shared", "control", "commands", "output", "racing", "racing-control", "stub"} {
		for seed := 1; seed <= max(3/slowness, 1); seed++ {
			long := time.Second
			if area == "stub" { // it is known how that ends
				long = patience
			}
			code, log := a.survive(t, long, scribble, area, strconv.Itoa(seed))
			if area == "stub" && (code != 139 || !strings.Contains(log, "SIGSEGV: write to address 0x7ff000000000")) {
				t.Errorf("%s %d: status %d, want 139\n%s", area, seed, code, log)
			}
			if area == "all" && code != 137 { // the console ring is beyond repair
				t.Errorf("%s %d: status %d, want 137\n%s", area, seed, code, log)
			}
		}
	}
	for _, mode := range []string{"bells", "unmask", "timers"} {
		if e, _ := a.finish(t, storm, mode); e.code != 0 || e.stdout != "storming\ncalm\n" {
			t.Errorf("%s: %+v", mode, e)
		}
	}
	for seed := 1; seed <= max(4/slowness, 1); seed++ {
		a.survive(t, time.Second, storm, "fuzz", strconv.Itoa(seed))
	}
	a.survive(t, time.Second, storm, "iret", "1")
	if out := a.output(t, "-c", "events --json | jq -r 'select(.type == \"corrupt\") | .text' | head -n 1"); !strings.Contains(out, "control area: ") {
		t.Errorf("no event tells of a corrupt control area: %q", out)
	}
}

// survive runs a pVM of which nobody knows how it ends, and kills it when it does not for so long. The status
// must be a possible one.
func (a *arena) survive(t *testing.T, long time.Duration, args ...string) (code int, log string) {
	t.Helper()
	pid := strings.TrimSpace(a.output(t, append([]string{"run", "-d"}, args...)...))
	w := a.start(t, "-c", "wait "+pid+"; echo $?")
	select {
	case <-w.done:
	case <-time.After(long):
		a.run(t, "kill", "-9", pid) // unless it has ended meanwhile
	}
	w.exit(0)
	fmt.Sscan(w.out.String(), &code)
	_, log, _ = a.run(t, "logs", pid)
	switch code {
	case 0, 132, 134, 136, 137, 139, 159:
	default:
		t.Errorf("%q: status %d\n%s", args[1:], code, log)
	}
	return code, log
}

// Who wants more than there is gets an error, not somebody else's share.
func TestGreedy(t *testing.T) {
	a := newArena(t)
	image := a.compile(t, "greedy")
	for mode, want := range map[string]string{
		"memory":          "memory came back\n",
		"maps":            "maps ended with ENOMEM\n",
		"threads":         "500 threads met\n",
		"endless-threads": "threads ended with EAGAIN\n",
		"files":           "files ended with EMFILE\n",
	} {
		if e, _ := a.finish(t, image, mode); e.code != 0 || e.stdout != want {
			t.Errorf("%s: %+v, want %q", mode, e, want)
		}
	}
}

// A pVM that floods its console is bounded by the log while nobody reads, held back by a reader who
// does not read on, and ended by one who leaves.
func TestEndlessFlood(t *testing.T) {
	a := newArena(t)
	image := a.compile(t, "greedy")
	much, lines := int64(64<<20/min(slowness, 4)), 100000/min(slowness, 4)
	before := residentSize(t, a.engine)
	pid := strings.TrimSpace(a.output(t, "run", "-d", image, "flood"))
	var detail *engine.Detail
	await(t, "rotated log", func() (bool, string) {
		detail = a.inspect(t, pid)
		return detail.LogLost > much, fmt.Sprint(detail.LogLost, " bytes lost")
	})
	if files := folderSize(t, detail.LogPath); files > 64<<20 {
		t.Errorf("the log takes %d bytes", files)
	}
	if now := residentSize(t, a.engine); now-before > much {
		t.Errorf("the engine took %d bytes before, and %d now", before, now)
	}
	if out := a.output(t, "-c", fmt.Sprintf("kill -9 %[1]s; wait %[1]s; echo $?", pid)); out != "137\n" {
		t.Errorf("status %q, want 137", out)
	}

	out, errs, _ := a.run(t, "-c", fmt.Sprintf("run %[1]s flood | head -n %[2]d | tail -n 1; run --name slow %[1]s flood | { read line; echo $line; kill -9 slow; }", image, lines))
	if want := fmt.Sprintf("%020[1]d%[2]s%020[3]d%[2]s", lines-1, " a line that nobody asked for, and nobody may ever read it\n", 0); out != want {
		t.Errorf("%q, want %q\n%s", out, want, errs)
	}
}

func (h *home) inspect(t testing.TB, pid string) *engine.Detail {
	t.Helper()
	var d engine.Detail
	unmarshal(t, h.output(t, "inspect", "--json", pid), &d)
	return &d
}

func folderSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if fi, err := f.Info(); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// residentSize is VmRSS of /proc/PID/status, in bytes.
func residentSize(t *testing.T, pid int) (n int64) {
	t.Helper()
	for line := range strings.Lines(procFile(t, pid, "status")) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n << 10
		}
	}
	t.Fatalf("no VmRSS of %d", pid)
	return 0
}

func procFile(t testing.TB, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

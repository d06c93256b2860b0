package shell

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

var killCommand = Command{
	Name:     "kill",
	Synopsis: "[-SIG] [--tree] [--force] PID…, kill -l [SIG…]",
	Short:    "send a signal to pVMs or jobs",
	Long: "KILL, STOP and CONT act on the domain itself; all others are the program's to handle. Signal 0 only asks whether the pVM is there.\n" +
		"PID may be a PID, a name (a root has it, not those that it forked), a shell glob over names, %family, or %job of this session (help fg).\n" +
		"kill -KILL %family and kill -KILL --tree PID return when nothing of it is left: what they end cannot fork any more.\n" +
		"A domain that somebody else made (x in STAT of ps) takes KILL, STOP and CONT only, with --force, and by its PID or whole name:\n" +
		"it is destroyed, paused or unpaused without a word to whatever runs in it.",
	Examples: []string{"kill 7", "kill -9 'web*'", "kill -STOP %3", "kill -KILL --tree 7", "kill --force -9 debian", "kill -l TERM"},
	Flags: func(f *pflag.FlagSet) {
		f.StringP("signal", "s", "TERM", "the signal, by name or number; also -9, -TERM, -SIGTERM")
		f.StringP("number", "n", "", "the signal, by number")
		f.Bool("tree", false, "also all descendants")
		f.Bool("force", false, "also domains that somebody else made")
		f.BoolP("list", "l", false, "list the signals, or turn names into numbers and back")
	},
	FlagArgs: map[string]Kind{"signal": Signal},
	Args:     PVMOrJob,
	Prepare:  prepareSignal("l"),
	Run:      kill,
}

func kill(c *Call) error {
	if c.flagBool("list") {
		if err := listSignals(c.Stdout, c.Args); err != nil {
			return usagef("-l: %v", err)
		}
		return nil
	}
	name := c.flagString("signal")
	if n := c.flagString("number"); n != "" {
		name = n
	}
	sig, err := parseSignal(name)
	if err != nil {
		return UsageError(err.Error())
	}
	if err := c.want(1, -1); err != nil {
		return err
	}
	failed := false
	for _, arg := range c.Args {
		if err := c.killOne(arg, sig); err != nil {
			if c.Err() != nil {
				return err
			}
			failed = true
			c.warnf("%s", oneLine(err.Error()))
		}
	}
	if failed {
		return Status(1)
	}
	return nil
}

// killOne signals the job, the shell or the pVMs that arg names.
func (c *Call) killOne(arg string, sig syscall.Signal) error {
	if arg == strconv.Itoa(os.Getpid()) { // $$
		c.shell.signalSelf(sig)
		return nil
	}
	j, err := c.jobArg(arg)
	if err != nil {
		return err
	}
	if j != nil && !j.isPVM() {
		if !j.alive() {
			return fmt.Errorf("(%s): the job has ended", arg)
		}
		j.deliver(sig)
		switch {
		case !stops(sig):
			if j.stoppedAs() != 0 {
				c.shell.letGo(j, false)
			}
		case sig != 0 && c.shell.control != nil && j.stop() && j.programs().number() == 0: // which would tell when they have stopped
			c.shell.stopped(j)
		}
		return nil
	}
	if j != nil {
		arg = strconv.Itoa(j.pid())
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	list, err := targets(c, api, []string{arg}, false)
	if err != nil {
		return err
	}
	send := api.Signal
	switch {
	case strings.HasPrefix(arg, "%"):
		send, list = api.SignalFamily, families(list)
	case c.flagBool("tree"):
		send = api.SignalTree
	case c.flagBool("force"):
		send = api.Force
	}
	for i, t := range list {
		if err = t.err; err == nil {
			err = send(c, t.pid, int(sig))
		}
		if i > 0 && codeOf(err) == engine.CodeNoPVM { // it went with one before
			err = nil
		}
		if err != nil {
			return aboutPVM(arg, err)
		}
	}
	if j != nil && j.stoppedAs() != 0 && !stops(sig) {
		return c.goOn(j)
	}
	return nil
}

// stops reports whether a signal leaves a stopped job stopped; of all others it would not hear.
func stops(sig syscall.Signal) bool {
	switch sig {
	case 0, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
		return true
	}
	return false
}

// families is the families of targets, each once.
func families(list []target) []target {
	var out []target
	for _, t := range list {
		if t.err == nil {
			t.pid = t.family
		}
		if t.err != nil || !slices.ContainsFunc(out, func(o target) bool { return o.pid == t.pid }) {
			out = append(out, t)
		}
	}
	return out
}

// jobArg returns the job that arg names: its $!, or %N, %% and %+ for the newest, %- for the one
// before, %TEXT for the one that begins so. %N that is also a family is refused: nobody should hit the wrong one.
func (c *Call) jobArg(arg string) (*job, error) {
	s := c.shell
	if n, err := strconv.Atoi(arg); err == nil {
		return s.jobByNumber(n), nil
	}
	spec, ok := strings.CutPrefix(arg, "%")
	if !ok {
		return nil, nil
	}
	jobs := s.jobList()
	switch spec {
	case "%", "+", "":
		if len(jobs) > 0 {
			return jobs[len(jobs)-1], nil
		}
		return nil, fmt.Errorf("(%s): no such job", arg)
	case "-":
		if len(jobs) > 1 {
			return jobs[len(jobs)-2], nil
		}
		return nil, fmt.Errorf("(%s): no such job", arg)
	}
	id, err := strconv.Atoi(spec)
	if err != nil {
		var found *job
		for _, j := range jobs {
			switch {
			case !j.alive() || !strings.HasPrefix(j.text, spec):
			case found != nil:
				return nil, fmt.Errorf("(%s): more than one job begins so; jobs lists them", arg)
			default:
				found = j
			}
		}
		return found, nil
	}
	j := s.jobByID(id)
	if j == nil {
		return nil, nil
	}
	if api := s.peek(); api != nil && c.Name != "fg" && c.Name != "bg" { // which know no families
		if snap, err := api.Snapshot(c, false); err == nil && len(match(snap, arg)) > 0 && !(j.isPVM() && j.pid() == id) {
			return nil, fmt.Errorf("(%s): both a job and a family; say the PID (jobs -l shows the job's), or %%+", arg)
		}
	}
	return j, nil
}

var waitCommand = Command{
	Name:     "wait",
	Synopsis: "[PID…]",
	Short:    "wait for pVMs and jobs to end",
	Long: "Without arguments: for all pVMs that this session started and for its jobs. The exit status is that of the last\n" +
		"pVM waited for (127: there is none such); without arguments and without pVMs it is 0.\n" +
		"A job that is stopped is not waited for: that is said, and its status is 148.",
	Examples: []string{"p=$(run -d x.kx); wait $p; echo $?", "run x.kx & wait $!"},
	Args:     PVMOrJob,
	Run:      wait,
}

func wait(c *Call) error {
	// A signal with a trap ends wait, also one that came just before (POSIX): else its trap would wait, too.
	if sig := c.job.pendingSignal(); sig != 0 {
		c.signal(sig)
		return c.Err()
	}
	if len(c.Args) == 0 {
		return c.waitAll()
	}
	status := 0
	for _, arg := range c.Args {
		var err error
		if status, err = c.waitFor(arg); err != nil {
			if c.Err() != nil {
				return err
			}
			if codeOf(err) == engine.CodeEngine {
				return err
			}
			c.warnf("%s", oneLine(err.Error()))
			status = 127
		}
	}
	return Status(status)
}

// waitFor waits for everything that arg names and returns the status of the last.
func (c *Call) waitFor(arg string) (int, error) {
	j, err := c.jobArg(arg)
	if err != nil {
		return 0, err
	}
	if j != nil && c.warnStopped(j) {
		return 128 + int(syscall.SIGTSTP), nil
	}
	if j != nil {
		return c.waitJob(j)
	}
	api, err := c.Engine()
	if err != nil {
		return 0, err
	}
	list, err := targets(c, api, []string{arg}, true)
	if err != nil {
		return 0, err
	}
	status := 0
	for _, t := range list {
		if t.err != nil {
			return 0, t.err
		}
		if status, err = c.waitPVM(api, t.pid); err != nil {
			return 0, aboutPVM(arg, err)
		}
	}
	return status, nil
}

func (c *Call) waitPVM(api engine.API, pid int) (int, error) {
	exit, err := api.Wait(c, pid)
	if err != nil {
		return 0, err
	}
	c.shell.forget(pid)
	return exit.Code, nil
}

// warnStopped reports whether a job is stopped, and says so: to wait for it might be for ever.
func (c *Call) warnStopped(j *job) bool {
	if j.stoppedAs() == 0 {
		return false
	}
	if api := c.shell.peek(); api != nil && j.isPVM() { // somebody else may have let it go on
		if snap, err := api.Snapshot(c, false); err == nil && !stoppedIn(snap, j.pid()) {
			return false
		}
	}
	c.warnf("(%%%d): is stopped: fg or bg lets it go on", j.id)
	return true
}

func (c *Call) waitJob(j *job) (int, error) {
	select {
	case <-j.done:
		j.mu.Lock()
		defer j.mu.Unlock()
		j.waited, j.reported = true, true
		return j.status, nil
	case <-c.Done():
		return 0, c.Err()
	}
}

// waitAll waits for the jobs started from here, then for the pVMs run -d started.
func (c *Call) waitAll() error {
	status := 0
	for _, j := range c.shell.jobList() {
		if j.parent != c.job.id || j == c.job || c.warnStopped(j) {
			continue
		}
		st, err := c.waitJob(j)
		if err != nil {
			return err
		}
		if j.isPVM() {
			status = st
		}
	}
	if c.job.id != 0 {
		return Status(status)
	}
	for _, pid := range c.shell.startedPVMs() {
		api, err := c.Engine()
		if err != nil {
			return err
		}
		st, err := c.waitPVM(api, pid)
		if codeOf(err) == engine.CodeNoPVM { // too long ago: forgotten
			c.shell.forget(pid)
			continue
		}
		if err != nil {
			return aboutPVM(strconv.Itoa(pid), err)
		}
		status = st
	}
	return Status(status)
}

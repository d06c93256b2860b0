package shell

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
)

// host runs a program of the host.
func (x *execution) host() error {
	path, status, why := x.lookup(x.args[0])
	if status != 0 {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %s\n", x.args[0], why)
		return interp.ExitStatus(uint8(status))
	}
	if strings.HasSuffix(path, ".kx") { // an image: the host cannot run it
		x.args = append([]string{"run"}, x.args...)
		return x.command(x.shell.table["run"])
	}
	cmd, g, err := x.start(path)
	if errors.Is(err, syscall.ENOEXEC) {
		return x.script(path)
	}
	if err != nil {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %v\n", x.args[0], errno(err))
		return interp.ExitStatus(126)
	}
	return x.await(cmd, g)
}

// errno strips an error of the system down to its reason.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// lookup finds a program; status is 127 or 126 if there is none to run.
func (x *execution) lookup(name string) (path string, status int, why string) {
	if strings.Contains(name, "/") {
		path = name
		if !filepath.IsAbs(path) {
			path = filepath.Join(x.hc.Dir, path)
		}
		status, why = executable(path)
		return path, status, why
	}
	status, why = 127, "command not found"+x.shell.didYouMean(name)
	for _, dir := range filepath.SplitList(x.hc.Env.Get("PATH").String()) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(x.hc.Dir, dir)
		}
		p := filepath.Join(dir, name)
		st, reason := executable(p)
		if st == 0 {
			return p, 0, ""
		}
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && status == 127 {
			status, why = st, reason
		}
	}
	return "", status, why
}

// executable says whether the file at path can be executed, as an exit status and its reason.
func executable(path string) (int, string) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 127, "No such file or directory"
	case err != nil:
		return 126, errno(err).Error()
	case fi.IsDir():
		return 126, "Is a directory"
	case strings.HasSuffix(path, ".kx"):
		return 0, ""
	case unix.Access(path, unix.X_OK) != nil:
		return 126, "Permission denied"
	}
	return 0, ""
}

// outer is whose job a program of the host belongs to: in a script without #! it is that of the script.
func (x *execution) outer() *execution {
	for x.shell.under != nil {
		x = x.shell.under
	}
	return x
}

// start starts the program. Under job control it is in its job's process group, which is returned. Without, a job's programs have one of their own each:
// Ctrl-C is for the foreground. Signals of the job reach it from then on.
func (x *execution) start(path string) (*exec.Cmd, *group, error) {
	starting := &x.outer().shell.starting
	starting.RLock()
	defer starting.RUnlock()
	// A file that another process of ours still writes to, because it was forked meanwhile, is busy
	// for a moment: golang.org/issue/22315.
	for delay := time.Millisecond; ; delay *= 2 {
		cmd := &exec.Cmd{
			Path: path, Args: x.args, Env: exported(x.hc.Env), Dir: x.hc.Dir,
			Stdin: x.hc.Stdin, Stdout: x.hc.Stdout, Stderr: x.hc.Stderr,
		}
		var err error
		var g *group
		o := x.outer()
		if control := o.shell.control; control != nil {
			j := x.whole()
			g = j.programs()
			front := control.inFront(j)
			if err = g.start(cmd, control.tty, front); err != nil && front && g.number() == 0 {
				control.give(control.own) // the child had it already
			} else if j := x.whole(); err == nil && j.stoppedAs() != 0 { // just now, and the program may have taken the terminal since
				g.kill(syscall.SIGTSTP)
				if front && !control.inFront(j) && control.has(g.number()) {
					control.give(control.own)
				}
				if x.whole().stoppedAs() == 0 { // and it has gone on
					g.kill(syscall.SIGCONT)
				}
			}
		} else {
			if x.job.id != 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			}
			err = cmd.Start()
		}
		if err == nil {
			x.job.enterProcess(cmd.Process)
		}
		if !errors.Is(err, syscall.ETXTBSY) || delay > 100*time.Millisecond {
			return cmd, g, err
		}
		time.Sleep(delay)
	}
}

// await waits for the program and returns its status. g is its group; nil: there is no job control.
func (x *execution) await(cmd *exec.Cmd, g *group) error {
	x.job.name(0)
	var err error
	if g != nil {
		err = x.outer().end(cmd, g)
	} else {
		err = cmd.Wait()
	}
	j := jobNow(x.ctx, x.job)
	j.leaveProcess(cmd.Process)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %v\n", x.args[0], errno(err))
		return interp.ExitStatus(1)
	}
	st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !st.Signaled() {
		return x.statusOf(cmd.ProcessState.ExitCode())
	}
	sig := st.Signal()
	if sig == syscall.SIGINT && j.id == 0 && (g != nil || j.awaitInterrupt()) {
		j.endInterrupted()
	}
	if sig == syscall.SIGPIPE {
		return x.status(128 + int(sig))
	}
	if j.id == 0 && sig != syscall.SIGINT {
		text := sig.String()
		if st.CoreDump() {
			text += " (core dumped)"
		}
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %s\n", x.args[0], text)
	}
	return x.statusOf(128 + int(sig))
}

func (x *execution) statusOf(n int) error {
	if n == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(n))
}

// script runs a file without #! as a script of ours, as a POSIX shell does.
func (x *execution) script(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %v\n", x.args[0], errno(err))
		return interp.ExitStatus(126)
	}
	if line, _, _ := bytes.Cut(data, []byte("\n")); bytes.IndexByte(line, 0) >= 0 {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: cannot execute binary file\n", x.args[0])
		return interp.ExitStatus(126)
	}
	sub := x.subshell(x.args[0])
	r, err := sub.runner(exported(x.hc.Env), x.hc.Dir, x.hc.Stdin, x.hc.Stdout, x.hc.Stderr, x.args[1:])
	if err != nil {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %v\n", x.args[0], err)
		return interp.ExitStatus(126)
	}
	c := &Call{Context: x.ctx, shell: x.shell, job: x.job}
	var interrupted atomic.Bool
	c.takeSignals(func(sig syscall.Signal) bool {
		switch sig {
		case syscall.SIGTSTP, syscall.SIGCONT:
			sub.main.tell(sig)
		default:
			sub.main.deliver(sig)
		}
		if sig == syscall.SIGINT {
			interrupted.Store(true)
		}
		return true
	})
	x.job.enter(c)
	n := sub.program(r, string(data), x.hc.Stderr)
	x.job.leave(c)
	if interrupted.Load() && n == 128+int(syscall.SIGINT) {
		jobNow(x.ctx, x.job).endInterrupted()
	}
	return x.statusOf(n)
}

// own runs a command of ours as a program of the host.
func (x *execution) own() error {
	y := *x
	y.args = append(slices.Clone(x.shell.cfg.Self), x.args...)
	cmd, g, err := y.start(y.args[0])
	if err != nil {
		fmt.Fprintf(x.hc.Stderr, "kxsh: %s: %v\n", x.args[0], errno(err))
		return interp.ExitStatus(126)
	}
	err = x.await(cmd, g)
	if cmd.ProcessState.ExitCode() == 128+int(syscall.SIGINT) { // of which it does not die, as others do
		x.whole().deliver(syscall.SIGINT)
	}
	return err
}

// subshell is a shell with the engine and the terminal of the one that runs it, and nothing else of it.
func (x *execution) subshell(argv0 string) *Shell {
	sub := &Shell{cfg: x.shell.cfg, table: x.shell.table, order: x.shell.order, jobs: map[int]*job{},
		funcs: map[string]bool{}, resizes: map[chan struct{}]bool{}, sources: map[string]string{}, argv0: argv0, under: x}
	sub.cfg.Engine, sub.cfg.Peek = x.shell.connectShared, nil
	sub.main = newJob(0, 0, "kxsh", false)
	sub.jobs[0] = sub.main
	return sub
}

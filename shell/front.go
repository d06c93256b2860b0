package shell

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Job control of an interactive shell. A statement that was typed runs beside the prompt's loop, in the shell's own job. When it is stopped it is
// given a job of its own, and the prompt goes on with a copy of the interpreter as it was before the statement, as if that had been forked.
//
// The terminal is the job's in front: its programs of the host are one process group, which has it from when the first one starts until the last one has
// ended. Commands of ours are in the shell's process: who asks for the terminal (SIGTTIN, SIGTTOU) while the other has it is given it.

// statement is a statement that was typed.
type statement struct{ job atomic.Pointer[job] }

type statementKey struct{}

// jobNow is j, or what has become of the shell's own job for the statement that ctx belongs to.
func jobNow(ctx context.Context, j *job) *job {
	if run, ok := ctx.Value(statementKey{}).(*statement); ok && j.id == 0 {
		return run.job.Load()
	}
	return j
}

// whole is the job that x is a part of, and stops with: also what a subshell runs, or a script without #!.
func (x *execution) whole() *job {
	o := x.outer()
	j := o.job
	for j.within != nil {
		j = j.within
	}
	return jobNow(o.ctx, j)
}

// canStop reports whether somebody would let x go on: it was typed, or began with &. A start file and the trap of EXIT were not.
func (x *execution) canStop() bool {
	return x.whole().id != 0 || x.outer().ctx.Value(statementKey{}) != nil
}

// gate is closed when x goes on; nil: it is not stopped.
func (x *execution) gate() <-chan struct{} {
	if !x.canStop() {
		return nil
	}
	return x.whole().held()
}

// hold waits while x is stopped. It returns an error if x has been ended meanwhile.
func (x *execution) hold() error {
	for gate := x.gate(); gate != nil; gate = x.gate() {
		select {
		case <-gate:
		case <-x.ctx.Done():
		}
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
	}
	return nil
}

// jobControl is the terminal of a shell that has job control.
type jobControl struct {
	tty *os.File
	own int // the shell's process group

	mu    sync.Mutex
	front *job          // it has the terminal, or may have it
	modes *unix.Termios // as the shell had them when front began
	size  unix.Winsize
}

// newJobControl returns nil where the terminal is not this process's to give.
func newJobControl(tty *os.File, main *job) *jobControl {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return nil
	}
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))) // one is taken while a program is being started, by which startQuietly must not be kept from its look
	return &jobControl{tty: tty, own: group, front: main}
}

// begin is before a statement.
func (t *jobControl) begin(main *job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.front = main
	t.modes, _ = unix.IoctlGetTermios(int(t.tty.Fd()), unix.TCGETS)
	if size, err := unix.IoctlGetWinsize(int(t.tty.Fd()), unix.TIOCGWINSZ); err == nil {
		t.size = *size
	}
}

func (t *jobControl) inFront(j *job) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.front == j
}

func (t *jobControl) setFront(j *job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.front = j
}

// has reports whether a process group has the terminal.
func (t *jobControl) has(group int) bool {
	now, err := unix.IoctlGetInt(int(t.tty.Fd()), unix.TIOCGPGRP)
	return err == nil && now == group
}

// takeTerminal takes the terminal for a command of ours. To wait for the SIGTTIN of a read would not do: where nobody in the session could let the shell go on if it
// stopped, as when it is the session's first process, Linux sends none, and the read fails.
func (s *Shell) takeTerminal(f *os.File) {
	if s.control != nil && terminalOf(f) != nil && !s.control.has(s.control.own) {
		s.control.give(s.control.own)
	}
}

// give gives the terminal to a process group. From another one than the terminal's that raises SIGTTOU, unless the thread blocks it.
func (t *jobControl) give(group int) {
	t.quietly(func(fd int) { unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group) })
}

func (t *jobControl) setModes(m *unix.Termios) {
	if m != nil {
		t.quietly(func(fd int) { unix.IoctlSetTermios(fd, unix.TCSETSW, m) })
	}
}

func (t *jobControl) quietly(f func(fd int)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var block, old unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGTTOU - 1)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old) != nil {
		return
	}
	f(int(t.tty.Fd()))
	unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
}

// takeBack is when a job in front has ended or stopped; it may have left the terminal in any state. What has become of the terminal's size meanwhile the shell
// has not heard.
func (t *jobControl) takeBack(restore bool) {
	t.give(t.own)
	t.mu.Lock()
	modes, before := t.modes, t.size
	t.mu.Unlock()
	if restore {
		t.setModes(modes)
	}
	if size, err := unix.IoctlGetWinsize(int(t.tty.Fd()), unix.TIOCGWINSZ); err == nil && (size.Row != before.Row || size.Col != before.Col) {
		unix.Kill(os.Getpid(), unix.SIGWINCH)
	}
}

// typed runs a statement that was typed. It returns the interpreter to go on with.
func (s *Shell) typed(r *interp.Runner, st *syntax.Stmt, text string) (int, *interp.Runner) {
	if s.control == nil {
		return s.status(r.Run(context.Background(), st)), r
	}
	run := &statement{}
	run.job.Store(s.main)
	s.main.resetStop()
	s.control.begin(s.main)
	before := r.Subshell()
	done := make(chan error, 1)
	go func() { done <- r.Run(context.WithValue(context.Background(), statementKey{}, run), st) }()
	select {
	case err := <-done:
		return s.status(err), r
	case <-s.main.stops:
	}
	j := s.startJob(s.main, text, false)
	j.name(0)
	s.main.moveTo(j, run)
	go func() { j.finish(s.status(<-done)) }()
	fmt.Fprintf(s.cfg.Stderr, "\n%s\n", s.jobLine(j, '+', false, true))
	return s.setStatus(before, 128+int(syscall.SIGTSTP)), before
}

// stopFront is Ctrl-Z when the terminal is the shell's own: its commands are told, and programs of the host that are not in the terminal's group.
func (s *Shell) stopFront() {
	if s.control == nil {
		s.main.stop()
		return
	}
	s.control.mu.Lock()
	j := s.control.front
	s.control.mu.Unlock()
	if j.stop() && !j.group.kill(syscall.SIGTSTP) {
		s.stopped(j)
	}
}

// stopped is a job of which nothing goes on any more.
func (s *Shell) stopped(j *job) {
	front := s.control.inFront(j)
	if front {
		modes, _ := unix.IoctlGetTermios(int(s.control.tty.Fd()), unix.TCGETS)
		j.group.mu.Lock()
		j.group.modes = modes
		j.group.mu.Unlock()
		s.control.takeBack(true)
	}
	j.markStopped(s.countStop(), front)
}

// follow waits until a program of the host has ended, and sees to it that a job stops as a whole and has the terminal when it wants it.
func (x *execution) follow(pid int, g *group) {
	s := x.shell
	for {
		change := nextChange(pid)
		switch change.code {
		case cldStopped:
			j := x.whole()
			wants := change.sig == syscall.SIGTTIN || change.sig == syscall.SIGTTOU
			if wants && s.control.inFront(j) {
				s.control.give(g.number())
				g.kill(syscall.SIGCONT)
				continue
			}
			if !x.canStop() {
				g.kill(syscall.SIGCONT)
				continue
			}
			if g.note(pid, true) {
				j.tellStop()
				s.stopped(j)
			} else if change.sig == syscall.SIGTSTP {
				g.stopLate()
			}
		case cldContinued:
			g.note(pid, false)
			x.whole().markGoing()
		default:
			return
		}
	}
}

// readable waits until a read of f would not block. A job that would read the terminal from behind the prompt is stopped, until fg brings it to the front: what is
// typed meanwhile is for somebody else.
func (x *execution) readable(f *os.File) error {
	s := x.outer().shell
	mayRead := func() bool {
		return s.control == nil || terminalOf(f) == nil || s.control.inFront(x.whole()) && x.gate() == nil
	}
	for {
		for !mayRead() {
			if j := x.whole(); j.stoppedAs() == 0 {
				s.stopped(j)
			}
			if err := x.hold(); err != nil {
				return err
			}
		}
		if err := readable(x.ctx, f); err != nil {
			return err
		}
		if mayRead() {
			s.takeTerminal(f)
			return nil
		}
	}
}

// letGo lets a stopped job go on, in front of the others or not.
func (s *Shell) letGo(j *job, front bool) {
	if s.control != nil && front {
		s.control.setFront(j)
		if n := j.group.number(); n != 0 {
			j.group.mu.Lock()
			modes := j.group.modes
			j.group.mu.Unlock()
			s.control.setModes(modes)
			s.control.give(n)
		}
	}
	j.markGoing()
	j.group.kill(syscall.SIGCONT)
	j.tellGo()
}

// end waits for a program's end and takes the terminal back from the last one of a group. One that died of Ctrl-C or Ctrl-\ has had the shell's share of it too.
func (x *execution) end(cmd *exec.Cmd, g *group) error {
	x.follow(cmd.Process.Pid, g)
	last, id, err := g.reap(cmd)
	st, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if last && x.shell.control.has(id) {
		x.shell.control.takeBack(st.Signaled())
	}
	j := x.whole()
	if key := st.Signal(); (key == syscall.SIGINT || key == syscall.SIGQUIT) && x.shell.control.inFront(j) && g.interruptedFirst() {
		if key == syscall.SIGINT {
			j.deliver(key)
		} else {
			j.quit()
		}
	}
	return err
}

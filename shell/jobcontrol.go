package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/engine"
)

const (
	stopKey  = 0x1a        // Ctrl-Z
	stopWait = time.Minute // a busy machine takes its time, and a program that takes the key itself does not stop
	stopLook = 50 * time.Millisecond
	stopRest = time.Second
	echoWait = 2 * time.Second
)

// errStopped ends a session whose pVM stopped at Ctrl-Z. It is not for a program that takes the key as any other.
var errStopped = errors.New("stopped")

var fgCommand = Command{
	Name:     "fg",
	Synopsis: "[%JOB]",
	Short:    "let a job go on, in the foreground",
	Long: `Without an argument: the one that stopped last, else the newest. Ctrl-Z stops what is in the foreground, the pVM with its family, if it does not
take the key itself, and makes a job of it, which jobs shows and bg lets go on. A command of kxsh itself, such as logs -f or wait, stops as well: what it has
asked of the engine is done, and what it has to say waits for fg or bg. What a statement sets after it was stopped is its own: the prompt went on with all
as it was before the statement. A job that began with & reads
no terminal, but gets its keys: fg waits for it. The exit status is the job's, 148 when it has been stopped again.
%JOB is %N, %+ for the newest, %- for the one before it, or %TEXT for the one whose line begins so.`,
	Examples: []string{"fg", "fg %2"},
	Args:     Job,
	Run:      fg,
}

var bgCommand = Command{
	Name:     "bg",
	Synopsis: "[%JOB]…",
	Short:    "let a stopped job go on, in the background",
	Long:     "Without an argument: the one that stopped last. What it writes still comes here; fg gives it the terminal.",
	Examples: []string{"bg", "bg %2"},
	Args:     Job,
	Run:      bg,
}

func fg(c *Call) error {
	if err := c.want(0, 1); err != nil {
		return err
	}
	list, err := c.controlled()
	if err != nil {
		return err
	}
	j := list[0]
	if j.console != nil { // also before the terminal's keys are the pVM's
		c.stopsItself.Store(true)
		c.takeSignals(j.console.forward)
	} else {
		c.takeSignals(func(sig syscall.Signal) bool {
			j.deliver(sig)
			return true
		})
	}
	if c.Err() != nil { // just before
		return c.Err()
	}
	fmt.Fprintln(c.Stdout, j.text)
	if j.console == nil {
		return c.waitInFront(j)
	}
	if err := c.goOn(j); err != nil {
		return err
	}
	j.mu.Lock()
	j.waited, j.reported = true, true
	j.mu.Unlock()
	j.console.call = c
	return c.attend(j.console)
}

// waitInFront lets a job go on and waits until it ends, or stops once more.
func (c *Call) waitInFront(j *job) error {
	select {
	case <-j.stops: // long ago
	default:
	}
	if control := c.shell.control; control != nil {
		defer control.setFront(c.shell.main)
	}
	if err := c.goOn(j); err != nil {
		return err
	}
	c.shell.letGo(j, true)
	select {
	case <-j.stops:
		fmt.Fprintf(c.Stderr, "\n%s\n", c.shell.jobLine(j, '+', false, true))
		return Status(128 + int(syscall.SIGTSTP))
	case <-j.done:
	}
	status, err := c.waitJob(j)
	if err != nil {
		return err
	}
	if status == 128+int(syscall.SIGINT) { // the terminal has written ^C
		fmt.Fprintln(c.Stderr)
	}
	return Status(status)
}

func bg(c *Call) error {
	list, err := c.controlled()
	if err != nil {
		return err
	}
	for _, j := range list {
		if err := c.goOn(j); err != nil {
			return err
		}
		c.shell.letGo(j, false)
		fmt.Fprintf(c.Stdout, "[%d] %s &\n", j.id, j.text)
	}
	return nil
}

// controlled are the jobs that the arguments name; without any, the one that stopped last, else the newest.
func (c *Call) controlled() (list []*job, err error) {
	for _, arg := range c.Args {
		j, err := c.jobArg(arg)
		switch {
		case err != nil:
			return nil, err
		case j == nil:
			return nil, fmt.Errorf("(%s): no such job: jobs lists them, console PID attaches to any pVM", arg)
		case !j.alive():
			return nil, fmt.Errorf("(%s): the job has ended", arg)
		}
		list = append(list, j)
	}
	if len(c.Args) > 0 {
		return list, nil
	}
	var newest *job
	for _, j := range c.shell.jobList() {
		if j.alive() && (newest == nil || j.stoppedAs() >= newest.stoppedAs()) {
			newest = j
		}
	}
	if newest == nil {
		return nil, errors.New("no job: Ctrl-Z makes one of what is in the foreground, & of anything")
	}
	return []*job{newest}, nil
}

// goOn lets a job's pVMs go on, if it has any.
func (c *Call) goOn(j *job) error {
	if !j.isPVM() {
		return nil
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	j.markGoing()
	family := j.pid()
	if j.console != nil {
		family = j.console.family
	}
	err = api.SignalFamily(c, family, int(syscall.SIGCONT))
	if err != nil && codeOf(err) != engine.CodeNoPVM { // it has just ended: who waits hears how
		return aboutPVM(fmt.Sprint(j.pid()), err)
	}
	return nil
}

// suspend makes a job of the pVM in the foreground, which has stopped.
func (c *Call) suspend(s *session) error {
	j := s.job
	if j == nil {
		j = c.shell.startJob(c.job, c.Name+" "+strings.Join(c.words, " "), true)
		j.name(s.pid)
		j.console, s.job = s, j
		go func() {
			<-s.over
			code := statusNoImage
			if exit, err := s.api.Wait(context.Background(), s.pid); err == nil {
				code = exit.Code
			}
			j.finish(code)
		}()
	}
	j.mu.Lock()
	j.waited, j.reported = false, false
	j.mu.Unlock()
	j.markStopped(c.shell.countStop(), true)
	fmt.Fprintf(c.Stderr, "\n%s\n", c.shell.jobLine(j, '+', false, true))
	return Status(128 + int(syscall.SIGTSTP))
}

// stopSelf stops this process, whose pVM has stopped, for whoever started it, and lets the pVM go on when that lets us. Where nobody could (an
// orphaned process group) Linux does not stop us.
func (s *session) stopSelf() {
	runtime.LockOSThread()
	unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGTSTP)
	runtime.UnlockOSThread()
	s.api.SignalFamily(context.Background(), s.family, int(syscall.SIGCONT))
	in := terminalOf(s.call.Stdin)
	for { // in its background the terminal is somebody else's
		if group, err := unix.IoctlGetInt(int(in.Fd()), unix.TIOCGPGRP); err != nil || group == unix.Getpgrp() {
			return
		}
		select {
		case <-s.over:
			return
		case <-time.After(stopLook):
		}
	}
}

// mayStop notes that the pVM in the foreground has been asked to stop.
func (s *session) mayStop() {
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

// watchStop tells when the pVM has stopped after it was asked to.
func (s *session) watchStop(ctx context.Context, away chan<- error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.asked:
		}
		nap := stopLook
		for end := time.Now().Add(stopWait); time.Now().Before(end) && ctx.Err() == nil; nap = min(2*nap, stopRest) {
			snap, err := s.api.Snapshot(ctx, false)
			if err == nil && stoppedIn(snap, s.pid) {
				s.catchUp(ctx)
				leaveTalk(away, errStopped)
				return
			}
			select {
			case <-ctx.Done():
			case <-s.asked: // once more
				nap = stopLook / 2
			case <-time.After(nap):
			}
		}
	}
}

// catchUp waits until all is here that a stopped pVM has written, as the echo of what stopped it: it would come after the prompt.
func (s *session) catchUp(ctx context.Context) {
	r, err := s.api.Logs(ctx, s.pid, engine.LogOptions{Lines: 1})
	if err != nil {
		return
	}
	defer r.Close()
	last := int64(0)
	for {
		chunk, err := r.Recv()
		if err != nil {
			break
		}
		last = chunk.Time.UnixNano()
	}
	for end := time.Now().Add(echoWait); s.received.Load() < last && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
}

func stoppedIn(snap *engine.Snapshot, pid int) bool {
	for i := range snap.Processes {
		if p := &snap.Processes[i]; p.PID == pid {
			return strings.HasPrefix(p.Stat, "T")
		}
	}
	return false
}

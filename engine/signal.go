package engine

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// maxSignal is the last signal number of x86-64 Linux, whose numbers pVMs use.
const maxSignal = 64

// Signal sends a signal. KILL, STOP and CONT act on the domain itself, so that they work whatever
// the program does; all others travel through the command ring and are the LibOS's to deliver.
// Signal 0 only asks whether the pVM is there.
func (e *Engine) Signal(_ context.Context, pid, sig int) error {
	p, err := e.find(pid, "KILL, STOP and CONT reach it with --force")
	if err != nil {
		return err
	}
	e.mu.Lock()
	over, zombie := p.rec.Exit != nil, p.rec.zombie()
	e.mu.Unlock()
	if over && !zombie {
		return e.missing(pid, "")
	}
	if sig < 0 || sig > maxSignal {
		return errf(CodeInvalid, "%d: no such signal", sig)
	}
	if sig == 0 || zombie { // which takes any signal, as on Linux
		return nil
	}
	s := unix.Signal(sig)
	e.noteUserStop(p, s)
	// Before it is sent: the end that it brings may be noted at once.
	e.events.addf("signalled", &p.rec.Process, "%s", unix.SignalName(s))
	if err := e.deliver(p, s, 0); err != nil {
		return e.signalError(pid, err)
	}
	return nil
}

// signalError says in one line why a signal or a command does not reach a pVM.
func (e *Engine) signalError(pid int, err error) *Error {
	switch {
	case errors.Is(err, xen.ErrNoDomain):
		return errf(CodeNoPVM, "(%d): no such pVM", pid)
	case errors.Is(err, ipc.ErrFull):
		return errf(CodeBusy, "(%d): does not take signals (%d are waiting): send KILL", pid, abi.Cmds)
	}
	return errf(CodeInternal, "(%d): %v", pid, err)
}

// deliver sends a signal to a running pVM in the name of sender; 0 is the host. A pVM that sends one has
// not the patience of a user: what finds no room waits.
func (e *Engine) deliver(p *pvm, s unix.Signal, sender int) error {
	switch s {
	case unix.SIGKILL:
		return p.dom.Destroy()
	case unix.SIGSTOP:
		return e.pause(p, s)
	}
	c, send := abi.KxCmd{Op: abi.CmdSignal, Arg0: uint32(s), A: [3]uint64{uint64(sender)}}, p.command
	if sender != 0 {
		send = p.tell
	}
	err := send(c)
	if s == unix.SIGCONT { // only then: callStop sees that it waits, or has paused the domain before
		if err := e.resume(p); err != nil {
			return err
		}
	}
	return err
}

// noteUserStop remembers that a user meant the pVM to end, so that no restart policy undoes it.
func (e *Engine) noteUserStop(p *pvm, s unix.Signal) {
	switch s {
	case unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT:
		e.mu.Lock()
		p.rec.Stopped = true
		e.mu.Unlock()
	}
}

// pause stops a pVM for a signal.
func (e *Engine) pause(p *pvm, s unix.Signal) error {
	p.still.Lock()
	defer p.still.Unlock()
	return e.pauseStill(p, s)
}

// pauseStill is pause for a caller that holds p.still.
func (e *Engine) pauseStill(p *pvm, s unix.Signal) error {
	if err := p.dom.Pause(); err != nil {
		return err
	}
	e.events.addf("paused", &p.rec.Process, "stopped")
	e.noteStopped(p, s)
	return nil
}

func (e *Engine) resume(p *pvm) error {
	p.still.Lock()
	defer p.still.Unlock()
	if err := p.dom.Unpause(); err != nil {
		return err
	}
	e.events.addf("resumed", &p.rec.Process, "continued")
	e.noteStopped(p, 0)
	return nil
}

// noteStopped tells the parent that a signal has stopped p, or, if s is 0, that it goes on, if that is news. The caller holds p.still.
func (e *Engine) noteStopped(p *pvm, s unix.Signal) {
	if p.stopped == (s != 0) {
		return
	}
	p.stopped = s != 0
	if p.stopped {
		e.tellParent(p, ipc.StopStatus(int(s)), 0)
		return
	}
	e.tellParent(p, ipc.StatusContinued, 0)
	p.lookAgain() // a call may have waited for this
}

func (p *pvm) isStopped() bool {
	p.still.Lock()
	defer p.still.Unlock()
	return p.stopped
}

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
	p, err := e.findLive(pid, "KILL, STOP and CONT reach it with --force")
	if err != nil {
		return err
	}
	if sig < 0 || sig > maxSignal {
		return errf(CodeInvalid, "%d: no such signal", sig)
	}
	if sig == 0 {
		return nil
	}
	s := unix.Signal(sig)
	e.noteUserStop(p, s)
	// Before it is sent: the end that it brings may be noted at once.
	e.events.addf("signalled", &p.rec.Process, "%s", unix.SignalName(s))
	switch s {
	case unix.SIGKILL:
		err = p.dom.Destroy()
	case unix.SIGSTOP:
		err = e.pause(p)
	case unix.SIGCONT:
		if err = e.resume(p); err == nil {
			err = p.command(abi.KxCmd{Op: abi.CmdSignal, Arg0: uint32(sig)})
		}
	default:
		err = p.command(abi.KxCmd{Op: abi.CmdSignal, Arg0: uint32(sig)})
	}
	switch {
	case errors.Is(err, xen.ErrNoDomain):
		return errf(CodeNoPVM, "(%d): no such pVM", pid)
	case errors.Is(err, ipc.ErrFull):
		return errf(CodeBusy, "(%d): does not take signals (%d are waiting): send KILL", pid, abi.Cmds)
	case err != nil:
		return errf(CodeInternal, "(%d): %v", pid, err)
	}
	return nil
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

func (e *Engine) pause(p *pvm) error {
	if err := p.dom.Pause(); err != nil {
		return err
	}
	e.events.addf("paused", &p.rec.Process, "stopped")
	return nil
}

func (e *Engine) resume(p *pvm) error {
	if err := p.dom.Unpause(); err != nil {
		return err
	}
	e.events.addf("resumed", &p.rec.Process, "continued")
	return nil
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// foreign returns the domain with that number that somebody else made, if there is one.
func (e *Engine) foreign(pid int) *xen.Listed {
	listed, err := e.hv.List()
	if err != nil {
		return nil
	}
	for i := range listed {
		if l := &listed[i]; int(l.ID) == pid && !l.Ours {
			return l
		}
	}
	return nil
}

// missing says why a number names no pVM; mend is for a domain that somebody else made.
func (e *Engine) missing(pid int, mend string) error {
	if pid == 0 {
		return errf(CodeForeign, "(0): the host itself, no pVM")
	}
	if e.foreign(pid) != nil {
		return errf(CodeForeign, "(%d): a domain that somebody else made: %s", pid, mend)
	}
	return errf(CodeNoPVM, "(%d): no such pVM", pid)
}

// foreignProcess is a domain of others as the table shows it. One without a name is called as Xen's own
// tools do. It is a family of its own, and a child of the host.
func foreignProcess(l *xen.Listed, now time.Time) Process {
	p := Process{PID: int(l.ID), Family: int(l.ID), Name: l.Name, Started: l.Started, Args: []string{}, Foreign: true}
	if p.Name == "" {
		p.Name = fmt.Sprintf("Domain-%d", l.ID)
	}
	fill(&p, &l.Status, now)
	return p
}

func foreignDetail(l *xen.Listed) *Detail {
	return &Detail{Process: foreignProcess(l, time.Now()), Env: []string{}, CPUs: []int{}, Steps: []Step{}, UUID: l.UUID.String()}
}

// Force is Signal for domains that others made, as far as Xen can do it without their help.
func (e *Engine) Force(ctx context.Context, pid, sig int) error {
	e.mu.Lock()
	p := e.table[pid]
	own := p != nil && (p.rec.Exit == nil || p.rec.zombie())
	e.mu.Unlock()
	if own || pid == 0 {
		return e.Signal(ctx, pid, sig)
	}
	l := e.foreign(pid)
	if l == nil {
		return errf(CodeNoPVM, "(%d): no such pVM", pid)
	}
	s := unix.Signal(sig)
	action, can := map[unix.Signal]xen.Action{
		unix.SIGKILL: xen.ActDestroy, unix.SIGSTOP: xen.ActPause, unix.SIGCONT: xen.ActUnpause,
	}[s]
	switch {
	case sig < 0 || sig > maxSignal:
		return errf(CodeInvalid, "%d: no such signal", sig)
	case sig == 0:
		return nil
	case !can:
		return errf(CodeForeign, "(%d): a domain that somebody else made takes no %s: only KILL, STOP and CONT", pid, unix.SignalName(s))
	}
	switch err := e.hv.Force(l.ID, l.UUID, action); {
	case errors.Is(err, xen.ErrNoDomain):
		return errf(CodeNoPVM, "(%d): no such pVM", pid)
	case err != nil:
		return errf(CodeInternal, "(%d): %v", pid, err)
	}
	f := foreignProcess(l, time.Now())
	e.events.addf("signalled", &f, "%s by force: somebody else made it", unix.SignalName(s))
	return nil
}

// touched notes that somebody else has paused a pVM or let it go on.
func (e *Engine) touched(p *pvm) {
	st, err := p.dom.Status()
	by := unix.Signal(0)
	switch {
	case err != nil || st.State == xen.StateDying: // tend is told otherwise
		return
	case st.State == xen.StatePaused:
		by = unix.SIGSTOP
		e.events.addf("paused", &p.rec.Process, "stopped from outside")
	default:
		e.events.addf("resumed", &p.rec.Process, "continued from outside")
	}
	p.still.Lock()
	defer p.still.Unlock()
	e.noteStopped(p, by)
}

package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/xen"
)

// tend looks after one running pVM: its console, and in the end its death.
func (e *Engine) tend(p *pvm) {
	defer e.tending.Done()
	e.startFiles(p)
	for {
		select {
		case <-p.dom.Rang():
			e.drain(p)
		case <-p.dom.Touched():
			e.touched(p)
		case <-p.again:
			e.drain(p)
		case <-p.dom.Gone():
			e.reap(p)
			return
		case <-e.quit:
			return
		}
	}
}

// drain moves console output into the log, then answers the call that the pVM makes. One that breaks the
// rings' rules is destroyed: it is not known any more what it wants to say.
func (e *Engine) drain(p *pvm) {
	err := p.drain(true)
	if err == nil {
		e.passRings(p)
		e.serve(p)
		if err = p.catchUp(); errors.Is(err, xen.ErrNoDomain) { // it is being reaped
			err = nil
		}
	}
	if err != nil {
		e.corrupt(p, err)
	}
	select {
	case p.files <- struct{}{}: // perhaps it asks for a file
	default:
	}
	select {
	case p.room <- struct{}{}: // there may be room for input
	default:
	}
}

// corrupt destroys a pVM that breaks the rules of what it shares with us.
func (e *Engine) corrupt(p *pvm, err error) {
	e.mu.Lock()
	first := p.broken == ""
	p.broken = err.Error()
	e.mu.Unlock()
	if first {
		e.events.addf("corrupt", &p.rec.Process, "control area: %v: destroyed", err)
		p.dom.Destroy()
	}
}

// reap records how a pVM ended and frees its domain.
func (e *Engine) reap(p *pvm) {
	p.drain(false)
	e.passRings(p) // its last words to its relatives
	e.lastTask(p)
	e.awaitEnding(p)
	x, report := e.verdict(p)
	if p.unkept > 0 {
		if x.Reason != "" {
			x.Reason += "; "
		}
		x.Reason += fmt.Sprintf("%d bytes of its output are lost: %v", p.unkept, p.unkeptWhy)
	}
	for _, line := range report {
		p.say(line)
	}
	mainAfter, _ := p.birth()
	p.log.finish()
	final := Process{Started: p.rec.Started}
	if st, err := p.dom.Status(); err == nil {
		fill(&final, &st, x.Time)
	}
	e.mu.Lock()
	p.rec.Exit = x
	p.rec.Stat = "Z"
	p.rec.Token = nil
	p.rec.Crash = strings.Join(report, "\n")
	p.rec.MainAfter = mainAfter
	p.rec.Time, p.rec.CPU = final.Time, final.CPU
	e.running--
	orphans, buried, drop := e.orphan(p)
	parent := e.waitedFor(p)
	if parent == nil {
		drop = append(drop, e.bury(p)...)
	}
	rec := p.rec
	e.mu.Unlock()
	e.saved(drop, slices.Concat([]*pvm{p}, orphans, buried)...)
	e.adopted(orphans, fmt.Sprintf("%d has ended", p.pid))
	text := fmt.Sprintf("exit status %d", x.Code)
	if x.Signal != 0 {
		text = unix.SignalName(unix.Signal(x.Signal))
	}
	if x.Reason != "" {
		text += ": " + x.Reason
	}
	e.events.addf("exited", &rec.Process, "%s", text)
	e.unplug(p, &rec.Request, rec.Family)
	e.restart(p, &rec)
	close(p.ended)
	e.tellGone(p)
	if parent != nil {
		e.tellParent(p, statusOf(x), rec.Time)
	}
	e.letGo(p) // nobody waits for the domain to be taken apart
}

// endingPatience is how long a pVM that says that it has exited may take until it has.
const endingPatience = 3 * time.Second

// ending are the children of p that say that they have exited, which p may know from themselves (guest/kern/ended.c).
func (e *Engine) ending(p *pvm) []*pvm {
	e.mu.Lock()
	living := slices.DeleteFunc(e.children(p), func(c *pvm) bool { return c.rec.Exit != nil })
	e.mu.Unlock()
	return slices.DeleteFunc(living, func(c *pvm) (not bool) {
		not = true
		c.shared(func() error {
			_, exited, err := ipc.ReadStatus(c.dom.Control())
			not = !exited
			return err
		})
		return not
	})
}

// awaitEnding lets the children of a pVM that has ended go first: it may have waited for them, and is not to be survived by them.
func (e *Engine) awaitEnding(p *pvm) {
	timer := time.NewTimer(endingPatience)
	defer timer.Stop()
	for _, c := range e.ending(p) {
		select {
		case <-c.ended:
		case <-e.quit:
			return
		case <-timer.C:
			return
		}
	}
}

// dropEnded takes a remembered pVM out of the table, with its log. The caller holds e.mu.
func (e *Engine) dropEnded(p *pvm) {
	delete(e.table, p.pid)
	if i := slices.Index(e.ended, p.pid); i >= 0 {
		e.ended = slices.Delete(e.ended, i, i+1)
	}
	if err := p.log.remove(); err != nil {
		e.log.Warn("console log", "pid", p.pid, "err", err)
	}
}

// verdict decides how the pVM ended, from what the hypervisor saw and, where that leaves it to the
// pVM, from what the pVM says. report is the fault report, if there was a fault.
func (e *Engine) verdict(p *pvm) (x *Exit, report []string) {
	x = &Exit{Time: time.Now(), InputTaken: p.in.Taken(), InputUnread: p.in.Unread(), Unheard: p.cmds.Close()}
	killed := func(sig unix.Signal, reason string) {
		x.Signal, x.Code, x.Reason = int(sig), 128+int(sig), reason
	}
	status, exited, err := ipc.ReadStatus(p.dom.Control())
	crash, cerr := ipc.ReadCrash(p.dom.Control())
	hx := p.dom.Exit()
	e.mu.Lock()
	broken := p.broken
	e.mu.Unlock()
	for _, err := range []error{err, cerr} {
		if broken == "" && err != nil {
			broken = err.Error()
		}
	}
	switch {
	case hx.Reason == xen.ExitFault:
		if hx.Crash.Signo == 0 || hx.Crash.Signo > maxSignal {
			hx.Crash.Signo = uint32(unix.SIGSEGV)
		}
		report = faultReport(p, &hx.Crash, hx.Detail)
		killed(unix.Signal(hx.Crash.Signo), report[0])
	case broken != "":
		killed(unix.SIGKILL, broken)
	case exited && status.Signal() != 0:
		killed(unix.Signal(status.Signal()), ipc.ReadReason(p.dom.Control()))
		if crash != nil {
			report = faultReport(p, crash, "")
			x.Reason = report[0]
		}
	case exited:
		x.Code = status.Code()
	case hx.Reason == xen.ExitDestroyed, hx.Reason == xen.ExitKilled:
		killed(unix.SIGKILL, hx.Detail)
	default:
		killed(unix.SIGABRT, "shut down without an exit status")
	}
	return x, report
}

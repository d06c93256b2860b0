package engine

import (
	"fmt"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// serve answers the call that a pVM makes, if it makes one. There is at most one, and it rings for each. One
// that is to be forked is not stopped meanwhile: the call of a stopped pVM waits until it goes on.
func (e *Engine) serve(p *pvm) {
	call, ok := p.calls.Next()
	if !ok {
		return
	}
	if call.Op != abi.CallSettle { // which it may make in the middle of an update
		e.settleUpdate(p)
		if call.Op != abi.CallLoaded {
			e.settleLoad(p)
		}
	}
	var result int64
	switch call.Op {
	case abi.CallFork:
		p.still.Lock()
		defer p.still.Unlock()
		if !p.stopped && !e.forkWaits(p) {
			e.callFork(p, call)
		}
		return
	case abi.CallLoad:
		e.callLoad(p, call)
		return
	case abi.CallLoaded:
		e.callLoaded(p, call)
		return
	case abi.CallKill:
		if int64(call.A[0]) == int64(p.pid) && call.A[2] == 0 {
			e.callStop(p, call)
			return
		}
		result = e.callKill(p, int64(call.A[0]), call.A[1], call.A[2] == 1)
	case abi.CallFamily:
		result = e.callFamily(p, call.A[0])
	case abi.CallGuard:
		if err := p.dom.Guard(call.A[0], call.A[1], call.A[2] == 1); err != nil {
			e.refusedCall(p, "memory", err.Error())
			result = -int64(forkErrno(err))
		}
	case abi.CallTask:
		result = e.callTask(p, call)
	case abi.CallSettle:
		if e.isClosing() { // the next engine finds the call as it is
			return
		}
		if err := p.dom.Settle(call.A[0]); err != nil {
			e.refusedCall(p, "memory", err.Error())
			result = -int64(unix.ENOMEM)
		}
	case abi.CallUpdate:
		result = e.callUpdate(p, call)
	case abi.CallGroup:
		result = e.callGroup(p, call)
	case abi.CallReap:
		result = e.callReap(p, call.A[0])
	default:
		result = -int64(unix.ENOSYS)
	}
	p.calls.Answer(call, result)
	p.dom.Notify() // if it has gone: tend will see
}

// callKill is kill(2) by a member of a family: it reaches the family, and nobody else, whose PIDs it learns nothing of. The caller itself is
// left out; the result is 1 if it is one of the group. With isGroup pid is the number of a group.
func (e *Engine) callKill(p *pvm, pid int64, sig uint64, isGroup bool) int64 {
	if sig > maxSignal {
		return -int64(unix.EINVAL)
	}
	s := unix.Signal(sig)
	e.mu.Lock()
	group := -pid
	switch {
	case isGroup:
		group, pid = pid, 0
	case pid == 0:
		group = int64(p.group())
	}
	found := e.those(func(q *pvm) bool {
		switch {
		case !p.knows(q):
			return false
		case pid > 0:
			return int64(q.pid) == pid
		case pid == -1:
			return q != p && q.rec.Exit == nil
		}
		return int64(q.group()) == group
	})
	var result int64
	var living []*pvm
	for _, q := range found {
		switch {
		case q == p:
			result = 1
		case q.rec.Exit == nil:
			living = append(living, q)
			q.doomed = q.doomed || s == unix.SIGKILL
		}
	}
	stranger := len(found) == 0 && pid > 0 && len(e.those(func(q *pvm) bool { return int64(q.pid) == pid && q.rec.Exit == nil })) > 0
	e.mu.Unlock()
	if stranger {
		e.refusedCall(p, "kill", fmt.Sprintf("%d is of another family", pid))
	}
	if len(found) == 0 {
		return -int64(unix.ESRCH)
	}
	if s == 0 {
		return result
	}
	for _, q := range living {
		if s == unix.SIGKILL { // else an end that nobody here has caused
			e.events.addf("signalled", &q.rec.Process, "%s by %d", unix.SignalName(s), p.pid)
		}
		e.deliver(q, s, p.pid) // who has gone meanwhile would have taken it, as a zombie does
	}
	return result
}

// callStop is a pVM that a signal stops: nothing of it runs any more. It has its answer first: an engine that dies in between leaves nothing that another
// one would do after a SIGCONT. While commands wait for it the answer is to take them, for one may be SIGCONT.
func (e *Engine) callStop(p *pvm, call ipc.Call) {
	p.still.Lock()
	defer p.still.Unlock()
	s, result := unix.Signal(call.A[1]), int64(0)
	switch stops := s == unix.SIGSTOP || s == unix.SIGTSTP || s == unix.SIGTTIN || s == unix.SIGTTOU; {
	case !stops:
		result = -int64(unix.EINVAL)
	case p.cmds.Left():
		result = -int64(unix.EAGAIN)
	}
	p.calls.Answer(call, result)
	p.dom.Notify()
	if result == 0 {
		e.pauseStill(p, s) // if it has gone: tend will see
	}
}

// callReap is the end of a zombie: its parent has waited for it.
func (e *Engine) callReap(p *pvm, pid uint64) int64 {
	e.mu.Lock()
	c := e.numbered(pid)
	if c == nil || c.rec.PPID != p.pid || c.rec.Exit == nil {
		e.mu.Unlock()
		return -int64(unix.ECHILD)
	}
	if !c.rec.zombie() { // as before an engine died with its answer
		e.mu.Unlock()
		return 0
	}
	drop := e.bury(c)
	e.mu.Unlock()
	e.saved(drop, c)
	return 0
}

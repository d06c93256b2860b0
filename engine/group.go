package engine

import (
	"cmp"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// group is the number of the pVM's group of processes. The caller holds e.mu.
func (p *pvm) group() int { return cmp.Or(p.rec.Group, p.pid) }

// session is the number of its session. The caller holds e.mu.
func (p *pvm) session() int { return cmp.Or(p.rec.Session, p.pid) }

// numbered is the pVM of the table that a pVM has named, or nil. The caller holds e.mu.
func (e *Engine) numbered(pid uint64) *pvm {
	if pid > uint64(xen.MaxDomID) {
		return nil
	}
	return e.table[int(pid)]
}

// knows tells whether q is of p's family, and was not waited for yet. The caller holds e.mu.
func (p *pvm) knows(q *pvm) bool {
	return q.rec.Family == p.rec.Family && (q.rec.Exit == nil || q.rec.zombie())
}

// callGroup is getpgid(2), setpgid(2), getsid(2) and setsid(2) of a pVM, by a[1], one of KX_GROUP_*, a[0] being the PID and a[2] the group. Groups are of one family.
func (e *Engine) callGroup(p *pvm, call ipc.Call) int64 {
	pid, what, group := call.A[0], call.A[1], call.A[2]
	e.mu.Lock()
	q := p
	if pid != 0 && pid != uint64(p.pid) {
		if q = e.numbered(pid); q == nil || !p.knows(q) {
			e.mu.Unlock()
			return -int64(unix.ESRCH)
		}
	}
	var result int64
	changed := false
	switch what {
	case abi.GroupOf:
		result = int64(q.group())
	case abi.GroupSession:
		result = int64(q.session())
	case abi.GroupJoin:
		if result = e.mayJoin(p, q, group); result == 0 {
			q.rec.Group, changed = int(group), true
		}
	case abi.GroupLeave:
		switch result = int64(p.pid); {
		case p.rec.Left != 0 && p.rec.Left == call.N: // kept by an engine that was killed before it answered
		case e.hasGroup(p, uint64(p.pid)):
			result = -int64(unix.EPERM)
		default:
			p.rec.Group, p.rec.Session, p.rec.Left, changed = 0, 0, call.N, true
		}
	default:
		result = -int64(unix.EINVAL)
	}
	e.mu.Unlock()
	if changed {
		e.saved(nil, q)
	}
	return result
}

// mayJoin is the error of a setpgid(2) by p that puts q into a group, 0: one of its own. The caller holds e.mu.
func (e *Engine) mayJoin(p, q *pvm, group uint64) int64 {
	switch {
	case q != p && q.rec.PPID != p.pid:
		return -int64(unix.ESRCH)
	case q.session() != p.session() || q.session() == q.pid:
		return -int64(unix.EPERM)
	case group != 0 && group != uint64(q.pid) && !e.hasGroup(p, group):
		return -int64(unix.EPERM)
	}
	return 0
}

// hasGroup tells whether somebody of p's session is in a group. The caller holds e.mu.
func (e *Engine) hasGroup(p *pvm, group uint64) bool {
	return len(e.those(func(q *pvm) bool { return p.knows(q) && uint64(q.group()) == group && q.session() == p.session() })) > 0
}

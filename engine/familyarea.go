package engine

import (
	"slices"
	"time"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// What a family shares is between its members (guest/kern/family.c). The engine gives it memory, says when a member has gone
// without putting back what it had, and passes on rings where the hypervisor does not.

// passRings notifies the relatives that a pVM wants to have notified.
func (e *Engine) passRings(p *pvm) {
	pids, all := ipc.TakeRings(p.dom.Control())
	if len(pids) == 0 && !all {
		return
	}
	var rung []*pvm
	e.mu.Lock()
	if all {
		rung = e.relatives(p)
	}
	for _, pid := range pids {
		if q := e.table[pid]; q != nil && q != p && q.rec.Family == p.rec.Family && q.rec.Exit == nil {
			rung = append(rung, q)
		}
	}
	e.mu.Unlock()
	for _, q := range rung {
		q.shared(q.dom.Notify) // one that has gone needs nothing any more
	}
}

// relatives are the living members of p's family but itself. The caller holds e.mu.
func (e *Engine) relatives(p *pvm) []*pvm {
	return e.those(func(q *pvm) bool { return q != p && q.rec.Family == p.rec.Family && q.rec.Exit == nil && !q.doomed })
}

// tellGone tells the relatives of a pVM that has ended that it has, unless it put everything back itself: all of them, since it may be that
// none has something in the area yet, and one will. Its control area is still there.
func (e *Engine) tellGone(p *pvm) {
	unborn := p.parent != 0 && ipc.ReadMain(p.dom.Control()) == 0
	if !unborn && !ipc.SharesWithFamily(p.dom.Control()) {
		return
	}
	unbornOf := 0
	if unborn {
		unbornOf = p.parent
	}
	e.awaitBorn(p)
	e.tellRelatives(p, unbornOf, 0)
}

// tellUnforked tells them of a child that has ended since its fork has failed in the end: it may have run already.
func (e *Engine) tellUnforked(c *pvm) {
	if ipc.ReadMain(c.dom.Control()) != 0 {
		e.tellRelatives(c, 0, c.parent)
	}
}

func (e *Engine) tellRelatives(p *pvm, unbornOf, unforkedOf int) {
	e.mu.Lock()
	relatives := e.relatives(p)
	e.mu.Unlock()
	for _, q := range relatives {
		q.tellGone(p.pid, unbornOf, unforkedOf)
	}
}

// bornPatience is how long a child may take, after its parent's end, to say that it has what it inherited.
const bornPatience = 3 * time.Second

// awaitBorn waits until the children of a pVM that has ended have taken what they inherited: until then its holds are theirs.
func (e *Engine) awaitBorn(p *pvm) {
	for end := time.Now().Add(bornPatience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		e.mu.Lock()
		unborn := slices.ContainsFunc(e.relatives(p), func(c *pvm) bool { return c.parent == p.pid && !c.isBorn() })
		e.mu.Unlock()
		if !unborn {
			return
		}
	}
}

// isBorn tells whether a pVM has come to its program's first instruction, or has ended.
func (p *pvm) isBorn() bool {
	born := true
	p.shared(func() error { born = ipc.ReadMain(p.dom.Control()) != 0; return nil })
	return born
}

func (p *pvm) tellGone(pid, unbornOf, unforkedOf int) {
	p.tell(abi.KxCmd{Op: abi.CmdGone, Arg0: uint32(pid), A: [3]uint64{uint64(unbornOf), uint64(unforkedOf)}})
}

// callFamily serves CallFamily: more memory for what a family shares.
func (e *Engine) callFamily(p *pvm, pages uint64) int64 {
	got, err := p.dom.Family(min(pages, abi.FamilyPages))
	if err != nil {
		return -int64(forkErrno(err))
	}
	return int64(got)
}

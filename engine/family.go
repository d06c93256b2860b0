package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// DefaultFamilyLimit is how many members a family may have that nobody gave a limit.
const DefaultFamilyLimit = 1024

// errDoomed is why a pVM that is being killed with its family or its descendants is refused a fork.
var errDoomed = errors.New("it is being killed")

// family is a root and all its descendants, as long as one of them lives or is a zombie.
type family struct {
	members int                  // zombies, and children that are being made, included
	limit   int                  // 0: the engine's
	refused map[string]time.Time // by call: when it was last said that one was refused
}

// join counts a pVM as a member of its family. The caller holds e.mu.
func (e *Engine) join(p *pvm) {
	f := e.families[p.rec.Family]
	if f == nil {
		f = new(family)
		e.families[p.rec.Family] = f
	}
	f.members++
	if p.rec.FamilyLimit != 0 {
		f.limit = p.rec.FamilyLimit
	}
}

// leave is the end of one membership. The caller holds e.mu.
func (e *Engine) leave(number int) {
	f := e.families[number]
	if f.members--; f.members == 0 {
		delete(e.families, number)
	}
}

func (e *Engine) limitOf(f *family) int {
	if f.limit != 0 {
		return f.limit
	}
	return e.o.FamilyLimit
}

// setFamilyLimit changes the limit of a pVM's family, and the copies that its members have of it.
func (e *Engine) setFamilyLimit(p *pvm, limit int) error {
	if limit < 1 {
		return errf(CodeInvalid, "(%d): a family of at most %d: a family has at least one member", p.pid, limit)
	}
	e.mu.Lock()
	if f := e.families[p.rec.Family]; f != nil {
		f.limit = limit
	}
	members := e.those(p.knows)
	for _, q := range members {
		q.rec.FamilyLimit = limit
	}
	e.mu.Unlock()
	if err := e.save(nil, members...); err != nil {
		return errf(CodeInternal, "(%d): %v", p.pid, err)
	}
	return nil
}

// those returns the pVMs of the table that are wanted, by PID. The caller holds e.mu.
func (e *Engine) those(wanted func(p *pvm) bool) []*pvm {
	var ps []*pvm
	for _, p := range e.table {
		if wanted(p) {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, func(a, b *pvm) int { return a.pid - b.pid })
	return ps
}

// parentOf returns the parent if it lives. A PPID is never that of somebody else: it becomes 0 when the
// parent ends. The caller holds e.mu.
func (e *Engine) parentOf(r *record) *pvm {
	if p := e.table[r.PPID]; r.PPID != 0 && p != nil && p.rec.Exit == nil {
		return p
	}
	return nil
}

// waitedFor returns the parent that p's end matters to, if there is one. The caller holds e.mu.
func (e *Engine) waitedFor(p *pvm) *pvm {
	if p.rec.Outside {
		return nil
	}
	return e.parentOf(&p.rec)
}

// children are those of p that live or are zombies. Who is alone in its family has none. The caller holds e.mu.
func (e *Engine) children(p *pvm) []*pvm {
	if f := e.families[p.rec.Family]; f == nil || f.members < 2 {
		return nil
	}
	return e.those(func(c *pvm) bool { return c.rec.PPID == p.pid && (c.rec.Exit == nil || c.rec.zombie()) })
}

// tree returns p and its descendants that live. The caller holds e.mu.
func (e *Engine) tree(p *pvm) []*pvm {
	children := map[int][]*pvm{}
	for _, q := range e.those(func(q *pvm) bool { return q.rec.Exit == nil && q.rec.PPID != 0 }) {
		children[q.rec.PPID] = append(children[q.rec.PPID], q)
	}
	all := []*pvm{p}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

// orphan sees to the children of a pVM that has ended: those that live get the host as their parent, and
// nobody will wait for the zombies any more. The caller holds e.mu and writes the records.
func (e *Engine) orphan(p *pvm) (orphans, buried []*pvm, drop []int) {
	for _, c := range e.children(p) {
		if c.rec.Exit == nil {
			c.rec.PPID = 0
			orphans = append(orphans, c)
		} else {
			drop = append(drop, e.bury(c)...)
			buried = append(buried, c)
		}
	}
	return orphans, buried, drop
}

// bury makes an ended pVM one that is remembered and no more, and returns the PIDs that are forgotten
// for it. The caller holds e.mu and writes the record.
func (e *Engine) bury(p *pvm) (drop []int) {
	p.rec.Stat = "X"
	e.leave(p.rec.Family)
	e.ended = append(e.ended, p.pid)
	for len(e.ended) > Remembered {
		old := e.table[e.ended[0]]
		e.dropEnded(old)
		drop = append(drop, old.pid)
	}
	return drop
}

// adopted tells orphans who their parent is now.
func (e *Engine) adopted(orphans []*pvm, before string) {
	for _, c := range orphans {
		c.shared(func() error { ipc.SetParent(c.dom.Control(), 0); return nil })
		e.mu.Lock()
		doomed := c.doomed
		e.mu.Unlock()
		if !doomed { // else it follows at once
			e.events.addf("reparented", &c.rec.Process, "%s: its parent is 0 now", before)
		}
	}
}

// tellParent tells the parent that waits for p, if there is one, what has become of it.
func (e *Engine) tellParent(p *pvm, s ipc.Status, cpu time.Duration) {
	e.mu.Lock()
	parent := e.waitedFor(p)
	e.mu.Unlock()
	if parent != nil {
		parent.tell(abi.KxCmd{Op: abi.CmdChild, Arg0: uint32(p.pid), A: [3]uint64{uint64(s), uint64(cpu)}})
	}
}

// statusOf is the wait(2) status word of an exit.
func statusOf(x *Exit) ipc.Status {
	if x.Signal != 0 {
		return ipc.KillStatus(x.Signal)
	}
	return ipc.ExitStatus(x.Code)
}

// SignalTree sends a signal to a pVM and all its descendants.
func (e *Engine) SignalTree(ctx context.Context, pid, sig int) error {
	p, err := e.findLive(pid, "it has no descendants here")
	if err != nil {
		return err
	}
	return e.signalAll(ctx, sig, pid, func() []*pvm { return e.tree(p) })
}

// SignalFamily sends a signal to all members of a family.
func (e *Engine) SignalFamily(ctx context.Context, number, sig int) error {
	return e.signalAll(ctx, sig, number, func() []*pvm {
		return e.those(func(p *pvm) bool { return p.rec.Family == number && p.rec.Exit == nil })
	})
}

// signalAll sends a signal to all that pick returns. With KILL they are marked in the same moment, and a
// child enters the table only if its parent is not: so none escapes by forking.
func (e *Engine) signalAll(ctx context.Context, sig, number int, pick func() []*pvm) error {
	if sig < 0 || sig > maxSignal {
		return errf(CodeInvalid, "%d: no such signal", sig)
	}
	s := unix.Signal(sig)
	e.mu.Lock()
	all := pick()
	for _, p := range all {
		p.doomed = p.doomed || s == unix.SIGKILL
	}
	e.mu.Unlock()
	if len(all) == 0 {
		return errf(CodeNoPVM, "(%d): no such pVM", number)
	}
	if sig == 0 {
		return nil
	}
	for _, p := range all {
		e.noteUserStop(p, s)
	}
	e.events.addf("signalled", &all[0].rec.Process, "%s, with %d others", unix.SignalName(s), len(all)-1)
	if s == unix.SIGKILL {
		slices.Reverse(all) // children first: whose parent ends before them is given what it has not got of its memory
	}
	var failed, gone error
	reached := false
	for _, p := range all {
		switch err := e.deliver(p, s, 0); {
		case err == nil:
			reached = true
		case errors.Is(err, xen.ErrNoDomain):
			gone = e.signalError(p.pid, err)
		case failed == nil:
			failed = e.signalError(p.pid, err)
		}
	}
	if s != unix.SIGKILL && failed == nil && !reached {
		return gone
	}
	if s != unix.SIGKILL || failed != nil {
		return failed
	}
	for _, p := range all {
		select {
		case <-p.ended:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.quit:
			return errf(CodeEngine, "(%d): the engine is leaving", p.pid)
		}
	}
	return nil
}

// familyError is why a fork is beyond the family's limit.
func familyError(number, limit int) *Error {
	return errf(CodeLimit, "family %d has %d members, as many as it may: limit --family N %%%d allows more", number, limit, number)
}

// refusedCall says once a second of each family and call that one was refused: a program may try for ever.
func (e *Engine) refusedCall(p *pvm, call, why string) {
	e.mu.Lock()
	f := e.families[p.rec.Family]
	quiet := f != nil && time.Since(f.refused[call]) < time.Second
	if f != nil && !quiet {
		if f.refused == nil {
			f.refused = map[string]time.Time{}
		}
		f.refused[call] = time.Now()
	}
	e.mu.Unlock()
	if !quiet {
		e.events.addf("refused", &p.rec.Process, "%s: %s", call, why)
	}
}

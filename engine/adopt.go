package engine

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// adoptAll fills the table from the store: what still runs is taken over, what ended while no
// engine was there is recorded as such. Domains of ours that the store does not know were being
// made when the earlier engine died; they go.
func (e *Engine) adoptAll(recs []*record, fresh bool) {
	sort.Slice(recs, func(i, j int) bool { return ended(recs[i]).Before(ended(recs[j])) })
	var all, lost []*pvm
	for _, r := range recs {
		p := newPVM()
		p.pid, p.rec = r.PID, *r
		p.size.Store(uint64(r.Request.Rows)<<32 | uint64(uint32(r.Request.Cols)))
		all = append(all, p)
		var err error
		if p.log, err = openConsoleLog(filepath.Join(e.o.State, r.Log)); err != nil {
			e.log.Warn("console log", "pid", r.PID, "err", err)
			p.log = newConsoleLog(filepath.Join(e.o.State, r.Log))
		}
		e.table[r.PID] = p
		if r.Exit == nil && !fresh && e.adopt(p) {
			continue
		}
		if p.rec.Exit == nil {
			p.rec.Exit = &Exit{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL), Time: time.Now(), Reason: "ended while no engine was running"}
			p.rec.Stat, p.rec.Token = "Z", nil // until its family is seen to
			e.events.addf("exited", &p.rec.Process, "%s", p.rec.Exit.Reason)
			lost = append(lost, p)
		}
		p.log.finish()
		close(p.ended)
	}
	e.restoreFamilies(all, e.endUnknown())
	e.hv.Adopted()
	for _, p := range lost {
		for _, q := range e.relatives(p) {
			q.tellGone(p.pid, 0, 0)
		}
	}
	defer e.takeAllBack()
	for _, p := range e.live() {
		e.tending.Add(1)
		go func() {
			e.drain(p)     // what was written while nobody listened
			p.dom.Notify() // it may not have heard of an answer
			if p.unsettled.Load() || p.loading.Load() {
				p.command(abi.KxCmd{Op: abi.CmdTask}) // it tells that it does not work at it any more; if this fails, another call does
			}
			e.tend(p)
		}()
	}
}

// restoreFamilies puts adopted pVMs, and those that have ended, into their families again; halfMade tells that
// there were domains that the store did not know. Nobody tends them yet.
func (e *Engine) restoreFamilies(all []*pvm, halfMade bool) {
	for _, p := range all {
		p.root = e.table[p.rec.Family]
		if p.root == p || p.root != nil && p.root.rec.Family != p.rec.Family {
			p.root = nil
		}
		if p.rec.Exit == nil || p.rec.zombie() {
			e.join(p)
		} else {
			e.ended = append(e.ended, p.pid)
		}
	}
	for _, p := range e.live() {
		e.undoFork(p, halfMade)
	}
	var changed []*pvm
	var drop []int
	for _, p := range all {
		switch parent := e.waitedFor(p); {
		case e.table[p.pid] != p: // undoFork's
		case p.rec.zombie() && parent == nil:
			drop = append(drop, e.bury(p)...)
			changed = append(changed, p)
		case p.rec.zombie():
			changed = append(changed, p)
			e.tellParent(p, statusOf(p.rec.Exit), p.rec.Time) // again, perhaps: it ignores what it knows
		case p.rec.Exit == nil && p.rec.PPID != 0 && e.parentOf(&p.rec) == nil:
			before := p.rec.PPID
			p.rec.PPID = 0
			e.adopted([]*pvm{p}, fmt.Sprintf("%d has ended", before))
			changed = append(changed, p)
		}
	}
	e.saved(drop, changed...)
}

// undoFork sees to a call that an earlier engine did not answer. A child that the parent was not told of goes,
// with all that it has made meanwhile, and then the fork has failed; so it has if a domain was half made, which
// may have been for it. A call of which there is no trace is served as if it came now.
func (e *Engine) undoFork(p *pvm, halfMade bool) {
	if e.table[p.pid] != p { // it went with another's
		return
	}
	call, open := p.calls.Next()
	if !open {
		return
	}
	var lost []*pvm
	for _, c := range e.children(p) {
		if c.rec.Call == call.N {
			lost = append(lost, e.tree(c)...)
		}
	}
	var drop []int
	for _, c := range lost {
		e.events.addf("refused", &c.rec.Process, "of a fork by %d that an earlier engine did not finish: destroyed", p.pid)
		if c.rec.Exit == nil {
			if err := c.dom.Destroy(); err != nil {
				e.log.Error("destroy", "domain", c.pid, "err", err)
			}
			<-c.dom.Gone()
			c.dom.Release()
			e.running--
		}
		e.leave(c.rec.Family)
		delete(e.table, c.pid)
		c.log.remove()
		drop = append(drop, c.pid)
	}
	e.saved(drop)
	if call.Op == abi.CallFork && (halfMade || len(lost) > 0) {
		p.calls.Answer(call, -int64(unix.EAGAIN))
		p.dom.Notify()
	}
}

// endUnknown destroys domains of ours that the store does not know. Adopt without a token refuses
// what is somebody else's.
func (e *Engine) endUnknown() (found bool) {
	ids, err := e.hv.Domains()
	if err != nil {
		e.log.Error("domains", "err", err)
		return false
	}
	for _, id := range ids {
		if p := e.table[int(id)]; p != nil && p.rec.Exit == nil {
			continue
		}
		dom, err := e.hv.Adopt(id, nil)
		if err != nil {
			continue
		}
		if !ipc.Waits(dom.Control()) { // else it is a placeholder, and nothing was to be made of it
			found = true
			e.events.addf("refused", nil, "domain %d: half made when an earlier engine ended: destroyed", id)
		}
		if err := dom.Destroy(); err != nil {
			e.log.Error("destroy", "domain", id, "err", err)
			continue
		}
		<-dom.Gone()
		dom.Release()
	}
	return found
}

func ended(r *record) time.Time {
	if r.Exit == nil {
		return time.Now()
	}
	return r.Exit.Time
}

// adopt takes over a pVM that still runs.
func (e *Engine) adopt(p *pvm) bool {
	dom, err := e.hv.Adopt(xen.DomID(p.pid), p.rec.Token)
	if err != nil {
		if !errors.Is(err, xen.ErrNoDomain) {
			e.log.Error("adopt", "pid", p.pid, "err", err)
		}
		return false
	}
	p.dom = dom
	p.attachControl()
	p.out.Resume(p.log.ring)
	p.syms = e.symbols(p.rec.image())
	if st, err := dom.Status(); err == nil {
		p.stopped = st.State == xen.StatePaused
	}
	p.unsettled.Store(p.rec.Updating != nil)
	p.loading.Store(p.rec.Loading != nil)
	p.online.Store(p.rec.Request.switched())
	e.running++
	e.events.addf("adopted", &p.rec.Process, "from an earlier engine")
	return true
}

// symbols loads the symbols of an adopted pVM's image, if the file is still the same.
func (e *Engine) symbols(path, sha string) *elf.SymTab {
	im, err := e.images.get(path)
	if err != nil {
		return nil
	}
	defer e.images.put(im)
	if im.sha != sha {
		return nil
	}
	return im.syms
}

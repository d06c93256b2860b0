package engine

import (
	"errors"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/xen"
)

// adoptAll fills the table from the store: what still runs is taken over, what ended while no
// engine was there is recorded as such. Domains of ours that the store does not know were being
// made when the earlier engine died; they go.
func (e *Engine) adoptAll(recs []*record, fresh bool) {
	sort.Slice(recs, func(i, j int) bool { return ended(recs[i]).Before(ended(recs[j])) })
	for _, r := range recs {
		p := &pvm{pid: r.PID, rec: *r, ended: make(chan struct{}), room: make(chan struct{}, 1)}
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
			p.rec.Stat, p.rec.Token = "X", nil
			e.events.addf("exited", &p.rec.Process, "%s", p.rec.Exit.Reason)
			if err := e.store.put(&p.rec); err != nil {
				e.log.Error("store", "pid", p.pid, "err", err)
			}
		}
		p.log.finish()
		e.ended = append(e.ended, p.pid)
		close(p.ended)
	}
	e.endUnknown()
}

// endUnknown destroys domains of ours that the store does not know. Adopt without a token refuses
// what is somebody else's.
func (e *Engine) endUnknown() {
	ids, err := e.hv.Domains()
	if err != nil {
		e.log.Error("domains", "err", err)
		return
	}
	for _, id := range ids {
		if p := e.table[int(id)]; p != nil && p.rec.Exit == nil {
			continue
		}
		dom, err := e.hv.Adopt(id, nil)
		if err != nil {
			continue
		}
		e.events.addf("refused", nil, "domain %d: half made when an earlier engine ended: destroyed", id)
		if err := dom.Destroy(); err != nil {
			e.log.Error("destroy", "domain", id, "err", err)
			continue
		}
		<-dom.Gone()
		dom.Release()
	}
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
	p.syms = e.symbols(p.rec.Image, p.rec.ImageSHA)
	e.running++
	e.events.addf("adopted", &p.rec.Process, "from an earlier engine")
	e.tending.Add(1)
	go func() {
		e.drain(p) // what was written while nobody listened
		e.tend(p)
	}()
	return true
}

// symbols loads the symbols of an adopted pVM's image, if the file is still the same.
func (e *Engine) symbols(path, sha string) *elf.SymTab {
	im, err := e.images.get(path, e.hv.Prepare)
	if err != nil {
		return nil
	}
	defer e.images.put(im)
	if im.sha != sha {
		return nil
	}
	return im.syms
}

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

const (
	// The pauses between two looks whether a library is still in use.
	updateNap    = time.Millisecond
	updateNapMax = 50 * time.Millisecond
)

var (
	errForks     = errors.New("it forks, which comes first: try again")
	errUnsettled = errors.New("has begun with it, and has not said how it went: events will tell")
)

// updateStages are the names of abi.UpdateQuiesce and its neighbours.
var updateStages = [abi.UpdateStages]string{"quiescence", "own pages", "functions", "variables", "release"}

// run maps what is needed, has the pVM do its part, and takes away what is not needed then. While anything is mapped that a
// child must not have the pVM is not forked; if it wants to, that comes first.
func (u *update) run(ctx context.Context, waits func(UpdateWait)) error {
	u.begin = time.Now()
	for {
		t, err := u.attempt(ctx, waits)
		if err == errUnsettled { // until it is, nobody else updates or forks it
			go u.await(t)
			return u.refuse(CodeBusy, "%v", err)
		}
		if err != errForks {
			return u.conclude(err)
		}
		if time.Since(u.begin) >= u.r.Timeout {
			return u.conclude(u.refuse(CodeBusy, "%v", err))
		}
		if u.mapped {
			u.e.unmap(u.p, u.New.pages(), u.Plan)
			u.mapped = false
		}
		u.letFork()
		if err := u.rest(ctx, updateNap); err != nil {
			return u.conclude(err)
		}
	}
}

// intend writes down what is about to be mapped.
func (u *update) intend(token []byte) error {
	return u.e.note(u.p, token, func(r *record) { r.Updating = &u.updating })
}

// note changes the record of a pVM, and writes it, with what the next engine knows the domain by if it still runs.
func (e *Engine) note(p *pvm, token []byte, change func(r *record)) error {
	e.mu.Lock()
	change(&p.rec)
	if p.rec.Exit == nil {
		p.rec.Token = token
	}
	e.mu.Unlock()
	if err := e.save(nil, p); err != nil {
		return fmt.Errorf("its record: %w", err)
	}
	return nil
}

// attempt maps all and asks until the pVM has done it, or cannot. errUnsettled: it may have, see t.
func (u *update) attempt(ctx context.Context, waits func(UpdateWait)) (t *task, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := u.hold(cancel); err != nil {
		return nil, err
	}
	if err := u.mapAll(); err != nil {
		return nil, err
	}
	flags := uint64(0)
	if u.r.DryRun {
		flags = abi.UpdateTry
	}
	var last UpdateWait
	for nap := updateNap; ; nap = min(2*nap, updateNapMax) {
		t := &task{ask: &ipc.Task{Op: abi.TaskUpdate, A: [3]uint64{u.Plan.VA, flags}}, then: u.answered}
		fetched, err := u.e.offer(ctx, u.p, t)
		if err != nil && !fetched {
			return nil, u.silence(ctx, err)
		}
		if err != nil {
			if err := u.patiently(t); err != nil {
				return t, err
			}
			if t.result == notBegun {
				return nil, u.silence(ctx, err)
			}
		}
		if u.done(t) {
			return t, nil
		}
		wait, err := u.verdict(t)
		if err != nil {
			return t, err
		}
		if u.r.DryRun || time.Since(u.begin) >= u.r.Timeout {
			return t, u.refuse(CodeBusy, "%s is in use: %s: try again, or give it longer with --timeout", u.New.Name, wait)
		}
		if wait != last {
			last = wait
			waits(wait)
		}
		if err := u.rest(ctx, nap); err != nil {
			return nil, err
		}
	}
}

// hold keeps the pVM from being forked; interrupt is called when it wants to.
func (u *update) hold(interrupt context.CancelCauseFunc) error {
	u.p.still.Lock() // what is being forked already is first
	defer u.p.still.Unlock()
	if u.p.stopped {
		return u.refuse(CodeBusy, "was stopped: kill -CONT %d first", u.p.pid)
	}
	u.e.mu.Lock()
	defer u.e.mu.Unlock()
	u.interrupt = interrupt
	return nil
}

// forkWaits tells whether a pVM cannot be forked now because of an update. Its call is served when it can be. The caller holds p.still.
func (e *Engine) forkWaits(p *pvm) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.update == nil || p.update.interrupt == nil {
		return false
	}
	p.update.interrupt(errForks)
	return true
}

// letFork is the opposite of hold.
func (u *update) letFork() {
	u.e.mu.Lock()
	u.interrupt = nil
	u.e.mu.Unlock()
	u.p.lookAgain()
}

func (u *update) mapAll() error {
	if u.mapped {
		return nil
	}
	begin := time.Now()
	err := u.p.dom.Map([]xen.Shared{u.pages, u.shared}, u.at, u.intend)
	switch {
	case errors.Is(err, xen.ErrNoDomain):
		return u.ended()
	case errors.Is(err, xen.ErrNoMemory):
		return u.refuse(CodeLimit, "%v: end other pVMs", err)
	case err != nil:
		return u.refuse(CodeInternal, "%v", err)
	}
	u.mapped = true
	u.mapping += time.Since(begin)
	return nil
}

func (u *update) ended() error { return u.refuse(CodeNoPVM, "ended before it was updated") }

// rest waits for d, unless something comes first.
func (u *update) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-u.p.ended:
		return u.ended()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-u.e.quit:
		return errf(CodeEngine, "(%d): the engine is leaving", u.p.pid)
	}
}

// silence is why the pVM has not begun with the task.
func (u *update) silence(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == errGone:
		return u.ended()
	case err == errSilent:
		return u.refuse(CodeBusy, "%v: see whether it is stopped", err)
	}
	return err
}

// patiently waits for the end of a task that the pVM has begun with.
func (u *update) patiently(t *task) error {
	timer := time.NewTimer(u.e.patience)
	defer timer.Stop()
	select {
	case <-t.done:
		return nil
	case <-u.p.ended:
		return u.ended()
	case <-timer.C:
	case <-u.e.quit:
	}
	return errUnsettled
}

// await ends an update of which nobody knew how it went.
func (u *update) await(t *task) {
	select {
	case <-t.done:
		u.conclude(nil)
	case <-u.p.ended:
		u.conclude(nil)
	case <-u.e.quit: // the next engine finds the record as it is
		u.end()
	}
}

// answered takes the pVM's answer before its next call: what it asks for then is to be as it is now.
func (u *update) answered(t *task) {
	switched := t.err == nil && t.result == 0
	if t.err != nil || t.result > 0 { // which makes no sense
		switched = u.e.hasSwitched(u.p, &u.updating) == nil
	}
	if t.err == nil && t.result == 0 {
		if got, err := ipc.ParseUpdated(t.answer.Data); err == nil {
			u.count(got)
		}
	}
	if u.r.DryRun || !switched {
		return
	}
	u.p.linked.Store(u.now)
	u.e.mu.Lock()
	defer u.e.mu.Unlock()
	u.switched = true
	u.p.commit(&u.updating, u.result.Pinned > 0)
}

// done tells whether the pVM has done all that it was asked for.
func (u *update) done(t *task) bool {
	u.e.mu.Lock()
	defer u.e.mu.Unlock()
	return u.switched || u.r.DryRun && t.err == nil && t.result == 0
}

// count is the pVM's word for how it went.
func (u *update) count(got *ipc.Updated) {
	for i, took := range got.Stages {
		if i == abi.UpdateQuiesce || !u.r.DryRun {
			u.stages = append(u.stages, Step{updateStages[i], took})
			u.result.Pause += took
		}
	}
	u.result.Scanned, u.result.Functions, u.result.Variables = got.Scanned, got.Functions, got.Variables
	u.result.Pointers, u.result.Pinned = got.Pointers, got.Pinned
}

// verdict is what the pVM says that is in the way: a use of the library that will end, or an error.
func (u *update) verdict(t *task) (UpdateWait, error) {
	if t.err != nil {
		return UpdateWait{}, u.refuse(CodeInternal, "its answer: %v", t.err)
	}
	errno := unix.Errno(-t.result)
	if errno != unix.EBUSY && errno != unix.EXDEV {
		switch {
		case errno == unix.ENOMEM:
			return UpdateWait{}, u.refuse(CodeLimit, "has no memory for the pages of %s: run it with more (-m)", u.New.Name)
		case t.result > 0:
			return UpdateWait{}, u.refuse(CodeInternal, "its answer makes no sense: %d", t.result)
		}
		return UpdateWait{}, u.refuse(CodeInternal, "does not update %s: %v", u.New.Name, errno)
	}
	got, err := ipc.ParseUpdated(t.answer.Data)
	if err != nil {
		return UpdateWait{}, u.refuse(CodeInternal, "its answer: %v", err)
	}
	wait := UpdateWait{Thread: got.TID, Where: place(u.p, got.Value)}
	if errno == unix.EBUSY {
		return wait, nil
	}
	holder := "at " + place(u.p, got.At)
	if got.TID != 0 {
		holder = fmt.Sprintf("of thread %d, at %#x", wait.Thread, got.At)
	}
	return wait, u.refuse(CodeChanged, "there is a pointer to %s, which %s has not, %s", wait.Where, u.New.Path, holder)
}

func (w UpdateWait) String() string {
	if w.Thread == 0 {
		return w.Where
	}
	return fmt.Sprintf("thread %d in %s", w.Thread, w.Where)
}

// conclude has what is not needed any more taken away, whatever came of it. Who waits for an update that is done need not wait for that.
func (u *update) conclude(err error) error {
	e, p := u.e, u.p
	e.mu.Lock()
	switched := u.switched
	u.told = true
	e.mu.Unlock()
	pinned := u.result.Pinned > 0
	rest := func() {
		e.endUpdate(p, &u.updating, u.mapped, switched, pinned)
		u.end()
	}
	if !switched {
		rest()
	}
	if !switched && err != nil {
		return err
	}
	u.steps.took("map", u.mapping)
	u.steps.took("wait", max(0, time.Since(u.begin)-u.mapping-u.result.Pause))
	u.steps.done = append(u.steps.done, u.stages...)
	u.result.Steps = u.steps.done
	if switched {
		e.events.add(Event{Type: "updated", PID: p.pid, Name: u.rec.Name, Text: u.New.Name + ": " + u.New.Path, Steps: u.result.Steps})
		go rest()
	}
	return nil
}

// ---- what is left in the end, also by an earlier engine ----

// pages are the addresses of a library.
func (l *LibraryUse) pages() xen.Range { return xen.Range{VA: l.Base, Pages: l.Bytes / elf.PageSize} }

// commit makes the new library p's in its record; pinned: constants of the old one are used still. The caller holds Engine.mu.
func (p *pvm) commit(now *updating, pinned bool) {
	p.rec.Libraries = slices.Clone(p.rec.Libraries)
	i := slices.IndexFunc(p.rec.Libraries, func(l LibraryUse) bool { return l.Name == now.New.Name })
	p.rec.Libraries[i] = now.New
	if pinned && !slices.Contains(p.rec.Kept, now.Old) {
		p.rec.Kept = append(slices.Clone(p.rec.Kept), now.Old)
	}
}

// endUpdate takes away, of an update that has mapped anything, what p does not use: the old library or the new one, and the plan.
func (e *Engine) endUpdate(p *pvm, now *updating, mapped, switched, pinned bool) {
	switch {
	case !mapped:
	case !switched:
		e.unmap(p, now.New.pages(), now.Plan)
	case pinned:
		e.unmap(p, append(slices.Clone(now.Code), now.Plan)...)
	default:
		e.unmap(p, now.Old, now.Plan)
	}
	if err := e.note(p, p.dom.Token(), func(r *record) { r.Updating = nil }); err != nil {
		e.log.Error("store", "err", err)
	}
}

// unmap takes pages away from p. Where that fails nothing else will be.
func (e *Engine) unmap(p *pvm, ranges ...xen.Range) {
	err := p.dom.Unmap(ranges...)
	if err == nil || errors.Is(err, xen.ErrNoDomain) {
		return
	}
	e.log.Error("unmap", "pid", p.pid, "ranges", ranges, "err", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	p.rec.Kept = slices.Concat(p.rec.Kept, ranges)
}

// errNotSwitched says that p has its old library.
var errNotSwitched = errors.New("it has not been updated")

// hasSwitched looks whether p has the new library: nil, errNotSwitched, or that nobody can tell.
func (e *Engine) hasSwitched(p *pvm, now *updating) error {
	base, err := p.word(now.BaseWord)
	if err == nil && base != now.New.Base {
		err = errNotSwitched
	}
	return err
}

// word reads 8 bytes of p's memory.
func (p *pvm) word(va uint64) (uint64, error) {
	var word [8]byte
	err := p.dom.ReadMemory(va, word[:])
	return binary.LittleEndian.Uint64(word[:]), err
}

// settleUpdate ends an update that an earlier engine has begun, at a call of p's, which shows that it does not work at it any more.
func (e *Engine) settleUpdate(p *pvm) {
	if !p.unsettled.Load() {
		return
	}
	e.mu.Lock()
	now := p.rec.Updating
	e.mu.Unlock()
	err := e.hasSwitched(p, now)
	if err != nil && err != errNotSwitched {
		e.log.Error("update", "pid", p.pid, "err", err)
		return
	}
	pinned := p.pins(now)
	if err == nil {
		p.linked.Store(nil) // it is found out anew
		e.mu.Lock()
		p.commit(now, pinned)
		e.mu.Unlock()
		e.events.addf("updated", &p.rec.Process, "%s: %s, which an earlier engine has begun", now.New.Name, now.New.Path)
	} else {
		e.events.addf("update refused", &p.rec.Process, "%s: %s: an earlier engine did not finish it", now.New.Name, now.New.Path)
	}
	p.unsettled.Store(false)
	e.endUpdate(p, now, true, err == nil, pinned)
}

// awaitSettled waits until it is known which libraries p has, in vain if p does not answer: it may be stopped.
func (e *Engine) awaitSettled(ctx context.Context, p *pvm) (settled bool) {
	ctx, cancel := context.WithTimeout(ctx, e.patience/taskShare)
	defer cancel()
	for p.unsettled.Load() {
		select {
		case <-ctx.Done():
			return false
		case <-p.ended:
			return false
		case <-time.After(settleLook):
		}
	}
	return true
}

const settleLook = 2 * time.Millisecond

// pins tells whether p, which has the new library, uses constants of the old one still. Its answer tells, which no engine may have taken, but
// which is in its place until another task is; if not, it may.
func (p *pvm) pins(now *updating) bool {
	t, err := ipc.TakeTask(p.dom.Control())
	if err != nil || t.Op != abi.TaskUpdate || t.A[0] != now.Plan.VA {
		return true
	}
	got, err := ipc.ParseUpdated(t.Data)
	return err != nil || got.Pinned > 0
}

package engine

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"kxsh/elf"
	"kxsh/xen"
)

// update replaces one library of one pVM: the engine checks, plans and maps (§3.3.2 of the paper, stages i and ii), the pVM's LibOS looks
// whether the library is in use and changes what refers to it (iii to v, KX_TASK_UPDATE), and the engine takes away the old one (vi).
type update struct {
	e      *Engine
	p      *pvm
	r      UpdateRequest
	rec    record   // as it was
	index  int      // which library
	file   *library // that comes; its user is this update
	now    *elf.Linked
	pages  xen.Shared // its read-only ones
	shared xen.Shared // the plan's pages
	at     []xen.Mapping
	updating
	steps  steps
	stages []Step // the pVM's own, by its word
	result UpdateResult

	begin   time.Time     // of the first attempt
	mapped  bool          // the new library and the plan are
	mapping time.Duration // that took it

	interrupt context.CancelCauseFunc // of the attempt; guarded by Engine.mu. nil: nothing is mapped, and p may fork
	switched  bool                    // guarded by Engine.mu: p has the new library
	told      bool                    // guarded by Engine.mu: only what is not needed any more is to be taken away
	gone      chan struct{}           // closed in the end
}

// updating is what a record keeps of an update under way, so that an engine that dies in it is followed by one that ends it.
type updating struct {
	New      LibraryUse  `json:"new"` // in the place of that of its name
	Old      xen.Range   `json:"old"`
	BaseWord uint64      `json:"base_word"` // address of the word that holds New.Base once the pVM has done its part
	Plan     xen.Range   `json:"plan"`
	Code     []xen.Range `json:"code"` // of the old library, which goes also when its constants stay
}

// Update implements API.
func (e *Engine) Update(ctx context.Context, pid int, r UpdateRequest, waits func(UpdateWait)) (*UpdateResult, error) {
	p, err := e.findLive(pid, "only pVMs have libraries")
	if err != nil {
		return nil, err
	}
	u := e.newUpdate(p, r)
	for {
		last, err := e.beginUpdate(u)
		if err != nil {
			return nil, err
		}
		if last == nil {
			break
		}
		select {
		case <-last.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if waits == nil {
		waits = func(UpdateWait) {}
	}
	return u.all(ctx, waits)
}

func (e *Engine) newUpdate(p *pvm, r UpdateRequest) *update {
	return &update{e: e, p: p, r: r, gone: make(chan struct{})}
}

// all is the whole update, after beginUpdate.
func (u *update) all(ctx context.Context, waits func(UpdateWait)) (*UpdateResult, error) {
	err := u.steps.do("check", u.check, nil)
	if err != nil || u.result.Already {
		u.end()
	} else if err = u.steps.do("plan", u.prepare, nil); err != nil {
		u.end()
	} else {
		err = u.run(ctx, waits)
	}
	if err != nil {
		u.e.events.addf("update refused", &u.rec.Process, "%v", err)
		return nil, err
	}
	return &u.result, nil
}

// beginUpdate makes u the only update of its pVM, and keeps the engine from leaving in the middle; last is one that will be gone soon, and comes first.
func (e *Engine) beginUpdate(u *update) (last *update, err error) {
	p := u.p
	if p.isStopped() {
		return nil, u.refuse(CodeBusy, "is stopped: kill -CONT %d first", p.pid)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closing:
		return nil, errf(CodeEngine, "the engine is leaving: try again")
	case p.update != nil && p.update.told:
		return p.update, nil
	case p.update != nil:
		return nil, u.refuse(CodeBusy, "is being updated by somebody else: try again")
	case p.loading.Load():
		return nil, u.refuse(CodeBusy, "is loading a library: try again")
	case p.rec.Updating != nil:
		return nil, u.refuse(CodeBusy, "has not said how the last update went, which an earlier engine has begun: try again")
	}
	p.update, u.rec = u, p.rec
	e.tending.Add(1)
	return nil, nil
}

// end makes room for the next one.
func (u *update) end() {
	if u.file != nil {
		u.e.libs.put(u.file)
	}
	if u.shared != nil {
		u.shared.Close()
	}
	u.e.mu.Lock()
	u.p.update = nil
	u.e.mu.Unlock()
	close(u.gone)
	u.e.tending.Done()
	u.p.lookAgain() // a fork may have waited
}

func (u *update) refuse(code Code, format string, args ...any) *Error {
	return errf(code, "(%d): %s", u.p.pid, fmt.Sprintf(format, args...))
}

// ---- checks ----

// check finds the library and the file that is to replace it, and whether it may and can. Nothing has been touched yet.
func (u *update) check() error {
	i := slices.IndexFunc(u.rec.Libraries, func(l LibraryUse) bool { return l.AnswersTo(u.r.Old) })
	if i < 0 {
		return u.refuse(CodeInvalid, "has no library %s: ldd %d lists those that it has", u.r.Old, u.p.pid)
	}
	old := &u.rec.Libraries[i]
	u.index = i
	path := u.r.New
	if u.r.Rollback {
		if old.Previous == nil {
			return u.refuse(CodeInvalid, "%s has not been updated: there is nothing to go back to", old.Name)
		}
		path = old.Previous.Path
	}
	if !filepath.IsAbs(path) {
		return errf(CodeInvalid, "%s: the engine needs an absolute path", path)
	}
	file, err := u.e.libs.get(path)
	if err != nil {
		return err
	}
	loader := min(u.rec.loader(), file.record.LoadedBy())
	u.file = u.e.ownPages(file, loader, u.rec.ImageSHA)
	if err := file.onlyBlank(path); err != nil {
		return err
	}
	u.result = UpdateResult{
		PID: u.p.pid, Library: old.Name, DryRun: u.r.DryRun, Already: file.sha == old.SHA256,
		Old: LibraryFile{old.Path, old.SHA256}, New: LibraryFile{path, file.sha},
	}
	u.New = u.file.use(old.Name, path, loader)
	u.New.Item = old.Item
	if !u.r.Rollback {
		u.New.Previous = &LibraryFile{old.Path, old.SHA256}
	} else if file.sha != old.Previous.SHA256 {
		return u.refuse(CodeChanged, "%s: is another file than the one that was replaced: name it in an update", path)
	}
	if u.result.Already {
		return nil
	}
	return cmp.Or(u.permit(path), u.compare())
}

// AnswersTo tells whether somebody means the library by a word: its name, that of its file, or its path.
func (l *LibraryUse) AnswersTo(word string) bool {
	return l.Name == word || l.Path == word || filepath.Base(l.Path) == word
}

// permit holds the new file to what the pVM's image, if it had to be signed, is held to.
func (u *update) permit(path string) error {
	rule, err := u.rec.Request.restriction()
	if err != nil || !rule.Signed {
		return err
	}
	rec, err := u.e.demands(&u.rec)
	if err != nil {
		return u.refuse(CodeRestricted, "%v", err)
	}
	return u.e.permitLibrary(&u.rec.Request, &rule, rec, u.New.Name, path, u.file)
}

// compare tells whether the new file can take the old one's place. What goes back is held to the same, the other way round: all that the older
// one has is as it was.
func (u *update) compare() error {
	linked, err := u.e.linkedOf(u.p)
	if err != nil {
		return u.refuse(CodeChanged, "%v", err)
	}
	old, now := linked.Libraries[u.index].Library, u.file.elf
	if u.r.Rollback {
		old, now = now, old
	}
	changes, err := now.Compare(old, u.r.SymbolsOnly)
	if err != nil {
		return u.refuse(CodeChanged, "%s: %v", u.New.Path, err)
	}
	if n := len(changes.Reasons); n > 0 {
		err := u.refuse(CodeChanged, "%s cannot take the place of %s: %s", u.result.New.Path, u.result.Old.Path, plural(n, "reason"))
		err.Reasons = changes.Reasons
		return err
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// An application (run --recycle) is a shared library that begins where the first of these functions is that it has. It goes into a placeholder, a pVM that
// has booted, with all the libraries that it needs; what it finds there is what the program of an image finds.
var applicationEntries = [...]string{elf.ApplicationEntry, "main"}

// entryOf is where an application begins, as linked; 0: it is none.
func entryOf(l *elf.Library) uint64 {
	for _, name := range applicationEntries {
		if va, ok := l.Function(name); ok {
			return va
		}
	}
	return 0
}

// application returns a checked application; the caller puts it back.
func (e *Engine) application(path string) (*library, error) {
	app, err := e.libs.get(path)
	if err == nil && entryOf(app.elf) != 0 {
		return app, nil
	}
	var own *Error
	switch {
	case err == nil:
		e.libs.put(app)
		return nil, errf(CodeBadImage, "%s: no application: it has neither %s nor %s", path, applicationEntries[0], applicationEntries[1])
	case errors.As(err, &own) && own.Code == CodeBadImage:
		if im, imErr := e.images.get(path); imErr == nil {
			e.images.put(im)
			return nil, errf(CodeBadImage, "%s: an image, no application: run it without --recycle, or link it with kxsh cc -shared", path)
		}
	}
	return nil, err
}

// imageAt returns a checked image; the caller puts it back.
func (e *Engine) imageAt(path string) (*image, error) {
	im, err := e.images.get(path)
	var own *Error
	if errors.As(err, &own) && own.Code == CodeBadImage {
		if app, appErr := e.application(path); appErr == nil {
			e.libs.put(app)
			return nil, errf(CodeBadImage, "%s: an application: run it with --recycle", path)
		}
	}
	return im, err
}

// onlyBlank refuses an application in the place of a library.
func (l *library) onlyBlank(path string) error {
	if l.elf.IsApplication() {
		return errf(CodeBadImage, "%s: an application, which goes into a blank domain only (it has %s): run --recycle", path, elf.ApplicationEntry)
	}
	return nil
}

// recycled takes a placeholder for an application, and finds out how that is linked there.
func (b *birth) recycled(ctx context.Context) error {
	e, r := b.e, &b.r
	var app *library
	if err := b.do("application", func() (err error) { app, err = e.application(r.Image); return err }, nil); err != nil {
		return err
	}
	loader := app.record.LoadedBy()
	app = e.ownPages(app, loader, app.sha)
	b.later(func() { e.libs.put(app) })
	b.file = app.record
	if b.rule.Signed {
		if err := b.do("restrictions", func() error { return e.permit(r, &b.rule, app.record) }, nil); err != nil {
			return err
		}
	}
	if err := b.readRoot(); err != nil {
		return err
	}
	l := &linking{birth: b, app: app, find: e.finder(app.record, r, &b.rule)}
	l.find.loader, l.find.app = loader, app.sha
	b.later(l.find.put)
	if err := b.do("libraries", l.tree, nil); err != nil {
		return l.find.refuse(err)
	}
	if err := b.do("domain", func() error { return l.take(ctx) }, l.giveBack); err != nil {
		return err
	}
	if err := b.do("link", l.link, nil); err != nil {
		return l.find.refuse(err)
	}
	l.p.rec.ImageSHA, l.p.rec.Libraries, l.p.rec.Kept, l.p.rec.Loader = app.sha, l.uses, l.kept, loader
	b.run = l.load
	return nil
}

// linking is the way of an application into a placeholder.
type linking struct {
	*birth
	app     *library
	find    *finder
	nodes   []elf.Node // the application first
	usual   bool       // the placeholder is one of those that wait
	touched bool       // it is not as it was
	shared  []xen.Shared
	at      []xen.Mapping // of shared, by their addresses; the plan is the last one
	uses    []LibraryUse
	now     *elf.Linked
	plan    uint64      // its address
	inline  []byte      // the plan, if it is in the control area
	kept    []xen.Range // else
}

// tree finds all libraries that the application needs.
func (l *linking) tree() (err error) {
	name := filepath.Base(l.r.Image)
	l.nodes, _, err = new(elf.Linked).Grow(name, func(needed, by string) (*elf.Library, error) {
		if by == "" {
			return l.app.elf, nil
		}
		return l.find.open(needed, by)
	})
	if err == nil {
		l.nodes[0].Own = true
	}
	return err
}

// take takes a placeholder, if those that wait will do, or makes one.
func (l *linking) take(ctx context.Context) error {
	_, pages := elf.Place(l.nodes, 0)
	shape := placeholderShape{memory: ramSize(&l.r, 0, l.root), pages: max(2*pages+spareRoom, placeholderPages), root: l.root}
	boot := l.boot()
	if err := boot.Check(shape.memory / elf.PageSize); err != nil {
		return err
	}
	var p *pvm
	if l.usual = shape.usual(); l.usual {
		p = l.e.placeholders.take()
	}
	if p == nil {
		var s steps
		var err error
		if p, err = l.e.newPlaceholder(ctx, shape, &s, l.e.hv.Create); err != nil {
			return err
		}
	}
	p.rec = record{Placeholder: p.rec.Placeholder, Dynamic: p.rec.Dynamic} // somebody may have given it back
	l.p = p
	return nil
}

// giveBack undoes take.
func (l *linking) giveBack() {
	if l.usual && !l.touched {
		l.e.placeholders.giveBack(l.p)
	} else {
		end(l.p)
	}
}

// link finds out what goes where, and makes the plan for the LibOS.
func (l *linking) link() error {
	dynamic := l.p.rec.Dynamic
	was := l.p.linked.Load()
	now, changes, err := was.Load(l.nodes, dynamic.VA, !bindsNow(l.r.Env))
	if err != nil {
		return err
	}
	word, ok := was.Variable(applicationWord, 8)
	if !ok {
		return errf(CodeInternal, "%s has no %s", placeholderImage, applicationWord)
	}
	changes.Set(word, now.Libraries[0].Base+entryOf(l.app.elf))
	var used []xen.Range
	for i := range now.Libraries {
		file, use := l.file(i)
		at, _ := use.place(&now.Libraries[i], i)
		pages, err := l.e.pages(file, use.Path)
		if err != nil {
			return err
		}
		l.at, l.shared = append(l.at, at...), append(l.shared, pages)
		l.uses, used = append(l.uses, use), append(used, use.pages())
	}
	l.now = now
	if err := l.place(planOf(changes), used); err != nil {
		return err
	}
	byAddress(l.at)
	return nil
}

// place says where the LibOS finds the plan: in the control area, where that has room for a task, or, if it is too large, in pages of the dynamic segment, which stay.
func (l *linking) place(plan *ipc.Update, used []xen.Range) error {
	if plan.Size() <= abi.TaskSize {
		l.plan, l.inline = abi.TaskVa, plan.Encode(abi.TaskVa)
		return nil
	}
	if len(l.nodes) == abi.Libraries { // a hypervisor counts what stays as it does libraries
		return errf(CodeLimit, "%s: it is large, and with %d libraries: at most %d have room then", l.r.Image, len(l.nodes)-1, abi.Libraries-2)
	}
	at := xen.Range{Pages: plan.Size() / elf.PageSize}
	if at.VA = room(l.p.rec.Dynamic, used, at.Pages); at.VA == 0 {
		return errf(CodeLimit, "%s: there is no room for %d pages beside its libraries", l.r.Image, at.Pages)
	}
	share, err := l.e.hv.Share(plan.Encode(at.VA))
	if err != nil {
		return err
	}
	l.later(func() { share.Close() })
	l.at, l.shared = append(l.at, xen.Mapping{Range: at, Of: len(l.shared), Prot: elf.Read}), append(l.shared, share)
	l.plan, l.kept = at.VA, []xen.Range{at}
	return nil
}

// file is the file of a library, and what is kept of it.
func (l *linking) file(i int) (*library, LibraryUse) {
	if i == 0 {
		return l.app, l.app.use(l.nodes[0].Name, l.r.Image, l.find.loader)
	}
	k := slices.IndexFunc(l.find.uses, func(u LibraryUse) bool { return u.Name == l.nodes[i].Name })
	return l.find.files[k], l.find.uses[k]
}

// load gives the placeholder its program, and answers its call.
func (l *linking) load() error {
	p := l.p
	call, ok := p.calls.Next()
	if !ok {
		return fmt.Errorf("domain %d does not ask for an application", p.pid)
	}
	l.touched = true
	boot := l.boot()
	boot.Root = nil // it is mounted
	if err := boot.Renew(p.dom.Control()); err != nil {
		return err
	}
	copy(p.dom.Control()[abi.TaskVa-abi.CtlVa:][:abi.TaskSize], l.inline)
	p.linked.Store(l.now)
	err := p.dom.MapFor(l.shared, l.at, func() { p.calls.Answer(call, int64(l.plan)) })
	token := p.dom.Token()
	l.e.mu.Lock()
	p.rec.Token = token
	l.e.mu.Unlock()
	return err
}

// letGo frees the domain of a pVM that has ended. That of a recycled one becomes a placeholder again, if it can and one is wanted.
func (e *Engine) letGo(p *pvm) {
	shape := placeholderShape{memory: ramSize(&p.rec.Request, 0, nil), pages: p.rec.Dynamic.Pages}
	if r := &p.rec.Request; !r.Recycle || r.Root != "" || !shape.usual() || !e.placeholders.expect() {
		p.release()
		return
	}
	rested := time.Now().Add(placeholderRest)
	go func() {
		defer e.placeholders.came()
		var s steps
		n, err := e.newPlaceholder(context.Background(), shape, &s, p.reset)
		p.release() // if it was not reset
		if err != nil {
			e.log.Info("not recycled", "domain", p.pid, "err", err)
			return
		}
		e.events.add(Event{Type: "recycled", PID: p.pid, Name: p.rec.Name, Text: "its domain was made blank, and waits for another application", Steps: s.done})
		e.placeholders.put(n, rested)
	}()
}

// reset makes of the domain of a pVM that has ended another one.
func (p *pvm) reset(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
	return p.dom.Reset(ctx, c)
}

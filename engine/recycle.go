package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"kxsh/elf"
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
	l := &linking{birth: b, find: e.finder(app.record, r, &b.rule), outfit: &outfit{lazy: !bindsNow(r.Env)}}
	l.find.loader, l.find.app = loader, app.sha
	b.later(l.find.put)
	if err := b.do("libraries", func() error { return l.tree(app, loader) }, nil); err != nil {
		return l.find.refuse(err)
	}
	if err := b.do("domain", func() error { return l.take(ctx) }, l.giveBack); err != nil {
		return err
	}
	if l.fit == nil {
		if err := b.do("link", l.link, nil); err != nil {
			return l.find.refuse(err)
		}
	}
	rec := &l.p.rec
	rec.ImageSHA, rec.Libraries, rec.Kept, rec.Loader = app.sha, l.fit.uses, l.fit.kept, loader
	b.run = l.load
	return nil
}

// linking is the way of an application into a placeholder.
type linking struct {
	*birth
	find    *finder
	outfit  *outfit
	took    waiting
	fit     *fit
	usual   bool // the placeholder is one of those that wait
	touched bool // it is not as it was
}

// tree finds all libraries that the application needs.
func (l *linking) tree(app *library, loader elf.Loader) error {
	nodes, _, err := new(elf.Linked).Grow(filepath.Base(l.r.Image), func(needed, by string) (*elf.Library, error) {
		if by == "" {
			return app.elf, nil
		}
		return l.find.open(needed, by)
	})
	if err != nil {
		return err
	}
	nodes[0].Own = true
	o := l.outfit
	o.nodes, o.files, o.uses = nodes, []*library{app}, []LibraryUse{app.use(nodes[0].Name, l.r.Image, loader)}
	for _, n := range nodes[1:] {
		k := slices.IndexFunc(l.find.uses, func(u LibraryUse) bool { return u.Name == n.Name })
		o.files, o.uses = append(o.files, l.find.files[k]), append(o.uses, l.find.uses[k])
	}
	return nil
}

// take takes a placeholder, if those that wait will do, or makes one.
func (l *linking) take(ctx context.Context) error {
	_, pages := elf.Place(l.outfit.nodes, 0)
	shape := placeholderShape{memory: ramSize(&l.r, 0, l.root), pages: max(2*pages+spareRoom, placeholderPages), root: l.root}
	boot := l.boot()
	if err := boot.Check(shape.memory / elf.PageSize); err != nil {
		return err
	}
	if l.usual = shape.usual(); l.usual {
		l.took = l.e.placeholders.take(l.outfit)
	}
	if l.took.p == nil {
		var s steps
		var err error
		if l.took.p, err = l.e.newPlaceholder(ctx, shape, &s, l.e.hv.Create); err != nil {
			return err
		}
	}
	l.p, l.fit = l.took.p, l.took.fit
	l.p.rec = record{Placeholder: l.p.rec.Placeholder, Dynamic: l.p.rec.Dynamic} // somebody may have given it back
	return nil
}

// giveBack undoes take.
func (l *linking) giveBack() {
	if l.usual && !l.touched {
		l.e.placeholders.giveBack(l.took)
	} else {
		end(l.p)
	}
}

// link finds out what goes where.
func (l *linking) link() (err error) {
	if l.fit, err = l.e.fitInto(l.p, l.outfit); err == nil {
		l.later(l.fit.done)
	}
	return err
}

// load gives the placeholder its program, and answers its call.
func (l *linking) load() error {
	p, f := l.p, l.fit
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
	copy(p.dom.Control()[abi.TaskVa-abi.CtlVa:][:abi.TaskSize], f.inline)
	p.linked.Store(f.now)
	err := f.begin(p, func() { p.calls.Answer(call, int64(f.plan)) })
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
		e.placeholders.put(waiting{p: n, from: rested})
	}()
}

// reset makes of the domain of a pVM that has ended another one.
func (p *pvm) reset(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
	return p.dom.Reset(ctx, c)
}

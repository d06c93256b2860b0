package engine

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// A library comes while a pVM runs (abi.CallLoad), and those that it needs. The engine finds, checks and links them as at the start, and maps what nobody can write
// to; the pVM's LibOS gets the rest from a plan, and says that it has (abi.CallLoaded). In between it makes no other call, so that nothing is forked
// and nothing updated.

// maxLoadName is the most bytes of a name that a pVM asks for.
const maxLoadName = 4096

// loading is what a record keeps of libraries that come, from before anything is mapped until what they do not need any more is gone.
type loading struct {
	New      []LibraryUse `json:"new"`
	BaseWord uint64       `json:"base_word"` // address of the word that holds New[0].Base once the pVM uses them
	Room     xen.Range    `json:"room"`      // of all of them
	Plan     xen.Range    `json:"plan"`
	Loaded   bool         `json:"loaded"` // it does, and they are in the record
}

// callLoad serves CallLoad.
func (e *Engine) callLoad(p *pvm, call ipc.Call) {
	p.still.Lock()
	defer p.still.Unlock()
	if p.stopped || e.isClosing() { // it goes on later; the next engine finds the call as it is
		return
	}
	if !e.beginLoad(p) {
		e.answerLoad(p, call, -int64(unix.EBUSY), 0, "")
		return
	}
	name := askedName(p, call)
	if err := e.load(p, call, name); err != nil {
		p.loading.Store(false)
		why := strings.TrimPrefix(err.Error(), p.rec.Image+": ")
		if !strings.Contains(why, name) {
			why = name + ": " + why
		}
		e.answerLoad(p, call, -int64(loadErrno(err)), 0, why)
	}
}

// askedName is what a CallLoad asks for; "": that makes no sense.
func askedName(p *pvm, call ipc.Call) string {
	t, err := ipc.TakeTask(p.dom.Control())
	if err != nil || uint64(len(t.Data)) != call.A[0] || len(t.Data) > maxLoadName {
		return ""
	}
	return string(t.Data)
}

// beginLoad keeps updates away from p; false: there is one, which comes first.
func (e *Engine) beginLoad(p *pvm) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.update != nil || p.rec.Updating != nil {
		return false
	}
	p.loading.Store(true)
	return true
}

// answerLoad answers a CallLoad: with the address of a plan, 0 or -errno, the place of the library, and why.
func (e *Engine) answerLoad(p *pvm, call ipc.Call, result int64, item int, why string) {
	why = why[:min(len(why), ipc.TaskRoom)]
	ipc.PutTask(p.dom.Control(), &ipc.Task{A: [3]uint64{uint64(item)}, Data: []byte(why)})
	p.calls.Answer(call, result)
	p.dom.Notify() // if it has gone: tend will see
}

// load finds what p asks for.
func (e *Engine) load(p *pvm, call ipc.Call, asked string) error {
	if asked == "" || call.A[1]&^(abi.LoadNow|abi.LoadPresent) != 0 {
		return errf(CodeInvalid, "not a library's name, or unknown flags")
	}
	linked, err := e.linkedOf(p)
	if err != nil {
		return err
	}
	e.mu.Lock()
	rec := p.rec
	e.mu.Unlock()
	rule, err := rec.Request.restriction()
	if err != nil {
		return err
	}
	f := e.finder(nil, &rec.Request, &rule)
	f.linked, f.has = linked, rec.Libraries
	f.loader, f.app = rec.loader(), rec.ImageSHA
	defer func() { f.put() }()
	if rule.Signed {
		if f.rec, err = e.demands(&rec); err != nil {
			return err
		}
	}
	name, err := f.local(asked)
	if err != nil {
		return err
	}
	tree, wanted, err := linked.Grow(name, f.open)
	if err != nil {
		return f.refuse(err)
	}
	if len(tree) == len(linked.Libraries) {
		p.loading.Store(false)
		e.answerLoad(p, call, 0, linked.Libraries[wanted].Item, "")
		return nil
	}
	if call.A[1]&abi.LoadPresent != 0 {
		return errf(CodeNoImage, "%s: is not loaded", name)
	}
	return f.refuse(e.bring(p, call, &rec, f, tree, wanted))
}

// imageOf returns the image that a pVM was started with, if it is the same file still; the caller puts it back.
func (e *Engine) imageOf(rec *record) (*image, error) {
	path, sha := rec.image()
	im, err := e.images.get(path)
	if err == nil && im.sha != sha {
		e.images.put(im)
		err = hasChanged(path)
	}
	return im, err
}

func hasChanged(path string) error {
	return errf(CodeRestricted, "%s has changed since the pVM was started: what it wants of its libraries is not known any more", path)
}

// local is the name of a library in one of the folders where libraries are, from a name that a pVM has asked for, perhaps by a path. No other files are looked for.
func (f *finder) local(name string) (string, error) {
	if strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		return "", errf(CodeInvalid, "%q: not a library's name", name)
	}
	clean := filepath.Clean(name)
	for _, dir := range f.folders {
		if inside, found := strings.CutPrefix(clean, dir+"/"); found {
			clean = inside
			break
		}
	}
	if !filepath.IsLocal(clean) || clean == "." {
		return "", f.nowhere(name)
	}
	return clean, nil
}

func (f *finder) nowhere(name string) error {
	return errf(CodeNoImage, "%s: is in none of %s: name its folder with --lib-path", name, strings.Join(f.folders, ", "))
}

// bring maps what f has found and checked for p, which waits in a CallLoad for one of that tree, and answers the call. After an error nothing is left, and the
// call is not answered. It is for the goroutine that tends p, after beginLoad.
func (e *Engine) bring(p *pvm, call ipc.Call, rec *record, f *finder, tree []elf.Node, wanted int) (err error) {
	had := len(f.linked.Libraries)
	// A hypervisor counts what stays of old libraries as it does libraries, and so would a fork.
	if n := len(rec.Kept); n+len(tree) > abi.Libraries {
		return errf(CodeLimit, "%d libraries, with %d of which constants are used still: a pVM has at most %d", n+len(tree), n, abi.Libraries)
	}
	rooms := rec.rooms()
	_, pages := elf.Place(tree[had:], 0)
	now := &loading{New: slices.Clone(f.uses)}
	if now.Room, err = rooms.take(pages); err != nil {
		return err
	}
	next, update, err := f.linked.Load(tree, now.Room.VA, call.A[1]&abi.LoadNow == 0)
	if err != nil {
		return err
	}
	now.BaseWord = next.BaseWord(had)
	plan := planOf(update)
	if now.Plan, err = rooms.take(plan.Size() / elf.PageSize); err != nil {
		return err
	}
	pagesOf, err := e.hv.Share(plan.Encode(now.Plan.VA))
	if err != nil {
		return err
	}
	defer pagesOf.Close()
	files, at := []xen.Shared{pagesOf}, []xen.Mapping{{Range: now.Plan, Prot: elf.Read}}
	for i := range now.New {
		held, err := e.pages(f.files[i], now.New[i].Path)
		if err != nil {
			return err
		}
		shared, _ := now.New[i].place(&next.Libraries[had+i], len(files))
		files, at = append(files, held), append(at, shared...)
	}
	byAddress(at)
	intend := func(token []byte) error { return e.setLoading(p, now, token) }
	if err := p.dom.Map(files, at, intend); err != nil {
		return errors.Join(err, e.setLoading(p, nil, p.dom.Token()))
	}
	p.next = next
	e.answerLoad(p, call, int64(now.Plan.VA), next.Libraries[wanted].Item, "")
	return nil
}

// setLoading writes down what is about to be mapped, or that nothing is.
func (e *Engine) setLoading(p *pvm, now *loading, token []byte) error {
	return e.note(p, token, func(r *record) { r.Loading = now })
}

// dropLoading takes away what the pVM does not use.
func (e *Engine) dropLoading(p *pvm, now *loading) error {
	if now.Loaded {
		e.unmap(p, now.Plan)
	} else {
		e.unmap(p, now.Room, now.Plan)
	}
	p.next = nil
	return e.setLoading(p, nil, p.dom.Token())
}

// callLoaded serves CallLoaded. One for which there is nothing to do was answered by an engine that died before the pVM heard of it.
func (e *Engine) callLoaded(p *pvm, call ipc.Call) {
	p.still.Lock()
	defer p.still.Unlock()
	if p.stopped || e.isClosing() {
		return
	}
	e.endLoad(p, call.A[0] == 0, func() {
		p.calls.Answer(call, 0)
		p.dom.Notify()
	})
}

// endLoad is what is done when it is known whether p uses what has come. What is not needed any more goes when it goes on.
func (e *Engine) endLoad(p *pvm, loaded bool, goOn func()) {
	e.mu.Lock()
	now := p.rec.Loading
	if now != nil && loaded && !now.Loaded {
		done := *now
		done.Loaded = true
		now = &done
		p.rec.Loading, p.rec.Libraries = now, slices.Concat(p.rec.Libraries, now.New)
		p.linked.Store(p.next) // nil: an earlier engine has linked them; it is found out anew
		defer e.tellLoaded(p, now)
	}
	e.mu.Unlock()
	var err error
	if now != nil {
		err = e.save(nil, p)
	}
	goOn()
	if now != nil {
		err = errors.Join(err, e.dropLoading(p, now))
	}
	p.loading.Store(false)
	if err != nil {
		e.log.Error("load", "pid", p.pid, "err", err)
	}
}

func (e *Engine) tellLoaded(p *pvm, now *loading) {
	for _, l := range now.New {
		e.events.addf("loaded", &p.rec.Process, "%s: %s", l.Name, l.Path)
	}
}

// settleLoad ends a load of which p has not said how it went, at another call of its: an earlier engine has answered, or p does not keep to the rules.
func (e *Engine) settleLoad(p *pvm) {
	if !p.loading.Load() {
		return
	}
	e.mu.Lock()
	now := p.rec.Loading
	e.mu.Unlock()
	loaded := false
	if now != nil {
		base, err := p.word(now.BaseWord)
		loaded = err == nil && base == now.New[0].Base
	}
	e.endLoad(p, loaded, func() {})
}

// loadErrno is what the pVM's call fails with; what dlerror says counts.
func loadErrno(err error) unix.Errno {
	var own *Error
	if errors.As(err, &own) {
		switch own.Code {
		case CodeNoImage:
			return unix.ENOENT
		case CodeRestricted:
			return unix.EPERM
		case CodeLimit:
			return unix.ENOMEM
		}
	}
	return unix.ENOEXEC
}

package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kxsh/elf"
	"kxsh/xen"
)

// spareRoom is how many pages a dynamic segment has at least for libraries that come later, beside room for all that are there once more.
const spareRoom = 256

// library is one checked library, whose read-only pages the hypervisor keeps for all pVMs that may have the same ones (loader.go).
type library struct {
	cached
	elf    *elf.Library
	record *elf.Record // nil: it has none
	holder string      // tells it from others of the same file, whose pages are others; "": those of all of the host

	mu     sync.Mutex
	shared xen.Shared // nil: nobody has needed its pages yet
}

// loadLibrary makes a library of a file.
func (e *Engine) loadLibrary(path string, data []byte) (*library, error) {
	parsed, err := elf.ParseLibrary(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, errf(CodeBadImage, "%s: not a library of pVMs: %v", path, err)
	}
	rec, err := recordOf(path, data)
	if err != nil {
		return nil, err
	}
	return &library{elf: parsed, record: rec}, nil
}

// pages has the hypervisor keep the library's read-only pages.
func (e *Engine) pages(l *library, path string) (xen.Shared, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared != nil {
		return l.shared, nil
	}
	pages, err := l.elf.ReadOnly()
	if err != nil {
		return nil, errf(CodeBadImage, "%s: %v", path, err)
	}
	if l.shared, err = e.hv.Share(pages); err != nil {
		return nil, errf(CodeInternal, "%s: %v", path, err)
	}
	return l.shared, nil
}

// close lets go of them.
func (l *library) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared != nil {
		l.shared.Close()
	}
}

// LibraryUse is a library of a pVM.
type LibraryUse struct {
	Name   string `json:"name"` // as it is needed
	Path   string `json:"path"`
	SHA256 string `json:"sha256"` // of the file
	Base   uint64 `json:"base"`   // address
	Bytes  uint64 `json:"bytes"`  // of addresses, from there
	Shared uint64 `json:"shared"` // bytes of memory that are the same for all pVMs that have the same Holder
	// Loader is who may have had it loaded, so that its pages are the same: self, app or any.
	Loader string `json:"loader"`
	Holder string `json:"holder,omitempty"` // tells those pages from others of the same file; "": those of all pVMs of the host
	Item   int    `json:"item"`             // its place in the pVM's kx_libraries
	// What its record says: its version, and how it is signed. That was verified if the image had to be signed.
	Version uint64 `json:"version,omitempty"`
	Signed  string `json:"signed,omitempty"`
	// Previous is the file that an update has replaced by this one, to which a rollback goes back; nil: there was none, or it was a rollback.
	Previous *LibraryFile `json:"previous,omitempty"`
}

// LibraryFile is a file that was a library.
type LibraryFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// Library is a library of a running pVM, as it is now.
type Library struct {
	LibraryUse
	Sharers int `json:"sharers"` // pVMs that have the same pages, this one included
	// Calls of its functions, wherever they are made: those that are bound, and those that will be when they are made first. -1: the files
	// are not those any more with which an earlier engine has linked it, or that was in the middle of an update and the pVM is silent.
	Bound int `json:"bound"`
	Lazy  int `json:"lazy"`
}

// Libraries implements API.
func (e *Engine) Libraries(ctx context.Context, pid int) ([]Library, error) {
	p, err := e.findLive(pid, "only pVMs have libraries")
	if err != nil {
		return nil, err
	}
	settled := e.awaitSettled(ctx, p)
	e.mu.Lock()
	list := []Library{}
	for _, u := range p.rec.Libraries {
		same := func(q *pvm) bool {
			return q.rec.Exit == nil && slices.ContainsFunc(q.rec.Libraries, func(o LibraryUse) bool { return o.SHA256 == u.SHA256 && o.Holder == u.Holder })
		}
		u.Loader = cmp.Or(u.Loader, elf.LoaderAny.String()) // an earlier kxsh has not said
		list = append(list, Library{LibraryUse: u, Sharers: len(e.those(same)), Bound: -1, Lazy: -1})
	}
	e.mu.Unlock()
	if !settled { // some may be mapped no more
		return list, nil
	}
	linked, err := e.linkedOf(p)
	if err != nil {
		return list, nil
	}
	bound, lazy, err := linked.Calls(byPages(p.dom.ReadMemory))
	if err != nil {
		return nil, errf(CodeInternal, "(%d): %v", pid, err)
	}
	for i := range list {
		list[i].Bound, list[i].Lazy = bound[i], lazy[i]
	}
	return list, nil
}

// byPages reads words of a pVM's memory, whole pages at a time. No word is of two pages: relocations are to aligned ones, and another
// one is an error.
func byPages(read func(va uint64, p []byte) error) func(va uint64, p []byte) error {
	pages := map[uint64][]byte{}
	return func(va uint64, p []byte) error {
		page, off := va&^(elf.PageSize-1), va%elf.PageSize
		if pages[page] == nil {
			content := make([]byte, elf.PageSize)
			if err := read(page, content); err != nil {
				return err
			}
			pages[page] = content
		}
		if copy(p, pages[page][off:]) < len(p) {
			return fmt.Errorf("%#x: a word of two pages", va)
		}
		return nil
	}
}

// libraries are those of a pVM that is being born; the zero libraries are none.
type libraries struct {
	files   []*library // in the order of the tree
	uses    []LibraryUse
	shared  []xen.Shared
	dynamic xen.Dynamic
	linked  *elf.Linked
}

// link finds, checks and binds the libraries of an image: calls when they are made first, unless the environment says LD_BIND_NOW. It
// places them for a RAM window of so many bytes. The caller puts them back.
func (e *Engine) link(im *image, r *RunRequest, q *restriction, memory uint64) (l libraries, err error) {
	f := e.finder(im.record, r, q)
	f.loader, f.app = im.record.LoadedBy(), im.sha
	tree, err := elf.Tree(im.elf, f.open)
	if err == nil {
		_, pages := elf.Place(tree, 0)
		l.dynamic.VA, l.dynamic.Pages = xen.PlaceDynamic(2*pages+spareRoom, memory)
		bases, _ := elf.Place(tree, l.dynamic.VA)
		l.linked, err = elf.Link(im.elf, tree, bases, !bindsNow(r.Env))
	}
	if err != nil {
		f.put()
		return libraries{}, f.refuse(err)
	}
	l.files, l.uses = f.files, f.uses
	l.place()
	if err := e.sharePages(&l); err != nil {
		f.put()
		return libraries{}, err
	}
	return l, nil
}

// sharePages has the hypervisor keep what of the libraries is read-only.
func (e *Engine) sharePages(l *libraries) error {
	for i, file := range l.files {
		shared, err := e.pages(file, l.uses[i].Path)
		if err != nil {
			return err
		}
		l.shared = append(l.shared, shared)
	}
	return nil
}

// finder finds and checks the libraries of a pVM.
type finder struct {
	e       *Engine
	rec     *elf.Record // of the image
	r       *RunRequest
	q       *restriction
	folders []string
	loader  elf.Loader   // by the image's word
	app     string       // the image's digest
	linked  *elf.Linked  // of a pVM that runs, which has some; nil: it is not there yet
	has     []LibraryUse // those
	files   []*library   // that were found; their user is the finder's
	uses    []LibraryUse
}

func (e *Engine) finder(rec *elf.Record, r *RunRequest, q *restriction) *finder {
	return &finder{e: e, rec: rec, r: r, q: q, folders: append(slices.Clone(r.LibPath), filepath.Dir(r.Image))}
}

// open is an elf.Opener.
func (f *finder) open(name, by string) (*elf.Library, error) {
	path, err := FindLibrary(name, f.folders)
	if err != nil {
		path = f.e.builtIn.find(name).path
	}
	switch {
	case path == "" && by == "" && f.linked != nil:
		return nil, f.nowhere(name)
	case path == "":
		if by == "" {
			by = "it"
		}
		return nil, errf(CodeBadImage, "%s: %s needs %s, which is not in %s: name its folder with --lib-path", f.r.Image, by, name, strings.Join(f.folders, ", "))
	}
	file, err := f.e.openLibrary(name, path)
	if err != nil {
		return nil, err
	}
	err = file.onlyBlank(path)
	if err == nil && f.q.Signed {
		err = f.e.permitLibrary(f.r, f.q, f.rec, name, path, file)
	}
	if same := f.same(file); same != nil || err != nil {
		f.e.libs.put(file)
		return same, err
	}
	loader := min(f.loader, file.record.LoadedBy())
	file = f.e.ownPages(file, loader, f.app)
	f.files = append(f.files, file)
	f.uses = append(f.uses, file.use(name, path, loader))
	return file.elf, nil
}

// use is what is kept of a library that comes to a pVM.
func (l *library) use(name, path string, loader elf.Loader) LibraryUse {
	u := LibraryUse{Name: name, Path: path, SHA256: l.sha, Loader: loader.String(), Holder: l.holder}
	if l.record != nil {
		u.Version = l.record.Version
		if l.record.Algorithm != elf.Unsigned {
			u.Signed = l.record.Algorithm.String()
		}
	}
	return u
}

// same is the library with the same content that is there already, by whatever name; nil: none is.
func (f *finder) same(file *library) *elf.Library {
	is := func(u LibraryUse) bool { return u.SHA256 == file.sha }
	if i := slices.IndexFunc(f.uses, is); i >= 0 {
		return f.files[i].elf
	}
	if i := slices.IndexFunc(f.has, is); i >= 0 {
		return f.linked.Libraries[i].Library
	}
	return nil
}

// openLibrary returns the library that is needed by a name and was found at a path; the caller puts it back.
func (e *Engine) openLibrary(name, path string) (*library, error) {
	if own := e.builtIn.find(name); path == own.path {
		return e.ownLibrary(name, own)
	}
	return e.libs.get(path)
}

// refuse says of which image an error is.
func (f *finder) refuse(err error) error {
	var bad *elf.Error
	if errors.As(err, &bad) {
		return errf(CodeBadImage, "%s: %v", f.r.Image, err)
	}
	return err
}

func (f *finder) put() { f.e.putLibraries(f.files) }

// bindsNow tells whether a program wants all of its calls bound before it runs.
func bindsNow(env []string) bool {
	return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "LD_BIND_NOW=") && kv != "LD_BIND_NOW=" })
}

// FindLibrary returns the path of the first file of that name.
func FindLibrary(name string, folders []string) (string, error) {
	for _, dir := range folders {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, os.ErrNotExist)
}

// place says what of the libraries is where.
func (l *libraries) place() {
	l.dynamic.Content = l.linked.Content
	l.linked.Content = nil // it is needed once
	for i, p := range l.linked.Libraries {
		shared, private := l.uses[i].place(&p, i)
		l.dynamic.Shared, l.dynamic.Private = append(l.dynamic.Shared, shared...), append(l.dynamic.Private, private...)
	}
}

// place says what of a library is where: the pages that all have, which are those of number of, and those of each pVM's own.
func (u *LibraryUse) place(p *elf.Placed, of int) (shared []xen.Mapping, private []xen.Range) {
	first := uint64(0)
	for _, s := range p.Segments {
		at := xen.Range{VA: p.Base + s.VA&^(elf.PageSize-1), Pages: s.Pages()}
		if s.Prot&elf.Write != 0 {
			private = append(private, at)
			continue
		}
		shared = append(shared, xen.Mapping{Range: at, Of: of, First: first, Prot: s.Prot})
		first += at.Pages
	}
	u.Base, u.Bytes, u.Shared, u.Item = p.Base, p.Pages()*elf.PageSize, first*elf.PageSize, p.Item
	return shared, private
}

func (e *Engine) putLibraries(files []*library) {
	for _, file := range files {
		e.libs.put(file)
	}
}

// linkedOf is how the libraries of a pVM are linked. Of one that was adopted it is found out anew, from the files.
func (e *Engine) linkedOf(p *pvm) (*elf.Linked, error) {
	if linked := p.linked.Load(); linked != nil {
		return linked, nil
	}
	e.mu.Lock()
	rec := p.rec
	e.mu.Unlock()
	if rec.Dynamic.Pages == 0 {
		return nil, errors.New("it has no libraries")
	}
	im, err := e.imageOf(&rec)
	if err != nil {
		return nil, err
	}
	defer e.images.put(im)
	placed := make([]elf.Placed, len(rec.Libraries))
	for i, u := range rec.Libraries {
		file, err := e.openLibrary(u.Name, u.Path)
		if err != nil {
			return nil, err
		}
		defer e.libs.put(file)
		if file.sha != u.SHA256 {
			return nil, fmt.Errorf("%s has changed since an earlier engine linked the pVM with it", u.Path)
		}
		placed[i] = elf.Placed{Node: elf.Node{Name: u.Name, Library: file.elf}, Base: u.Base, Item: u.Item}
	}
	for i := range placed {
		n := &placed[i].Node
		n.Own = i == 0 && rec.Placeholder != nil
		for _, name := range n.Needed {
			if k := slices.IndexFunc(rec.Libraries, func(u LibraryUse) bool { return u.AnswersTo(name) }); k >= 0 {
				n.Needs = append(n.Needs, k)
			}
		}
	}
	linked, err := elf.Relink(im.elf, placed, !bindsNow(rec.Request.Env))
	if err != nil {
		return nil, err
	}
	linked.Content = nil // it is in the pVM
	p.linked.Store(linked)
	return linked, nil
}

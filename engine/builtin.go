package engine

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// BuiltIn are the shared libraries that are part of kxsh, the last place where one is looked for, and the image of recycled pVMs. In the engine each
// becomes a file of the state folder, lib/DIGEST/NAME: a pVM goes on with the one that it was started with when another kxsh brings another.
type BuiltIn struct {
	files fs.FS
	dir   string

	writing sync.Mutex // a file, see ownFile

	mu    sync.Mutex
	known map[string]builtIn // by name
}

// builtIn is where a library of kxsh's own is, and the SHA-256 of what it is.
type builtIn struct{ path, sha string }

// NewBuiltIn tells of the libraries in files, which may be nil, for an engine with that state folder.
func NewBuiltIn(files fs.FS, state string) *BuiltIn {
	return &BuiltIn{files: files, dir: filepath.Join(state, "lib"), known: map[string]builtIn{}}
}

// Read returns the library of that name, and the path that it has or will have once a pVM needs it. Without one it is fs.ErrNotExist.
func (b *BuiltIn) Read(name string) (path string, data []byte, err error) {
	if b.files == nil {
		return "", nil, fs.ErrNotExist
	}
	if data, err = fs.ReadFile(b.files, name); err != nil {
		return "", nil, fs.ErrNotExist // a name from an image may be anything
	}
	return filepath.Join(b.dir, digest(data)[:16], name), data, nil
}

// find is Read without the content; the zero builtIn is none.
func (b *BuiltIn) find(name string) (own builtIn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	own, ok := b.known[name]
	if ok {
		return own
	}
	path, data, err := b.Read(name)
	if err != nil {
		return own
	}
	own = builtIn{path, digest(data)}
	b.known[name] = own
	return own
}

// write makes a library's file, whatever is there, in one step.
func (b *BuiltIn) write(name string) error {
	path, data, err := b.Read(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// ownLibrary returns one of kxsh's libraries; the caller puts it back.
func (e *Engine) ownLibrary(name string, own builtIn) (*library, error) {
	return ownFile(e, e.libs, name, own)
}

// ownImage returns one of kxsh's images; the caller puts it back.
func (e *Engine) ownImage(name string) (*image, error) {
	own := e.builtIn.find(name)
	if own.path == "" {
		return nil, errf(CodeInternal, "this kxsh was built without %s: run make", name)
	}
	return ownFile(e, e.images, name, own)
}

// ownFile returns what was made of one of kxsh's files, as kxsh has it, whatever has become of that in the state folder.
func ownFile[T loaded](e *Engine, from *fileCache[T], name string, own builtIn) (T, error) {
	get := func() (t T, err error) {
		t, err = from.get(own.path)
		if err == nil && t.entry().sha != own.sha {
			from.put(t)
			err = errf(CodeInternal, "%s: not what kxsh has written", own.path)
		}
		return t, err
	}
	t, err := get()
	if err == nil {
		return t, nil
	}
	e.builtIn.writing.Lock()
	defer e.builtIn.writing.Unlock()
	if t, err = get(); err == nil { // somebody was faster
		return t, nil
	}
	if err := e.builtIn.write(name); err != nil {
		return t, errf(CodeInternal, "%s: %v", own.path, err)
	}
	return get()
}

// pruneBuiltIn removes kxsh's files, of this version and of others, that no running pVM was made of or can go back to.
func (e *Engine) pruneBuiltIn() {
	in := func(path, dir string) bool { return filepath.Dir(path) == dir }
	dirs, _ := filepath.Glob(filepath.Join(e.builtIn.dir, "*")) // the only error is a bad pattern
	for _, dir := range dirs {
		e.mu.Lock()
		users := e.those(func(p *pvm) bool {
			if p.rec.Exit == nil && p.rec.Placeholder != nil && in(p.rec.Placeholder.Path, dir) {
				return true
			}
			return p.rec.Exit == nil && slices.ContainsFunc(p.rec.Libraries, func(u LibraryUse) bool {
				return in(u.Path, dir) || u.Previous != nil && in(u.Previous.Path, dir)
			})
		})
		e.mu.Unlock()
		if len(users) == 0 {
			os.RemoveAll(dir)
		}
	}
}

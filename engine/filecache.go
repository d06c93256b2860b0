package engine

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// FileMax is how many bytes an image may have, root archive included, and a library.
const FileMax = 256 << 20

// fileKeep is how many of each kind are kept for the next run.
const fileKeep = 64

// fileID tells whether a file is still the one that was read.
type fileID struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
	variant      string // of what was made of it; "": what is made first
}

// cached is what a fileCache has to know of what it keeps.
type cached struct {
	id    fileID
	sha   string // SHA-256 of it
	users int    // runs that are using it, guarded by fileCache.mu
	stale bool
}

func (c *cached) entry() *cached { return c }

// loaded is something made of a file.
type loaded interface {
	comparable
	entry() *cached
	close()
}

// fileCache keeps what was made of files between runs, so that the second run of an image neither reads nor
// checks it.
type fileCache[T loaded] struct {
	load func(path string, data []byte) (T, error)

	mu    sync.Mutex
	byID  map[fileID]T
	order []T // least recently used first
}

func newFileCache[T loaded](load func(path string, data []byte) (T, error)) *fileCache[T] {
	return &fileCache[T]{load: load, byID: map[fileID]T{}}
}

// idOf is that of a file as it was made; who may read it is told by ctime, too.
func idOf(fi fs.FileInfo) fileID {
	st := fi.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim, ""}
}

// have returns what is kept of a file, used by one more.
func (c *fileCache[T]) have(id fileID) (t T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok = c.byID[id]; ok {
		c.use(t)
	}
	return t, ok
}

// get returns what was made of the file at path; the caller puts it back. A file that is not known is opened once and read once:
// what was checked is what runs, whatever happens to the file meanwhile.
func (c *fileCache[T]) get(path string) (t T, err error) {
	if fi, err := os.Stat(path); err == nil {
		if t, ok := c.have(idOf(fi)); ok {
			return t, nil
		}
	}
	f, fi, err := OpenRegular(path, 0)
	if err != nil {
		code := CodeBadImage
		if errors.Is(err, os.ErrNotExist) {
			code = CodeNoImage
		}
		return t, errf(code, "%s: %v", path, err)
	}
	defer f.Close()
	id := idOf(fi)
	if id.size > FileMax {
		return t, errf(CodeBadImage, "%s: %d bytes: at most %d are taken", path, id.size, FileMax)
	}
	data, err := io.ReadAll(io.LimitReader(f, FileMax+1))
	if err != nil {
		return t, errf(CodeBadImage, "%s: %v", path, err)
	}
	if t, err = c.load(path, data); err != nil {
		return t, err
	}
	t.entry().sha = digest(data)
	return c.keep(t, id), nil
}

// keep keeps t, unless somebody was faster, and returns what is kept; the caller puts it back.
func (c *fileCache[T]) keep(t T, id fileID) T {
	t.entry().id = id
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, ok := c.byID[id]; ok {
		t.close()
		c.use(other)
		return other
	}
	c.byID[id] = t
	c.use(t)
	for len(c.order) > fileKeep {
		c.drop(c.order[0])
	}
	return t
}

// variant returns own, or what was kept under that name before, of the same file as t. The caller puts that back, and t too.
func (c *fileCache[T]) variant(t, own T, name string) T {
	id := t.entry().id
	id.variant = name
	return c.keep(own, id)
}

// use marks t as used now, by one more. The caller holds c.mu.
func (c *fileCache[T]) use(t T) {
	t.entry().users++
	c.forget(t)
	c.order = append(c.order, t)
}

// hold makes one more user of each, for who puts it back. Somebody uses them already.
func (c *fileCache[T]) hold(list []T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range list {
		t.entry().users++
	}
}

// forget takes t out of the order. The caller holds c.mu.
func (c *fileCache[T]) forget(t T) {
	for i, o := range c.order {
		if o == t {
			c.order = append(c.order[:i], c.order[i+1:]...)
			break
		}
	}
}

// drop takes t out of the cache and closes it when nobody uses it. The caller holds c.mu.
func (c *fileCache[T]) drop(t T) {
	e := t.entry()
	delete(c.byID, e.id)
	c.forget(t)
	e.stale = true
	if e.users == 0 {
		t.close()
	}
}

// put gives back what get returned.
func (c *fileCache[T]) put(t T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := t.entry()
	e.users--
	if e.stale && e.users == 0 {
		t.close()
	}
}

func (c *fileCache[T]) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 {
		c.drop(c.order[0])
	}
}

package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"kxsh/elf"
	"kxsh/xen"
)

const (
	imageMax  = 256 << 20 // bytes of an image file, root archive included
	imageKeep = 64        // prepared images kept for the next run
)

// image is one checked and prepared image file.
type image struct {
	id     fileID
	elf    *elf.Image
	xen    xen.Image
	record *elf.Record // nil: it has none
	sha    string
	root   []byte // appended tar archive
	syms   *elf.SymTab
	users  int // runs that are using it, guarded by imageCache.mu
	stale  bool
}

// fileID tells whether a file is still the one that was read.
type fileID struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// imageCache keeps images between runs, so that the second run of an image neither reads nor
// checks it.
type imageCache struct {
	mu    sync.Mutex
	byID  map[fileID]*image
	order []*image // least recently used first
}

func newImageCache() *imageCache { return &imageCache{byID: map[fileID]*image{}} }

// get returns the image at path; the caller puts it back. The file is opened once and read once:
// what was checked is what runs, whatever happens to the file meanwhile.
func (c *imageCache) get(path string, prepare func(*elf.Image, io.ReaderAt) (xen.Image, error)) (*image, error) {
	f, err := os.Open(path)
	if err != nil {
		code := CodeBadImage
		if errors.Is(err, os.ErrNotExist) {
			code = CodeNoImage
		}
		return nil, errf(code, "%s: %v", path, errors.Unwrap(err))
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, errf(CodeBadImage, "%s: %v", path, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, errf(CodeBadImage, "%s: not a regular file", path)
	}
	st := fi.Sys().(*syscall.Stat_t)
	id := fileID{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}

	c.mu.Lock()
	if im := c.byID[id]; im != nil {
		c.use(im)
		c.mu.Unlock()
		return im, nil
	}
	c.mu.Unlock()

	im, err := load(f, id, path, prepare)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.byID[id]; other != nil { // somebody was faster
		im.xen.Close()
		c.use(other)
		return other, nil
	}
	c.byID[id] = im
	c.use(im)
	for len(c.order) > imageKeep {
		c.drop(c.order[0])
	}
	return im, nil
}

func load(f *os.File, id fileID, path string, prepare func(*elf.Image, io.ReaderAt) (xen.Image, error)) (*image, error) {
	if id.size > imageMax {
		return nil, errf(CodeBadImage, "%s: %d bytes: an image has at most %d", path, id.size, imageMax)
	}
	data, err := io.ReadAll(io.LimitReader(f, imageMax+1))
	if err != nil {
		return nil, errf(CodeBadImage, "%s: %v", path, err)
	}
	r := bytes.NewReader(data)
	parsed, err := elf.ParseImage(r, int64(len(data)))
	if err != nil {
		return nil, errf(CodeBadImage, "%s: not a pVM image: %v", path, err)
	}
	rec, err := elf.ReadRecord(r, int64(len(data)))
	if err != nil { // whether or not anything is demanded of it
		return nil, errf(CodeRestricted, "%s: refused by %v", path, err)
	}
	xi, err := prepare(parsed, r)
	if err != nil {
		return nil, errf(CodeInternal, "%s: %v", path, err)
	}
	syms, err := elf.Symbols(r, int64(len(data)))
	if err != nil {
		syms = &elf.SymTab{} // a damaged symbol table costs names in fault reports, no more
	}
	sum := sha256.Sum256(data)
	im := &image{id: id, elf: parsed, xen: xi, record: rec, sha: hex.EncodeToString(sum[:]), syms: syms}
	if n := parsed.Root.Len; n > 0 {
		im.root = data[parsed.Root.Off : parsed.Root.Off+n]
	}
	return im, nil
}

// use marks im as used now, by one more. The caller holds c.mu.
func (c *imageCache) use(im *image) {
	im.users++
	for i, o := range c.order {
		if o == im {
			c.order = append(c.order[:i], c.order[i+1:]...)
			break
		}
	}
	c.order = append(c.order, im)
}

// drop takes im out of the cache and closes it when nobody uses it. The caller holds c.mu.
func (c *imageCache) drop(im *image) {
	delete(c.byID, im.id)
	for i, o := range c.order {
		if o == im {
			c.order = append(c.order[:i], c.order[i+1:]...)
			break
		}
	}
	im.stale = true
	if im.users == 0 {
		im.xen.Close()
	}
}

// put gives back what get returned.
func (c *imageCache) put(im *image) {
	c.mu.Lock()
	defer c.mu.Unlock()
	im.users--
	if im.stale && im.users == 0 {
		im.xen.Close()
	}
}

func (c *imageCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 {
		c.drop(c.order[0])
	}
}

package lab

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Mode bits of a file in an initramfs (stat.h; also in the kernel's init/initramfs.c).
const (
	modeDir     = 0o040000
	modeFile    = 0o100000
	modeSymlink = 0o120000
)

// A cpio writes an archive in the "newc" format that Linux unpacks as its initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). Folders are made as they are
// needed, and a name is written once. The first error is kept and returned by close.
type cpio struct {
	w      io.Writer
	offset int64
	inode  int
	seen   map[string]bool
	err    error
}

func newCpio(w io.Writer) *cpio {
	return &cpio{w: w, seen: map[string]bool{".": true, "/": true}}
}

// folder adds a folder and those it is in, if they are missing.
func (c *cpio) folder(name string) {
	name = clean(name)
	if c.seen[name] {
		return
	}
	c.folder(path.Dir(name))
	c.entry(name, modeDir|0o755, 0, nil)
}

// symlink adds a symbolic link to target.
func (c *cpio) symlink(name, target string) {
	c.add(name, modeSymlink|0o777, int64(len(target)), strings.NewReader(target))
}

// text adds a small file.
func (c *cpio) text(name string, perm fs.FileMode, content string) {
	c.file(name, perm, int64(len(content)), strings.NewReader(content))
}

// file adds a file of size bytes read from content.
func (c *cpio) file(name string, perm fs.FileMode, size int64, content io.Reader) {
	c.add(name, modeFile|int(perm.Perm()), size, content)
}

func (c *cpio) add(name string, mode int, size int64, content io.Reader) {
	name = clean(name)
	c.folder(path.Dir(name))
	if c.seen[name] {
		c.fail(fmt.Errorf("%s: given twice", name))
		return
	}
	c.entry(name, mode, size, content)
}

// entry writes header, name and content, the last two padded to four bytes.
func (c *cpio) entry(name string, mode int, size int64, content io.Reader) {
	if size < 0 || size > 1<<32-1 {
		c.fail(fmt.Errorf("%s: %d bytes: the format ends at 4 GiB", name, size))
		return
	}
	c.seen[name] = true
	c.inode++
	c.header(name, mode, size)
	if content == nil {
		return
	}
	if c.err == nil {
		n, err := io.CopyN(c.w, content, size)
		c.offset += n
		if err != nil {
			c.fail(fmt.Errorf("%s: %w", name, err))
		}
	}
	c.pad()
}

// header: magic, inode, mode, uid, gid, links, mtime, size, device and special device (major,
// minor each), length of the name with its zero, checksum; eight hexadecimal digits each.
func (c *cpio) header(name string, mode int, size int64) {
	c.write(fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name))
	c.pad()
}

func (c *cpio) pad() {
	c.write("\x00\x00\x00"[:-c.offset&3])
}

func (c *cpio) write(s string) {
	if c.err != nil {
		return
	}
	n, err := io.WriteString(c.w, s)
	c.offset += int64(n)
	c.fail(err)
}

func (c *cpio) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// close ends the archive; the writer below is the caller's to close.
func (c *cpio) close() error {
	c.inode = 0
	c.header("TRAILER!!!", 0, 0)
	return c.err
}

// clean makes a name relative to the root, as names in an initramfs are.
func clean(name string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+name), "/"); rel != "" {
		return rel
	}
	return "."
}

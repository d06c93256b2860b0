package files

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const msize = 1 << 16

// client asks a server as a pVM does.
type client struct {
	t testing.TB
	s *Server
}

func newClient(t testing.TB, folders ...Folder) *client {
	s := NewServer(folders, msize, &Budget{Max: 1 << 20})
	t.Cleanup(func() {
		s.Close()
		if used := s.budget.used.Load(); used != 0 {
			t.Errorf("%d descriptors are left", used)
		}
	})
	c := &client{t, s}
	for i := range folders {
		if err := c.ask(tattach, uint32(i), uint32(0xffffffff), "", string(rune('0'+i)), uint32(0)); err != 0 {
			t.Fatal(err)
		}
	}
	return c
}

// message makes a request of its fields.
func message(kind byte, fields ...any) []byte {
	w := reply{make([]byte, headSize)}
	for _, f := range fields {
		switch v := f.(type) {
		case byte:
			w.u8(v)
		case uint16:
			w.u16(v)
		case uint32:
			w.u32(v)
		case uint64:
			w.u64(v)
		case string:
			w.text(v)
		case []byte:
			w.b = append(w.b, v...)
		default:
			panic(f)
		}
	}
	return w.finish(kind, 1)
}

// body returns what follows the head of a reply, or the error.
func (c *client) body(kind byte, fields ...any) ([]byte, unix.Errno) {
	got := c.s.Answer(message(kind, fields...), nil)
	if len(got) < headSize || len(got) > msize || binary.LittleEndian.Uint32(got) != uint32(len(got)) || got[5] != 1 {
		c.t.Fatalf("reply %x", got)
	}
	if got[4] == rlerror {
		return nil, unix.Errno(binary.LittleEndian.Uint32(got[headSize:]))
	}
	if got[4] != kind+1 {
		c.t.Fatalf("reply %d to %d", got[4], kind)
	}
	return got[headSize:], 0
}

func (c *client) ask(kind byte, fields ...any) unix.Errno {
	_, err := c.body(kind, fields...)
	return err
}

// walk gives a fid to what names lead to from another one.
func (c *client) walk(from, to uint32, names ...string) unix.Errno {
	fields := []any{from, to, uint16(len(names))}
	for _, n := range names {
		fields = append(fields, n)
	}
	return c.ask(twalk, fields...)
}

func (c *client) want(what string, got, want unix.Errno) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestNames holds that no name leads out of a folder.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, Folder{Path: dir})
	for name, want := range map[string]unix.Errno{
		"": unix.EINVAL, ".": unix.EINVAL, "..": unix.EINVAL, "/": unix.EINVAL, "a/b": unix.EINVAL, "../x": unix.EINVAL, "/etc": unix.EINVAL,
		"a\x00b": unix.EINVAL, strings.Repeat("x", 256): unix.ENAMETOOLONG,
	} {
		c.want("walk "+name, c.walk(0, 1, name), want)
		c.want("mkdir "+name, c.ask(tmkdir, uint32(0), name, uint32(0o755), uint32(0)), want)
		c.want("unlink "+name, c.ask(tunlinkat, uint32(0), name, uint32(unix.AT_REMOVEDIR)), want)
		c.want("symlink "+name, c.ask(tsymlink, uint32(0), name, "x", uint32(0)), want)
		c.want("rename "+name, c.ask(trenameat, uint32(0), name, uint32(0), "x"), want)
		c.want("rename to "+name, c.ask(trenameat, uint32(0), "x", uint32(0), name), want)
		c.want("create "+name, c.ask(tlcreate, uint32(0), name, uint32(unix.O_RDWR), uint32(0o644), uint32(0)), want)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v", left)
	}
}

// TestLinksStay holds that a symbolic link is a thing of its own for the server, never what it leads to.
func TestLinksStay(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "in")
	os.MkdirAll(filepath.Join(top, "out"), 0o755)
	os.Mkdir(dir, 0o755)
	os.WriteFile(filepath.Join(top, "out", "secret"), []byte("secret"), 0o600)
	os.Symlink("../out", filepath.Join(dir, "out"))
	os.Symlink("../out/secret", filepath.Join(dir, "secret"))
	c := newClient(t, Folder{Path: dir})
	c.want("walk through", c.walk(0, 1, "out", "secret"), unix.ENOTDIR)
	c.want("walk to", c.walk(0, 1, "secret"), 0)
	c.want("open", c.ask(tlopen, uint32(1), uint32(0)), unix.ELOOP)
	c.want("chmod", c.ask(tsetattr, uint32(1), uint32(setMode), uint32(0o666), uint32(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0)), unix.EOPNOTSUPP)
	c.want("truncate", c.ask(tsetattr, uint32(1), uint32(setSize), uint32(0), uint32(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0)), unix.EINVAL)
	c.want("create", c.ask(tlcreate, uint32(0), "secret", uint32(unix.O_RDWR), uint32(0o644), uint32(0)), unix.EEXIST)
	if b, err := os.ReadFile(filepath.Join(top, "out", "secret")); string(b) != "secret" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

// TestRace has somebody put a link to the outside in a folder's place again and again, while the server walks through it.
func TestRace(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "in")
	for _, d := range []string{"in/d", "out"} {
		os.MkdirAll(filepath.Join(top, d), 0o755)
	}
	os.WriteFile(filepath.Join(dir, "d", "f"), []byte("inside"), 0o600)
	os.WriteFile(filepath.Join(top, "out", "f"), []byte("secret"), 0o600)
	os.Symlink("../out", filepath.Join(dir, "link"))
	c := newClient(t, Folder{Path: dir})
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "d"), unix.AT_FDCWD, filepath.Join(dir, "link"), unix.RENAME_EXCHANGE)
		}
	}()
	var read, refused int
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if c.walk(0, 1, "d", "f") != 0 {
			refused++
			continue
		}
		if c.ask(tlopen, uint32(1), uint32(0)) == 0 {
			b, _ := c.body(tread, uint32(1), uint64(0), uint32(100))
			if !bytes.Equal(b[4:], []byte("inside")) {
				t.Fatalf("read %q", b)
			}
			read++
		}
		c.ask(tclunk, uint32(1))
	}
	stop.Store(true)
	<-done
	if read == 0 || refused == 0 {
		t.Logf("%d reads, %d refusals: it was no race", read, refused)
	}
}

// TestReadOnly holds that nothing of a read-only folder can be changed, and what is between two folders.
func TestReadOnly(t *testing.T) {
	ro, rw := t.TempDir(), t.TempDir()
	os.WriteFile(filepath.Join(ro, "f"), []byte("kept"), 0o644)
	c := newClient(t, Folder{Path: ro, ReadOnly: true}, Folder{Path: rw})
	c.want("walk", c.walk(0, 2, "f"), 0)
	for _, flags := range []uint32{unix.O_WRONLY, unix.O_RDWR} {
		c.want("open", c.ask(tlopen, uint32(2), flags), unix.EROFS)
	}
	c.want("open with O_TRUNC", c.ask(tlopen, uint32(2), uint32(unix.O_TRUNC)), unix.EINVAL)
	c.want("setattr", c.ask(tsetattr, uint32(2), uint32(setSize), uint32(0), uint32(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0)), unix.EROFS)
	c.want("rename in", c.ask(trenameat, uint32(1), "x", uint32(0), "x"), unix.EROFS)
	c.want("rename out", c.ask(trenameat, uint32(0), "f", uint32(1), "f"), unix.EROFS)
	c.want("link out", c.ask(tlink, uint32(1), uint32(2), "f"), unix.EXDEV)
	c.want("open to read", c.ask(tlopen, uint32(2), uint32(0)), 0)
	c.want("write", c.ask(twrite, uint32(2), uint64(0), uint32(1), []byte("x")), unix.EBADF)
	c.want("mkdir", c.ask(tmkdir, uint32(0), "d", uint32(0o755), uint32(0)), unix.EROFS)
	if b, _ := os.ReadFile(filepath.Join(ro, "f")); string(b) != "kept" {
		t.Errorf("%q", b)
	}
}

// TestBounds holds that a pVM has a bounded number of files, and that sizes and offsets are bounded.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "f"), make([]byte, 3*msize), 0o644)
	c := newClient(t, Folder{Path: dir})
	c.want("walk", c.walk(0, 1, "f"), 0)
	c.want("open", c.ask(tlopen, uint32(1), uint32(unix.O_RDWR)), 0)
	if b, err := c.body(tread, uint32(1), uint64(0), uint32(0xffffffff)); err != 0 || len(b) != 4+msize-ioHead {
		t.Errorf("read of 4 GiB: %d bytes, %v", len(b), err)
	}
	c.want("negative", c.ask(tread, uint32(1), uint64(1)<<63, uint32(1)), unix.EINVAL)
	c.want("count beyond data", c.ask(twrite, uint32(1), uint64(0), uint32(100), []byte("x")), unix.EINVAL)
	c.want("fid in use", c.walk(0, 1), unix.EBADF)
	c.want("no fid", c.ask(tclunk, uint32(99)), unix.EBADF)
	c.want("17 names", c.walk(0, 2, strings.Split(strings.Repeat("a ", 17), " ")[:17]...), unix.EINVAL)
	s := NewServer([]Folder{{Path: dir}}, msize, &Budget{Max: 10})
	defer s.Close()
	few := &client{t, s}
	few.want("attach", few.ask(tattach, uint32(0), uint32(0), "", "0", uint32(0)), 0)
	for i := uint32(1); i < 10; i++ {
		few.want("walk", few.walk(0, i, "f"), 0)
	}
	few.want("one more", few.walk(0, 10, "f"), unix.ENFILE)
	few.want("clunk", few.ask(tclunk, uint32(3)), 0)
	few.want("again", few.walk(0, 10, "f"), 0)
	few.want("version", few.ask(tversion, uint32(msize), version), 0)
	few.want("all are gone", few.walk(0, 10, "f"), unix.EBADF)
}

// FuzzServer holds that whatever a pVM sends, each message has a reply of a bounded size, and nothing is touched but the folder.
func FuzzServer(f *testing.F) {
	for _, m := range [][]byte{
		message(tversion, uint32(msize), version), message(twalk, uint32(0), uint32(1), uint16(1), "f"), message(tlopen, uint32(1), uint32(2)),
		message(tread, uint32(1), uint64(0), uint32(100)), message(twrite, uint32(1), uint64(0), uint32(1), []byte("x")),
		message(tlcreate, uint32(2), "g", uint32(2), uint32(0o644), uint32(0)), message(treaddir, uint32(2), uint64(0), uint32(500)),
		message(trenameat, uint32(0), "f", uint32(0), "g"), message(tmkdir, uint32(0), "d", uint32(0o755), uint32(0)),
		message(tsymlink, uint32(0), "l", "/etc", uint32(0)), message(treadlink, uint32(1)), message(tlink, uint32(0), uint32(1), "h"),
		message(tunlinkat, uint32(0), "f", uint32(0)), message(tgetattr, uint32(1), uint64(0x7ff)), message(tstatfs, uint32(1)), message(tclunk, uint32(1)),
		message(tattach, uint32(5), uint32(0), "", "0", uint32(0)), message(tfsync, uint32(1), uint32(0)),
	} {
		f.Add(m, m)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		os.Mkdir(dir, 0o755)
		os.WriteFile(filepath.Join(dir, "f"), []byte("text"), 0o644)
		os.WriteFile(filepath.Join(top, "f"), []byte("outside"), 0o644)
		c := newClient(t, Folder{Path: dir})
		c.walk(0, 1, "f")
		c.walk(0, 2)
		for _, m := range [][]byte{first, second} {
			if len(m) >= headSize {
				m = bytes.Clone(m)
				binary.LittleEndian.PutUint32(m, uint32(len(m)))
			}
			if got := c.s.Answer(m, nil); len(got) < headSize || len(got) > msize || binary.LittleEndian.Uint32(got) != uint32(len(got)) {
				t.Fatalf("reply %x", got)
			}
		}
		left, _ := os.ReadDir(top)
		if b, _ := os.ReadFile(filepath.Join(top, "f")); len(left) != 2 || string(b) != "outside" {
			t.Fatalf("%v, %q", left, b)
		}
	})
}

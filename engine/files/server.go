package files

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Folder is a folder of the host that a pVM sees.
type Folder struct {
	Path     string // absolute
	ReadOnly bool
}

// fidsMax is how many files a pVM may have at its server.
const fidsMax = 4096

// Budget bounds the files of all servers together. Zero Max: no files.
type Budget struct {
	Max  int64
	used atomic.Int64
}

func (b *Budget) take() bool {
	if b.used.Add(1) > b.Max {
		b.used.Add(-1)
		return false
	}
	return true
}

// fid is a file or folder that the pVM knows by a number.
type fid struct {
	fd     int
	folder int    // which one it is in
	open   bool   // else fd is O_PATH
	flags  int    // with which it was opened
	kind   uint32 // S_IFMT of its mode
}

// Server serves the folders of one pVM. It is for one goroutine.
type Server struct {
	folders []Folder
	budget  *Budget
	fids    map[uint32]*fid
	msize   uint32
}

// NewServer serves folders, in messages of at most msize bytes.
func NewServer(folders []Folder, msize int, budget *Budget) *Server {
	return &Server{folders: folders, budget: budget, fids: map[uint32]*fid{}, msize: uint32(max(msize, minMessage))}
}

// Close closes all files.
func (s *Server) Close() {
	for n := range s.fids {
		s.drop(n)
	}
}

func (s *Server) drop(n uint32) {
	f := s.fids[n]
	delete(s.fids, n)
	unix.Close(f.fd)
	s.budget.used.Add(-1)
}

// keep gives a number to a descriptor, which is the server's from here on, even if this fails.
func (s *Server) keep(n uint32, f *fid) error {
	err := error(nil)
	switch {
	case s.fids[n] != nil:
		err = unix.EBADF
	case len(s.fids) >= fidsMax || !s.budget.take():
		err = unix.ENFILE
	}
	if err != nil {
		unix.Close(f.fd)
		return err
	}
	s.fids[n] = f
	return nil
}

var handlers = map[byte]func(*Server, *request, *reply) error{
	tstatfs: (*Server).statfs, tlopen: (*Server).lopen, tlcreate: (*Server).lcreate, tsymlink: (*Server).symlink,
	treadlink: (*Server).readlink, tgetattr: (*Server).getattr, tsetattr: (*Server).setattr, treaddir: (*Server).readdir,
	tfsync: (*Server).fsync, tlink: (*Server).link, tmkdir: (*Server).mkdir, trenameat: (*Server).renameat,
	tunlinkat: (*Server).unlinkat, tversion: (*Server).version, tattach: (*Server).attach, twalk: (*Server).walk,
	tread: (*Server).read, twrite: (*Server).write, tclunk: (*Server).clunk,
}

// Answer returns the reply to a request, whatever that is: at most as many bytes as messages have. What it does not know is EOPNOTSUPP, and
// what is malformed EINVAL; neither does anything. buf is memory for the reply, which may be used.
func (s *Server) Answer(msg, buf []byte) []byte {
	w := reply{append(buf[:0], make([]byte, headSize)...)}
	var kind byte
	var tag uint16
	err := error(unix.EINVAL)
	if len(msg) >= headSize && len(msg) <= int(s.msize) && binary.LittleEndian.Uint32(msg) == uint32(len(msg)) {
		kind, tag = msg[4], binary.LittleEndian.Uint16(msg[5:])
		err = unix.EOPNOTSUPP
		if h := handlers[kind]; h != nil {
			err = h(s, &request{rest: msg[headSize:]}, &w)
		}
	}
	if err != nil {
		w.b = w.b[:headSize]
		var no unix.Errno
		if !errors.As(err, &no) {
			no = unix.EIO
		}
		w.u32(uint32(no))
		return w.finish(rlerror, tag)
	}
	return w.finish(kind+1, tag)
}

// of returns the file of the fid that comes next in a request.
func (s *Server) of(r *request) (*fid, error) {
	f := s.fids[r.u32()]
	if r.short {
		return nil, unix.EINVAL
	}
	if f == nil {
		return nil, unix.EBADF
	}
	return f, nil
}

// folderOf is of, for a folder in which something is to be changed.
func (s *Server) folderOf(r *request) (*fid, error) {
	f, err := s.of(r)
	switch {
	case err != nil:
		return nil, err
	case f.kind != unix.S_IFDIR:
		return nil, unix.ENOTDIR
	case s.folders[f.folder].ReadOnly:
		return nil, unix.EROFS
	}
	return f, nil
}

// name takes the name of an entry: it leads nowhere but into its folder.
func (r *request) name() (string, error) {
	name := r.text()
	switch {
	case r.short || name == "" || strings.ContainsAny(name, "/\x00"):
		return "", unix.EINVAL
	case name == "." || name == "..":
		return "", unix.EINVAL
	case len(name) > unix.NAME_MAX:
		return "", unix.ENAMETOOLONG
	}
	return name, nil
}

// ended tells whether a request has been taken apart whole.
func (r *request) ended() error {
	if r.short || len(r.rest) > 0 {
		return unix.EINVAL
	}
	return nil
}

// version begins anew: nothing is known of what was before.
func (s *Server) version(r *request, w *reply) error {
	msize, wanted := r.u32(), r.text()
	if err := r.ended(); err != nil || msize < minMessage {
		return unix.EINVAL
	}
	s.Close()
	w.u32(min(msize, s.msize))
	if wanted == version {
		w.text(version)
	} else {
		w.text("unknown")
	}
	return nil
}

func (s *Server) attach(r *request, w *reply) error {
	n, _, _, which, _ := r.u32(), r.u32(), r.text(), r.text(), r.u32()
	if err := r.ended(); err != nil {
		return err
	}
	i, err := strconv.Atoi(which)
	if err != nil || i < 0 || i >= len(s.folders) {
		return unix.ENOENT
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(s.folders[i].Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	st, err := statusOf(fd)
	if err != nil {
		unix.Close(fd)
		return err
	}
	w.qid(&st)
	return s.keep(n, &fid{fd: fd, folder: i, kind: unix.S_IFDIR})
}

// step opens an entry of a folder, without opening what it is.
func step(dir int, name string) (fd int, st status, err error) {
	fd, err = retry(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, st, err
	}
	if st, err = statusOf(fd); err != nil {
		unix.Close(fd)
	}
	return fd, st, err
}

func (s *Server) walk(r *request, w *reply) error {
	f, err := s.of(r)
	if err != nil {
		return err
	}
	n, count := r.u32(), int(r.u16())
	if count > walkMax {
		return unix.EINVAL
	}
	names := make([]string, count)
	for i := range names {
		if names[i], err = r.name(); err != nil {
			return err
		}
	}
	if err := r.ended(); err != nil {
		return err
	}
	if s.fids[n] != nil { // also the same: nobody needs that
		return unix.EBADF
	}
	fd, err := s.again(f, unix.O_PATH)
	if err != nil {
		return err
	}
	to := fid{fd: fd, folder: f.folder, kind: f.kind}
	w.u16(uint16(count))
	for _, name := range names {
		next, st, err := step(to.fd, name)
		unix.Close(to.fd)
		if err != nil {
			return err
		}
		to.fd, to.kind = next, st.Mode&unix.S_IFMT
		w.qid(&st)
	}
	return s.keep(n, &to)
}

// again opens what a fid is once more. It is not found by a name, so it is the same thing.
func (s *Server) again(f *fid, flags int) (int, error) {
	if flags&unix.O_PATH != 0 {
		return unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	return retry(func() (int, error) { return unix.Open(self(f), flags|unix.O_CLOEXEC, 0) })
}

// self is a path by which the kernel finds a descriptor's file itself.
func self(f *fid) string { return "/proc/self/fd/" + strconv.Itoa(f.fd) }

func (s *Server) clunk(r *request, _ *reply) error {
	n := r.u32()
	if err := r.ended(); err != nil {
		return err
	}
	if s.fids[n] == nil {
		return unix.EBADF
	}
	s.drop(n)
	return nil
}

// retry makes a call again that a signal has interrupted: the runtime sends them to its threads.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

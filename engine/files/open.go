package files

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// openFlags are those that a pVM may open with. O_NONBLOCK and O_NOFOLLOW are added where something could be in a file's place.
const openFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_DIRECTORY | unix.O_DSYNC | unix.O_SYNC

func (s *Server) lopen(r *request, w *reply) error {
	f, err := s.of(r)
	flags := int(r.u32())
	if err == nil {
		err = r.ended()
	}
	writes := flags&unix.O_ACCMODE != unix.O_RDONLY
	switch {
	case err != nil:
		return err
	case f.open:
		return unix.EBADF
	case flags&^(openFlags|unix.O_LARGEFILE) != 0 || flags&unix.O_ACCMODE == unix.O_ACCMODE:
		return unix.EINVAL
	case writes && s.folders[f.folder].ReadOnly:
		return unix.EROFS
	case f.kind == unix.S_IFLNK:
		return unix.ELOOP
	case f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR:
		return unix.ENXIO
	}
	fd, err := s.again(f, flags)
	if err != nil {
		return err
	}
	return s.opened(f, fd, flags, w)
}

func (s *Server) lcreate(r *request, w *reply) error {
	f, err := s.folderOf(r)
	if err != nil {
		return err
	}
	name, err := r.name()
	flags, mode, _ := int(r.u32()), r.u32()&modeMask, r.u32()
	if err == nil {
		err = r.ended()
	}
	switch {
	case err != nil:
		return err
	case f.open:
		return unix.EBADF
	case flags&^(openFlags&^unix.O_DIRECTORY|unix.O_LARGEFILE|unix.O_CREAT|unix.O_EXCL) != 0 || flags&unix.O_ACCMODE == unix.O_ACCMODE:
		return unix.EINVAL
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.fd, name, flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	})
	if err != nil {
		return err
	}
	if err := unix.Fchmod(fd, mode); err != nil { // the engine's umask is not the pVM's
		unix.Close(fd)
		return err
	}
	f.kind = unix.S_IFREG
	return s.opened(f, fd, flags, w)
}

// opened makes an open file of a fid.
func (s *Server) opened(f *fid, fd, flags int, w *reply) error {
	unix.Close(f.fd)
	f.fd, f.open, f.flags = fd, true, flags
	st, err := statusOf(fd)
	if err != nil {
		return err
	}
	w.qid(&st)
	w.u32(s.msize - ioHead)
	return nil
}

// room takes offset and count of a read: what goes into a reply.
func (s *Server) room(r *request) (at int64, n int, err error) {
	at, n = int64(r.u64()), int(min(r.u32(), s.msize-ioHead))
	if err = r.ended(); err == nil && at < 0 {
		err = unix.EINVAL
	}
	return at, n, err
}

func (s *Server) read(r *request, w *reply) error {
	f, err := s.of(r)
	if err != nil {
		return err
	}
	at, n, err := s.room(r)
	switch {
	case err != nil:
		return err
	case f.kind == unix.S_IFDIR:
		return unix.EISDIR
	case !f.open:
		return unix.EBADF
	}
	w.u32(0)
	from := len(w.b)
	w.b = append(w.b, make([]byte, n)...)
	got, err := retry(func() (int, error) { return unix.Pread(f.fd, w.b[from:], at) })
	if err != nil {
		return err
	}
	w.b = w.b[:from+got]
	binary.LittleEndian.PutUint32(w.b[from-4:], uint32(got))
	return nil
}

func (s *Server) write(r *request, w *reply) error {
	f, err := s.of(r)
	if err != nil {
		return err
	}
	at, n := int64(r.u64()), r.u32()
	switch {
	case r.short || at < 0 || uint64(n) != uint64(len(r.rest)):
		return unix.EINVAL
	case !f.open || f.kind != unix.S_IFREG:
		return unix.EBADF
	}
	put, err := retry(func() (int, error) { return unix.Pwrite(f.fd, r.rest, at) })
	if err == nil {
		w.u32(uint32(put))
	}
	return err
}

func (s *Server) fsync(r *request, _ *reply) error {
	f, err := s.of(r)
	data := r.u32()
	if err == nil {
		err = r.ended()
	}
	if err == nil && !f.open {
		err = unix.EBADF
	}
	if err != nil {
		return err
	}
	_, err = retry(func() (struct{}, error) {
		if data != 0 {
			return struct{}{}, unix.Fdatasync(f.fd)
		}
		return struct{}{}, unix.Fsync(f.fd)
	})
	return err
}

// Of struct linux_dirent64: offsets of the fields, and of the name.
const (
	direntNext = 8
	direntSize = 16
	direntType = 18
	direntName = 19
	entryHead  = qidSize + 8 + 1 + 2 // of an entry of a reply
)

// readdir's offsets are the host's. A wrong one gives other entries of the folder, or none.
func (s *Server) readdir(r *request, w *reply) error {
	f, err := s.of(r)
	if err != nil {
		return err
	}
	at, n, err := s.room(r)
	switch {
	case err != nil:
		return err
	case f.kind != unix.S_IFDIR:
		return unix.ENOTDIR
	case !f.open:
		return unix.EBADF
	}
	if _, err := unix.Seek(f.fd, at, 0); err != nil {
		return err
	}
	// An entry of a reply is at most entryHead - direntName larger than the host's, whose smallest has 24 bytes.
	buf := make([]byte, max(n*24/(24+entryHead-direntName), direntName+unix.NAME_MAX+8))
	got, err := retry(func() (int, error) { return unix.Getdents(f.fd, buf) })
	if err != nil {
		return err
	}
	w.u32(0)
	from := len(w.b)
	for p := buf[:got]; len(p) >= direntName; {
		size := int(binary.LittleEndian.Uint16(p[direntSize:]))
		if size < direntName || size > len(p) {
			return unix.EIO
		}
		name, _, _ := bytes.Cut(p[direntName:size], []byte{0})
		if len(w.b)-from+entryHead+len(name) > n {
			break
		}
		kind := byte(0)
		switch p[direntType] {
		case unix.DT_DIR:
			kind = 0x80
		case unix.DT_LNK:
			kind = 0x02
		}
		w.u8(kind)
		w.u32(0)
		w.b = append(w.b, p[:direntNext]...)           // its number
		w.b = append(w.b, p[direntNext:direntSize]...) // the next position
		w.u8(p[direntType])
		w.text(string(name))
		p = p[size:]
	}
	if got > 0 && len(w.b) == from {
		return unix.EINVAL // not one fits
	}
	binary.LittleEndian.PutUint32(w.b[from-4:], uint32(len(w.b)-from))
	return nil
}

package files

import (
	"golang.org/x/sys/unix"
)

// modeMask is what of a mode a pVM may give: no set-user-ID and set-group-ID, which would be the host's.
const modeMask = 0o777 | unix.S_ISVTX

// ---- entries of folders ----

func (s *Server) mkdir(r *request, w *reply) error {
	dir, err := s.folderOf(r)
	if err != nil {
		return err
	}
	name, err := r.name()
	mode, _ := r.u32()&modeMask, r.u32()
	if err == nil {
		err = r.ended()
	}
	if err == nil {
		err = unix.Mkdirat(dir.fd, name, mode)
	}
	if err != nil {
		return err
	}
	fd, st, err := step(dir.fd, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	w.qid(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR { // somebody was quicker
		return nil
	}
	return unix.Chmod(self(&fid{fd: fd}), mode) // the engine's umask is not the pVM's
}

func (s *Server) symlink(r *request, w *reply) error {
	dir, err := s.folderOf(r)
	if err != nil {
		return err
	}
	name, err := r.name()
	target, _ := r.text(), r.u32()
	if err == nil {
		err = r.ended()
	}
	if err == nil {
		err = unix.Symlinkat(target, dir.fd, name)
	}
	if err != nil {
		return err
	}
	fd, st, err := step(dir.fd, name)
	if err != nil {
		return err
	}
	w.qid(&st)
	return unix.Close(fd)
}

func (s *Server) link(r *request, _ *reply) error {
	dir, err := s.folderOf(r)
	if err != nil {
		return err
	}
	f, err := s.of(r)
	if err != nil {
		return err
	}
	name, err := r.name()
	if err == nil {
		err = r.ended()
	}
	switch {
	case err != nil:
		return err
	case f.folder != dir.folder:
		return unix.EXDEV
	case f.kind == unix.S_IFDIR:
		return unix.EPERM
	}
	return unix.Linkat(unix.AT_FDCWD, self(f), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
}

func (s *Server) renameat(r *request, _ *reply) error {
	from, err := s.folderOf(r)
	if err != nil {
		return err
	}
	old, err := r.name()
	if err != nil {
		return err
	}
	to, err := s.folderOf(r)
	if err != nil {
		return err
	}
	name, err := r.name()
	if err == nil {
		err = r.ended()
	}
	if err == nil && from.folder != to.folder {
		err = unix.EXDEV
	}
	if err == nil {
		err = unix.Renameat(from.fd, old, to.fd, name)
	}
	return err
}

func (s *Server) unlinkat(r *request, _ *reply) error {
	dir, err := s.folderOf(r)
	if err != nil {
		return err
	}
	name, err := r.name()
	flags := r.u32()
	if err == nil {
		err = r.ended()
	}
	if err == nil && flags&^unix.AT_REMOVEDIR != 0 {
		err = unix.EINVAL
	}
	if err == nil {
		err = unix.Unlinkat(dir.fd, name, int(flags))
	}
	return err
}

// ---- attributes ----

func (s *Server) getattr(r *request, w *reply) error {
	f, err := s.of(r)
	mask := r.u64()
	if err == nil {
		err = r.ended()
	}
	var st status
	if err == nil {
		st, err = statusOf(f.fd)
	}
	if err != nil {
		return err
	}
	w.u64(mask & 0x7ff)
	w.qid(&st)
	w.u32(st.Mode)
	w.u32(st.Uid)
	w.u32(st.Gid)
	for _, v := range []uint64{
		uint64(st.Nlink), st.Rdev, uint64(st.Size), uint64(st.Blksize), uint64(st.Blocks),
		uint64(st.Atim.Sec), uint64(st.Atim.Nsec), uint64(st.Mtim.Sec), uint64(st.Mtim.Nsec), uint64(st.Ctim.Sec), uint64(st.Ctim.Nsec),
		0, 0, 0, 0, // birth, generation and version: unknown
	} {
		w.u64(v)
	}
	return nil
}

// What of setattr is meant.
const (
	setMode     = 1 << iota
	setUID      // 2
	setGID      // 4
	setSize     // 8
	setAtime    // 16
	setMtime    // 32
	setCtime    // 64: as the host does it anyway
	setAtimeSet // 128: to the time given, else now
	setMtimeSet // 256
)

func (s *Server) setattr(r *request, _ *reply) error {
	f, err := s.of(r)
	valid, mode, uid, gid, size := r.u32(), r.u32(), r.u32(), r.u32(), r.u64()
	times := []unix.Timespec{{Sec: int64(r.u64()), Nsec: int64(r.u64())}, {Sec: int64(r.u64()), Nsec: int64(r.u64())}}
	if err == nil {
		err = r.ended()
	}
	switch {
	case err != nil:
		return err
	case s.folders[f.folder].ReadOnly:
		return unix.EROFS
	case valid&setSize != 0 && f.kind == unix.S_IFDIR:
		return unix.EISDIR
	case valid&setSize != 0 && (f.kind != unix.S_IFREG || int64(size) < 0):
		return unix.EINVAL
	case valid&setMode != 0 && f.kind == unix.S_IFLNK:
		return unix.EOPNOTSUPP
	}
	if valid&(setUID|setGID) != 0 {
		u, g := -1, -1
		if valid&setUID != 0 {
			u = int(uid)
		}
		if valid&setGID != 0 {
			g = int(gid)
		}
		if err := unix.Fchownat(f.fd, "", u, g, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if valid&setMode != 0 {
		if err := unix.Chmod(self(f), mode&modeMask); err != nil {
			return err
		}
	}
	if valid&setSize != 0 {
		if err := s.truncate(f, int64(size)); err != nil {
			return err
		}
	}
	if valid&(setAtime|setMtime) != 0 {
		for i, bits := range [][2]uint32{{setAtime, setAtimeSet}, {setMtime, setMtimeSet}} {
			switch {
			case valid&bits[0] == 0:
				times[i] = unix.Timespec{Nsec: unix.UTIME_OMIT}
			case valid&bits[1] == 0:
				times[i] = unix.Timespec{Nsec: unix.UTIME_NOW}
			case times[i].Nsec < 0 || times[i].Nsec > 999999999:
				return unix.EINVAL
			}
		}
		if f.kind == unix.S_IFLNK {
			return unix.UtimesNanoAt(f.fd, "", times, unix.AT_EMPTY_PATH)
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, self(f), times, 0)
	}
	return nil
}

// truncate works on what is open for writing whatever the file's mode has become.
func (s *Server) truncate(f *fid, size int64) error {
	_, err := retry(func() (struct{}, error) {
		if f.open && f.flags&unix.O_ACCMODE != unix.O_RDONLY {
			return struct{}{}, unix.Ftruncate(f.fd, size)
		}
		return struct{}{}, unix.Truncate(self(f), size)
	})
	return err
}

func (s *Server) readlink(r *request, w *reply) error {
	f, err := s.of(r)
	if err == nil {
		err = r.ended()
	}
	if err == nil && f.kind != unix.S_IFLNK {
		err = unix.EINVAL
	}
	if err != nil {
		return err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(f.fd, "", buf)
	if err == nil {
		w.text(string(buf[:n]))
	}
	return err
}

func (s *Server) statfs(r *request, w *reply) error {
	f, err := s.of(r)
	if err == nil {
		err = r.ended()
	}
	var st unix.Statfs_t
	if err == nil {
		err = unix.Fstatfs(f.fd, &st)
	}
	if err != nil {
		return err
	}
	w.u32(uint32(st.Type))
	w.u32(uint32(st.Bsize))
	for _, v := range []uint64{st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, 0} {
		w.u64(v)
	}
	w.u32(uint32(st.Namelen))
	return nil
}

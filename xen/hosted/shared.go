package hosted

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// sealed is a memory file that nobody can change any more. It lives as long as any who retains it.
type sealed struct {
	fd int // read-only

	mu   sync.Mutex
	refs int
}

// sealedOf makes one of a memory file, which the caller closes.
func sealedOf(fd int) (*sealed, error) {
	if err := seal(fd, allSeals); err != nil {
		return nil, err
	}
	own, err := reopen("/proc/self", fd, unix.O_RDONLY)
	return &sealed{fd: own, refs: 1}, err
}

func (s *sealed) retain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == 0 {
		return false
	}
	s.refs++
	return true
}

// Close implements xen.Image and xen.Shared.
func (s *sealed) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == 0 {
		return nil
	}
	if s.refs--; s.refs == 0 {
		unix.Close(s.fd)
	}
	return nil
}

// libraryPrefix begins the names of the memory files of libraries.
const libraryPrefix = "kx-library:"

// Share implements xen.Hypervisor.
func (h *Hypervisor) Share(pages []byte) (xen.Shared, error) {
	fd, err := memfd(libraryPrefix+h.key, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := writeAt(fd, pages, 0); err != nil {
		return nil, err
	}
	s, err := sealedOf(fd)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// libraries are the files of a domain's libraries, each retained.
type libraries []*sealed

// retain retains all of them, or none.
func (l libraries) retain() error {
	for i, s := range l {
		if !s.retain() {
			l[:i].close()
			return fmt.Errorf("library: %w", os.ErrClosed)
		}
	}
	return nil
}

func (l libraries) close() {
	for _, s := range l {
		s.Close()
	}
}

func (l libraries) fds() (fds []int) {
	for _, s := range l {
		fds = append(fds, s.fd)
	}
	return fds
}

// dynamicMaps says how to map a dynamic segment.
func dynamicMaps(d *xen.Dynamic) (maps []stubMap) {
	for _, m := range d.Shared {
		maps = append(maps, stubMap{VA: m.VA, Len: m.Pages * abi.PageSize, Off: m.First * abi.PageSize, FD: fdLibrary + uint32(m.Of), Prot: prot(m.Prot)})
	}
	for _, r := range d.Private {
		maps = append(maps, stubMap{VA: r.VA, Len: r.Pages * abi.PageSize, Off: r.VA - abi.ImageVa, FD: fdRAM, Prot: prot(elf.Read | elf.Write)})
	}
	return maps
}

// useLibraries checks and retains what of libraries was asked for.
func (b *build) useLibraries() error {
	for _, s := range b.c.Libraries {
		l, ok := s.(*sealed)
		if !ok {
			return fmt.Errorf("library of another hypervisor (%T)", s)
		}
		b.libraries = append(b.libraries, l)
	}
	if err := b.libraries.retain(); err != nil {
		return err
	}
	b.steps.OnFailure(b.libraries.close)
	b.maps = append(slices.Clone(b.img.maps), dynamicMaps(&b.c.Dynamic)...)
	if len(b.maps) >= maxMaps {
		return fmt.Errorf("image and libraries have %d segments: at most %d", len(b.maps), maxMaps-1)
	}
	return nil
}

// openLibraries opens the files of an adopted domain's libraries, in the order in which it got them.
func openLibraries(pid int) (l libraries, err error) {
	const most = 64 // numbers of a stub's files, and some more
	proc := fmt.Sprintf("/proc/%d", pid)
	for n := range most {
		if !strings.HasPrefix(memfdName(fmt.Sprintf("%s/fd/%d", proc, n)), libraryPrefix) {
			continue
		}
		fd, err := reopen(proc, n, unix.O_RDONLY)
		if err != nil {
			l.close()
			return nil, err
		}
		l = append(l, &sealed{fd: fd, refs: 1})
	}
	return l, nil
}

// byInode finds a library by the number of its file, as /proc/PID/maps has it, or returns -1.
func (l libraries) byInode(inode string) int {
	return slices.IndexFunc(l, func(s *sealed) bool {
		var st unix.Stat_t
		return unix.Fstat(s.fd, &st) == nil && fmt.Sprint(st.Ino) == inode
	})
}

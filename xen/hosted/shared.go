package hosted

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

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

// librariesOf are those of this hypervisor.
func librariesOf(shared []xen.Shared) (l libraries, err error) {
	for _, s := range shared {
		own, ok := s.(*sealed)
		if !ok {
			return nil, fmt.Errorf("library of another hypervisor (%T)", s)
		}
		l = append(l, own)
	}
	return l, nil
}

// useLibraries checks and retains what of libraries was asked for.
func (b *build) useLibraries() (err error) {
	if b.libraries, err = librariesOf(b.c.Libraries); err != nil {
		return err
	}
	if err := b.libraries.retain(); err != nil {
		return err
	}
	b.steps.OnFailure(b.libraries.close)
	b.maps = append(slices.Clone(b.img.maps), dynamicMaps(&b.c.Dynamic, b.img.pages)...)
	if len(b.maps) >= maxMaps {
		return fmt.Errorf("image and libraries have %d segments: at most %d", len(b.maps), maxMaps-1)
	}
	return nil
}

// maxFiles is where the numbers of a stub's files surely end.
const maxFiles = 64

// openLibraries opens the files of an adopted domain's libraries, in the order in which it got them.
func openLibraries(pid int) (l libraries, err error) {
	proc := fmt.Sprintf("/proc/%d", pid)
	for n := range maxFiles {
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

package engine

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Socket is a unix socket that an engine listens on.
type Socket struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Listen makes the socket. One that a dead engine left is replaced; one that answers is not.
func Listen(path string) (*Socket, error) {
	if err := checkSocket(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("socket %s: a file is in the way", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("socket %s: an engine is already there", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("socket %s: %w", path, err)
		}
	}
	// Between bind and chmod the socket must not be anybody's: the umask makes it so.
	old := unix.Umask(0o177)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	s := &Socket{UnixListener: ln, path: path}
	if s.made, err = os.Lstat(path); err != nil {
		ln.Close()
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return s, nil
}

// Close removes the socket, unless another engine has made its own in this place.
func (s *Socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.made) {
		os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

// removed tells whether somebody has taken it away, as those do who clean folders for temporary files.
func (s *Socket) removed() bool {
	_, err := os.Lstat(s.path)
	return os.IsNotExist(err)
}

// maxSocket is the most bytes of a socket's path (unix(7): sun_path, with a NUL).
const maxSocket = 107

func checkSocket(path string) error {
	if len(path) > maxSocket {
		return errf(CodeEngine, "engine: %s: a socket's path has at most %d bytes, this one %d: name a shorter one with --socket", path, maxSocket, len(path))
	}
	return nil
}

package shell

import (
	"context"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminalOf returns the terminal that a reader or writer is, or nil.
func terminalOf(v any) *os.File {
	v = streamOf(v)
	if p, ok := v.(*page); ok {
		return p.tty
	}
	f, ok := v.(*os.File)
	if !ok || f == nil {
		return nil
	}
	if fi, err := f.Stat(); err != nil || fi.Mode()&os.ModeCharDevice == 0 || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// width is the width of the terminal that w is; 0: no terminal, no limit.
func width(w io.Writer) int {
	f := terminalOf(w)
	if f == nil {
		return 0
	}
	cols, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return cols
}

// terminalState is how to put the terminal back. At most one raw mode is on at a time.
type terminalState struct {
	mu  sync.Mutex
	fd  int
	old *term.State
}

// makeRaw switches the terminal to raw mode until restoreTerminal.
func (s *Shell) makeRaw(f *os.File) error {
	s.cooked.mu.Lock()
	defer s.cooked.mu.Unlock()
	s.takeTerminal(f)
	old, err := term.MakeRaw(int(f.Fd()))
	if err == nil {
		s.cooked.fd, s.cooked.old = int(f.Fd()), old
	}
	return err
}

// restoreTerminal ends raw mode, if it is on.
func (s *Shell) restoreTerminal() {
	s.cooked.mu.Lock()
	defer s.cooked.mu.Unlock()
	if s.cooked.old != nil {
		term.Restore(s.cooked.fd, s.cooked.old)
		s.cooked.old = nil
	}
}

// reader reads a file when a read does not block, and gives up, having taken nothing, when wait does: what is typed next
// belongs to somebody else.
type reader struct {
	f    *os.File
	wait func(f *os.File) error
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.wait(r.f); err != nil {
		return 0, err
	}
	return r.f.Read(p)
}

// readable waits until a read of f would not block.
func readable(ctx context.Context, f *os.File) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		for {
			if _, failed = unix.Poll(fds, -1); failed != unix.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err
	case failed != nil:
		return failed
	}
	return ctx.Err()
}

// brokenPipe reports whether the reader of a pipe has gone.
func brokenPipe(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || f == nil {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	broken := false
	conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		broken = err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
	})
	return broken
}

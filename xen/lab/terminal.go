package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Keys that the lab takes for itself: the first one begins QEMU's escape, the second leaves while dom0
// is still booting.
const (
	escapeKey    = 'A' & 0x1f
	interruptKey = 'C' & 0x1f
)

// errLeft: the user left with one of these keys.
var errLeft = errors.New("left")

// A keyboard carries what is typed at a terminal to a machine's serial line.
type keyboard struct {
	terminal *os.File
	line     io.Writer
	open     atomic.Bool // the command runs: keys are its
	leave    func()      // called for the keys that leave
	escaped  bool
}

// run types until ctx ends, the line is gone or somebody leaves. Ctrl-a x leaves, Ctrl-a Ctrl-a is one
// Ctrl-a, as in QEMU; while the machine boots, Ctrl-c leaves too, and other keys are dropped.
func (k *keyboard) run(ctx context.Context) {
	poll := []unix.PollFd{{Fd: int32(k.terminal.Fd()), Events: unix.POLLIN}}
	buf := make([]byte, 256)
	for ctx.Err() == nil {
		// With a time limit: a blocked read would take the next key from whoever has the terminal then.
		if n, err := unix.Poll(poll, 100); n <= 0 && (err == nil || errors.Is(err, unix.EINTR)) {
			continue
		}
		n, err := k.terminal.Read(buf)
		if err != nil {
			return
		}
		keys, leaving := k.filter(buf[:n])
		if leaving {
			k.leave()
			return
		}
		if !k.open.Load() {
			continue
		}
		if _, err := k.line.Write(keys); err != nil {
			return
		}
	}
}

// filter takes out the lab's own keys and says whether they leave.
func (k *keyboard) filter(typed []byte) (keys []byte, leaving bool) {
	for _, key := range typed {
		switch {
		case k.escaped && key == 'x', key == interruptKey && !k.open.Load():
			return nil, true
		case !k.escaped && key == escapeKey:
			k.escaped = true
			continue
		}
		k.escaped = false
		keys = append(keys, key)
	}
	return keys, false
}

// rawTerminal hands every key to the machine, until the function returned is called.
func rawTerminal(t *os.File) (func(), error) {
	state, err := term.MakeRaw(int(t.Fd()))
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w: a shell in the lab needs a terminal", t.Name(), err)
	}
	return func() { term.Restore(int(t.Fd()), state) }, nil
}

// sizePipe is the name of the two pipes that QEMU takes for a serial line: what comes from NAME.in goes to dom0.
const sizePipe = "size"

// carrySize tells dom0 of every new size of the terminal, over the third line.
func (m *machine) carrySize() (forget func(), err error) {
	in := filepath.Join(m.folder, sizePipe+".in")
	if err := errors.Join(unix.Mkfifo(in, 0o600), unix.Mkfifo(filepath.Join(m.folder, sizePipe+".out"), 0o600)); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	w, err := os.OpenFile(in, os.O_RDWR, 0) // for reading too: opening does not wait for QEMU
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range resized {
			rows, columns := terminalSize(m.Terminal)
			fmt.Fprintf(w, "%d %d\n", rows, columns)
		}
	}()
	return func() {
		signal.Stop(resized)
		close(resized)
		<-done
		w.Close()
	}, nil
}

func terminalSize(t *os.File) (rows, columns int) {
	columns, rows, err := term.GetSize(int(t.Fd()))
	if err != nil || rows <= 0 || columns <= 0 {
		return 24, 80
	}
	return rows, columns
}

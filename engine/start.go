package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyEnv names the file descriptor on which an engine started in the background says, in one
// line, that it is ready ("ready") or why it cannot be.
const readyEnv = "KXSH_READY_FD"

// StartBackground starts argv as an engine of its own session and returns when it is ready. Two
// callers at once start one engine: the second finds the lock of the first and waits for it.
func StartBackground(ctx context.Context, socket, state string, argv []string) error {
	for _, dir := range []string{filepath.Dir(socket), state} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return cannotStart(err)
		}
	}
	lock, err := os.OpenFile(socket+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return cannotStart(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return errf(CodeEngine, "engine: cannot start: %s: %v", lock.Name(), err)
	}
	if c, err := Connect(ctx, socket, nil); err == nil {
		return c.Close() // the other caller's engine
	}
	return start(ctx, state, argv)
}

// cannotStart is for files that cannot be made.
func cannotStart(err error) error {
	mend := ""
	switch {
	case noRoom(err):
		mend = ": make room, or name other places with --state and --socket"
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOTDIR):
		mend = ": name other places with --state and --socket"
	}
	return errf(CodeEngine, "engine: cannot start: %v%s", err, mend)
}

func start(ctx context.Context, state string, argv []string) error {
	out, err := os.OpenFile(filepath.Join(state, "engine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return cannotStart(err)
	}
	defer out.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return errf(CodeEngine, "engine: cannot start: %v", err)
	}
	defer r.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return errf(CodeEngine, "engine: cannot start: %v", err)
	}
	go cmd.Wait() // no zombie in a long session; the engine goes on without us
	defer context.AfterFunc(ctx, func() { r.Close() })()
	line, err := bufio.NewReader(r).ReadString('\n')
	line = strings.TrimSpace(line)
	switch {
	case line == "ready":
		return nil
	case line != "":
		return errf(CodeEngine, "engine: cannot start: %s", line)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errf(CodeEngine, "engine: cannot start: it ended at once: see %s", out.Name())
}

// Ready tells whoever started this engine in the background how it went; nil: it is ready. In the
// foreground it does nothing.
func Ready(failure error) error {
	v := os.Getenv(readyEnv)
	if v == "" {
		return nil
	}
	os.Unsetenv(readyEnv)
	fd, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("%s: %q: not a file descriptor", readyEnv, v)
	}
	f := os.NewFile(uintptr(fd), "ready")
	msg := "ready\n"
	if failure != nil {
		msg = strings.ReplaceAll(failure.Error(), "\n", " ") + "\n"
	}
	_, err = f.WriteString(msg)
	return errors.Join(err, f.Close())
}

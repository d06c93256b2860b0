package shell

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// catchSignals takes the process's signals until the returned function is called. SIGPIPE is taken
// so that a broken pipe is an error of the write, which the writer turns into 141.
func (s *Shell) catchSignals() (stop func()) {
	ch := make(chan os.Signal, 16)
	list := []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGWINCH}
	if s.interactive {
		list = append(list, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	}
	signal.Notify(ch, list...)
	s.mu.Lock()
	s.signals = ch
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-ch:
				s.caught(sig.(syscall.Signal))
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(done)
	}
}

// caught is a signal to this process.
func (s *Shell) caught(sig syscall.Signal) {
	switch sig {
	case syscall.SIGPIPE:
	case syscall.SIGTTIN, syscall.SIGTTOU: // a command of ours wants the terminal
		if s.control != nil {
			s.control.give(s.control.own)
		}
	case syscall.SIGTSTP:
		s.stopFront()
	case syscall.SIGWINCH:
		s.mu.Lock()
		defer s.mu.Unlock()
		for ch := range s.resizes {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	case syscall.SIGTERM, syscall.SIGQUIT:
		if s.interactive && !s.main.hasTrap(sig) { // as an interactive sh does
			if sig == syscall.SIGQUIT {
				s.main.quit()
			}
			return
		}
		s.end(sig)
	case syscall.SIGHUP:
		s.end(sig)
	default:
		s.main.deliver(sig)
	}
}

// end delivers a signal that asks the shell to leave; the second one, or one that finds nothing to
// wait for, is obeyed at once.
func (s *Shell) end(sig syscall.Signal) {
	if !s.main.hasTrap(sig) && (s.main.ending() != 0 || s.reading.Load()) {
		s.restoreTerminal()
		if s.atExit != nil {
			s.atExit()
		}
		os.Exit(128 + int(sig))
	}
	s.main.deliver(sig)
}

// signalSelf is kill -SIG $$.
func (s *Shell) signalSelf(sig syscall.Signal) {
	switch {
	case sig == syscall.SIGKILL || sig == syscall.SIGSTOP:
		s.restoreTerminal()
		unix.Kill(os.Getpid(), sig)
	case sig != 0:
		s.main.deliver(sig)
	}
}

// resized returns a channel that gets a value when the terminal changes its size.
func (s *Shell) resized() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resizes[ch] = true
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.resizes, ch)
	}
}

// errorf says something about the shell itself.
func (s *Shell) errorf(format string, a ...any) {
	fmt.Fprintf(s.cfg.Stderr, "kxsh: %s\n", fmt.Sprintf(format, a...))
}

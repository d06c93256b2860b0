package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// IdleGrace is how long an engine without pVMs and clients stays before it leaves.
const IdleGrace = 5 * time.Second

// Daemon runs an engine and its server until ctx ends, a client asks for the end, or, with
// leaveIdle, nobody needs it any more. Running pVMs are left to the next engine.
func Daemon(ctx context.Context, o Options, leaveIdle bool) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, Ready(err))
		}
	}()
	ln, err := inherited()
	var own *Socket // nil: the service manager's
	if err == nil && ln == nil {
		own, err = Listen(o.Socket)
		ln = own
	}
	if err != nil {
		return err
	}
	e, err := New(o)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	stopMetrics, err := e.serveMetrics(o.Metrics)
	if err != nil {
		return errors.Join(err, ln.Close(), e.Stop())
	}
	s := NewServer(e, ln)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	if own != nil {
		keepCtx, stop := context.WithCancel(ctx)
		defer stop()
		go s.keep(keepCtx, own)
	}
	if err := errors.Join(Ready(nil), notify("READY=1")); err != nil {
		e.log.Warn("ready", "err", err)
	}
	idle := make(chan struct{})
	if leaveIdle {
		idleCtx, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			if e.Idle(idleCtx, IdleGrace, s.Busy) == nil {
				close(idle)
			}
		}()
	}
	select {
	case <-ctx.Done():
	case <-e.Quit():
	case <-idle:
	case err := <-served:
		return errors.Join(fmt.Errorf("socket %s: %w", o.Socket, err), stopMetrics(), e.Stop())
	}
	if err := notify("STOPPING=1"); err != nil {
		e.log.Warn("stopping", "err", err)
	}
	// The socket goes first of what the next engine does not need, so that whoever comes now starts it.
	e.once.Do(func() { close(e.quit) })
	return errors.Join(stopMetrics(), s.Close(), e.Stop())
}

// DefaultSocket is where the engine of this user listens, and DefaultState where it keeps its
// store: below /run and /var/lib for root, in the places of the XDG base directory specification
// for others.
func DefaultSocket() string {
	if os.Geteuid() == 0 {
		return "/run/kxsh/engine.sock"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir + "/kxsh/engine.sock"
	}
	return fmt.Sprintf("%s/kxsh-%d/engine.sock", os.TempDir(), os.Geteuid())
}

func DefaultState() string {
	if os.Geteuid() == 0 {
		return "/var/lib/kxsh"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return dir + "/kxsh"
	}
	return os.Getenv("HOME") + "/.local/state/kxsh"
}

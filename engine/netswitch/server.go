package netswitch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is the first argument of a kxsh that is a switch.
const Command = "network-switch"

// IdleGrace is how long a switch without ports and engine stays before it leaves.
const IdleGrace = 5 * time.Second

const (
	socketName = "switch.sock"
	lockName   = "switch.lock" // held by who looks whether a switch is there, and by a switch that leaves
	logName    = "switch.log"
	listenFD   = 3 // of a switch: its socket, made by who started it
)

// server is a switch's process.
type server struct {
	sw      *Switch
	dir     string // of its socket
	engines atomic.Int32
	spare   atomic.Bool // the last engine has said that it needs none
}

// Main is the process: args are its folder, the gateway, and whether that is the host's loopback, as Dial starts
// it. It returns the exit status.
func Main(args []string) int {
	if err := run(args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Command, err)
		return 1
	}
	return 0
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("is started by an engine, and not by hand")
	}
	gateway, err := netip.ParsePrefix(args[1])
	if err != nil {
		return err
	}
	ln, err := net.FileListener(os.NewFile(listenFD, socketName))
	if err != nil {
		return fmt.Errorf("its socket: %w", err)
	}
	unix.CloseOnExec(listenFD)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	// A thread that waits for a bell keeps its processor until the scheduler notices; others must find one.
	runtime.GOMAXPROCS(4 * runtime.NumCPU())
	mostNaps.Store(int32(2 * runtime.NumCPU()))
	return serve(ctx, ln.(*net.UnixListener), args[0], Config{
		Gateway: gateway, Loopback: args[2] == "true", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

// serve is a switch until ctx ends or nobody needs it.
func serve(ctx context.Context, ln *net.UnixListener, dir string, c Config) error {
	sw, err := New(c)
	if err != nil {
		ln.Close()
		return err
	}
	s := &server{sw: sw, dir: dir}
	served := make(chan error, 1)
	go func() { served <- s.accept(ln) }()
	idle := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go s.leaveIdle(ctx, idle)
	select {
	case <-ctx.Done():
		os.Remove(filepath.Join(dir, socketName))
	case <-idle: // the socket is removed
	case err = <-served:
	}
	ln.Close()
	sw.Close()
	return err
}

// leaveIdle closes idle when there was neither port nor engine for IdleGrace, or at once if no engine is to come. When there
// has been no engine for as long, who tells when a pVM has ended, it sees for itself.
func (s *server) leaveIdle(ctx context.Context, idle chan<- struct{}) {
	const look = 250 * time.Millisecond
	since, told := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
		if s.engines.Load() > 0 {
			told = time.Now()
		} else if time.Since(told) >= IdleGrace {
			s.sw.removeEnded()
		}
		if s.busy() {
			since = time.Now()
			continue
		}
		if (s.spare.Load() || time.Since(since) >= IdleGrace) && s.leave() {
			close(idle)
			return
		}
	}
}

// busy tells whether somebody is there, or something still to be delivered of who was.
func (s *server) busy() bool {
	return s.engines.Load() > 0 || len(s.sw.Ports()) > 0 || s.sw.lines() > 0
}

// leave removes the socket, unless somebody is about to use it.
func (s *server) leave() bool {
	lock, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return errors.Is(err, os.ErrNotExist) // the folder is gone, and the socket with it
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || s.busy() {
		return false
	}
	os.Remove(filepath.Join(s.dir, socketName))
	return true
}

func (s *server) accept(ln *net.UnixListener) error {
	for {
		c, err := ln.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			s.sw.log.Warn("control socket", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		s.engines.Add(1)
		s.spare.Store(false)
		go func() {
			defer s.engines.Add(-1)
			if err := s.converse(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
				s.sw.log.Warn("control connection", "err", err)
			}
		}()
	}
}

// converse serves one connection. Its end ends nothing but itself.
func (s *server) converse(c *net.UnixConn) error {
	r := &receiver{conn: c}
	defer r.close()
	if err := checkPeer(c); err != nil {
		return err
	}
	out := json.NewEncoder(c)
	for {
		q, err := r.next()
		if q == nil {
			return err
		}
		var answer response
		if err == nil {
			answer, err = s.do(q)
		}
		q.close()
		if err != nil {
			answer.Error = err.Error()
		}
		if err := out.Encode(&answer); err != nil {
			return err
		}
	}
}

// checkPeer lets in this user and root.
func checkPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return errors.Join(e, err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d: the switch is for its owner and root", cred.Uid)
	}
	return nil
}

func (s *server) do(q *request) (answer response, err error) {
	switch {
	case q.Op == "state":
		answer.State = &State{
			PID: os.Getpid(), Gateway: s.sw.config.Gateway, Loopback: s.sw.config.Loopback,
			Ports: s.sw.Ports(), Published: s.sw.Published(),
		}
	case q.Op == "traffic":
		answer.Traffic = s.sw.traffic()
	case q.Op == "add" && q.Port != nil:
		err = s.sw.Add(*q.Port)
	case q.Op == "remove":
		err = s.sw.Remove(q.ID)
	case q.Op == "events" && q.Events != nil:
		err = s.sw.SetEvents(q.ID, *q.Events)
	case q.Op == "publish" && q.Publication != nil:
		err = s.sw.Publish(*q.Publication)
	case q.Op == "spare":
		s.spare.Store(true)
	case q.Op == "unpublish":
		err = s.sw.Unpublish(q.Address)
	default:
		err = fmt.Errorf("request %q: it is none, or incomplete", q.Op)
	}
	return answer, err
}

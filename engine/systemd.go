package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
)

// What a service manager expects of an engine that it runs, without its library: the environment
// variables of sd_listen_fds(3) and sd_notify(3).

// inherited returns the socket that a service manager listens on for us, or nil. It outlives us, so that
// whoever connects while one engine follows another waits, and starts none.
func inherited() (net.Listener, error) {
	pid, fds := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v) // they are not for children
	}
	if fds != "1" {
		return nil, fmt.Errorf("LISTEN_FDS=%s: an engine takes one socket", fds)
	}
	f := os.NewFile(3, "socket")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("socket of the service manager: %w", err)
	}
	if _, ok := ln.(*net.UnixListener); !ok {
		return nil, errors.Join(fmt.Errorf("socket of the service manager: %s: not a unix socket", ln.Addr()), ln.Close())
	}
	return ln, nil
}

// notify tells a service manager, if there is one, how far we are.
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	_, err = c.Write([]byte(state))
	return errors.Join(err, c.Close())
}

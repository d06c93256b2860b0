package shell

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopTries is how often a process in the background stops itself before it takes it that nobody lets it go on: Linux does not stop an orphaned process group.
const stopTries = 16

// takeForeground makes this process the leader of a process group of its own, and that the terminal's
// foreground: Ctrl-C and Ctrl-Z are then not for whoever started the session, such as make. The
// returned function gives the terminal back. Started behind somebody's prompt, it stops until it is brought to the front.
func takeForeground(tty *os.File) (giveBack func()) {
	fd := int(tty.Fd())
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, unix.SIGCONT)
	defer signal.Stop(goOn)
	before, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	for range stopTries {
		if err != nil || before == unix.Getpgrp() {
			break
		}
		unix.Kill(0, unix.SIGTTIN)
		select { // another thread may have to come to its turn to stop them all
		case <-goOn:
		case <-time.After(stopLook):
		}
		before, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	}
	if err != nil || before != unix.Getpgrp() || before == os.Getpid() || unix.Setpgid(0, 0) != nil {
		return func() {}
	}
	signal.Ignore(unix.SIGTTOU) // from a background group the next call would raise it
	defer signal.Reset(unix.SIGTTOU)
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, os.Getpid()); err != nil {
		unix.Setpgid(0, before)
		return func() {}
	}
	return func() {
		unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, before)
	}
}

// hasTerminal reports whether what is typed at the terminal is for this process and its children.
func hasTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// catches reports whether a program of the host has a handler for a signal, or has ended.
func catches(p *os.Process, sig syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	_, rest, _ := strings.Cut(string(status), "\nSigCgt:\t")
	mask, bad := strconv.ParseUint(rest[:min(16, len(rest))], 16, 64)
	return err != nil || bad != nil || mask>>(sig-1)&1 != 0
}

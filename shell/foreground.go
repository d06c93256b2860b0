package shell

import (
	"os"
	"os/signal"
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

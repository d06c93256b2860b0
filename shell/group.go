package shell

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// group is the process group of a job's programs of the host, for as long as there are any.
type group struct {
	mu          sync.Mutex     // held while a program is started or reaped, so that the number is nobody else's
	id          int            // 0: there is no program
	tty         *os.File       // the shell's terminal
	members     map[int]member // by PID
	modes       *unix.Termios  // of the terminal, when it was stopped in front
	interrupted bool           // one of them has died of Ctrl-C
}

// member is a program of a group.
type member struct {
	since   time.Time // it was started
	stopped bool
}

// lateFor is for how long a program may have been in its job and not have heard of a Ctrl-Z or Ctrl-C: the others stop or end, and the shell hears of it, not at once.
const lateFor = time.Second

// start starts a program in the group. The first one of a group in front takes the terminal.
func (g *group) start(cmd *exec.Cmd, tty *os.File, front bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	attr := &syscall.SysProcAttr{Setpgid: true, Pgid: g.id}
	if g.id == 0 && front {
		attr.Foreground, attr.Ctty = true, int(tty.Fd())
	}
	cmd.SysProcAttr = attr
	if err := startQuietly(cmd); err != nil {
		return err
	}
	if g.id == 0 {
		g.id, g.tty, g.members, g.interrupted = cmd.Process.Pid, tty, map[int]member{}, false
	}
	g.members[cmd.Process.Pid] = member{since: time.Now()}
	return nil
}

// startLook is how long a program may take to start before it is looked after.
const startLook = 20 * time.Millisecond

// startQuietly is cmd.Start for a program that the terminal's signals reach from before its exec, which Start waits for with its thread: one that Ctrl-Z stops
// then is let go on, and stopped when it is that program. No garbage is collected meanwhile: that would wait for the thread, and who looks after it for that.
func startQuietly(cmd *exec.Cmd) error {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which waits for the end of a collection
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	list := fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid())
	before, _ := os.ReadFile(list)
	started, looked := make(chan struct{}), make(chan struct{})
	stopped := false
	go func() {
		defer close(looked)
		for {
			select {
			case <-started:
				return
			case <-time.After(startLook):
			}
			now, _ := os.ReadFile(list)
			for _, child := range strings.Fields(string(now)) {
				if pid, err := strconv.Atoi(child); err == nil && !slices.Contains(strings.Fields(string(before)), child) && isStopped(pid) {
					stopped = true
					unix.Kill(pid, unix.SIGCONT)
				}
			}
		}
	}()
	err := cmd.Start()
	close(started)
	<-looked
	if err == nil && stopped {
		unix.Kill(cmd.Process.Pid, unix.SIGTSTP)
	}
	return err
}

// isStopped tells whether a process is stopped (proc(5)).
func isStopped(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	name := bytes.LastIndexByte(stat, ')') // which may have any bytes
	return name >= 0 && bytes.HasPrefix(stat[name:], []byte(") T"))
}

// reap waits for a program that has ended. It reports whether it was the last of the group, and which group that was.
func (g *group) reap(cmd *exec.Cmd) (last bool, id int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	err = cmd.Wait()
	id = g.id
	delete(g.members, cmd.Process.Pid)
	if last = len(g.members) == 0; last {
		g.id, g.modes = 0, nil
	}
	return last, id, err
}

// kill sends a signal to all that is in the group, children of the programs too. It reports whether there is anything.
func (g *group) kill(sig syscall.Signal) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.id != 0 && unix.Kill(-g.id, sig) == nil
}

// isTerminals reports whether the terminal sends it what its keys mean.
func (g *group) isTerminals() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.id == 0 {
		return false
	}
	now, err := unix.IoctlGetInt(int(g.tty.Fd()), unix.TIOCGPGRP)
	return err == nil && now == g.id
}

// number is that of the process group; 0: there is none.
func (g *group) number() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.id
}

// note takes down that a program has stopped or goes on, and reports whether all are stopped.
func (g *group) note(pid int, stopped bool) (all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[pid]
	m.stopped = stopped
	g.members[pid] = m
	for _, m := range g.members {
		if !m.stopped {
			return false
		}
	}
	return true
}

// stopLate stops those that Ctrl-Z may have come too early for: while a pipeline is started, the first of its programs have it alone.
func (g *group) stopLate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pid, m := range g.members {
		if !m.stopped && time.Since(m.since) < lateFor {
			unix.Kill(pid, syscall.SIGTSTP)
		}
	}
}

// interruptedFirst reports whether nobody has asked since the group was begun: Ctrl-C reaches all of it, and counts once.
func (g *group) interruptedFirst() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !g.interrupted
	g.interrupted = true
	return first
}

// childChange is what a program did: it stopped by a signal, went on, or ended.
type childChange struct {
	code int // CLD_… of siginfo.h
	sig  syscall.Signal
}

const (
	cldStopped   = 5
	cldContinued = 6
)

// nextChange waits until a program stops, goes on or ends; it is not reaped.
func nextChange(pid int) childChange {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return childChange{}
		}
		if info.Code == cldStopped || info.Code == cldContinued { // or the next call would tell the same again
			unix.Waitid(unix.P_PID, pid, &unix.Siginfo{}, unix.WSTOPPED|unix.WCONTINUED|unix.WNOHANG, nil)
		}
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info))
		const status = 24 // where x86-64's siginfo has si_status
		return childChange{int(info.Code), syscall.Signal(binary.NativeEndian.Uint32(raw[status:]))}
	}
}

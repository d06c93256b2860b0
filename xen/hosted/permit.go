package hosted

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// The kernel asks before a stub makes a process (filter_listen in stub/filter.c), and the stub waits for the answer. Nobody
// listens but while a domain is forked, so that a hostile guest that tries is stuck until then, and then ended.

// notification and notificationReply are struct seccomp_notif and seccomp_notif_resp of linux/seccomp.h.
type notification struct {
	id         uint64
	pid, flags uint32
	data       [64]byte
}

type notificationReply struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

const (
	ioctlNotifyReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlNotifySend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	notifyContinue     = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	// permits is how often the call is let pass: it begins anew when the process is stopped in the middle.
	permits = 4
)

// take opens a descriptor of a process as one of ours.
func (p *process) take(fd int) (int, error) {
	return attemptFD("pidfd_getfd", func() (int, error) { return unix.PidfdGetfd(p.pidfd, fd, 0) })
}

// permit lets a stub make one process, by the order of that number, and returns its word for that one's PID. Others that ask are
// ended, and so is what it makes by the order of an engine that has died. The caller holds h.permitting.
func (h *Hypervisor) permit(listener int, p *process, number uint32) (int, error) {
	s := p.state()
	forked := &s.Forked
	granted := 0
	for end := time.Now().Add(forkPatience); ; {
		switch r := atomic.LoadInt32(forked); {
		case r != 0 && atomic.LoadUint32(&s.Answered) != number:
			atomic.StoreInt32(forked, 0)
			h.endUnborn(int(r))
		case r > 0:
			return int(r), nil
		case r < 0:
			return 0, sysError("clone", unix.Errno(-r))
		case hasEnded(p.pidfd):
			return 0, xen.ErrNoDomain
		case time.Now().After(end):
			p.spoiled.Store(true)
			return 0, fmt.Errorf("%w: it does not come to rest", xen.ErrNoFork)
		}
		wait := 10 * time.Millisecond
		if granted > 0 {
			futexWait((*uint32)(unsafe.Pointer(forked)), 0, time.Millisecond)
			wait = 0
		}
		asked, err := readable(listener, wait)
		if err != nil {
			return 0, err
		}
		if !asked {
			continue
		}
		if granted == permits {
			p.spoiled.Store(true)
			return 0, fmt.Errorf("%w: it asks too often", xen.ErrNoFork)
		}
		granted, err = answerClone(listener, p.pid, granted)
		if err != nil {
			return 0, err
		}
	}
}

// dismiss refuses what processes have asked of an engine that has died.
func dismiss(listener int) {
	for {
		if asked, err := readable(listener, 0); err != nil || !asked {
			return
		}
		answerClone(listener, -1, 0)
	}
}

// answerClone grants the request of a process, and counts it. Another that makes one is ended; pid -1: refused.
func answerClone(listener, pid, granted int) (int, error) {
	var n notification
	err := ioctl(listener, ioctlNotifyReceive, unsafe.Pointer(&n))
	if err == nil {
		r := notificationReply{id: n.id, flags: notifyContinue}
		switch {
		case int(n.pid) == pid:
			granted++
		case pid >= 0:
			unix.Kill(int(n.pid), unix.SIGKILL) // it is blocked in the call: its number cannot be another's
			fallthrough
		default:
			r = notificationReply{id: n.id, err: -int32(unix.EAGAIN)}
		}
		err = ioctl(listener, ioctlNotifySend, unsafe.Pointer(&r))
	}
	if err == unix.ENOENT || err == unix.EINTR { // who asked has ended, or was interrupted
		return granted, nil
	}
	return granted, os.NewSyscallError("seccomp notification", err)
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// readable waits until there is something to read.
func readable(fd int, d time.Duration) (bool, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, int(d.Milliseconds()))
	if err == unix.EINTR {
		return false, nil
	}
	return n == 1 && p[0].Revents&unix.POLLIN != 0, os.NewSyscallError("poll", err)
}

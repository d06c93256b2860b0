package hosted

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/bell"
	"kxsh/xen"
)

// The kernel asks before a stub makes a process (filter_listen in stub/filter.c), and the stub waits for the answer. All stubs of
// one zygote ask at one descriptor. Nobody listens there but while domains are forked: each fork for itself, and for all others that
// are under way, so that none waits for a stub that does not come. A hostile guest that tries by itself is stuck until
// then, and ended.

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
	// dismissPatience is what a stub has to stop, or to ask once more.
	dismissPatience = time.Second
	// permitTurn is how long a fork waits at most before it looks whether another one has answered for it.
	permitTurn = 2 * time.Millisecond
)

// permitting is who may make a process now. It is locked while a stub is told to, until it is known here, and while somebody is
// answered.
type permitting struct {
	sync.Mutex
	told map[int]int // how often each has been let pass, by PID
}

// take opens a descriptor of a process as one of ours.
func (p *process) take(fd int) (int, error) {
	return attemptFD("pidfd_getfd", func() (int, error) { return unix.PidfdGetfd(p.pidfd, fd, 0) })
}

// tell has the parent's stub make the child, and returns its word for the child's PID.
func (b *fork) tell(listener int, order *stubFork) (int, error) {
	b.h.permitting.Lock()
	defer b.h.permitting.Unlock()
	if err := b.command(order); err != nil {
		return 0, err
	}
	return b.h.permit(listener, b.old, order.Number)
}

// command gives the order, with the child's files.
func (b *fork) command(order *stubFork) error {
	p, n, s := b.old, b.child, b.old.state()
	atomic.StoreInt32(&s.Forked, 0)
	if err := send(p.sock, order.bytes(), n.ctl, n.write, n.theirs, n.engine, n.tag); err != nil {
		return err
	}
	atomic.StoreUint32(&s.Fork, order.Number)
	return p.ringer().Kick(true)
}

// permit lets a stub make one process, by the order of that number, and returns its word for that one's PID. What it has made
// by the order of an engine that has died is ended. The caller holds h.permitting, which is given up meanwhile.
func (h *Hypervisor) permit(listener int, p *process, number uint32) (int, error) {
	s := p.state()
	forked := &s.Forked
	told := h.permitting.told
	told[p.pid] = 0
	defer delete(told, p.pid)
	for end := time.Now().Add(forkPatience); ; {
		switch r := atomic.LoadInt32(forked); {
		case r != 0 && atomic.LoadUint32(&s.Answered) != number:
			atomic.StoreInt32(forked, 0)
			if p.sharesFrames(int(r)) {
				h.endUnborn(int(r))
			}
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
		if err := h.permitting.await(listener, forked, told[p.pid] > 0); err != nil {
			return 0, err
		}
		if err := h.permitting.answer(listener, true); err != nil {
			return 0, err
		}
	}
}

// await gives the lock up until somebody asks, or, once it was let pass, until the stub says what it has made.
func (a *permitting) await(listener int, forked *int32, passed bool) error {
	a.Unlock()
	defer a.Lock()
	if passed {
		bell.Wait((*uint32)(unsafe.Pointer(forked)), 0, time.Millisecond)
		return nil
	}
	_, err := readable(listener, permitTurn)
	return err
}

// answer grants what those ask who were told to; strangers are refused, and ended if they are to be. The caller holds a. Nobody else
// reads: a request that is there stays, or there would be no end of waiting for it.
func (a *permitting) answer(listener int, end bool) error {
	for {
		if asked, err := readable(listener, 0); err != nil || !asked {
			return err
		}
		var n notification
		err := ioctl(listener, ioctlNotifyReceive, unsafe.Pointer(&n))
		if err == nil {
			r := notificationReply{id: n.id, err: -int32(unix.EAGAIN)}
			passed, told := a.told[int(n.pid)]
			switch {
			case told && passed < permits:
				a.told[int(n.pid)]++
				r = notificationReply{id: n.id, flags: notifyContinue}
			case !told && end:
				unix.Kill(int(n.pid), unix.SIGKILL) // it is blocked in the call: its number cannot be another's
			}
			err = ioctl(listener, ioctlNotifySend, unsafe.Pointer(&r))
		}
		if err != nil && err != unix.ENOENT && err != unix.EINTR { // who asked has ended, or was interrupted
			return os.NewSyscallError("seccomp notification", err)
		}
	}
}

// dismiss ends a fork of an adopted domain that an engine before has begun: what its relatives ask by such an order is refused.
func (h *Hypervisor) dismiss(p *process) {
	if !p.frozen {
		return
	}
	atomic.StoreUint32(&p.state().Fork, 0)
	listener, err := p.take(fdListen)
	if err != nil {
		return // nor can it be forked again
	}
	defer unix.Close(listener)
	h.permitting.Lock()
	defer h.permitting.Unlock()
	h.permitting.answer(listener, false)
	if !p.asks() || isStopped(p.pid) { // who goes on asks anew
		return
	}
	// The engine that has died had heard it, and not answered: the kernel tells nobody else, unless it is interrupted.
	if signalTo(p.pidfd, unix.SIGSTOP) != nil {
		return
	}
	await := func(is func() bool) {
		for end := time.Now().Add(dismissPatience); !is() && !hasEnded(p.pidfd) && time.Now().Before(end); {
			readable(listener, time.Millisecond)
			h.permitting.answer(listener, false)
		}
	}
	await(func() bool { return isStopped(p.pid) })
	signalTo(p.pidfd, unix.SIGCONT)
	await(func() bool { return !p.asks() })
}

// asks tells whether a stub waits in the call that makes a process.
func (p *process) asks() bool {
	call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p.pid))
	return err == nil && strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_CLONE))
}

// sharesFrames tells whether a process is of the same family: it has the same file of frames.
func (p *process) sharesFrames(pid int) bool {
	return isFile(fmt.Sprintf("/proc/%d/fd/%d", pid, fdRAM), p.ram)
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

package hosted

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// Every system call by which a domain is built goes through here: errors say which one failed, a
// lack of memory is xen.ErrNoMemory, and a test can make any of them fail.

// failing, if not nil, is asked before each system call; what it returns is the call's error.
var failing func(call string) error

// attempt makes a system call, again when a signal interrupts it.
func attempt(call string, f func() error) error {
	if failing != nil {
		if err := failing(call); err != nil {
			return sysError(call, err)
		}
	}
	err := f()
	for err == unix.EINTR {
		err = f()
	}
	return sysError(call, err)
}

func sysError(call string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%s: %w", call, xen.ErrNoMemory)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%s: %w: raise the limit (ulimit -n)", call, err)
	default:
		return fmt.Errorf("%s: %w", call, err)
	}
}

// attemptFD is attempt for calls that return a file descriptor.
func attemptFD(call string, f func() (int, error)) (fd int, err error) {
	err = attempt(call, func() (err error) {
		fd, err = f()
		return err
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

func memfd(name string, flags int) (int, error) {
	return attemptFD("memfd_create", func() (int, error) {
		return unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	})
}

// sizedMemfd is a memory file of a size that nobody can change any more.
func sizedMemfd(name string, size uint64) (int, error) {
	fd, err := memfd(name, 0)
	if err != nil {
		return -1, err
	}
	if err = setSize(fd, size); err == nil {
		err = seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setSize(fd int, size uint64) error {
	return attempt("ftruncate", func() error { return unix.Ftruncate(fd, int64(size)) })
}

func seal(fd, seals int) error {
	return attempt("seal", func() error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		return err
	})
}

func mapShared(fd int, size int) (p []byte, err error) {
	err = attempt("mmap", func() (err error) {
		p, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
	return p, err
}

func writeAt(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n := 0
		err := attempt("pwrite", func() (err error) {
			n, err = unix.Pwrite(fd, p, off)
			return err
		})
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// reopen opens what a descriptor refers to anew, through /proc.
func reopen(proc string, fd, flags int) (int, error) {
	return attemptFD("reopen", func() (int, error) {
		return unix.Open(fmt.Sprintf("%s/fd/%d", proc, fd), flags|unix.O_CLOEXEC, 0)
	})
}

func pipe() (r, w int, err error) {
	p := [2]int{-1, -1}
	err = attempt("pipe", func() error { return unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK) })
	return p[0], p[1], err
}

func socketpair() (ours, theirs int, err error) {
	var p [2]int
	err = attempt("socketpair", func() (err error) {
		p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, -1, err
	}
	return p[0], p[1], nil
}

func send(sock int, msg []byte, fds ...int) error {
	return attempt("sendmsg", func() error {
		_, err := unix.SendmsgN(sock, msg, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		return err
	})
}

func dup(fd int) (int, error) {
	return attemptFD("dup", func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) })
}

func pidfdOpen(pid int) (int, error) {
	return attemptFD("pidfd_open", func() (int, error) { return unix.PidfdOpen(pid, 0) })
}

// closeAll closes what is open of fds.
func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// signalTo sends a signal to a process by its descriptor; one that has ended is no error.
func signalTo(pidfd int, sig unix.Signal) error {
	if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// hasEnded tells whether the process of a pidfd has ended.
func hasEnded(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1
}

// wait4 waits for the end of a child of ours, which has been killed.
func wait4(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// waitStatus is how a child of ours ended.
type waitStatus struct {
	known  bool
	signal unix.Signal
	cpu    time.Duration
}

// reap takes a process that has ended out of the process table, if it is a child of ours. Those of
// an earlier engine are not.
func reap(pidfd int) (w waitStatus) {
	const codeKilled, codeDumped = 2, 3 // CLD_KILLED, CLD_DUMPED
	var info struct {
		signo, errno, code, pad int32
		pid, uid, status, pad2  int32
		rest                    [96]byte
	}
	var usage unix.Rusage
	for {
		err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG, &usage)
		if err == unix.EINTR {
			continue
		}
		if err != nil || info.signo == 0 {
			return waitStatus{}
		}
		break
	}
	w.known = true
	w.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if info.code == codeKilled || info.code == codeDumped {
		w.signal = unix.Signal(info.status)
	}
	return w
}

package hosted

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
)

// blank is a stub that waits to become a domain: a process with an empty control area.
type blank struct {
	pid   int
	pidfd int
	sock  int
	ctl   int    // memfd
	area  []byte // its mapping: control area, then the state page
	bell  int    // read end
}

// newBlank makes a blank. A failure leaves nothing behind.
func newBlank(z *zygote) (b *blank, err error) {
	b = &blank{pidfd: -1, sock: -1, ctl: -1, bell: -1}
	defer func() {
		if err != nil {
			b.close()
			b = nil
		}
	}()
	if b.ctl, err = sizedMemfd("kx-ctl", abi.CtlSize+stateSize); err != nil {
		return b, err
	}
	if b.area, err = mapShared(b.ctl, abi.CtlSize+stateSize); err != nil {
		return b, err
	}
	bell, write, err := pipe()
	if err != nil {
		return b, err
	}
	b.bell = bell
	defer unix.Close(write)
	sock, theirs, err := socketpair()
	if err != nil {
		return b, err
	}
	b.sock = sock
	defer unix.Close(theirs)
	if b.pid, err = z.spawn(theirs, b.ctl, write); err != nil {
		return b, err
	}
	// Our own child, not reaped: the number cannot be another process's.
	b.pidfd, err = pidfdOpen(b.pid)
	return b, err
}

func (b *blank) state() *stubState { return (*stubState)(unsafe.Pointer(&b.area[stateOff])) }

// build sends the order to become a domain and waits until the guest's memory is mapped.
func (b *blank) build(start *stubStart, ram, image int) error {
	if err := send(b.sock, start.bytes(), ram, image); err != nil {
		return err
	}
	return attempt("build", b.waitBuilt)
}

// waitBuilt looks for a moment before it sleeps: the stub needs some 20 µs.
func (b *blank) waitBuilt() error {
	s := b.state()
	for range spins() {
		if atomic.LoadInt32(&s.Built) != 0 {
			break
		}
		pause()
	}
	for atomic.LoadInt32(&s.Built) == 0 {
		if hasEnded(b.pidfd) && atomic.LoadInt32(&s.Built) == 0 {
			if r := atomic.LoadInt32(&s.Ready); r < 0 {
				return fmt.Errorf("the stub cannot confine itself: %w", unix.Errno(-r))
			}
			return fmt.Errorf("the stub has died")
		}
		futexWait((*uint32)(unsafe.Pointer(&s.Built)), 0, 50*time.Millisecond)
	}
	if r := atomic.LoadInt32(&s.Built); r < 0 {
		return unix.Errno(-r)
	}
	return nil
}

// close ends the process and frees everything.
func (b *blank) close() {
	if b.pidfd < 0 && b.pid > 0 { // pidfd_open failed: still our child, so the number is good
		unix.Kill(b.pid, unix.SIGKILL)
		for {
			if _, err := unix.Wait4(b.pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
	}
	if b.pidfd >= 0 {
		endProcess(b.pidfd)
	}
	if b.area != nil {
		unix.Munmap(b.area)
	}
	closeAll(b.pidfd, b.sock, b.ctl, b.bell)
}

// endProcess kills a process and waits until it is gone.
func endProcess(pidfd int) {
	signalTo(pidfd, unix.SIGKILL)
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(p, -1); err != unix.EINTR {
			break
		}
	}
	reap(pidfd)
}

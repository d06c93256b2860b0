package hosted

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
)

// blank is a stub that waits to become a domain: a process with an empty control area.
type blank struct {
	zygote *zygote
	pid    int
	pidfd  int
	ends       // theirs and write only until settle
	family int // memfd of a family area

	// From begin to settle: whether the request went out.
	open  bool
	asked error
}

const ctlName = "kx-ctl" // of the memory file

// ends connect a stub to the engine.
type ends struct {
	ctl          int    // memfd
	area         []byte // its mapping: control area, then the state page
	bell, write  int    // of the doorbell: the engine's, and the stub's
	sock, theirs int    // of the socket, likewise
}

// newEnds makes them. A failure leaves nothing behind.
func newEnds() (e ends, err error) {
	e = ends{ctl: -1, bell: -1, write: -1, sock: -1, theirs: -1}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.ctl, err = sizedMemfd(ctlName, ctlSize); err != nil {
		return e, err
	}
	if e.area, err = mapShared(e.ctl, ctlSize); err != nil {
		return e, err
	}
	if e.bell, e.write, err = pipe(); err != nil {
		return e, err
	}
	e.sock, e.theirs, err = socketpair()
	return e, err
}

func (e *ends) close() {
	if e.area != nil {
		unix.Munmap(e.area)
	}
	closeAll(e.sock, e.ctl, e.bell, e.theirs, e.write)
}

// newBlank makes a blank. A failure leaves nothing behind.
func newBlank(z *zygote) (*blank, error) {
	b, err := beginBlank(z)
	if err != nil {
		return nil, err
	}
	if err := b.settle(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// beginBlank requests a blank from the zygote, which can be told what it becomes already. Settle
// must follow soon: until then the zygote serves nobody else.
func beginBlank(z *zygote) (b *blank, err error) {
	b = &blank{zygote: z, pidfd: -1, family: -1}
	if b.ends, err = newEnds(); err != nil {
		return nil, err
	}
	if b.family, err = newFamily(); err != nil {
		b.close()
		return nil, err
	}
	b.open, b.asked = true, z.ask(b.inherited())
	return b, nil
}

func (b *blank) inherited() inherited { return inherited{b.theirs, b.ctl, b.write, b.family} }

// settle waits for the zygote's answer, if it is still to come.
func (b *blank) settle() (err error) {
	if !b.open {
		return nil
	}
	b.open = false
	b.pid, err = b.zygote.answer(b.asked, b.inherited())
	closeAll(b.theirs, b.write)
	b.theirs, b.write = -1, -1
	if err != nil {
		return err
	}
	// Our own child, not reaped: the number cannot be another process's.
	b.pidfd, err = pidfdOpen(b.pid)
	return err
}

// prepare does in advance, for a blank that waits, what would cost time later: it touches the pages that every boot
// writes.
func (b *blank) prepare() {
	for _, va := range []int{abi.StartVa, abi.SharedVa, abi.ControlVa, abi.ArgsVa} {
		b.area[va-abi.CtlVa] = 0
	}
}

// process is the blank as a domain's process, with the memfd of its frames. The socket stays the blank's.
func (b *blank) process(ram int) *process {
	return &process{
		pid: b.pid, pidfd: b.pidfd, bell: b.bell, sock: -1, ctl: b.ctl, ram: ram, family: b.family, control: b.area, area: b.area,
	}
}

// order tells the stub what it becomes.
func (b *blank) order(start *stubStart, files ...int) error {
	return send(b.sock, start.bytes(), files...)
}

// waitBuilt waits until the stub has mapped the guest's memory. It looks for a moment before it
// sleeps, spin ticks of the TSC: that takes some 20 µs. A guest's word that there is a stub may be a lie: patience ends.
func (p *process) waitBuilt(spin uint32, patience time.Duration) error {
	s := p.state()
	// No pause instruction: see await_go in stub/blank.c.
	for end := rdtsc() + uint64(spin); atomic.LoadInt32(&s.Built) == 0 && rdtsc() < end; {
	}
	atomic.StoreUint32(&s.Waits, 1)
	for begin := time.Now(); atomic.LoadInt32(&s.Built) == 0; {
		if time.Since(begin) > patience {
			return fmt.Errorf("the stub does not answer in %v", patience)
		}
		if hasEnded(p.pidfd) && atomic.LoadInt32(&s.Built) == 0 {
			if r := atomic.LoadInt32(&s.Ready); r < 0 {
				return fmt.Errorf("the stub cannot confine itself: %w", unix.Errno(-r))
			}
			return fmt.Errorf("the stub has died")
		}
		bell.Wait((*uint32)(unsafe.Pointer(&s.Built)), 0, 50*time.Millisecond)
	}
	if r := atomic.LoadInt32(&s.Built); r < 0 {
		return unix.Errno(-r)
	}
	return nil
}

// close ends the process and frees everything.
func (b *blank) close() {
	b.settle()
	if b.pidfd < 0 && b.pid > 0 { // pidfd_open failed: still our child, so the number is good
		unix.Kill(b.pid, unix.SIGKILL)
		wait4(b.pid)
	}
	if b.pidfd >= 0 {
		endProcess(b.pidfd)
	}
	b.ends.close()
	closeAll(b.pidfd, b.family)
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

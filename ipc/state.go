package ipc

import (
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
)

// State is how far a pVM has come, by its own word: abi.StateNew to abi.StateExited.
type State uint32

// ReadState reads a pVM's state.
func ReadState(ctl []byte) (State, error) {
	s := State(atomic.LoadUint32(&control(ctl).State))
	if s > abi.StateExited {
		return 0, corrupt("state %d", uint32(s))
	}
	return s, nil
}

// maxSignal is the number of the last signal (Linux's _NSIG).
const maxSignal = 64

// Status is a wait(2) status word that says exited or killed by a signal, nothing else.
type Status uint32

// StatusContinued is the status word of a child that goes on after it was stopped.
const StatusContinued Status = 0xffff

// ExitStatus is the status word of a program that exited, StopStatus of one that a signal stopped, KillStatus of one
// that a signal ended.
func ExitStatus(code int) Status { return Status(code&0xff) << 8 }
func StopStatus(sig int) Status  { return Status(sig&0xff)<<8 | 0x7f }
func KillStatus(sig int) Status  { return Status(sig & 0x7f) }

// Signal is the signal that ended the program, or 0 if it exited.
func (s Status) Signal() int { return int(s & 0x7f) }

// Code is what a shell calls $?: the exit status, or 128 + the signal's number.
func (s Status) Code() int {
	if sig := s.Signal(); sig != 0 {
		return 128 + sig
	}
	return int(s >> 8 & 0xff)
}

// ReadStatus reads how a pVM ended; ok is false if it has not reached abi.StateExited.
func ReadStatus(ctl []byte) (status Status, ok bool, err error) {
	state, err := ReadState(ctl)
	if err != nil || state != abi.StateExited {
		return 0, false, err
	}
	s := Status(atomic.LoadUint32(&control(ctl).Status))
	exited := s&^0xff00 == 0
	killed := s&^0xff == 0 && s.Signal() >= 1 && s.Signal() <= maxSignal
	if !exited && !killed {
		return 0, false, corrupt("exit status %#x", uint32(s))
	}
	return s, true, nil
}

// ReadReason reads why a pVM ended itself, "" if it does not say; it is the pVM's own word.
func ReadReason(ctl []byte) string {
	if atomic.LoadUint32(&control(ctl).Reason) == abi.ReasonMemory {
		return "out of memory: no frame for a page that it shared with a relative: give the host, or its limit, more"
	}
	return ""
}

// ReadMain reads the system time at which the program's first instruction ran, in nanoseconds of
// the hypervisor's clock; 0: not yet. It is the pVM's own word.
func ReadMain(ctl []byte) uint64 { return atomic.LoadUint64(&control(ctl).MainNs) }

// ReadCrash reads the fault that a pVM died of, or nil if it says nothing of one. Only the signal
// is checked; the registers are the pVM's own word.
func ReadCrash(ctl []byte) (*abi.KxCrash, error) {
	const words = unsafe.Sizeof(abi.KxCrash{}) / 8
	src := (*[words]uint64)(unsafe.Pointer(&control(ctl).Crash))
	c := new(abi.KxCrash)
	dst := (*[words]uint64)(unsafe.Pointer(c))
	for i := range dst {
		dst[i] = atomic.LoadUint64(&src[i])
	}
	if c.Signo == 0 {
		return nil, nil
	}
	if c.Signo > maxSignal {
		return nil, corrupt("crash by signal %d", c.Signo)
	}
	return c, nil
}

package hosted

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
)

// process is a process that is a domain, and what the engine holds of it. All but spoiled is fixed.
type process struct {
	serial uint64 // tells it from others in this engine, for the watcher
	pid    int
	pidfd  int
	bell   int // read end of the doorbell
	sock   int // to a stub that forks in place; -1: it has none
	ctl    int // memfd of the control area
	family int // memfd of the family area; -1: nobody knows
	ram    int // memfd of the frames; once it is frozen it is read-only, and mapped privately
	frozen bool
	// spoiled is set when a fork in place was begun and never ended.
	spoiled atomic.Bool
	// control is the control area; area is the mapping of the stub's own memfd: a control area, which is that
	// one unless the domain has moved here, and the state page.
	control, area []byte
}

func (p *process) state() *stubState { return (*stubState)(unsafe.Pointer(&p.area[stateOff])) }

func (p *process) shared() *abi.SharedInfo {
	return (*abi.SharedInfo)(unsafe.Pointer(&p.control[abi.SharedVa-abi.CtlVa]))
}

// moved tells whether the control area is that of a process before.
func (p *process) moved() bool { return &p.control[0] != &p.area[0] }

// free lets go of everything; the control area and its memfd stay if a process has moved away from here.
func (p *process) free(stay bool) {
	closeAll(p.pidfd, p.bell, p.sock, p.ram, p.family)
	if p.moved() {
		unix.Munmap(p.area)
	}
	if !stay {
		unix.Munmap(p.control[:cap(p.control)])
		unix.Close(p.ctl)
	}
}

package netswitch

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// manners are how a thread of the switch comes to its turns on a CPU. A thread that takes the CPU from who has woken it, a client or a pVM, finds a frame or two; after
// that has done what it was at it finds many, and one wake-up and one switch serve for them all. That is what Linux's SCHED_BATCH means, which changes nothing where CPUs
// are free. But where others fill the CPUs, who is not hasty waits for a time slice of theirs: so only a thread with many lines is patient, which they see in how much
// gets done. One with few is as hasty as a thread is by default: what counts for those is how soon they are answered.
type manners struct {
	ours    bool // the thread's policy is ours to change
	patient bool
	window  uint32 // counts spans of time
	lines   int    // that were met in this one
	until   time.Duration
}

const (
	mannersWindow = 50 * time.Millisecond
	manyLines     = 16
)

// newManners makes the goroutine's thread its own, so that no other goroutine is scheduled as it is.
func newManners() *manners {
	runtime.LockOSThread()
	attr, err := unix.SchedGetAttr(0, 0)
	return &manners{ours: err == nil && attr.Policy == unix.SCHED_NORMAL, window: 1}
}

// meet counts a line once in a window; seen is the line's, for this thread.
func (m *manners) meet(seen *uint32) {
	if *seen != m.window {
		*seen = m.window
		m.lines++
	}
}

// look is called now and then by the thread.
func (m *manners) look(now time.Duration) {
	if now < m.until {
		return
	}
	m.become(m.lines >= manyLines && now < m.until+mannersWindow)
	m.window++
	m.lines, m.until = 0, now+mannersWindow
}

// become changes the thread's policy, and nothing else of how it is scheduled. Where that is not allowed all remains as it is.
func (m *manners) become(patient bool) {
	if !m.ours || m.patient == patient {
		return
	}
	attr, err := unix.SchedGetAttr(0, 0)
	if err == nil {
		attr.Policy = unix.SCHED_NORMAL
		if patient {
			attr.Policy = unix.SCHED_BATCH
		}
		err = unix.SchedSetAttr(0, attr, 0)
	}
	m.ours, m.patient = err == nil, patient
}

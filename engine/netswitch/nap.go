package netswitch

import (
	"sync/atomic"
	"time"
)

// A thread that sleeps in a system call has its processor taken away by Go's scheduler, which therefore looks every 20 µs whether there is one, and finds another thread for
// each that it takes: with thousands of sleeps a second that is a tenth of all that the switch does. So a sleep begins as a nap, of which the scheduler does not know,
// and becomes one that it knows when that was not enough. Who naps keeps a processor of Go's: no more than mostNaps do at a time, so that others find one.

// napTime is how long a nap lasts at most. Go interrupts what seems to run for 10 ms, and what keeps it from collecting garbage.
const napTime = time.Millisecond

var napping, mostNaps atomic.Int32

// nap calls sleep, which takes no longer than napTime and makes no system call that the scheduler hears of; false: too many nap already.
func nap(sleep func()) bool {
	defer napping.Add(-1)
	if napping.Add(1) > mostNaps.Load() {
		return false
	}
	sleep()
	return true
}

package hosted

import (
	"math"
	"math/bits"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// clock measures the rate of the TSC against CLOCK_MONOTONIC, over its own life: the longer it
// runs, the better it knows.
type clock struct {
	tsc    uint64
	ns     int64
	unsure uint64 // ticks that the two may be apart
}

// A clock must have run for a while to be right to some 50 ppm; the stubs refine it. Where reading the time takes long, as
// where it is a system call, it must have run longer.
const (
	clockLife    = 2 * time.Millisecond
	clockLongest = 50 * time.Millisecond
	clockPPM     = 50
)

func newClock() clock { return readBoth() }

// readBoth reads TSC and clock at one moment: the best of a few tries.
func readBoth() (c clock) {
	best := ^uint64(0)
	for range 5 {
		before := rdtsc()
		now := monotonic()
		after := rdtsc()
		if d := after - before; d < best {
			best = d
			c = clock{before + d/2, now, d / 2}
		}
	}
	return c
}

func monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// rate returns the tsc_to_system_mul and tsc_shift of Xen's vcpu_time_info:
// ns = (ticks << shift) * mul >> 32, with 2^31 <= mul < 2^32.
func (c *clock) rate() (mul uint32, shift int32) {
	for {
		now := readBoth()
		ticks, life := now.tsc-c.tsc, time.Duration(now.ns-c.ns)
		sure := ticks >= (c.unsure+now.unsure)*(1_000_000/clockPPM)
		if life >= clockLongest || life >= clockLife && sure {
			return scale(ticks, uint64(life))
		}
		time.Sleep(clockLife)
	}
}

func scale(ticks, ns uint64) (mul uint32, shift int32) {
	for ticks>>1 > ns {
		ticks >>= 1
		shift--
	}
	for ticks <= ns {
		ticks <<= 1
		shift++
	}
	hi, lo := bits.Mul64(ns, 1<<32)
	q, _ := bits.Div64(hi, lo, ticks)
	return uint32(min(q, 1<<32-1)), shift
}

// spinTime is how long a spin loop looks before it sleeps: what waking up costs.
const spinTime = 20 * time.Microsecond

// spin is spinTime in ticks of the TSC, for a rate of it; 0 on one CPU, where whoever is waited for
// could not run.
func spin(mul uint32, shift int32) uint32 {
	if runtime.NumCPU() == 1 {
		return 0
	}
	ticks := float64(spinTime.Nanoseconds()) * (1 << 32) / float64(mul)
	return uint32(math.Ldexp(ticks, int(-shift)))
}

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
	tsc uint64
	ns  int64
}

// clockLife is how long a clock must have run to be right to some 50 ppm. The stubs refine it.
const clockLife = 2 * time.Millisecond

func newClock() clock {
	var c clock
	c.tsc, c.ns = readBoth()
	return c
}

// readBoth reads TSC and clock at one moment: the best of a few tries.
func readBoth() (tsc uint64, ns int64) {
	best := ^uint64(0)
	for range 5 {
		before := rdtsc()
		now := monotonic()
		after := rdtsc()
		if d := after - before; d < best {
			best, tsc, ns = d, before+d/2, now
		}
	}
	return tsc, ns
}

func monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// rate returns the tsc_to_system_mul and tsc_shift of Xen's vcpu_time_info:
// ns = (ticks << shift) * mul >> 32, with 2^31 <= mul < 2^32.
func (c *clock) rate() (mul uint32, shift int32) {
	if d := clockLife - time.Duration(monotonic()-c.ns); d > 0 {
		time.Sleep(d)
	}
	tsc, ns := readBoth()
	return scale(tsc-c.tsc, uint64(ns-c.ns))
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

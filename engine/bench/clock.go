package bench

import "time"

// clock turns ticks of the CPU's counter into time. It is the one clock that a pVM, a domain of xl's and a
// Linux process read alike: on Xen, CLOCK_MONOTONIC of two domains differs.
type clock struct {
	ticks uint64
	at    time.Time
}

func startClock() clock { return clock{rdtsc(), time.Now()} }

// scale turns series of ticks into series of ns, by how many there were since startClock.
func (c clock) scale(series ...*Series) {
	perTick := float64(time.Since(c.at)) / float64(rdtsc()-c.ticks)
	for _, s := range series {
		for i, d := range s.All {
			s.All[i] = time.Duration(float64(d) * perTick)
		}
	}
}

package bench

// rdtsc reads the time stamp counter, after everything before it.
func rdtsc() uint64

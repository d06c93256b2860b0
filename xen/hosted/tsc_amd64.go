package hosted

// rdtsc reads the time stamp counter, after everything before it.
func rdtsc() uint64

// pause is a hint to the CPU that this is a spin loop.
func pause()

/* clocktimer.h: a timer on any clock, periodic if need be; under setitimer and timer_create. */
#ifndef CLOCKTIMER_H
#define CLOCKTIMER_H

#include "kern.h"

struct clock_timer {
	struct ktimer kt;
	clockid_t clock;
	int64_t when;     /* on the clock's scale; FOREVER: not running */
	int64_t interval; /* 0: once */
	/* missed: expirations beyond this one that were not told of */
	void (*expired)(struct clock_timer *, int64_t missed);
};

/* Starts (or with when == FOREVER stops) a timer whose clock and expired are set. */
void clock_timer_set(struct clock_timer *t, int64_t when, int64_t interval);
/* Time until it expires: 0 if it does not run. */
int64_t clock_timer_left(const struct clock_timer *t);

#endif

/* clocktimer.c: timers on any clock. */
#include "clocktimer.h"

#include "process.h"

/* A shorter interval than this would leave no time for anything else; the rest counts as missed. */
#define MIN_INTERVAL 20000

static int64_t read_clock(const struct clock_timer *t)
{
	int64_t now = 0;

	clock_read(t->clock, &now);
	return now;
}

/* A clock that stands still for now (CPU time) makes this early, and it is set again then. */
static void arm(struct clock_timer *t)
{
	ktimer_set(&t->kt, deadline_after(MAX(t->when - read_clock(t), MIN_INTERVAL)));
}

static void fire(struct ktimer *kt)
{
	struct clock_timer *t = CONTAINER_OF(kt, struct clock_timer, kt);
	int64_t now = read_clock(t), missed = 0;

	if (now < t->when) {
		arm(t);
		return;
	}
	if (t->interval) {
		missed = (now - t->when) / t->interval;
		t->when += (missed + 1) * t->interval;
		arm(t);
	} else {
		t->when = FOREVER;
	}
	t->expired(t, missed);
}

void clock_timer_set(struct clock_timer *t, int64_t when, int64_t interval)
{
	t->kt.fn = fire;
	t->when = when;
	t->interval = interval;
	ktimer_cancel(&t->kt);
	if (when != FOREVER)
		ktimer_set(&t->kt, deadline_after(MAX(when - read_clock(t), 0)));
}

int64_t clock_timer_left(const struct clock_timer *t)
{
	return t->when == FOREVER ? 0 : MAX(t->when - read_clock(t), 1);
}

/* itimer.c: setitimer, getitimer, alarm. */
#include <sys/time.h>

#include "clocktimer.h"
#include "process.h"

static void expired(struct clock_timer *t, int64_t missed);

static struct clock_timer itimers[] = {
	[ITIMER_REAL] = {.clock = CLOCK_MONOTONIC, .when = FOREVER, .expired = expired},
	[ITIMER_VIRTUAL] = {.clock = CLOCK_PROCESS_CPUTIME_ID, .when = FOREVER, .expired = expired},
	[ITIMER_PROF] = {.clock = CLOCK_PROCESS_CPUTIME_ID, .when = FOREVER, .expired = expired},
};
static const int signals[] = {[ITIMER_REAL] = SIGALRM, [ITIMER_VIRTUAL] = SIGVTALRM, [ITIMER_PROF] = SIGPROF};

static void expired(struct clock_timer *t, int64_t missed)
{
	(void)missed;
	signal_process(signals[t - itimers], NULL);
}

static void get(const struct clock_timer *t, struct itimerval *v)
{
	int64_t left = clock_timer_left(t);

	/* A running timer never shows 0. */
	if (left && left < 1000)
		left = 1000;
	v->it_value = (struct timeval){left / NSEC, left % NSEC / 1000};
	v->it_interval = (struct timeval){t->interval / NSEC, t->interval % NSEC / 1000};
}

static int timeval_to_ns(const struct timeval *tv, int64_t *ns)
{
	struct timespec ts = {tv->tv_sec, tv->tv_usec * 1000};

	if (tv->tv_usec < 0 || tv->tv_usec >= 1000000)
		return -EINVAL;
	return timespec_to_ns(&ts, ns);
}

static void set(struct clock_timer *t, int64_t value, int64_t interval)
{
	int64_t now = 0;

	clock_read(t->clock, &now);
	clock_timer_set(t, !value ? FOREVER : value > FOREVER - 1 - now ? FOREVER - 1 : now + value, value ? interval : 0);
}

void itimers_forked(void)
{
	for (size_t i = 0; i < ARRAY_LEN(itimers); i++)
		clock_timer_set(&itimers[i], FOREVER, 0);
}

long sys_getitimer(long which, long out)
{
	struct itimerval v;

	if (which < 0 || (size_t)which >= ARRAY_LEN(itimers))
		return -EINVAL;
	get(&itimers[which], &v);
	return copy_out((void *)out, &v, sizeof(v));
}

long sys_setitimer(long which, long in, long out)
{
	struct itimerval v = {0}, old;
	int64_t value, interval;

	if (which < 0 || (size_t)which >= ARRAY_LEN(itimers))
		return -EINVAL;
	if (in && copy_in(&v, (void *)in, sizeof(v)))
		return -EFAULT;
	if (timeval_to_ns(&v.it_value, &value) || timeval_to_ns(&v.it_interval, &interval))
		return -EINVAL;
	get(&itimers[which], &old);
	set(&itimers[which], value, interval);
	return out ? copy_out((void *)out, &old, sizeof(old)) : 0;
}

long sys_alarm(long seconds)
{
	int64_t left = clock_timer_left(&itimers[ITIMER_REAL]);

	set(&itimers[ITIMER_REAL], (int64_t)(unsigned)seconds * NSEC, 0);
	return (left + NSEC / 2) / NSEC ? (left + NSEC / 2) / NSEC : !!left;
}

/* timer.c: the kernel's timers, and sleeping. */
#include "process.h"

int64_t timer_next = FOREVER;

/* Sorted by when; few enough for a list. */
static struct list_node timers = {&timers, &timers};

static void update_next(void)
{
	timer_next = list_empty(&timers) ? FOREVER : CONTAINER_OF(timers.next, struct ktimer, node)->when;
}

void ktimer_set(struct ktimer *t, int64_t when)
{
	struct list_node *n;

	if (t->node.next)
		list_del(&t->node);
	t->when = when;
	for (n = timers.prev; n != &timers && CONTAINER_OF(n, struct ktimer, node)->when > when; n = n->prev)
		;
	list_add_tail(n->next, &t->node);
	update_next();
	timer_new = 1;
}

void ktimer_cancel(struct ktimer *t)
{
	if (!t->node.next)
		return;
	list_del(&t->node);
	update_next();
}

void ktimers_run(int64_t now)
{
	while (timer_next <= now) {
		struct ktimer *t = CONTAINER_OF(timers.next, struct ktimer, node);

		ktimer_cancel(t);
		t->fn(t);
	}
}

/* ---- sleeping ---- */

/* Sleeps until the clock says target; 0 or -EINTR. CPU clocks run on as other threads do. */
static int sleep_until(clockid_t clock, int64_t target)
{
	int64_t now;
	int err;

	for (;;) {
		if (clock_read(clock, &now))
			return -EINVAL;
		if (now >= target)
			return 0;
		err = wait_on(NULL, deadline_after(target - now));
		if (err == -EINTR)
			return err;
	}
}

static int sleepable(clockid_t clock)
{
	int64_t ns;

	return clock != CLOCK_THREAD_CPUTIME_ID && !clock_read(clock, &ns);
}

long sys_clock_nanosleep(long clock, long flags, long req, long rem)
{
	struct timespec ts;
	int64_t ns, now, target;
	int err;

	if (!sleepable((clockid_t)clock))
		return -EINVAL;
	if (copy_in(&ts, (void *)req, sizeof(ts)))
		return -EFAULT;
	if (timespec_to_ns(&ts, &ns))
		return -EINVAL;
	clock_read((clockid_t)clock, &now);
	target = flags & TIMER_ABSTIME ? ns : ns > FOREVER - 1 - now ? FOREVER - 1 : now + ns;
	err = sleep_until((clockid_t)clock, target);
	if (err != -EINTR || !rem || flags & TIMER_ABSTIME)
		return err;
	clock_read((clockid_t)clock, &now);
	ns_to_timespec(MAX(target - now, 0), &ts);
	return copy_out((void *)rem, &ts, sizeof(ts)) ? -EFAULT : -EINTR;
}

long sys_nanosleep(long req, long rem)
{
	return sys_clock_nanosleep(CLOCK_MONOTONIC, 0, req, rem);
}

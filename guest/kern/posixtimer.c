/* posixtimer.c: timer_create and its family. */
#include "clocktimer.h"
#include "process.h"

#define TIMERS_MAX 1024
#define OVERRUN_MAX INT_MAX

struct posix_timer {
	struct list_node node;
	struct clock_timer ct;
	int id, notify, signo, tid;
	union sigval value;
	int queued;      /* its signal is pending */
	int64_t overrun; /* expirations since that signal was sent */
	int last;        /* the overrun count of the last signal taken */
};

static struct list_node timers = {&timers, &timers};
static int timer_count;

static struct posix_timer *find(int id)
{
	for (struct list_node *n = timers.next; n != &timers; n = n->next) {
		struct posix_timer *t = CONTAINER_OF(n, struct posix_timer, node);

		if (t->id == id)
			return t;
	}
	return NULL;
}

static void expired(struct clock_timer *ct, int64_t missed)
{
	struct posix_timer *t = CONTAINER_OF(ct, struct posix_timer, ct);
	siginfo_t info = {.si_signo = t->signo, .si_code = SI_TIMER};
	struct thread *to;

	if (t->queued) {
		t->overrun += 1 + missed;
		return;
	}
	t->overrun = missed;
	info.si_timerid = t->id;
	info.si_value = t->value;
	if (t->notify == SIGEV_SIGNAL) {
		t->queued = signal_process(t->signo, &info);
	} else if (t->notify == SIGEV_THREAD_ID) {
		to = thread_find(t->tid);
		t->queued = to ? signal_thread(to, t->signo, &info) : 0;
	}
}

void timer_delivered(siginfo_t *info)
{
	struct posix_timer *t = find(info->si_timerid);

	if (!t)
		return;
	t->queued = 0;
	t->last = (int)MIN(t->overrun, OVERRUN_MAX);
	t->overrun = 0;
	info->si_overrun = t->last;
}

/* What the C library passes: struct sigevent's start. */
struct ksigevent {
	union sigval value;
	int signo, notify, tid;
};

static int check_event(const struct ksigevent *ev)
{
	if (ev->notify == SIGEV_NONE)
		return 0;
	if (ev->signo <= 0 || ev->signo >= KX_NSIG)
		return -EINVAL;
	if (ev->notify == SIGEV_THREAD_ID)
		return thread_find(ev->tid) ? 0 : -EINVAL;
	return ev->notify == SIGEV_SIGNAL ? 0 : -EINVAL;
}

long sys_timer_create(long clock, long event, long out)
{
	struct ksigevent ev = {.signo = SIGALRM, .notify = SIGEV_SIGNAL};
	static int next_id;
	struct posix_timer *t;
	int64_t ns;

	if (clock_read((clockid_t)clock, &ns))
		return -EINVAL;
	if (event && copy_in(&ev, (void *)event, sizeof(ev)))
		return -EFAULT;
	if (check_event(&ev))
		return -EINVAL;
	if (timer_count == TIMERS_MAX || !(t = kzalloc(sizeof(*t))))
		return -EAGAIN;
	do
		t->id = next_id++ & INT_MAX;
	while (find(t->id));
	t->notify = ev.notify;
	t->signo = ev.signo;
	t->tid = ev.tid;
	t->value = ev.value;
	if (!event)
		t->value.sival_int = t->id;
	/* "This thread's CPU time" must go on meaning the thread that asked. */
	t->ct.clock = clock == CLOCK_THREAD_CPUTIME_ID ? (clockid_t)(~(unsigned)cur->tid << 3 | 6) : (clockid_t)clock;
	t->ct.when = FOREVER;
	t->ct.expired = expired;
	if (copy_out((void *)out, &t->id, sizeof(t->id))) {
		kfree(t);
		return -EFAULT;
	}
	list_add_tail(&timers, &t->node);
	timer_count++;
	return 0;
}

static void get(const struct posix_timer *t, struct itimerspec *v)
{
	ns_to_timespec(clock_timer_left(&t->ct), &v->it_value);
	ns_to_timespec(t->ct.interval, &v->it_interval);
}

long sys_timer_gettime(long id, long out)
{
	struct posix_timer *t = find((int)id);
	struct itimerspec v;

	if (!t)
		return -EINVAL;
	get(t, &v);
	return copy_out((void *)out, &v, sizeof(v));
}

long sys_timer_settime(long id, long flags, long in, long out)
{
	struct posix_timer *t = find((int)id);
	struct itimerspec v, old;
	int64_t value, interval, now = 0;

	if (!t)
		return -EINVAL;
	if (copy_in(&v, (void *)in, sizeof(v)))
		return -EFAULT;
	if (timespec_to_ns(&v.it_value, &value) || timespec_to_ns(&v.it_interval, &interval))
		return -EINVAL;
	get(t, &old);
	clock_read(t->ct.clock, &now);
	if (!value)
		value = FOREVER;
	else if (!(flags & TIMER_ABSTIME))
		value = value > FOREVER - 1 - now ? FOREVER - 1 : now + value;
	t->overrun = t->last = 0;
	clock_timer_set(&t->ct, value, value == FOREVER ? 0 : interval);
	return out ? copy_out((void *)out, &old, sizeof(old)) : 0;
}

long sys_timer_getoverrun(long id)
{
	struct posix_timer *t = find((int)id);

	return t ? t->last : -EINVAL;
}

static void delete(struct posix_timer *t)
{
	clock_timer_set(&t->ct, FOREVER, 0);
	list_del(&t->node);
	timer_count--;
	kfree(t);
}

long sys_timer_delete(long id)
{
	struct posix_timer *t = find((int)id);

	if (!t)
		return -EINVAL;
	delete(t);
	return 0;
}

void posix_timers_forked(void)
{
	while (!list_empty(&timers))
		delete(CONTAINER_OF(timers.next, struct posix_timer, node));
}

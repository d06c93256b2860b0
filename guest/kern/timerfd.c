/* timerfd.c: a timer as a file. */
#include "clocktimer.h"
#include "file.h"

#include <sys/timerfd.h>

struct timer_file {
	struct clock_timer timer;
	uint64_t ticks; /* expirations nobody has read */
	struct inode *node;
	struct waitq q;
};

static void expired(struct clock_timer *ct, int64_t missed)
{
	struct timer_file *t = CONTAINER_OF(ct, struct timer_file, timer);

	t->ticks += 1 + (uint64_t)missed;
	wake_all(&t->q);
	inode_event(t->node);
}

static long timerfd_read(struct file *f, struct uio *u, uint64_t *pos)
{
	struct timer_file *t = f->priv;
	long err;

	(void)pos;
	if (u->left < sizeof(t->ticks))
		return -EINVAL;
	while (!t->ticks) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_on(&t->q, FOREVER);
		if (err)
			return err;
	}
	err = uio_out(u, &t->ticks, sizeof(t->ticks));
	if (err < 0)
		return err;
	t->ticks = 0;
	return sizeof(t->ticks);
}

static int timerfd_poll(struct file *f)
{
	return ((struct timer_file *)f->priv)->ticks ? POLLIN | POLLRDNORM : 0;
}

static void timerfd_close(struct file *f)
{
	struct timer_file *t = f->priv;

	ktimer_cancel(&t->timer.kt);
	kfree(t);
}

static const struct file_ops timerfd_ops = {
	.name = "[timerfd]",
	.read = timerfd_read,
	.poll = timerfd_poll,
	.close = timerfd_close,
	.stream = true,
};

long sys_timerfd_create(long clock, long flags)
{
	struct timer_file *t;
	struct file *f;

	if (flags & ~(long)(TFD_CLOEXEC | TFD_NONBLOCK) ||
	    ((int)clock != CLOCK_REALTIME && (int)clock != CLOCK_MONOTONIC && (int)clock != CLOCK_BOOTTIME))
		return -EINVAL;
	t = kzalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->timer.clock = (clockid_t)clock;
	t->timer.when = FOREVER;
	t->timer.expired = expired;
	waitq_init(&t->q);
	f = file_anonymous(&timerfd_ops, t, O_RDWR | (int)(flags & TFD_NONBLOCK));
	if (!f) {
		kfree(t);
		return -ENOMEM;
	}
	t->node = f->node;
	return fd_install(f, 0, flags & TFD_CLOEXEC);
}

/* The timer behind a descriptor; *f is counted. */
static long timer_of(long fd, struct file **f, struct timer_file **t)
{
	long err = file_of(fd, f);

	if (err)
		return err;
	*t = (*f)->priv;
	if ((*f)->ops != &timerfd_ops) {
		file_put(*f);
		return -EINVAL;
	}
	return 0;
}

static void setting(const struct timer_file *t, struct itimerspec *its)
{
	memset(its, 0, sizeof(*its));
	ns_to_timespec(clock_timer_left(&t->timer), &its->it_value);
	ns_to_timespec(t->timer.when == FOREVER ? 0 : t->timer.interval, &its->it_interval);
}

static void set(struct timer_file *t, int64_t value, int64_t interval, bool absolute)
{
	int64_t now = 0;

	t->ticks = 0;
	if (!absolute)
		clock_read(t->timer.clock, &now);
	if (!value)
		clock_timer_set(&t->timer, FOREVER, 0);
	else
		clock_timer_set(&t->timer, value > FOREVER - 1 - now ? FOREVER - 1 : now + value, interval);
}

long sys_timerfd_settime(long fd, long flags, long new, long old)
{
	struct itimerspec its, was;
	struct timer_file *t;
	struct file *f;
	int64_t value, interval;
	long err;

	if (flags & ~(long)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		return -EINVAL;
	if (copy_in(&its, (void *)new, sizeof(its)))
		return -EFAULT;
	if (timespec_to_ns(&its.it_value, &value) || timespec_to_ns(&its.it_interval, &interval))
		return -EINVAL;
	err = timer_of(fd, &f, &t);
	if (err)
		return err;
	setting(t, &was);
	set(t, value, interval, flags & TFD_TIMER_ABSTIME);
	file_put(f);
	return old && copy_out((void *)old, &was, sizeof(was)) ? -EFAULT : 0;
}

long sys_timerfd_gettime(long fd, long user)
{
	struct itimerspec its;
	struct timer_file *t;
	struct file *f;
	long err = timer_of(fd, &f, &t);

	if (err)
		return err;
	setting(t, &its);
	file_put(f);
	return copy_out((void *)user, &its, sizeof(its));
}

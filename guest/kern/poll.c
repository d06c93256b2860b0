/*
 * poll.c: poll and select. Whoever waits looks at all its files again when something has happened to one of them, if they are few and tell (file_ops.tells): of
 * a thread for each connection one wakes up. Else it does so whenever anything happens.
 */
#include "file.h"

#include <sys/resource.h>
#include <sys/select.h>

int file_poll(struct file *f)
{
	if (f->flags & O_PATH)
		return POLLNVAL;
	return f->ops->poll ? f->ops->poll(f) : POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
}

/* POLLNVAL for a descriptor that is not open. */
static int fd_poll(int fd)
{
	struct file *f;
	int state;

	if (file_of(fd, &f))
		return POLLNVAL;
	state = file_poll(f);
	if (state & POLLHUP && offer_over(f)) {
		file_put(f);
		return fd_poll(fd);
	}
	file_put(f);
	return state;
}

/* ---- sleeping ---- */

#define FEW 4 /* descriptors: a thread has one or two to wait for, a server with more waits alone */

struct poll_sleep {
	struct waitq q;
	size_t n;
	struct poll_watch {
		struct watch watch;
		struct poll_sleep *sleep;
		struct inode *node; /* counted: who closes the file does not wake us */
	} of[FEW];
};

static void happened(struct watch *w)
{
	wake_all(&CONTAINER_OF(w, struct poll_watch, watch)->sleep->q);
}

/* Whether we are told of all that happens to a descriptor. */
static bool watch(struct poll_sleep *s, int fd)
{
	struct poll_watch *w = &s->of[s->n];
	struct file *f;
	bool tells;

	if (s->n == FEW || file_of(fd, &f))
		return false;
	tells = f->ops->tells;
	if (tells) {
		*w = (struct poll_watch){.watch.event = happened, .sleep = s, .node = inode_get(f->node)};
		list_add_tail(&w->node->watches, &w->watch.on_node);
		s->n++;
	}
	file_put(f);
	return tells;
}

void poll_forget(struct thread *t)
{
	struct poll_sleep *s = t->polls;

	for (size_t i = 0; i < s->n; i++) {
		list_del(&s->of[i].watch.on_node);
		inode_put(s->of[i].node);
	}
	t->polls = NULL;
}

/* Until something may have happened to one of the descriptors next gives, or -EINTR or -ETIMEDOUT. next moves *at, and gives -1 at the end. */
static long sleep_for(int (*next)(const void *set, size_t *at), const void *set, int64_t deadline)
{
	struct poll_sleep s = {.n = 0};
	size_t at = 0;
	bool told = true;
	long err;
	int fd;

	waitq_init(&s.q);
	cur->polls = &s;
	while (told && (fd = next(set, &at)) >= 0)
		told = watch(&s, fd);
	err = wait_on(told ? &s.q : &poll_q, deadline);
	poll_forget(cur);
	return err;
}

/* ---- deadlines ---- */

long deadline_in(long user, int64_t *deadline)
{
	struct timespec ts;
	int64_t ns;

	*deadline = FOREVER;
	if (!user)
		return 0;
	if (copy_in(&ts, (void *)user, sizeof(ts)))
		return -EFAULT;
	if (timespec_to_ns(&ts, &ns))
		return -EINVAL;
	*deadline = deadline_after(ns);
	return 0;
}

static int64_t left_until(int64_t deadline)
{
	int64_t now = now_ns();

	return deadline > now ? deadline - now : 0;
}

/* Linux tells how much time was left; a place that cannot be written is no error. */
static void left_out(long user, int64_t deadline)
{
	struct timespec ts;

	if (!user)
		return;
	ns_to_timespec(left_until(deadline), &ts);
	copy_out((void *)user, &ts, sizeof(ts));
}

/* ---- poll ---- */

static int poll_scan(struct pollfd *p, size_t n)
{
	int ready = 0;

	for (size_t i = 0; i < n; i++) {
		p[i].revents = p[i].fd < 0 ? 0 : fd_poll(p[i].fd) & (p[i].events | POLLERR | POLLHUP | POLLNVAL);
		ready += p[i].revents != 0;
	}
	return ready;
}

struct polled {
	const struct pollfd *p;
	size_t n;
};

static int poll_next(const void *set, size_t *at)
{
	const struct polled *s = set;

	while (*at < s->n) {
		int fd = s->p[(*at)++].fd;

		if (fd >= 0)
			return fd;
	}
	return -1;
}

static long poll_wait(struct pollfd *p, size_t n, int64_t deadline)
{
	for (;;) {
		long ready = poll_scan(p, n);

		if (ready || deadline <= now_ns())
			return ready;
		ready = sleep_for(poll_next, &(struct polled){p, n}, deadline);
		if (ready == -EINTR)
			return ready;
	}
}

static long do_poll(long user, long count, int64_t deadline)
{
	size_t n = (unsigned)count, size = n * sizeof(struct pollfd);
	struct pollfd *p;
	long got;

	if (n > rlimit_get(RLIMIT_NOFILE))
		return -EINVAL;
	p = kmalloc(size ? size : 1);
	if (!p)
		return -ENOMEM;
	got = copy_in(p, (void *)user, size);
	if (!got)
		got = poll_wait(p, n, deadline);
	if (got >= 0 && copy_out((void *)user, p, size))
		got = -EFAULT;
	kfree(p);
	return got;
}

long sys_poll(long user, long n, long timeout_ms)
{
	int ms = (int)timeout_ms;

	return do_poll(user, n, ms < 0 ? FOREVER : deadline_after(ms * (NSEC / 1000)));
}

long sys_ppoll(long user, long n, long timeout, long mask, long mask_size)
{
	int64_t deadline;
	long err = deadline_in(timeout, &deadline);

	if (!err)
		err = sigmask_borrow((void *)mask, mask_size);
	if (err)
		return err;
	err = do_poll(user, n, deadline);
	left_out(timeout, deadline);
	return err;
}

/* ---- select ---- */

#define BITS (8 * sizeof(unsigned long))

/* The sets asked for and the sets found, each in words words. */
struct sets {
	unsigned long *in[3], *out[3];
	int n;
	size_t words;
};

/* What makes a descriptor ready for reading, for writing, and exceptional. */
static const int ready[3] = {POLLIN | POLLRDNORM | POLLHUP | POLLERR, POLLOUT | POLLWRNORM | POLLERR, POLLPRI};

static int select_next(const void *set, size_t *at)
{
	const struct sets *s = set;

	while (*at < (size_t)s->n) {
		size_t w = *at / BITS;
		unsigned long left = (s->in[0][w] | s->in[1][w] | s->in[2][w]) >> *at % BITS;

		if (left & 1)
			return (int)(*at)++;
		*at = left ? *at + (size_t)__builtin_ctzl(left) : (w + 1) * BITS;
	}
	return -1;
}

static long select_scan(struct sets *s)
{
	size_t at = 0;
	long found = 0;
	int fd;

	memset(s->out[0], 0, 3 * s->words * sizeof(long));
	while ((fd = select_next(s, &at)) >= 0) {
		unsigned long bit = 1UL << fd % BITS;
		size_t w = fd / BITS;
		int state = fd_poll(fd);

		if (state & POLLNVAL)
			return -EBADF;
		for (int k = 0; k < 3; k++)
			if (s->in[k][w] & bit && state & ready[k]) {
				s->out[k][w] |= bit;
				found++;
			}
	}
	return found;
}

static long select_wait(struct sets *s, int64_t deadline)
{
	for (;;) {
		long found = select_scan(s);

		if (found || deadline <= now_ns())
			return found;
		found = sleep_for(select_next, s, deadline);
		if (found == -EINTR)
			return found;
	}
}

static long do_select(long n, const long user[3], int64_t deadline)
{
	struct sets s = {.n = (int)n};
	unsigned long *mem;
	size_t size;
	long got = 0;

	if (s.n < 0)
		return -EINVAL;
	s.n = MIN(s.n, (int)MIN(rlimit_get(RLIMIT_NOFILE), (uint64_t)1 << 20));
	s.words = (s.n + BITS - 1) / BITS;
	size = s.words * sizeof(long);
	mem = kzalloc(6 * size + 1);
	if (!mem)
		return -ENOMEM;
	for (int k = 0; k < 3; k++) {
		s.in[k] = mem + k * s.words;
		s.out[k] = mem + (3 + k) * s.words;
		if (user[k] && !got)
			got = copy_in(s.in[k], (void *)user[k], size);
	}
	if (!got)
		got = select_wait(&s, deadline);
	for (int k = 0; k < 3 && got >= 0; k++)
		if (user[k] && copy_out((void *)user[k], s.out[k], size))
			got = -EFAULT;
	kfree(mem);
	return got;
}

long sys_select(long n, long r, long w, long x, long timeout)
{
	int64_t deadline = FOREVER;
	struct timeval tv;
	long got;

	if (timeout) {
		if (copy_in(&tv, (void *)timeout, sizeof(tv)))
			return -EFAULT;
		if (tv.tv_sec < 0 || tv.tv_usec < 0)
			return -EINVAL;
		deadline = tv.tv_sec > 1L << 32 ? FOREVER - 1 :
			deadline_after(tv.tv_sec * NSEC + MIN(tv.tv_usec, 1L << 32) * 1000);
	}
	got = do_select(n, (long[3]){r, w, x}, deadline);
	if (timeout) {
		int64_t left = left_until(deadline);

		tv = (struct timeval){.tv_sec = left / NSEC, .tv_usec = left % NSEC / 1000};
		copy_out((void *)timeout, &tv, sizeof(tv));
	}
	return got;
}

long sys_pselect6(long n, long r, long w, long x, long timeout, long mask)
{
	struct {
		const void *set;
		size_t size;
	} m = {NULL, 0};
	int64_t deadline;
	long err = deadline_in(timeout, &deadline);

	if (!err && mask && copy_in(&m, (void *)mask, sizeof(m)))
		err = -EFAULT;
	if (!err)
		err = sigmask_borrow(m.set, m.size);
	if (err)
		return err;
	err = do_select(n, (long[3]){r, w, x}, deadline);
	left_out(timeout, deadline);
	return err;
}

/* eventfd.c: a counter as a file. Its count is where the position of other files is, so a family shares it. */
#include "file.h"

#include <sys/eventfd.h>

#define MOST (UINT64_MAX - 1)
#define TRIES 10000 /* relatives may change it between a look and a store, but not for ever */

struct counter {
	bool semaphore; /* a read takes one instead of all */
	struct waitq q;
};

static void changed(struct file *f)
{
	struct counter *c = f->priv;

	wake_all(&c->q);
	inode_event(f->node);
}

/* Takes the count, or one of it. 0 and what was taken, or -EAGAIN, -EBUSY or -EIO. */
static long take(struct file *f, uint64_t *taken)
{
	const struct counter *c = f->priv;
	uint64_t *count = file_word(f), now;

	if (!count)
		return -EIO;
	now = __atomic_load_n(count, __ATOMIC_SEQ_CST);
	if (!now)
		return -EAGAIN;
	*taken = c->semaphore ? 1 : now;
	return __atomic_compare_exchange_n(count, &now, now - *taken, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? 0 : -EBUSY;
}

/* Adds to the count. As take. */
static long add(struct file *f, uint64_t *more)
{
	uint64_t *count = file_word(f), now;

	if (!count)
		return -EIO;
	now = __atomic_load_n(count, __ATOMIC_SEQ_CST);
	if (now > MOST || *more > MOST - now)
		return -EAGAIN;
	return __atomic_compare_exchange_n(count, &now, now + *more, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? 0 : -EBUSY;
}

/* Does one of the two, as soon as it can be done. */
static long change(struct file *f, long (*how)(struct file *f, uint64_t *value), uint64_t *value)
{
	struct counter *c = f->priv;
	int tries = 0;
	long err;

	while ((err = how(f, value))) {
		if (err == -EAGAIN && !(f->flags & O_NONBLOCK)) {
			file_await(f);
			err = how(f, value);
		}
		if (!err)
			break;
		if (err == -EBUSY && tries++ < TRIES)
			continue;
		if (err != -EAGAIN || f->flags & O_NONBLOCK)
			return err == -EBUSY ? -EIO : err;
		err = wait_on(&c->q, FOREVER);
		if (err)
			return err;
	}
	file_changed(f);
	changed(f);
	return sizeof(*value);
}

static long counter_read(struct file *f, struct uio *u, uint64_t *pos)
{
	uint64_t value;
	long done;

	(void)pos;
	if (u->left < sizeof(value))
		return -EINVAL;
	done = change(f, take, &value);
	return done < 0 || uio_out(u, &value, sizeof(value)) == sizeof(value) ? done : -EFAULT;
}

static long counter_write(struct file *f, struct uio *u, uint64_t *pos)
{
	uint64_t value;

	(void)pos;
	if (u->left < sizeof(value))
		return -EINVAL;
	if (uio_in(u, &value, sizeof(value)) != sizeof(value))
		return -EFAULT;
	return value > MOST ? -EINVAL : change(f, add, &value);
}

static int counter_poll(struct file *f)
{
	const uint64_t *count = file_word(f);
	uint64_t now;

	file_await(f);
	now = count ? __atomic_load_n(count, __ATOMIC_SEQ_CST) : 0;
	return (now ? POLLIN | POLLRDNORM : 0) | (now < MOST ? POLLOUT | POLLWRNORM : 0);
}

static void counter_close(struct file *f)
{
	kfree(f->priv);
}

static long counter_share(struct file *f)
{
	(void)f;
	return 0;
}

static const struct file_ops counter_ops = {
	.name = "[eventfd]",
	.read = counter_read,
	.write = counter_write,
	.poll = counter_poll,
	.close = counter_close,
	.share = counter_share,
	.news = changed,
	.stream = true,
};

long sys_eventfd2(long initial, long flags)
{
	struct counter *c;
	struct file *f;

	if (flags & ~(long)(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE))
		return -EINVAL;
	c = kzalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->semaphore = flags & EFD_SEMAPHORE;
	waitq_init(&c->q);
	f = file_anonymous(&counter_ops, c, O_RDWR | (int)(flags & EFD_NONBLOCK));
	if (!f) {
		kfree(c);
		return -ENOMEM;
	}
	f->pos = (uint32_t)initial;
	return fd_install(f, 0, flags & EFD_CLOEXEC);
}

long sys_eventfd(long initial)
{
	return sys_eventfd2(initial, 0);
}

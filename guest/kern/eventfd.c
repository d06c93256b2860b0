/* eventfd.c: a counter as a file. */
#include "file.h"

#include <sys/eventfd.h>

struct counter {
	uint64_t n;
	bool semaphore; /* a read takes one instead of all */
	struct waitq q;
};

static long counter_read(struct file *f, struct uio *u, uint64_t *pos)
{
	struct counter *c = f->priv;
	uint64_t value;
	long err;

	(void)pos;
	if (u->left < sizeof(value))
		return -EINVAL;
	while (!c->n) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_on(&c->q, FOREVER);
		if (err)
			return err;
	}
	value = c->semaphore ? 1 : c->n;
	err = uio_out(u, &value, sizeof(value));
	if (err < 0)
		return err;
	c->n -= value;
	wake_all(&c->q);
	inode_event(f->node);
	return sizeof(value);
}

static long counter_write(struct file *f, struct uio *u, uint64_t *pos)
{
	struct counter *c = f->priv;
	uint64_t value;
	long err;

	(void)pos;
	if (u->left < sizeof(value))
		return -EINVAL;
	err = uio_in(u, &value, sizeof(value));
	if (err != sizeof(value))
		return -EFAULT;
	if (value == UINT64_MAX)
		return -EINVAL;
	while (value > UINT64_MAX - 1 - c->n) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_on(&c->q, FOREVER);
		if (err)
			return err;
	}
	c->n += value;
	wake_all(&c->q);
	inode_event(f->node);
	return sizeof(value);
}

static int counter_poll(struct file *f)
{
	const struct counter *c = f->priv;

	return (c->n ? POLLIN | POLLRDNORM : 0) | (c->n < UINT64_MAX - 1 ? POLLOUT | POLLWRNORM : 0);
}

static void counter_close(struct file *f)
{
	kfree(f->priv);
}

static const struct file_ops counter_ops = {
	.name = "[eventfd]",
	.read = counter_read,
	.write = counter_write,
	.poll = counter_poll,
	.close = counter_close,
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
	c->n = (uint32_t)initial;
	c->semaphore = flags & EFD_SEMAPHORE;
	waitq_init(&c->q);
	f = file_anonymous(&counter_ops, c, O_RDWR | (int)(flags & EFD_NONBLOCK));
	if (!f) {
		kfree(c);
		return -ENOMEM;
	}
	return fd_install(f, 0, flags & EFD_CLOEXEC);
}

long sys_eventfd(long initial)
{
	return sys_eventfd2(initial, 0);
}

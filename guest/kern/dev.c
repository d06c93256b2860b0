/* dev.c: /dev, and the console as files. */
#include "file.h"

#define DEV(major, minor) ((dev_t)(major) << 8 | (minor)) /* of small numbers */
#define DEV_NULL DEV(1, 3)
#define DEV_ZERO DEV(1, 5)
#define DEV_FULL DEV(1, 7)
#define DEV_RANDOM DEV(1, 8)
#define DEV_URANDOM DEV(1, 9)
#define DEV_TTY DEV(5, 0)
#define DEV_CONSOLE DEV(5, 1)

/* ---- null, zero, full ---- */

static long null_read(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)f, (void)u, (void)pos;
	return 0;
}

static long null_write(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)f, (void)pos;
	return u->left;
}

static long zero_read(struct file *f, struct uio *u, uint64_t *pos)
{
	long done = 0;
	size_t n;

	(void)f, (void)pos;
	while (u->left) {
		void *p = uio_piece(u, &n);

		if (clear_out(p, n))
			return done ? done : -EFAULT;
		uio_advance(u, n);
		done += n;
	}
	return done;
}

static long full_write(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)f, (void)u, (void)pos;
	return -ENOSPC;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write};
static const struct file_ops zero_ops = {.read = zero_read, .write = null_write};
static const struct file_ops full_ops = {.read = zero_read, .write = full_write};

bool dev_maps_zeroes(const struct file *f)
{
	return f->ops == &zero_ops;
}

/* ---- random ---- */

static long random_read(struct file *f, struct uio *u, uint64_t *pos)
{
	uint8_t bytes[256];
	long done = 0, got;

	(void)f, (void)pos;
	while (u->left) {
		size_t n = MIN(u->left, sizeof(bytes));

		random_bytes(bytes, n);
		got = uio_out(u, bytes, n);
		if (got < 0)
			return done ? done : got;
		done += got;
		if ((size_t)got < n)
			break;
	}
	memset(bytes, 0, sizeof(bytes));
	return done;
}

static const struct file_ops random_ops = {.read = random_read, .write = null_write};

/* ---- the console ---- */

/* What 0, 1 and 2 are: a terminal, or something like pipes. */
static struct inode streams[3];

static int stream_of(const struct file *f)
{
	return f->node == &streams[2] ? KX_STDERR : KX_STDOUT;
}

static long console_read(struct file *f, struct uio *u, uint64_t *pos)
{
	size_t n;
	void *p = uio_piece(u, &n);
	long got;

	(void)pos;
	if (!n)
		return 0;
	got = tty_read(p, n, f->flags & O_NONBLOCK);
	f->node->edges++; /* what comes now is news to EPOLLET */
	return got;
}

/* What comes in small pieces, as printf's lines do, goes out as one: relatives write to the same console. */
static long gather(struct uio *u, char *buf, size_t max)
{
	struct iovec *heap = u->heap;
	long n;

	if (u->iovs < 2 || u->left > max)
		return 0;
	n = uio_in(u, buf, u->left);
	if (n < 0)
		return n;
	uio_single(u, buf, (size_t)n);
	u->heap = heap; /* uio_end's to free */
	return 0;
}

static long console_write(struct file *f, struct uio *u, uint64_t *pos)
{
	char buf[512];
	long done = 0, got = gather(u, buf, sizeof(buf));
	size_t n;

	(void)pos;
	if (got < 0)
		return got;
	while (u->left) {
		void *p = uio_piece(u, &n);

		got = tty_write(stream_of(f), p, n, f->flags & O_NONBLOCK);
		if (got < 0)
			return done ? done : got;
		uio_advance(u, got);
		done += got;
		if ((size_t)got < n)
			break;
	}
	f->node->edges++;
	return done;
}

static int console_poll(struct file *f)
{
	int state = tty_poll();

	if (state & POLLIN)
		state |= POLLRDNORM;
	if (state & POLLOUT)
		state |= POLLWRNORM;
	if (!file_reads(f))
		state &= ~(POLLIN | POLLRDNORM | POLLHUP);
	if (!file_writes(f))
		state &= ~(POLLOUT | POLLWRNORM);
	return state;
}

static long console_ioctl(struct file *f, unsigned long request, long arg)
{
	(void)f;
	return tty_ioctl(request, (void *)arg);
}

static long console_open(struct file *f)
{
	return f->node->rdev == DEV_TTY && !tty_is_terminal() ? -ENXIO : 0;
}

static const struct file_ops console_ops = {
	.name = "pipe",
	.read = console_read,
	.write = console_write,
	.poll = console_poll,
	.ioctl = console_ioctl,
	.open = console_open,
	.stream = true,
};

int fd_init_stdio(void)
{
	bool tty = tty_is_terminal();

	for (int i = 0; i < 3; i++) {
		struct inode *n = &streams[i];
		struct file *f;
		long fd;

		n->refs = n->nlink = 1;
		n->ino = UINT32_MAX - i;
		n->fs = FS_ANON;
		n->mode = tty ? S_IFCHR | 0620 : S_IFIFO | 0600;
		n->rdev = tty ? DEV_CONSOLE : 0;
		n->ops = &console_ops;
		list_init(&n->watches);
		n->atime = n->mtime = n->ctime = real_ns();
		f = file_new(inode_get(n), NULL, &console_ops, tty ? O_RDWR : i ? O_WRONLY : O_RDONLY);
		fd = f ? fd_install(f, 0, false) : -ENOMEM;
		if (fd < 0)
			return (int)fd;
	}
	return 0;
}

bool dev_is_console(const struct file *f)
{
	return f->ops == &console_ops && !tty_is_terminal();
}

/* ---- /dev ---- */

const struct file_ops *dev_ops(dev_t rdev)
{
	switch (rdev) {
	case DEV_NULL:
		return &null_ops;
	case DEV_ZERO:
		return &zero_ops;
	case DEV_FULL:
		return &full_ops;
	case DEV_RANDOM:
	case DEV_URANDOM:
		return &random_ops;
	case DEV_TTY:
	case DEV_CONSOLE:
		return &console_ops;
	default:
		return NULL;
	}
}

static const struct {
	const char *name;
	dev_t rdev;
	mode_t mode;
} devices[] = {
	{"null", DEV_NULL, 0666},       {"zero", DEV_ZERO, 0666},       {"full", DEV_FULL, 0666},
	{"random", DEV_RANDOM, 0666},   {"urandom", DEV_URANDOM, 0666}, {"tty", DEV_TTY, 0666},
	{"console", DEV_CONSOLE, 0600},
};

static const struct {
	const char *name, *target;
} links[] = {
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
};

int dev_fill(struct dent *dir)
{
	struct dent *d;
	long err = 0;

	for (size_t i = 0; i < ARRAY_LEN(devices) && !err; i++) {
		err = dir_make(dir, S_IFCHR | devices[i].mode, devices[i].name, strlen(devices[i].name), &d);
		if (err)
			break;
		d->node->rdev = devices[i].rdev;
		dent_put(d);
	}
	for (size_t i = 0; i < ARRAY_LEN(links) && !err; i++)
		err = dir_make_link(dir, links[i].target, links[i].name, strlen(links[i].name));
	if (!err)
		err = dir_make(dir, S_IFDIR | 01777, "shm", 3, NULL);
	return (int)err;
}

/* pipe.c: pipes and FIFOs. */
#include "pipe.h"

#include <sys/ioctl.h>

#define BUSY_NS 5000000 /* how long to leave a relative alone that works on a pipe */

struct pipe *pipe_new(void)
{
	struct pipe *p = kzalloc(sizeof(*p));

	if (p)
		waitq_init(&p->q);
	return p;
}

static void drop_pages(struct pipe *p)
{
	for (int i = 0; i < PIPE_PAGES; i++) {
		if (p->page[i])
			page_free(p->page[i], 1);
		p->page[i] = NULL;
	}
}

void pipe_free(struct pipe *p)
{
	if (!p)
		return;
	if (!p->common)
		drop_pages(p);
	kfree(p);
}

static void changed(struct pipe *p, struct inode *n)
{
	wake_all(&p->q);
	inode_event(n);
}

static size_t used(const struct pipe *p)
{
	return p->head - p->tail;
}

static bool has_readers(const struct pipe *p)
{
	return p->readers || p->any_readers;
}

static bool has_writers(const struct pipe *p)
{
	return p->writers || p->any_writers;
}

/* Until something has changed, or, after -EBUSY, for a moment. */
static long sleep_on_pipe(struct pipe *p, long why)
{
	long err = wait_on(&p->q, why == -EBUSY ? deadline_after(BUSY_NS) : FOREVER);

	return err == -ETIMEDOUT ? 0 : err;
}

/* Bytes that fit in one piece at a free-running index. */
static size_t to_page_end(uint32_t at)
{
	return PAGE_SIZE - at % PAGE_SIZE;
}

static char **page_at(struct pipe *p, uint32_t at)
{
	return &p->page[at / PAGE_SIZE % PIPE_PAGES];
}

/* Whether the page of a byte that was taken has the newest bytes as well: in a full pipe. */
static bool has_newest(struct pipe *p, uint32_t at)
{
	return used(p) && page_at(p, p->head - 1) == page_at(p, at);
}

/* ---- bytes out ---- */

static long take(struct pipe *p, struct uio *u)
{
	long done = 0;

	while (u->left && used(p)) {
		size_t chunk = MIN(MIN(used(p), to_page_end(p->tail)), u->left);
		long got = *page_at(p, p->tail) ? uio_out(u, *page_at(p, p->tail) + p->tail % PAGE_SIZE, chunk) : -EIO;

		if (got < 0)
			return done ? done : got;
		p->tail += got;
		if (!p->common && p->tail % PAGE_SIZE == 0 && !has_newest(p, p->tail - 1)) {
			page_free(*page_at(p, p->tail - 1), 1);
			*page_at(p, p->tail - 1) = NULL;
		}
		done += got;
		if ((size_t)got < chunk)
			break;
	}
	if (!p->common && !used(p)) {
		drop_pages(p);
		p->head = p->tail = 0;
	}
	return done;
}

/* 0 and the pipe entered if it has bytes, -EAGAIN, -EBUSY, or 1 at the end. */
static long enter_to_get(struct pipe *p)
{
	long err = pipe_enter(p);

	if (err || used(p))
		return err;
	err = has_writers(p) ? -EAGAIN : 1;
	pipe_leave(p, false);
	return err;
}

long pipe_get(struct pipe *p, struct inode *n, struct uio *u, bool nonblock)
{
	long got, err;

	if (!u->left)
		return 0;
	while ((err = enter_to_get(p))) {
		if (err == 1)
			return 0;
		if (err == -EAGAIN) {
			if (nonblock)
				return -EAGAIN;
			pipe_await(p);
			err = enter_to_get(p);
		}
		if (!err)
			break;
		if (err == 1)
			return 0;
		if (err != -EBUSY && err != -EAGAIN)
			return err;
		err = sleep_on_pipe(p, err);
		if (err)
			return err;
	}
	got = take(p, u);
	pipe_leave(p, got > 0);
	if (got > 0)
		changed(p, n);
	return got;
}

/* ---- bytes in ---- */

/* At most max bytes. */
static long put(struct pipe *p, struct uio *u, size_t max)
{
	long done = 0;

	while (max) {
		size_t chunk = MIN(to_page_end(p->head), max);
		char **page = page_at(p, p->head);
		long got;

		if (!*page)
			*page = p->common ? pipe_common_page(p) : page_alloc(1);
		got = *page ? uio_in(u, *page + p->head % PAGE_SIZE, chunk) : -ENOMEM;
		if (got < 0)
			return done ? done : got;
		p->head += got;
		done += got;
		max -= got;
		if ((size_t)got < chunk)
			break;
	}
	return done;
}

static long broken(bool quiet)
{
	if (!quiet)
		signal_thread(cur, SIGPIPE, NULL);
	return -EPIPE;
}

/* 0 and the pipe entered if it has room for so much, -EAGAIN, -EBUSY, or -EPIPE. */
static long enter_to_put(struct pipe *p, size_t room)
{
	long err = pipe_enter(p);

	if (err)
		return err;
	if (has_readers(p) && PIPE_SIZE - used(p) >= room)
		return 0;
	err = has_readers(p) ? -EAGAIN : -EPIPE;
	pipe_leave(p, false);
	return err;
}

/* What is at most PIPE_BUF goes in whole or not at all. */
long pipe_put(struct pipe *p, struct inode *n, struct uio *u, bool nonblock, bool quiet)
{
	size_t whole = u->left <= PIPE_BUF ? u->left : 1;
	long done = 0, err;

	while (u->left) {
		size_t room = MIN(whole, u->left);

		err = enter_to_put(p, room);
		if (err == -EAGAIN && !nonblock) {
			pipe_await(p);
			err = enter_to_put(p, room);
		}
		if (!err) {
			err = put(p, u, MIN(PIPE_SIZE - used(p), u->left));
			pipe_leave(p, err > 0);
			if (err <= 0)
				return done ? done : err;
			changed(p, n);
			done += err;
			continue;
		}
		if (err == -EPIPE)
			return done ? done : broken(quiet);
		if (err == -EBUSY || (err == -EAGAIN && !nonblock))
			err = sleep_on_pipe(p, err);
		if (err)
			return done ? done : err;
	}
	return done;
}

int pipe_state(struct pipe *p, bool reads, bool writes)
{
	int state = 0;

	pipe_await(p);
	pipe_look(p);
	if (reads)
		state |= (used(p) ? POLLIN | POLLRDNORM : 0) | (has_writers(p) ? 0 : POLLHUP);
	if (writes)
		state |= (PIPE_SIZE - used(p) >= PIPE_BUF ? POLLOUT | POLLWRNORM : 0) | (has_readers(p) ? 0 : POLLERR);
	return state;
}

size_t pipe_used(struct pipe *p)
{
	pipe_look(p);
	return used(p);
}

void pipe_ends(struct pipe *p, struct inode *n, int readers, int writers)
{
	pipe_common_ends(p, readers, writers);
	p->readers += readers;
	p->writers += writers;
	changed(p, n);
}

/* ---- files ---- */

static long pipe_read(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)pos;
	return pipe_get(f->node->pipe, f->node, u, f->flags & O_NONBLOCK);
}

static long pipe_write(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)pos;
	return pipe_put(f->node->pipe, f->node, u, f->flags & O_NONBLOCK, false);
}

/* A FIFO that nobody has written to yet is not hung up. */
static int pipe_poll(struct file *f)
{
	int state = pipe_state(f->node->pipe, file_reads(f), file_writes(f));

	return f->node->pipe->writer_opens ? state : state & ~POLLHUP;
}

static long pipe_ioctl(struct file *f, unsigned long request, long arg)
{
	int n = (int)pipe_used(f->node->pipe);

	return request == FIONREAD ? copy_out((void *)arg, &n, sizeof(n)) : -ENOTTY;
}

static void pipe_close(struct file *f)
{
	struct pipe *p = f->node->pipe;

	pipe_ends(p, f->node, -(int)file_reads(f), -(int)file_writes(f));
	if (!p->readers && !p->writers && !p->common) {
		drop_pages(p);
		p->head = p->tail = p->reader_opens = p->writer_opens = 0;
	}
}

/* Opening again, through /proc/self/fd, never waits. */
static long pipe_open(struct file *f)
{
	struct pipe *p = f->node->pipe;

	p->reader_opens += file_reads(f);
	p->writer_opens += file_writes(f);
	pipe_ends(p, f->node, file_reads(f), file_writes(f));
	return 0;
}

const struct file_ops pipe_ops = {
	.name = "pipe",
	.read = pipe_read,
	.write = pipe_write,
	.poll = pipe_poll,
	.ioctl = pipe_ioctl,
	.open = pipe_open,
	.close = pipe_close,
	.stream = true,
};

/* Each side waits for the other, unless told not to or it is both. */
static long fifo_meet(struct file *f)
{
	struct pipe *p = f->node->pipe;
	uint32_t before;
	long err;

	pipe_look(p);
	before = file_reads(f) ? p->writer_opens : p->reader_opens;
	if ((file_reads(f) && file_writes(f)) || f->flags & O_NONBLOCK)
		return 0;
	for (;;) {
		pipe_await(p);
		pipe_look(p);
		if (file_reads(f) ? has_writers(p) || p->writer_opens != before : has_readers(p) || p->reader_opens != before)
			return 0;
		err = wait_on(&p->q, FOREVER);
		if (err)
			return err;
	}
}

static long fifo_open(struct file *f)
{
	long err;

	if (!f->node->pipe)
		f->node->pipe = pipe_new();
	if (!f->node->pipe)
		return -ENOMEM;
	pipe_look(f->node->pipe);
	if (!file_reads(f) && f->flags & O_NONBLOCK && !has_readers(f->node->pipe))
		return -ENXIO;
	pipe_open(f);
	err = fifo_meet(f);
	if (err)
		pipe_close(f);
	return err;
}

const struct file_ops fifo_ops = {
	.read = pipe_read,
	.write = pipe_write,
	.poll = pipe_poll,
	.ioctl = pipe_ioctl,
	.open = fifo_open,
	.close = pipe_close,
	.stream = true,
};

/* ---- system calls ---- */

static struct file *new_end(struct inode *n, int flags)
{
	struct file *f = file_new(inode_get(n), NULL, &pipe_ops, flags);

	if (f)
		pipe_open(f);
	return f;
}

long install_pair(struct file *a, struct file *b, long flags, long user)
{
	int fd[2];

	if (!a || !b) {
		file_put(a);
		file_put(b);
		return -ENFILE;
	}
	fd[0] = (int)fd_install(a, 0, flags & O_CLOEXEC);
	if (fd[0] < 0) {
		file_put(b);
		return fd[0];
	}
	fd[1] = (int)fd_install(b, 0, flags & O_CLOEXEC);
	if (fd[1] < 0) {
		fd_close(fd[0]);
		return fd[1];
	}
	if (copy_out((void *)user, fd, sizeof(fd))) {
		fd_close(fd[0]);
		fd_close(fd[1]);
		return -EFAULT;
	}
	return 0;
}

long sys_pipe2(long user, long flags)
{
	struct inode *n;
	struct file *r, *w;

	if (flags & ~(long)(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	n = inode_new(S_IFIFO | 0600, FS_PIPE);
	if (!n)
		return -ENFILE;
	n->nlink = 1;
	n->pipe = pipe_new();
	if (!n->pipe) {
		inode_put(n);
		return -ENFILE;
	}
	r = new_end(n, O_RDONLY | (int)(flags & O_NONBLOCK));
	w = new_end(n, O_WRONLY | (int)(flags & O_NONBLOCK));
	inode_put(n);
	return install_pair(r, w, flags, user);
}

long sys_pipe(long user)
{
	return sys_pipe2(user, 0);
}

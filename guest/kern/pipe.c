/* pipe.c: pipes and FIFOs. */
#include "pipe.h"

#include <sys/ioctl.h>

#define PIPE_PAGES 16
#define PIPE_SIZE (PIPE_PAGES * PAGE_SIZE)

struct pipe {
	char *page[PIPE_PAGES]; /* a page is there while it holds bytes */
	uint32_t head, tail;    /* run freely; head - tail bytes are in the pipe */
	uint32_t readers, writers;
	uint32_t reader_opens, writer_opens; /* ever: what open() of a FIFO waits for */
	struct waitq q;
};

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

/* Bytes that fit in one piece at a free-running index. */
static size_t to_page_end(uint32_t at)
{
	return PAGE_SIZE - at % PAGE_SIZE;
}

static char **page_at(struct pipe *p, uint32_t at)
{
	return &p->page[at / PAGE_SIZE % PIPE_PAGES];
}

/* ---- bytes out ---- */

static long take(struct pipe *p, struct uio *u)
{
	long done = 0;

	while (u->left && used(p)) {
		size_t chunk = MIN(MIN(used(p), to_page_end(p->tail)), u->left);
		long got = uio_out(u, *page_at(p, p->tail) + p->tail % PAGE_SIZE, chunk);

		if (got < 0)
			return done ? done : got;
		if (p->tail % PAGE_SIZE + got == PAGE_SIZE) {
			page_free(*page_at(p, p->tail), 1);
			*page_at(p, p->tail) = NULL;
		}
		p->tail += got;
		done += got;
		if ((size_t)got < chunk)
			break;
	}
	if (!used(p)) {
		drop_pages(p);
		p->head = p->tail = 0;
	}
	return done;
}

long pipe_get(struct pipe *p, struct inode *n, struct uio *u, bool nonblock)
{
	long got;

	if (!u->left)
		return 0;
	while (!used(p)) {
		if (!p->writers)
			return 0;
		if (nonblock)
			return -EAGAIN;
		got = wait_on(&p->q, FOREVER);
		if (got)
			return got;
	}
	got = take(p, u);
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
			*page = page_alloc(1);
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

/* What is at most PIPE_BUF goes in whole or not at all. */
long pipe_put(struct pipe *p, struct inode *n, struct uio *u, bool nonblock, bool quiet)
{
	size_t whole = u->left <= PIPE_BUF ? u->left : 1;
	long done = 0, got;

	if (!u->left)
		return 0;
	while (u->left) {
		size_t room = PIPE_SIZE - used(p);

		if (!p->readers)
			return done ? done : broken(quiet);
		if (room >= MIN(whole, u->left)) {
			got = put(p, u, MIN(room, u->left));
			if (got > 0)
				changed(p, n);
			if (got <= 0)
				return done ? done : got;
			done += got;
			continue;
		}
		if (nonblock)
			return done ? done : -EAGAIN;
		got = wait_on(&p->q, FOREVER);
		if (got)
			return done ? done : got;
	}
	return done;
}

int pipe_state(const struct pipe *p, bool reads, bool writes)
{
	int state = 0;

	if (reads)
		state |= (used(p) ? POLLIN | POLLRDNORM : 0) | (p->writers ? 0 : POLLHUP);
	if (writes)
		state |= (PIPE_SIZE - used(p) >= PIPE_BUF ? POLLOUT | POLLWRNORM : 0) | (p->readers ? 0 : POLLERR);
	return state;
}

size_t pipe_used(const struct pipe *p)
{
	return used(p);
}

void pipe_ends(struct pipe *p, struct inode *n, int readers, int writers)
{
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
	int n = (int)used(f->node->pipe);

	return request == FIONREAD ? copy_out((void *)arg, &n, sizeof(n)) : -ENOTTY;
}

static void pipe_close(struct file *f)
{
	struct pipe *p = f->node->pipe;

	pipe_ends(p, f->node, -(int)file_reads(f), -(int)file_writes(f));
	if (!p->readers && !p->writers) {
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
	uint32_t before = file_reads(f) ? p->writer_opens : p->reader_opens;
	long err;

	if ((file_reads(f) && file_writes(f)) || f->flags & O_NONBLOCK)
		return 0;
	while (file_reads(f) ? !p->writers && p->writer_opens == before : !p->readers && p->reader_opens == before) {
		err = wait_on(&p->q, FOREVER);
		if (err)
			return err;
	}
	return 0;
}

static long fifo_open(struct file *f)
{
	long err;

	if (!f->node->pipe)
		f->node->pipe = pipe_new();
	if (!f->node->pipe)
		return -ENOMEM;
	if (!file_reads(f) && f->flags & O_NONBLOCK && !f->node->pipe->readers)
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

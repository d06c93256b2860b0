/* pipe.c: pipes and FIFOs, and the queues under them. */
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
	pipe_common_ends(p, 0, 0); /* of one that nobody opened */
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

/* Somebody may take what is put in. */
static bool has_readers(const struct pipe *p)
{
	return (p->readers || p->any_readers) && !p->shut;
}

/* Something may yet come. */
static bool has_writers(const struct pipe *p)
{
	return p->endless ? !(p->shut & PIPE_SHUT_READER) : (p->writers || p->any_writers) && !p->shut;
}

/* Until something has changed, or it is over: then until becomes 0. After -EBUSY, for a moment. */
static long sleep_on_pipe(struct pipe *p, long why, int64_t *until)
{
	long err = wait_on(&p->q, why == -EBUSY ? deadline_after(BUSY_NS) : *until);

	if (err == -ETIMEDOUT && why != -EBUSY)
		*until = 0;
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

/* ---- waiting ---- */

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

#define BYTES 0 /* instead of a room */

static long enter_for(struct pipe *p, size_t room)
{
	return room == BYTES ? enter_to_get(p) : enter_to_put(p, room);
}

/* As enter_to_get and enter_to_put, but it waits, also for a relative that is in there. */
static long await(struct pipe *p, size_t room, int64_t until)
{
	for (;;) {
		long err = enter_for(p, room);

		if (err == -EAGAIN && until && pipe_watch(p))
			err = enter_for(p, room);
		if (err == -EAGAIN && until) {
			pipe_await(p);
			err = enter_for(p, room);
		}
		if (err != -EBUSY && (err != -EAGAIN || !until))
			return err;
		err = sleep_on_pipe(p, err, &until);
		if (err)
			return err;
	}
}

/* ---- bytes out ---- */

/* Copies at most max bytes from there on, which stay. */
static long look(struct pipe *p, uint32_t at, struct uio *u, size_t max)
{
	long done = 0;

	while (max) {
		size_t chunk = MIN(to_page_end(at), max);
		long got = *page_at(p, at) ? uio_out(u, *page_at(p, at) + at % PAGE_SIZE, chunk) : -EIO;

		if (got < 0)
			return done ? done : got;
		at += (uint32_t)got;
		done += got;
		max -= got;
		if ((size_t)got < chunk)
			break;
	}
	return done;
}

/* So many bytes have been taken. */
static void taken(struct pipe *p, size_t n)
{
	for (size_t chunk; n; n -= chunk) {
		chunk = MIN(n, to_page_end(p->tail));
		p->tail += chunk;
		if (!p->common && p->tail % PAGE_SIZE == 0 && !has_newest(p, p->tail - 1)) {
			page_free(*page_at(p, p->tail - 1), 1);
			*page_at(p, p->tail - 1) = NULL;
		}
	}
}

static void leave_reading(struct pipe *p, struct inode *n, bool took)
{
	if (!p->common && !used(p)) {
		drop_pages(p);
		p->head = p->tail = 0;
	}
	pipe_leave(p, took);
	if (took)
		changed(p, n);
}

long pipe_get(struct pipe *p, struct inode *n, struct uio *u, int64_t until, bool peek)
{
	long got;

	if (!u->left)
		return 0;
	got = await(p, BYTES, until);
	if (got)
		return got == 1 ? 0 : got;
	got = look(p, p->tail, u, MIN(used(p), u->left));
	peek = peek || got <= 0;
	if (!peek)
		taken(p, (size_t)got);
	leave_reading(p, n, !peek);
	return got;
}

/* Its last reader has gone and left bytes behind. */
static bool abandoned(const struct pipe *p)
{
	return used(p) && !p->readers && !p->any_readers;
}

bool pipe_abandoned(struct pipe *p)
{
	pipe_look(p);
	return abandoned(p);
}

bool pipe_reset(struct pipe *p, struct inode *n)
{
	bool reset;
	long err;

	if (!pipe_abandoned(p))
		return false;
	do
		err = pipe_enter(p);
	while (err == -EBUSY && !sleep_on_pipe(p, err, NULL));
	if (err)
		return false;
	reset = abandoned(p); /* else another holder was faster */
	if (reset)
		taken(p, used(p));
	leave_reading(p, n, reset);
	return reset;
}

/* ---- bytes in ---- */

/* Where the next byte goes; NULL: memory is short. */
static char *place(struct pipe *p)
{
	char **page = page_at(p, p->head);

	if (!*page)
		*page = p->common ? pipe_common_page(p) : page_alloc(1);
	return *page ? *page + p->head % PAGE_SIZE : NULL;
}

/* At most max bytes. */
static long put(struct pipe *p, struct uio *u, size_t max)
{
	long done = 0;

	while (max) {
		size_t chunk = MIN(to_page_end(p->head), max);
		char *to = place(p);
		long got = to ? uio_in(u, to, chunk) : -ENOMEM;

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
long pipe_put(struct pipe *p, struct inode *n, struct uio *u, int64_t until, bool quiet)
{
	size_t whole = u->left <= PIPE_BUF ? u->left : 1;
	long done = 0, err;

	while (u->left) {
		err = await(p, MIN(whole, u->left), until);
		if (err)
			return done ? done : err == -EPIPE ? broken(quiet) : err;
		err = put(p, u, MIN(PIPE_SIZE - used(p), u->left));
		pipe_leave(p, err > 0);
		if (err <= 0)
			return done ? done : err;
		changed(p, n);
		done += err;
	}
	return done;
}

/* ---- messages: their length, in four bytes that lie in one page, and their bytes, up to the next multiple of four ---- */

#define LENGTH sizeof(uint32_t)

static size_t padding(size_t n)
{
	return -n % LENGTH;
}

/* The length of the message that is there, whoever wrote it, or -EIO. The pipe is entered. */
static long length_at(struct pipe *p, uint32_t at)
{
	size_t left = p->head - at;
	uint32_t n;

	if (at % LENGTH || left < LENGTH || !*page_at(p, at))
		return -EIO;
	n = __atomic_load_n((uint32_t *)(*page_at(p, at) + at % PAGE_SIZE), __ATOMIC_RELAXED);
	return n <= PIPE_SIZE && n + padding(n) <= left - LENGTH ? (long)n : -EIO;
}

long pipe_get_message(struct pipe *p, struct inode *n, struct uio *u, int64_t until, bool peek, size_t *size)
{
	long got = await(p, BYTES, until), length;

	*size = 0;
	if (got)
		return got != 1 ? got : p->endless && !until ? -EAGAIN : 0;
	length = length_at(p, p->tail);
	if (length < 0) {
		pipe_leave(p, false);
		return length;
	}
	got = look(p, p->tail + LENGTH, u, MIN((size_t)length, u->left));
	if (!peek) /* what was not wanted, or could not be stored, is lost */
		taken(p, LENGTH + (size_t)length + padding(length));
	leave_reading(p, n, !peek);
	*size = (size_t)length;
	return got;
}

long pipe_put_message(struct pipe *p, struct inode *n, struct uio *u, int64_t until)
{
	size_t length = u->left;
	char *to;
	long err;

	if (length > PIPE_SIZE - LENGTH)
		return -EMSGSIZE;
	err = await(p, LENGTH + length + padding(length), until);
	if (err)
		return err;
	to = p->head % LENGTH ? NULL : place(p);
	if (!to) {
		pipe_leave(p, false);
		return p->head % LENGTH ? -EIO : -ENOMEM; /* a relative has spoilt it, or memory is short */
	}
	*(uint32_t *)to = (uint32_t)length;
	p->head += LENGTH;
	err = put(p, u, length);
	if (err != (long)length) { /* nothing has happened: what is beyond the head is not there */
		p->head -= LENGTH + (uint32_t)MAX(err, 0L);
		leave_reading(p, n, false);
		return err < 0 ? err : -EFAULT;
	}
	p->head += padding(length);
	pipe_leave(p, true);
	changed(p, n);
	return err;
}

size_t pipe_messages(struct pipe *p, bool first)
{
	size_t sum = 0;
	long n;

	if (await(p, BYTES, 0))
		return 0;
	for (uint32_t at = p->tail; at != p->head && (n = length_at(p, at)) >= 0; at += LENGTH + n + padding(n)) {
		sum += n;
		if (first)
			break;
	}
	pipe_leave(p, false);
	return sum;
}

/* ---- both ---- */

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

void pipe_shut(struct pipe *p, struct inode *n, uint32_t side)
{
	pipe_common_shut(p, side);
	p->shut |= side;
	changed(p, n);
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
	long got = pipe_get(f->node->pipe, f->node, u, f->flags & O_NONBLOCK ? 0 : FOREVER, false);

	(void)pos;
	return !got && u->left && offer_over(f) ? -ERESTART : got;
}

static long pipe_write(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)pos;
	return pipe_put(f->node->pipe, f->node, u, f->flags & O_NONBLOCK ? 0 : FOREVER, false);
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

static long pipe_file_share(struct file *f)
{
	return pipe_share(f->node->pipe, f->node, f->node);
}

const struct file_ops pipe_ops = {
	.name = "pipe",
	.read = pipe_read,
	.write = pipe_write,
	.poll = pipe_poll,
	.ioctl = pipe_ioctl,
	.open = pipe_open,
	.close = pipe_close,
	.share = pipe_file_share,
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
	.share = pipe_file_share,
	.stream = true,
};

/* ---- system calls ---- */

struct inode *pipe_node(struct pipe *p)
{
	struct inode *n = p ? inode_new(S_IFIFO | 0600, FS_PIPE) : NULL;

	if (!n) {
		pipe_free(p);
		return NULL;
	}
	n->nlink = 1;
	n->pipe = p;
	p->node[0] = p->node[1] = n;
	return n;
}

struct file *pipe_end(struct inode *n, int flags)
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
	n = pipe_node(pipe_new());
	if (!n)
		return -ENFILE;
	r = pipe_end(n, O_RDONLY | (int)(flags & O_NONBLOCK));
	w = pipe_end(n, O_WRONLY | (int)(flags & O_NONBLOCK));
	inode_put(n);
	return install_pair(r, w, flags, user);
}

long sys_pipe(long user)
{
	return sys_pipe2(user, 0);
}

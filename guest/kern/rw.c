/* rw.c: reading, writing and moving the position. */
#include "file.h"
#include "process.h"

#include <sys/ioctl.h>
#include <unistd.h>

/* ---- one transfer ---- */

/* pos NULL: the file's own position. */
static long transfer(struct file *f, struct uio *u, uint64_t *pos, bool out)
{
	long (*fn)(struct file *, struct uio *, uint64_t *) = out ? f->ops->write : f->ops->read;
	bool own = !pos && !f->ops->stream;
	uint64_t at;
	long n;

	if (out ? !file_writes(f) : !file_reads(f))
		return -EBADF;
	if (!fn)
		return -EINVAL;
	n = own ? file_pos_enter(f) : 0;
	if (n)
		return n;
	at = pos ? *pos : own ? f->pos : 0;
	cur->moving = f;
	n = at > INT64_MAX - u->left ? -EINVAL : fn(f, u, &at);
	cur->moving = NULL;
	if (pos && !f->ops->stream)
		*pos = at;
	if (own) {
		f->pos = at;
		file_pos_leave(f);
	}
	return n;
}

void movers_look_again(const struct file *f)
{
	for (struct list_node *n = threads.next; n != &threads; n = n->next) {
		struct thread *t = CONTAINER_OF(n, struct thread, all);

		if (t->moving != f || !t->interruptible)
			continue;
		thread_wake(t, -ERESTART);
		t->wait_result = -ERESTART; /* also of one that was woken, and has not run yet */
	}
}

static long single(long fd, long buf, long n, uint64_t *pos, bool out)
{
	struct uio u;
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	if (n < 0) {
		err = -EINVAL;
	} else if (pos && f->ops->stream) {
		err = -ESPIPE;
	} else {
		uio_single(&u, (void *)buf, n);
		err = transfer(f, &u, pos, out);
	}
	if (out && !pos && err > 0 && err < n && !fd_holds((int)fd, f)) { /* movers_look_again: the rest goes to what it is now */
		long more = single(fd, buf + err, n - err, NULL, true);

		err += MAX(more, 0L);
	}
	file_put(f);
	return err;
}

static long vector(long fd, long iov, long count, uint64_t *pos, bool out)
{
	struct uio u;
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	err = pos && f->ops->stream ? -ESPIPE : uio_vector(&u, iov, count);
	if (!err) {
		err = transfer(f, &u, pos, out);
		uio_end(&u);
	}
	file_put(f);
	return err;
}

long sys_read(long fd, long buf, long n)
{
	return single(fd, buf, n, NULL, false);
}

long sys_write(long fd, long buf, long n)
{
	return single(fd, buf, n, NULL, true);
}

long sys_readv(long fd, long iov, long count)
{
	return vector(fd, iov, count, NULL, false);
}

long sys_writev(long fd, long iov, long count)
{
	return vector(fd, iov, count, NULL, true);
}

long sys_pread64(long fd, long buf, long n, long off)
{
	uint64_t pos = off;

	return off < 0 ? -EINVAL : single(fd, buf, n, &pos, false);
}

long sys_pwrite64(long fd, long buf, long n, long off)
{
	uint64_t pos = off;

	return off < 0 ? -EINVAL : single(fd, buf, n, &pos, true);
}

long sys_preadv(long fd, long iov, long count, long off)
{
	uint64_t pos = off;

	return off < 0 ? -EINVAL : vector(fd, iov, count, &pos, false);
}

long sys_pwritev(long fd, long iov, long count, long off)
{
	uint64_t pos = off;

	return off < 0 ? -EINVAL : vector(fd, iov, count, &pos, true);
}

/* No flag of these is supported; an offset of -1 means the file's position. */
long sys_preadv2(long fd, long iov, long count, long off, long high, long flags)
{
	(void)high;
	if (flags)
		return -EOPNOTSUPP;
	return off == -1 ? sys_readv(fd, iov, count) : sys_preadv(fd, iov, count, off);
}

long sys_pwritev2(long fd, long iov, long count, long off, long high, long flags)
{
	(void)high;
	if (flags)
		return -EOPNOTSUPP;
	return off == -1 ? sys_writev(fd, iov, count) : sys_pwritev(fd, iov, count, off);
}

long file_pread(int fd, void *dst, size_t n, off_t off)
{
	uint64_t pos = off;
	struct uio u;
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	uio_single(&u, dst, n);
	if (f->node->ops != &ramfs_ops && !(f->node->host && S_ISREG(f->node->mode)) && !dev_maps_zeroes(f))
		err = -ENODEV;
	else
		err = file_reads(f) ? f->ops->read(f, &u, &pos) : -EACCES;
	file_put(f);
	return err;
}

/* ---- position ---- */

static long node_size(struct inode *n, int64_t *size)
{
	long err = n->host ? host_refresh(n) : node_enter(n);

	if (!err) {
		*size = n->size;
		node_leave(n, false);
	}
	return err;
}

/* The file's position, which moves on by so much. */
static long move_pos(struct file *f, uint64_t by, uint64_t *at)
{
	long err = file_pos_enter(f);

	if (err)
		return err;
	f->pos += by;
	*at = f->pos;
	file_pos_leave(f);
	return 0;
}

static long seek_entered(struct file *f, long off, int whence)
{
	int64_t base = 0;
	long at;

	switch (whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		base = f->pos;
		break;
	case SEEK_END:
		at = node_size(f->node, &base);
		if (at)
			return at;
		break;
	case SEEK_DATA:
	case SEEK_HOLE:
		if (off < 0 || f->node->ops != &ramfs_ops)
			return off < 0 ? -ENXIO : -EINVAL;
		at = ramfs_seek(f->node, off, whence == SEEK_DATA);
		if (at >= 0)
			f->pos = at;
		return at;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, off, &at))
		return -EOVERFLOW;
	if (at < 0)
		return -EINVAL;
	f->pos = at;
	return at;
}

static long seek(struct file *f, long off, int whence)
{
	long at = file_pos_enter(f);

	if (!at) {
		at = seek_entered(f, off, whence);
		file_pos_leave(f);
	}
	return at;
}

long sys_lseek(long fd, long off, long whence)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	if (f->ops->stream)
		err = -ESPIPE;
	else if (S_ISCHR(f->node->mode))
		err = whence > SEEK_END || whence < 0 ? -EINVAL : 0;
	else
		err = seek(f, off, (int)whence);
	file_put(f);
	return err;
}

/* ---- from file to file ---- */

/* Through a page of the kernel. Positions as for transfer; what was read but not written is read again. */
static long copy(struct file *in, uint64_t *in_pos, struct file *out, uint64_t *out_pos, size_t n)
{
	char *page = page_alloc(1);
	size_t done = 0;
	long got = 0, put;
	struct uio u;

	if (!page)
		return -ENOMEM;
	while (done < n) {
		uint64_t at = 0;

		got = in_pos ? 0 : move_pos(in, 0, &at);
		if (got)
			break;
		at = in_pos ? *in_pos : at;
		uio_single(&u, page, MIN(n - done, PAGE_SIZE));
		got = transfer(in, &u, &at, false);
		if (got <= 0)
			break;
		uio_single(&u, page, got);
		put = transfer(out, &u, out_pos, true);
		if (put < 0) {
			got = put;
			break;
		}
		done += put;
		if (in_pos)
			*in_pos += put;
		else
			move_pos(in, put, &at);
		if (put < got)
			break;
	}
	page_free(page, 1);
	return done ? (long)done : got;
}

static long offset_in(long user, uint64_t *off)
{
	if (copy_in(off, (void *)user, sizeof(*off)))
		return -EFAULT;
	return (int64_t)*off < 0 ? -EINVAL : 0;
}

static long two_files(long a, long b, struct file **fa, struct file **fb)
{
	long err = file_of(a, fa);

	if (err)
		return err;
	err = file_of(b, fb);
	if (err)
		file_put(*fa);
	return err;
}

long sys_sendfile(long out_fd, long in_fd, long user_off, long n)
{
	struct file *in, *out;
	uint64_t off = 0;
	long err = user_off ? offset_in(user_off, &off) : 0;

	if (!err && n < 0)
		err = -EINVAL;
	if (!err)
		err = two_files(in_fd, out_fd, &in, &out);
	if (err)
		return err;
	if (!file_reads(in) || !file_writes(out))
		err = -EBADF;
	else if (in->ops->stream)
		err = user_off ? -ESPIPE : -EINVAL;
	else if (out->flags & O_APPEND)
		err = -EINVAL;
	else
		err = copy(in, user_off ? &off : NULL, out, NULL, n);
	file_put(in);
	file_put(out);
	if (user_off && err >= 0 && copy_out((void *)user_off, &off, sizeof(off)))
		return -EFAULT;
	return err;
}

static long copy_checks(const struct file *in, uint64_t from, const struct file *out, uint64_t to, size_t n)
{
	if (S_ISDIR(in->node->mode) || S_ISDIR(out->node->mode))
		return -EISDIR;
	if (in->node->ops != &ramfs_ops || out->node->ops != &ramfs_ops)
		return -EINVAL;
	if (!file_reads(in) || !file_writes(out) || out->flags & O_APPEND)
		return -EBADF;
	if (from + n < from || to + n < to)
		return -EOVERFLOW;
	return in->node == out->node && from < to + n && to < from + n ? -EINVAL : 0;
}

long sys_copy_file_range(long in_fd, long in_user, long out_fd, long out_user, long n, long flags)
{
	struct file *in, *out;
	uint64_t from = 0, to = 0;
	long err = flags ? -EINVAL : 0;

	if (!err && in_user)
		err = offset_in(in_user, &from);
	if (!err && out_user)
		err = offset_in(out_user, &to);
	if (!err)
		err = two_files(in_fd, out_fd, &in, &out);
	if (err)
		return err;
	err = copy_checks(in, in_user ? from : in->pos, out, out_user ? to : out->pos, n);
	if (!err)
		err = copy(in, in_user ? &from : NULL, out, out_user ? &to : NULL, n);
	file_put(in);
	file_put(out);
	if (err >= 0 && in_user && copy_out((void *)in_user, &from, sizeof(from)))
		return -EFAULT;
	if (err >= 0 && out_user && copy_out((void *)out_user, &to, sizeof(to)))
		return -EFAULT;
	return err;
}

/* ---- ioctl ---- */

static long set_flag(struct file *f, int flag, long arg)
{
	int on;

	if (copy_in(&on, (void *)arg, sizeof(on)))
		return -EFAULT;
	file_set_flags(f, on ? flag : 0, on ? 0 : flag);
	return 0;
}

static long file_ioctl(struct file *f, unsigned long request, long arg)
{
	long err = f->ops->ioctl ? f->ops->ioctl(f, request, arg) : -ENOTTY;
	uint64_t at;
	int64_t size;
	int n;

	if (err != -ENOTTY)
		return err;
	if (request == FIONBIO)
		return set_flag(f, O_NONBLOCK, arg);
	if (request == FIOASYNC)
		return set_flag(f, O_ASYNC, arg);
	if (request == FIONREAD && f->node->ops == &ramfs_ops) {
		err = move_pos(f, 0, &at);
		if (!err)
			err = node_size(f->node, &size);
		if (err)
			return err;
		n = (int)MIN((uint64_t)size - MIN(at, (uint64_t)size), (uint64_t)INT_MAX);
		return copy_out((void *)arg, &n, sizeof(n));
	}
	return err;
}

long sys_ioctl(long fd, long request, long arg)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	if ((unsigned)request == FIOCLEX || (unsigned)request == FIONCLEX)
		fd_set_cloexec(fd, (unsigned)request == FIOCLEX);
	else
		err = file_ioctl(f, (unsigned)request, arg);
	file_put(f);
	return err;
}

/* fd.c: descriptors and the files behind them. */
#include "file.h"

#include <sys/file.h>
#include <sys/resource.h>

#define FD_LIMIT (1 << 20)

struct slot {
	struct file *file;
	bool cloexec;
};

static struct slot first_slots[16]; /* enough for most; the table grows by kmalloc */
static struct slot *slots = first_slots;
static int slot_count = ARRAY_LEN(first_slots);

/* ---- files ---- */

struct file *file_new(struct inode *n, struct dent *d, const struct file_ops *ops, int flags)
{
	struct file *f = kzalloc(sizeof(*f));

	if (!f) {
		inode_put(n);
		dent_put(d);
		return NULL;
	}
	f->refs = 1;
	f->flags = flags;
	f->node = n;
	f->dent = d;
	f->ops = ops;
	return f;
}

struct file *file_anonymous(const struct file_ops *ops, void *priv, int flags)
{
	struct inode *n = inode_new(0600, FS_ANON);
	struct file *f;

	if (!n)
		return NULL;
	n->nlink = 1;
	f = file_new(n, NULL, ops, flags);
	if (f)
		f->priv = priv;
	return f;
}

struct file *file_get(struct file *f)
{
	f->refs++;
	return f;
}

void file_put(struct file *f)
{
	if (!f || --f->refs)
		return;
	epoll_forget(f);
	file_leave(f);
	if (f->ops && f->ops->close)
		f->ops->close(f);
	inode_put(f->node);
	dent_put(f->dent);
	kfree(f);
}

/* ---- the table ---- */

static struct slot *slot_of(long fd)
{
	int n = (int)fd;

	return n >= 0 && n < slot_count && slots[n].file ? &slots[n] : NULL;
}

long file_of_any(long fd, struct file **f)
{
	struct slot *s = slot_of(fd);

	if (!s)
		return -EBADF;
	*f = file_get(s->file);
	file_refresh(*f);
	return 0;
}

long file_of(long fd, struct file **f)
{
	struct slot *s = slot_of(fd);

	if (!s || s->file->flags & O_PATH)
		return -EBADF;
	*f = file_get(s->file);
	file_refresh(*f);
	return 0;
}

bool fd_holds(int fd, const struct file *f)
{
	struct slot *s = slot_of(fd);

	return s && s->file == f;
}

int fd_next(int fd)
{
	for (; fd < slot_count; fd++)
		if (slots[fd].file)
			return fd;
	return -1;
}

static int limit(void)
{
	return (int)MIN(rlimit_get(RLIMIT_NOFILE), (uint64_t)FD_LIMIT);
}

/* Makes the table reach beyond fd. */
static long grow(int fd)
{
	int n = slot_count;
	struct slot *more;

	while (n <= fd)
		n *= 2;
	if (n == slot_count)
		return 0;
	more = kzalloc(n * sizeof(*more));
	if (!more)
		return -ENOMEM;
	memcpy(more, slots, slot_count * sizeof(*more));
	if (slots != first_slots)
		kfree(slots);
	slots = more;
	slot_count = n;
	return 0;
}

long fd_install(struct file *f, int min, bool cloexec)
{
	int fd = min;
	long err;

	while (fd < slot_count && slots[fd].file)
		fd++;
	err = fd >= limit() ? -EMFILE : grow(fd);
	if (err) {
		file_put(f);
		return err;
	}
	slots[fd] = (struct slot){f, cloexec};
	return fd;
}

long fd_close(long fd)
{
	struct slot *s = slot_of(fd);
	struct file *f;

	if (!s)
		return -EBADF;
	f = s->file;
	s->file = NULL;
	file_put(f);
	return 0;
}

void fd_replace(int fd, struct file *f, bool cloexec)
{
	struct file *gone = slots[fd].file;

	slots[fd] = (struct slot){f, cloexec};
	file_put(gone);
}

void fd_set_cloexec(long fd, bool on)
{
	slot_of(fd)->cloexec = on;
}

/* ---- system calls ---- */

long sys_close(long fd)
{
	return fd_close(fd);
}

long sys_close_range(long first, long last, long flags)
{
	unsigned lo = (unsigned)first, hi = (unsigned)last;

	if (lo > hi || flags & ~4L /* CLOSE_RANGE_CLOEXEC */)
		return -EINVAL;
	if (lo >= (unsigned)slot_count)
		return 0;
	for (int fd = fd_next((int)lo); fd >= 0 && (unsigned)fd <= hi; fd = fd_next(fd + 1)) {
		if (flags)
			slots[fd].cloexec = true;
		else
			fd_close(fd);
	}
	return 0;
}

long sys_dup(long fd)
{
	struct file *f;
	long err = file_of_any(fd, &f);

	return err ? err : fd_install(f, 0, false);
}

static long dup_to(long old, long new, bool cloexec)
{
	struct file *f;
	long err;

	if ((int)new < 0 || (int)new >= limit())
		return -EBADF;
	err = file_of_any(old, &f);
	if (err)
		return err;
	err = grow((int)new);
	if (err) {
		file_put(f);
		return err;
	}
	fd_replace((int)new, f, cloexec);
	return (int)new;
}

long sys_dup2(long old, long new)
{
	if ((int)old == (int)new)
		return slot_of(old) ? (int)new : -EBADF;
	return dup_to(old, new, false);
}

long sys_dup3(long old, long new, long flags)
{
	if (flags & ~(long)O_CLOEXEC || (int)old == (int)new)
		return -EINVAL;
	return dup_to(old, new, flags & O_CLOEXEC);
}

/* Record locks: there is no other process that could hold one. */
static long record_lock(struct file *f, long cmd, long arg)
{
	struct flock lock;

	if (copy_in(&lock, (void *)arg, sizeof(lock)))
		return -EFAULT;
	if (lock.l_whence < SEEK_SET || lock.l_whence > SEEK_END ||
	    (lock.l_type != F_RDLCK && lock.l_type != F_WRLCK && lock.l_type != F_UNLCK))
		return -EINVAL;
	if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
		if (lock.l_type == F_UNLCK)
			return -EINVAL;
		lock.l_type = F_UNLCK;
		return copy_out((void *)arg, &lock, sizeof(lock));
	}
	if ((lock.l_type == F_RDLCK && !file_reads(f)) || (lock.l_type == F_WRLCK && !file_writes(f)))
		return -EBADF;
	return 0;
}

static long add_seals(struct file *f, long seals)
{
	if (!file_writes(f))
		return -EPERM;
	if (f->node->ops != &ramfs_ops || seals & ~0x1fL)
		return -EINVAL;
	if (f->node->seals & F_SEAL_SEAL)
		return -EPERM;
	f->node->seals |= seals;
	return 0;
}

static long file_fcntl(struct file *f, long cmd, long arg)
{
	switch (cmd) {
	case F_GETFL:
		return f->flags;
	case F_SETFL:
		file_set_flags(f, (int)arg & FILE_SETTABLE, FILE_SETTABLE);
		return 0;
	case F_GETLK: case F_SETLK: case F_SETLKW:
	case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
		return record_lock(f, cmd, arg);
	case F_SETOWN:
		f->owner = (int)arg;
		return 0;
	case F_GETOWN:
		return f->owner;
	case F_ADD_SEALS:
		return add_seals(f, arg);
	case F_GET_SEALS:
		return f->node->ops == &ramfs_ops ? (long)f->node->seals : -EINVAL;
	case F_GETPIPE_SZ:
		return S_ISFIFO(f->node->mode) ? 65536 : -EBADF;
	case F_SETPIPE_SZ:
		if (!S_ISFIFO(f->node->mode))
			return -EBADF;
		if ((unsigned)arg > 1U << 31)
			return -EINVAL;
		return (unsigned)arg > 65536 ? -EPERM : 65536; /* Linux gives at least as much as was asked for */
	default:
		return -EINVAL;
	}
}

long sys_fcntl(long fd, long cmd, long arg)
{
	struct slot *s = slot_of(fd);
	struct file *f;
	long err;

	if (!s)
		return -EBADF;
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if ((int)arg < 0 || (int)arg >= limit())
			return -EINVAL;
		return fd_install(file_get(s->file), (int)arg, cmd == F_DUPFD_CLOEXEC);
	case F_GETFD:
		return s->cloexec ? FD_CLOEXEC : 0;
	case F_SETFD:
		s->cloexec = arg & FD_CLOEXEC;
		return 0;
	case F_GETFL:
		file_refresh(s->file);
		return s->file->flags;
	}
	err = file_of(fd, &f);
	if (err)
		return err;
	err = file_fcntl(f, cmd, arg);
	file_put(f);
	return err;
}

long sys_flock(long fd, long op)
{
	int kind = (int)op & ~LOCK_NB;

	if (!slot_of(fd) || slots[(int)fd].file->flags & O_PATH)
		return -EBADF;
	return kind == LOCK_SH || kind == LOCK_EX || kind == LOCK_UN ? 0 : -EINVAL;
}

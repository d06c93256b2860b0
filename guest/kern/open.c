/* open.c: from a path to a file. */
#include "host.h"

#include <sys/mman.h>

/* What a file remembers of the flags it was opened with. */
#define KEPT (~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC))
#define KNOWN                                                                                        \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | \
	 O_ASYNC | O_DIRECT | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE)

const struct file_ops *ops_of(const struct inode *n)
{
	if (n->host && !S_ISDIR(n->mode))
		return n->ops;
	switch (n->mode & S_IFMT) {
	case S_IFDIR:
		return n->host ? &host_dir_ops : &dir_ops;
	case S_IFIFO:
		return n->fs == FS_PIPE ? &pipe_ops : n->fs == FS_ANON ? n->ops : &fifo_ops; /* the console's are FS_ANON */
	case S_IFCHR:
		return dev_ops(n->rdev);
	default:
		return n->ops;
	}
}

/* Makes the missing last component. On the host somebody else may have made it meanwhile. */
static long create(struct walk *w, int flags, mode_t mode)
{
	long err;

	if (w->slash)
		return -EISDIR;
	if (w->parent->node->fs == FS_PROC)
		return -ENOENT;
	mode = S_IFREG | (mode & 07777 & ~file_mask);
	err = w->parent->node->host ? host_create(w->parent, mode, flags, w->name, w->len, &w->dent)
				    : dir_make(w->parent, mode, w->name, w->len, &w->dent);
	if (err == -EEXIST && !(flags & O_EXCL))
		err = dir_lookup(w->parent, w->name, w->len, &w->dent);
	if (!err)
		w->node = inode_get(w->dent->node);
	return err;
}

/* What is there: may it be opened like that? */
static long check(const struct walk *w, int flags)
{
	mode_t mode = w->node->mode;
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if (flags & O_PATH)
		return flags & O_DIRECTORY && !S_ISDIR(mode) ? -ENOTDIR : 0;
	if (flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (S_ISLNK(mode))
		return flags & O_DIRECTORY ? -ENOTDIR : -ELOOP;
	if (S_ISDIR(mode) && (writes || flags & (O_CREAT | O_TRUNC)))
		return -EISDIR;
	if (flags & O_DIRECTORY && !S_ISDIR(mode))
		return -ENOTDIR;
	return 0;
}

/* A file for an inode; takes over both references. */
static long open_inode(struct inode *n, struct dent *d, int flags, struct file **out)
{
	const struct file_ops *ops = flags & O_PATH ? NULL : ops_of(n);
	struct file *f;
	long err = 0;

	if (!ops && !(flags & O_PATH)) {
		inode_put(n);
		dent_put(d);
		return -ENXIO;
	}
	f = file_new(n, d, ops, flags & KEPT);
	if (!f)
		return -ENOMEM;
	if (ops && ops->open)
		err = ops->open(f);
	if (err)
		f->ops = NULL;
	else if (flags & O_TRUNC && !(flags & O_PATH))
		err = n->ops == &ramfs_ops ? ramfs_truncate(n, 0) : n->host ? host_truncate(n, 0) : 0;
	if (err) {
		file_put(f);
		return err;
	}
	*out = f;
	return 0;
}

/* O_TMPFILE: a file in no folder. */
static long open_unnamed(struct walk *w, int flags, mode_t mode, struct file **out)
{
	struct inode *n;

	if (!S_ISDIR(w->node->mode))
		return -ENOTDIR;
	if (w->node->host)
		return -EOPNOTSUPP;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	n = inode_new(S_IFREG | (mode & 07777 & ~file_mask), FS_ROOT);
	if (!n)
		return -ENOSPC;
	n->ops = &ramfs_ops;
	n->seals = F_SEAL_SEAL;
	return open_inode(n, NULL, flags & ~O_TRUNC, out);
}

static long open_walk(long dirfd, long path, int flags, mode_t mode, struct file **out)
{
	bool excl = flags & O_CREAT && flags & O_EXCL;
	bool tmp = (flags & O_TMPFILE) == O_TMPFILE;
	struct walk w;
	long err;

	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	else if (flags & O_CREAT && flags & O_DIRECTORY)
		return -EINVAL;
	err = walk_user(&w, dirfd, path,
		(flags & O_NOFOLLOW || excl ? 0 : WALK_FOLLOW) | (flags & O_CREAT ? WALK_CREATE : 0));
	if (!err && tmp) {
		err = open_unnamed(&w, flags, mode, out);
		walk_end(&w);
		return err;
	}
	if (!err && !w.node) {
		err = create(&w, flags, mode);
		flags &= ~(O_TRUNC | O_EXCL);
	} else if (!err) {
		err = check(&w, flags);
	}
	if (!err) {
		err = open_inode(inode_get(w.node), w.dent ? dent_get(w.dent) : NULL, flags, out);
	}
	walk_end(&w);
	return err;
}

long sys_openat(long dirfd, long path, long flags, long mode)
{
	struct file *f;
	long err = open_walk(dirfd, path, (int)flags & KNOWN, (mode_t)mode, &f);

	return err ? err : fd_install(f, 0, flags & O_CLOEXEC);
}

long sys_open(long path, long flags, long mode)
{
	return sys_openat(AT_FDCWD, path, flags, mode);
}

long sys_creat(long path, long mode)
{
	return sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

long sys_memfd_create(long user_name, long flags)
{
	char name[NAME_MAX - 5] = "memfd:";
	struct inode *n;
	struct dent *d;
	struct file *f;
	long len;

	if (flags & ~(long)(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	len = copy_in_str(name + 6, (const char *)user_name, sizeof(name) - 6);
	if (len < 0)
		return len == -ENAMETOOLONG ? -EINVAL : len;
	n = inode_new(S_IFREG | 0777, FS_ANON);
	if (!n)
		return -ENOMEM;
	n->ops = &ramfs_ops;
	n->seals = flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL;
	d = dent_new(NULL, n, name, 6 + len);
	if (!d) {
		inode_put(n);
		return -ENOMEM;
	}
	d->dead = true;
	f = file_new(n, d, &ramfs_ops, O_RDWR);
	return f ? fd_install(f, 0, flags & MFD_CLOEXEC) : -ENOMEM;
}

long sys_umask(long mask)
{
	mode_t old = file_mask;

	file_mask = mask & 0777;
	return old;
}

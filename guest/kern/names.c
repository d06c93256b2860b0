/* names.c: the system calls that make, move and remove names. */
#include "file.h"

/* The folder and name that a new entry is to have: -EEXIST if it is there. */
static long walk_new(struct walk *w, long dirfd, long path, bool folder)
{
	long err = walk_user(w, dirfd, path, WALK_CREATE | WALK_PARENT);

	if (err)
		return err;
	if (w->node)
		return -EEXIST;
	if (w->slash && !folder)
		return -ENOENT;
	return w->parent->node->fs == FS_PROC ? -ENOENT : 0;
}

long sys_mkdirat(long dirfd, long path, long mode)
{
	struct walk w;
	long err = walk_new(&w, dirfd, path, true);

	if (!err)
		err = dir_make(w.parent, S_IFDIR | (mode & 01777 & ~file_mask), w.name, w.len, NULL);
	walk_end(&w);
	return err;
}

long sys_mkdir(long path, long mode)
{
	return sys_mkdirat(AT_FDCWD, path, mode);
}

long sys_mknodat(long dirfd, long path, long mode, long dev)
{
	struct walk w;
	mode_t type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;
	struct dent *d;
	long err;

	if (type == S_IFDIR)
		return -EPERM;
	if (type != S_IFREG && type != S_IFIFO && type != S_IFCHR)
		return type == S_IFBLK || type == S_IFSOCK ? -EPERM : -EINVAL;
	err = walk_new(&w, dirfd, path, false);
	if (!err)
		err = dir_make(w.parent, type | (mode & 07777 & ~file_mask), w.name, w.len, &d);
	if (!err) {
		d->node->rdev = type == S_IFCHR ? (dev_t)dev : 0;
		dent_put(d);
	}
	walk_end(&w);
	return err;
}

long sys_mknod(long path, long mode, long dev)
{
	return sys_mknodat(AT_FDCWD, path, mode, dev);
}

/* ---- removing ---- */

static long remove_folder(struct walk *w)
{
	if (w->last != LAST_NAME)
		return w->last == LAST_ROOT ? -EBUSY : w->last == LAST_DOT ? -EINVAL : -ENOTEMPTY;
	if (!S_ISDIR(w->node->mode))
		return -ENOTDIR;
	if (w->parent->node->host)
		return host_unlink(w->dent, AT_REMOVEDIR);
	if (w->node->host)
		return -EBUSY;
	if (w->node->fs == FS_PROC || w->node->dir.lookup)
		return w->parent->node->fs == FS_PROC ? -EPERM : -EBUSY;
	if (!dir_is_empty(w->dent))
		return -ENOTEMPTY;
	dir_remove(w->dent);
	return 0;
}

static long remove_file(struct walk *w)
{
	if (w->last != LAST_NAME || S_ISDIR(w->node->mode))
		return -EISDIR;
	if (w->slash)
		return -ENOTDIR;
	if (w->parent->node->fs == FS_PROC)
		return -EPERM;
	if (w->parent->node->host)
		return host_unlink(w->dent, 0);
	dir_remove(w->dent);
	return 0;
}

long sys_unlinkat(long dirfd, long path, long flags)
{
	struct walk w;
	long err;

	if (flags & ~(long)AT_REMOVEDIR)
		return -EINVAL;
	err = walk_user(&w, dirfd, path, WALK_PARENT);
	if (!err)
		err = flags & AT_REMOVEDIR ? remove_folder(&w) : remove_file(&w);
	walk_end(&w);
	return err;
}

long sys_unlink(long path)
{
	return sys_unlinkat(AT_FDCWD, path, 0);
}

long sys_rmdir(long path)
{
	return sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

/* ---- links ---- */

long sys_linkat(long old_dir, long old, long new_dir, long new, long flags)
{
	struct walk from, to;
	long err;

	if (flags & ~(long)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = walk_user(&from, old_dir, old,
		(flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0));
	if (err) {
		walk_end(&from);
		return err;
	}
	err = walk_new(&to, new_dir, new, false);
	if (!err && S_ISDIR(from.node->mode))
		err = -EPERM;
	if (!err && from.node->fs != to.parent->node->fs)
		err = -EXDEV;
	if (!err && from.node->host)
		err = host_link(from.node, to.parent, to.name, to.len);
	else if (!err)
		err = dir_enter(to.parent, from.node, to.name, to.len, NULL);
	walk_end(&to);
	walk_end(&from);
	return err;
}

long sys_link(long old, long new)
{
	return sys_linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

long sys_symlinkat(long target, long dirfd, long path)
{
	struct walk w;
	char *text;
	long err = path_in(target, &text);

	if (err < 0)
		return err;
	if (!*text) {
		kfree(text);
		return -ENOENT;
	}
	err = walk_new(&w, dirfd, path, false);
	if (!err)
		err = dir_make_link(w.parent, text, w.name, w.len);
	walk_end(&w);
	kfree(text);
	return err;
}

long sys_symlink(long target, long path)
{
	return sys_symlinkat(target, AT_FDCWD, path);
}

long sys_readlinkat(long dirfd, long path, long buf, long size)
{
	struct walk w;
	char *text = NULL;
	long err;

	if ((int)size <= 0)
		return -EINVAL;
	err = walk_user(&w, dirfd, path, WALK_EMPTY);
	if (!err && !S_ISLNK(w.node->mode))
		err = w.buf[0] ? -EINVAL : -ENOENT;
	if (!err)
		err = link_text(w.node, &text);
	if (!err) {
		size_t n = MIN(strlen(text), (size_t)(int)size);

		err = copy_out((void *)buf, text, n) ? -EFAULT : (long)n;
	}
	kfree(text);
	walk_end(&w);
	return err;
}

long sys_readlink(long path, long buf, long size)
{
	return sys_readlinkat(AT_FDCWD, path, buf, size);
}

/* ---- renaming ---- */

#define NOREPLACE 1
#define EXCHANGE 2

/* Whether from may take the place of to, which exists. */
static long replaces(const struct walk *from, const struct walk *to)
{
	if (S_ISDIR(from->node->mode)) {
		if (!S_ISDIR(to->node->mode))
			return -ENOTDIR;
		return to->dent != &root_dent && dir_is_empty(to->dent) ? 0 : -ENOTEMPTY;
	}
	return S_ISDIR(to->node->mode) ? -EISDIR : 0;
}

static long rename_checks(const struct walk *from, const struct walk *to, long flags)
{
	if (from->last != LAST_NAME || to->last != LAST_NAME)
		return flags & NOREPLACE && to->last != LAST_NAME ? -EEXIST : -EBUSY;
	if (from->parent->node->fs != to->parent->node->fs)
		return -EXDEV;
	if (from->parent->node->fs == FS_PROC)
		return -EPERM;
	if (!from->parent->node->host && (from->node->host || (to->node && to->node->host)))
		return -EBUSY; /* where a folder of the host is mounted */
	if (to->node && flags & NOREPLACE)
		return -EEXIST;
	if (!to->node && flags & EXCHANGE)
		return -ENOENT;
	if (!S_ISDIR(from->node->mode) && (from->slash || (to->slash && !(flags & EXCHANGE))))
		return -ENOTDIR;
	if (flags & EXCHANGE && to->slash && !S_ISDIR(to->node->mode))
		return -ENOTDIR;
	if (dent_below(to->parent, from->dent))
		return -EINVAL;
	if (to->dent && dent_below(from->parent, to->dent))
		return flags & EXCHANGE ? -EINVAL : -ENOTEMPTY;
	return to->parent->dead ? -ENOENT : 0;
}

static long rename_walked(struct walk *from, struct walk *to, long flags)
{
	long err = rename_checks(from, to, flags);

	if (err || from->node == to->node)
		return err;
	if (from->parent->node->host)
		return flags ? -EINVAL : host_rename(from->dent, to->dent, to->parent, to->name, to->len);
	if (flags & EXCHANGE) {
		dir_swap(from->dent, to->dent);
		return 0;
	}
	if (to->node) {
		err = replaces(from, to);
		if (err)
			return err;
	}
	err = dir_move(from->dent, to->parent, to->name, to->len);
	if (!err && to->node)
		dir_remove(to->dent);
	return err;
}

long sys_renameat2(long old_dir, long old, long new_dir, long new, long flags)
{
	struct walk from, to;
	long err;

	if (flags & ~(long)(NOREPLACE | EXCHANGE) || flags == (NOREPLACE | EXCHANGE))
		return -EINVAL;
	err = walk_user(&from, old_dir, old, WALK_PARENT);
	if (!err) {
		err = walk_user(&to, new_dir, new, WALK_CREATE | WALK_PARENT);
		if (!err)
			err = rename_walked(&from, &to, flags);
		walk_end(&to);
	}
	walk_end(&from);
	return err;
}

long sys_renameat(long old_dir, long old, long new_dir, long new)
{
	return sys_renameat2(old_dir, old, new_dir, new, 0);
}

long sys_rename(long old, long new)
{
	return sys_renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

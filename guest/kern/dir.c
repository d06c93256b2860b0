/* dir.c: reading folders, and the working directory. */
#include "host.h"

#include <dirent.h>

/* ---- getdents64 ---- */

struct listing {
	char *user;
	size_t left, done;
	bool full;
	long err;
};

/* Hands out one entry; next is the position behind it. */
static bool emit(struct listing *l, uint64_t ino, unsigned type, const char *name, size_t len, uint64_t next)
{
	size_t size = (offsetof(struct dirent, d_name) + len + 1 + 7) & ~(size_t)7;
	struct dirent d;

	if (size > l->left) {
		l->full = true;
		return false;
	}
	memset(&d, 0, size);
	d.d_ino = ino;
	d.d_off = next;
	d.d_reclen = size;
	d.d_type = type;
	memcpy(d.d_name, name, len);
	if (copy_out(l->user, &d, size)) {
		l->err = -EFAULT;
		return false;
	}
	l->user += size;
	l->left -= size;
	l->done += size;
	return true;
}

static unsigned type_of(const struct inode *n)
{
	return (n->mode & S_IFMT) >> 12;
}

/* Positions: 0 before ".", 1 before "..", 2 before the first entry, then the cookie of the entry before. */
static void list_dir(struct file *f, struct listing *l)
{
	struct dir *dir = &f->node->dir;
	struct dent *parent = f->dent->parent ? f->dent->parent : f->dent;
	struct list_node *p;
	char name[32];
	uint64_t at;
	int len;

	if (f->pos == 0 && emit(l, f->node->ino, DT_DIR, ".", 1, 1))
		f->pos = 1;
	if (f->pos == 1 && emit(l, parent->node->ino, DT_DIR, "..", 2, 2))
		f->pos = 2;
	for (p = dir->entries.next; p != &dir->entries && !l->full && !l->err; p = p->next) {
		struct dent *d = CONTAINER_OF(p, struct dent, sibling);

		if (d->cookie > f->pos && emit(l, d->node->ino, type_of(d->node), d->name, d->len, d->cookie))
			f->pos = d->cookie;
	}
	/* What comes and goes by itself has positions above all cookies. */
	while (dir->list && !l->full && !l->err) {
		at = f->pos > INT32_MAX ? f->pos - INT32_MAX - 1 : 0;
		len = dir->list(&at, name, sizeof(name));
		if (!len)
			break;
		if (emit(l, ((uint64_t)f->node->ino << 32) + at, DT_UNKNOWN, name, len, at + INT32_MAX + 1))
			f->pos = at + INT32_MAX + 1;
	}
}

/* Positions are the host's, which has "." and ".." too. */
static void list_host(struct file *f, struct listing *l)
{
	struct host_entry e;
	long got;

	while (!l->full && !l->err) {
		size_t before = l->done;

		got = host_list(f, f->pos, MAX(l->left, sizeof(struct dirent)));
		if (got < 0)
			l->err = got;
		if (got <= 0)
			break;
		while (!l->full && !l->err && host_entry(&e))
			if (emit(l, e.ino, e.type, e.name, e.len, e.next))
				f->pos = e.next;
		if (l->done == before && !l->full && !l->err)
			l->err = -EIO;
	}
}

long sys_getdents64(long fd, long buf, long size)
{
	struct listing l = {.user = (char *)buf, .left = (unsigned)size};
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	if (!S_ISDIR(f->node->mode))
		err = -ENOTDIR;
	else if (f->dent->dead)
		err = -ENOENT;
	else
		err = dir_fill(f->dent);
	if (!err) {
		if (f->node->host)
			list_host(f, &l);
		else
			list_dir(f, &l);
		err = l.done ? (long)l.done : l.err ? l.err : l.full ? -EINVAL : 0;
		f->node->atime = real_ns();
	}
	file_put(f);
	return err;
}

static long dir_read(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)f, (void)u, (void)pos;
	return -EISDIR;
}

const struct file_ops dir_ops = {.read = dir_read, .write = dir_read};

/* ---- the working directory ---- */

static long change_dir(struct dent *d, struct inode *n)
{
	if (!S_ISDIR(n->mode))
		return -ENOTDIR;
	dent_get(d);
	dent_put(cwd);
	cwd = d;
	return 0;
}

long sys_chdir(long path)
{
	struct walk w;
	long err = walk_user(&w, AT_FDCWD, path, WALK_FOLLOW);

	if (!err)
		err = change_dir(w.dent, w.node);
	walk_end(&w);
	return err;
}

long sys_fchdir(long fd)
{
	struct file *f;
	long err = file_of_any(fd, &f);

	if (err)
		return err;
	err = change_dir(f->dent, f->node);
	file_put(f);
	return err;
}

long sys_getcwd(long buf, long size)
{
	struct dent *d = cwd ? cwd : &root_dent;
	char *text = kmalloc(PATH_MAX), *path;
	long n;

	if (!text)
		return -ENOMEM;
	path = dent_path(d, text, PATH_MAX);
	n = path ? (long)(text + PATH_MAX - path) : -ENAMETOOLONG;
	if (d->dead)
		n = -ENOENT;
	else if (path && (size_t)n > (size_t)size)
		n = -ERANGE;
	else if (path && copy_out((void *)buf, path, n))
		n = -EFAULT;
	kfree(text);
	return n;
}

/* path.c: following paths. */
#include "file.h"

#define MAX_LINKS 40 /* as Linux */

struct dent *cwd;
mode_t file_mask = 022;

struct dent *cwd_get(void)
{
	return dent_get(cwd ? cwd : &root_dent);
}

long path_in(long user, char **kernel)
{
	long n;

	*kernel = kmalloc(PATH_MAX);
	if (!*kernel)
		return -ENOMEM;
	n = copy_in_str(*kernel, (const char *)user, PATH_MAX);
	if (n >= 0)
		return n;
	kfree(*kernel);
	*kernel = NULL;
	return n;
}

long link_text(const struct inode *n, char **text)
{
	if (n->text) {
		*text = n->text(n);
	} else {
		*text = kmalloc(n->size + 1);
		if (*text)
			memcpy(*text, n->target, n->size + 1);
	}
	return *text ? 0 : -ENOMEM;
}

/* ---- one step ---- */

static void walk_to(struct walk *w, struct dent *d)
{
	inode_put(w->node);
	dent_put(w->dent);
	w->dent = d;
	w->node = d ? inode_get(d->node) : NULL;
}

/* The target goes before what is left of the path; returns where to go on. */
static long splice_target(struct walk *w, const char *target, const char **rest)
{
	size_t n = strlen(target), left = strlen(*rest);
	char *buf;

	if (!n)
		return -ENOENT;
	if (n + left >= PATH_MAX)
		return -ENAMETOOLONG;
	buf = kmalloc(PATH_MAX);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, target, n);
	memcpy(buf + n, *rest, left + 1);
	kfree(w->buf);
	w->buf = buf;
	*rest = buf;
	return 0;
}

/* w->node is a symbolic link in w->parent. Goes where it leads, or puts its target before *rest. */
static long follow(struct walk *w, const char **rest)
{
	struct inode *link = w->node, *node;
	struct dent *dent;
	long err;

	if (link->follow) {
		err = link->follow(link, &node, &dent);
		if (err)
			return err;
		inode_put(w->node);
		dent_put(w->dent);
		w->node = node;
		w->dent = dent;
		return 1;
	}
	err = splice_target(w, link->target, rest);
	walk_to(w, dent_get(**rest == '/' ? &root_dent : w->parent));
	return err;
}

/* From the folder w->node to its entry w->name: w->node is NULL if there is none. */
static long step(struct walk *w)
{
	struct dent *next = NULL;
	long err = 0;

	if (!w->node || !S_ISDIR(w->node->mode))
		return -ENOTDIR;
	if (w->len > NAME_MAX)
		return -ENAMETOOLONG;
	dent_put(w->parent);
	w->parent = dent_get(w->dent);
	w->last = LAST_NAME;
	if (w->len == 1 && w->name[0] == '.') {
		w->last = LAST_DOT;
		next = dent_get(w->dent);
	} else if (w->len == 2 && w->name[0] == '.' && w->name[1] == '.') {
		w->last = LAST_DOTDOT;
		next = dent_get(w->dent->parent ? w->dent->parent : w->dent);
	} else {
		err = dir_lookup(w->dent, w->name, w->len, &next);
	}
	if (err && err != -ENOENT)
		return err;
	walk_to(w, next);
	return 0;
}

static bool follows(const struct walk *w, int flags, bool final)
{
	if (!S_ISLNK(w->node->mode))
		return false;
	return !final || flags & WALK_FOLLOW || (w->slash && !(flags & WALK_PARENT));
}

static long walk_path(struct walk *w, const char *rest, int flags)
{
	int links = 0;
	bool final, slash = false;
	long err;

	w->last = LAST_ROOT;
	w->slash = false;
	for (;;) {
		while (*rest == '/')
			rest++;
		if (!*rest)
			break;
		w->name = rest;
		w->len = strcspn(rest, "/");
		rest += w->len;
		w->slash = *rest == '/';
		final = !rest[strspn(rest, "/")];
		slash = w->slash;
		err = step(w);
		if (err)
			return err;
		if (!w->node)
			return final && flags & WALK_CREATE ? 0 : -ENOENT;
		if (!follows(w, flags, final))
			continue;
		if (++links > MAX_LINKS)
			return -ELOOP;
		err = follow(w, &rest);
		if (err < 0)
			return err;
	}
	if (slash && !(flags & WALK_PARENT) && !S_ISDIR(w->node->mode))
		return -ENOTDIR;
	return 0;
}

/* ---- where paths begin ---- */

static long begin_at(struct walk *w, long dirfd)
{
	struct file *f;
	long err;

	if ((int)dirfd == AT_FDCWD) {
		walk_to(w, cwd_get());
		return 0;
	}
	err = file_of_any(dirfd, &f);
	if (err)
		return err;
	w->node = inode_get(f->node);
	w->dent = f->dent ? dent_get(f->dent) : NULL;
	file_put(f);
	return 0;
}

long walk_user(struct walk *w, long dirfd, long path, int flags)
{
	long err;

	*w = (struct walk){.last = LAST_ROOT};
	err = path_in(path, &w->buf);
	if (err < 0)
		return err;
	if (!w->buf[0])
		return flags & WALK_EMPTY ? begin_at(w, dirfd) : -ENOENT;
	if (w->buf[0] == '/') {
		walk_to(w, dent_get(&root_dent));
	} else {
		err = begin_at(w, dirfd);
		if (err)
			return err;
	}
	return walk_path(w, w->buf, flags);
}

long walk_kernel(struct walk *w, const char *path, int flags)
{
	*w = (struct walk){.last = LAST_ROOT};
	walk_to(w, dent_get(&root_dent));
	return walk_path(w, path, flags);
}

void walk_end(struct walk *w)
{
	inode_put(w->node);
	dent_put(w->dent);
	dent_put(w->parent);
	kfree(w->buf);
}

long walk_node(long dirfd, long path, int at_flags, struct inode **n)
{
	int flags = (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (at_flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
	struct walk w;
	long err = walk_user(&w, dirfd, path, flags);

	if (!err)
		*n = inode_get(w.node);
	walk_end(&w);
	return err;
}

/* hostname.c: names in folders of the host, and where those are mounted. */
#include "host.h"

/* ---- looking ---- */

static struct inode *node_new(mode_t mode, uint32_t mount)
{
	struct inode *n = inode_new(mode, FS_HOST);

	if (!n)
		return NULL;
	n->host = kzalloc(sizeof(*n->host));
	if (!n->host) {
		inode_put(n);
		return NULL;
	}
	n->host->mount = mount;
	n->seals = F_SEAL_SEAL;
	n->ops = S_ISREG(mode) ? &host_ops : NULL;
	return n;
}

static long take_target(struct inode *n)
{
	const char *text;
	size_t len;
	long err;

	p9_begin(P9_READLINK);
	p9_put_fid(&n->host->fid);
	err = p9_call(true);
	if (err)
		return err;
	len = p9_take(2);
	text = p9_piece(len);
	if (!text || len >= PATH_MAX)
		return -EIO;
	n->target = kmalloc(len + 1);
	if (!n->target)
		return -ENOMEM;
	memcpy(n->target, text, len);
	n->target[len] = 0;
	n->size = strlen(n->target);
	return 0;
}

/* The inode of an entry. *out is counted. */
static long try_look(struct dent *dir, const char *name, size_t len, struct inode **out)
{
	struct inode *n;
	struct qid qid;
	struct fid f;
	mode_t mode;
	long err = host_reach(dir->node);

	if (!err)
		err = host_walk(dir->node, name, len, &f, &qid);
	if (err)
		return err;
	mode = qid.type & P9_QID_DIR ? S_IFDIR : qid.type & P9_QID_SYMLINK ? S_IFLNK : S_IFREG;
	n = node_new(mode, dir->node->host->mount);
	if (!n) {
		p9_clunk(&f);
		return -ENOMEM;
	}
	n->host->fid = f;
	err = host_attributes(n);
	if (!err && mode != S_IFREG && (n->mode & S_IFMT) != mode)
		err = -EIO;
	if (err || S_ISDIR(n->mode) != S_ISDIR(mode) || S_ISLNK(n->mode) != S_ISLNK(mode))
		n->mode = mode; /* a union hangs on it */
	if (!S_ISREG(n->mode))
		n->ops = NULL;
	if (!err && S_ISLNK(mode))
		err = take_target(n);
	if (err)
		inode_put(n);
	else
		*out = n;
	return err;
}

/* The name as somebody still has it. */
static struct dent *known(const struct dent *dir, const char *name, size_t len)
{
	struct list_node *head = &dir->node->dir.entries;

	for (struct list_node *p = head->next; p != head; p = p->next) {
		struct dent *d = CONTAINER_OF(p, struct dent, sibling);

		if (d->len == len && !memcmp(d->name, name, len))
			return d;
	}
	return NULL;
}

static void gone(struct dent *d)
{
	if (!d || d->dead)
		return;
	list_del(&d->sibling);
	d->dead = true;
}

void host_unname(struct dent *d)
{
	if (d->sibling.next)
		list_del(&d->sibling);
	if (d->node->host->dent == d)
		d->node->host->dent = NULL;
}

long host_lookup(struct dent *dir, const char *name, size_t len, struct dent **out)
{
	struct inode *n = NULL;
	long err = RETRY(try_look(dir, name, len, &n));
	struct dent *d = known(dir, name, len);

	if (err) {
		if (err == -ENOENT)
			gone(d);
		return err;
	}
	if (d && d->node->ino == n->ino && d->node->host->born == n->host->born && (d->node->mode & S_IFMT) == (n->mode & S_IFMT)) {
		struct inode *old = d->node;

		old->mode = n->mode, old->uid = n->uid, old->gid = n->gid, old->nlink = n->nlink, old->size = n->size, old->rdev = n->rdev;
		old->atime = n->atime, old->mtime = n->mtime, old->ctime = n->ctime, old->host->blocks = n->host->blocks;
		if (!p9_knows(&old->host->fid)) {
			old->host->fid = n->host->fid;
			n->host->fid.server = 0;
		}
		dent_get(d);
	} else {
		gone(d);
		d = dent_new(dir, n, name, len);
		if (d) {
			list_add_tail(&dir->node->dir.entries, &d->sibling);
			n->host->dent = d;
		}
	}
	inode_put(n);
	*out = d;
	return d ? 0 : -ENOMEM;
}

/* ---- making, moving and removing ---- */

static long try_mkdir(struct inode *dir, mode_t mode, const char *name, size_t len)
{
	long err = host_reach(dir);

	if (err)
		return err;
	p9_begin(P9_MKDIR);
	p9_put_fid(&dir->host->fid);
	p9_text(name, len);
	p9_put(mode & 07777, 4);
	p9_put(0, 4);
	return p9_call(false);
}

static long try_create(struct inode *dir, mode_t mode, int flags, const char *name, size_t len, struct fid *f)
{
	long err = host_clone(dir, f);

	if (err)
		return err;
	p9_begin(P9_LCREATE);
	p9_put_fid(f);
	p9_text(name, len);
	p9_put((unsigned)flags, 4);
	p9_put(mode & 07777, 4);
	p9_put(0, 4);
	err = p9_call(false);
	if (err)
		p9_clunk(f);
	return err;
}

long host_create(struct dent *dir, mode_t mode, int flags, const char *name, size_t len, struct dent **out)
{
	struct fid f = {0};
	long err;

	flags &= HOST_OPEN_FLAGS;
	err = RETRY(try_create(dir->node, mode, flags, name, len, &f));
	if (!err)
		err = host_lookup(dir, name, len, out);
	if (err) {
		p9_clunk(&f);
		return err;
	}
	p9_clunk(&(*out)->node->host->made);
	(*out)->node->host->made = f;
	(*out)->node->host->made_flags = flags;
	return 0;
}

long host_make(struct dent *dir, mode_t mode, const char *name, size_t len, struct dent **out)
{
	struct dent *d;
	long err;

	if (S_ISREG(mode))
		err = host_create(dir, mode, O_WRONLY, name, len, &d);
	else if (S_ISDIR(mode))
		err = RETRY(try_mkdir(dir->node, mode, name, len));
	else
		return -EPERM;
	if (!err && S_ISDIR(mode))
		err = out ? host_lookup(dir, name, len, out) : 0;
	else if (!err) {
		p9_clunk(&d->node->host->made);
		if (out)
			*out = d;
		else
			dent_put(d);
	}
	return err;
}

static long try_symlink(struct inode *dir, const char *target, const char *name, size_t len)
{
	long err = host_reach(dir);

	if (err)
		return err;
	p9_begin(P9_SYMLINK);
	p9_put_fid(&dir->host->fid);
	p9_text(name, len);
	p9_text(target, strlen(target));
	p9_put(0, 4);
	return p9_call(false);
}

long host_symlink(struct dent *dir, const char *target, const char *name, size_t len)
{
	return RETRY(try_symlink(dir->node, target, name, len));
}

static long try_link(struct inode *n, struct inode *dir, const char *name, size_t len)
{
	long err = host_reach(n);

	if (!err)
		err = host_reach(dir);
	if (err)
		return err;
	p9_begin(P9_LINK);
	p9_put_fid(&dir->host->fid);
	p9_put_fid(&n->host->fid);
	p9_text(name, len);
	return p9_call(false);
}

long host_link(struct inode *n, struct dent *dir, const char *name, size_t len)
{
	if (n->host->mount != dir->node->host->mount)
		return -EXDEV;
	return RETRY(try_link(n, dir->node, name, len));
}

static long try_unlink(struct inode *dir, const char *name, size_t len, int flags)
{
	long err = host_reach(dir);

	if (err)
		return err;
	p9_begin(P9_UNLINKAT);
	p9_put_fid(&dir->host->fid);
	p9_text(name, len);
	p9_put((unsigned)flags, 4);
	return p9_call(false);
}

long host_unlink(struct dent *d, int flags)
{
	long err = RETRY(try_unlink(d->parent->node, d->name, d->len, flags));

	if (!err)
		gone(d);
	return err;
}

static long try_rename(struct dent *d, struct inode *dir, const char *name, size_t len)
{
	long err = host_reach(d->parent->node);

	if (!err)
		err = host_reach(dir);
	if (err)
		return err;
	p9_begin(P9_RENAMEAT);
	p9_put_fid(&d->parent->node->host->fid);
	p9_text(d->name, d->len);
	p9_put_fid(&dir->host->fid);
	p9_text(name, len);
	return p9_call(false);
}

/* Who has d open, or is in it, finds it by its new name. */
static void renamed(struct dent *d, struct dent *dir, const char *name, size_t len)
{
	struct dent *from = d->parent;
	char *copy = kmalloc(len + 1);

	list_del(&d->sibling);
	if (!copy) {
		d->dead = true;
		return;
	}
	memcpy(copy, name, len);
	copy[len] = 0;
	kfree(d->name);
	d->name = copy;
	d->len = len;
	d->parent = dent_get(dir);
	list_add_tail(&dir->node->dir.entries, &d->sibling);
	dent_put(from);
}

long host_rename(struct dent *d, struct dent *replaced, struct dent *dir, const char *name, size_t len)
{
	long err;

	if (d->node->host->mount != dir->node->host->mount)
		return -EXDEV;
	err = RETRY(try_rename(d, dir->node, name, len));
	if (err || (replaced && replaced->node->ino == d->node->ino)) /* two names of one file stay */
		return err;
	gone(replaced);
	renamed(d, dir, name, len);
	return 0;
}

/* ---- mounting ---- */

static long mount_one(struct dent *root, const char *path, uint32_t number)
{
	struct dent *parent, *d = NULL;
	struct inode *n;
	const char *name;
	size_t len;
	long err = make_parents(root, path, &parent, &name, &len);

	if (err)
		return err;
	err = len ? dir_lookup(parent, name, len, &d) : -EINVAL;
	if (!err && !S_ISDIR(d->node->mode))
		err = -ENOTDIR;
	else if (!err)
		dir_remove(d);
	dent_put(d);
	n = err && err != -ENOENT ? NULL : node_new(S_IFDIR | 0755, number);
	if (n) {
		n->host->top = true;
		err = dir_enter(parent, n, name, len, &n->host->dent);
		if (!err)
			dent_put(n->host->dent); /* its folder has it */
		inode_put(n);
	}
	dent_put(parent);
	return err;
}

void host_mounts(struct dent *root)
{
	const char *p = (const char *)KX_ARGS_VA, *end = p + KX_FILES_VA - KX_ARGS_VA;
	uint32_t skip = control->argc + control->envc, mounts = MIN(control->files.mounts, KX_MOUNTS);
	long err;

	for (uint32_t i = 0; i < skip + mounts; i++) {
		const char *path = p;

		while (p < end && *p)
			p++;
		if (p == end)
			break;
		p++;
		if (i < skip)
			continue;
		err = mount_one(root, path, i - skip);
		if (err)
			panic("-v: cannot mount at %s: %s", path, err == -ENOTDIR ? "it is a file, or below one" : "no memory");
	}
}

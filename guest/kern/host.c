/* host.c: names and inodes of folders of the host. */
#include "host.h"

#include <sys/statfs.h>

#define AVAILABLE 0x7ff /* P9_GETATTR_BASIC */
#define NO_FID 0xffffffffU

/* What the server says of an entry. */
struct qid {
	uint8_t type;
	uint32_t born;
	uint64_t ino;
};

/* ---- reaching ---- */

static void put_fid(const struct fid *f)
{
	p9_put(f->number, 4);
}

/* From dir to its entry, or with len 0 to itself; *f is its fid. */
static long walk(struct inode *dir, const char *name, size_t len, struct fid *f, struct qid *qid)
{
	struct fid to = p9_fid(dir->host->fid.server);
	long err;

	p9_begin(P9_WALK);
	put_fid(&dir->host->fid);
	put_fid(&to);
	p9_put(len ? 1 : 0, 2);
	if (len)
		p9_text(name, len);
	err = p9_call(true);
	if (err)
		return err;
	if (p9_take(2) != (len ? 1 : 0))
		return len ? -ENOENT : -EIO;
	if (len) {
		qid->type = p9_take(1);
		qid->born = p9_take(4);
		qid->ino = p9_take(8);
	}
	*f = to;
	return 0;
}

static long attach(struct inode *top, uint32_t server)
{
	char name[12];
	long err;

	top->host->fid = p9_fid(server);
	ksnprintf(name, sizeof(name), "%u", top->host->mount);
	p9_begin(P9_ATTACH);
	put_fid(&top->host->fid);
	p9_put(NO_FID, 4);
	p9_text("", 0);
	p9_text(name, strlen(name));
	p9_put(NO_FID, 4);
	err = p9_call(true);
	if (err)
		top->host->fid.server = 0;
	return err;
}

/* What the name leads to is what it led to, or its file has been replaced: ESTALE, as with NFS. */
static long find_again(struct inode *n)
{
	struct dent *d = n->host->dent;
	struct qid qid;
	struct fid f;
	long err;

	if (!d || d->dead)
		return -ESTALE;
	err = walk(d->parent->node, d->name, d->len, &f, &qid);
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	if (qid.ino != n->ino || qid.born != n->host->born || !(qid.type & P9_QID_DIR) != !S_ISDIR(n->mode)) {
		p9_clunk(&f);
		return -ESTALE;
	}
	n->host->fid = f;
	return 0;
}

/* With an engine that is new, and in a child, folders on the way are found again first, from the topmost on. */
long host_reach(struct inode *n)
{
	while (!p9_knows(&n->host->fid)) {
		struct inode *on = n;
		uint32_t server;
		long err = p9_server(&server);

		if (err)
			return err;
		while (!on->host->top && on->host->dent && !p9_knows(&on->host->dent->parent->node->host->fid))
			on = on->host->dent->parent->node;
		err = on->host->top ? attach(on, server) : find_again(on);
		if (err)
			return err;
	}
	return 0;
}

long host_clone(struct inode *n, struct fid *f)
{
	long err = host_reach(n);

	return err ? err : walk(n, NULL, 0, f, NULL);
}

void host_forget(struct inode *n)
{
	p9_clunk(&n->host->fid);
	p9_clunk(&n->host->made);
	kfree(n->host);
}

/* ---- attributes ---- */

static int64_t take_time(void)
{
	int64_t sec = (int64_t)p9_take(8), ns = (int64_t)p9_take(8);

	if (sec > INT64_MAX / NSEC - 1 || sec < INT64_MIN / NSEC + 1)
		return 0;
	return sec * NSEC + ns;
}

/* Of what n->host->fid is. */
static long attributes(struct inode *n)
{
	long err;

	p9_begin(P9_GETATTR);
	put_fid(&n->host->fid);
	p9_put(AVAILABLE, 8);
	err = p9_call(true);
	if (err)
		return err;
	p9_take(8); /* which are valid: all */
	p9_take(1);
	n->host->born = p9_take(4);
	n->ino = p9_take(8);
	n->mode = (mode_t)p9_take(4);
	n->uid = (uid_t)p9_take(4);
	n->gid = (gid_t)p9_take(4);
	n->nlink = (uint32_t)p9_take(8);
	n->rdev = p9_take(8);
	n->size = MIN(p9_take(8), (uint64_t)INT64_MAX);
	p9_take(8);
	n->host->blocks = p9_take(8);
	n->atime = take_time();
	n->mtime = take_time();
	n->ctime = take_time();
	return p9_bad() ? -EIO : 0;
}

static long try_refresh(struct inode *n)
{
	mode_t was = n->mode & S_IFMT;
	long err = host_reach(n);

	if (!err)
		err = attributes(n);
	n->mode = (n->mode & ~S_IFMT) | was; /* a union hangs on it */
	return err;
}

long host_refresh(struct inode *n)
{
	return n->host ? RETRY(try_refresh(n)) : 0;
}

static long try_set(struct inode *n, const struct host_set *s)
{
	long err = host_reach(n);

	if (err)
		return err;
	p9_begin(P9_SETATTR);
	put_fid(&n->host->fid);
	p9_put(s->valid, 4);
	p9_put(s->mode, 4);
	p9_put(s->uid, 4);
	p9_put(s->gid, 4);
	p9_put(s->size, 8);
	p9_put((uint64_t)s->times[0].tv_sec, 8);
	p9_put((uint64_t)s->times[0].tv_nsec, 8);
	p9_put((uint64_t)s->times[1].tv_sec, 8);
	p9_put((uint64_t)s->times[1].tv_nsec, 8);
	return p9_call(true);
}

long host_set(struct inode *n, const struct host_set *s)
{
	return RETRY(try_set(n, s));
}

long host_truncate(struct inode *n, uint64_t size)
{
	return S_ISREG(n->mode) ? host_set(n, &(struct host_set){.valid = HOST_SIZE, .size = size}) : -EINVAL;
}

long host_times(struct inode *n, const struct timespec ts[2])
{
	static const uint32_t now[2] = {HOST_ATIME, HOST_MTIME}, given[2] = {HOST_ATIME_SET, HOST_MTIME_SET};
	struct host_set s = {.times = {ts[0], ts[1]}};

	for (int i = 0; i < 2; i++) {
		if (ts[i].tv_nsec == UTIME_OMIT)
			continue;
		s.valid |= now[i];
		if (ts[i].tv_nsec == UTIME_NOW)
			continue;
		if (ts[i].tv_nsec < 0 || ts[i].tv_nsec >= NSEC)
			return -EINVAL;
		s.valid |= given[i];
	}
	return s.valid ? host_set(n, &s) : 0;
}

static long try_statfs(struct inode *n, struct statfs *s)
{
	long err = host_reach(n);

	if (err)
		return err;
	p9_begin(P9_STATFS);
	put_fid(&n->host->fid);
	err = p9_call(true);
	if (err)
		return err;
	s->f_type = p9_take(4);
	s->f_bsize = s->f_frsize = p9_take(4);
	s->f_blocks = p9_take(8);
	s->f_bfree = p9_take(8);
	s->f_bavail = p9_take(8);
	s->f_files = p9_take(8);
	s->f_ffree = p9_take(8);
	p9_take(8);
	s->f_namelen = p9_take(4);
	return p9_bad() ? -EIO : 0;
}

long host_statfs(struct inode *n, struct statfs *s)
{
	return RETRY(try_statfs(n, s));
}

/* ---- names ---- */

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
	put_fid(&n->host->fid);
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
		err = walk(dir->node, name, len, &f, &qid);
	if (err)
		return err;
	mode = qid.type & P9_QID_DIR ? S_IFDIR : qid.type & P9_QID_SYMLINK ? S_IFLNK : S_IFREG;
	n = node_new(mode, dir->node->host->mount);
	if (!n) {
		p9_clunk(&f);
		return -ENOMEM;
	}
	n->host->fid = f;
	err = attributes(n);
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

		old->mode = n->mode, old->uid = n->uid, old->gid = n->gid, old->nlink = n->nlink, old->size = n->size;
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
	put_fid(&dir->host->fid);
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
	put_fid(f);
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
	put_fid(&dir->host->fid);
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
	put_fid(&dir->host->fid);
	put_fid(&n->host->fid);
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
	put_fid(&dir->host->fid);
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
	put_fid(&d->parent->node->host->fid);
	p9_text(d->name, d->len);
	put_fid(&dir->host->fid);
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

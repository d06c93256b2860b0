/* host.c: how the server is told what is meant in folders of the host, and what it says of that. */
#include "host.h"

#include <sys/statfs.h>

#define AVAILABLE 0x7ff /* P9_GETATTR_BASIC */
#define NO_FID 0xffffffffU

/* ---- reaching ---- */

long host_walk(struct inode *dir, const char *name, size_t len, struct fid *f, struct qid *qid)
{
	struct fid to = p9_fid(dir->host->fid.server);
	long err;

	p9_begin(P9_WALK);
	p9_put_fid(&dir->host->fid);
	p9_put_fid(&to);
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
	p9_put_fid(&top->host->fid);
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
	err = host_walk(d->parent->node, d->name, d->len, &f, &qid);
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

	return err ? err : host_walk(n, NULL, 0, f, NULL);
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

long host_attributes(struct inode *n)
{
	long err;

	p9_begin(P9_GETATTR);
	p9_put_fid(&n->host->fid);
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
		err = host_attributes(n);
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
	p9_put_fid(&n->host->fid);
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
	p9_put_fid(&n->host->fid);
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

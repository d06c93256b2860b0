/* hostfile.c: open files and folders of the host. */
#include "host.h"

struct hostfile {
	struct fid fid;
	int flags; /* with which the server has opened it */
};

static void put_file(const struct file *f)
{
	p9_put_fid(&((struct hostfile *)f->priv)->fid);
}

/* The file is open at the server that there is, with the flags that it has now. */
static long ready(struct file *f)
{
	struct hostfile *h = f->priv;
	int flags = S_ISDIR(f->node->mode) ? O_RDONLY | O_DIRECTORY : f->flags & HOST_OPEN_FLAGS;
	long err;

	if (p9_knows(&h->fid) && h->flags == flags)
		return 0;
	p9_clunk(&h->fid);
	err = host_clone(f->node, &h->fid);
	if (err)
		return err;
	p9_begin(P9_LOPEN);
	p9_put_fid(&h->fid);
	p9_put((unsigned)flags, 4);
	err = p9_call(true);
	if (err)
		p9_clunk(&h->fid);
	h->flags = flags;
	return err;
}

static long host_open(struct file *f)
{
	struct host *n = f->node->host;
	struct hostfile *h = kzalloc(sizeof(*h));
	long err;

	if (!h)
		return -ENOMEM;
	h->fid = n->made;
	h->flags = n->made_flags;
	n->made.server = 0;
	f->priv = h;
	err = RETRY(ready(f));
	if (err)
		kfree(h);
	return err;
}

static void host_close(struct file *f)
{
	struct hostfile *h = f->priv;

	p9_clunk(&h->fid);
	kfree(h);
}

/* ---- bytes ---- */

static long try_read(struct file *f, uint64_t at, size_t n, const void **data)
{
	long err = ready(f), got;

	if (err)
		return err;
	p9_begin(P9_READ);
	put_file(f);
	p9_put(at, 8);
	p9_put(n, 4);
	err = p9_call(true);
	if (err)
		return err;
	got = (long)p9_take(4);
	*data = p9_piece(got);
	return *data && (size_t)got <= n ? got : -EIO;
}

static long host_read(struct file *f, struct uio *u, uint64_t *pos)
{
	long done = 0, got, out;
	const void *data = NULL;

	while (u->left) {
		size_t want = MIN(u->left, (size_t)P9_DATA_MAX);

		got = RETRY(try_read(f, *pos, want, &data));
		if (got < 0)
			return done ? done : got;
		out = uio_out(u, data, got);
		if (out < 0)
			return done ? done : out;
		*pos += out;
		done += out;
		if ((size_t)out < want)
			break;
	}
	return done;
}

/* What goes to the end of the file must not go there twice, so an engine that dies meanwhile is an error. */
static long try_write(struct file *f, struct uio *u, uint64_t at, size_t n)
{
	struct uio from = *u;
	uint8_t *room;
	long err = ready(f), in;

	if (err)
		return err;
	p9_begin(P9_WRITE);
	put_file(f);
	p9_put(at, 8);
	room = p9_room();
	in = uio_in(u, room + 4, n);
	if (in < 0)
		return in;
	p9_put(in, 4);
	p9_skip(in);
	err = p9_call(!(f->flags & O_APPEND));
	if (err)
		*u = from;
	else
		err = MIN((long)p9_take(4), in);
	return err;
}

static long host_write(struct file *f, struct uio *u, uint64_t *pos)
{
	long done = 0, put;

	while (u->left) {
		size_t want = MIN(u->left, (size_t)P9_DATA_MAX);

		put = RETRY(try_write(f, u, *pos, want));
		if (put <= 0)
			return done ? done : put;
		*pos += put;
		done += put;
		if ((size_t)put < want)
			break;
	}
	if (done && f->flags & O_APPEND && !host_refresh(f->node))
		*pos = f->node->size;
	return done;
}

static long try_sync(struct file *f, bool data)
{
	long err = ready(f);

	if (err)
		return err;
	p9_begin(P9_FSYNC);
	put_file(f);
	p9_put(data, 4);
	return p9_call(true);
}

long host_sync(struct file *f, bool data)
{
	return RETRY(try_sync(f, data));
}

/* Position and flags are the family's; each member opens the file at its own server. */
static long host_share(struct file *f)
{
	(void)f;
	return 0;
}

const struct file_ops host_ops = {.read = host_read, .write = host_write, .open = host_open, .close = host_close, .share = host_share};

/* ---- folders ---- */

static long try_list(struct file *f, uint64_t from, size_t max)
{
	long err = ready(f);

	if (err)
		return err;
	p9_begin(P9_READDIR);
	put_file(f);
	p9_put(from, 8);
	p9_put(max, 4);
	err = p9_call(true);
	return err ? err : (long)p9_take(4);
}

long host_list(struct file *f, uint64_t from, size_t max)
{
	return RETRY(try_list(f, from, MIN(max, (size_t)P9_DATA_MAX)));
}

bool host_entry(struct host_entry *e)
{
	p9_take(1);
	p9_take(4);
	e->ino = p9_take(8);
	e->next = p9_take(8);
	e->type = (unsigned)p9_take(1);
	e->len = p9_take(2);
	e->name = p9_piece(e->len);
	return !p9_bad() && e->len <= NAME_MAX;
}

static long no_bytes(struct file *f, struct uio *u, uint64_t *pos)
{
	(void)f, (void)u, (void)pos;
	return -EISDIR;
}

const struct file_ops host_dir_ops = {.read = no_bytes, .write = no_bytes, .open = host_open, .close = host_close};

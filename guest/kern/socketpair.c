/*
 * socketpair.c: connected pairs of local sockets: two queues, crosswise, of bytes or of messages. Sockets of datagrams do not
 * hear of the other's end.
 */
#include "pairopt.h"
#include "pipe.h"
#include "process.h"

#include <sys/ioctl.h>

#define SOCK_TYPE_MASK 0xf /* as Linux */

struct channel {
	int type; /* SOCK_* */
	struct pipe *in, *out;
	struct inode *peer; /* counted: what happens here, the other side polls */
	struct queues *both;
	struct pair_options opt;
	struct ucred maker; /* SO_PEERCRED, as of socketpair */
};

/* What the two ends share. */
struct queues {
	struct pipe *pipe[2];
	int refs;
};

static void queues_put(struct queues *q)
{
	if (--q->refs)
		return;
	pipe_free(q->pipe[0]);
	pipe_free(q->pipe[1]);
	kfree(q);
}

/* ---- moving ---- */

/* How long one call may wait. flags: MSG_DONTWAIT. */
static int64_t until(const struct file *f, long flags, int64_t timeout)
{
	if (f->flags & O_NONBLOCK || flags & MSG_DONTWAIT)
		return 0;
	return timeout == FOREVER ? FOREVER : deadline_after(timeout);
}

/* The other end was closed before everything was read that we had sent; said once. */
static bool was_reset(struct channel *c)
{
	return c->type != SOCK_DGRAM && pipe_reset(c->out, c->peer);
}

/* *size: of the message, or bytes moved. As on Linux, a reset comes behind the bytes that are there, but before messages. */
static long channel_get(struct file *f, struct uio *u, int64_t until, bool peek, size_t *size)
{
	struct channel *c = f->priv;
	long got;

	if (c->type == SOCK_STREAM) {
		got = pipe_get(c->in, c->peer, u, until, peek);
		*size = (size_t)MAX(got, 0L);
		return !got && !pipe_used(c->in) && was_reset(c) ? -ECONNRESET : got;
	}
	if (was_reset(c))
		return -ECONNRESET;
	got = pipe_get_message(c->in, c->peer, u, until, peek, size);
	return !got && !*size && was_reset(c) ? -ECONNRESET : got;
}

static long channel_put(struct file *f, struct uio *u, int64_t until, bool quiet)
{
	struct channel *c = f->priv;
	long done;

	if (c->type == SOCK_STREAM)
		return pipe_put(c->out, c->peer, u, until, quiet);
	if (was_reset(c))
		return -ECONNRESET;
	done = pipe_put_message(c->out, c->peer, u, until);
	return done == -EPIPE && c->type == SOCK_DGRAM && !c->out->shut ? -ECONNREFUSED : done;
}

static long socket_read(struct file *f, struct uio *u, uint64_t *pos)
{
	const struct channel *c = f->priv;
	size_t size;

	(void)pos;
	return u->left ? channel_get(f, u, until(f, 0, c->opt.rcvtimeo), false, &size) : 0;
}

static long socket_write(struct file *f, struct uio *u, uint64_t *pos)
{
	const struct channel *c = f->priv;

	(void)pos;
	return channel_put(f, u, until(f, 0, c->opt.sndtimeo), false);
}

static int socket_poll(struct file *f)
{
	const struct channel *c = f->priv;
	int in = pipe_state(c->in, true, false), out = pipe_state(c->out, false, true), state;
	bool sends = c->type == SOCK_DGRAM ? !(c->out->shut & PIPE_SHUT_WRITER) : !(out & POLLERR);

	state = (in & (POLLIN | POLLRDNORM)) | (out & (POLLOUT | POLLWRNORM));
	if (in & POLLHUP)
		state |= POLLIN | POLLRDNORM | POLLRDHUP;
	if (in & POLLHUP && !sends)
		state |= POLLHUP;
	if (out & POLLERR)
		state |= POLLOUT | POLLWRNORM;
	return c->type != SOCK_DGRAM && pipe_abandoned(c->out) ? state | POLLERR : state;
}

static long socket_ioctl(struct file *f, unsigned long request, long arg)
{
	const struct channel *c = f->priv;
	int n;

	if (request != FIONREAD)
		return -ENOTTY;
	n = (int)(c->type == SOCK_STREAM ? pipe_used(c->in) : pipe_messages(c->in, c->type == SOCK_DGRAM));
	return copy_out((void *)arg, &n, sizeof(n));
}

static void socket_close(struct file *f)
{
	struct channel *c = f->priv;

	pipe_ends(c->in, c->peer, -1, 0);
	pipe_ends(c->out, c->peer, 0, -1);
	queues_put(c->both);
	inode_put(c->peer);
	kfree(c);
}

static long socket_share(struct file *f)
{
	const struct channel *c = f->priv;
	long err = pipe_share(c->in, f->node, c->peer);

	return err ? err : pipe_share(c->out, c->peer, f->node);
}

static long socket_open(struct file *f)
{
	(void)f;
	return -ENXIO;
}

static long channel_shutdown(struct file *f, int how)
{
	struct channel *c = f->priv;

	if (how != SHUT_WR)
		pipe_shut(c->in, c->peer, PIPE_SHUT_READER);
	if (how != SHUT_RD)
		pipe_shut(c->out, c->peer, PIPE_SHUT_WRITER);
	return 0;
}

static long channel_send(struct file *f, struct message *m)
{
	const struct channel *c = f->priv;

	if (m->namelen)
		return -EISCONN;
	if (m->flags & ~(long)(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR))
		return -EOPNOTSUPP;
	return channel_put(f, m->u, until(f, m->flags, c->opt.sndtimeo), m->flags & MSG_NOSIGNAL);
}

static long channel_receive(struct file *f, struct message *m)
{
	const struct channel *c = f->priv;
	bool stream = c->type == SOCK_STREAM, peek = m->flags & MSG_PEEK;
	int64_t end = until(f, m->flags, c->opt.rcvtimeo);
	long done = 0, got;
	size_t size;

	if (m->flags & ~(long)(MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC | MSG_PEEK | MSG_TRUNC))
		return -EOPNOTSUPP;
	do {
		got = channel_get(f, m->u, end, peek, &size);
		if (got >= 0 && (size_t)got < size)
			m->out = MSG_TRUNC;
		if (got >= 0 && m->flags & MSG_TRUNC)
			got = (long)size;
		if (got <= 0)
			return done ? done : got;
		done += got;
	} while (stream && m->flags & MSG_WAITALL && !peek && m->u->left);
	return done;
}

static long channel_set(struct file *f, long level, long name, const union sockopt *v)
{
	struct channel *c = f->priv;

	(void)level;
	return pair_set(&c->opt, name, v);
}

static long channel_option(struct file *f, long level, long name, union sockopt *v)
{
	struct channel *c = f->priv;

	(void)level;
	switch (name) {
	case SO_TYPE: v->n = c->type; return 0;
	case SO_ERROR: v->n = was_reset(c) ? ECONNRESET : 0; return 0;
	case SO_PEERCRED: v->cred = c->maker; return 0;
	default: return pair_get(&c->opt, name, v);
	}
}

static const struct socket_ops channel_ops = {
	.send = channel_send, .receive = channel_receive, .shutdown = channel_shutdown, .set = channel_set, .get = channel_option,
};

static const struct file_ops socket_ops = {
	.name = "socket",
	.read = socket_read,
	.write = socket_write,
	.poll = socket_poll,
	.ioctl = socket_ioctl,
	.open = socket_open,
	.close = socket_close,
	.share = socket_share,
	.socket = &channel_ops,
	.stream = true,
};

/* ---- making them ---- */

static struct file *new_end(struct queues *q, int type, int side, int flags)
{
	struct channel *c = kzalloc(sizeof(*c));
	struct file *f;

	if (!c)
		return NULL;
	f = file_anonymous(&socket_ops, c, O_RDWR | flags);
	if (!f) {
		kfree(c);
		return NULL;
	}
	f->node->mode = S_IFSOCK | 0777;
	c->type = type;
	c->maker = (struct ucred){own_pid, effective_uid(), effective_gid()};
	pair_options_init(&c->opt);
	c->in = q->pipe[side];
	c->out = q->pipe[!side];
	c->both = q;
	q->refs++;
	pipe_ends(c->in, f->node, 1, 0);
	pipe_ends(c->out, f->node, 0, 1);
	return f;
}

static void meet(struct file *a, struct file *b)
{
	struct channel *ca = a->priv, *cb = b->priv;

	ca->peer = inode_get(b->node);
	cb->peer = inode_get(a->node);
}

long sys_socketpair(long domain, long type, long protocol, long user)
{
	int kind = (int)type & SOCK_TYPE_MASK, flags = (int)type & SOCK_NONBLOCK ? O_NONBLOCK : 0;
	struct queues *q;
	struct file *a, *b;

	if (type & ~(long)(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	if (domain != AF_UNIX)
		return -EAFNOSUPPORT;
	if (protocol && protocol != AF_UNIX)
		return -EPROTONOSUPPORT;
	if (kind == SOCK_RAW) /* as Linux */
		kind = SOCK_DGRAM;
	if (kind != SOCK_STREAM && kind != SOCK_DGRAM && kind != SOCK_SEQPACKET)
		return -ESOCKTNOSUPPORT;
	q = kzalloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->refs = 1;
	q->pipe[0] = pipe_new();
	q->pipe[1] = pipe_new();
	a = q->pipe[0] && q->pipe[1] ? new_end(q, kind, 0, flags) : NULL;
	b = a ? new_end(q, kind, 1, flags) : NULL;
	if (!b) {
		if (a)
			((struct channel *)a->priv)->peer = inode_get(a->node);
		file_put(a);
		queues_put(q);
		return -ENOMEM;
	}
	q->pipe[0]->endless = q->pipe[1]->endless = kind == SOCK_DGRAM;
	meet(a, b);
	queues_put(q);
	return install_pair(a, b, type & SOCK_CLOEXEC ? O_CLOEXEC : 0, user);
}

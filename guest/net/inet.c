/* inet.c: sockets of AF_INET as files, and the system calls that only they have: net_NAME is sys_NAME of others. */
#include "sock.h"

#include "net.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#define SOCK_TYPE_MASK 0xf /* as Linux */
/* Ports that nobody asked for by number, as Linux. */
#define PORT_FIRST 32768
#define PORT_LAST 60999
#define PORTS (PORT_LAST - PORT_FIRST + 1)

struct list_node socks = {&socks, &socks};

/* ---- the things themselves ---- */

struct sock *sock_new(int type)
{
	struct sock *s = kzalloc(sizeof(*s));

	if (!s)
		return NULL;
	s->type = type;
	s->local.sin_family = AF_INET;
	list_init(&s->datagrams);
	list_init(&s->unaccepted);
	waitq_init(&s->q);
	options_init(&s->opt);
	list_add_tail(&socks, &s->all);
	return s;
}

void sock_free(struct sock *s)
{
	struct pbuf *next;

	for (struct pbuf *p = s->came; p; p = next) {
		next = p->next;
		p->next = NULL;
		pbuf_free(p);
	}
	list_del(&s->all);
	kfree(s);
}

void sock_event(struct sock *s)
{
	wake_all(&s->q);
	if (s->node)
		inode_event(s->node);
}

long sock_error(struct sock *s)
{
	int error = s->error;

	s->error = 0;
	return -error;
}

struct sock *sock_at(const struct file *f)
{
	return f->priv;
}

long sock_of(long fd, struct file **f, struct sock **s)
{
	long err = file_of(fd, f);

	if (err)
		return err;
	*s = (*f)->priv;
	if ((*f)->ops == &inet_ops)
		return 0;
	err = (*f)->ops->socket ? -EOPNOTSUPP : -ENOTSOCK;
	file_put(*f);
	return err;
}

long sock_wait(struct sock *s, bool nonblock, int64_t deadline)
{
	long err;

	if (nonblock)
		return -EAGAIN;
	err = wait_on(&s->q, deadline);
	return err == -ETIMEDOUT ? -EAGAIN : err;
}

long errno_of(err_t err)
{
	switch (err) {
	case ERR_OK: return 0;
	case ERR_MEM: case ERR_BUF: return -ENOBUFS;
	case ERR_RTE: return -ENETUNREACH;
	case ERR_USE: return -EADDRINUSE;
	case ERR_ISCONN: return -EISCONN;
	case ERR_CONN: return -ENOTCONN;
	case ERR_ABRT: return -ECONNABORTED;
	case ERR_RST: return -ECONNRESET;
	case ERR_IF: return -ENETDOWN;
	default: return -EINVAL;
	}
}

/* ---- fork ---- */

void socks_forked(void)
{
	for (struct list_node *n = socks.next; n != &socks; n = n->next) {
		struct sock *s = CONTAINER_OF(n, struct sock, all);

		if (s->error == ETIMEDOUT) /* of what net_forked has ended */
			s->error = ECONNRESET;
		if (s->type == SOCK_STREAM)
			tcp_forked(s);
	}
}

void socks_born(void)
{
	for (struct list_node *n = socks.next; n != &socks; n = n->next) {
		struct sock *s = CONTAINER_OF(n, struct sock, all);

		if (s->type == SOCK_STREAM)
			tcp_born(s);
	}
}

/* ---- addresses ---- */

void name_set(struct sockaddr_in *name, const ip_addr_t *ip, uint16_t port)
{
	*name = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = ip->addr};
}

/* An address of the program's. */
static long name_in(struct sockaddr_in *name, long user, long len)
{
	*name = (struct sockaddr_in){.sin_family = AF_UNSPEC};
	if ((size_t)len > sizeof(struct sockaddr_storage) || (size_t)len < sizeof(name->sin_family))
		return -EINVAL;
	if (copy_in(name, (void *)user, MIN((size_t)len, sizeof(*name))))
		return -EFAULT;
	if (name->sin_family != AF_UNSPEC && (size_t)len < sizeof(*name))
		return -EINVAL;
	return 0;
}

static long bind_to(struct sock *s, const ip_addr_t *ip, uint16_t port)
{
	long err = s->type == SOCK_STREAM ? tcp_bind_to(s, ip, port) : udp_bind_to(s, ip, port);

	if (!err)
		name_set(&s->local, ip, port);
	return err;
}

long bind_any(struct sock *s, const ip_addr_t *ip)
{
	uint32_t first = net_random() % PORTS;
	long err = -EADDRINUSE;

	for (uint32_t i = 0; i < PORTS && err == -EADDRINUSE; i++)
		err = bind_to(s, ip, (uint16_t)(PORT_FIRST + (first + i) % PORTS));
	return err;
}

static bool is_ours(const ip_addr_t *ip)
{
	struct netif *n;

	NETIF_FOREACH(n)
		if (ip_addr_cmp(netif_ip4_addr(n), ip) || ip4_addr_isbroadcast(ip, n))
			return true;
	return ip_addr_isany(ip) || ip_addr_ismulticast(ip);
}

long net_bind(long fd, long user, long len)
{
	struct sockaddr_in name;
	struct sock *s;
	struct file *f;
	ip_addr_t ip;
	long err = sock_of(fd, &f, &s);

	if (err)
		return err;
	err = name_in(&name, user, len);
	ip.addr = name.sin_addr.s_addr;
	if (!err && name.sin_family != AF_INET)
		err = -EAFNOSUPPORT;
	if (!err && (s->local.sin_port || s->state != SOCK_FRESH || (s->type == SOCK_STREAM && !s->tcp)))
		err = -EINVAL;
	if (!err && !is_ours(&ip))
		err = -EADDRNOTAVAIL;
	if (!err)
		err = name.sin_port ? bind_to(s, &ip, ntohs(name.sin_port)) : bind_any(s, &ip);
	file_put(f);
	return err;
}

long net_connect(long fd, long user, long len)
{
	struct sockaddr_in name;
	struct sock *s;
	struct file *f;
	long err = sock_of(fd, &f, &s);

	if (err)
		return err;
	err = name_in(&name, user, len);
	if (!err && name.sin_family != AF_INET && (name.sin_family != AF_UNSPEC || s->type == SOCK_STREAM))
		err = -EAFNOSUPPORT;
	if (!err)
		err = s->type == SOCK_STREAM ? tcp_connect_to(f, &name) : udp_connect_to(s, &name);
	file_put(f);
	return err;
}

long net_listen(long fd, long backlog)
{
	struct sock *s;
	struct file *f;
	long err = sock_of(fd, &f, &s);

	if (err)
		return err;
	err = s->type == SOCK_STREAM ? tcp_listen_on(s, (int)backlog) : -EOPNOTSUPP;
	file_put(f);
	return err;
}

static long name_of(long fd, long user, long user_len, bool peer)
{
	struct sockaddr_in name;
	struct sock *s;
	struct file *f;
	long err = sock_of(fd, &f, &s);

	if (err)
		return err;
	name = peer ? s->peer : s->local;
	if (peer && (s->state != SOCK_CONNECTED || (s->type == SOCK_STREAM && s->eof && !s->tcp && s->shut_out)))
		err = -ENOTCONN;
	file_put(f);
	return err ? err : name_out(user, user_len, &name, sizeof(name));
}

long net_getsockname(long fd, long user, long user_len)
{
	return name_of(fd, user, user_len, false);
}

long net_getpeername(long fd, long user, long user_len)
{
	return name_of(fd, user, user_len, true);
}

/* ---- files ---- */

static long inet_send(struct file *f, struct message *m)
{
	struct sockaddr_in *to = (struct sockaddr_in *)&m->name;
	bool stream = sock_at(f)->type == SOCK_STREAM;

	if (m->flags & ~(long)(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_CONFIRM))
		return -EOPNOTSUPP;
	if (m->namelen && !stream && m->namelen < sizeof(*to))
		return -EINVAL;
	if (m->namelen && !stream && to->sin_family != AF_INET)
		return -EAFNOSUPPORT;
	return stream ? tcp_put_bytes(f, m) : udp_put(f, m);
}

static long inet_receive(struct file *f, struct message *m)
{
	if (m->flags & ~(long)(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL | MSG_PEEK | MSG_TRUNC | MSG_CMSG_CLOEXEC))
		return -EOPNOTSUPP;
	return sock_at(f)->type == SOCK_STREAM ? tcp_get_bytes(f, m) : udp_get(f, m);
}

static long inet_shutdown(struct file *f, int how)
{
	struct sock *s = sock_at(f);

	return s->type == SOCK_STREAM ? tcp_shut(s, how) : udp_shut(s, how);
}

static long inet_read(struct file *f, struct uio *u, uint64_t *pos)
{
	struct message m = {.u = u};

	(void)pos;
	return u->left ? inet_receive(f, &m) : 0;
}

static long inet_write(struct file *f, struct uio *u, uint64_t *pos)
{
	struct message m = {.u = u};

	(void)pos;
	return inet_send(f, &m);
}

static int inet_poll(struct file *f)
{
	struct sock *s = sock_at(f);

	return s->type == SOCK_STREAM ? tcp_poll_state(s) : udp_poll_state(s);
}

static long inet_ioctl(struct file *f, unsigned long request, long arg)
{
	const struct sock *s = sock_at(f);
	int n;

	if (request == FIONREAD)
		n = (int)(s->type == SOCK_STREAM ? s->waiting : udp_next_size(s));
	else if (request == TIOCOUTQ)
		n = s->tcp && s->state == SOCK_CONNECTED ? TCP_SND_BUF - (int)tcp_sndbuf(s->tcp) : 0;
	else
		return -ENOTTY;
	return copy_out((void *)arg, &n, sizeof(n));
}

static void inet_close(struct file *f)
{
	struct sock *s = sock_at(f);

	s->node = NULL;
	if (s->type == SOCK_STREAM)
		tcp_end(s);
	else
		udp_end(s);
	sock_free(s);
	net_settle();
}

static long inet_open(struct file *f)
{
	(void)f;
	return -ENXIO;
}

static const struct socket_ops inet_socket_ops = {.send = inet_send, .receive = inet_receive, .shutdown = inet_shutdown,
	.set = options_set, .get = options_get, .levels = true};

const struct file_ops inet_ops = {
	.name = "socket",
	.read = inet_read,
	.write = inet_write,
	.poll = inet_poll,
	.ioctl = inet_ioctl,
	.open = inet_open,
	.close = inet_close,
	.socket = &inet_socket_ops,
	.stream = true,
	.tells = true,
};

/* A descriptor for a sock, which goes if there is none. */
static long install(struct sock *s, long flags)
{
	struct file *f = file_anonymous(&inet_ops, s, O_RDWR | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0));

	if (!f) {
		if (s->type == SOCK_STREAM)
			tcp_end(s);
		else
			udp_end(s);
		sock_free(s);
		return -ENOMEM;
	}
	f->node->mode = S_IFSOCK | 0777;
	s->node = f->node;
	return fd_install(f, 0, flags & SOCK_CLOEXEC);
}

long net_socket(long domain, long type, long protocol)
{
	int kind = (int)type & SOCK_TYPE_MASK;
	struct sock *s;
	long err;

	if (type & ~(long)(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	if (domain != AF_INET)
		return -EAFNOSUPPORT;
	if (kind != SOCK_STREAM && kind != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	lease_wait();
	if (protocol && protocol != (kind == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
		return -EPROTONOSUPPORT;
	net_init();
	s = sock_new(kind);
	if (!s)
		return -ENOBUFS;
	err = kind == SOCK_STREAM ? tcp_make(s) : udp_make(s);
	if (err) {
		sock_free(s);
		return err;
	}
	return install(s, type);
}

long net_accept4(long fd, long user, long user_len, long flags)
{
	struct sock *s, *c;
	struct sockaddr_in peer;
	struct file *f;
	long err, new;

	if (flags & ~(long)(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	err = sock_of(fd, &f, &s);
	if (err)
		return err;
	err = s->type == SOCK_STREAM ? tcp_take(f, &c) : -EOPNOTSUPP;
	file_put(f);
	if (err)
		return err;
	peer = c->peer;
	new = install(c, flags);
	if (new < 0 || !user)
		return new;
	err = name_out(user, user_len, &peer, sizeof(peer));
	if (!err)
		return new;
	fd_close(new);
	return err;
}

long net_accept(long fd, long user, long user_len)
{
	return net_accept4(fd, user, user_len, 0);
}

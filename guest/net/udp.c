/* udp.c: datagrams. */
#include "sock.h"

#include "net.h"

#define DATAGRAM_MOST 65507 /* bytes in one, by IP's and UDP's headers */

struct datagram {
	struct list_node node;
	struct pbuf *data;
	struct sockaddr_in from;
};

/* What a datagram takes of its socket's room. */
static size_t cost(const struct datagram *d)
{
	return d->data->tot_len + sizeof(*d) + sizeof(struct pbuf);
}

static void came(void *arg, struct udp_pcb *p, struct pbuf *data, const ip_addr_t *ip, u16_t port)
{
	struct sock *s = arg;
	struct datagram *d = s->waiting < (size_t)s->opt.rcvbuf ? kmalloc(sizeof(*d)) : NULL;

	(void)p;
	if (!d) {
		pbuf_free(data); /* as datagrams do when nobody reads them */
		return;
	}
	d->data = data;
	name_set(&d->from, ip, port);
	s->waiting += cost(d);
	list_add_tail(&s->datagrams, &d->node);
	sock_event(s);
}

static struct datagram *first(const struct sock *s)
{
	return list_empty(&s->datagrams) ? NULL : CONTAINER_OF(s->datagrams.next, struct datagram, node);
}

static void drop(struct sock *s, struct datagram *d)
{
	list_del(&d->node);
	s->waiting -= cost(d);
	pbuf_free(d->data);
	kfree(d);
}

long udp_make(struct sock *s)
{
	s->udp = udp_new();
	if (!s->udp)
		return -ENOBUFS;
	udp_recv(s->udp, came, s);
	options_apply(s);
	return 0;
}

void udp_end(struct sock *s)
{
	while (!list_empty(&s->datagrams))
		drop(s, first(s));
	udp_remove(s->udp);
}

long udp_bind_to(struct sock *s, const ip_addr_t *ip, uint16_t port)
{
	return errno_of(udp_bind(s->udp, ip, port));
}

long udp_connect_to(struct sock *s, const struct sockaddr_in *to)
{
	static const ip_addr_t any;
	ip_addr_t ip = {.addr = to->sin_addr.s_addr ? to->sin_addr.s_addr : htonl(INADDR_LOOPBACK)};
	struct netif *n;
	long err = 0;

	if (to->sin_family == AF_UNSPEC) {
		udp_disconnect(s->udp);
		s->state = SOCK_FRESH;
		memset(&s->peer, 0, sizeof(s->peer));
		return 0;
	}
	n = ip4_route(&ip);
	if (!n)
		return -ENETUNREACH;
	if (!s->local.sin_port)
		err = bind_any(s, &any);
	if (!err)
		err = errno_of(udp_connect(s->udp, &ip, ntohs(to->sin_port)));
	if (err)
		return err;
	s->state = SOCK_CONNECTED;
	if (!s->local.sin_addr.s_addr)
		s->local.sin_addr.s_addr = netif_ip4_addr(n)->addr;
	name_set(&s->peer, &ip, ntohs(to->sin_port));
	return 0;
}

long udp_put(struct file *f, struct message *m)
{
	static const ip_addr_t any;
	struct sock *s = sock_at(f);
	struct sockaddr_in *to = (struct sockaddr_in *)&m->name;
	ip_addr_t ip;
	struct pbuf *p;
	long n = (long)m->u->left, err;

	if (s->error)
		return sock_error(s);
	if (s->shut_out)
		return -EPIPE;
	if (!m->namelen && s->state != SOCK_CONNECTED)
		return -EDESTADDRREQ;
	if (!m->namelen)
		to = &s->peer;
	if (n > DATAGRAM_MOST)
		return -EMSGSIZE;
	if (!to->sin_port)
		return -EINVAL;
	ip.addr = to->sin_addr.s_addr ? to->sin_addr.s_addr : htonl(INADDR_LOOPBACK);
	if (!ip4_route(&ip))
		return -ENETUNREACH;
	if (!s->local.sin_port) {
		err = bind_any(s, &any);
		if (err)
			return err;
	}
	p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)n, PBUF_RAM);
	if (!p)
		return -ENOBUFS;
	err = n ? uio_in(m->u, p->payload, (size_t)n) : 0;
	if (err == n)
		err = errno_of(udp_sendto(s->udp, p, &ip, ntohs(to->sin_port)));
	else
		err = -EFAULT;
	pbuf_free(p);
	net_settle();
	return err ? err : n;
}

static long copy_datagram(const struct datagram *d, struct uio *u)
{
	long total = 0, n;

	for (const struct pbuf *p = d->data; p && u->left; p = p->next) {
		n = uio_out(u, p->payload, MIN((size_t)p->len, u->left));
		if (n < 0 || (size_t)n < MIN((size_t)p->len, u->left + (size_t)n))
			return -EFAULT;
		total += n;
	}
	return total;
}

long udp_get(struct file *f, struct message *m)
{
	struct sock *s = sock_at(f);
	bool nonblock = f->flags & O_NONBLOCK || m->flags & MSG_DONTWAIT;
	int64_t deadline = deadline_after(s->opt.rcvtimeo);
	struct datagram *d;
	long n, size;

	while (!(d = first(s))) {
		if (s->error)
			return sock_error(s);
		if (s->shut_in)
			return 0;
		n = sock_wait(s, nonblock, deadline);
		if (n)
			return n;
	}
	size = d->data->tot_len;
	n = copy_datagram(d, m->u);
	if (n >= 0 && n < size)
		m->out |= MSG_TRUNC;
	if (n >= 0 && m->flags & MSG_TRUNC)
		n = size;
	memcpy(&m->name, &d->from, sizeof(d->from));
	m->namelen = sizeof(d->from);
	if (!(m->flags & MSG_PEEK))
		drop(s, d);
	return n;
}

long udp_shut(struct sock *s, int how)
{
	if (s->state != SOCK_CONNECTED)
		return -ENOTCONN;
	s->shut_in |= how != SHUT_WR;
	s->shut_out |= how != SHUT_RD;
	sock_event(s);
	return 0;
}

int udp_poll_state(const struct sock *s)
{
	int state = POLLOUT | POLLWRNORM | (s->error ? POLLERR : 0);

	if (first(s) || s->shut_in)
		state |= POLLIN | POLLRDNORM;
	if (s->shut_in)
		state |= POLLRDHUP;
	if (s->shut_in && s->shut_out)
		state |= POLLHUP;
	return state;
}

size_t udp_next_size(const struct sock *s)
{
	const struct datagram *d = first(s);

	return d ? d->data->tot_len : 0;
}

void udp_refused(uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port)
{
	for (struct list_node *n = socks.next; n != &socks; n = n->next) {
		struct sock *s = CONTAINER_OF(n, struct sock, all);

		if (s->type != SOCK_DGRAM || s->state != SOCK_CONNECTED || ntohs(s->local.sin_port) != from_port ||
		    s->local.sin_addr.s_addr != from || ntohs(s->peer.sin_port) != to_port || s->peer.sin_addr.s_addr != to)
			continue;
		s->error = ECONNREFUSED;
		sock_event(s);
	}
}

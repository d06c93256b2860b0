/*
 * tcp.c: connections. lwIP calls back from net_settle, the timer, or a device's frame; nothing here sleeps in between, so
 * a pcb is either there or has been taken from its sock.
 */
#include "sock.h"

#include "net.h"

#define CHUNK 16384
#define RETRY_NS (NSEC / 10) /* memory was short, and nothing is on its way whose arrival would say that there is some */

/* ---- what lwIP tells ---- */

/* The pcb goes its way without us: both directions have ended, or the program has closed it. */
static void let_go(struct sock *s)
{
	struct tcp_pcb *p = s->tcp;

	s->tcp = NULL;
	tcp_arg(p, NULL);
	tcp_recv(p, NULL);
	tcp_sent(p, NULL);
	tcp_err(p, NULL);
}

static err_t came(void *arg, struct tcp_pcb *p, struct pbuf *data, err_t err)
{
	struct sock *s = arg;

	(void)p, (void)err;
	if (data) {
		s->waiting += data->tot_len;
		if (s->came)
			s->came_last->next = data;
		else
			s->came = data;
		while (data->next)
			data = data->next;
		s->came_last = data;
	} else {
		s->eof = true;
		if (s->shut_out)
			let_go(s); /* lwIP frees what is in TIME_WAIT without a word */
	}
	sock_event(s);
	return ERR_OK;
}

/* How much may be sent now; 0 unless it is worth waking up for. */
static size_t room(const struct sock *s)
{
	size_t free = tcp_sndbuf(s->tcp), queued = TCP_SND_BUF - free, most = (size_t)s->opt.sndbuf;

	if (tcp_sndqueuelen(s->tcp) > TCP_SND_QUEUELEN * 3 / 4 || queued >= most || (most - queued) * 4 < most)
		return 0;
	return MIN(free, most - queued);
}

static err_t sent(void *arg, struct tcp_pcb *p, u16_t n)
{
	struct sock *s = arg;

	(void)p, (void)n;
	if (room(s))
		sock_event(s);
	return ERR_OK;
}

/* The pcb has gone. */
static void failed(void *arg, err_t err)
{
	struct sock *s = arg;
	bool connecting = s->state == SOCK_CONNECTING;

	s->tcp = NULL;
	if (s->pending.next) { /* nobody has accepted it: else those that are reset would wait without end */
		list_del(&s->pending);
		sock_free(s);
		return;
	}
	s->state = connecting ? SOCK_FRESH : SOCK_CONNECTED;
	if (err == ERR_RST)
		s->error = connecting ? ECONNREFUSED : s->eof ? EPIPE : ECONNRESET;
	else if (err == ERR_ABRT)
		s->error = ETIMEDOUT;
	s->eof = true;
	s->shut_out = true;
	sock_event(s);
}

static err_t connected(void *arg, struct tcp_pcb *p, err_t err)
{
	struct sock *s = arg;

	(void)p, (void)err;
	s->state = SOCK_CONNECTED;
	sock_event(s);
	return ERR_OK;
}

static void adopt(struct sock *s, struct tcp_pcb *p)
{
	s->tcp = p;
	tcp_arg(p, s);
	tcp_recv(p, came);
	tcp_sent(p, sent);
	tcp_err(p, failed);
}

static err_t arrived(void *arg, struct tcp_pcb *p, err_t err)
{
	struct sock *listener = arg, *s;

	if (err != ERR_OK || !p)
		return ERR_VAL;
	s = sock_new(SOCK_STREAM);
	if (!s)
		return ERR_MEM;
	s->opt = listener->opt;
	s->state = SOCK_CONNECTED;
	adopt(s, p);
	options_apply(s);
	name_set(&s->local, &p->local_ip, p->local_port);
	name_set(&s->peer, &p->remote_ip, p->remote_port);
	tcp_backlog_delayed(p);
	list_add_tail(&listener->unaccepted, &s->pending);
	sock_event(listener);
	return ERR_OK;
}

/* ---- beginning and end ---- */

long tcp_make(struct sock *s)
{
	struct tcp_pcb *p = tcp_new();

	if (!p)
		return -ENOBUFS;
	adopt(s, p);
	options_apply(s);
	return 0;
}

/* Connections that nobody has accepted are reset. */
static void drop_pending(struct sock *s)
{
	while (!list_empty(&s->unaccepted)) {
		struct sock *c = CONTAINER_OF(s->unaccepted.next, struct sock, pending);
		struct tcp_pcb *p = c->tcp;

		list_del(&c->pending);
		let_go(c);
		tcp_abort(p);
		sock_free(c);
	}
}

void tcp_end(struct sock *s)
{
	struct tcp_pcb *p = s->tcp;

	if (s->state == SOCK_LISTENING)
		drop_pending(s);
	if (!p)
		return;
	if (s->state == SOCK_LISTENING) {
		s->tcp = NULL;
		tcp_close(p);
		return;
	}
	let_go(s);
	if (s->state == SOCK_CONNECTED && s->opt.linger.on && !s->opt.linger.seconds)
		tcp_abort(p);
	else
		tcp_close(p); /* with a reset, if bytes were not read */
}

/*
 * Of what is then a family's port, a listener refuses connections from outside until it is asked for one: else they would come to children, too, that never accept any, as those
 * that only save what a server has in memory, and to a parent that has its children take all. Whoever waits for it in the child looks again, and so asks.
 */
void tcp_forked(struct sock *s)
{
	if (s->state == SOCK_LISTENING) {
		s->asked = false;
		s->asleep = true;
		sock_event(s);
	}
}

void tcp_born(struct sock *s)
{
	if (s->state == SOCK_LISTENING && !s->asked)
		s->asleep = true;
}

/* A connection is looked for. */
static void ask(struct sock *s)
{
	s->asked = true;
	s->asleep = false;
}

bool tcp_asleep(uint16_t port)
{
	for (const struct tcp_pcb_listen *l = tcp_listen_pcbs.listen_pcbs; l; l = l->next)
		if (l->local_port == port && ((struct sock *)l->callback_arg)->asleep)
			return true;
	return false;
}

static bool listens(const ip_addr_t *ip, uint16_t port)
{
	for (const struct tcp_pcb_listen *l = tcp_listen_pcbs.listen_pcbs; l; l = l->next)
		if (l->local_port == port && (ip_addr_isany(ip) || ip_addr_isany(&l->local_ip) || ip_addr_cmp(&l->local_ip, ip)))
			return true;
	return false;
}

long tcp_bind_to(struct sock *s, const ip_addr_t *ip, uint16_t port)
{
	if (listens(ip, port))
		return -EADDRINUSE;
	return errno_of(tcp_bind(s->tcp, ip, port));
}

long tcp_listen_on(struct sock *s, int backlog)
{
	static const ip_addr_t any;
	struct tcp_pcb *p;
	err_t err;
	long bound;

	backlog = MIN(MAX(backlog, 0) + 1, 255); /* one more than said, as Linux; lwIP has 8 bits for it */
	if (s->state == SOCK_LISTENING) {
		tcp_backlog_set((struct tcp_pcb_listen *)s->tcp, (u8_t)backlog);
		return 0;
	}
	if (s->state != SOCK_FRESH || !s->tcp)
		return -EINVAL;
	if (!s->local.sin_port) {
		bound = bind_any(s, &any);
		if (bound)
			return bound;
	}
	p = tcp_listen_with_backlog_and_err(s->tcp, (u8_t)backlog, &err);
	if (!p)
		return err == ERR_MEM ? -ENOBUFS : errno_of(err);
	s->tcp = p;
	s->state = SOCK_LISTENING;
	tcp_arg(p, s);
	tcp_accept(p, arrived);
	return 0;
}

/* ---- connecting ---- */

/* Our own last connection between these two ends, in TIME_WAIT: a new one begins with higher numbers, so it does no harm. */
static void end_time_wait(const struct tcp_pcb *like, const ip_addr_t *ip, uint16_t port)
{
	struct tcp_pcb *p = tcp_tw_pcbs;

	while (p && !(p->local_port == like->local_port && p->remote_port == port && ip_addr_cmp(&p->remote_ip, ip)))
		p = p->next;
	if (p)
		tcp_abandon(p, 0);
}

static long begin(struct sock *s, const struct sockaddr_in *to)
{
	static const ip_addr_t any;
	ip_addr_t ip = {.addr = to->sin_addr.s_addr ? to->sin_addr.s_addr : htonl(INADDR_LOOPBACK)};
	uint16_t port = ntohs(to->sin_port);
	long err = 0;

	if (!s->tcp) { /* the last attempt has failed */
		memset(&s->local, 0, sizeof(s->local));
		err = tcp_make(s);
	}
	if (!err && !ip4_route(&ip))
		err = -ENETUNREACH;
	if (!err && !s->local.sin_port)
		err = bind_any(s, &any);
	if (err)
		return err;
	end_time_wait(s->tcp, &ip, port);
	s->eof = s->shut_in = s->shut_out = false;
	err = errno_of(tcp_connect(s->tcp, &ip, port, connected));
	if (err)
		return err == -EADDRINUSE ? -EADDRNOTAVAIL : err;
	s->state = SOCK_CONNECTING;
	s->untold = true;
	name_set(&s->local, &s->tcp->local_ip, s->tcp->local_port);
	name_set(&s->peer, &ip, port);
	net_settle();
	return 0;
}

long tcp_connect_to(struct file *f, const struct sockaddr_in *to)
{
	struct sock *s = sock_at(f);
	bool nonblock = f->flags & O_NONBLOCK;
	int64_t deadline = deadline_after(s->opt.sndtimeo);
	long err;

	if (s->state == SOCK_LISTENING || (s->state == SOCK_CONNECTED && !s->untold))
		return -EISCONN;
	if (s->untold && s->state != SOCK_CONNECTING) { /* a signal came before we could say */
		s->untold = false;
		return sock_error(s);
	}
	if (s->state == SOCK_CONNECTING && nonblock)
		return -EALREADY;
	if (s->state == SOCK_FRESH) {
		err = begin(s, to);
		if (err)
			return err;
	}
	while (s->state == SOCK_CONNECTING) {
		err = sock_wait(s, nonblock, deadline);
		if (err)
			return err == -EAGAIN ? -EINPROGRESS : err;
	}
	s->untold = false;
	return sock_error(s);
}

long tcp_take(struct file *f, struct sock **out)
{
	struct sock *s = sock_at(f);
	int64_t deadline = deadline_after(s->opt.rcvtimeo);
	long err;

	while (list_empty(&s->unaccepted)) {
		ask(s);
		if (s->state != SOCK_LISTENING)
			return -EINVAL; /* shut down meanwhile */
		err = sock_wait(s, f->flags & O_NONBLOCK, deadline);
		if (err)
			return err;
	}
	*out = CONTAINER_OF(s->unaccepted.next, struct sock, pending);
	list_del(&(*out)->pending);
	tcp_backlog_accepted((*out)->tcp);
	return 0;
}

/* ---- moving bytes ---- */

static long broken(const struct message *m)
{
	if (!(m->flags & MSG_NOSIGNAL))
		signal_thread(cur, SIGPIPE, NULL);
	return -EPIPE;
}

/* A piece of what there is to send; 0: there is no room. */
static long send_piece(struct sock *s, struct message *m)
{
	static char piece[CHUNK]; /* nobody else runs between the two copies */
	struct uio before = *m->u;
	size_t want = MIN(MIN(room(s), m->u->left), sizeof(piece));
	long n = want ? uio_in(m->u, piece, want) : 0;
	bool more = m->u->left || m->flags & MSG_MORE;

	if (n <= 0)
		return n;
	if (tcp_write(s->tcp, piece, (u16_t)n, TCP_WRITE_FLAG_COPY | (more ? TCP_WRITE_FLAG_MORE : 0)) == ERR_OK)
		return n;
	*m->u = before;
	return 0;
}

/* Less than a segment waits for what follows. It goes with that, with an acknowledgement that comes, or after half a second, by lwIP's timer. */
static bool held(const struct sock *s, const struct message *m)
{
	return (s->opt.cork || m->flags & MSG_MORE) && s->tcp->snd_lbb - s->tcp->snd_nxt < tcp_mss(s->tcp);
}

void tcp_push(struct sock *s)
{
	if (s->state != SOCK_CONNECTED || !s->tcp)
		return;
	tcp_output(s->tcp);
	net_settle();
}

long tcp_put_bytes(struct file *f, struct message *m)
{
	struct sock *s = sock_at(f);
	bool nonblock = f->flags & O_NONBLOCK || m->flags & MSG_DONTWAIT;
	int64_t deadline = deadline_after(s->opt.sndtimeo);
	long done = 0, n = 0;

	do {
		if (s->error)
			return done ? done : sock_error(s);
		if (s->state == SOCK_FRESH || s->state == SOCK_LISTENING || s->shut_out || (s->state == SOCK_CONNECTED && !s->tcp))
			return done ? done : broken(m);
		n = s->state == SOCK_CONNECTED ? send_piece(s, m) : 0;
		if (n > 0) {
			done += n;
			if (held(s, m))
				tcp_timer_needed();
			else
				tcp_push(s);
		} else if (!n && m->u->left) {
			bool stuck = s->state == SOCK_CONNECTED && room(s);

			n = sock_wait(s, nonblock, stuck ? MIN(deadline, now_ns() + RETRY_NS) : deadline);
			if (n == -EAGAIN && stuck && !nonblock && now_ns() < deadline)
				n = 0;
		}
	} while (n >= 0 && m->u->left);
	return done ? done : n;
}

/* What has been read makes room for more. */
static void took(struct sock *s, size_t n)
{
	s->waiting -= n;
	while (s->tcp && n) {
		u16_t part = (u16_t)MIN(n, (size_t)UINT16_MAX);

		tcp_recved(s->tcp, part);
		n -= part;
	}
	net_settle();
}

/* The first pbuf has been read. Its chain may be longer than lwIP's own chains: tot_len is not kept. */
static void next_pbuf(struct sock *s)
{
	struct pbuf *p = s->came;

	s->came = p->next;
	s->came_at = 0;
	p->next = NULL;
	pbuf_free(p);
}

static long receive_piece(struct sock *s, struct uio *u)
{
	size_t total = 0;
	long n = 0;

	while (s->came && u->left) {
		struct pbuf *p = s->came;

		n = uio_out(u, (char *)p->payload + s->came_at, MIN(p->len - s->came_at, u->left));
		if (n < 0)
			break;
		total += (size_t)n;
		s->came_at += (size_t)n;
		if (s->came_at < p->len)
			break;
		next_pbuf(s);
	}
	if (total)
		took(s, total);
	return total ? (long)total : n;
}

static long peek_piece(const struct sock *s, struct uio *u)
{
	size_t at = s->came_at;
	long total = 0, n;

	for (const struct pbuf *p = s->came; p && u->left; p = p->next, at = 0) {
		n = uio_out(u, (const char *)p->payload + at, MIN(p->len - at, u->left));
		if (n < 0)
			return total ? total : n;
		total += n;
		if ((size_t)n < p->len - at)
			break;
	}
	return total;
}

/* MSG_TRUNC: the bytes go nowhere. */
static long discard_piece(struct sock *s, struct uio *u)
{
	size_t total = 0;

	while (s->came && u->left) {
		struct pbuf *p = s->came;
		size_t n = MIN(p->len - s->came_at, u->left);

		total += n;
		u->left -= n;
		s->came_at += n;
		if (s->came_at < p->len)
			break;
		next_pbuf(s);
	}
	took(s, total);
	return (long)total;
}

long tcp_get_bytes(struct file *f, struct message *m)
{
	struct sock *s = sock_at(f);
	bool nonblock = f->flags & O_NONBLOCK || m->flags & MSG_DONTWAIT, peek = m->flags & MSG_PEEK;
	int64_t deadline = deadline_after(s->opt.rcvtimeo);
	long done = 0, n;

	if (s->state == SOCK_FRESH && !s->error)
		return s->eof ? 0 : -ENOTCONN;
	if (s->state == SOCK_LISTENING)
		return -ENOTCONN;
	while (m->u->left) {
		if (s->came) {
			n = peek ? peek_piece(s, m->u) : m->flags & MSG_TRUNC ? discard_piece(s, m->u) : receive_piece(s, m->u);
			if (n < 0)
				return done ? done : n;
			done += n;
			if (peek || !(m->flags & MSG_WAITALL))
				break;
			continue;
		}
		if (done && (s->error || s->eof || s->shut_in))
			break;
		if (s->error)
			return sock_error(s);
		if (s->eof || s->shut_in)
			return 0;
		n = sock_wait(s, nonblock, deadline);
		if (n)
			return done ? done : n;
	}
	return done;
}

long tcp_shut(struct sock *s, int how)
{
	if (s->state == SOCK_LISTENING && how != SHUT_WR) {
		/* As on Linux it is as good as new, and who waits in accept is told. */
		struct tcp_pcb *p = s->tcp;

		drop_pending(s);
		s->tcp = NULL;
		s->state = SOCK_FRESH;
		s->eof = true;
		tcp_close(p);
		sock_event(s);
		return 0;
	}
	if (s->state != SOCK_CONNECTED)
		return -ENOTCONN;
	if (how != SHUT_WR)
		s->shut_in = true;
	if (how != SHUT_RD && !s->shut_out) {
		s->shut_out = true;
		if (s->tcp)
			tcp_shutdown(s->tcp, 0, 1);
		if (s->tcp && s->eof)
			let_go(s);
		net_settle();
	}
	sock_event(s);
	return 0;
}

int tcp_poll_state(struct sock *s)
{
	const int in = POLLIN | POLLRDNORM, out = POLLOUT | POLLWRNORM;
	int state = s->error ? POLLERR : 0;

	switch (s->state) {
	case SOCK_LISTENING:
		ask(s);
		return state | (list_empty(&s->unaccepted) ? 0 : in);
	case SOCK_FRESH:
		return state | out | POLLHUP | (s->error || s->eof ? in | POLLRDHUP : 0);
	case SOCK_CONNECTING:
		return state;
	case SOCK_CONNECTED:
		break;
	}
	if (s->came || s->eof || s->shut_in)
		state |= in;
	if (s->eof || s->shut_in)
		state |= POLLRDHUP;
	if (s->shut_out || !s->tcp || room(s))
		state |= out;
	if ((s->eof || s->shut_in) && s->shut_out)
		state |= POLLHUP;
	return state;
}

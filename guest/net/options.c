/* options.c: setsockopt and getsockopt of the network's sockets. */
#include "sock.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#define KEEP_IDLE 7200 /* s, as Linux */
#define KEEP_INTERVAL 75
#define KEEP_COUNT 9
#define KEEP_MOST 32767
#define BUF_LEAST 2304 /* as Linux */
#define UDP_BUF (256 * 1024)

void options_init(struct sock_options *o)
{
	*o = (struct sock_options){.sndbuf = TCP_SND_BUF, .rcvbuf = UDP_BUF, .sndtimeo = FOREVER, .rcvtimeo = FOREVER,
		.keep_idle = KEEP_IDLE, .keep_intvl = KEEP_INTERVAL, .keep_cnt = KEEP_COUNT, .ttl = IP_DEFAULT_TTL};
}

static void apply_ip(uint8_t *so_options, uint8_t *tos, uint8_t *ttl, const struct sock_options *o)
{
	*so_options &= (uint8_t)~(SOF_REUSEADDR | SOF_KEEPALIVE | SOF_BROADCAST);
	*so_options |= (uint8_t)((o->reuse ? SOF_REUSEADDR : 0) | (o->keepalive ? SOF_KEEPALIVE : 0) | (o->broadcast ? SOF_BROADCAST : 0));
	*tos = (uint8_t)o->tos;
	*ttl = (uint8_t)o->ttl;
}

void options_apply(struct sock *s)
{
	const struct sock_options *o = &s->opt;
	struct tcp_pcb *p = s->tcp;

	if (s->udp)
		apply_ip(&s->udp->so_options, &s->udp->tos, &s->udp->ttl, o);
	if (!p)
		return;
	apply_ip(&p->so_options, &p->tos, &p->ttl, o);
	if (s->state == SOCK_LISTENING)
		return; /* lwIP's listeners have none of the others */
	if (o->nodelay && !o->cork)
		tcp_nagle_disable(p);
	else
		tcp_nagle_enable(p);
	p->keep_idle = (u32_t)o->keep_idle * 1000;
	p->keep_intvl = (u32_t)o->keep_intvl * 1000;
	p->keep_cnt = (u32_t)o->keep_cnt;
	if (o->keepalive && s->state == SOCK_CONNECTED)
		tcp_timer_needed();
}

/* ---- setting ---- */

static long set_within(int *to, int n, int low, int high)
{
	if (n < low || n > high)
		return -EINVAL;
	*to = n;
	return 0;
}

static long set_socket(struct sock *s, long name, const union sockopt *v)
{
	struct sock_options *o = &s->opt;

	switch (name) {
	case SO_REUSEADDR: o->reuse = v->n; return 0;
	case SO_KEEPALIVE: o->keepalive = v->n; return 0;
	case SO_BROADCAST: o->broadcast = v->n; return 0;
	case SO_SNDBUF: o->sndbuf = sockopt_buffer(v->n, SEND_MOST, BUF_LEAST); return 0;
	case SO_RCVBUF: o->rcvbuf = sockopt_buffer(v->n, RECEIVE_MOST, BUF_LEAST); return 0;
	case SO_SNDTIMEO: return sockopt_set_time(&o->sndtimeo, &v->tv);
	case SO_RCVTIMEO: return sockopt_set_time(&o->rcvtimeo, &v->tv);
	case SO_LINGER:
		o->linger.on = v->linger.l_onoff != 0;
		o->linger.seconds = v->linger.l_linger;
		return 0;
	default: return -ENOPROTOOPT;
	}
}

static long set_tcp(struct sock *s, long name, int n)
{
	struct sock_options *o = &s->opt;

	if (s->type != SOCK_STREAM)
		return -ENOPROTOOPT;
	switch (name) {
	case TCP_NODELAY: o->nodelay = n; return 0;
	case TCP_CORK: o->cork = n; return 0;
	case TCP_KEEPIDLE: return set_within(&o->keep_idle, n, 1, KEEP_MOST);
	case TCP_KEEPINTVL: return set_within(&o->keep_intvl, n, 1, KEEP_MOST);
	case TCP_KEEPCNT: return set_within(&o->keep_cnt, n, 1, 127);
	default: return -ENOPROTOOPT;
	}
}

static long set_ip(struct sock *s, long name, int n)
{
	switch (name) {
	case IP_TOS: s->opt.tos = n & 0xff; return 0;
	case IP_TTL: return n == -1 ? set_within(&s->opt.ttl, IP_DEFAULT_TTL, 1, 255) : set_within(&s->opt.ttl, n, 1, 255);
	default: return -ENOPROTOOPT;
	}
}

long options_set(struct file *f, long level, long name, const union sockopt *v)
{
	struct sock *s = sock_at(f);
	long err;

	if (level == SOL_SOCKET)
		err = set_socket(s, name, v);
	else if (level == IPPROTO_TCP)
		err = set_tcp(s, name, v->n);
	else if (level == IPPROTO_IP)
		err = set_ip(s, name, v->n);
	else
		err = -ENOPROTOOPT;
	if (err)
		return err;
	options_apply(s);
	if (level == IPPROTO_TCP && name == TCP_CORK && !v->n)
		tcp_push(s);
	if (level == SOL_SOCKET && name == SO_SNDBUF)
		sock_event(s); /* there may be room */
	return 0;
}

/* ---- getting ---- */

static long get_socket(struct sock *s, long name, union sockopt *v)
{
	const struct sock_options *o = &s->opt;

	switch (name) {
	case SO_TYPE: v->n = s->type; return 0;
	case SO_DOMAIN: v->n = AF_INET; return 0;
	case SO_PROTOCOL: v->n = s->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP; return 0;
	case SO_ACCEPTCONN: v->n = s->state == SOCK_LISTENING; return 0;
	case SO_ERROR: v->n = (int)-sock_error(s); return 0;
	case SO_REUSEADDR: v->n = o->reuse; return 0;
	case SO_KEEPALIVE: v->n = o->keepalive; return 0;
	case SO_BROADCAST: v->n = o->broadcast; return 0;
	case SO_SNDBUF: v->n = o->sndbuf; return 0;
	case SO_RCVBUF: v->n = s->type == SOCK_STREAM ? TCP_WND : o->rcvbuf; return 0;
	case SO_SNDTIMEO: v->tv = sockopt_time(o->sndtimeo); return 0;
	case SO_RCVTIMEO: v->tv = sockopt_time(o->rcvtimeo); return 0;
	case SO_LINGER: v->linger = (struct linger){o->linger.on, o->linger.seconds}; return 0;
	default: return -ENOPROTOOPT;
	}
}

static long get_tcp(const struct sock *s, long name, int *n)
{
	if (s->type != SOCK_STREAM)
		return -ENOPROTOOPT;
	switch (name) {
	case TCP_NODELAY: *n = s->opt.nodelay; return 0;
	case TCP_CORK: *n = s->opt.cork; return 0;
	case TCP_KEEPIDLE: *n = s->opt.keep_idle; return 0;
	case TCP_KEEPINTVL: *n = s->opt.keep_intvl; return 0;
	case TCP_KEEPCNT: *n = s->opt.keep_cnt; return 0;
	case TCP_MAXSEG: *n = s->tcp && s->state == SOCK_CONNECTED ? tcp_mss(s->tcp) : TCP_MSS; return 0;
	default: return -ENOPROTOOPT;
	}
}

static long get_ip(const struct sock *s, long name, int *n)
{
	switch (name) {
	case IP_TOS: *n = s->opt.tos; return 0;
	case IP_TTL: *n = s->opt.ttl; return 0;
	default: return -ENOPROTOOPT;
	}
}

long options_get(struct file *f, long level, long name, union sockopt *v)
{
	struct sock *s = sock_at(f);

	if (level == SOL_SOCKET)
		return get_socket(s, name, v);
	if (level == IPPROTO_TCP)
		return get_tcp(s, name, &v->n);
	return level == IPPROTO_IP ? get_ip(s, name, &v->n) : -ENOPROTOOPT;
}

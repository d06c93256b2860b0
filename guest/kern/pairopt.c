/* pairopt.c: options of socket pairs. As a mode is, they are each member's own after a fork. */
#include "pairopt.h"

#define BUFFER_MOST (2 * 212992) /* as Linux */
#define SEND_LEAST 4608
#define RECEIVE_LEAST 2304

void pair_options_init(struct pair_options *o)
{
	*o = (struct pair_options){.sndbuf = BUFFER_MOST / 2, .rcvbuf = BUFFER_MOST / 2, .sndtimeo = FOREVER, .rcvtimeo = FOREVER};
}

/* What is kept, and has no meaning for a pair. */
static bool is_switch(long name)
{
	return name == SO_DEBUG || name == SO_REUSEADDR || name == SO_DONTROUTE || name == SO_BROADCAST || name == SO_KEEPALIVE ||
		name == SO_OOBINLINE;
}

long pair_set(struct pair_options *o, long name, const union sockopt *v)
{
	if (is_switch(name)) {
		o->switches = (o->switches & ~(1U << name)) | (uint32_t)!!v->n << name;
		return 0;
	}
	switch (name) {
	case SO_SNDBUF: o->sndbuf = sockopt_buffer(v->n, BUFFER_MOST, SEND_LEAST); return 0;
	case SO_RCVBUF: o->rcvbuf = sockopt_buffer(v->n, BUFFER_MOST, RECEIVE_LEAST); return 0;
	case SO_SNDTIMEO: return sockopt_set_time(&o->sndtimeo, &v->tv);
	case SO_RCVTIMEO: return sockopt_set_time(&o->rcvtimeo, &v->tv);
	case SO_LINGER:
		o->linger.l_onoff = !!v->linger.l_onoff;
		if (o->linger.l_onoff)
			o->linger.l_linger = v->linger.l_linger;
		return 0;
	case SO_PASSCRED: return v->n ? -EOPNOTSUPP : 0; /* there is no ancillary data */
	default: return -ENOPROTOOPT;
	}
}

long pair_get(const struct pair_options *o, long name, union sockopt *v)
{
	if (is_switch(name)) {
		v->n = o->switches >> name & 1;
		return 0;
	}
	switch (name) {
	case SO_DOMAIN: v->n = AF_UNIX; return 0;
	case SO_PROTOCOL: case SO_ACCEPTCONN: case SO_PASSCRED: v->n = 0; return 0;
	case SO_SNDBUF: v->n = o->sndbuf; return 0;
	case SO_RCVBUF: v->n = o->rcvbuf; return 0;
	case SO_SNDLOWAT: case SO_RCVLOWAT: v->n = 1; return 0;
	case SO_SNDTIMEO: v->tv = sockopt_time(o->sndtimeo); return 0;
	case SO_RCVTIMEO: v->tv = sockopt_time(o->rcvtimeo); return 0;
	case SO_LINGER: v->linger = o->linger; return 0;
	default: return -ENOPROTOOPT;
	}
}

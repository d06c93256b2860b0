/* pairopt.h: what setsockopt has said to one end of a socket pair. */
#ifndef PAIROPT_H
#define PAIROPT_H

#include "socket.h"

struct pair_options {
	int sndbuf, rcvbuf;         /* bytes, as they were said: a queue has 64 KiB */
	int64_t sndtimeo, rcvtimeo; /* ns; FOREVER */
	struct linger linger;
	uint32_t switches;          /* 1 << SO_* */
};

void pair_options_init(struct pair_options *o);
/* Options of SOL_SOCKET: 0 or -errno. */
long pair_set(struct pair_options *o, long name, const union sockopt *v);
long pair_get(const struct pair_options *o, long name, union sockopt *v);

#endif

/* network.h: the network (../net), which is linked only to programs that make sockets. */
#ifndef NETWORK_H
#define NETWORK_H

typedef long (*network_call)(long, long, long, long, long, long);

struct network {
	network_call (*call)(long nr); /* the function of a system call; NULL: not one of the network's */
	void (*forked)(void);          /* this is a child */
	void (*born)(void);            /* this is a parent, of one more */
	void (*events)(void);          /* something may have come */
	void (*exited)(void);          /* this is the end */
	void (*boot)(void);            /* the program is about to begin, and its device has no address */
};

/* musl's socket() refers to it (lib/musl/src/network). */
extern const struct network kx_network __attribute__((weak));

#endif

/* socket.h: what the calls of all kinds of sockets have in common. */
#ifndef SOCKET_H
#define SOCKET_H

#include "file.h"

#include <sys/socket.h>
#include <sys/time.h>

/* One sendmsg or recvmsg. */
struct message {
	struct uio *u;
	long flags;                   /* MSG_* of the call */
	struct sockaddr_storage name; /* where to, as the program has it; or where from */
	socklen_t namelen;            /* 0: none */
	int out;                      /* MSG_* for who receives */
};

/* The value of an option: n, but for those that are named so. */
union sockopt {
	int n;
	struct timeval tv;    /* SO_SNDTIMEO, SO_RCVTIMEO */
	struct linger linger; /* SO_LINGER */
	struct ucred cred;    /* SO_PEERCRED */
};

/* All may sleep. send and receive return bytes. */
struct socket_ops {
	long (*send)(struct file *f, struct message *m);
	long (*receive)(struct file *f, struct message *m);
	long (*shutdown)(struct file *f, int how); /* SHUT_* */
	long (*set)(struct file *f, long level, long name, const union sockopt *v);
	long (*get)(struct file *f, long level, long name, union sockopt *v);
	bool levels; /* it has options of other levels than SOL_SOCKET */
};

/* An address to the program, as far as it has room: *user_len, which becomes the whole length. 0 or -errno. */
long name_out(long user, long user_len, const void *name, socklen_t len);

/* sockopt.c: a time to wait, in ns, or FOREVER: 0 or -EDOM; and back. */
long sockopt_set_time(int64_t *ns, const struct timeval *tv);
struct timeval sockopt_time(int64_t ns);
/* Linux doubles what is asked for, up to most; who asks again gets that. */
int sockopt_buffer(int n, int most, int least);

#endif

/* socket.h: what the calls of all kinds of sockets have in common. */
#ifndef SOCKET_H
#define SOCKET_H

#include "file.h"

#include <sys/socket.h>

/* One sendmsg or recvmsg. */
struct message {
	struct uio *u;
	long flags;                   /* MSG_* of the call */
	struct sockaddr_storage name; /* where to, as the program has it; or where from */
	socklen_t namelen;            /* 0: none */
	int out;                      /* MSG_* for who receives */
};

/* All may sleep. send and receive return bytes. */
struct socket_ops {
	long (*send)(struct file *f, struct message *m);
	long (*receive)(struct file *f, struct message *m);
	long (*shutdown)(struct file *f, int how); /* SHUT_* */
};

/* An address to the program, as far as it has room: *user_len, which becomes the whole length. 0 or -errno. */
long name_out(long user, long user_len, const void *name, socklen_t len);

#endif

/* sock.h: what the files of the network's sockets share. Errors are -errno, ports in the host's order. */
#ifndef SOCK_H
#define SOCK_H

#include "file.h"
#include "socket.h"

#include <netinet/in.h>

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

enum sock_state { SOCK_FRESH, SOCK_CONNECTING, SOCK_CONNECTED, SOCK_LISTENING };

/* What setsockopt has said; a connection that is accepted has its listener's. */
struct sock_options {
	int sndbuf, rcvbuf;         /* bytes */
	int64_t sndtimeo, rcvtimeo; /* ns; FOREVER */
	struct {
		int on, seconds;
	} linger;
	bool reuse, keepalive, broadcast, nodelay, cork;
	int keep_idle, keep_intvl, keep_cnt; /* s, s, probes */
	int tos, ttl;
};

struct sock {
	int type; /* SOCK_STREAM or SOCK_DGRAM */
	enum sock_state state;
	struct tcp_pcb *tcp; /* NULL: the connection is over, as far as lwIP is concerned */
	struct udp_pcb *udp;
	struct inode *node;  /* not counted; NULL until it is accepted */
	struct list_node all;
	struct waitq q;
	struct sockaddr_in local, peer;
	struct sock_options opt;
	int error;           /* to be told once, positive; 0 */
	bool eof;            /* the peer will send no more */
	bool shut_in, shut_out;
	bool asked;          /* a listener, and this pVM has looked for a connection */
	bool asleep;         /* a listener since a fork, and this pVM has not */
	bool untold;         /* connect has not said yet how it ended */
	/* Bytes of a connection that nobody has read yet; the first came_at of them have been. */
	struct pbuf *came, *came_last;
	size_t came_at;
	struct list_node datagrams;
	size_t waiting;             /* bytes in came, or in datagrams with what each takes itself */
	struct list_node unaccepted; /* of a listener: struct sock, by pending */
	struct list_node pending;
};

#define SEND_MOST (TCP_SND_BUF)
#define RECEIVE_MOST (4 << 20) /* of datagrams that wait */

extern const struct file_ops inet_ops;
extern struct list_node socks; /* of struct sock, by all */

/* inet.c */
struct sock *sock_new(int type); /* NULL: memory is short */
void sock_free(struct sock *s);  /* and what waits in it; its pcb has gone */
void sock_event(struct sock *s); /* who waits for it looks again */
long sock_error(struct sock *s); /* the error, which has been told then; 0 */
long sock_of(long fd, struct file **f, struct sock **s); /* the file is counted */
struct sock *sock_at(const struct file *f);
long errno_of(err_t err);
/* Sleeps for what is behind q; -EAGAIN at the deadline, or -EINTR. */
long sock_wait(struct sock *s, bool nonblock, int64_t deadline);
void name_set(struct sockaddr_in *name, const ip_addr_t *ip, uint16_t port);
/* Looks for a free port, and binds to it: 0 or -errno. */
long bind_any(struct sock *s, const ip_addr_t *ip);
void socks_forked(void);
void socks_born(void);

/* options.c */
void options_init(struct sock_options *o);
void options_apply(struct sock *s); /* to its pcb */
long options_set(struct file *f, long level, long name, const union sockopt *v); /* as struct socket_ops has them */
long options_get(struct file *f, long level, long name, union sockopt *v);

/* exit.c */
void net_exited(void);

/* stack.c */
struct netif *loopback(void);
void net_forked(void);

/* tcp.c */
long tcp_make(struct sock *s);
void tcp_end(struct sock *s);
long tcp_bind_to(struct sock *s, const ip_addr_t *ip, uint16_t port);
long tcp_connect_to(struct file *f, const struct sockaddr_in *to);
long tcp_listen_on(struct sock *s, int backlog);
long tcp_take(struct file *f, struct sock **s); /* the next connection of a listener */
long tcp_put_bytes(struct file *f, struct message *m);
void tcp_push(struct sock *s); /* sends what waited for more */
long tcp_get_bytes(struct file *f, struct message *m);
long tcp_shut(struct sock *s, int how);
int tcp_poll_state(struct sock *s);
void tcp_forked(struct sock *s); /* in the child */
void tcp_born(struct sock *s);   /* in the parent */
bool tcp_asleep(uint16_t port); /* who listens there sleeps since a fork */

/* udp.c */
long udp_make(struct sock *s);
void udp_end(struct sock *s);
long udp_bind_to(struct sock *s, const ip_addr_t *ip, uint16_t port);
long udp_connect_to(struct sock *s, const struct sockaddr_in *to); /* AF_UNSPEC: no longer */
long udp_put(struct file *f, struct message *m);
long udp_get(struct file *f, struct message *m);
long udp_shut(struct sock *s, int how);
int udp_poll_state(const struct sock *s);
size_t udp_next_size(const struct sock *s);
void udp_refused(uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port); /* addresses as in packets */

#endif

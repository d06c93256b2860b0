/* pipe.h: the queues under pipes, FIFOs and socket pairs: of bytes, or of messages. */
#ifndef PIPE_H
#define PIPE_H

#include "file.h"

#define PIPE_PAGES 16
#define PIPE_SIZE (PIPE_PAGES * PAGE_SIZE)

struct pipe {
	char *page[PIPE_PAGES]; /* a page is there while it holds bytes; in the family area it stays */
	uint32_t head, tail;    /* run freely; head - tail bytes are in the pipe */
	uint32_t readers, writers; /* files of ours */
	uint32_t reader_opens, writer_opens; /* ever: what open() of a FIFO waits for */
	uint32_t shut;  /* PIPE_SHUT_*: no more bytes get in */
	bool endless;   /* it does not end with its last writer: of datagrams */
	struct waitq q;
	/* In the family area, if not 0: head, tail, page, opens, shut and the next two are the area's, as of the last look. */
	uint32_t common;
	bool any_readers, any_writers; /* any member has such ends */
	uint32_t changes;
	struct inode *node[2]; /* who is polled: of its readers, its writers */
	struct list_node on_common;
};

/* Which side has done it, with shutdown(). */
#define PIPE_SHUT_READER 1
#define PIPE_SHUT_WRITER 2

struct pipe *pipe_new(void); /* pipe_free it; NULL when memory is short */
struct inode *pipe_node(struct pipe *p); /* counted; takes over p, also if it is NULL; NULL when memory is short */
struct file *pipe_end(struct inode *n, int flags); /* one file more that reads or writes it, or NULL */
/* Bytes moved, 0 at the end (nobody writes any more), or -errno. n is who is polled. Both may sleep, up to a time; 0: not at all. What is only peeked at stays. */
long pipe_get(struct pipe *p, struct inode *n, struct uio *u, int64_t until, bool peek);
/* -EPIPE if nobody reads; with SIGPIPE unless quiet. */
long pipe_put(struct pipe *p, struct inode *n, struct uio *u, int64_t until, bool quiet);
/*
 * The same of whole messages. *size: what the message had; what does not fit is lost. -EMSGSIZE: it can never fit; -EPIPE comes
 * without the signal.
 */
long pipe_get_message(struct pipe *p, struct inode *n, struct uio *u, int64_t until, bool peek, size_t *size);
long pipe_put_message(struct pipe *p, struct inode *n, struct uio *u, int64_t until);
/* Bytes of the first message, or of all; may sleep. */
size_t pipe_messages(struct pipe *p, bool first);
/* POLL* for one who reads, writes or both. */
int pipe_state(struct pipe *p, bool reads, bool writes);
size_t pipe_used(struct pipe *p);
bool pipe_abandoned(struct pipe *p); /* its last reader has gone and left bytes behind */
/* The same; then they are gone, so one caller learns of it, of all members. May sleep. */
bool pipe_reset(struct pipe *p, struct inode *n);
void pipe_shut(struct pipe *p, struct inode *n, uint32_t side);
/* So many readers and writers more. */
void pipe_ends(struct pipe *p, struct inode *n, int readers, int writers);
/* Two descriptors into the program's array; takes over both files, either of which may be NULL. */
long install_pair(struct file *a, struct file *b, long flags, long user);

/* ---- commonpipe.c: pipes that a family shares; all of these do nothing for others ---- */

/* Its bytes go to the family area; -ENOSPC: they stay. Who is polled: node. */
long pipe_share(struct pipe *p, struct inode *readers, struct inode *writers);
/* Around every change: in between the pipe is as the family has it. 0, -EBUSY: a relative works on it, or -EIO. */
long pipe_enter(struct pipe *p);
void pipe_leave(struct pipe *p, bool changed);
void pipe_look(struct pipe *p);  /* the same to look only */
bool pipe_watch(struct pipe *p); /* a relative has changed what was found at the last entry; it is looked for no longer than a sleep is worth */
void pipe_await(struct pipe *p); /* q is woken from now on when relatives change something; look again after it */
char *pipe_common_page(struct pipe *p); /* NULL: the area is full */
void pipe_common_ends(struct pipe *p, int readers, int writers); /* before the counts change */
void pipe_common_shut(struct pipe *p, uint32_t side);
/* Who knows the secret, which is not 0, may take up the writing end of a shared pipe: once, or never if it is taken back before. */
void pipe_offer(struct pipe *p, uint32_t secret);
bool pipe_claim(struct pipe *p, uint32_t secret); /* takes it up, or back; false: it was already, or this pipe was never offered */
/* Its ends are descriptors of members for a while only, which that number names; until somebody has said that they are no more. */
void pipe_lend(struct pipe *p, uint32_t number);
bool pipe_is_lent(struct pipe *p, uint32_t number);
void pipe_return(struct pipe *p);
bool pipe_is_returned(struct pipe *p);
/* A pipe of the family's, of which we hold no end yet. NULL: memory is short. */
struct pipe *pipe_of_family(uint32_t page);

#endif

/* pipe.h: the byte queues under pipes, FIFOs and socket pairs. */
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
	struct waitq q;
	/* In the family area, if not 0: head, tail, page, opens and the next two are the area's, as of the last look. */
	uint32_t common;
	bool any_readers, any_writers; /* any member has such ends */
	uint32_t changes;
	struct inode *node;
	struct list_node on_common;
};

struct pipe *pipe_new(void); /* pipe_free it; NULL when memory is short */
/* Bytes moved, 0 at the end (nobody writes any more), or -errno. n is who is polled. Both may sleep. */
long pipe_get(struct pipe *p, struct inode *n, struct uio *u, bool nonblock);
/* -EPIPE if nobody reads; with SIGPIPE unless quiet. */
long pipe_put(struct pipe *p, struct inode *n, struct uio *u, bool nonblock, bool quiet);
/* POLL* for one who reads, writes or both. */
int pipe_state(struct pipe *p, bool reads, bool writes);
size_t pipe_used(struct pipe *p);
/* So many readers and writers more. */
void pipe_ends(struct pipe *p, struct inode *n, int readers, int writers);
/* Two descriptors into the program's array; takes over both files, either of which may be NULL. */
long install_pair(struct file *a, struct file *b, long flags, long user);

/* ---- commonpipe.c: pipes that a family shares; all of these do nothing for others ---- */

long pipe_share(struct pipe *p, struct inode *n); /* its bytes go to the family area; -ENOSPC: they stay */
/* Around every change: in between the pipe is as the family has it. 0, -EBUSY: a relative works on it, or -EIO. */
long pipe_enter(struct pipe *p);
void pipe_leave(struct pipe *p, bool changed);
void pipe_look(struct pipe *p);  /* the same to look only */
void pipe_await(struct pipe *p); /* q is woken from now on when relatives change something; look again after it */
char *pipe_common_page(struct pipe *p); /* NULL: the area is full */
void pipe_common_ends(struct pipe *p, int readers, int writers); /* before the counts change */

#endif

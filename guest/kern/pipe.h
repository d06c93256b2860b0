/* pipe.h: the byte queues under pipes, FIFOs and socket pairs. */
#ifndef PIPE_H
#define PIPE_H

#include "file.h"

struct pipe *pipe_new(void); /* pipe_free it; NULL when memory is short */
/* Bytes moved, 0 at the end (nobody writes any more), or -errno. n is who is polled. Both may sleep. */
long pipe_get(struct pipe *p, struct inode *n, struct uio *u, bool nonblock);
/* -EPIPE if nobody reads; with SIGPIPE unless quiet. */
long pipe_put(struct pipe *p, struct inode *n, struct uio *u, bool nonblock, bool quiet);
/* POLL* for one who reads, writes or both. */
int pipe_state(const struct pipe *p, bool reads, bool writes);
size_t pipe_used(const struct pipe *p);
/* So many readers and writers more. */
void pipe_ends(struct pipe *p, struct inode *n, int readers, int writers);
/* Two descriptors into the program's array; takes over both files, either of which may be NULL. */
long install_pair(struct file *a, struct file *b, long flags, long user);

#endif

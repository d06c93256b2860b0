/* p9.h: 9P2000.L to the engine's server of folders of the host. One request at a time; the whole pVM waits for its answer. */
#ifndef P9_H
#define P9_H

#include "kern.h"

#include <stdbool.h>

/* What the server knows something by. */
struct fid {
	uint32_t number;
	uint32_t server; /* which one knows it, as kx_files.server; 0: none */
};

enum p9_type {
	P9_RLERROR = 7,
	P9_STATFS = 8,
	P9_LOPEN = 12,
	P9_LCREATE = 14,
	P9_SYMLINK = 16,
	P9_READLINK = 22,
	P9_GETATTR = 24,
	P9_SETATTR = 26,
	P9_READDIR = 40,
	P9_FSYNC = 50,
	P9_LINK = 70,
	P9_MKDIR = 72,
	P9_RENAMEAT = 74,
	P9_UNLINKAT = 76,
	P9_VERSION = 100,
	P9_ATTACH = 104,
	P9_WALK = 110,
	P9_READ = 116,
	P9_WRITE = 118,
	P9_CLUNK = 120,
};

#define P9_DATA_MAX (KX_FILES_SIZE - 24) /* bytes of one read or write */
#define P9_QID_DIR 0x80
#define P9_QID_SYMLINK 2

/* An engine has followed another one: its server does not know the fid. What was asked for has not been done. */
#define P9_STALE (-4096)

/*
 * A request is begun with its type, then filled, and sent by p9_call, after which the reply is read in its place. 0 or -errno. Of a request
 * that was under way when an engine died nobody knows whether it has been done: with again it may be done twice, and the result is P9_STALE, else -EIO.
 */
void p9_begin(enum p9_type type);
void p9_put(uint64_t v, size_t bytes);
void p9_put_fid(const struct fid *f);
void p9_text(const char *s, size_t len);
void *p9_room(void); /* where the next byte goes; P9_DATA_MAX bytes are there behind a header */
void p9_skip(size_t n);
long p9_call(bool again);
/* Of the reply. What it lacks is 0, and p9_bad() true. */
uint64_t p9_take(size_t bytes);
const void *p9_piece(size_t n); /* NULL: it is shorter */
bool p9_bad(void);

/* The server to which fids belong now. With another engine's it is introduced to the pVM first; 0 or -errno. */
long p9_server(uint32_t *server);
struct fid p9_fid(uint32_t server); /* a number that is not in use */
bool p9_knows(const struct fid *f);  /* whether f is of the server that there is now */
void p9_clunk(struct fid *f);
void p9_forked(void); /* the child has a server of its own */

#endif

/* host.h: folders of the host as the file layer sees them: FS_HOST. Nothing is remembered that the host may change: each use asks. */
#ifndef HOST_H
#define HOST_H

#include "file.h"
#include "p9.h"

struct host {
	struct fid fid;
	struct fid made;   /* of a file that was made just now and is to be opened: the open file */
	int made_flags;
	struct dent *dent; /* its name, not counted; NULL: it has none any more */
	uint32_t born;     /* tells it from another file that has got its number */
	uint32_t mount;    /* which folder */
	bool top;          /* it is that folder */
	uint64_t blocks;
};

#define RETRY(call) ({ long retry_r; do retry_r = (call); while (retry_r == P9_STALE); retry_r; })

/* What the server says of an entry. */
struct qid {
	uint8_t type;  /* P9_QID_* */
	uint32_t born; /* as host.born */
	uint64_t ino;
};

/* ---- host.c: 0, -errno or P9_STALE ---- */

long host_reach(struct inode *n); /* its fid is one of the server's */
long host_clone(struct inode *n, struct fid *f); /* another one */
/* From dir, which was reached, to its entry, or with len 0 to itself; *f is its fid, *qid what it is. */
long host_walk(struct inode *dir, const char *name, size_t len, struct fid *f, struct qid *qid);
long host_attributes(struct inode *n); /* of what was reached: its fields are as the host has them */

/* ---- hostfile.c ---- */

extern const struct file_ops host_ops, host_dir_ops;

/* An entry of a folder. */
struct host_entry {
	uint64_t ino, next;
	unsigned type; /* DT_* */
	const char *name;
	size_t len;
};
/* Asks for entries from a position on; how many bytes came, 0 at the end. host_entry takes them one by one, before any other request. */
long host_list(struct file *f, uint64_t from, size_t max);
bool host_entry(struct host_entry *e);

#endif

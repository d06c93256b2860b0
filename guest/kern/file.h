/*
 * file.h: what the parts of the file layer know of each other.
 *
 * An inode is a thing that can be opened, a dent is a name that leads to one, a file is what open()
 * makes (shared by dup), and the descriptor table maps numbers to files. All four are counted:
 * what returns one of them "counted" hands over a reference that the caller puts back.
 * Functions return 0 or a positive result, or -errno.
 */
#ifndef FILE_H
#define FILE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "kern.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct file;
struct dent;
struct inode;
struct epoll_item;
struct socket_ops;
struct host;
struct statfs;

/* ---- uio.c: one transfer between a file and the caller's buffers ---- */

struct uio {
	const struct iovec *iov; /* the kernel's copy */
	size_t iovs;             /* vectors left */
	size_t skip;             /* bytes of the first that are done */
	size_t left;             /* bytes in all */
	struct iovec one;        /* what iov points to for a single buffer */
	struct iovec *heap;      /* what iov points to for many */
};

void uio_single(struct uio *u, void *buf, size_t n); /* of the program or of the kernel */
int uio_vector(struct uio *u, long user_iov, long count); /* undone by uio_end, if it gave 0 */
void uio_end(struct uio *u);
/* Move up to n bytes between p and the buffers: bytes moved, or -EFAULT if a fault stopped the first. */
long uio_out(struct uio *u, const void *p, size_t n);
long uio_in(struct uio *u, void *p, size_t n);
/* The next piece of the buffers that is contiguous; *n is 0 at the end. */
void *uio_piece(struct uio *u, size_t *n);
void uio_advance(struct uio *u, size_t n);

/* ---- inode.c ---- */

struct file_ops {
	const char *name; /* of what has no path: "pipe", "eventfd" */
	long (*read)(struct file *f, struct uio *u, uint64_t *pos);
	long (*write)(struct file *f, struct uio *u, uint64_t *pos);
	int (*poll)(struct file *f); /* POLL* as of now; NULL: always POLLIN | POLLOUT */
	long (*ioctl)(struct file *f, unsigned long request, long arg); /* NULL, or -ENOTTY: not a known request */
	long (*open)(struct file *f); /* may sleep; on error, close is not called */
	void (*close)(struct file *f);
	/* Before a fork: what is behind it goes to the family area; 0 or -ENOSPC. NULL: it stays a copy. */
	long (*share)(struct file *f);
	void (*news)(struct file *f); /* relatives have called file_changed */
	const struct socket_ops *socket; /* socket.h; NULL: not a socket */
	bool stream; /* has no position: lseek and pread give ESPIPE */
	bool tells;  /* whatever makes poll say more calls inode_event, at once; not so what relatives, or the terminal, change */
};

/*
 * The bytes of a regular file: a radix tree of pages, 512-fold. What it lacks is read from base
 * (file data inside the root archive, never written) and beyond that it is a hole.
 */
struct pages {
	void *root;       /* height 0: the only page */
	unsigned height;
	uint64_t count;   /* data pages in the tree */
	const uint8_t *base;
	uint64_t base_len;
	uint32_t common;  /* in the family area, if not 0: this object has the pages, and root is NULL */
};

struct dir {
	struct list_node entries;  /* struct dent, by sibling; oldest first */
	struct dent **table;       /* hash chains of the same; NULL while there are few */
	uint32_t buckets, count;
	uint64_t next_cookie;
	struct dent *self;
	int (*fill)(struct dent *self); /* makes the first entries, when somebody looks; then NULL */
	/* For folders whose entries come and go by themselves. A counted dent, or NULL: no such name. */
	struct dent *(*lookup)(struct dent *self, const char *name, size_t len);
	/* The first such entry that comes at or after *at; moves *at beyond it; its name's length, 0 at the end. */
	int (*list)(uint64_t *at, char *name, size_t max);
};

/* Who wants to know what happens to an inode. */
struct watch {
	struct list_node on_node;      /* inode.watches */
	void (*event)(struct watch *); /* must not sleep */
};

enum fs { FS_ROOT = 1, FS_PROC, FS_PIPE, FS_ANON, FS_HOST };

struct inode {
	uint32_t refs;
	uint32_t nlink;
	uint64_t ino;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	enum fs fs;
	uint32_t seals;  /* F_SEAL_* of a memfd */
	uint32_t edges;  /* readiness events so far: what EPOLLET looks at */
	struct list_node watches; /* struct watch, by on_node */
	uint64_t size;
	int64_t atime, mtime, ctime, btime; /* real_ns() */
	const struct file_ops *ops;
	union {
		struct pages pages;  /* regular files */
		struct dir dir;
		char *target;        /* symbolic links */
		struct pipe *pipe;   /* FIFOs and pipes */
		const struct proc_file *proc;
	};
	/* For links that lead to a thing, not to a path: /proc/self/fd. Both results counted; dent may be NULL. */
	long (*follow)(struct inode *link, struct inode **node, struct dent **dent);
	/* ... and what readlink says of them: kmalloc'ed, or NULL when memory is short. */
	char *(*text)(const struct inode *link);
	struct list_node on_common; /* of regular files whose pages are in the family area */
	struct host *host; /* of FS_HOST; else NULL */
};

/* Counted, nlink 0, owned by root, made now; NULL when memory is short. */
struct inode *inode_new(mode_t mode, enum fs fs);
struct inode *inode_get(struct inode *n);
void inode_put(struct inode *n);
/* Something happened that poll() or EPOLLET may want to know. */
void inode_event(struct inode *n);
void inode_stat(struct inode *n, struct stat *st);
void inode_modified(struct inode *n); /* mtime and ctime are now */
void inode_changed(struct inode *n);  /* ctime is now */

/* ---- commonfile.c: regular files that a family shares ---- */

/*
 * Around every use of size, times and pages of a regular file: in between they are what the family has, and nobody
 * else changes them. 0, or -EIO and no node_leave. Nothing in between may sleep; node_enter may.
 */
long node_enter(struct inode *n);
void node_leave(struct inode *n, bool changed);
void *common_page(const struct pages *p, uint64_t index); /* as ramfs's tree: NULL, BLANK or a page */
bool common_set(struct pages *p, uint64_t index, void *page); /* any of these; what was there is freed */
void *common_new(const struct pages *p); /* NULL: the area is full */
void common_trim(struct pages *p, uint64_t index); /* from there on there is nothing */
uint64_t common_next(const struct pages *p, uint64_t index); /* the first page at or after it; UINT64_MAX: none */
bool common_begin(struct pages *p); /* an object for pages that are to be shared; false: the area is full */
void common_end(struct inode *n);   /* they are: size and times go there, too */
void common_leave(struct pages *p); /* we have no more to do with them */
void node_forget(struct inode *n);   /* it is going */

/* ---- dent.c: names and folders ---- */

struct dent {
	uint32_t refs;   /* one of them is its folder's */
	uint32_t hash;
	struct dent *parent; /* counted; NULL for the root and for names outside the tree */
	struct inode *node;  /* counted */
	struct list_node sibling;
	struct dent *chain;
	uint64_t cookie; /* position in getdents order */
	bool dead;       /* removed from its folder */
	uint8_t len;
	char *name;      /* NUL-terminated */
};

extern struct dent root_dent;

struct dent *dent_get(struct dent *d);
void dent_put(struct dent *d);
struct dent *dent_new(struct dent *parent, struct inode *n, const char *name, size_t len);
/* -ENOENT; otherwise *out is counted. */
long dir_lookup(struct dent *dir, const char *name, size_t len, struct dent **out);
/* Enters a new name for n, which gains a link: 0 or -ENOSPC. *out, unless NULL, is counted. */
long dir_enter(struct dent *dir, struct inode *n, const char *name, size_t len, struct dent **out);
void dir_remove(struct dent *d);
/* Moves d to another folder or name, both new. */
long dir_move(struct dent *d, struct dent *to, const char *name, size_t len);
void dir_swap(struct dent *a, struct dent *b);
int dir_fill(struct dent *dir);
bool dir_is_empty(struct dent *dir);
void dir_free(struct inode *n);
/* Whether d is dir or lies below it. */
bool dent_below(const struct dent *d, const struct dent *dir);
/* The absolute path; its start inside buf, or NULL if it does not fit. A removed name gets " (deleted)". */
char *dent_path(const struct dent *d, char *buf, size_t max);
/* Makes and enters an inode in one step. *out counted, unless NULL. */
long dir_make(struct dent *dir, mode_t mode, const char *name, size_t len, struct dent **out);
long dir_make_link(struct dent *dir, const char *target, const char *name, size_t len);

/* ---- ramfs.c: the bytes of regular files ---- */

extern const struct file_ops ramfs_ops;
/* What a page's place in the tree holds where base must not show through and no page was needed: it reads as zeroes. */
extern const uint8_t ramfs_zeroes[KX_PAGE_SIZE];
#define BLANK ((void *)ramfs_zeroes)
void pages_free(struct pages *p);
long ramfs_truncate(struct inode *n, uint64_t size);
long ramfs_allocate(struct inode *n, uint64_t from, uint64_t to, bool keep_size);
long ramfs_punch(struct inode *n, uint64_t from, uint64_t to);
/* SEEK_DATA or SEEK_HOLE from there on; -ENXIO. */
long ramfs_seek(struct inode *n, uint64_t from, bool data);
uint64_t ramfs_free_pages(void);

/* ---- tar.c, mount.c ---- */

/* Unpacks the archive into dir; files keep pointing into it. Malformed parts are logged and skipped. */
void tar_unpack(struct dent *dir, const uint8_t *tar, uint64_t len);
/* Makes the folders on the way to the last component of path; dir and *parent counted. */
long make_parents(struct dent *dir, const char *path, struct dent **parent, const char **last, size_t *len);
int dev_fill(struct dent *dir);
int proc_fill(struct dent *dir);

/* ---- host.c, hostname.c, hostfile.c: folders of the host, by the engine. All of it may be in vain, with -EIO, when an engine has died meanwhile ---- */

/* Flags with which the host opens a file. */
#define HOST_OPEN_FLAGS (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC)

/* Which of struct host_set are meant; times that are not given are now. */
enum {
	HOST_MODE = 1, HOST_UID = 2, HOST_GID = 4, HOST_SIZE = 8, HOST_ATIME = 16, HOST_MTIME = 32,
	HOST_ATIME_SET = 128, HOST_MTIME_SET = 256,
};
struct host_set {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec times[2];
};

/* Mounts those that the engine has. Ends the pVM if one cannot be. */
void host_mounts(struct dent *root);
/* As dir_lookup, dir_make and dir_make_link, in a folder of the host; of files and folders only, else -EPERM. */
long host_lookup(struct dent *dir, const char *name, size_t len, struct dent **out);
long host_make(struct dent *dir, mode_t mode, const char *name, size_t len, struct dent **out);
long host_symlink(struct dent *dir, const char *target, const char *name, size_t len);
/* A new file that will be opened with these flags. */
long host_create(struct dent *dir, mode_t mode, int flags, const char *name, size_t len, struct dent **out);
long host_link(struct inode *n, struct dent *dir, const char *name, size_t len);
long host_unlink(struct dent *d, int flags); /* AT_REMOVEDIR */
/* replaced is what has the name, or NULL. */
long host_rename(struct dent *d, struct dent *replaced, struct dent *dir, const char *name, size_t len);
/* An inode's fields are as the host has them; of other file systems they always are. */
long host_refresh(struct inode *n);
long host_set(struct inode *n, const struct host_set *s);
long host_times(struct inode *n, const struct timespec ts[2]);
long host_truncate(struct inode *n, uint64_t size);
long host_statfs(struct inode *n, struct statfs *s);
long host_sync(struct file *f, bool data);
void host_forget(struct inode *n); /* it is going */
void host_unname(struct dent *d);  /* likewise */

/* ---- path.c ---- */

enum walk_flags {
	WALK_FOLLOW = 1, /* a symbolic link in the last place is followed */
	WALK_CREATE = 2, /* the last component may be missing */
	WALK_PARENT = 4, /* ... and is taken as it is, even with a slash behind it */
	WALK_EMPTY = 8,  /* AT_EMPTY_PATH */
};
enum walk_last { LAST_NAME, LAST_ROOT, LAST_DOT, LAST_DOTDOT };

struct walk {
	struct dent *parent; /* counted: the folder of the last component */
	struct inode *node;  /* counted: where the path leads; NULL: no such thing */
	struct dent *dent;   /* counted; NULL for what has no name */
	const char *name;    /* last component */
	size_t len;
	enum walk_last last;
	bool slash;          /* a slash followed it */
	char *buf;
};

/* Follows a path of the program; walk_end even after an error. */
long walk_user(struct walk *w, long dirfd, long path, int flags);
long walk_kernel(struct walk *w, const char *path, int flags);
void walk_end(struct walk *w);
/* Like walk_user, and only the inode counts; AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH are obeyed. */
long walk_node(long dirfd, long path, int at_flags, struct inode **n);
long path_in(long user, char **kernel); /* kfree it */
/* What readlink says of a symbolic link, also of one that leads to a thing; kfree it. */
long link_text(const struct inode *n, char **text);

extern struct dent *cwd; /* counted; NULL: the root */
extern mode_t file_mask; /* umask */
struct dent *cwd_get(void); /* counted */

/* ---- fd.c ---- */

struct file {
	uint32_t refs;
	int flags;           /* O_* of open, without the creation flags */
	uint64_t pos;        /* of an eventfd: its count */
	struct inode *node;  /* counted */
	struct dent *dent;   /* counted, or NULL */
	const struct file_ops *ops;
	void *priv;
	int owner;           /* F_SETOWN */
	uint32_t common;     /* object of the family area that has flags and pos, or 0 */
	uint32_t changes;    /* of that object, as of the last look */
	struct list_node on_common;
};

/* What F_SETFL changes. */
#define FILE_SETTABLE (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)
/* common.c: flags and position of an open file are in the family area if others have it, too. */
void file_refresh(struct file *f); /* flags are as others have set them */
void file_set_flags(struct file *f, int set, int clear);
long file_pos_enter(struct file *f); /* as node_enter, for pos */
void file_pos_leave(struct file *f);
void file_leave(struct file *f); /* it is going */
uint64_t *file_word(struct file *f);  /* pos, wherever it is; NULL: a relative has spoilt it */
void file_changed(struct file *f);    /* that has changed: who has it looks */
void file_await(struct file *f);      /* file_ops.news comes when relatives change it; look again after it */

/* Takes over the references to n and d, even if it fails. */
struct file *file_new(struct inode *n, struct dent *d, const struct file_ops *ops, int flags);
struct file *file_get(struct file *f);
void file_put(struct file *f);
/* The file behind a descriptor, counted. file_of refuses O_PATH files, as most calls do. */
long file_of(long fd, struct file **f);
long file_of_any(long fd, struct file **f);
/* Whether the descriptor's entry holds this very file. */
bool fd_holds(int fd, const struct file *f);
/* The lowest free descriptor, from min on; takes over f, even if it fails. */
long fd_install(struct file *f, int min, bool cloexec);
long fd_close(long fd);
/* fd, which is less than 16 or open, becomes f, which is taken over. */
void fd_replace(int fd, struct file *f, bool cloexec);
void fd_set_cloexec(long fd, bool on); /* of an open descriptor */
/* The first open descriptor at or after fd, or -1. */
int fd_next(int fd);
/* An inode and a file for a thing without a name. */
struct file *file_anonymous(const struct file_ops *ops, void *priv, int flags);

static inline bool file_reads(const struct file *f)
{
	return (f->flags & (O_ACCMODE | O_PATH)) == O_RDONLY || (f->flags & (O_ACCMODE | O_PATH)) == O_RDWR;
}

static inline bool file_writes(const struct file *f)
{
	return (f->flags & (O_ACCMODE | O_PATH)) == O_WRONLY || (f->flags & (O_ACCMODE | O_PATH)) == O_RDWR;
}

/* ---- offer.c ---- */

/* Whether this was descriptor 0 for a while only, and has come to its end: then that is the console again. */
bool offer_over(const struct file *f);

/* ---- rw.c ---- */

/* Who sleeps in a read or write of this file looks again what its descriptor is: that is another file now. */
void movers_look_again(const struct file *f);

/* ---- open.c, dev.c, pipe.c, poll.c, epoll.c, proc.c ---- */

/* The operations of what an inode is; NULL: it cannot be opened. */
const struct file_ops *ops_of(const struct inode *n);
extern const struct file_ops dir_ops, pipe_ops, fifo_ops, epoll_ops, proc_ops;
const struct file_ops *dev_ops(dev_t rdev);
bool dev_is_console(const struct file *f); /* ... which is no terminal */
bool dev_maps_zeroes(const struct file *f); /* /dev/zero */
void pipe_free(struct pipe *p);
int file_poll(struct file *f);
/* f is going: forget it. */
void epoll_forget(struct file *f);
bool epoll_watches(const struct file *f);

#endif

/* inode.c: the things that files are. */
#include "host.h"

struct inode *inode_new(mode_t mode, enum fs fs)
{
	static uint64_t last_ino = 1; /* 1 is the root */
	struct inode *n = kzalloc(sizeof(*n));

	if (!n)
		return NULL;
	n->refs = 1;
	n->ino = ++last_ino;
	n->mode = mode;
	n->fs = fs;
	list_init(&n->watches);
	n->atime = n->mtime = n->ctime = n->btime = real_ns();
	if (S_ISDIR(mode)) {
		list_init(&n->dir.entries);
		n->dir.next_cookie = 3; /* 1 and 2 follow "." and ".." */
	}
	return n;
}

struct inode *inode_get(struct inode *n)
{
	n->refs++;
	return n;
}

void inode_put(struct inode *n)
{
	if (!n || --n->refs)
		return;
	if (n->host)
		host_forget(n);
	if (n->ops == &ramfs_ops) {
		node_forget(n);
		pages_free(&n->pages);
	} else if (S_ISDIR(n->mode))
		dir_free(n);
	else if (S_ISFIFO(n->mode) && n->fs != FS_HOST)
		pipe_free(n->pipe);
	else if (S_ISLNK(n->mode))
		kfree(n->target);
	kfree(n);
}

void inode_event(struct inode *n)
{
	n->edges++;
	for (struct list_node *p = n->watches.next; p != &n->watches; p = p->next) {
		struct watch *w = CONTAINER_OF(p, struct watch, on_node);

		w->event(w);
	}
	poll_wake();
}

void inode_modified(struct inode *n)
{
	n->mtime = n->ctime = real_ns();
}

void inode_changed(struct inode *n)
{
	if (node_enter(n))
		return;
	n->ctime = real_ns();
	node_leave(n, true);
}

void inode_stat(struct inode *n, struct stat *st)
{
	bool entered = !node_enter(n);

	memset(st, 0, sizeof(*st));
	st->st_dev = n->host ? n->fs + n->host->mount : n->fs;
	st->st_ino = n->ino;
	st->st_nlink = n->nlink;
	st->st_mode = n->mode;
	st->st_uid = n->uid;
	st->st_gid = n->gid;
	st->st_rdev = n->rdev;
	st->st_size = n->size;
	st->st_blksize = PAGE_SIZE;
	if (n->ops == &ramfs_ops)
		st->st_blocks = (n->pages.count << PAGE_SHIFT) / 512 + (n->pages.base_len + 511) / 512;
	else if (n->host)
		st->st_blocks = n->host->blocks;
	ns_to_timespec(n->atime, &st->st_atim);
	ns_to_timespec(n->mtime, &st->st_mtim);
	ns_to_timespec(n->ctime, &st->st_ctim);
	if (entered)
		node_leave(n, false);
}

/* dent.c: names, and the folders that hold them. */
#include "file.h"

#define TABLE_FROM 16 /* entries from which a folder has a hash table */

static struct inode root_inode = {
	.refs = 1,
	.nlink = 2,
	.ino = 1,
	.mode = S_IFDIR | 0755,
	.fs = FS_ROOT,
	.watches = {&root_inode.watches, &root_inode.watches},
	.dir = {
		.entries = {&root_inode.dir.entries, &root_inode.dir.entries},
		.next_cookie = 3,
		.self = &root_dent,
	},
};
struct dent root_dent = {.refs = 1, .node = &root_inode, .name = ""};

struct dent *dent_get(struct dent *d)
{
	d->refs++;
	return d;
}

void dent_put(struct dent *d)
{
	while (d && !--d->refs) {
		struct dent *parent = d->parent;

		if (S_ISDIR(d->node->mode) && d->node->dir.self == d)
			d->node->dir.self = NULL;
		if (d->node->host)
			host_unname(d);
		inode_put(d->node);
		kfree(d->name);
		kfree(d);
		d = parent;
	}
}

/* FNV-1a */
static uint32_t name_hash(const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	while (len--)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return h;
}

static char *name_copy(const char *name, size_t len)
{
	char *p = kmalloc(len + 1);

	if (p) {
		memcpy(p, name, len);
		p[len] = 0;
	}
	return p;
}

struct dent *dent_new(struct dent *parent, struct inode *n, const char *name, size_t len)
{
	struct dent *d = kzalloc(sizeof(*d));

	if (!d)
		return NULL;
	d->name = name_copy(name, len);
	if (!d->name) {
		kfree(d);
		return NULL;
	}
	d->refs = 1;
	d->len = len;
	d->hash = name_hash(name, len);
	d->parent = parent ? dent_get(parent) : NULL;
	d->node = inode_get(n);
	if (S_ISDIR(n->mode) && !n->dir.self)
		n->dir.self = d;
	return d;
}

/* ---- the table of a folder ---- */

static void chain_in(struct dir *dir, struct dent *d)
{
	struct dent **slot = &dir->table[d->hash & (dir->buckets - 1)];

	d->chain = *slot;
	*slot = d;
}

static void chain_out(struct dir *dir, struct dent *d)
{
	struct dent **slot = &dir->table[d->hash & (dir->buckets - 1)];

	while (*slot != d)
		slot = &(*slot)->chain;
	*slot = d->chain;
}

/* Makes room for one more name. Without memory for a larger table the chains become longer, no more. */
static void table_grow(struct dir *dir)
{
	uint32_t buckets = MAX(dir->buckets * 2, TABLE_FROM * 2);
	struct dent **table;

	if (dir->count < TABLE_FROM || dir->count < dir->buckets)
		return;
	table = kzalloc(buckets * sizeof(*table));
	if (!table)
		return;
	kfree(dir->table);
	dir->table = table;
	dir->buckets = buckets;
	for (struct list_node *p = dir->entries.next; p != &dir->entries; p = p->next)
		chain_in(dir, CONTAINER_OF(p, struct dent, sibling));
}

static void attach(struct dir *dir, struct dent *d)
{
	table_grow(dir);
	d->cookie = dir->next_cookie++;
	list_add_tail(&dir->entries, &d->sibling);
	if (dir->table)
		chain_in(dir, d);
	dir->count++;
}

static void detach(struct dir *dir, struct dent *d)
{
	list_del(&d->sibling);
	if (dir->table)
		chain_out(dir, d);
	dir->count--;
}

static struct dent *table_find(struct dir *dir, const char *name, size_t len)
{
	uint32_t hash = name_hash(name, len);
	struct dent *d;

	if (dir->table) {
		for (d = dir->table[hash & (dir->buckets - 1)]; d; d = d->chain)
			if (d->hash == hash && d->len == len && !memcmp(d->name, name, len))
				return d;
		return NULL;
	}
	for (struct list_node *p = dir->entries.next; p != &dir->entries; p = p->next) {
		d = CONTAINER_OF(p, struct dent, sibling);
		if (d->hash == hash && d->len == len && !memcmp(d->name, name, len))
			return d;
	}
	return NULL;
}

/* ---- what others call ---- */

int dir_fill(struct dent *dir)
{
	int (*fill)(struct dent *) = dir->node->dir.fill;

	dir->node->dir.fill = NULL;
	return fill ? fill(dir) : 0;
}

long dir_lookup(struct dent *dir, const char *name, size_t len, struct dent **out)
{
	struct dir *table = &dir->node->dir;
	struct dent *d;
	long err = dir_fill(dir);

	if (err)
		return err;
	if (dir->node->host)
		return host_lookup(dir, name, len, out);
	d = table_find(table, name, len);
	if (d)
		dent_get(d);
	else if (table->lookup)
		d = table->lookup(dir, name, len);
	*out = d;
	return d ? 0 : -ENOENT;
}

long dir_enter(struct dent *dir, struct inode *n, const char *name, size_t len, struct dent **out)
{
	struct dent *d;

	if (dir->dead)
		return -ENOENT;
	d = dent_new(dir, n, name, len);
	if (!d)
		return -ENOSPC;
	attach(&dir->node->dir, d);
	n->nlink += S_ISDIR(n->mode) ? 2 : 1;
	dir->node->nlink += S_ISDIR(n->mode) ? 1 : 0;
	inode_changed(n);
	inode_modified(dir->node);
	if (out)
		*out = dent_get(d);
	return 0;
}

void dir_remove(struct dent *d)
{
	struct inode *dir = d->parent->node;
	bool is_dir = S_ISDIR(d->node->mode);

	detach(&dir->dir, d);
	d->dead = true;
	d->node->nlink -= is_dir ? 2 : 1;
	dir->nlink -= is_dir ? 1 : 0;
	inode_changed(d->node);
	inode_modified(dir);
	dent_put(d);
}

long dir_move(struct dent *d, struct dent *to, const char *name, size_t len)
{
	struct dent *from = d->parent;
	char *copy = name_copy(name, len);

	if (!copy)
		return -ENOSPC;
	detach(&from->node->dir, d);
	kfree(d->name);
	d->name = copy;
	d->len = len;
	d->hash = name_hash(name, len);
	d->parent = dent_get(to);
	attach(&to->node->dir, d);
	if (S_ISDIR(d->node->mode)) {
		from->node->nlink--;
		to->node->nlink++;
	}
	inode_changed(d->node);
	inode_modified(from->node);
	inode_modified(to->node);
	dent_put(from);
	return 0;
}

/* The names stay where they are, with the other's inode behind them. */
void dir_swap(struct dent *a, struct dent *b)
{
	struct dent *pa = a->parent, *pb = b->parent;
	struct dent tmp = *a;

	detach(&pa->node->dir, a);
	detach(&pb->node->dir, b);
	a->name = b->name, a->len = b->len, a->hash = b->hash, a->parent = pb;
	b->name = tmp.name, b->len = tmp.len, b->hash = tmp.hash, b->parent = pa;
	attach(&pb->node->dir, a);
	attach(&pa->node->dir, b);
	pa->node->nlink += S_ISDIR(b->node->mode) - S_ISDIR(a->node->mode);
	pb->node->nlink += S_ISDIR(a->node->mode) - S_ISDIR(b->node->mode);
	inode_changed(a->node);
	inode_changed(b->node);
	inode_modified(pa->node);
	inode_modified(pb->node);
}

bool dir_is_empty(struct dent *dir)
{
	return !dir_fill(dir) && list_empty(&dir->node->dir.entries) && !dir->node->dir.lookup;
}

/* Entries hold their folder, so there are none left here. */
void dir_free(struct inode *n)
{
	kfree(n->dir.table);
}

bool dent_below(const struct dent *d, const struct dent *dir)
{
	for (; d; d = d->parent)
		if (d == dir)
			return true;
	return false;
}

static char *prepend(char *buf, char *p, const char *s, size_t n)
{
	if ((size_t)(p - buf) < n)
		return NULL;
	return memcpy(p - n, s, n);
}

char *dent_path(const struct dent *d, char *buf, size_t max)
{
	static const char deleted[] = " (deleted)";
	char *p = buf + max - 1;

	*p = 0;
	if (d->dead)
		p = prepend(buf, p, deleted, sizeof(deleted) - 1);
	if (!d->parent && d->len == 0)
		return prepend(buf, p, "/", 1);
	for (; p && d && d->len; d = d->parent) {
		p = prepend(buf, p, d->name, d->len);
		if (p)
			p = prepend(buf, p, "/", 1);
	}
	return p;
}

long dir_make(struct dent *dir, mode_t mode, const char *name, size_t len, struct dent **out)
{
	struct inode *n;
	long err;

	if (dir->node->host)
		return host_make(dir, mode, name, len, out);
	n = inode_new(mode, dir->node->fs);
	if (!n)
		return -ENOSPC;
	n->ops = S_ISREG(mode) ? &ramfs_ops : NULL;
	n->seals = F_SEAL_SEAL;
	err = dir_enter(dir, n, name, len, out);
	inode_put(n);
	return err;
}

long dir_make_link(struct dent *dir, const char *target, const char *name, size_t len)
{
	struct inode *n;
	long err = -ENOSPC;

	if (dir->node->host)
		return host_symlink(dir, target, name, len);
	n = inode_new(S_IFLNK | 0777, dir->node->fs);
	if (!n)
		return err;
	n->size = strlen(target);
	n->target = name_copy(target, n->size);
	if (n->target)
		err = dir_enter(dir, n, name, len, NULL);
	inode_put(n);
	return err;
}

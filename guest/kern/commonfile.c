/*
 * commonfile.c: regular files in the family area. An object has size, times and a table of two levels with the numbers
 * of the pages; while somebody uses the file he has its lock, and the inode's fields are a copy of the object's.
 */
#include "common.h"
#include "family.h"

#define PER_INDEX (PAGE_SIZE / sizeof(uint32_t))
#define ENTRY_BLANK 0xffffffffU

struct file_data {
	uint64_t size, base_len, count;
	int64_t atime, mtime, ctime;
	uint32_t table[]; /* pages of PER_INDEX entries: 0, ENTRY_BLANK or a page; 0: there are none */
};

#define TABLE ((PAGE_SIZE - sizeof(struct object) - sizeof(struct file_data)) / sizeof(uint32_t))

static struct list_node nodes = {&nodes, &nodes};

static struct file_data *data_of(const struct pages *p)
{
	struct object *o = object_at(p->common, KIND_FILE);

	return o ? (struct file_data *)o->data : NULL;
}

/* ---- the table ---- */

static uint32_t *index_of(const struct pages *p, uint64_t top)
{
	struct file_data *d = data_of(p);

	return d && top < TABLE ? family_page(RELAXED(d->table[top])) : NULL;
}

/* Where a page's entry is, made if need be; NULL: too far, or the area is full. */
static uint32_t *entry_at(const struct pages *p, uint64_t index, bool make)
{
	struct file_data *d = data_of(p);
	uint64_t top = index / PER_INDEX;
	uint32_t *entries = index_of(p, top), page;

	if (!entries && make && d && top < TABLE) {
		page = family_alloc(p->common);
		entries = family_page(page);
		if (entries) {
			memset(entries, 0, PAGE_SIZE);
			__atomic_store_n(&d->table[top], page, __ATOMIC_SEQ_CST);
		}
	}
	return entries ? &entries[index % PER_INDEX] : NULL;
}

static void *what(uint32_t entry)
{
	return entry == ENTRY_BLANK ? BLANK : family_page(entry);
}

void *common_page(const struct pages *p, uint64_t index)
{
	const uint32_t *e = entry_at(p, index, false);

	return e ? what(RELAXED(*e)) : NULL;
}

void *common_new(const struct pages *p)
{
	return family_page(family_alloc(p->common));
}

static void clear(struct pages *p, uint32_t *e)
{
	uint32_t was = __atomic_exchange_n(e, 0, __ATOMIC_SEQ_CST);

	if (was && was != ENTRY_BLANK) {
		family_free(was, p->common);
		p->count -= p->count > 0;
	}
}

bool common_set(struct pages *p, uint64_t index, void *page)
{
	uint32_t *e = entry_at(p, index, page != NULL);

	if (!e)
		return !page;
	clear(p, e);
	if (page) {
		__atomic_store_n(e, page == BLANK ? ENTRY_BLANK : family_number(page), __ATOMIC_SEQ_CST);
		p->count += page != BLANK;
	}
	return true;
}

void common_trim(struct pages *p, uint64_t index)
{
	for (uint64_t top = index / PER_INDEX; top < TABLE; top++) {
		uint32_t *entries = index_of(p, top);

		for (uint64_t i = 0; entries && i < PER_INDEX; i++)
			if (top * PER_INDEX + i >= index && RELAXED(entries[i]))
				clear(p, &entries[i]);
	}
}

uint64_t common_next(const struct pages *p, uint64_t index)
{
	for (uint64_t top = index / PER_INDEX; top < TABLE; top++) {
		const uint32_t *entries = index_of(p, top);

		for (uint64_t i = 0; entries && i < PER_INDEX; i++) {
			const void *page = what(RELAXED(entries[i]));

			if (top * PER_INDEX + i >= index && page && page != BLANK)
				return top * PER_INDEX + i;
		}
	}
	return UINT64_MAX;
}

/* ---- becoming one, and leaving ---- */

bool common_begin(struct pages *p)
{
	p->common = object_new(KIND_FILE);
	return p->common;
}

void common_leave(struct pages *p)
{
	if (p->common)
		object_drop(p->common, END_READ);
	p->common = 0;
	p->count = 0;
}

void node_forget(struct inode *n)
{
	if (n->on_common.next)
		list_del(&n->on_common);
}

/* ---- around every use ---- */

static void store(struct inode *n, struct file_data *d)
{
	d->base_len = n->pages.base_len;
	d->count = n->pages.count;
	d->atime = n->atime;
	d->mtime = n->mtime;
	d->ctime = n->ctime;
	__atomic_store_n(&d->size, n->size, __ATOMIC_SEQ_CST);
}

void common_end(struct inode *n)
{
	store(n, data_of(&n->pages));
	list_add_tail(&nodes, &n->on_common);
}

long node_enter(struct inode *n)
{
	struct file_data *d;
	struct object *o;
	uint64_t most;

	if (n->ops != &ramfs_ops || !n->pages.common)
		return 0;
	o = object_at(n->pages.common, KIND_FILE);
	if (!o || object_lock_patient(o))
		return -EIO;
	d = (struct file_data *)o->data;
	most = n->pages.base_len;
	n->size = MIN(RELAXED(d->size), (uint64_t)INT64_MAX);
	n->pages.base_len = MIN(RELAXED(d->base_len), most); /* it never grows */
	n->pages.count = RELAXED(d->count);
	n->atime = RELAXED(d->atime);
	n->mtime = RELAXED(d->mtime);
	n->ctime = RELAXED(d->ctime);
	return 0;
}

void node_leave(struct inode *n, bool changed)
{
	struct object *o = n->ops == &ramfs_ops && n->pages.common ? family_page(n->pages.common) : NULL;

	if (!o)
		return;
	if (changed)
		store(n, (struct file_data *)o->data);
	object_unlock(o);
}

/* ---- all of them ---- */

void nodes_hold_all(void)
{
	for (struct list_node *n = nodes.next; n != &nodes; n = n->next)
		object_hold(CONTAINER_OF(n, struct inode, on_common)->pages.common, END_READ);
}

void nodes_drop_all(void)
{
	for (struct list_node *n = nodes.next; n != &nodes; n = n->next)
		object_drop(CONTAINER_OF(n, struct inode, on_common)->pages.common, END_READ);
}

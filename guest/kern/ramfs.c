/* ramfs.c: the bytes of regular files, kept in pages of RAM. */
#include "file.h"

#include <sys/resource.h>

#define FANOUT 512
#define LEVEL_BITS 9

const uint8_t ramfs_zeroes[KX_PAGE_SIZE];
#define zeroes ramfs_zeroes

/* Pages that files leave to the program, so that a full disk is not an out-of-memory. */
static uint64_t reserve(uint64_t total)
{
	return total / 16;
}

uint64_t ramfs_free_pages(void)
{
	struct mem_info mi;

	mem_info(&mi);
	return mi.free > reserve(mi.total) ? mi.free - reserve(mi.total) : 0;
}

/* ---- the tree ---- */

/* Pages below one slot of a node at this height. */
static uint64_t span(unsigned height)
{
	return height * LEVEL_BITS >= 64 ? UINT64_MAX : 1UL << height * LEVEL_BITS;
}

static void *new_page(void)
{
	return ramfs_free_pages() ? page_alloc(1) : NULL;
}

static void *new_node(void)
{
	void *p = new_page();

	return p ? memset(p, 0, PAGE_SIZE) : NULL;
}

static void *page_find(const struct pages *p, uint64_t index)
{
	void *at = p->root;

	if (p->common)
		return common_page(p, index);
	if (index >= span(p->height))
		return NULL;
	for (unsigned h = p->height; at && h; h--)
		at = ((void **)at)[index >> (h - 1) * LEVEL_BITS & (FANOUT - 1)];
	return at;
}

/* The slot of a page, made if need be; NULL when memory is short. */
static void **page_slot(struct pages *p, uint64_t index)
{
	void **at = &p->root;

	while (index >= span(p->height)) {
		if (p->root) {
			void **node = new_node();

			if (!node)
				return NULL;
			node[0] = p->root;
			p->root = node;
		}
		p->height++;
	}
	for (unsigned h = p->height; h; h--) {
		if (!*at)
			*at = new_node();
		if (!*at)
			return NULL;
		at = (void **)*at + (index >> (h - 1) * LEVEL_BITS & (FANOUT - 1));
	}
	return at;
}

static void page_drop(struct pages *p, void **slot)
{
	if (*slot && *slot != BLANK) {
		page_free(*slot, 1);
		p->count--;
	}
	*slot = NULL;
}

/* Puts a page, BLANK or nothing in its place; what was there is freed. False: memory is short, and nothing happened. */
static bool page_set(struct pages *p, uint64_t index, void *page)
{
	void **slot;

	if (p->common)
		return common_set(p, index, page);
	slot = page_slot(p, index);
	if (!slot)
		return false;
	page_drop(p, slot);
	*slot = page;
	p->count += page && page != BLANK;
	return true;
}

/* Frees the pages from index on below a slot whose first page is first; true if nothing is left there. */
static bool trim(struct pages *p, void **slot, unsigned height, uint64_t first, uint64_t index)
{
	bool empty = true;
	void **node = *slot;

	if (!node)
		return true;
	if (!height) {
		if (first >= index)
			page_drop(p, slot);
		return !*slot;
	}
	for (unsigned i = 0; i < FANOUT; i++) {
		uint64_t start = first + i * span(height - 1);

		if (start + span(height - 1) <= index)
			empty = empty && !node[i];
		else
			empty = trim(p, &node[i], height - 1, start, index) && empty;
	}
	if (empty) {
		page_free(node, 1);
		*slot = NULL;
	}
	return empty;
}

static void trim_all(struct pages *p, uint64_t index)
{
	if (p->common)
		common_trim(p, index);
	else if (trim(p, &p->root, p->height, 0, index))
		p->height = 0;
}

void pages_free(struct pages *p)
{
	if (p->common)
		common_leave(p);
	else
		trim_all(p, 0);
	p->base_len = 0;
}

/* What page index holds where the tree has nothing: part of base (n bytes), then zeroes. */
static const uint8_t *base_at(const struct pages *p, uint64_t index, size_t *n)
{
	uint64_t off = index << PAGE_SHIFT;

	*n = off < p->base_len ? MIN(p->base_len - off, PAGE_SIZE) : 0;
	return *n ? p->base + off : zeroes;
}

/* A page to write to. All of it is initialised. */
static uint8_t *page_writable(struct pages *p, uint64_t index)
{
	void *there = page_find(p, index);
	const uint8_t *from;
	uint8_t *page;
	size_t n = 0;

	if (there && there != BLANK)
		return there;
	page = p->common ? common_new(p) : new_page();
	if (!page)
		return NULL;
	from = there ? zeroes : base_at(p, index, &n);
	memcpy(page, from, n);
	memset(page + n, 0, PAGE_SIZE - n);
	if (page_set(p, index, page))
		return page;
	if (!p->common) /* else the area has it until the file goes */
		page_free(page, 1);
	return NULL;
}

/* The first page at or after index that is in the tree, at or below a node; UINT64_MAX: none. */
static uint64_t page_next(void *node, unsigned height, uint64_t first, uint64_t index)
{
	uint64_t found;

	if (!node)
		return UINT64_MAX;
	if (!height)
		return first >= index && node != BLANK ? first : UINT64_MAX;
	for (unsigned i = 0; i < FANOUT; i++) {
		uint64_t start = first + i * span(height - 1);

		if (start + span(height - 1) <= index)
			continue;
		found = page_next(((void **)node)[i], height - 1, start, index);
		if (found != UINT64_MAX)
			return found;
	}
	return UINT64_MAX;
}

static uint64_t next_page(const struct pages *p, uint64_t index)
{
	return p->common ? common_next(p, index) : page_next(p->root, p->height, 0, index);
}

/* Its pages go to the family area; -ENOSPC: they stay. */
static long node_share(struct inode *n)
{
	struct pages *p = &n->pages, copy = *p;
	uint64_t base_end = PAGE_UP(p->base_len) >> PAGE_SHIFT, i;
	bool fits = common_begin(&copy);

	copy.root = NULL;
	copy.count = 0;
	for (i = next_page(p, 0); fits && i != UINT64_MAX; i = next_page(p, i + 1)) {
		void *page = common_new(&copy);

		fits = page && common_set(&copy, i, page);
		if (fits)
			memcpy(page, page_find(p, i), PAGE_SIZE);
	}
	for (i = 0; fits && i < base_end; i++)
		if (page_find(p, i) == BLANK)
			fits = common_set(&copy, i, BLANK);
	if (!fits) {
		common_leave(&copy);
		return -ENOSPC;
	}
	trim_all(p, 0);
	*p = copy;
	common_end(n);
	return 0;
}

/* ---- reading and writing ---- */

static long ramfs_read(struct file *f, struct uio *u, uint64_t *pos)
{
	struct inode *n = f->node;
	long done = 0, err = node_enter(n);

	if (err)
		return err;
	while (u->left && *pos < n->size) {
		uint64_t index = *pos >> PAGE_SHIFT;
		size_t off = *pos & (PAGE_SIZE - 1), chunk, have = PAGE_SIZE;
		const uint8_t *page = page_find(&n->pages, index);
		long got;

		if (!page)
			page = base_at(&n->pages, index, &have);
		if (off >= have) {
			page = zeroes;
			have = PAGE_SIZE;
		}
		chunk = MIN(MIN(have - off, u->left), n->size - *pos);
		got = uio_out(u, page + off, chunk);
		if (got < 0) {
			err = got;
			break;
		}
		*pos += got;
		done += got;
		if ((size_t)got < chunk)
			break;
	}
	if (done && !(f->flags & O_NOATIME))
		n->atime = real_ns();
	node_leave(n, done > 0);
	return done ? done : err;
}

/* RLIMIT_FSIZE: how much of n bytes at pos may be written, or -EFBIG with the signal sent. */
static long size_limit(uint64_t pos, size_t n)
{
	uint64_t limit = MIN(rlimit_get(RLIMIT_FSIZE), (uint64_t)INT64_MAX);

	if (!n)
		return 0;
	if (pos >= limit) {
		if (limit < INT64_MAX)
			signal_thread(cur, SIGXFSZ, NULL);
		return -EFBIG;
	}
	return MIN(n, limit - pos);
}

static long write_entered(struct file *f, struct uio *u, uint64_t *pos)
{
	struct inode *n = f->node;
	long done = 0, err = 0, left;

	if (f->flags & O_APPEND)
		*pos = n->size;
	if (n->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) || (n->seals & F_SEAL_GROW && *pos + u->left > n->size))
		return -EPERM;
	left = size_limit(*pos, u->left);
	if (left < 0)
		return left;
	while (left) {
		size_t off = *pos & (PAGE_SIZE - 1), chunk = MIN(PAGE_SIZE - off, (size_t)left);
		uint8_t *page = page_writable(&n->pages, *pos >> PAGE_SHIFT);
		long got = page ? uio_in(u, page + off, chunk) : -ENOSPC;

		if (got < 0) {
			err = got;
			break;
		}
		*pos += got;
		done += got;
		left -= got;
		n->size = MAX(n->size, *pos);
		if ((size_t)got < chunk)
			break;
	}
	if (done)
		inode_modified(n);
	return done ? done : err;
}

static long ramfs_write(struct file *f, struct uio *u, uint64_t *pos)
{
	long done = node_enter(f->node);

	if (done)
		return done;
	done = write_entered(f, u, pos);
	node_leave(f->node, done > 0);
	return done;
}

static long ramfs_share(struct file *f)
{
	return f->node->pages.common ? 0 : node_share(f->node);
}

const struct file_ops ramfs_ops = {.read = ramfs_read, .write = ramfs_write, .share = ramfs_share};

/* ---- size and holes ---- */

static long truncate_entered(struct inode *n, uint64_t size)
{
	struct pages *p = &n->pages;
	size_t off = size & (PAGE_SIZE - 1);
	uint8_t *last = page_find(p, size >> PAGE_SHIFT);

	if (n->seals & (size < n->size ? F_SEAL_SHRINK : F_SEAL_GROW) && size != n->size)
		return -EPERM;
	if (size > n->size && size_limit(n->size, size - n->size) != (long)(size - n->size))
		return size_limit(size, 1);
	if (size < n->size) {
		if (last && last != BLANK && off)
			memset(last + off, 0, PAGE_SIZE - off);
		trim_all(p, PAGE_UP(size) >> PAGE_SHIFT);
		p->base_len = MIN(p->base_len, size);
	}
	n->size = size;
	inode_modified(n);
	return 0;
}

long ramfs_truncate(struct inode *n, uint64_t size)
{
	long r = node_enter(n);

	if (!r) {
		r = truncate_entered(n, size);
		node_leave(n, true);
	}
	return r;
}

static long allocate_entered(struct inode *n, uint64_t from, uint64_t to, bool keep_size)
{
	uint64_t first = from >> PAGE_SHIFT, end = PAGE_UP(to) >> PAGE_SHIFT;

	if (n->seals & F_SEAL_GROW && to > n->size)
		return -EPERM;
	/* The nodes of the tree need a page for each 511 others. */
	if (!n->pages.common && end - first > n->pages.count && end - first - n->pages.count > ramfs_free_pages() / 512 * 511)
		return -ENOSPC;
	for (uint64_t i = first; i < end; i++)
		if (!page_writable(&n->pages, i))
			return -ENOSPC;
	if (!keep_size)
		n->size = MAX(n->size, to);
	inode_modified(n);
	return 0;
}

long ramfs_allocate(struct inode *n, uint64_t from, uint64_t to, bool keep_size)
{
	long r = node_enter(n);

	if (!r) {
		r = allocate_entered(n, from, to, keep_size);
		node_leave(n, true);
	}
	return r;
}

/* Zeroes part of one page. */
static long clear_part(struct inode *n, uint64_t from, uint64_t to)
{
	struct pages *p = &n->pages;
	void *page = page_find(p, from >> PAGE_SHIFT);

	if (from == to || page == BLANK || (!page && PAGE_DOWN(from) >= p->base_len))
		return 0;
	page = page_writable(p, from >> PAGE_SHIFT);
	if (!page)
		return -ENOSPC;
	memset((char *)page + (from & (PAGE_SIZE - 1)), 0, to - from);
	return 0;
}

static long clear_page(struct pages *p, uint64_t index)
{
	bool covers_base = index << PAGE_SHIFT < p->base_len;

	if (!page_find(p, index) && !covers_base)
		return 0;
	return page_set(p, index, covers_base ? BLANK : NULL) ? 0 : -ENOSPC;
}

static long punch_entered(struct inode *n, uint64_t from, uint64_t end_at)
{
	struct pages *p = &n->pages;
	uint64_t to = MIN(end_at, MAX(n->size, from)), head = MIN(PAGE_UP(from), to), tail = MAX(PAGE_DOWN(to), head), i;
	uint64_t end = tail >> PAGE_SHIFT, base_end = PAGE_UP(p->base_len) >> PAGE_SHIFT;
	long err;

	if (n->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	err = clear_part(n, from, head);
	if (!err)
		err = clear_part(n, tail, to);
	for (i = head >> PAGE_SHIFT; !err && i < end; i++) {
		if (i >= base_end)
			i = next_page(p, i);
		if (i < end)
			err = clear_page(p, i);
		else
			break;
	}
	inode_modified(n);
	return err;
}

long ramfs_punch(struct inode *n, uint64_t from, uint64_t to)
{
	long r = node_enter(n);

	if (!r) {
		r = punch_entered(n, from, to);
		node_leave(n, true);
	}
	return r;
}

static bool has_data(const struct pages *p, uint64_t index)
{
	void *page = page_find(p, index);

	return page ? page != BLANK : index << PAGE_SHIFT < p->base_len;
}

static long seek_entered(struct inode *n, uint64_t from, bool data)
{
	struct pages *p = &n->pages;
	uint64_t i = from >> PAGE_SHIFT, base_end = PAGE_UP(p->base_len) >> PAGE_SHIFT;

	if (from >= n->size)
		return -ENXIO;
	while (has_data(p, i) != data && i << PAGE_SHIFT < n->size) {
		if (data && i >= base_end)
			i = next_page(p, i);
		else
			i++;
		if (i == UINT64_MAX)
			return -ENXIO;
	}
	if (i << PAGE_SHIFT >= n->size)
		return data ? -ENXIO : (long)n->size;
	return MAX(from, i << PAGE_SHIFT);
}

long ramfs_seek(struct inode *n, uint64_t from, bool data)
{
	long r = node_enter(n);

	if (!r) {
		r = seek_entered(n, from, data);
		node_leave(n, true);
	}
	return r;
}

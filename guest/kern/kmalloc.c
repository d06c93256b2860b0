/* kmalloc.c: small kernel objects, cut from kernel pages and kept on a free list for each size. */
#include "kern.h"

struct header {
	uint32_t cls;   /* index into sizes; LARGE: whole pages */
	uint32_t magic;
	uint64_t pages; /* of a large block */
};
#define LARGE UINT32_MAX
#define MAGIC 0x6b6d616c
#define ARENA_PAGES 8

/*
 * Bytes of a block, its header included. 1600 is a full frame with what lwIP and its allocator have before it: were it 2048, the headers of all would share few lines of the
 * cache. 4160 is a path, which every call with one takes.
 */
static const uint16_t sizes[] = {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 1600, 2048, 4160};
static struct free_block {
	struct free_block *next;
} *free_list[ARRAY_LEN(sizes)];
static char *arena, *arena_end;

static struct header *header_of(void *p)
{
	struct header *h = (struct header *)p - 1;

	if (h->magic != MAGIC)
		panic("kfree of %p, which is not a block or was written beyond its end", p);
	return h;
}

static size_t room(const struct header *h)
{
	return (h->cls == LARGE ? h->pages * PAGE_SIZE : sizes[h->cls]) - sizeof(*h);
}

static void *set_header(void *block, uint32_t cls, uint64_t pages)
{
	struct header *h = block;

	*h = (struct header){cls, MAGIC, pages};
	return h + 1;
}

static void *cut(size_t n)
{
	char *p;

	if ((size_t)(arena_end - arena) < n) {
		p = page_alloc(ARENA_PAGES);
		if (!p)
			return NULL;
		arena = p;
		arena_end = p + ARENA_PAGES * PAGE_SIZE;
	}
	p = arena;
	arena += n;
	return p;
}

void *kmalloc(size_t n)
{
	size_t need = n + sizeof(struct header);
	void *p;

	if (need < n)
		return NULL;
	for (uint32_t c = 0; c < ARRAY_LEN(sizes); c++) {
		if (sizes[c] < need)
			continue;
		p = free_list[c];
		if (p)
			free_list[c] = free_list[c]->next;
		else
			p = cut(sizes[c]);
		return p ? set_header(p, c, 0) : NULL;
	}
	need = PAGE_UP(need) >> PAGE_SHIFT;
	p = page_alloc(need);
	return p ? set_header(p, LARGE, need) : NULL;
}

void *kzalloc(size_t n)
{
	void *p = kmalloc(n);

	return p ? memset(p, 0, n) : NULL;
}

void kfree(void *p)
{
	struct header *h;
	struct free_block *b;

	if (!p)
		return;
	h = header_of(p);
	h->magic = 0;
	if (h->cls == LARGE) {
		page_free(h, h->pages);
		return;
	}
	b = (struct free_block *)h;
	uint32_t cls = h->cls;
	b->next = free_list[cls];
	free_list[cls] = b;
}

void *krealloc(void *p, size_t n)
{
	void *q;

	if (!p)
		return kmalloc(n);
	if (n <= room(header_of(p)))
		return p;
	q = kmalloc(n);
	if (!q)
		return NULL;
	memcpy(q, p, room(header_of(p)));
	kfree(p);
	return q;
}

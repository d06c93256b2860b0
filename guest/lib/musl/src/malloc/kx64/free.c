/*
 * free.c: a few free slots of each small size wait here for the next malloc: mallocng takes a lock for either, and unmaps a group of slots
 * that is empty to map it again a moment later.
 *
 * The cache is the pVM's, not a thread's: there is one vcpu, on which a single instruction is atomic without lock, so threads share it without
 * waiting, nothing is to be given back when one ends, and a child of fork finds it whole.
 *
 * What waits has the header of a free slot, as mallocng writes it, so that a second free of it ends the program; to mallocng it is
 * still in use. Which slot it is is kept here, out of reach of who writes to memory that was freed.
 */
#include "cache.h"

#define DEPTH 8
#define PLACE 48 /* where the number of the slot in its group begins; a pointer has fewer bits */

/*
 * waiting: (the group's meta) | (number of the slot) << PLACE, or 0. depth is how many there seem to be: threads that meet may leave it wrong, and
 * the next ones put it right.
 */
static volatile uint64_t waiting[CACHE_CLASSES][DEPTH];
static volatile unsigned char depth[CACHE_CLASSES];

/* Atomic for the threads of one vcpu. */
static int replace(volatile uint64_t *at, uint64_t old, uint64_t new)
{
	char done;

	__asm__ volatile("cmpxchgq %3, %1" : "=@ccz"(done), "+m"(*at), "+a"(old) : "r"(new) : "memory");
	return done;
}

static void *take(int class, size_t n)
{
	unsigned at = depth[class];
	uint64_t slot;

	if (!at)
		return 0;
	slot = waiting[class][--at];
	depth[class] = at;
	if (!slot || !replace(&waiting[class][at], slot, 0))
		return 0;
	return enframe((struct meta *)(slot & ((1UL << PLACE) - 1)), slot >> PLACE, n, ctx.mmap_counter);
}

/* As malloc of mallocng, a small size may have a slot of the next class. */
void *__cached_malloc(size_t n)
{
	void *p = 0;
	int class;

	if (n <= CACHE_LARGEST) {
		class = size_to_class(n);
		p = take(class, n);
		if (!p && class >= 4 && class != 6 && !(class & 1))
			p = take(class | 1, n);
	}
	return p ? p : __libc_malloc_impl(n);
}

static int keep(struct meta *g, unsigned char *p)
{
	int class = g->sizeclass, place = get_slot_index(p);
	unsigned at = depth[class];
	uint16_t offset = *(uint16_t *)(p - 2);
	unsigned char head = p[-3];

	if (at == DEPTH)
		return 0;
	depth[class] = at + 1;
	if (waiting[class][at])
		return 0;
	get_nominal_size(p, g->mem->storage + get_stride(g) * (place + 1) - IB);
	p[-3] = 255;
	*(uint16_t *)(p - 2) = 0;
	if (replace(&waiting[class][at], 0, (uintptr_t)g | (uint64_t)place << PLACE))
		return 1;
	*(uint16_t *)(p - 2) = offset;
	p[-3] = head;
	return 0;
}

void free(void *p)
{
	struct meta *g;

	if (!p)
		return;
	g = get_meta(p);
	if (g->sizeclass >= CACHE_CLASSES || get_stride(g) != UNIT * size_classes[g->sizeclass] || !keep(g, p))
		__libc_free(p);
}

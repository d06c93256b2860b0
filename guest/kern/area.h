/* area.h: the family area from within: what object.c and family.c have in common. */
#ifndef AREA_H
#define AREA_H

#include "bell.h"
#include "family.h"

/* The area from its beginning. All of it belongs to everybody. */
struct layout {
	struct kx_member members[KX_MEMBERS];
	uint32_t lock; /* as object.lock: of taking objects apart */
	uint32_t top;  /* no page from here on was ever anybody's */
	uint32_t pad[14];
	uint32_t owner[KX_FAMILY_PAGES]; /* 0: free; an object's page; or MAKING | place */
	struct family_ipc ipc;
	struct family_bells bells;
};

static struct layout *const area = (struct layout *)KX_FAMILY_VA;

#define FIRST_PAGE ((sizeof(struct layout) + PAGE_SIZE - 1) / PAGE_SIZE)
#define MAKING 0x80000000U

#define PATIENCE_NS 1000000000 /* how long somebody is waited for who may be dead */

extern uint32_t my_place; /* plus 1; 0: none */
extern unsigned objects_locked; /* so many objects have our lock */

static inline uint32_t area_pages(void)
{
	return MIN(control->family_pages, (uint32_t)KX_FAMILY_PAGES);
}

/* Of the word of a set that a place is in. Whether it was set. */
static inline bool clear_bit(uint64_t *set, uint32_t place)
{
	uint64_t bit = 1UL << place % 64;

	return __atomic_fetch_and(set, ~bit, __ATOMIC_SEQ_CST) & bit;
}

/* Who has let go of an object may touch it only under the lock of the area: others take it apart, and use its page anew. */
bool area_lock(void); /* false: it is not to be had; go on without it */
void area_unlock(bool got);
void object_take_apart(uint32_t page); /* nobody has it any more, perhaps; the area is locked */
void object_drop_locked(uint32_t page, enum end end, uint32_t place); /* a member lets go of it; the area is locked */
void object_drop_of(uint32_t page, enum end end, uint32_t place); /* the same, and locks the area */

#endif

/* update.h: what of the pVM's memory may hold addresses (scan.c), for the update of a library (update.c); and the engine's plan for that, and for libraries that come (load.c). */
#ifndef UPDATE_H
#define UPDATE_H

#include <stdbool.h>

#include "kern.h"

/* Where a word is. */
struct place {
	int tid;   /* of the thread whose stack or register it is; 0: nobody's */
	bool code; /* it may be a return address */
	bool family; /* relatives have it, too */
};

struct span {
	uint64_t from, end;
};

/* A page that is not as the program left it. */
struct opened {
	uint64_t page; /* its address >> PAGE_SHIFT */
	int prot;      /* as it was */
};

/*
 * Looks for words that are addresses from low to high, high included. found is called with each; what it returns, other than 0, ends the look. It may
 * change the word if scan_open has been called for it.
 */
struct scan {
	uint64_t low, high;
	int (*found)(struct scan *s, uint64_t at, struct place where);
	uint64_t bytes; /* looked through so far */

	struct span *skip; /* memory that is not looked through, or by thread; sorted */
	uint32_t skips, skip_room;
	struct opened *opened;
	uint32_t opens, open_room;
};

/*
 * Once, before the first look: finds the stacks. own: n spans of the caller's that are not looked through. 0 or -ENOMEM; scan_end is due in any
 * case. Until then threads and their stack pointers stay as they are, the vector state of cur is in its fpu_area(), and the CPU's registers of it are free.
 */
int scan_begin(struct scan *s, const struct span *own, uint32_t n);
/* A look through registers, kernel stacks and live stacks of all threads, and one through the rest. 0, -ENOMEM, or what found has returned. */
int scan_threads(struct scan *s);
int scan_memory(struct scan *s);
/* And one through memory that is shared with relatives, who may change it at any time. */
int scan_shared(struct scan *s);
/* A look through a range of memory that is there. */
int scan_range(struct scan *s, uint64_t from, uint64_t end, struct place where);
/* Has a word of the program or the LibOS be writable until scan_end. 0, -ENOMEM, or -EINVAL: there is no such word. */
int scan_open(struct scan *s, uint64_t at);
void scan_end(struct scan *s);

/* The place of a library's part of kx_libraries, by an address of it; 0: there is none. */
uint64_t library_item(uint64_t low, uint64_t high);
/* Whether n bytes at va can be read, by a touch of each page. */
bool readable(uint64_t va, uint64_t n);

/* In words: not every CPU has a fast way for bytes. */
static inline void copy_words(void *to, const void *from, uint64_t n)
{
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static inline void put_word(uint64_t at, uint64_t value)
{
	memcpy((void *)at, &value, sizeof(value));
}

/* ---- plan.c ---- */

/* struct kx_update, and where its arrays are. */
struct plan {
	const struct kx_update *head;
	const struct kx_update_part *part;
	const struct kx_update_page *page;
	const struct kx_update_move *move;
	const struct kx_update_word *literal, *word;
};

/* 0, or -EINVAL: it is nonsense. What is said of an old library is not looked at. */
int plan_read(struct plan *p, uint64_t at);
/* Whether all of n bytes are on pages that are to be the pVM's own. */
bool plan_owns(const struct plan *p, uint64_t va, uint64_t n);
/* Gets those pages, with their first content; 0, or -ENOMEM with nothing taken. */
int plan_take(const struct plan *p);
/* Gives words their values; all have to be writable. */
void plan_words(const struct plan *p);

#endif

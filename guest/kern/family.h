/*
 * family.h: memory that all members of a family have: what they share since a fork lives there.
 *
 * Things are objects, named by the number of their page. Who holds one is known by member, so that what a killed
 * member held is dropped. Every member may write anything at any time: what is read is copied once, bounded, and
 * then used, so the worst that can come of it is wrong bytes, or -EIO.
 */
#ifndef FAMILY_H
#define FAMILY_H

#include "file.h"

#define HOLDERS (KX_MEMBERS / 64)
#define ALL_HOLDERS ((1U << HOLDERS) - 1)

enum kind { KIND_NONE, KIND_PIPE, KIND_FILE, KIND_OPEN, KIND_QUEUE, KIND_SEMAPHORES, KIND_SEGMENT, KIND_ROBUST };

/* Which of its two sets of holders: a pipe's readers and writers; everything else has the first only. */
enum end { END_READ, END_WRITE };

struct object {
	uint32_t kind;
	uint32_t lock;    /* place of who works on it, plus 1 */
	uint32_t waits;   /* bit w: members[w].waiting may have somebody */
	uint32_t changes; /* runs freely */
	uint32_t kept;    /* it stays when nobody holds it */
	uint32_t pad;
	/* 64 of them each. Those of a small family are in the lock's line of the cache: one that another CPU has written to is slow to get. */
	struct {
		uint64_t holders[2];
		uint64_t waiting;
	} members[HOLDERS];
	char data[];
};

/* ---- membership ---- */

bool family_in(void); /* we have a place */
uint32_t family_place(void); /* ours, plus 1 */
uint32_t family_pid(uint32_t place);
uint32_t family_find(int pid); /* the place of a member, plus 1; 0: it has none */
long family_enter(void); /* takes a place; -ENOSYS, -ENOMEM */
void family_child(void); /* in a child: a place of its own, with what its parent had at the fork */
void family_born(long children); /* in a parent: so many more will find their places */
void family_gone(int pid, int unborn_of, int unforked_of); /* a member has ended: KX_CMD_GONE */
void family_exit(int status); /* everything is dropped; the parent may hear of the status word at once, unless that is -1 */
/* Before the vcpu blocks; false: do not, something has come. After: family_awake, always. */
bool family_sleeps(void);
void family_awake(void);
/* It has lately been worth it to look for what a relative does rather than to sleep. */
bool family_looks(void);
void family_events(void); /* what others have rung for */
bool family_ticks(void);  /* while a thread runs, others may wait for what a relative does */

/* ---- objects ---- */

#define FAMILY_NO_PAGE 0

/* A page for an object, of any content, or FAMILY_NO_PAGE; for 0: of an object that is to be. */
uint32_t family_alloc(uint32_t object);
/* n pages in a row that belong to an object and hold zeroes: the first, or FAMILY_NO_PAGE. */
uint32_t family_alloc_run(uint32_t object, uint32_t n);
void family_free(uint32_t page, uint32_t object);
/* Where a page is; NULL for a number that is none. */
void *family_page(uint32_t page);
uint32_t family_number(const void *page);
/* The object that a page belongs to, if it is one of that kind; 0. */
uint32_t family_owner(uint32_t page, enum kind kind);
uint32_t family_used(void); /* pages that are somebody's */
/* The page after the last that ever was anybody's. */
uint32_t family_top(void);

uint32_t object_new(enum kind kind); /* held by us, END_READ; FAMILY_NO_PAGE: memory is short */
struct object *object_at(uint32_t page, enum kind kind); /* NULL if it is not */
/* 0, or -EBUSY: a relative works on it, try again later. Nothing that sleeps may happen until the unlock. */
long object_lock(struct object *o);
long object_lock_patient(struct object *o); /* sleeps meanwhile; -EIO if it takes very long */
void object_unlock(struct object *o);
void object_hold(uint32_t page, enum end end);
void object_drop(uint32_t page, enum end end);
/* Holds what others may be dropping at the same time; false: it is no more. */
bool object_join(uint32_t page, enum kind kind);
bool object_mine(const struct object *o); /* we hold its first end */
bool object_has(const struct object *o, uint32_t place); /* ... and so for any member, from 0 */
/* It does not stay any more: goes now, or with its last holder. */
void object_release(uint32_t page);
/* Whether anybody holds it; we do until what we dropped has been (object_drop). */
bool object_held(const struct object *o, enum end end);
/* How many do, and the PIDs of the first of them. */
uint32_t object_holders(const struct object *o, enum end end, uint32_t pids[KX_OBJECT_PIDS]);
void object_changed(struct object *o); /* rings those that wait */
void object_await(struct object *o);   /* from now on we are rung; look again after it */

/* ---- ipc.c: what of System V's calls, and of memory that is shared, a member has ---- */

#define JOURNAL 1536 /* words */

/* The lock of all objects of these kinds, and what the words were that its holder has changed: he may be killed. */
struct family_ipc {
	uint32_t lock;
	uint32_t count; /* of the journal */
	uint32_t births; /* of objects: runs freely, for their numbers */
	uint32_t pad;
	struct {
		uint32_t at; /* from the beginning of the area */
		uint32_t was;
	} journal[JOURNAL];
};

struct family_ipc *family_ipc(void);
/* As object_lock; it sees to it that what a killed holder did half is undone. */
long family_ipc_lock(void);
void family_ipc_unlock(void);
void ipc_gone(uint32_t place); /* a member's part in all objects ends; the lock is ours */
bool ipc_used(void);           /* we may have a part in some */
void ipc_hold_all(void);
void ipc_drop_all(void);
void ipc_news(void);

/* ---- shm.c: shared memory, as the calls of memory see it ---- */

/* n bytes in memory that children will share: their address, or -ENOSPC. */
long shm_map(size_t n);
bool shm_read_only(uint64_t va);         /* the program may not write there */
void shm_moved(void);                   /* the area has been mapped anew, so that all of it can be written */
bool shm_covers(uint64_t va, size_t n); /* all of it is memory of one segment that we have */
uint64_t shm_end(uint64_t va);          /* of the segment that we have there; 0: none */
/* Whether any of it is; then that is unmapped. */
bool shm_unmap(uint64_t va, size_t n);
uint32_t shm_range(struct object *o, uint32_t *first); /* how many pages a segment has, from which on; 0: nonsense */
/* Calls look for each page of the segments that we have, until the result is not 0; that is the result. */
int shm_each(int (*look)(void *arg, uint64_t from, uint64_t end), void *arg);
struct object *shm_object(uint64_t va); /* the segment that we have there; NULL: none */

/* ---- robust.c: mutexes of a member that ends ---- */

void robust_gone(uint32_t place); /* what it had in shared memory is handed on */
void robust_drop(void);           /* we are going */

/* ---- commonpipe.c: a pipe, as anybody sees it ---- */

void pipe_describe(struct object *o, struct kx_object *e);

/* ---- common.c: what of the file layer is in the area ---- */

void common_share(void);    /* before a fork: what is open goes there, as far as there is room */
void common_hold_all(void); /* we are a new member, and have what our parent had */
void common_drop_all(void); /* we are going */
void common_news(void);     /* we were rung */

#define RELAXED(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

#endif

/*
 * ipc.h: what msg.c, sem.c and shm.c have in common. An object of System V is an object of the family area that stays
 * until it is removed, or the family has gone. One lock is for all of them; while it is held nothing sleeps. Words of objects are changed
 * by ipc_set: what a member changed that is killed before ipc_end, the next one changes back.
 */
#ifndef IPC_H
#define IPC_H

#include "family.h"

/* The structures of the calls, as Linux has them on x86-64 (asm-generic/ipcbuf.h and its neighbours). */
struct ipc_perm_user {
	int32_t key;
	uint32_t uid, gid, cuid, cgid, mode;
	uint32_t seq;
	uint64_t unused[2];
};

/* The beginning of an object's data. */
struct ipc_head {
	uint32_t id; /* 0: it is removed, or has no number */
	uint32_t key;
	uint32_t uid, gid, cuid, cgid, mode;
	uint32_t pad;
	int64_t ctime; /* s since 1970 */
};

#define IPC_READ 0444
#define IPC_WRITE 0222

#define IPC_COMMAND(cmd) ((int)(cmd) & ~0x100) /* without the flag IPC_64 */
/* What <sys/ipc.h> has, which is not the same in every libc. */
#define IPC_PRIVATE 0
#define IPC_CREAT 01000
#define IPC_EXCL 02000
#define IPC_NOWAIT 04000
#define IPC_RMID 0
#define IPC_SET 1
#define IPC_STAT 2
#define IPC_INFO 3

/* ---- the lock ---- */

/* A task is being done: nothing sleeps, everything is allowed, and whoever did it is PID 0. */
extern bool ipc_outside;
uint32_t ipc_who(void); /* whose PID an object gets */

/*
 * Enters the family and takes the lock, may sleep: 0; -ENOSPC: there is no family area; -EIO: somebody keeps the lock;
 * of a task, -EBUSY: somebody has it.
 */
long ipc_begin(void);
bool ipc_try(void); /* the lock, at once; false: somebody has it */
void ipc_end(void);
void ipc_set(uint32_t *word, uint32_t value);
void ipc_commit(void); /* what was changed so far stays */
void ipc_back(void); /* everything is as at ipc_begin, or ipc_commit */
/* The engine hears of it when something may have happened to the object; look again after it. */
void ipc_watch(struct object *o);
/* Ends, and sleeps until something may have happened to the object: as wait_on. */
int ipc_wait(struct object *o, int64_t deadline);
void ipc_happened(struct object *o); /* whoever waits for the object looks */

/* ---- objects; the lock is held ---- */

struct ipc_kind {
	enum kind kind;
	long (*make)(struct object *o, uint32_t page, size_t size); /* the rest of a new object; 0 or -errno */
	long (*fits)(struct object *o, size_t size);                /* an existing one is wanted; 0 or -EINVAL */
};

static inline struct ipc_head *ipc_head(struct object *o)
{
	return (struct ipc_head *)o->data;
}

/* As msgget and the others. */
long ipc_get(const struct ipc_kind *k, long key, size_t size, long flags);
struct object *ipc_find(long id, enum kind kind);    /* NULL: no such object */
struct object *ipc_at(long page, enum kind kind);    /* the one in that place, or NULL */
struct object *ipc_next(uint32_t *page, enum kind kind); /* the first after that page; moves *page there; NULL: none */
long ipc_count(enum kind kind, uint32_t *last);      /* how many there are; *last: the highest place */
long ipc_allowed(const struct ipc_head *h, uint32_t want); /* 0 or -EACCES */
long ipc_owner(const struct ipc_head *h);            /* 0 or -EPERM */
void ipc_perm_out(const struct ipc_head *h, struct ipc_perm_user *p);
void ipc_perm_in(struct ipc_head *h, const struct ipc_perm_user *p);
void ipc_remove(struct object *o);
int64_t ipc_time(void);

/* A time in two words. */
static inline void ipc_set_time(int64_t *at, int64_t t)
{
	ipc_set((uint32_t *)at, (uint32_t)t);
	ipc_set((uint32_t *)at + 1, (uint32_t)((uint64_t)t >> 32));
}

/* ---- parts: what members have in an object ---- */

enum part { PART_NONE, PART_UNDO, PART_INCREASE, PART_ZERO, PART_ATTACHED };

struct part_entry {
	uint32_t who;  /* enum part << 16 | place + 1; 0: free */
	uint32_t what; /* index << 16 | a value of 16 bits */
};

struct parts {
	uint32_t more; /* page of others, or 0 */
	uint32_t pad;
	struct part_entry entry[];
};

#define PARTS_INLINE(room) (((room) - sizeof(struct parts)) / sizeof(struct part_entry))

/* Where an object has its parts: in its own page, so many of them, and then in pages of their own. */
struct parts_of {
	uint32_t page;
	struct parts *first;
	size_t inlined;
};

struct part_entry *part_nth(const struct parts_of *p, size_t n); /* from 0; NULL: there are not so many */
struct part_entry *part_find(const struct parts_of *p, enum part part, uint32_t place, uint32_t index);
/* Adds to a value, and makes or removes the entry as needed; 0, -ENOSPC, or -ERANGE: it would not fit 16 bits. */
long part_add(const struct parts_of *p, enum part part, uint32_t place, uint32_t index, int more);
void part_clear(struct part_entry *e);
int part_sum(const struct parts_of *p, enum part part, uint32_t index);

static inline enum part part_of(const struct part_entry *e)
{
	return RELAXED(e->who) >> 16;
}

static inline uint32_t part_place(const struct part_entry *e)
{
	return (RELAXED(e->who) & 0xffff) - 1;
}

static inline uint32_t part_index(const struct part_entry *e)
{
	return RELAXED(e->what) >> 16;
}

static inline int part_value(const struct part_entry *e)
{
	return (int16_t)RELAXED(e->what);
}

/* ---- of tasks ---- */

/* What is in that place, if it is a pipe, or an object with a number. */
bool ipc_describe(uint32_t page, struct kx_object *e);
void queue_full(struct object *o); /* who takes a message rings: somebody waits for room; the lock is held */
void queue_describe(struct object *o, struct kx_object *e);
void set_describe(struct object *o, struct kx_object *e);
void segment_describe(struct object *o, struct kx_object *e);
/* Moves bytes to or from a segment: how many there were. */
long shm_copy(long id, uint64_t offset, char *buf, uint64_t n, bool write);

/* ---- sem.c, shm.c ---- */

void sem_gone(struct object *o, uint32_t page, uint32_t place);
void shm_gone(struct object *o, uint32_t page, uint32_t place);
void shm_hold_all(void);
void shm_drop_all(void);

#endif

/*
 * robust.c: robust mutexes. The C library keeps a list of those that a thread has (set_robust_list(2)); who ends goes through its own.
 *
 * A member that is killed cannot, and the heads of its lists are in its own memory. Where they are is known to the family (struct
 * published), and the mutexes themselves lie in memory that is shared: so whoever hears of a member's end looks through its segments for
 * words that name one of its threads and are linked as that thread's list would link them: with its head, or with another such word.
 */
#include "shm.h"

#include "futex.h"
#include "process.h"

#define TRIES 1000        /* others may be changing a word, but not for ever */
#define LOOKS (1 << 24)   /* comparisons of words with numbers of threads, for one member */

/* struct robust_list_head of <linux/futex.h> */
struct head {
	uint64_t first;
	int64_t offset; /* from an entry to its word */
	uint64_t pending;
};

/* A thread's list, as relatives know it. */
struct published {
	uint64_t head;
	int32_t offset;
	uint32_t tid; /* 0: none */
};

#define OFFSET_MOST 4096
#define LISTS ((PAGE_SIZE - sizeof(struct object)) / sizeof(struct published))

static uint32_t ours; /* the object that has ours; 0: none */

static struct published *lists_of(struct object *o)
{
	return (struct published *)o->data;
}

/* ---- our own end ---- */

static uint32_t ownerless(uint32_t word)
{
	return (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
}

/* The word of a mutex that a thread had, in shared memory: others may be changing it. */
static void hand_on_shared(uint32_t *at, uint32_t tid)
{
	uint32_t word = RELAXED(*at);

	if ((word & FUTEX_TID_MASK) != tid)
		return;
	shm_unguard((uint64_t)at);
	for (int i = 0; (word & FUTEX_TID_MASK) == tid && i < TRIES; i++)
		if (__atomic_compare_exchange_n(at, &word, ownerless(word), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			futex_wake((uint64_t)at, 1, FUTEX_BITSET_ANY);
			break;
		}
	shm_guard((uint64_t)at);
}

static void hand_on(uint64_t addr, uint32_t tid)
{
	uint32_t word;

	if (addr % sizeof(word))
		return;
	if (shm_covers(addr, sizeof(word))) {
		if (tid % TID_STEP != (uint32_t)own_pid)
			return; /* a thread of an ancestor has the number, too, and perhaps the mutex */
		hand_on_shared((uint32_t *)addr, tid);
		return;
	}
	if (copy_in(&word, (void *)addr, sizeof(word)) || (word & FUTEX_TID_MASK) != tid)
		return;
	word = ownerless(word);
	if (!copy_out((void *)addr, &word, sizeof(word)))
		futex_wake(addr, 1, FUTEX_BITSET_ANY);
}

void robust_exit(struct thread *t)
{
	struct head head;
	uint64_t entry, next;

	if (!t->robust_list || copy_in(&head, (void *)t->robust_list, sizeof(head)))
		return;
	entry = head.first;
	for (int i = 0; i < ROBUST_LIMIT && entry != t->robust_list; i++) {
		if (copy_in(&next, (void *)entry, sizeof(next)))
			break;
		if (entry != head.pending)
			hand_on(entry + (uint64_t)head.offset, (uint32_t)t->tid);
		entry = next;
	}
	if (head.pending)
		hand_on(head.pending + (uint64_t)head.offset, (uint32_t)t->tid);
	t->robust_list = 0;
}

void robust_exit_all(void)
{
	for (struct list_node *n = threads.next; n != &threads; n = n->next)
		robust_exit(CONTAINER_OF(n, struct thread, all));
}

/* ---- what relatives know ---- */

static struct published *list_of(uint32_t tid)
{
	struct object *o = ours ? object_at(ours, KIND_ROBUST) : NULL;

	for (size_t i = 0; o && i < LISTS; i++)
		if (RELAXED(lists_of(o)[i].tid) == tid)
			return &lists_of(o)[i];
	return NULL;
}

/* Where there is no room, a list is known to its own pVM only. */
static void publish(const struct thread *t)
{
	struct published *p;
	struct head head;

	if (family_enter() || copy_in(&head, (void *)t->robust_list, sizeof(head)))
		return;
	if (!ours)
		ours = object_new(KIND_ROBUST);
	p = list_of((uint32_t)t->tid);
	if (!p)
		p = list_of(0);
	if (!p)
		return;
	p->head = t->robust_list;
	p->offset = (int32_t)head.offset;
	__atomic_store_n(&p->tid, (uint32_t)t->tid, __ATOMIC_SEQ_CST);
}

void robust_forget(const struct thread *t)
{
	struct published *p = list_of((uint32_t)t->tid);

	if (p)
		__atomic_store_n(&p->tid, 0, __ATOMIC_SEQ_CST);
}

void robust_forked(void)
{
	ours = 0;
}

void robust_drop(void)
{
	if (ours)
		object_drop(ours, END_READ);
	ours = 0;
}

/* ---- a relative's end ---- */

struct dead {
	struct published lists[LISTS];
	uint32_t threads; /* that have one */
	uint32_t pid;
	int32_t offset; /* of all its lists: its C library's */
	uint32_t looks;  /* left */
	uint32_t count;
	struct {
		uint32_t *word;
		uint32_t tid;
	} found[ROBUST_LIMIT];
};

static const struct published *named(struct dead *d, uint32_t word)
{
	word &= FUTEX_TID_MASK;
	if (word % TID_STEP != d->pid || d->looks < d->threads)
		return NULL;
	d->looks -= d->threads;
	for (uint32_t i = 0; i < d->threads; i++)
		if (d->lists[i].tid == word)
			return &d->lists[i];
	return NULL;
}

/* A word in shared memory; NULL: it is not there. */
static uint32_t *word_at(uint64_t va)
{
	bool area = va % sizeof(uint32_t) == 0 && va - KX_FAMILY_VA < KX_FAMILY_PAGES * PAGE_SIZE;

	return area && family_number((void *)va) < family_top() && family_owner(family_number((void *)va), KIND_SEGMENT) ? (uint32_t *)va : NULL;
}

/* Whether an entry's neighbour is of the same list. */
static bool linked(const struct dead *d, const struct published *list, uint64_t neighbour)
{
	uint32_t *word = neighbour & 7 ? NULL : word_at(neighbour + (uint64_t)(int64_t)d->offset);

	return neighbour == list->head || (word && (RELAXED(*word) & FUTEX_TID_MASK) == list->tid);
}

/* Looks at what may be an entry: the link to the next, behind that to the one before. */
static void look_at(struct dead *d, uint64_t entry, uint64_t first, uint64_t end)
{
	uint64_t addr = entry + (uint64_t)(int64_t)d->offset;
	const struct published *list;

	if (addr < first || addr > end - sizeof(uint32_t) || d->count == ROBUST_LIMIT)
		return;
	list = named(d, RELAXED(*(uint32_t *)addr));
	if (list && (linked(d, list, RELAXED(*(uint64_t *)entry)) || linked(d, list, RELAXED(((uint64_t *)entry)[-1])))) {
		d->found[d->count].word = (uint32_t *)addr;
		d->found[d->count++].tid = list->tid;
	}
}

static void look_through(struct dead *d, uint64_t first, uint64_t n)
{
	for (uint64_t entry = first + 8; entry < first + n; entry += 8)
		if (RELAXED(*(uint64_t *)entry)) /* most are not */
			look_at(d, entry, first, first + n);
}

static bool learn(struct dead *d, uint32_t place)
{
	for (uint32_t page = 0, n = family_top(); page < n && !d->threads; page++) {
		struct object *o = object_at(page, KIND_ROBUST);

		for (size_t i = 0; o && object_has(o, place) && i < LISTS; i++) {
			d->lists[d->threads] = lists_of(o)[i];
			d->threads += d->lists[d->threads].tid != 0;
		}
	}
	d->offset = d->threads ? d->lists[0].offset : 0;
	return d->threads && d->offset % 4 == 0 && d->offset > -OFFSET_MOST && d->offset < OFFSET_MOST;
}

void robust_gone(uint32_t place)
{
	struct dead *d = kmalloc(sizeof(*d));
	uint32_t left = KX_FAMILY_PAGES; /* segments do not overlap */

	if (!d)
		return;
	d->pid = family_pid(place);
	d->looks = LOOKS;
	d->count = d->threads = 0;
	for (uint32_t page = 0, n = learn(d, place) ? family_top() : 0; page < n; page++) {
		struct object *o = object_at(page, KIND_SEGMENT);
		uint32_t first, pages = o && object_has(o, place) ? shm_range(o, &first) : 0;

		if (!pages || pages > left || first + pages > family_top() || !family_page(first))
			continue;
		left -= pages;
		look_through(d, (uint64_t)family_page(first), pages * PAGE_SIZE);
	}
	/* Not before all are found: who is handed on is no link any more. Relatives are rung when the dead member's holds go. */
	for (uint32_t i = 0; i < d->count; i++)
		hand_on_shared(d->found[i].word, d->found[i].tid);
	kfree(d);
}

/* ---- system calls ---- */

long sys_set_robust_list(long head, long len)
{
	if (len != sizeof(struct head))
		return -EINVAL;
	cur->robust_list = head;
	if (head)
		publish(cur);
	else
		robust_forget(cur);
	return 0;
}

long sys_get_robust_list(long tid, long head, long len)
{
	struct thread *t = tid ? thread_find((int)tid) : cur;
	static const uint64_t size = sizeof(struct head);

	if (!t)
		return -ESRCH;
	if (copy_out((void *)len, &size, sizeof(size)))
		return -EFAULT;
	return copy_out((void *)head, &t->robust_list, sizeof(t->robust_list));
}

/*
 * shm.c: shared memory: segments of System V, and mappings that a family shares. A segment is a run of pages of the family
 * area, which is at one address in all members, whether they have attached it or not: attaching only counts.
 */
#include "shm.h"

#include <sys/mman.h>

#include "mem.h"
#include "process.h"

#define SHM_RDONLY 010000
#define SHM_RND 020000
#define SHM_REMAP 040000
#define SHM_EXEC 0100000
#define SHM_HUGETLB 04000
#define SHM_DEST 01000
#define SHM_LOCKED 02000

#define CMD_SHM_LOCK 11
#define CMD_SHM_UNLOCK 12
#define CMD_SHM_STAT 13
#define CMD_SHM_INFO 14
#define CMD_SHM_STAT_ANY 15

#define PARTS 128
#define HOLD_TRIES 500

_Static_assert(PARTS <= PARTS_INLINE(KX_PAGE_SIZE - sizeof(struct object) - offsetof(struct segment, parts)), "its description is a page");

struct segment_user {
	struct ipc_perm_user perm;
	uint64_t size;
	int64_t attached, detached, changed;
	int32_t maker, last;
	uint64_t attachments, unused[2];
};

/* A segment that this member has. */
struct have {
	struct list_node node;
	uint32_t object;
	uint64_t va, pages;
	uint32_t times;    /* shmat; 0: it is a mapping */
	bool written;      /* the program may write to it: not each time was with SHM_RDONLY */
	bool read_only;    /* its pages are protected */
	uint64_t left;     /* pages of a mapping that are not unmapped */
	uint8_t *unmapped; /* of each page; NULL: none is */
};

static struct list_node haves = {&haves, &haves};

#define EACH_HAVE(h) \
	for (struct have *h = CONTAINER_OF(haves.next, struct have, node), *h##_next; \
	     h##_next = CONTAINER_OF(h->node.next, struct have, node), &h->node != &haves; h = h##_next)

static struct parts_of parts_of(struct object *o)
{
	return (struct parts_of){family_number(o), &segment_of(o)->parts, PARTS};
}

long segment_attachments(struct object *o)
{
	struct parts_of parts = parts_of(o);

	return part_sum(&parts, PART_ATTACHED, 0);
}

/* ---- what we have ---- */

static struct have *have_at(uint64_t va)
{
	EACH_HAVE(h)
		if (va - h->va < h->pages * PAGE_SIZE)
			return h;
	return NULL;
}

static struct have *have_object(uint32_t object)
{
	EACH_HAVE(h)
		if (h->object == object)
			return h;
	return NULL;
}

uint32_t shm_range(struct object *o, uint32_t *first)
{
	uint32_t pages = RELAXED(segment_of(o)->pages);

	*first = RELAXED(segment_of(o)->first);
	return pages <= PAGES_MAX && *first < KX_FAMILY_PAGES ? pages : 0;
}

/* The caller holds the object. NULL: what it says of itself is nonsense, or memory is short. */
static struct have *have_add(struct object *o)
{
	uint32_t first, pages = shm_range(o, &first);
	struct have *h;

	if (!pages || !family_page(first) || !family_page(first + pages - 1))
		return NULL;
	h = kzalloc(sizeof(*h));
	if (!h)
		return NULL;
	h->object = family_number(o);
	h->va = (uint64_t)family_page(first);
	h->pages = h->left = pages;
	list_add_tail(&haves, &h->node);
	return h;
}

/* The area is at one address: its pages themselves are protected, for as long as they are ours. */
static void protect(const struct have *h, int prot)
{
	if (area_protect(h->va, h->pages, prot))
		panic("the hypervisor refused to protect shared memory at %#lx", h->va);
}

/* Not with the lock of ipc.c: it may be a call, and the engine may be away. */
static void set_read_only(struct have *h, bool read_only)
{
	if (h->read_only != read_only)
		protect(h, read_only ? PROT_READ : PROT_READ | PROT_WRITE);
	h->read_only = read_only;
}

void shm_unguard(uint64_t va)
{
	const struct have *h = have_at(va);

	if (h && h->read_only)
		protect(h, PROT_READ | PROT_WRITE);
}

void shm_guard(uint64_t va)
{
	const struct have *h = have_at(va);

	if (h && h->read_only)
		protect(h, PROT_READ);
}

void shm_moved(void)
{
	EACH_HAVE(h)
		if (h->read_only)
			protect(h, PROT_READ);
}

static void have_drop(struct have *h)
{
	list_del(&h->node);
	object_drop(h->object, END_READ);
	kfree(h->unmapped);
	kfree(h);
}

/* ---- shmget ---- */

static long make(struct object *o, uint32_t page, size_t size)
{
	struct segment *s = segment_of(o);

	if (!size || size > PAGES_MAX * PAGE_SIZE)
		return -EINVAL;
	s->size = size;
	s->pages = (uint32_t)(PAGE_UP(size) >> PAGE_SHIFT);
	s->first = family_alloc_run(page, s->pages);
	s->maker = ipc_who();
	return s->first ? 0 : -ENOSPC;
}

static long fits(struct object *o, size_t size)
{
	return size > segment_of(o)->size ? -EINVAL : 0;
}

static const struct ipc_kind kind = {KIND_SEGMENT, make, fits};

long sys_shmget(long key, long size, long flags)
{
	long r;

	if (flags & SHM_HUGETLB)
		return -EINVAL;
	r = ipc_begin();
	if (r)
		return r;
	r = ipc_get(&kind, key, (size_t)size, flags);
	ipc_end();
	return r;
}

/* ---- shmat, shmdt ---- */

/* Finds a segment and holds it, so that it stays whoever of the family leaves it now. NULL: there is none. */
static struct object *join(long id)
{
	struct object *o = ipc_find(id, KIND_SEGMENT);
	bool mine = o && object_mine(o);

	if (!o || mine)
		return o;
	if (!object_join(family_number(o), KIND_SEGMENT))
		return NULL;
	if (RELAXED(ipc_head(o)->id) == (uint32_t)id)
		return o;
	object_drop(family_number(o), END_READ);
	return NULL;
}

/* We may not have it any more. */
static void part_with(struct object *o)
{
	if (!have_object(family_number(o)))
		object_drop(family_number(o), END_READ);
}

static long attach(struct object *o, uint64_t wanted, long flags)
{
	struct parts_of parts = parts_of(o);
	struct have *h = have_object(family_number(o));
	long err = ipc_allowed(ipc_head(o), flags & SHM_RDONLY ? IPC_READ : IPC_READ | IPC_WRITE);
	bool new = !h;

	if (err)
		return err;
	if (!h)
		h = have_add(o);
	if (!h)
		return -ENOMEM;
	if (wanted && (flags & SHM_RND ? PAGE_DOWN(wanted) : wanted) != h->va)
		err = -EINVAL;
	if (!err)
		err = part_add(&parts, PART_ATTACHED, family_place() - 1, 0, 1);
	if (err) {
		if (new) {
			list_del(&h->node);
			kfree(h);
		}
		return err;
	}
	h->times++;
	h->written = h->written || !(flags & SHM_RDONLY);
	ipc_set(&segment_of(o)->last, control->domid);
	ipc_set_time(&segment_of(o)->attached, ipc_time());
	return (long)h->va;
}

long sys_shmat(long id, long va, long flags)
{
	struct object *o;
	long r;

	id = (int)id;
	if (id < 0 || (flags & SHM_REMAP && !va) || flags & SHM_EXEC || (va & (PAGE_SIZE - 1) && !(flags & SHM_RND)))
		return -EINVAL;
	r = ipc_begin();
	if (r)
		return r;
	o = join(id);
	r = o ? attach(o, (uint64_t)va, flags) : -EINVAL;
	if (o)
		part_with(o);
	ipc_end();
	if (r > 0)
		set_read_only(have_at((uint64_t)r), !have_at((uint64_t)r)->written);
	return r;
}

/* So many attachments of ours end. If those are all, its pages are to be as they were. */
static void detach(struct have *h, uint32_t times)
{
	struct object *o = object_at(h->object, KIND_SEGMENT);
	struct parts_of parts;

	if (o) {
		parts = parts_of(o);
		part_add(&parts, PART_ATTACHED, family_place() - 1, 0, -(int)times);
		ipc_set(&segment_of(o)->last, control->domid);
		ipc_set_time(&segment_of(o)->detached, ipc_time());
		ipc_commit();
	}
	h->times -= times;
	if (!h->times)
		have_drop(h);
}

long sys_shmdt(long va)
{
	struct have *h = have_at((uint64_t)va);
	long err;

	if (!h || h->va != (uint64_t)va || !h->times)
		return -EINVAL;
	if (h->times == 1)
		set_read_only(h, false);
	err = ipc_begin();
	if (!err) {
		detach(h, 1);
		ipc_end();
	} else {
		set_read_only(h, !h->written);
	}
	return err;
}

/* ---- shmctl ---- */

static long stat_out(struct object *o, long user, long result)
{
	struct segment *s = segment_of(o);
	struct segment_user u = {.size = s->size, .attached = s->attached, .detached = s->detached,
		.changed = s->head.ctime, .maker = (int32_t)RELAXED(s->maker), .last = (int32_t)RELAXED(s->last),
		.attachments = (uint64_t)segment_attachments(o)};

	ipc_perm_out(&s->head, &u.perm);
	return copy_out((void *)user, &u, sizeof(u)) ? -EFAULT : result;
}

static long limits(long user)
{
	struct {
		uint64_t max, min, segments, each, all, unused[4];
	} m = {PAGES_MAX * PAGE_SIZE, 1, KX_FAMILY_PAGES, KX_FAMILY_PAGES, KX_FAMILY_PAGES, {0}};
	uint32_t last;

	ipc_count(KIND_SEGMENT, &last);
	return copy_out((void *)user, &m, sizeof(m)) ? -EFAULT : (long)last;
}

static long info(long user)
{
	struct {
		int32_t used, pad;
		uint64_t total, resident, swapped, tries, successes;
	} m = {0};
	uint32_t page = 0, last;
	struct object *o;

	m.used = (int32_t)ipc_count(KIND_SEGMENT, &last);
	while ((o = ipc_next(&page, KIND_SEGMENT)))
		m.total = m.resident += RELAXED(segment_of(o)->pages);
	return copy_out((void *)user, &m, sizeof(m)) ? -EFAULT : (long)last;
}

/* The segment goes with its last attachment; until then it has no key. */
static void end_segment(struct object *o)
{
	ipc_set(&ipc_head(o)->key, IPC_PRIVATE);
	ipc_set(&ipc_head(o)->mode, RELAXED(ipc_head(o)->mode) | SHM_DEST);
	ipc_commit();
	object_release(family_number(o));
}

static long change(struct object *o, int cmd, const struct segment_user *in)
{
	struct ipc_head *h = ipc_head(o);
	long err = ipc_owner(h);

	if (err)
		return err;
	switch (cmd) {
	case IPC_SET: ipc_perm_in(h, &in->perm); break;
	case CMD_SHM_LOCK: ipc_set(&h->mode, RELAXED(h->mode) | SHM_LOCKED); break;
	case CMD_SHM_UNLOCK: ipc_set(&h->mode, RELAXED(h->mode) & ~(uint32_t)SHM_LOCKED); break;
	default: end_segment(o); break;
	}
	return 0;
}

static long control_segment(long id, int cmd, long user, const struct segment_user *in)
{
	bool by_place = cmd == CMD_SHM_STAT || cmd == CMD_SHM_STAT_ANY;
	struct object *o;
	long err = 0;

	switch (cmd) {
	case IPC_INFO:
		return limits(user);
	case CMD_SHM_INFO:
		return info(user);
	case IPC_STAT:
	case CMD_SHM_STAT:
	case CMD_SHM_STAT_ANY:
		o = by_place ? ipc_at(id, KIND_SEGMENT) : ipc_find(id, KIND_SEGMENT);
		if (o && cmd != CMD_SHM_STAT_ANY)
			err = ipc_allowed(ipc_head(o), IPC_READ);
		return !o ? -EINVAL : err ? err : stat_out(o, user, by_place ? (long)RELAXED(ipc_head(o)->id) : 0);
	default:
		o = join(id);
		if (!o)
			return -EINVAL;
		err = change(o, cmd, in);
		ipc_commit();
		part_with(o);
		return err;
	}
}

long sys_shmctl(long id, long command, long user)
{
	int cmd = IPC_COMMAND(command);
	struct segment_user in;
	long r;

	id = (int)id;
	if (id < 0 || cmd < 0 || (cmd > IPC_INFO && cmd < CMD_SHM_LOCK) || cmd > CMD_SHM_STAT_ANY)
		return -EINVAL;
	if (cmd == IPC_SET && copy_in(&in, (void *)user, sizeof(in)))
		return -EFAULT;
	r = ipc_begin();
	if (r)
		return r;
	r = control_segment(id, cmd, user, &in);
	ipc_end();
	return r;
}

/* ---- mappings ---- */

long shm_map(size_t n)
{
	uint32_t number;
	struct object *o;
	struct have *h = NULL;

	if (ipc_begin())
		return -ENOSPC;
	number = object_new(KIND_SEGMENT);
	o = family_page(number);
	if (o) {
		if (!make(o, number, n))
			h = have_add(o);
		if (h)
			h->written = true;
		else
			object_drop(number, END_READ);
	}
	ipc_end();
	return h ? (long)h->va : -ENOSPC;
}

bool shm_read_only(uint64_t va)
{
	const struct have *h = have_at(va);

	return h && h->read_only;
}

bool shm_covers(uint64_t va, size_t n)
{
	struct have *h = have_at(va);
	uint64_t first = h ? (va - h->va) >> PAGE_SHIFT : 0;

	if (!h || n > h->va + h->pages * PAGE_SIZE - va)
		return false;
	for (uint64_t i = first; h->unmapped && i << PAGE_SHIFT < va + n - h->va; i++)
		if (h->unmapped[i])
			return false;
	return true;
}

uint64_t shm_end(uint64_t va)
{
	struct have *h = have_at(va);

	return h ? h->va + h->pages * PAGE_SIZE : 0;
}

int shm_each(int (*look)(void *arg, uint64_t from, uint64_t end), void *arg)
{
	int r = 0;

	EACH_HAVE(h)
		for (uint64_t i = 0; i < h->pages && !r; i++)
			if (!h->unmapped || !h->unmapped[i])
				r = look(arg, h->va + (i << PAGE_SHIFT), h->va + ((i + 1) << PAGE_SHIFT));
	return r;
}

struct object *shm_object(uint64_t va)
{
	struct have *h = have_at(va);

	return h ? object_at(h->object, KIND_SEGMENT) : NULL;
}

/* Pages of a mapping go; with the last of them, it does. */
static void unmap(struct have *h, uint64_t first, uint64_t end)
{
	if (h->times) { /* of an attached segment only all of it can go */
		if (first || end != h->pages)
			return;
		set_read_only(h, false);
		if (!ipc_begin()) {
			detach(h, h->times);
			ipc_end();
		} else {
			set_read_only(h, !h->written);
		}
		return;
	}
	if (!h->unmapped && end - first < h->pages && !(h->unmapped = kzalloc(h->pages)))
		return;
	for (uint64_t i = first; i < end; i++) {
		h->left -= !h->unmapped || !h->unmapped[i];
		if (h->unmapped)
			h->unmapped[i] = 1;
	}
	if (!h->left && !ipc_begin()) {
		have_drop(h);
		ipc_end();
	}
}

bool shm_unmap(uint64_t va, size_t n)
{
	uint64_t end = va + n;

	if (va < KX_FAMILY_VA || va >= KX_FAMILY_VA + KX_FAMILY_PAGES * PAGE_SIZE || n > KX_FAMILY_PAGES * PAGE_SIZE)
		return false;
	EACH_HAVE(h)
		if (h->va < end && va < h->va + h->pages * PAGE_SIZE)
			unmap(h, (MAX(va, h->va) - h->va) >> PAGE_SHIFT, (MIN(end, h->va + h->pages * PAGE_SIZE) - h->va) >> PAGE_SHIFT);
	return true;
}

/* ---- members come and go ---- */

/* A child has what its parent had. */
void shm_hold_all(void)
{
	if (list_empty(&haves))
		return;
	EACH_HAVE(h)
		object_hold(h->object, END_READ);
	for (int tries = 0; !ipc_try(); tries++)
		if (tries == HOLD_TRIES)
			return; /* it has them, and is not counted */
	EACH_HAVE(h) {
		struct object *o = object_at(h->object, KIND_SEGMENT);
		struct parts_of parts;

		if (o && h->times) {
			parts = parts_of(o);
			part_add(&parts, PART_ATTACHED, family_place() - 1, 0, (int)h->times);
		}
	}
	ipc_end();
}

void shm_drop_all(void)
{
	EACH_HAVE(h)
		object_drop(h->object, END_READ);
}

void shm_gone(struct object *o, uint32_t page, uint32_t place)
{
	struct parts_of parts = parts_of(o);
	struct part_entry *e = part_find(&parts, PART_ATTACHED, place, 0);

	(void)page;
	if (!e)
		return;
	part_clear(e);
	ipc_set(&segment_of(o)->last, family_pid(place));
	ipc_set_time(&segment_of(o)->detached, ipc_time());
	ipc_commit();
}

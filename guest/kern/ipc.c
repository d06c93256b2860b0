/* ipc.c: objects of System V: their names, permissions and numbers, the lock, and what members have in them. */
#include "ipc.h"

#include "process.h"

#define PATIENCE_NS 1000000000
#define NAP_NS 2000000
#define PAGE_BITS 13 /* of a number that are the object's page; the rest tells it from earlier ones there */
#define BIRTH_BITS (31 - PAGE_BITS)
#define PARTS_PAGES 64 /* of an object */

_Static_assert(KX_FAMILY_PAGES <= 1 << PAGE_BITS, "a page's number fits");

static struct waitq changed = WAITQ_INIT(changed); /* who waits for any object */
static bool used;
static bool watched; /* by the engine */

bool ipc_outside;

uint32_t ipc_who(void)
{
	return ipc_outside ? 0 : control->domid;
}

static uint32_t who_uid(void)
{
	return ipc_outside ? 0 : effective_uid();
}

static uint32_t who_gid(void)
{
	return ipc_outside ? 0 : effective_gid();
}

/* ---- the journal ---- */

static uint32_t *word_at(uint32_t at)
{
	uint32_t page = at / PAGE_SIZE;

	return at % sizeof(uint32_t) || !family_page(page) ? NULL : (uint32_t *)((char *)family_page(page) + at % PAGE_SIZE);
}

void ipc_back(void)
{
	struct family_ipc *f = family_ipc();

	for (uint32_t n = MIN(RELAXED(f->count), JOURNAL); n; n--) {
		uint32_t *word = word_at(RELAXED(f->journal[n - 1].at));

		if (word)
			__atomic_store_n(word, RELAXED(f->journal[n - 1].was), __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&f->count, 0, __ATOMIC_SEQ_CST);
}

void ipc_set(uint32_t *word, uint32_t value)
{
	struct family_ipc *f = family_ipc();
	uint32_t n = RELAXED(f->count);

	if (n < JOURNAL) {
		f->journal[n].at = (uint32_t)((uintptr_t)word - KX_FAMILY_VA);
		f->journal[n].was = RELAXED(*word);
		__atomic_store_n(&f->count, n + 1, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* ---- the lock ---- */

bool ipc_try(void)
{
	if (family_ipc_lock())
		return false;
	if (RELAXED(family_ipc()->count))
		ipc_back();
	return true;
}

long ipc_begin(void)
{
	int64_t end;

	if (family_enter())
		return -ENOSPC;
	used = true;
	if (ipc_outside)
		return ipc_try() ? 0 : -EBUSY;
	end = now_ns() + PATIENCE_NS;
	while (!ipc_try()) {
		if (now_ns() > end)
			return -EIO;
		wait_on_killable(NULL, deadline_after(NAP_NS));
	}
	return 0;
}

void ipc_commit(void)
{
	__atomic_store_n(&family_ipc()->count, 0, __ATOMIC_SEQ_CST);
}

void ipc_end(void)
{
	ipc_commit();
	family_ipc_unlock();
}

int ipc_wait(struct object *o, int64_t deadline)
{
	object_await(o);
	ipc_end();
	return wait_on(&changed, deadline);
}

static void look_again(void)
{
	wake_all(&changed);
	if (!watched)
		return;
	watched = false;
	task_news();
}

void ipc_watch(struct object *o)
{
	object_await(o);
	watched = true;
}

void ipc_happened(struct object *o)
{
	object_changed(o);
	look_again();
}

void ipc_news(void)
{
	look_again();
}

bool ipc_used(void)
{
	return used;
}

/* ---- finding ---- */

struct object *ipc_at(long page, enum kind kind)
{
	struct object *o = page > 0 && page < KX_FAMILY_PAGES ? object_at((uint32_t)page, kind) : NULL;

	return o && RELAXED(ipc_head(o)->id) ? o : NULL;
}

struct object *ipc_find(long id, enum kind kind)
{
	struct object *o = id < 0 || id > INT_MAX ? NULL : ipc_at(id & ((1 << PAGE_BITS) - 1), kind);

	return o && RELAXED(ipc_head(o)->id) == (uint32_t)id ? o : NULL;
}

struct object *ipc_next(uint32_t *page, enum kind kind)
{
	for (uint32_t n = family_top(); ++*page < n;) {
		struct object *o = ipc_at(*page, kind);

		if (o)
			return o;
	}
	return NULL;
}

long ipc_count(enum kind kind, uint32_t *last)
{
	uint32_t page = 0;
	long n = 0;

	for (*last = 0; ipc_next(&page, kind); n++)
		*last = page;
	return n;
}

static struct object *find_key(uint32_t key, enum kind kind)
{
	struct object *o;
	uint32_t page = 0;

	while ((o = ipc_next(&page, kind)))
		if (RELAXED(ipc_head(o)->key) == key)
			return o;
	return NULL;
}

/* ---- permissions ---- */

int64_t ipc_time(void)
{
	return real_ns() / NSEC;
}

long ipc_allowed(const struct ipc_head *h, uint32_t want)
{
	uint32_t uid = who_uid(), mode = RELAXED(h->mode);

	if (!uid)
		return 0;
	if (uid == RELAXED(h->uid) || uid == RELAXED(h->cuid))
		mode >>= 6;
	else if (in_group(RELAXED(h->gid)) || in_group(RELAXED(h->cgid)))
		mode >>= 3;
	want |= want >> 3 | want >> 6;
	return want & 07 & ~mode ? -EACCES : 0;
}

long ipc_owner(const struct ipc_head *h)
{
	uint32_t uid = who_uid();

	return !uid || uid == RELAXED(h->uid) || uid == RELAXED(h->cuid) ? 0 : -EPERM;
}

void ipc_perm_out(const struct ipc_head *h, struct ipc_perm_user *p)
{
	*p = (struct ipc_perm_user){.key = (int32_t)RELAXED(h->key), .uid = RELAXED(h->uid), .gid = RELAXED(h->gid),
		.cuid = RELAXED(h->cuid), .cgid = RELAXED(h->cgid), .mode = RELAXED(h->mode),
		.seq = RELAXED(h->id) >> PAGE_BITS};
}

void ipc_perm_in(struct ipc_head *h, const struct ipc_perm_user *p)
{
	ipc_set(&h->uid, p->uid);
	ipc_set(&h->gid, p->gid);
	ipc_set(&h->mode, (RELAXED(h->mode) & ~0777U) | (p->mode & 0777));
	ipc_set_time(&h->ctime, ipc_time());
}

/* ---- coming and going ---- */

static long make(const struct ipc_kind *k, uint32_t key, size_t size, long flags)
{
	uint32_t page = object_new(k->kind), birth;
	struct object *o = family_page(page);
	struct ipc_head *h;
	long err;

	if (!o)
		return -ENOSPC;
	h = ipc_head(o);
	h->key = key;
	h->uid = h->cuid = who_uid();
	h->gid = h->cgid = who_gid();
	h->mode = (uint32_t)flags & 0777;
	h->ctime = ipc_time();
	err = k->make(o, page, size);
	if (err) {
		object_drop(page, END_READ);
		return err;
	}
	birth = __atomic_add_fetch(&family_ipc()->births, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&o->kept, 1, __ATOMIC_SEQ_CST);
	object_drop(page, END_READ);
	__atomic_store_n(&h->id, (birth & ((1 << BIRTH_BITS) - 1)) << PAGE_BITS | page, __ATOMIC_SEQ_CST);
	return (long)h->id;
}

long ipc_get(const struct ipc_kind *k, long key, size_t size, long flags)
{
	struct object *o;
	long err;

	o = (uint32_t)key == IPC_PRIVATE ? NULL : find_key((uint32_t)key, k->kind);
	if (!o)
		return (uint32_t)key == IPC_PRIVATE || flags & IPC_CREAT ? make(k, (uint32_t)key, size, flags) : -ENOENT;
	if (flags & IPC_CREAT && flags & IPC_EXCL)
		return -EEXIST;
	err = k->fits(o, size);
	if (!err)
		err = ipc_allowed(ipc_head(o), (uint32_t)flags & 0777);
	return err ? err : (long)RELAXED(ipc_head(o)->id);
}

void ipc_remove(struct object *o)
{
	__atomic_store_n(&ipc_head(o)->id, 0, __ATOMIC_SEQ_CST);
	ipc_happened(o);
	object_release(family_number(o));
}

bool ipc_describe(uint32_t page, struct kx_object *e)
{
	struct object *o = object_at(page, KIND_PIPE);
	const struct ipc_head *h;

	memset(e, 0, sizeof(*e));
	if (o) {
		pipe_describe(o, e);
		return true;
	}
	if ((o = ipc_at(page, KIND_QUEUE)))
		queue_describe(o, e);
	else if ((o = ipc_at(page, KIND_SEMAPHORES)))
		set_describe(o, e);
	else if ((o = ipc_at(page, KIND_SEGMENT)))
		segment_describe(o, e);
	else
		return false;
	h = ipc_head(o);
	e->id = RELAXED(h->id);
	e->key = RELAXED(h->key);
	e->mode = RELAXED(h->mode);
	e->uid = RELAXED(h->uid);
	e->gid = RELAXED(h->gid);
	return true;
}

/* ---- parts ---- */

#define PER_PAGE PARTS_INLINE(PAGE_SIZE)

struct part_entry *part_nth(const struct parts_of *p, size_t n)
{
	struct parts *at = p->first;
	size_t room = p->inlined;

	if (n >= room + PARTS_PAGES * PER_PAGE)
		return NULL;
	while (at && n >= room) {
		n -= room;
		room = PER_PAGE;
		at = family_page(RELAXED(at->more));
	}
	return at ? &at->entry[n] : NULL;
}

struct part_entry *part_find(const struct parts_of *p, enum part part, uint32_t place, uint32_t index)
{
	struct part_entry *e;

	for (size_t i = 0; (e = part_nth(p, i)); i++)
		if (RELAXED(e->who) == ((uint32_t)part << 16 | (place + 1)) && part_index(e) == index)
			return e;
	return NULL;
}

/* A page of free entries behind the last. */
static bool part_page(const struct parts_of *p)
{
	struct parts *last = p->first, *next;
	uint32_t page;
	int n = 0;

	while ((next = family_page(RELAXED(last->more))) && n++ < PARTS_PAGES)
		last = next;
	page = next ? FAMILY_NO_PAGE : family_alloc(p->page);
	if (!page)
		return false;
	memset(family_page(page), 0, PAGE_SIZE);
	__atomic_store_n(&last->more, page, __ATOMIC_SEQ_CST);
	return true;
}

static struct part_entry *part_free(const struct parts_of *p)
{
	struct part_entry *e;

	for (size_t i = 0;; i++) {
		e = part_nth(p, i);
		if (e ? !RELAXED(e->who) : !part_page(p))
			return e;
		if (!e)
			i--;
	}
}

void part_clear(struct part_entry *e)
{
	ipc_set(&e->who, 0);
}

long part_add(const struct parts_of *p, enum part part, uint32_t place, uint32_t index, int more)
{
	struct part_entry *e = part_find(p, part, place, index);
	int value = (e ? part_value(e) : 0) + more;

	if (value < INT16_MIN || value > INT16_MAX)
		return -ERANGE;
	if (!value) {
		if (e)
			part_clear(e);
		return 0;
	}
	if (!e) {
		e = part_free(p);
		if (!e)
			return -ENOSPC;
		ipc_set(&e->who, (uint32_t)part << 16 | (place + 1));
	}
	ipc_set(&e->what, index << 16 | (uint16_t)value);
	return 0;
}

int part_sum(const struct parts_of *p, enum part part, uint32_t index)
{
	struct part_entry *e;
	int sum = 0;

	for (size_t i = 0; (e = part_nth(p, i)); i++)
		if (part_of(e) == part && part_index(e) == index)
			sum += part_value(e);
	return sum;
}

/* ---- members ---- */

void ipc_gone(uint32_t place)
{
	if (RELAXED(family_ipc()->count))
		ipc_back();
	for (uint32_t page = 0, n = family_top(); page < n; page++) {
		if (object_at(page, KIND_SEMAPHORES))
			sem_gone(family_page(page), page, place);
		else if (object_at(page, KIND_SEGMENT))
			shm_gone(family_page(page), page, place);
	}
	ipc_commit();
}

void ipc_hold_all(void)
{
	shm_hold_all();
}

void ipc_drop_all(void)
{
	shm_drop_all();
}

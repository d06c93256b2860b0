/*
 * family.c: the family area: who is in it, its pages, its objects and who holds them.
 *
 * An object whose last holder goes is taken apart under the lock of the area. A member that is killed in the middle
 * leaves pages that say whose they are, and a lock with its place: who hears of its end (family_gone) puts that right.
 */
#include "family.h"
#include "hyper.h"
#include "process.h"

/* The area from its beginning. All of it belongs to everybody. */
struct layout {
	struct kx_member members[KX_MEMBERS];
	uint32_t lock; /* as object.lock: of taking objects apart */
	uint32_t top;  /* no page from here on was ever anybody's */
	uint32_t pad[14];
	uint32_t owner[KX_FAMILY_PAGES]; /* 0: free; an object's page; or MAKING | place */
};

#define area ((struct layout *)KX_FAMILY_VA)
#define FIRST_PAGE ((sizeof(struct layout) + PAGE_SIZE - 1) / PAGE_SIZE)
#define MAKING 0x80000000U

#define SPIN_NS 2000000      /* a lock is waited for so long at a time, */
#define SPIN_FREE 200        /* ... so many looks of them without giving the CPU away */
#define PATIENCE_NS 1000000000
#define NAP_NS 2000000

static uint32_t mine; /* our place plus 1; 0: none */
static uint32_t births_expected;
static unsigned locked; /* objects whose locks are ours */

/* What was dropped while children had not found their places yet. */
struct deferred {
	struct list_node node;
	uint32_t page;
	enum end end;
};
static struct list_node deferred = {&deferred, &deferred};

static struct kx_member *self(void)
{
	return &area->members[mine - 1];
}

bool family_in(void)
{
	return mine != 0;
}

static uint32_t pages(void)
{
	return MIN(control->family_pages, (uint32_t)KX_FAMILY_PAGES);
}

static void set_bit(uint64_t *set, uint32_t place)
{
	__atomic_fetch_or(&set[place / 64], 1UL << place % 64, __ATOMIC_SEQ_CST);
}

/* Whether it was set. */
static bool clear_bit(uint64_t *set, uint32_t place)
{
	uint64_t bit = 1UL << place % 64;

	return __atomic_fetch_and(&set[place / 64], ~bit, __ATOMIC_SEQ_CST) & bit;
}

/* ---- ringing ---- */

static void send(uint32_t place)
{
	struct evtchn_send s = {KX_PORT_MEMBER + place};
	uint32_t pid = RELAXED(area->members[place].pid);

	if (control->flags & KX_F_BELLS) {
		hyper_event_channel(EVTCHNOP_send, &s);
		return;
	}
	for (int i = 0; i <= KX_RINGS; i++) {
		uint32_t was = 0;

		if (i == KX_RINGS)
			control->rings[0] = KX_RING_ALL;
		else if (__atomic_compare_exchange_n((uint32_t *)&control->rings[i], &was, pid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) || was == pid)
			break;
	}
	doorbell();
}

static void ring(uint32_t place)
{
	struct kx_member *m = &area->members[place];

	__atomic_store_n(&m->rung, 1, __ATOMIC_SEQ_CST);
	if (place != mine - 1 && __atomic_load_n(&m->asleep, __ATOMIC_SEQ_CST))
		send(place);
}

bool family_sleeps(void)
{
	if (!mine)
		return true;
	__atomic_store_n(&self()->asleep, 1, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&self()->rung, __ATOMIC_SEQ_CST);
}

void family_awake(void)
{
	if (mine)
		__atomic_store_n(&self()->asleep, 0, __ATOMIC_SEQ_CST);
}

void object_changed(struct object *o)
{
	__atomic_fetch_add(&o->changes, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&o->waits, __ATOMIC_SEQ_CST))
		return;
	__atomic_store_n(&o->waits, 0, __ATOMIC_SEQ_CST);
	for (uint32_t w = 0; w < HOLDERS; w++) {
		uint64_t set = RELAXED(o->waiting[w]) ? __atomic_exchange_n(&o->waiting[w], 0, __ATOMIC_SEQ_CST) : 0;

		for (; set; set &= set - 1)
			ring(w * 64 + (uint32_t)__builtin_ctzl(set));
	}
}

void object_await(struct object *o)
{
	set_bit(o->waiting, mine - 1);
	__atomic_store_n(&o->waits, 1, __ATOMIC_SEQ_CST);
}

/* ---- pages ---- */

void *family_page(uint32_t page)
{
	return page >= FIRST_PAGE && page < pages() ? (void *)(KX_FAMILY_VA + page * PAGE_SIZE) : NULL;
}

uint32_t family_number(const void *page)
{
	return (uint32_t)(((uintptr_t)page - KX_FAMILY_VA) / PAGE_SIZE);
}

static uint32_t next; /* where it is worth to look for a free page */

static uint32_t top(void)
{
	return MIN(RELAXED(area->top), pages());
}

/* Those that have it are found up to top: it moves before anybody can rely on it. */
static void raise_top(uint32_t page)
{
	uint32_t was = RELAXED(area->top);

	while (was <= page && !__atomic_compare_exchange_n(&area->top, &was, page + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static uint32_t find_free(uint32_t owner)
{
	uint32_t n = pages();

	for (uint32_t i = FIRST_PAGE; i < n; i++) {
		uint32_t was = 0;

		if (next < FIRST_PAGE || next >= n)
			next = FIRST_PAGE;
		if (!RELAXED(area->owner[next]) &&
		    __atomic_compare_exchange_n(&area->owner[next], &was, owner, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			raise_top(next);
			return next++;
		}
		next++;
	}
	return FAMILY_NO_PAGE;
}

uint32_t family_alloc(uint32_t object)
{
	uint32_t owner = object ? object : MAKING | (mine - 1), page = find_free(owner), had = pages();

	if (page == FAMILY_NO_PAGE && had < KX_FAMILY_PAGES && engine_call(KX_CALL_FAMILY, had + 1, 0, 0) > (long)had)
		page = find_free(owner);
	return page;
}

void family_free(uint32_t page, uint32_t object)
{
	uint32_t was = object;

	if (family_page(page) && __atomic_compare_exchange_n(&area->owner[page], &was, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		next = MIN(next, page);
}

/* ---- locks ---- */

static bool try_lock(uint32_t *lock)
{
	uint32_t was = 0;

	return __atomic_compare_exchange_n(lock, &was, mine, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static long take_lock(uint32_t *lock)
{
	int64_t end = 0;

	for (int i = 0; !try_lock(lock); i++) {
		if (i < SPIN_FREE) {
			__builtin_ia32_pause();
			continue;
		}
		if (!end)
			end = now_ns() + SPIN_NS;
		else if (now_ns() > end)
			return -EBUSY;
		hyper_sched(SCHEDOP_yield, NULL); /* who has it may need our CPU */
	}
	return 0;
}

static void free_lock(uint32_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_SEQ_CST);
}

long object_lock(struct object *o)
{
	long err = take_lock(&o->lock);

	locked += !err;
	return err;
}

void object_unlock(struct object *o)
{
	locked--;
	free_lock(&o->lock);
}

long object_lock_patient(struct object *o)
{
	int64_t end = now_ns() + PATIENCE_NS;

	while (object_lock(o)) {
		if (now_ns() > end)
			return -EIO;
		wait_on_killable(NULL, deadline_after(NAP_NS));
	}
	return 0;
}

/* ---- objects ---- */

struct object *object_at(uint32_t page, enum kind kind)
{
	struct object *o = family_page(page);

	return o && RELAXED(o->kind) == (uint32_t)kind ? o : NULL;
}

uint32_t object_new(enum kind kind)
{
	uint32_t page = family_alloc(0);
	struct object *o = family_page(page);

	if (!o)
		return FAMILY_NO_PAGE;
	memset(o, 0, PAGE_SIZE);
	__atomic_store_n(&o->kind, kind, __ATOMIC_SEQ_CST);
	__atomic_store_n(&area->owner[page], page, __ATOMIC_SEQ_CST);
	return page;
}

bool object_held(const struct object *o, enum end end)
{
	for (uint32_t w = 0; w < HOLDERS; w++)
		if (__atomic_load_n(&o->holders[end][w], __ATOMIC_SEQ_CST))
			return true;
	return false;
}

static bool held(const struct object *o)
{
	return object_held(o, END_READ) || object_held(o, END_WRITE);
}

/* Frees all pages of an object, its own last. */
static void free_pages(uint32_t object)
{
	for (uint32_t i = FIRST_PAGE, n = top(); i < n; i++)
		if (i != object && RELAXED(area->owner[i]) == object)
			family_free(i, object);
	family_free(object, object);
}

/* Nobody has it any more. */
static void take_apart(uint32_t page)
{
	struct object *o = family_page(page);

	if (!o || take_lock(&area->lock))
		return; /* whoever hears of a member's end next does it */
	if (RELAXED(o->kind) && !held(o)) {
		__atomic_store_n(&o->kind, KIND_NONE, __ATOMIC_SEQ_CST);
		free_pages(page);
	}
	free_lock(&area->lock);
}

void object_hold(uint32_t page, enum end end)
{
	struct object *o = family_page(page);

	if (o)
		set_bit(o->holders[end], mine - 1);
}

static void drop_of(uint32_t page, enum end end, uint32_t place)
{
	struct object *o = family_page(page);

	if (!o || !RELAXED(o->kind) || !clear_bit(o->holders[end], place))
		return;
	object_changed(o);
	if (!held(o))
		take_apart(page);
}

/* ---- what waits for children ---- */

static bool all_born(void)
{
	return __atomic_load_n(&self()->births, __ATOMIC_SEQ_CST) == births_expected;
}

static void drop_deferred(void)
{
	while (!list_empty(&deferred)) {
		struct deferred *d = CONTAINER_OF(deferred.next, struct deferred, node);

		list_del(&d->node);
		drop_of(d->page, d->end, mine - 1);
		kfree(d);
	}
	__atomic_store_n(&self()->defers, 0, __ATOMIC_SEQ_CST);
}

/*
 * A child that was made, but has not found its place yet, holds nothing: until then its parent drops nothing, or a
 * pipe could seem to have no writer any more between the two.
 */
void object_drop(uint32_t page, enum end end)
{
	struct deferred *d = all_born() ? NULL : kmalloc(sizeof(*d));

	if (!d) {
		drop_of(page, end, mine - 1);
		return;
	}
	d->page = page;
	d->end = end;
	list_add_tail(&deferred, &d->node);
	__atomic_store_n(&self()->defers, 1, __ATOMIC_SEQ_CST);
	if (all_born())
		drop_deferred();
}

/* ---- members ---- */

long family_enter(void)
{
	if (mine)
		return 0;
	if (pages() <= FIRST_PAGE && engine_call(KX_CALL_FAMILY, FIRST_PAGE + 1, 0, 0) <= (long)FIRST_PAGE)
		return -ENOSYS;
	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		struct kx_member *m = &area->members[i];
		uint32_t was = 0;

		if (RELAXED(m->pid) || !__atomic_compare_exchange_n(&m->pid, &was, control->domid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		m->rung = m->asleep = m->defers = 0;
		births_expected = m->births;
		mine = i + 1;
		control->family_place = mine;
		control->family_state = KX_FAMILY_IN;
		return 0;
	}
	return -ENOMEM;
}

void family_child(void)
{
	uint32_t parent = mine;
	int64_t now = now_ns();

	while (!list_empty(&deferred)) {
		struct deferred *d = CONTAINER_OF(deferred.next, struct deferred, node);

		list_del(&d->node);
		kfree(d);
	}
	mine = 0;
	if (!parent)
		return;
	if (family_enter())
		klog("kx: a family of more than %d: what this member inherited is not shared with it", KX_MEMBERS);
	else
		common_hold_all();
	/* Side by side: a child that ends without main_ns is taken off its parent's count. */
	__atomic_fetch_add(&area->members[parent - 1].births, 1, __ATOMIC_SEQ_CST);
	control->main_ns = (uint64_t)now;
	if (__atomic_load_n(&area->members[parent - 1].defers, __ATOMIC_SEQ_CST))
		ring(parent - 1);
}

void family_born(long children)
{
	if (mine)
		births_expected += (uint32_t)children;
}

/* What a member that was killed has left. */
static void clean(uint32_t place)
{
	for (uint32_t i = FIRST_PAGE, n = top(); i < n; i++) {
		uint32_t owner = RELAXED(area->owner[i]), lock = place + 1;
		struct object *o = owner == i ? family_page(i) : NULL;

		if (owner == (MAKING | place))
			family_free(i, owner);
		if (!o || !RELAXED(o->kind))
			continue;
		__atomic_compare_exchange_n(&o->lock, &lock, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		drop_of(i, END_READ, place);
		drop_of(i, END_WRITE, place);
		clear_bit(o->waiting, place);
		if (!held(o))
			take_apart(i);
	}
}

/* Pages of objects that are no more: somebody was killed while he took one apart. The area is locked. */
static void sweep(void)
{
	for (uint32_t i = FIRST_PAGE, n = top(); i < n; i++) {
		uint32_t owner = RELAXED(area->owner[i]);
		const struct object *o = owner & MAKING ? NULL : family_page(owner);

		if (o && (!RELAXED(o->kind) || RELAXED(area->owner[owner]) != owner))
			family_free(i, owner);
	}
}

void family_gone(int pid, int parent)
{
	if (!mine || pid == (int)control->domid)
		return;
	if (parent == (int)control->domid) {
		births_expected--;
		if (all_born())
			drop_deferred();
	}
	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		struct kx_member *m = &area->members[i];
		uint32_t lock = i + 1, was = (uint32_t)pid;

		if (RELAXED(m->pid) != was)
			continue;
		if (__atomic_compare_exchange_n(&area->lock, &lock, mine, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			sweep();
			free_lock(&area->lock);
		}
		clean(i);
		__atomic_compare_exchange_n(&m->pid, &was, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
}

void family_exit(void)
{
	if (!mine)
		return;
	for (int64_t end = now_ns() + PATIENCE_NS; !all_born() && now_ns() < end;)
		hyper_sched(SCHEDOP_yield, NULL);
	common_drop_all();
	if (!list_empty(&deferred) || locked)
		return; /* the engine has the others see to it */
	control->family_state = KX_FAMILY_LEFT;
	__atomic_store_n(&self()->pid, 0, __ATOMIC_SEQ_CST);
	mine = 0;
}

void family_events(void)
{
	if (!mine || !__atomic_exchange_n(&self()->rung, 0, __ATOMIC_SEQ_CST))
		return;
	if (!list_empty(&deferred) && all_born())
		drop_deferred();
	common_news();
}

bool family_ticks(void)
{
	return mine && thread_count > 1;
}

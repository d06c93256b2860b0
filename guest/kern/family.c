/*
 * family.c: the family area: who is in it, its pages, its objects and who holds them.
 *
 * An object whose last holder goes is taken apart under the lock of the area. A member that is killed in the middle
 * leaves pages that say whose they are, and a lock with its place: who hears of its end (family_gone) puts that right.
 */
#include "family.h"
#include "bell.h"
#include "futex.h"
#include "hyper.h"
#include "process.h"

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

#define area ((struct layout *)KX_FAMILY_VA)
#define FIRST_PAGE ((sizeof(struct layout) + PAGE_SIZE - 1) / PAGE_SIZE)
#define MAKING 0x80000000U

#define SPIN_NS 2000000      /* a lock is waited for so long at a time, */
#define SPIN_FREE 200        /* ... so many looks of them without giving the CPU away */
#define PATIENCE_NS 1000000000
#define NAP_NS 2000000
#define SHOWN_NS 100000000

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

uint32_t family_place(void)
{
	return mine;
}

uint32_t family_pid(uint32_t place)
{
	return RELAXED(area->members[place % KX_MEMBERS].pid) & 0xffff;
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

/* ---- waiting ---- */

/*
 * changes moves when nobody can begin to wait for this ring any more: who began before that sees that it moved, who does later
 * sees what changed.
 */
void object_changed(struct object *o)
{
	if (!__atomic_load_n(&o->waits, __ATOMIC_SEQ_CST))
		return;
	__atomic_store_n(&o->waits, 0, __ATOMIC_SEQ_CST);
	for (uint32_t w = 0; w < HOLDERS; w++) {
		uint64_t set = RELAXED(o->waiting[w]) ? __atomic_exchange_n(&o->waiting[w], 0, __ATOMIC_SEQ_CST) : 0;

		if (set)
			__atomic_fetch_add(&o->changes, 1, __ATOMIC_SEQ_CST);
		for (; set; set &= set - 1)
			member_ring(w * 64 + (uint32_t)__builtin_ctzl(set));
	}
}

void object_await(struct object *o)
{
	set_bit(o->waiting, mine - 1);
	__atomic_store_n(&o->waits, 1, __ATOMIC_SEQ_CST);
	lines_offer(o);
}

/* ---- pages ---- */

/* Where the area grows, another member may hear of it, and use it, a moment before we do. */
static bool shown(uint32_t page)
{
	int64_t end = 0;

	if (page >= KX_FAMILY_PAGES)
		return false;
	while (page >= pages()) {
		if (!pages() || page >= RELAXED(area->top))
			return false; /* nobody has used it */
		if (!end)
			end = now_ns() + SHOWN_NS;
		else if (now_ns() > end)
			return false;
		hyper_sched(SCHEDOP_yield, NULL);
	}
	return true;
}

/* Without a place nothing of it is ours, whatever a parent had. */
void *family_page(uint32_t page)
{
	return mine && page >= FIRST_PAGE && shown(page) ? (void *)(KX_FAMILY_VA + page * PAGE_SIZE) : NULL;
}

uint32_t family_number(const void *page)
{
	return (uint32_t)(((uintptr_t)page - KX_FAMILY_VA) / PAGE_SIZE);
}

static uint32_t next; /* where it is worth to look for a free page */

uint32_t family_top(void)
{
	return MIN(RELAXED(area->top), pages());
}

uint32_t family_used(void)
{
	uint32_t used = 0;

	for (uint32_t i = FIRST_PAGE, n = mine ? family_top() : 0; i < n; i++)
		used += RELAXED(area->owner[i]) != 0;
	return used;
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
	uint32_t owner = object ? object : MAKING | (mine - 1);

	for (;;) {
		uint32_t had = pages(), page = find_free(owner);

		if (page != FAMILY_NO_PAGE || had >= KX_FAMILY_PAGES)
			return page;
		/* Relatives may be faster, and take all that was got. */
		if (pages() == had && engine_call(KX_CALL_FAMILY, 0, had + 1, 0, 0) <= (long)had)
			return FAMILY_NO_PAGE;
	}
}

static bool claim_run(uint32_t first, uint32_t n, uint32_t object)
{
	for (uint32_t i = first; i < first + n; i++) {
		uint32_t was = 0;

		if (__atomic_compare_exchange_n(&area->owner[i], &was, object, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		while (i-- > first)
			family_free(i, object);
		return false;
	}
	return true;
}

uint32_t family_alloc_run(uint32_t object, uint32_t n)
{
	uint32_t had = MAX(family_top(), (uint32_t)FIRST_PAGE), run = 0;

	for (uint32_t i = FIRST_PAGE; n && i < KX_FAMILY_PAGES; i++) {
		uint32_t first = i + 1 - n;

		run = RELAXED(area->owner[i]) ? 0 : run + 1;
		if (run < n)
			continue;
		if (i >= pages() && engine_call(KX_CALL_FAMILY, 0, i + 1, 0, 0) <= (long)i)
			return FAMILY_NO_PAGE;
		run = 0;
		if (i >= pages() || !claim_run(first, n, object))
			continue;
		raise_top(i);
		if (first < had) /* beyond, nobody has written */
			memset(family_page(first), 0, (MIN(i + 1, had) - first) * PAGE_SIZE);
		return first;
	}
	return FAMILY_NO_PAGE;
}

uint32_t family_owner(uint32_t page, enum kind kind)
{
	uint32_t owner = family_page(page) ? RELAXED(area->owner[page]) : 0;

	return object_at(owner, kind) ? owner : 0;
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

/* ---- the lock of ipc.c ---- */

struct family_bells *family_bells(void)
{
	return &area->bells;
}

struct family_ipc *family_ipc(void)
{
	return &area->ipc;
}

/* Who is woken meanwhile would have to wait for it. */
long family_ipc_lock(void)
{
	long err = take_lock(&area->ipc.lock);

	if (!err)
		bells_hold(true);
	return err;
}

void family_ipc_unlock(void)
{
	free_lock(&area->ipc.lock);
	bells_hold(false);
}

/* Takes the lock over from a member that is no more. */
static bool inherit_ipc_lock(uint32_t place)
{
	uint32_t was = place + 1;

	return __atomic_compare_exchange_n(&area->ipc.lock, &was, mine, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* It was not that member's any more. */
static void return_ipc_lock(uint32_t place)
{
	uint32_t was = mine;

	__atomic_compare_exchange_n(&area->ipc.lock, &was, place + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* ---- objects ---- */

struct object *object_at(uint32_t page, enum kind kind)
{
	struct object *o = family_page(page);

	return o && RELAXED(area->owner[page]) == page && RELAXED(o->kind) == (uint32_t)kind ? o : NULL;
}

uint32_t object_new(enum kind kind)
{
	uint32_t page = family_alloc(0);
	struct object *o = family_page(page);

	if (!o)
		return FAMILY_NO_PAGE;
	memset(o, 0, PAGE_SIZE);
	set_bit(o->holders[END_READ], mine - 1); /* before anybody can see it */
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

uint32_t object_holders(const struct object *o, enum end end, uint32_t pids[KX_OBJECT_PIDS])
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < HOLDERS; w++)
		for (uint64_t set = RELAXED(o->holders[end][w]); set; set &= set - 1, n++)
			if (n < KX_OBJECT_PIDS)
				pids[n] = family_pid(w * 64 + (uint32_t)__builtin_ctzl(set));
	return n;
}

static bool held(const struct object *o)
{
	return RELAXED(o->kept) || object_held(o, END_READ) || object_held(o, END_WRITE);
}

/* Frees all pages of an object, its own last. */
static void free_pages(uint32_t object)
{
	for (uint32_t i = FIRST_PAGE, n = family_top(); i < n; i++)
		if (i != object && RELAXED(area->owner[i]) == object)
			family_free(i, object);
	family_free(object, object);
}

/* Who has let go of an object may touch it only under the lock of the area: others take it apart, and use its page anew. */
static bool lock_area(void)
{
	int64_t end = now_ns() + PATIENCE_NS;
	bool got = !take_lock(&area->lock);

	while (!got && now_ns() < end)
		got = !take_lock(&area->lock);
	return got; /* false: who has it is hostile, or dead without our having heard of it */
}

static void unlock_area(bool got)
{
	if (got)
		free_lock(&area->lock);
}

/* Nobody has it any more, perhaps. The area is locked. */
static void take_apart(uint32_t page)
{
	struct object *o = family_page(page);

	if (!o || RELAXED(area->owner[page]) != page || !RELAXED(o->kind) || held(o))
		return;
	__atomic_store_n(&o->kind, KIND_NONE, __ATOMIC_SEQ_CST);
	free_pages(page);
}

void object_hold(uint32_t page, enum end end)
{
	struct object *o = family_page(page);

	if (o)
		set_bit(o->holders[end], mine - 1);
}

bool object_join(uint32_t page, enum kind kind)
{
	struct object *o = family_page(page);
	bool there;

	if (!o || take_lock(&area->lock))
		return false;
	there = object_at(page, kind) && held(o);
	if (there)
		set_bit(o->holders[END_READ], mine - 1);
	free_lock(&area->lock);
	return there;
}

bool object_mine(const struct object *o)
{
	return object_has(o, mine - 1);
}

bool object_has(const struct object *o, uint32_t place)
{
	return RELAXED(o->holders[END_READ][place / 64]) >> place % 64 & 1;
}

void object_release(uint32_t page)
{
	struct object *o = family_page(page);

	bool got;

	if (!o)
		return;
	got = lock_area();
	__atomic_store_n(&o->kept, 0, __ATOMIC_SEQ_CST);
	take_apart(page);
	unlock_area(got);
}

/* The area is locked. */
static void drop_locked(uint32_t page, enum end end, uint32_t place)
{
	struct object *o = family_page(page);

	if (!o || RELAXED(area->owner[page]) != page || !RELAXED(o->kind) || !clear_bit(o->holders[end], place))
		return;
	object_changed(o);
	take_apart(page);
}

static void drop_of(uint32_t page, enum end end, uint32_t place)
{
	bool got = lock_area();

	drop_locked(page, end, place);
	unlock_area(got);
}

/* ---- what waits for children ---- */

static bool all_born(void)
{
	return __atomic_load_n(&self()->births, __ATOMIC_SEQ_CST) == births_expected;
}

static void await_born(void)
{
	for (int64_t end = now_ns() + PATIENCE_NS; !all_born() && now_ns() < end;)
		hyper_sched(SCHEDOP_yield, NULL);
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
	struct deferred *d;

	if (!mine)
		return;
	d = all_born() ? NULL : kmalloc(sizeof(*d));
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
	if (pages() <= FIRST_PAGE && engine_call(KX_CALL_FAMILY, 0, FIRST_PAGE + 1, 0, 0) <= (long)FIRST_PAGE)
		return -ENOSYS;
	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		struct kx_member *m = &area->members[i];
		uint32_t was = 0;

		if (RELAXED(m->pid) || !__atomic_compare_exchange_n(&m->pid, &was, control->domid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		__atomic_fetch_add(&m->turns, 1, __ATOMIC_SEQ_CST);
		m->rung = m->asleep = m->defers = 0;
		births_expected = m->births;
		mine = i + 1;
		control->family_place = mine;
		control->family_state = KX_FAMILY_IN;
		lines_begin();
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
	if (family_enter()) {
		klog("kx: a family of more than %d: what this member inherited is not shared with it", KX_MEMBERS);
	} else {
		common_hold_all();
		ipc_hold_all();
	}
	/* Side by side: a child that ends without main_ns is taken off its parent's count. */
	__atomic_fetch_add(&area->members[parent - 1].births, 1, __ATOMIC_SEQ_CST);
	control->main_ns = (uint64_t)now;
	if (__atomic_load_n(&area->members[parent - 1].defers, __ATOMIC_SEQ_CST))
		member_ring(parent - 1);
}

void family_born(long children)
{
	if (!mine)
		return;
	births_expected += (uint32_t)children;
	await_born(); /* so that what is closed next is closed at once */
}

/* What a member that was killed has left. */
static void clean(uint32_t place)
{
	bool got = lock_area();

	for (uint32_t i = FIRST_PAGE, n = family_top(); i < n; i++) {
		uint32_t owner = RELAXED(area->owner[i]), lock = place + 1;
		struct object *o = owner == i || owner == (MAKING | place) ? family_page(i) : NULL;

		if (o && owner != i) {
			__atomic_store_n(&o->kind, KIND_NONE, __ATOMIC_SEQ_CST);
			family_free(i, owner);
			continue;
		}
		if (!o || !RELAXED(o->kind))
			continue;
		__atomic_compare_exchange_n(&o->lock, &lock, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&o->changes, 1, __ATOMIC_SEQ_CST); /* it may have been about to ring somebody */
		__atomic_store_n(&o->waits, 1, __ATOMIC_SEQ_CST);
		clear_bit(o->waiting, place);
		drop_locked(i, END_READ, place);
	}
	for (uint32_t i = FIRST_PAGE, n = family_top(); i < n; i++) { /* only then: pipes_drop_all */
		drop_locked(i, END_WRITE, place);
		take_apart(i);
	}
	unlock_area(got);
}

/* Pages of objects that are no more: somebody was killed while he took one apart. The area is locked. */
static void sweep(void)
{
	for (uint32_t i = FIRST_PAGE, n = family_top(); i < n; i++) {
		uint32_t owner = RELAXED(area->owner[i]);
		const struct object *o = owner & MAKING ? NULL : family_page(owner);

		if (o && (!RELAXED(o->kind) || RELAXED(area->owner[owner]) != owner))
			family_free(i, owner);
	}
}

/*
 * What a member has left is put right, and its place is free. False: somebody has a lock that is needed for it, who may himself
 * be dead without our having heard of it.
 */
static bool bury(uint32_t place, uint32_t pid)
{
	struct kx_member *m = &area->members[place];
	uint32_t lock = place + 1;
	bool inherited = inherit_ipc_lock(place);

	if (!inherited && family_ipc_lock())
		return false;
	if (RELAXED(m->pid) != pid) { /* somebody else was faster, and another member may have the place by now */
		if (inherited)
			return_ipc_lock(place);
		else
			family_ipc_unlock();
		return true;
	}
	if (__atomic_compare_exchange_n(&area->lock, &lock, mine, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		sweep();
		free_lock(&area->lock);
	}
	ipc_gone(place);
	robust_gone(place);
	clean(place);
	member_signal_none(place, false);
	__atomic_compare_exchange_n(&m->pid, &pid, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	family_ipc_unlock();
	return true;
}

#define LATER_NS 5000000

static uint32_t put_off_pids[KX_MEMBERS]; /* who was in the places that are to be cleared later */

/* A member that was killed may have been about to ring us. */
static void ring_self(void)
{
	__atomic_store_n(&self()->rung, 1, __ATOMIC_SEQ_CST);
}

static void bury_later(struct ktimer *t)
{
	bool more = false;

	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		if (put_off_pids[i] && (!mine || bury(i, put_off_pids[i])))
			put_off_pids[i] = 0;
		more = more || put_off_pids[i];
	}
	if (mine)
		ring_self();
	if (more)
		ktimer_set(t, deadline_after(LATER_NS));
}

static struct ktimer later = {.fn = bury_later};

static void put_off(uint32_t place, uint32_t pid)
{
	put_off_pids[place] = pid;
	member_signal_none(place, true);
	if (!later.node.next)
		ktimer_set(&later, deadline_after(LATER_NS));
}

static void count_births(int unborn_of, int unforked_of)
{
	if (unborn_of == (int)control->domid)
		births_expected--;
	if (unforked_of == (int)control->domid)
		births_expected++;
	if (all_born())
		drop_deferred();
}

static bool has_place(uint32_t pid)
{
	for (uint32_t i = 0; pages() > FIRST_PAGE && i < KX_MEMBERS; i++)
		if (RELAXED(area->members[i].pid) == pid)
			return true;
	return false;
}

/* Also who has nothing in the area yet sees to what a relative has left there: nobody else may be left who could. */
void family_gone(int pid, int unborn_of, int unforked_of)
{
	if (pid == (int)control->domid)
		return;
	if (mine)
		count_births(unborn_of, unforked_of);
	else if (!has_place((uint32_t)pid) || family_enter())
		return;
	for (uint32_t i = 0; i < KX_MEMBERS; i++)
		if (RELAXED(area->members[i].pid) == (uint32_t)pid && !bury(i, (uint32_t)pid))
			put_off(i, (uint32_t)pid);
	ring_self();
}

void family_exit(void)
{
	if (!mine)
		return;
	await_born();
	if (ipc_used()) {
		if (family_ipc_lock())
			return; /* the engine has the others see to it */
		ipc_gone(mine - 1);
		family_ipc_unlock();
	}
	ipc_drop_all();
	robust_drop();
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
	member_signals();
	common_news();
	ipc_news();
	futex_news();
}

bool family_ticks(void)
{
	return mine && thread_count > 1;
}

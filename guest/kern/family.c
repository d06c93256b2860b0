/*
 * family.c: who is in a family: members take places, are born by forks, and are buried.
 *
 * A member that is killed in the middle of something leaves pages that say whose they are, and locks with its place: who hears of its end
 * (family_gone) puts that right.
 */
#include "area.h"
#include "futex.h"
#include "hyper.h"
#include "process.h"

uint32_t my_place;
static uint32_t births_expected;
static uint32_t parent_place; /* plus 1; 0: none */

/* What was dropped while children had not found their places yet. */
struct deferred {
	struct list_node node;
	uint32_t page;
	enum end end;
};
static struct list_node deferred = {&deferred, &deferred};

static struct kx_member *self(void)
{
	return &area->members[my_place - 1];
}

bool family_in(void)
{
	return my_place != 0;
}

uint32_t family_place(void)
{
	return my_place;
}

uint32_t family_pid(uint32_t place)
{
	return RELAXED(area->members[place % KX_MEMBERS].pid) & 0xffff;
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
		object_drop_of(d->page, d->end, my_place - 1);
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

	if (!my_place)
		return;
	d = all_born() ? NULL : kmalloc(sizeof(*d));
	if (!d) {
		object_drop_of(page, end, my_place - 1);
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
	if (my_place)
		return 0;
	if (area_pages() <= FIRST_PAGE && engine_call(KX_CALL_FAMILY, 0, FIRST_PAGE + 1, 0, 0) <= (long)FIRST_PAGE)
		return -ENOSYS;
	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		struct kx_member *m = &area->members[i];
		uint32_t was = 0;

		if (RELAXED(m->pid) || !__atomic_compare_exchange_n(&m->pid, &was, control->domid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		__atomic_fetch_add(&m->turns, 1, __ATOMIC_SEQ_CST);
		m->rung = m->asleep = m->defers = 0;
		births_expected = m->births;
		my_place = i + 1;
		control->family_place = my_place;
		control->family_state = KX_FAMILY_IN;
		bells_begin();
		lines_begin();
		ended_begin();
		return 0;
	}
	return -ENOMEM;
}

void family_child(void)
{
	uint32_t parent = my_place;
	int64_t now = now_ns();

	while (!list_empty(&deferred)) {
		struct deferred *d = CONTAINER_OF(deferred.next, struct deferred, node);

		list_del(&d->node);
		kfree(d);
	}
	my_place = 0;
	parent_place = parent;
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
	if (!my_place)
		return;
	births_expected += (uint32_t)children;
	await_born(); /* so that what is closed next is closed at once */
}

/* ---- burials ---- */

/* What a member that was killed has left. */
static void clean(uint32_t place)
{
	bool got = area_lock();

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
		__atomic_store_n(&o->waits, ALL_HOLDERS, __ATOMIC_SEQ_CST);
		clear_bit(&o->members[place / 64].waiting, place);
		object_drop_locked(i, END_READ, place);
	}
	for (uint32_t i = FIRST_PAGE, n = family_top(); i < n; i++) { /* only then: pipes_drop_all */
		object_drop_locked(i, END_WRITE, place);
		object_take_apart(i);
	}
	area_unlock(got);
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

/* Takes the lock of ipc.c over from a member that is no more. */
static bool inherit_ipc_lock(uint32_t place)
{
	uint32_t was = place + 1;

	return __atomic_compare_exchange_n(&area->ipc.lock, &was, my_place, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* It was not that member's any more. */
static void return_ipc_lock(uint32_t place)
{
	uint32_t was = my_place;

	__atomic_compare_exchange_n(&area->ipc.lock, &was, place + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
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
	if (__atomic_compare_exchange_n(&area->lock, &lock, my_place, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		sweep();
		area_unlock(true);
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
static bool unburied;                     /* there are such */

/* A member that was killed may have been about to ring us. */
static void ring_self(void)
{
	__atomic_store_n(&self()->rung, 1, __ATOMIC_SEQ_CST);
}

static void bury_rest(void)
{
	unburied = false;
	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		if (put_off_pids[i] && (!my_place || bury(i, put_off_pids[i])))
			put_off_pids[i] = 0;
		unburied = unburied || put_off_pids[i];
	}
}

static void bury_later(struct ktimer *t)
{
	bury_rest();
	if (my_place)
		ring_self();
	if (unburied)
		ktimer_set(t, deadline_after(LATER_NS));
}

static struct ktimer later = {.fn = bury_later};

static void put_off(uint32_t place, uint32_t pid)
{
	put_off_pids[place] = pid;
	unburied = true;
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

uint32_t family_find(int pid)
{
	for (uint32_t i = 0; area_pages() > FIRST_PAGE && i < KX_MEMBERS; i++)
		if (RELAXED(area->members[i].pid) == (uint32_t)pid)
			return i + 1;
	return 0;
}

/* Also who has nothing in the area yet sees to what a relative has left there: nobody else may be left who could. */
void family_gone(int pid, int unborn_of, int unforked_of)
{
	bool rest = unburied;

	if (pid == (int)control->domid)
		return;
	if (my_place)
		count_births(unborn_of, unforked_of);
	else if (!family_find(pid) || family_enter())
		return;
	for (uint32_t i = 0; i < KX_MEMBERS; i++)
		if (RELAXED(area->members[i].pid) == (uint32_t)pid && !bury(i, (uint32_t)pid))
			put_off(i, (uint32_t)pid);
	if (rest)
		bury_rest(); /* the lock that was in their way may have been this one's */
	ring_self();
}

void family_exit(int status)
{
	if (!my_place)
		return;
	await_born();
	if (ipc_used()) {
		if (family_ipc_lock())
			return; /* the engine has the others see to it */
		ipc_gone(my_place - 1);
		family_ipc_unlock();
	}
	ipc_drop_all();
	robust_drop();
	common_drop_all();
	if (!list_empty(&deferred) || objects_locked)
		return; /* the engine has the others see to it */
	if (parent_place && status >= 0)
		ended_tell(parent_place - 1, status);
	control->family_state = KX_FAMILY_LEFT;
	__atomic_store_n(&self()->pid, 0, __ATOMIC_SEQ_CST);
	my_place = 0;
}

void family_events(void)
{
	if (!my_place)
		return;
	lines_look();
	if (!__atomic_exchange_n(&self()->rung, 0, __ATOMIC_SEQ_CST))
		return;
	if (!list_empty(&deferred) && all_born())
		drop_deferred();
	member_signals();
	ended_news();
	common_news();
	ipc_news();
	futex_news();
}

bool family_ticks(void)
{
	return my_place && thread_count > 1;
}

/*
 * object.c: the family area: its pages, its objects, who holds them and who works on them. An object whose last holder goes is taken
 * apart under the lock of the area. What a member that is killed in the middle leaves is put right by family.c.
 */
#include "area.h"
#include "hyper.h"
#include "process.h"

#define SPIN_NS 2000000      /* a lock is waited for so long at a time, */
#define SPIN_FREE 200        /* ... so many looks of them without giving the CPU away */
#define NAP_NS 2000000
#define SHOWN_NS 100000000

unsigned objects_locked;

static void set_bit(uint64_t *set, uint32_t place)
{
	__atomic_fetch_or(set, 1UL << place % 64, __ATOMIC_SEQ_CST);
}

/* ---- waiting ---- */

/*
 * changes moves when nobody can begin to wait for this ring any more: who began before that sees that it moved, who does later
 * sees what changed.
 */
void object_changed(struct object *o)
{
	uint32_t words = __atomic_load_n(&o->waits, __ATOMIC_SEQ_CST);

	if (words)
		words = __atomic_exchange_n(&o->waits, 0, __ATOMIC_SEQ_CST) & ALL_HOLDERS;
	for (; words; words &= words - 1) {
		uint32_t w = (uint32_t)__builtin_ctz(words);
		uint64_t set = __atomic_exchange_n(&o->members[w].waiting, 0, __ATOMIC_SEQ_CST);

		if (set)
			__atomic_fetch_add(&o->changes, 1, __ATOMIC_SEQ_CST);
		for (; set; set &= set - 1)
			member_ring(w * 64 + (uint32_t)__builtin_ctzl(set));
	}
}

void object_await(struct object *o)
{
	uint32_t place = my_place - 1;

	set_bit(&o->members[place / 64].waiting, place);
	__atomic_fetch_or(&o->waits, 1U << place / 64, __ATOMIC_SEQ_CST);
	lines_offer(o);
}

/* ---- pages ---- */

/* Where the area grows, another member may hear of it, and use it, a moment before we do. */
static bool shown(uint32_t page)
{
	int64_t end = 0;

	if (page >= KX_FAMILY_PAGES)
		return false;
	while (page >= area_pages()) {
		if (!area_pages() || page >= RELAXED(area->top))
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
	return my_place && page >= FIRST_PAGE && shown(page) ? (void *)(KX_FAMILY_VA + page * PAGE_SIZE) : NULL;
}

uint32_t family_number(const void *page)
{
	return (uint32_t)(((uintptr_t)page - KX_FAMILY_VA) / PAGE_SIZE);
}

static uint32_t next; /* where it is worth to look for a free page */

uint32_t family_top(void)
{
	return MIN(RELAXED(area->top), area_pages());
}

uint32_t family_used(void)
{
	uint32_t used = 0;

	for (uint32_t i = FIRST_PAGE, n = my_place ? family_top() : 0; i < n; i++)
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
	uint32_t n = area_pages();

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
	uint32_t owner = object ? object : MAKING | (my_place - 1);

	for (;;) {
		uint32_t had = area_pages(), page = find_free(owner);

		if (page != FAMILY_NO_PAGE || had >= KX_FAMILY_PAGES)
			return page;
		/* Relatives may be faster, and take all that was got. */
		if (area_pages() == had && engine_call(KX_CALL_FAMILY, 0, had + 1, 0, 0) <= (long)had)
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
		if (i >= area_pages() && engine_call(KX_CALL_FAMILY, 0, i + 1, 0, 0) <= (long)i)
			return FAMILY_NO_PAGE;
		run = 0;
		if (i >= area_pages() || !claim_run(first, n, object))
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

	return __atomic_compare_exchange_n(lock, &was, my_place, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
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

	objects_locked += !err;
	return err;
}

void object_unlock(struct object *o)
{
	objects_locked--;
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

/* ---- objects ---- */

struct object *object_at(uint32_t page, enum kind kind)
{
	struct object *o = family_page(page);

	return o && RELAXED(area->owner[page]) == page && RELAXED(o->kind) == (uint32_t)kind ? o : NULL;
}

static void hold(struct object *o, enum end end)
{
	uint32_t place = my_place - 1;

	set_bit(&o->members[place / 64].holders[end], place);
}

uint32_t object_new(enum kind kind)
{
	uint32_t page = family_alloc(0);
	struct object *o = family_page(page);

	if (!o)
		return FAMILY_NO_PAGE;
	memset(o, 0, PAGE_SIZE);
	hold(o, END_READ); /* before anybody can see it */
	__atomic_store_n(&o->kind, kind, __ATOMIC_SEQ_CST);
	__atomic_store_n(&area->owner[page], page, __ATOMIC_SEQ_CST);
	return page;
}

bool object_held(const struct object *o, enum end end)
{
	for (uint32_t w = 0; w < HOLDERS; w++)
		if (__atomic_load_n(&o->members[w].holders[end], __ATOMIC_SEQ_CST))
			return true;
	return false;
}

uint32_t object_holders(const struct object *o, enum end end, uint32_t pids[KX_OBJECT_PIDS])
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < HOLDERS; w++)
		for (uint64_t set = RELAXED(o->members[w].holders[end]); set; set &= set - 1, n++)
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

bool area_lock(void)
{
	int64_t end = now_ns() + PATIENCE_NS;
	bool got = !take_lock(&area->lock);

	while (!got && now_ns() < end)
		got = !take_lock(&area->lock);
	return got; /* false: who has it is hostile, or dead without our having heard of it */
}

void area_unlock(bool got)
{
	if (got)
		free_lock(&area->lock);
}

void object_take_apart(uint32_t page)
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
		hold(o, end);
}

bool object_join(uint32_t page, enum kind kind)
{
	struct object *o = family_page(page);
	bool there;

	if (!o || take_lock(&area->lock))
		return false;
	there = object_at(page, kind) && held(o);
	if (there)
		hold(o, END_READ);
	free_lock(&area->lock);
	return there;
}

bool object_mine(const struct object *o)
{
	return object_has(o, my_place - 1);
}

bool object_has(const struct object *o, uint32_t place)
{
	return RELAXED(o->members[place / 64].holders[END_READ]) >> place % 64 & 1;
}

void object_release(uint32_t page)
{
	struct object *o = family_page(page);

	bool got;

	if (!o)
		return;
	got = area_lock();
	__atomic_store_n(&o->kept, 0, __ATOMIC_SEQ_CST);
	object_take_apart(page);
	area_unlock(got);
}

void object_drop_locked(uint32_t page, enum end end, uint32_t place)
{
	struct object *o = family_page(page);

	if (!o || RELAXED(area->owner[page]) != page || !RELAXED(o->kind) || !clear_bit(&o->members[place / 64].holders[end], place))
		return;
	object_changed(o);
	object_take_apart(page);
}

void object_drop_of(uint32_t page, enum end end, uint32_t place)
{
	bool got = area_lock();

	object_drop_locked(page, end, place);
	area_unlock(got);
}


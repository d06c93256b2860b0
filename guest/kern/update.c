/*
 * update.c: a library is replaced by another one, under the running program (KX_TASK_UPDATE). The engine has compared the two
 * and made the plan. Nothing else runs meanwhile, so all of this is the program's pause: first all that may hold an address of the old library is looked
 * through and nothing is changed; then what the change needs is got; from there on nothing can fail.
 */
#include "update.h"

#include "mem.h"
#include "process.h"

#define PARTS 32 /* of a library, most */
#define HIT_PAGES 8
#define HITS (HIT_PAGES * PAGE_SIZE / sizeof(uint64_t))
#define HIT_SHIFT 3 /* so that a list of hits does not look like addresses itself */
#define HIT_FUNCTION (1UL << 63) /* a pointer to a function, and not in a variable that is copied */

/* What a word means that is an address of the old library. */
enum meaning {
	NOTHING, /* it is in a gap */
	MOVED,
	PINNED,
	INSIDE, /* a function, or what is left of code */
	LOST,   /* a variable that there is no more */
};

typedef int step(struct scan *s, uint64_t at, struct place where);

static struct update {
	struct scan scan;
	struct plan plan;
	struct kx_updated *result;
	step *step;
	uint64_t *hits; /* addresses of words that move, >> HIT_SHIFT */
	uint64_t found; /* how many; if more than HITS the rest is not in the list */
	uint64_t open;  /* the page that was opened last */
	bool pinned[PARTS];
} u;

/* ---- the plan ---- */

static const struct kx_update_part *part_of(uint64_t va)
{
	for (uint32_t i = 0; i < u.plan.head->parts; i++)
		if (va >= u.plan.part[i].va && va < u.plan.part[i].end)
			return &u.plan.part[i];
	return NULL;
}

/* The last move that begins at an address or before it, or NULL. */
static const struct kx_update_move *move_of(uint64_t va)
{
	uint32_t lo = 0, hi = u.plan.head->moves;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (u.plan.move[mid].from <= va)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &u.plan.move[lo - 1] : NULL;
}

/* The variable that n bytes are of, or NULL. */
static const struct kx_update_move *variable_of(uint64_t va, uint64_t n)
{
	const struct kx_update_move *m = move_of(va);

	return m && m->kind == KX_UPDATE_DATA && n <= m->size && va - m->from <= m->size - n ? m : NULL;
}

/* The first word of a list at an address or behind it; end if there is none. */
static const struct kx_update_word *word_at(const struct kx_update_word *w, uint32_t n, uint64_t va)
{
	while (n) {
		uint32_t half = n / 2;

		if (w[half].va < va) {
			w += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return w;
}

static bool is_word(uint64_t va)
{
	const struct kx_update_word *w = word_at(u.plan.word, u.plan.head->words, va);

	return w < u.plan.word + u.plan.head->words && w->va == va;
}

/* A pointer of the old library that has its first value yet, and so the new one's. */
static bool untouched(uint64_t va)
{
	const struct kx_update_word *l = word_at(u.plan.literal, u.plan.head->literals, va);

	return l < u.plan.literal + u.plan.head->literals && l->va == va && *(const uint64_t *)va == l->value;
}

static bool is_old(uint64_t va)
{
	return va >= u.plan.head->old_va && va < u.plan.head->old_end;
}

/* The engine's plan is right, or it is refused: in here nobody may fall over it. */
static bool check_ranges(const struct kx_update *p)
{
	return !((p->old_va | p->old_end) & (PAGE_SIZE - 1)) && mem.dynamic_va <= p->old_va && p->old_va < p->old_end && p->old_end <= mem.ram_va &&
	       (p->old_end <= p->new_va || p->new_end <= p->old_va) && p->parts <= PARTS;
}

static bool check_parts(const struct kx_update *p)
{
	uint64_t at = p->old_va;

	for (uint32_t i = 0; i < p->parts; at = u.plan.part[i++].end)
		if ((u.plan.part[i].va | u.plan.part[i].end) & (PAGE_SIZE - 1) || u.plan.part[i].va < at || u.plan.part[i].end <= u.plan.part[i].va ||
		    u.plan.part[i].end > p->old_end || u.plan.part[i].kind < KX_UPDATE_CODE || u.plan.part[i].kind > KX_UPDATE_DATA)
			return false;
	return true;
}

static bool check_pages(const struct kx_update *p)
{
	for (uint32_t i = 0; i < p->pages; i++)
		if (u.plan.page[i].content && is_old(u.plan.page[i].content))
			return false;
	return true;
}

/* Constants are anywhere: some have pointers in them, and some are variables of which the image has the copy that counts. */
static bool may_hold(uint32_t part, uint32_t move)
{
	return part == move || move == KX_UPDATE_GONE || move == KX_UPDATE_CONST;
}

static bool check_target(const struct kx_update *p, const struct kx_update_move *m)
{
	if (m->kind == KX_UPDATE_GONE)
		return !m->size;
	return m->to >= p->new_va && m->to <= p->new_end && (m->kind == KX_UPDATE_CODE || m->size <= p->new_end - m->to) &&
	       (m->kind != KX_UPDATE_DATA || !m->size || plan_owns(&u.plan, m->to, m->size));
}

static bool check_moves(const struct kx_update *p)
{
	uint64_t at = p->old_va;

	for (const struct kx_update_move *m = u.plan.move; m < u.plan.move + p->moves; m++) {
		const struct kx_update_part *part = part_of(m->from);

		if (!part || !may_hold(part->kind, m->kind) || m->from < at || m->size > part->end - m->from || !check_target(p, m))
			return false;
		at = m->from + (m->kind == KX_UPDATE_CODE ? 1 : MAX(m->size, 1UL)); /* one function may be a part of another one */
	}
	return true;
}

/* Literals may be at odd addresses; then a look does not find them. */
static bool check_words(const struct kx_update *p)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < p->literals; at = u.plan.literal[i++].va + 8)
		if (u.plan.literal[i].va < at || !variable_of(u.plan.literal[i].va, 8))
			return false;
	for (uint32_t i = 0; i < p->words; i++)
		if (is_old(u.plan.word[i].va) || is_old(u.plan.word[i].value))
			return false;
	return true;
}

static int read_plan(uint64_t at)
{
	const struct kx_update *p;

	if (plan_read(&u.plan, at))
		return -EINVAL;
	p = u.plan.head;
	return check_ranges(p) && check_parts(p) && check_pages(p) && check_moves(p) && check_words(p) ? 0 : -EINVAL;
}

/* ---- what a word means ---- */

static enum meaning meaning(uint64_t value, uint64_t *to, uint32_t *kind)
{
	const struct kx_update_move *m = move_of(value);
	const struct kx_update_part *part;

	/* One past the end is still of what ends there, if nothing else begins. */
	if (m && m->kind != KX_UPDATE_GONE && (m->kind == KX_UPDATE_CODE ? value == m->from : value - m->from <= m->size)) {
		*to = m->to + (value - m->from);
		*kind = m->kind;
		return MOVED;
	}
	part = part_of(value);
	if (!part)
		return NOTHING;
	if (part->kind == KX_UPDATE_CONST)
		u.pinned[part - u.plan.part] = true;
	return part->kind == KX_UPDATE_CODE ? INSIDE : part->kind == KX_UPDATE_CONST ? PINNED : LOST;
}

static int refuse(int err, uint64_t at, uint64_t value, int tid)
{
	u.result->at = at;
	u.result->value = value;
	u.result->tid = (uint32_t)tid;
	return err;
}

/* Every word that is found comes by here: but for those that get their values in another way. */
static int found(struct scan *s, uint64_t at, struct place where)
{
	return (is_old(at) ? untouched(at) : is_word(at)) ? 0 : u.step(s, at, where);
}

static int look(struct scan *s, uint64_t at, struct place where)
{
	uint64_t value = *(const uint64_t *)at, to;
	uint32_t kind;

	(void)s;
	switch (meaning(value, &to, &kind)) {
	case MOVED:
		if (where.family)
			return refuse(-EXDEV, at, value, 0); /* relatives have the old library yet */
		if (u.found < HITS)
			u.hits[u.found] = at >> HIT_SHIFT | (kind == KX_UPDATE_CODE && !is_old(at) ? HIT_FUNCTION : 0);
		u.found++;
		++*(kind == KX_UPDATE_CODE ? &u.result->functions : &u.result->pointers);
		return 0;
	case INSIDE:
		return where.code ? refuse(where.family ? -EXDEV : -EBUSY, at, value, where.tid) : 0;
	case LOST: /* a thread may let go of it, memory will not */
		return refuse(where.tid ? -EBUSY : -EXDEV, at, value, where.tid);
	case PINNED:
		u.result->pinned++;
		return 0;
	case NOTHING:
		break;
	}
	return 0;
}

/* ---- all words ---- */

/* The old library's own, as far as they will be copied. */
static int variables_all(void)
{
	const struct kx_update_move *m;
	int err = 0;

	for (m = u.plan.move; m < u.plan.move + u.plan.head->moves && !err; m++)
		if (m->kind == KX_UPDATE_DATA)
			err = scan_range(&u.scan, m->from, m->from + m->size, (struct place){0, true, false});
	return err;
}

static int all(step *f)
{
	int err;

	u.step = f;
	err = scan_threads(&u.scan);
	if (!err)
		err = variables_all();
	return err ? err : scan_memory(&u.scan);
}

/* The same for those that move, from the list if they all are in it: those that have one of the kinds, 0 and HIT_FUNCTION. */
static int each(step *f, uint64_t kind, uint64_t other)
{
	int err = 0;

	if (u.found > HITS)
		return all(f);
	for (uint64_t *h = u.hits; h < u.hits + u.found && !err; h++)
		if ((*h & HIT_FUNCTION) == kind || (*h & HIT_FUNCTION) == other)
			err = f(&u.scan, *h << HIT_SHIFT, (struct place){0, false, false});
	return err;
}

/* ---- quiescence ---- */

static int in_the_way(struct scan *s, uint64_t at, struct place where)
{
	(void)s;
	return refuse(-EBUSY, at, *(const uint64_t *)at, where.tid);
}

/*
 * A call that the old library has made by a jump leaves no return address, only the number of the call and the place of the library in kx_libraries
 * (resolve.S).
 */
static int binding(void)
{
	uint64_t item = library_item(u.plan.head->old_va, u.plan.head->old_end - 1);
	int err = 0;

	if (item) {
		u.scan.low = u.scan.high = item;
		u.scan.found = in_the_way;
		err = scan_threads(&u.scan);
	}
	u.scan.low = u.plan.head->old_va;
	u.scan.high = u.plan.head->old_end; /* one past the end is an address, too */
	u.scan.found = found;
	return err;
}

/* Who is woken is known by the address that it waits at. */
static int sleepers(void)
{
	for (struct list_node *n = threads.next; n != &threads; n = n->next) {
		struct thread *t = CONTAINER_OF(n, struct thread, all);

		if (is_old(t->futex_addr))
			return refuse(-EBUSY, (uint64_t)&t->futex_addr, t->futex_addr, t->tid);
	}
	return 0;
}

static int quiesce(void)
{
	int err = sleepers();

	if (!err)
		err = binding();
	if (!err)
		err = all(look);
	return err ? err : scan_shared(&u.scan);
}

/* ---- what can fail ---- */

static int open(struct scan *s, uint64_t at, struct place where)
{
	(void)where;
	if (is_old(at) || PAGE_DOWN(at) == u.open)
		return 0;
	u.open = PAGE_DOWN(at);
	return scan_open(s, at);
}

static int open_words(void)
{
	int err = each(open, 0, HIT_FUNCTION);

	for (uint32_t i = 0; i < u.plan.head->words && !err; i++)
		if (!plan_owns(&u.plan, u.plan.word[i].va, 8))
			err = open(&u.scan, u.plan.word[i].va, (struct place){0, false, false});
	return err;
}

/* ---- what cannot ---- */

static int point(uint64_t at, bool functions)
{
	const struct kx_update_move *in = is_old(at) ? variable_of(at, 8) : NULL;
	uint64_t to;
	uint32_t kind;

	if (meaning(*(const uint64_t *)at, &to, &kind) == MOVED && (kind == KX_UPDATE_CODE && !in) == functions)
		put_word(in ? in->to + (at - in->from) : at, to); /* a variable may have moved to an odd place */
	return 0;
}

static int point_function(struct scan *s, uint64_t at, struct place where)
{
	(void)s, (void)where;
	return point(at, true);
}

/* And all that the copied variables hold. */
static int point_variable(struct scan *s, uint64_t at, struct place where)
{
	(void)s, (void)where;
	return point(at, false);
}

static void functions(void)
{
	each(point_function, HIT_FUNCTION, HIT_FUNCTION);
	plan_words(&u.plan);
	u.result->functions += u.plan.head->words;
}

static void copy(uint64_t to, uint64_t from, uint64_t n)
{
	copy_words((void *)to, (const void *)from, n / 8);
	memcpy((void *)(to + n / 8 * 8), (const void *)(from + n / 8 * 8), n % 8);
}

static void variables(void)
{
	const struct kx_update_word *l = u.plan.literal, *end = u.plan.literal + u.plan.head->literals;

	for (const struct kx_update_move *m = u.plan.move; m < u.plan.move + u.plan.head->moves; m++) {
		uint64_t from = m->from, stop = m->from + m->size, shift = m->to - m->from;

		if (m->kind != KX_UPDATE_DATA)
			continue;
		for (; l < end && l->va < stop; l++)
			if (untouched(l->va)) {
				copy(from + shift, from, l->va - from);
				from = l->va + 8;
			}
		copy(from + shift, from, stop - from);
		u.result->variables++;
	}
	each(point_variable, 0, 0);
}

static void release(void)
{
	for (uint32_t i = 0; i < u.plan.head->parts; i++)
		if (!u.pinned[i])
			dynamic_drop(u.plan.part[i].va, (u.plan.part[i].end - u.plan.part[i].va) >> PAGE_SHIFT);
}

/* ---- the task ---- */

/* How long something has taken since the last time. */
static void stage(int i, int64_t *since)
{
	int64_t now = now_ns();

	u.result->ns[i] = (uint64_t)(now - *since);
	*since = now;
}

static long run(int64_t since, bool try)
{
	const struct span own[] = {{(uint64_t)u.hits, (uint64_t)(u.hits + HITS)}, {(uint64_t)&u, (uint64_t)(&u + 1)}};
	int err = scan_begin(&u.scan, own, ARRAY_LEN(own));

	if (!err)
		err = quiesce();
	u.result->bytes = u.scan.bytes;
	stage(KX_UPDATE_QUIESCE, &since);
	if (err || try)
		return err;
	err = open_words();
	if (!err)
		err = plan_take(&u.plan);
	stage(KX_UPDATE_MAP, &since);
	if (err)
		return err;
	functions();
	stage(KX_UPDATE_FUNCTIONS, &since);
	variables();
	stage(KX_UPDATE_VARIABLES, &since);
	release();
	stage(KX_UPDATE_RELEASE, &since);
	return 0;
}

/* Called by entry.S with the registers that a call keeps on the stack, from sp on. */
long update_run(uint64_t plan, struct kx_updated *result, bool try, uint64_t sp)
{
	int64_t since = now_ns();
	void *fpu = fpu_area(cur);
	long err;

	memset(result, 0, sizeof(*result));
	memset(&u, 0, sizeof(u));
	u.result = result;
	err = read_plan(plan);
	if (err)
		return err;
	u.hits = page_alloc(HIT_PAGES);
	if (!fpu || !u.hits) {
		err = -ENOMEM;
	} else {
		cur->ksp = sp;
		fpu_save(fpu); /* what an interrupted program has there is looked through, too */
		err = run(since, try);
		scan_end(&u.scan);
		fpu_restore(fpu);
	}
	if (u.hits)
		page_free(u.hits, HIT_PAGES);
	return err;
}

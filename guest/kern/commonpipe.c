/*
 * commonpipe.c: pipes in the family area. While somebody works on one he has its lock, and the pipe's own fields are
 * a copy of the area's, each read once; pipe.c knows nothing else. A change becomes true with one store, to head or to
 * tail: who is killed before has changed nothing.
 */
#include "common.h"
#include "family.h"
#include "pipe.h"
#include "process.h"

#define WATCH_NS 3000 /* about two turns of a pipe between two CPUs */

struct pipe_data {
	uint32_t head, tail;
	uint32_t opens[2];
	uint32_t shut;
	uint32_t offer; /* secret; 0: none, or no more */
	uint32_t lent;  /* the same, if it is for a while only */
	uint32_t returned; /* that is over */
	uint64_t total; /* bytes that have come in: to be shown, no more; who is killed meanwhile may have counted too many */
	uint32_t page[PIPE_PAGES]; /* 0: there is none yet */
};

static struct list_node pipes = {&pipes, &pipes};

static struct object *object_of(const struct pipe *p)
{
	return object_at(p->common, KIND_PIPE);
}

static struct pipe_data *data_of(struct object *o)
{
	return (struct pipe_data *)o->data;
}

static void ends_of(struct pipe *p, struct object *o)
{
	p->any_readers = object_held(o, END_READ);
	p->any_writers = object_held(o, END_WRITE);
	p->reader_opens = RELAXED(data_of(o)->opens[END_READ]);
	p->writer_opens = RELAXED(data_of(o)->opens[END_WRITE]);
	p->shut = RELAXED(data_of(o)->shut);
}

/* ---- becoming one ---- */

static bool fill(struct pipe *p, struct object *o, uint32_t number)
{
	struct pipe_data *d = data_of(o);

	d->head = p->head;
	d->tail = p->tail;
	d->opens[END_READ] = p->reader_opens;
	d->opens[END_WRITE] = p->writer_opens;
	d->shut = p->shut;
	d->total = p->head - p->tail;
	for (int i = 0; i < PIPE_PAGES; i++) {
		if (!p->page[i])
			continue;
		d->page[i] = family_alloc(number);
		if (!d->page[i])
			return false;
		memcpy(family_page(d->page[i]), p->page[i], PAGE_SIZE);
	}
	return true;
}

long pipe_share(struct pipe *p, struct inode *readers, struct inode *writers)
{
	uint32_t number = p->common ? FAMILY_NO_PAGE : object_new(KIND_PIPE);
	struct object *o = family_page(number);

	if (p->common)
		return 0;
	if (!o)
		return -ENOSPC;
	if (!fill(p, o, number)) {
		object_drop(number, END_READ);
		return -ENOSPC;
	}
	if (p->writers)
		object_hold(number, END_WRITE);
	if (!p->readers)
		object_drop(number, END_READ);
	for (int i = 0; i < PIPE_PAGES; i++)
		if (p->page[i])
			page_free(p->page[i], 1);
	p->node[END_READ] = readers;
	p->node[END_WRITE] = writers;
	p->common = number;
	list_add_tail(&pipes, &p->on_common);
	return 0;
}

struct pipe *pipe_of_family(uint32_t page)
{
	struct pipe *p = pipe_new();

	if (!p)
		return NULL;
	p->common = page;
	list_add_tail(&pipes, &p->on_common);
	return p;
}

static void leave(struct pipe *p)
{
	list_del(&p->on_common);
	p->common = 0;
	memset(p->page, 0, sizeof(p->page));
	p->head = p->tail = p->reader_opens = p->writer_opens = 0;
	p->any_readers = p->any_writers = false;
}

/* ---- its content ---- */

long pipe_enter(struct pipe *p)
{
	struct object *o;
	struct pipe_data *d;
	long err;

	if (!p->common)
		return 0;
	o = object_of(p);
	if (!o)
		return -EIO;
	err = object_lock(o);
	if (err)
		return err;
	d = data_of(o);
	p->head = RELAXED(d->head);
	p->tail = RELAXED(d->tail);
	for (int i = 0; i < PIPE_PAGES; i++)
		p->page[i] = family_page(RELAXED(d->page[i]));
	ends_of(p, o);
	if (p->head - p->tail <= PIPE_SIZE)
		return 0;
	object_unlock(o);
	return -EIO;
}

void pipe_leave(struct pipe *p, bool changed)
{
	struct object *o = p->common ? family_page(p->common) : NULL;

	if (!o)
		return;
	if (changed) {
		data_of(o)->total += p->head - RELAXED(data_of(o)->head);
		__atomic_store_n(&data_of(o)->head, p->head, __ATOMIC_SEQ_CST);
		__atomic_store_n(&data_of(o)->tail, p->tail, __ATOMIC_SEQ_CST);
	}
	object_unlock(o);
	if (changed)
		object_changed(o);
}

char *pipe_common_page(struct pipe *p)
{
	struct object *o = object_of(p);
	uint32_t page = o ? family_alloc(p->common) : FAMILY_NO_PAGE;

	if (page)
		data_of(o)->page[p->head / PAGE_SIZE % PIPE_PAGES] = page;
	return family_page(page);
}

void pipe_look(struct pipe *p)
{
	struct object *o = p->common ? object_of(p) : NULL;

	if (!p->common)
		return;
	p->head = p->tail = 0;
	p->any_readers = p->any_writers = false;
	if (!o)
		return;
	ends_of(p, o);
	p->tail = __atomic_load_n(&data_of(o)->tail, __ATOMIC_SEQ_CST);
	p->head = __atomic_load_n(&data_of(o)->head, __ATOMIC_SEQ_CST);
	if (p->head - p->tail > PIPE_SIZE) /* it moved between the two looks */
		p->head = p->tail + PIPE_SIZE;
}

void pipe_describe(struct object *o, struct kx_object *e)
{
	uint32_t tail = RELAXED(data_of(o)->tail), head = RELAXED(data_of(o)->head);

	e->kind = KX_OBJECT_PIPE;
	e->id = family_number(o);
	e->bytes = MIN(head - tail, (uint32_t)PIPE_SIZE);
	e->room = PIPE_SIZE;
	e->total = RELAXED(data_of(o)->total);
	e->held[END_READ] = object_holders(o, END_READ, e->readers);
	e->held[END_WRITE] = object_holders(o, END_WRITE, e->writers);
}

void pipe_await(struct pipe *p)
{
	struct object *o = p->common ? object_of(p) : NULL;

	if (o)
		object_await(o);
}

bool pipe_watch(struct pipe *p)
{
	struct object *o = p->common && family_looks() && !runnable_others() ? object_of(p) : NULL;
	int64_t end;

	if (!o)
		return false;
	end = now_ns() + WATCH_NS;
	do {
		if (RELAXED(data_of(o)->head) != p->head || RELAXED(data_of(o)->tail) != p->tail)
			return true;
		__builtin_ia32_pause();
	} while (now_ns() < end);
	return false;
}

/* ---- its ends ---- */

static void end_moves(struct pipe *p, enum end end, uint32_t had, int more)
{
	struct object *o = object_of(p);

	if (more > 0 && o)
		__atomic_fetch_add(&data_of(o)->opens[end], (uint32_t)more, __ATOMIC_SEQ_CST);
	if (!had && more > 0 && o) {
		object_hold(p->common, end);
		object_changed(o);
	}
	if (had && had + (uint32_t)more == 0)
		object_drop(p->common, end);
}

void pipe_common_ends(struct pipe *p, int readers, int writers)
{
	if (!p->common)
		return;
	if (readers)
		end_moves(p, END_READ, p->readers, readers);
	if (writers)
		end_moves(p, END_WRITE, p->writers, writers);
	if (p->readers + (uint32_t)readers == 0 && p->writers + (uint32_t)writers == 0)
		leave(p);
}

void pipe_common_shut(struct pipe *p, uint32_t side)
{
	struct object *o = p->common ? object_of(p) : NULL;

	if (!o)
		return;
	__atomic_fetch_or(&data_of(o)->shut, side, __ATOMIC_SEQ_CST);
	object_changed(o);
}

/* ---- offered to a relative ---- */

void pipe_offer(struct pipe *p, uint32_t secret)
{
	struct object *o = object_of(p);

	if (o)
		__atomic_store_n(&data_of(o)->offer, secret, __ATOMIC_SEQ_CST);
}

bool pipe_claim(struct pipe *p, uint32_t secret)
{
	struct object *o = object_of(p);

	return o && secret && __atomic_compare_exchange_n(&data_of(o)->offer, &secret, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void pipe_lend(struct pipe *p, uint32_t number)
{
	struct object *o = object_of(p);

	if (o)
		__atomic_store_n(&data_of(o)->lent, number, __ATOMIC_RELAXED);
}

bool pipe_is_lent(struct pipe *p, uint32_t number)
{
	struct object *o = object_of(p);

	return o && number && RELAXED(data_of(o)->lent) == number;
}

void pipe_return(struct pipe *p)
{
	struct object *o = object_of(p);

	if (o)
		__atomic_store_n(&data_of(o)->returned, 1, __ATOMIC_SEQ_CST);
}

bool pipe_is_returned(struct pipe *p)
{
	struct object *o = object_of(p);

	return o && __atomic_load_n(&data_of(o)->returned, __ATOMIC_SEQ_CST);
}

/* ---- all of them ---- */

#define EACH_PIPE(n) for (struct list_node *n = pipes.next; n != &pipes; n = n->next)

static struct pipe *pipe_of(struct list_node *n)
{
	return CONTAINER_OF(n, struct pipe, on_common);
}

void pipes_hold_all(void)
{
	EACH_PIPE(n) {
		struct pipe *p = pipe_of(n);

		if (p->readers)
			object_hold(p->common, END_READ);
		if (p->writers)
			object_hold(p->common, END_WRITE);
	}
}

/* Readers first, of all of them: who sees the end of one queue of a socket pair cannot send through the other any more. */
void pipes_drop_all(void)
{
	EACH_PIPE(n)
		if (pipe_of(n)->readers)
			object_drop(pipe_of(n)->common, END_READ);
	EACH_PIPE(n)
		if (pipe_of(n)->writers)
			object_drop(pipe_of(n)->common, END_WRITE);
}

void pipes_news(void)
{
	EACH_PIPE(n) {
		struct pipe *p = pipe_of(n);
		struct object *o = object_of(p);
		uint32_t changes = o ? RELAXED(o->changes) : p->changes + 1;

		if (changes == p->changes)
			continue;
		p->changes = changes;
		wake_all(&p->q);
		inode_event(p->node[END_READ]);
		inode_event(p->node[END_WRITE]);
	}
}

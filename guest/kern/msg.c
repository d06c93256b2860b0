/*
 * msg.c: message queues. A queue has units of 64 bytes, in pages that it gets when it needs them; a message is a chain of
 * them. Sending and receiving move chains between the list of free units and that of messages, by some words each.
 */
#include "ipc.h"

#include "proc.h"
#include "process.h"

#define MSG_MAX 8192  /* bytes of a message */
#define MSG_BYTES 16384 /* of a new queue */
#define QUEUE_PAGES 256
#define UNITS (PAGE_SIZE / sizeof(struct unit))
#define ALL_UNITS (QUEUE_PAGES * UNITS)

#define MSG_NOERROR 010000
#define MSG_EXCEPT 020000
#define MSG_COPY 040000

#define CMD_MSG_STAT 11
#define CMD_MSG_INFO 12
#define CMD_MSG_STAT_ANY 13

/* A unit's number: its page's place in the queue's table, and its place there, plus 1; 0: none. */
struct unit {
	uint32_t next; /* of its chain */
	union {
		char more[60];
		struct {
			uint32_t link; /* the next message */
			uint32_t size; /* bytes */
			uint32_t type[2];
			char text[44];
		};
	};
};

_Static_assert(sizeof(struct unit) == 64, "units fill a page");

struct queue {
	struct ipc_head head;
	uint32_t first, last; /* messages */
	uint32_t free;        /* units */
	uint32_t count, bytes;
	uint32_t most;        /* bytes */
	uint32_t pages;
	uint32_t sender, receiver; /* PIDs of the last ones */
	uint32_t full; /* somebody waits for room */
	int64_t sent, received;
	uint64_t total; /* bytes that have come in: to be shown, no more, so not in the journal */
	uint32_t page[QUEUE_PAGES];
};

_Static_assert(sizeof(struct object) + sizeof(struct queue) <= KX_PAGE_SIZE, "a queue is a page");

struct queue_user {
	struct ipc_perm_user perm;
	int64_t sent, received, changed;
	uint64_t bytes, count, most;
	int32_t sender, receiver;
	uint64_t unused[2];
};

static struct queue *queue_of(struct object *o)
{
	return (struct queue *)o->data;
}

/* ---- units ---- */

static struct unit *unit_at(struct queue *q, uint32_t number)
{
	uint32_t at = number - 1;
	struct unit *page = at < ALL_UNITS ? family_page(RELAXED(q->page[at / UNITS])) : NULL;

	return page ? &page[at % UNITS] : NULL;
}

/* More free units; their page becomes the queue's with one store. */
static bool more_units(struct object *o)
{
	struct queue *q = queue_of(o);
	uint32_t n = RELAXED(q->pages), page = n < QUEUE_PAGES ? RELAXED(q->page[n]) : 0;
	struct unit *u;

	if (n >= QUEUE_PAGES)
		return false;
	if (family_owner(page, KIND_QUEUE) != family_number(o) || page == family_number(o)) /* else it is from a call that went back */
		page = family_alloc(family_number(o));
	u = family_page(page);
	if (!u)
		return false;
	for (uint32_t i = 0; i < UNITS; i++)
		u[i].next = i + 1 < UNITS ? n * UNITS + i + 2 : RELAXED(q->free);
	q->page[n] = page;
	ipc_set(&q->pages, n + 1);
	ipc_set(&q->free, n * UNITS + 1);
	return true;
}

/* An empty queue keeps one page. */
static void fewer_units(struct object *o)
{
	struct queue *q = queue_of(o);
	uint32_t n = MIN(RELAXED(q->pages), QUEUE_PAGES);
	struct unit *u = family_page(RELAXED(q->page[0]));

	if (n <= 1 || !u)
		return;
	for (uint32_t i = 0; i < UNITS; i++)
		u[i].next = i + 1 < UNITS ? i + 2 : 0;
	__atomic_store_n(&q->free, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&q->pages, 1, __ATOMIC_SEQ_CST);
	while (n-- > 1)
		family_free(__atomic_exchange_n(&q->page[n], 0, __ATOMIC_SEQ_CST), family_number(o));
}

static size_t units_for(size_t size)
{
	return size <= sizeof(((struct unit *)0)->text) ? 1 : 1 + (size - sizeof(((struct unit *)0)->text) + 59) / 60;
}

/* The last of n units of the chain that begins there; NULL: it is not so long. */
static struct unit *unit_last(struct queue *q, uint32_t first, size_t n)
{
	struct unit *u = unit_at(q, first);

	while (u && --n)
		u = unit_at(q, RELAXED(u->next));
	return u;
}

/* Moves bytes between a message and the program: 0, -EFAULT, or -EIO. */
static long copy(struct queue *q, struct unit *u, char *user, size_t size, bool out)
{
	char *p = u->text;
	size_t room = sizeof(u->text);

	for (;;) {
		size_t n = MIN(size, room);

		if (out ? copy_out(user, p, n) : copy_in(p, user, n))
			return -EFAULT;
		user += n;
		size -= n;
		if (!size)
			return 0;
		u = unit_at(q, RELAXED(u->next));
		if (!u)
			return -EIO;
		p = u->more;
		room = sizeof(u->more);
	}
}

/* ---- msgget ---- */

static long make(struct object *o, uint32_t page, size_t size)
{
	(void)page, (void)size;
	queue_of(o)->most = MSG_BYTES;
	return 0;
}

static long fits(struct object *o, size_t size)
{
	(void)o, (void)size;
	return 0;
}

static const struct ipc_kind kind = {KIND_QUEUE, make, fits};

long sys_msgget(long key, long flags)
{
	long r = ipc_begin();

	if (r)
		return r;
	r = ipc_get(&kind, key, 0, flags);
	ipc_end();
	return r;
}

/* ---- msgsnd ---- */

/* 0; -EAGAIN: no room; -ENOMEM. */
static long put(struct object *o, int64_t type, char *text, size_t size)
{
	struct queue *q = queue_of(o);
	struct unit *first, *end, *last;
	uint32_t number;
	long err;

	if (size + RELAXED(q->bytes) > RELAXED(q->most) || RELAXED(q->count) >= RELAXED(q->most))
		return -EAGAIN;
	while (!(end = unit_last(q, RELAXED(q->free), units_for(size))))
		if (!more_units(o))
			return RELAXED(q->pages) < QUEUE_PAGES ? -ENOMEM : -EAGAIN;
	number = RELAXED(q->free);
	first = unit_at(q, number);
	ipc_set(&q->free, RELAXED(end->next));
	ipc_set(&end->next, 0);
	first->link = 0;
	first->size = (uint32_t)size;
	first->type[0] = (uint32_t)type;
	first->type[1] = (uint32_t)((uint64_t)type >> 32);
	err = copy(q, first, text, size, false);
	if (err)
		return err;
	last = unit_at(q, RELAXED(q->last));
	if (last)
		ipc_set(&last->link, number);
	else
		ipc_set(&q->first, number);
	ipc_set(&q->last, number);
	ipc_set(&q->count, RELAXED(q->count) + 1);
	ipc_set(&q->bytes, RELAXED(q->bytes) + (uint32_t)size);
	ipc_set(&q->sender, ipc_who());
	ipc_set_time(&q->sent, ipc_time());
	q->total += size;
	return 0;
}

void queue_full(struct object *o)
{
	ipc_set(&queue_of(o)->full, 1);
}

long sys_msgsnd(long id, long message, long size, long flags)
{
	struct object *o;
	int64_t type;
	bool waited = false;
	long err;

	if (copy_in(&type, (void *)message, sizeof(type)))
		return -EFAULT;
	id = (int)id;
	if ((uint64_t)size > MSG_MAX || id < 0 || type < 1)
		return -EINVAL;
	for (;; waited = true) {
		err = ipc_begin();
		if (err)
			return err;
		o = ipc_find(id, KIND_QUEUE);
		err = !o ? (waited ? -EIDRM : -EINVAL) : ipc_allowed(ipc_head(o), IPC_WRITE);
		if (!err)
			err = put(o, type, (char *)message + sizeof(type), (size_t)size);
		if (!err)
			ipc_happened(o);
		else
			ipc_back();
		if (err != -EAGAIN || flags & IPC_NOWAIT)
			break;
		queue_full(o);
		err = ipc_wait(o, FOREVER);
		if (err)
			return err;
	}
	ipc_end();
	return err;
}

/* ---- msgrcv ---- */

static bool matches(int64_t type, int64_t wanted, long flags)
{
	if (!wanted)
		return true;
	if (wanted < 0)
		return type <= (wanted == INT64_MIN ? INT64_MAX : -wanted);
	return (type == wanted) != !!(flags & MSG_EXCEPT);
}

static int64_t type_of(const struct unit *u)
{
	return (int64_t)((uint64_t)RELAXED(u->type[1]) << 32 | RELAXED(u->type[0]));
}

/* The message that is wanted, and the one before it; 0: there is none. */
static uint32_t look(struct queue *q, int64_t wanted, long flags, uint32_t *before)
{
	uint32_t found = 0, last = 0;
	int64_t least = INT64_MAX;
	struct unit *u;

	for (uint32_t n = 0, at = RELAXED(q->first); n < ALL_UNITS && (u = unit_at(q, at)); n++, last = at, at = RELAXED(u->link)) {
		int64_t type = type_of(u);

		if (flags & MSG_COPY) { /* wanted is a number, from 0 */
			if (wanted == n)
				return at;
			continue;
		}
		if (!matches(type, wanted, flags) || (found && type >= least))
			continue;
		*before = last;
		found = at;
		least = type;
		if (wanted >= 0)
			break;
	}
	return found;
}

/* The message's bytes; -ENOMSG, -E2BIG, -EFAULT, -EIO. */
static long take(struct object *o, char *message, size_t room, int64_t wanted, long flags)
{
	struct queue *q = queue_of(o);
	uint32_t before = 0, number = look(q, wanted, flags, &before), link;
	struct unit *u = unit_at(q, number), *previous = unit_at(q, before), *end;
	size_t size;
	int64_t type;
	long err;

	if (!u)
		return -ENOMSG;
	size = RELAXED(u->size);
	type = type_of(u);
	end = size <= MSG_MAX ? unit_last(q, number, units_for(size)) : NULL;
	if (!end)
		return -EIO;
	if (size > room && !(flags & MSG_NOERROR))
		return -E2BIG;
	if (size > room && flags & MSG_COPY)
		return -EINVAL; /* as Linux: the copy is whole */
	if (copy_out(message, &type, sizeof(type)))
		return -EFAULT;
	err = copy(q, u, message + sizeof(type), MIN(size, room), true);
	if (err)
		return err;
	if (flags & MSG_COPY)
		return (long)size;
	link = RELAXED(u->link);
	if (previous)
		ipc_set(&previous->link, link);
	else
		ipc_set(&q->first, link);
	if (!link)
		ipc_set(&q->last, before);
	ipc_set(&end->next, RELAXED(q->free));
	ipc_set(&q->free, number);
	ipc_set(&q->count, RELAXED(q->count) - 1);
	ipc_set(&q->bytes, RELAXED(q->bytes) - (uint32_t)size);
	ipc_set(&q->receiver, ipc_who());
	ipc_set_time(&q->received, ipc_time());
	return (long)MIN(size, room);
}

long sys_msgrcv(long id, long message, long size, long type, long flags)
{
	struct object *o;
	bool waited = false;
	long r;

	id = (int)id;
	if (id < 0 || size < 0)
		return -EINVAL;
	if (flags & MSG_COPY && (!(flags & IPC_NOWAIT) || flags & MSG_EXCEPT))
		return -EINVAL;
	for (;; waited = true) {
		r = ipc_begin();
		if (r)
			return r;
		o = ipc_find(id, KIND_QUEUE);
		r = !o ? (waited ? -EIDRM : -EINVAL) : ipc_allowed(ipc_head(o), IPC_READ);
		if (!r)
			r = take(o, (char *)message, (size_t)size, type, flags);
		if (r != -ENOMSG || flags & IPC_NOWAIT)
			break;
		r = ipc_wait(o, FOREVER);
		if (r)
			return r;
	}
	if (r >= 0 && !(flags & MSG_COPY)) {
		if (RELAXED(queue_of(o)->full)) { /* else those who wait want messages, not room */
			ipc_set(&queue_of(o)->full, 0);
			ipc_happened(o);
		}
		ipc_commit();
		if (!RELAXED(queue_of(o)->count))
			fewer_units(o);
	}
	ipc_end();
	return r;
}

/* ---- msgctl ---- */

static long stat_out(struct object *o, long user, long result)
{
	struct queue *q = queue_of(o);
	struct queue_user u = {.sent = q->sent, .received = q->received, .changed = q->head.ctime,
		.bytes = RELAXED(q->bytes), .count = RELAXED(q->count), .most = RELAXED(q->most),
		.sender = (int32_t)RELAXED(q->sender), .receiver = (int32_t)RELAXED(q->receiver)};

	ipc_perm_out(&q->head, &u.perm);
	return copy_out((void *)user, &u, sizeof(u)) ? -EFAULT : result;
}

static long set(struct object *o, const struct queue_user *u)
{
	long err = ipc_owner(ipc_head(o));

	if (!err && u->most > MSG_BYTES && effective_uid())
		err = -EPERM;
	if (!err && u->most > INT_MAX)
		err = -EINVAL;
	if (err)
		return err;
	ipc_set(&queue_of(o)->most, (uint32_t)u->most);
	ipc_perm_in(ipc_head(o), &u->perm);
	ipc_happened(o);
	return 0;
}

static long info(int cmd, long user)
{
	struct {
		int32_t pool, map, max, bytes, queues, segment, total;
		uint16_t segments;
	} m = {.max = MSG_MAX, .bytes = MSG_BYTES, .queues = KX_FAMILY_PAGES, .segment = 16, .segments = 0xffff};
	uint32_t last, page = 0;
	long used = ipc_count(KIND_QUEUE, &last);
	struct object *o;

	if (cmd == CMD_MSG_INFO) {
		m.pool = (int32_t)used;
		while ((o = ipc_next(&page, KIND_QUEUE))) {
			m.map += (int32_t)RELAXED(queue_of(o)->count);
			m.total += (int32_t)RELAXED(queue_of(o)->bytes);
		}
	}
	return copy_out((void *)user, &m, sizeof(m)) ? -EFAULT : (long)last;
}

static long control_queue(long id, int cmd, long user, const struct queue_user *in)
{
	bool by_place = cmd == CMD_MSG_STAT || cmd == CMD_MSG_STAT_ANY;
	struct object *o;
	long err = 0;

	if (cmd == IPC_INFO || cmd == CMD_MSG_INFO)
		return info(cmd, user);
	o = by_place ? ipc_at(id, KIND_QUEUE) : ipc_find(id, KIND_QUEUE);
	if (!o)
		return -EINVAL;
	switch (cmd) {
	case IPC_STAT:
	case CMD_MSG_STAT:
		err = ipc_allowed(ipc_head(o), IPC_READ);
		/* fallthrough */
	case CMD_MSG_STAT_ANY:
		return err ? err : stat_out(o, user, by_place ? (long)RELAXED(ipc_head(o)->id) : 0);
	case IPC_SET:
		return set(o, in);
	default:
		err = ipc_owner(ipc_head(o));
		if (!err)
			ipc_remove(o);
		return err;
	}
}

long sys_msgctl(long id, long command, long user)
{
	int cmd = IPC_COMMAND(command);
	struct queue_user in;
	long r;

	id = (int)id;
	if (id < 0 || cmd < 0 || (cmd > IPC_INFO && cmd < CMD_MSG_STAT) || cmd > CMD_MSG_STAT_ANY)
		return -EINVAL;
	if (cmd == IPC_SET && copy_in(&in, (void *)user, sizeof(in)))
		return -EFAULT;
	r = ipc_begin();
	if (r)
		return r;
	r = control_queue(id, cmd, user, &in);
	ipc_end();
	return r;
}

/* ---- as others see it ---- */

void queue_describe(struct object *o, struct kx_object *e)
{
	struct queue *q = queue_of(o);

	e->kind = KX_OBJECT_QUEUE;
	e->count = RELAXED(q->count);
	e->bytes = RELAXED(q->bytes);
	e->room = RELAXED(q->most);
	e->total = RELAXED(q->total);
	e->pids[0] = RELAXED(q->sender);
	e->pids[1] = RELAXED(q->receiver);
}


void show_queues(struct text *t)
{
	struct ipc_perm_user p;
	struct object *o;
	uint32_t page = 0;

	text_add(t, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n");
	if (!family_in() || ipc_begin())
		return;
	while ((o = ipc_next(&page, KIND_QUEUE))) {
		struct queue *q = queue_of(o);

		ipc_perm_out(&q->head, &p);
		text_add(t, "%10d %10d  %4o  %10u %10u %5u %5u %5u %5u %5u %5u %10ld %10ld %10ld\n", p.key, RELAXED(q->head.id), p.mode,
			RELAXED(q->bytes), RELAXED(q->count), RELAXED(q->sender), RELAXED(q->receiver), p.uid, p.gid, p.cuid, p.cgid,
			q->sent, q->received, q->head.ctime);
	}
	ipc_end();
}

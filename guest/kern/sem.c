/* sem.c: sets of semaphores. A semaphore is one word: its value, and who changed it last. */
#include "ipc.h"

#include "proc.h"
#include "process.h"

#define SEMS_MAX 32000 /* of a set */
#define SEMS_INLINE 128
#define SEMS_PER_PAGE (KX_PAGE_SIZE / sizeof(uint32_t))
#define SEMS_PAGES ((SEMS_MAX - SEMS_INLINE + SEMS_PER_PAGE - 1) / SEMS_PER_PAGE)
#define OPS_MAX 500
#define VALUE_MAX 32767

#define SEM_UNDO 0x1000

#define CMD_GETPID 11
#define CMD_GETVAL 12
#define CMD_GETALL 13
#define CMD_GETNCNT 14
#define CMD_GETZCNT 15
#define CMD_SETVAL 16
#define CMD_SETALL 17
#define CMD_SEM_STAT 18
#define CMD_SEM_INFO 19
#define CMD_SEM_STAT_ANY 20

struct set {
	struct ipc_head head;
	int64_t used; /* last semop, s */
	uint32_t count;
	uint32_t sem[SEMS_INLINE]; /* PID << 16 | value */
	uint32_t page[SEMS_PAGES]; /* of the others */
	struct parts parts;
};

#define PARTS 128

_Static_assert(PARTS <= PARTS_INLINE(KX_PAGE_SIZE - sizeof(struct object) - offsetof(struct set, parts)), "a set is a page");

struct set_user {
	struct ipc_perm_user perm;
	int64_t used, unused1, changed, unused2;
	uint64_t count, unused3, unused4;
};

struct op {
	uint16_t index;
	int16_t by;
	int16_t flags;
};

static struct set *set_of(struct object *o)
{
	return (struct set *)o->data;
}

static struct parts_of parts_of(struct object *o)
{
	return (struct parts_of){family_number(o), &set_of(o)->parts, PARTS};
}

static uint32_t count_of(struct object *o)
{
	return MIN(RELAXED(set_of(o)->count), (uint32_t)SEMS_MAX);
}

static uint32_t *sem_at(struct object *o, uint32_t i)
{
	struct set *s = set_of(o);
	uint32_t *page;

	if (i < SEMS_INLINE)
		return &s->sem[i];
	i -= SEMS_INLINE;
	page = i / SEMS_PER_PAGE < SEMS_PAGES ? family_page(RELAXED(s->page[i / SEMS_PER_PAGE])) : NULL;
	return page ? &page[i % SEMS_PER_PAGE] : NULL;
}

static int value_of(const uint32_t *sem)
{
	return (int)(RELAXED(*sem) & VALUE_MAX);
}

static void value_set(uint32_t *sem, int value)
{
	ipc_set(sem, control->domid << 16 | (uint32_t)value);
}

/* ---- semget ---- */

static long make(struct object *o, uint32_t page, size_t size)
{
	struct set *s = set_of(o);

	if (!size)
		return -EINVAL;
	for (size_t i = 0; i * SEMS_PER_PAGE + SEMS_INLINE < size; i++) {
		s->page[i] = family_alloc(page);
		if (!s->page[i])
			return -ENOSPC;
		memset(family_page(s->page[i]), 0, PAGE_SIZE);
	}
	s->count = (uint32_t)size;
	return 0;
}

static long fits(struct object *o, size_t size)
{
	return size > count_of(o) ? -EINVAL : 0;
}

static const struct ipc_kind kind = {KIND_SEMAPHORES, make, fits};

long sys_semget(long key, long count, long flags)
{
	long r;

	if ((int)count < 0 || (int)count > SEMS_MAX)
		return -EINVAL;
	r = ipc_begin();
	if (r)
		return r;
	r = ipc_get(&kind, key, (size_t)(int)count, flags);
	ipc_end();
	return r;
}

/* ---- semop ---- */

/* One operation: 0; -EAGAIN: it has to wait; -ERANGE, -ENOSPC, -EIO. */
static long one(struct object *o, const struct op *op)
{
	uint32_t *sem = sem_at(o, op->index);
	struct parts_of parts = parts_of(o);
	int value;

	if (!sem)
		return -EIO;
	value = value_of(sem) + op->by;
	if (op->by ? value < 0 : value != 0)
		return -EAGAIN;
	if (value > VALUE_MAX)
		return -ERANGE;
	value_set(sem, value);
	return op->flags & SEM_UNDO && op->by ? part_add(&parts, PART_UNDO, family_place() - 1, op->index, -op->by) : 0;
}

/* All of them, or none: *stopper is the one that has to wait. */
static long all(struct object *o, const struct op *ops, size_t n, const struct op **stopper)
{
	long err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		err = one(o, &ops[i]);
		*stopper = &ops[i];
	}
	if (err) {
		ipc_back();
		return err;
	}
	ipc_set_time(&set_of(o)->used, ipc_time());
	return 0;
}

static long check(struct object *o, const struct op *ops, size_t n)
{
	bool alters = false;

	for (size_t i = 0; i < n; i++) {
		if (ops[i].index >= count_of(o))
			return -EFBIG;
		alters = alters || ops[i].by;
	}
	return ipc_allowed(ipc_head(o), alters ? IPC_WRITE : IPC_READ);
}

/* Sleeps for an operation, counted meanwhile. 0: the set may be there still, and is locked. */
static long await(struct object *o, long id, const struct op *op, int64_t deadline)
{
	struct parts_of parts = parts_of(o);
	enum part part = op->by ? PART_INCREASE : PART_ZERO;
	uint32_t place = family_place() - 1;
	long err = part_add(&parts, part, place, op->index, 1), woken;

	if (err) {
		ipc_back();
		ipc_end();
		return err;
	}
	woken = ipc_wait(o, deadline);
	err = ipc_begin();
	if (err)
		return err;
	place = family_place() - 1; /* a child that was made from outside has another one, and is not counted there */
	o = ipc_find(id, KIND_SEMAPHORES);
	parts.page = o ? family_number(o) : 0;
	if (o && part_find(&parts, part, place, op->index))
		part_add(&parts, part, place, op->index, -1);
	ipc_commit();
	if (!woken || !o)
		return 0;
	ipc_end();
	return woken == -ETIMEDOUT ? -EAGAIN : woken;
}

static long operate(long id, const struct op *ops, size_t n, int64_t deadline)
{
	const struct op *stopper = ops;
	struct object *o;
	bool waited = false;
	long err = ipc_begin();

	if (err)
		return err;
	for (;; waited = true) {
		o = ipc_find(id, KIND_SEMAPHORES);
		err = o ? check(o, ops, n) : waited ? -EIDRM : -EINVAL;
		if (!err)
			err = all(o, ops, n, &stopper);
		if (err != -EAGAIN || stopper->flags & IPC_NOWAIT)
			break;
		err = await(o, id, stopper, deadline);
		if (err)
			return err;
	}
	if (!err)
		ipc_happened(o);
	ipc_end();
	return err;
}

long sys_semtimedop(long id, long user, long n, long timeout)
{
	int64_t deadline = FOREVER, ns;
	struct op few[8], *ops = few;
	struct timespec ts;
	long err;

	if (timeout) {
		if (copy_in(&ts, (void *)timeout, sizeof(ts)))
			return -EFAULT;
		if (timespec_to_ns(&ts, &ns))
			return -EINVAL;
		deadline = deadline_after(ns);
	}
	id = (int)id;
	if (n < 1 || id < 0)
		return -EINVAL;
	if (n > OPS_MAX)
		return -E2BIG;
	if ((size_t)n > ARRAY_LEN(few))
		ops = kmalloc((size_t)n * sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	err = copy_in(ops, (void *)user, (size_t)n * sizeof(*ops)) ? -EFAULT : operate(id, ops, (size_t)n, deadline);
	if (ops != few)
		kfree(ops);
	return err;
}

long sys_semop(long id, long user, long n)
{
	return sys_semtimedop(id, user, n, 0);
}

/* ---- semctl ---- */

/* What has become of a value takes away what was to be undone there: of one semaphore, or of all (-1). */
static void forget_undo(struct object *o, long index)
{
	struct parts_of parts = parts_of(o);
	struct part_entry *e;

	for (size_t i = 0; (e = part_nth(&parts, i)); i++)
		if (part_of(e) == PART_UNDO && (index < 0 || part_index(e) == (uint32_t)index)) {
			part_clear(e);
			ipc_commit(); /* there may be more than the journal has room for */
		}
}

static long set_value(struct object *o, uint32_t index, int value)
{
	uint32_t *sem = sem_at(o, index);

	if (!sem)
		return -EIO;
	if (value < 0 || value > VALUE_MAX)
		return -ERANGE;
	forget_undo(o, index);
	value_set(sem, value);
	ipc_set_time(&ipc_head(o)->ctime, ipc_time());
	ipc_happened(o);
	return 0;
}

static long get_all(struct object *o, long user)
{
	for (uint32_t i = 0, n = count_of(o); i < n; i++) {
		uint32_t *sem = sem_at(o, i);
		uint16_t value = sem ? (uint16_t)value_of(sem) : 0;

		if (copy_out((uint16_t *)user + i, &value, sizeof(value)))
			return -EFAULT;
	}
	return 0;
}

static long set_all(struct object *o, long user)
{
	uint32_t n = count_of(o);
	uint16_t *values = (uint16_t *)user, value;

	for (uint32_t i = 0; i < n; i++) {
		if (copy_in(&value, values + i, sizeof(value)))
			return -EFAULT;
		if (value > VALUE_MAX)
			return -ERANGE;
	}
	forget_undo(o, -1);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t *sem = sem_at(o, i);

		if (!sem || copy_in(&value, values + i, sizeof(value)))
			return -EFAULT;
		value_set(sem, value & VALUE_MAX);
		ipc_commit();
	}
	ipc_set_time(&ipc_head(o)->ctime, ipc_time());
	ipc_happened(o);
	return 0;
}

static long stat_out(struct object *o, long user, long result)
{
	struct set *s = set_of(o);
	struct set_user u = {.used = s->used, .changed = s->head.ctime, .count = count_of(o)};

	ipc_perm_out(&s->head, &u.perm);
	return copy_out((void *)user, &u, sizeof(u)) ? -EFAULT : result;
}

static long info(int cmd, long user)
{
	struct {
		int32_t map, sets, sems, undos, sems_each, ops, undos_each, used, value, undo;
	} m = {.map = INT_MAX, .sets = KX_FAMILY_PAGES, .sems = INT_MAX, .undos = INT_MAX, .sems_each = SEMS_MAX, .ops = OPS_MAX,
		.undos_each = OPS_MAX, .value = VALUE_MAX, .undo = VALUE_MAX};
	uint32_t last, page = 0;
	long used = ipc_count(KIND_SEMAPHORES, &last);
	struct object *o;

	if (cmd == CMD_SEM_INFO) {
		m.used = (int32_t)used;
		m.undo = 0;
		while ((o = ipc_next(&page, KIND_SEMAPHORES)))
			m.undo += (int32_t)count_of(o);
	}
	return copy_out((void *)user, &m, sizeof(m)) ? -EFAULT : (long)last;
}

static long of_one(struct object *o, int cmd, uint32_t index, long arg)
{
	struct parts_of parts = parts_of(o);
	uint32_t *sem = sem_at(o, index);

	if (index >= count_of(o) || !sem)
		return -EINVAL;
	switch (cmd) {
	case CMD_GETVAL: return value_of(sem);
	case CMD_GETPID: return (long)(RELAXED(*sem) >> 16);
	case CMD_GETNCNT: return part_sum(&parts, PART_INCREASE, index);
	case CMD_GETZCNT: return part_sum(&parts, PART_ZERO, index);
	default: return set_value(o, index, (int)arg);
	}
}

static long set_owner(struct object *o, const struct set_user *u)
{
	long err = ipc_owner(ipc_head(o));

	if (!err)
		ipc_perm_in(ipc_head(o), &u->perm);
	return err;
}

static long control_set(long id, uint32_t index, int cmd, long arg, const struct set_user *in)
{
	bool by_place = cmd == CMD_SEM_STAT || cmd == CMD_SEM_STAT_ANY;
	struct object *o;
	long err;

	if (cmd == IPC_INFO || cmd == CMD_SEM_INFO)
		return info(cmd, arg);
	o = by_place ? ipc_at(id, KIND_SEMAPHORES) : ipc_find(id, KIND_SEMAPHORES);
	if (!o)
		return -EINVAL;
	if (cmd == IPC_SET)
		return set_owner(o, in);
	if (cmd == IPC_RMID) {
		err = ipc_owner(ipc_head(o));
		if (!err)
			ipc_remove(o);
		return err;
	}
	if (cmd == CMD_SEM_STAT_ANY)
		return stat_out(o, arg, (long)RELAXED(ipc_head(o)->id));
	err = ipc_allowed(ipc_head(o), cmd == CMD_SETVAL || cmd == CMD_SETALL ? IPC_WRITE : IPC_READ);
	if (err)
		return err;
	switch (cmd) {
	case IPC_STAT:
	case CMD_SEM_STAT:
		return stat_out(o, arg, by_place ? (long)RELAXED(ipc_head(o)->id) : 0);
	case CMD_GETALL: return get_all(o, arg);
	case CMD_SETALL: return set_all(o, arg);
	default: return of_one(o, cmd, index, arg);
	}
}

long sys_semctl(long id, long index, long command, long arg)
{
	int cmd = IPC_COMMAND(command);
	struct set_user in;
	long r;

	id = (int)id;
	if (id < 0 || cmd < 0 || (cmd > IPC_INFO && cmd < CMD_GETPID) || cmd > CMD_SEM_STAT_ANY)
		return -EINVAL;
	if (cmd == IPC_SET && copy_in(&in, (void *)arg, sizeof(in)))
		return -EFAULT;
	r = ipc_begin();
	if (r)
		return r;
	r = control_set(id, (uint32_t)index, cmd, arg, &in);
	ipc_end();
	return r;
}

/* ---- as others see it ---- */

void set_describe(struct object *o, struct kx_object *e)
{
	e->kind = KX_OBJECT_SEMAPHORES;
	e->count = count_of(o);
}


void show_semaphores(struct text *t)
{
	struct ipc_perm_user p;
	struct object *o;
	uint32_t page = 0;

	text_add(t, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
	if (!family_in() || ipc_begin())
		return;
	while ((o = ipc_next(&page, KIND_SEMAPHORES))) {
		struct set *s = set_of(o);

		ipc_perm_out(&s->head, &p);
		text_add(t, "%10d %10d  %4o %10u %5u %5u %5u %5u %10ld %10ld\n", p.key, RELAXED(s->head.id), p.mode, count_of(o),
			p.uid, p.gid, p.cuid, p.cgid, s->used, s->head.ctime);
	}
	ipc_end();
}

/* ---- a member's end ---- */

static void undo(struct object *o, const struct part_entry *e)
{
	uint32_t *sem = part_index(e) < count_of(o) ? sem_at(o, part_index(e)) : NULL;

	if (sem)
		ipc_set(sem, family_pid(part_place(e)) << 16 | (uint32_t)MAX(0, MIN(value_of(sem) + part_value(e), VALUE_MAX)));
}

void sem_gone(struct object *o, uint32_t page, uint32_t place)
{
	struct parts_of parts = parts_of(o);
	struct part_entry *e;
	bool undone = false;

	(void)page;
	for (size_t i = 0; (e = part_nth(&parts, i)); i++) {
		if (!RELAXED(e->who) || part_place(e) != place)
			continue;
		if (part_of(e) == PART_UNDO) {
			undo(o, e);
			undone = true;
		}
		part_clear(e);
		ipc_commit(); /* the value and what was to be done to it change at once */
	}
	if (undone) {
		ipc_set_time(&set_of(o)->used, ipc_time());
		ipc_happened(o);
	}
}

/*
 * task.c: tasks: what the engine has this member do with what its family shares (KX_CALL_TASK), so that locks, journal and
 * wake-ups are here alone; and with itself. They are done where a fork from outside is made: at the end of an upcall, when nothing is half done. The
 * program waits for no answer of the engine's meanwhile: what it loses is the time that a task takes.
 */
#include "ipc.h"
#include "process.h"

#define task task_area
#define data task_data
#define ROOM TASK_ROOM

long sys_msgget(long key, long flags), sys_msgsnd(long id, long message, long size, long flags);
long sys_msgrcv(long id, long message, long size, long type, long flags), sys_msgctl(long id, long cmd, long user);
long sys_semctl(long id, long index, long cmd, long arg);
long sys_shmget(long key, long size, long flags), sys_shmctl(long id, long cmd, long user);

_Static_assert(offsetof(struct kx_task, type) + sizeof(int64_t) == sizeof(struct kx_task), "type and data are a message");

static bool wanted, news;
static bool asking; /* a KX_CALL_TASK is under way */
static bool missed; /* a task came when another call was about to be made, and could not be begun: the next one is waited for */

void task_command(void)
{
	wanted = true;
}

void task_news(void)
{
	wanted = news = true;
	events_owed();
}

/* From before the first look on, the engine will hear of a change. */
static long watch(long id)
{
	struct object *o;
	long r = ipc_begin();

	if (r)
		return r;
	o = ipc_find(id, KIND_QUEUE);
	if (o) {
		queue_full(o); /* it may be room that the engine waits for */
		ipc_watch(o);
	}
	ipc_end();
	return 0;
}

static long message(long id, uint32_t size, bool out)
{
	long r = task->a[1] ? watch(id) : 0;

	if (r)
		return r;
	if (!out)
		return sys_msgsnd(id, (long)&task->type, size, IPC_NOWAIT);
	r = sys_msgrcv(id, (long)&task->type, ROOM, task->type, IPC_NOWAIT);
	task->size = r > 0 ? (uint32_t)r : 0;
	return r;
}

static long move(long id, uint64_t size, bool write)
{
	long r = shm_copy(id, task->a[1], data, size, write);

	task->size = r > 0 && !write ? (uint32_t)r : 0;
	return r;
}

/* Numbers of different kinds are different. */
static long discard(long id)
{
	long r = sys_msgctl(id, IPC_RMID, 0);

	if (r == -EINVAL)
		r = sys_semctl(id, 0, IPC_RMID, 0);
	if (r == -EINVAL)
		r = sys_shmctl(id, IPC_RMID, 0);
	return r;
}

static long list(void)
{
	struct kx_object *e = (struct kx_object *)data;
	uint32_t n = 0, most = ROOM / sizeof(*e), page = (uint32_t)MIN(task->a[0], (uint64_t)KX_FAMILY_PAGES), top;
	long r;

	task->a[0] = 0;
	if (!family_in() && (!control->family_pages || !family_top()))
		return 0; /* nobody shares anything, and need not begin now */
	r = ipc_begin();
	if (r)
		return r;
	for (top = family_top(); n < most && ++page < top;)
		n += ipc_describe(page, &e[n]);
	ipc_end();
	task->size = n * sizeof(*e);
	task->a[0] = n == most ? page : 0;
	return (long)n;
}

/* As ftok() of musl. */
static long key(uint32_t size)
{
	struct inode *n;
	long r;

	data[MIN(size, ROOM - 1)] = 0;
	r = walk_node(AT_FDCWD, (long)data, 0, &n);
	if (r)
		return r;
	r = (long)((task->a[0] & 0xff) << 24 | (n->fs & 0xff) << 16 | (n->ino & 0xffff));
	inode_put(n);
	return r;
}

static long update(void)
{
	if (task->a[1] & ~(uint64_t)KX_UPDATE_TRY)
		return -EINVAL;
	task->size = sizeof(struct kx_updated);
	return update_library(task->a[0], (struct kx_updated *)data, task->a[1] & KX_UPDATE_TRY);
}

static long run(void)
{
	uint32_t size = MIN(task->size, (uint32_t)ROOM);

	task->size = 0;
	switch (task->op) {
	case KX_TASK_QUEUE: return sys_msgget((long)task->a[0], (long)task->a[1]);
	case KX_TASK_SEND: return message((long)task->a[0], size, false);
	case KX_TASK_RECEIVE: return message((long)task->a[0], size, true);
	case KX_TASK_SEGMENT: return sys_shmget((long)task->a[0], (long)task->a[2], (long)task->a[1]);
	case KX_TASK_READ: return move((long)task->a[0], MIN(task->a[2], ROOM), false);
	case KX_TASK_WRITE: return move((long)task->a[0], size, true);
	case KX_TASK_REMOVE: return discard((long)task->a[0]);
	case KX_TASK_LIST: return list();
	case KX_TASK_KEY: return key(size);
	case KX_TASK_OFFER: case KX_TASK_LEND: return offer_make((uint32_t)task->a[0], task->op == KX_TASK_LEND);
	case KX_TASK_TAKE: case KX_TASK_BORROW: return offer_take((uint32_t)task->a[0], (uint32_t)task->a[1], task->op == KX_TASK_BORROW);
	case KX_TASK_SETTLE: return offer_settle((uint32_t)task->a[0]);
	case KX_TASK_RETURN: return offer_return((uint32_t)task->a[0]);
	case KX_TASK_UPDATE: return update();
	default: return -ENOSYS;
	}
}

static void ask(long number, long result)
{
	bool first = news;

	wanted = news = false;
	asking = true;
	engine_post(KX_CALL_TASK, (uint64_t)number, (uint64_t)result, first);
}

void tasks_if_wanted(void)
{
	long number, result;

	while (asking || wanted) {
		if (!asking)
			ask(0, 0);
		if (!missed && !engine_answered())
			return;
		number = engine_answer();
		asking = missed = false;
		if (number <= 0)
			continue;
		ipc_outside = true;
		result = run();
		ipc_outside = false;
		ask(number, result);
	}
}

void tasks_settle(void)
{
	long number = asking ? engine_answer() : 0;

	asking = false;
	if (number > 0) {
		missed = true;
		engine_call(KX_CALL_TASK, 0, (uint64_t)number, (uint64_t)-ERESTART, 0);
	}
}

void tasks_forked(void)
{
	wanted = news = false;
}

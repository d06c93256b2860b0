/*
 * tasktrials.c: tasks: what the engine has a member do is what the system calls would have done, only with root's rights and
 * without sleeping, and happens once, also where the member is killed in the middle of it.
 */
#include "ipc.h"
#include "process.h"
#include "trials.h"

long sys_msgget(long key, long flags), sys_msgctl(long id, long cmd, long user), sys_msgrcv(long id, long m, long n, long type, long flags);
long sys_semget(long key, long n, long flags), sys_shmget(long key, long n, long flags), sys_shmat(long id, long va, long flags);
long sys_shmdt(long va), sys_pipe2(long user, long flags), sys_close(long fd), sys_read(long fd, long buf, long n), sys_write(long fd, long buf, long n);

#define TASK ((struct kx_task *)KX_TASK_VA)
#define DATA ((char *)(TASK + 1))
#define ROOM (KX_TASK_SIZE - sizeof(struct kx_task))
#define OBJECT(n) ((struct kx_object *)DATA + (n))

static int calls;
static uint64_t done, result;

/* The engine gives one task. */
static long give(uint32_t op, uint64_t a, uint64_t b)
{
	if (op != KX_CALL_TASK)
		return -ENOSYS;
	if (!calls++)
		return 9;
	done = a;
	result = b;
	return 0;
}

long one_task(uint32_t op, uint64_t a, uint64_t b, uint64_t c, int64_t type, uint32_t size)
{
	long (*before)(uint32_t op, uint64_t a, uint64_t b) = shim_call;

	*TASK = (struct kx_task){.op = op, .a = {a, b, c}, .type = type, .size = size};
	calls = 0;
	shim_call = give;
	task_command();
	tasks_if_wanted();
	shim_call = before;
	CHECK(calls == 2 && done == 9 && TASK->size <= ROOM);
	return (long)result;
}

/* A task that comes while another call is about to be made is not begun: the engine gives it again. */
static void interrupted(void)
{
	long (*before)(uint32_t op, uint64_t a, uint64_t b) = shim_call;

	*TASK = (struct kx_task){.op = KX_TASK_QUEUE, .a = {78, IPC_CREAT}};
	calls = 0;
	shim_call = give;
	shim_late = true;
	tasks_settle();
	CHECK(!calls);
	task_command();
	tasks_if_wanted();
	CHECK(calls == 1);
	tasks_settle();
	CHECK(calls == 2 && done == 9 && (long)result == -ERESTART);
	tasks_settle();
	tasks_if_wanted();
	CHECK(calls == 2 && sys_msgget(78, 0) == -ENOENT);
	task_command();
	tasks_forked(); /* a child has none of its parent's */
	tasks_if_wanted();
	CHECK(calls == 2);
	for (int i = 0; i < 2; i++) {
		task_command();
		calls = 0;
		tasks_if_wanted(); /* the one that was missed is waited for, the next one is not */
		CHECK(calls == 2 - i);
		tasks_settle();
		CHECK(calls == 2 && done == 9 && (long)result == (i ? -ERESTART : sys_msgget(78, 0)));
	}
	shim_late = false;
	shim_call = before;
	CHECK(!sys_msgctl(sys_msgget(78, 0), IPC_RMID, 0));
	task_command();
	tasks_if_wanted();
}

long random_task(void)
{
	uint32_t op, page = HEADER + random_below_(60);
	uint64_t id = random_below_(3) ? (uint64_t)sys_msgget(1, IPC_CREAT) & 0x7fffffff : random_below_(20) << 13 | page;

	do
		op = random_below_(KX_TASK_SETTLE + 1);
	while (op == KX_TASK_KEY);
	if (op >= KX_TASK_OFFER)
		return one_task(op, random_below_(3), page, 0, 0, 0);
	if (op == KX_TASK_LIST || op == KX_TASK_QUEUE || op == KX_TASK_SEGMENT)
		id = random_below_(100);
	return one_task(op, id, random_below_(3) ? random_below_(2) * 01000 : random_below_(1 << 24), random_below_(40000),
		(int64_t)random_below_(5) - 1, random_below_(2) ? random_below_(9000) : UINT32_MAX);
}

static void queues(void)
{
	long q = one_task(KX_TASK_QUEUE, 77, 0, 0, 0, 0), n;
	uint64_t total = 0;

	CHECK(q == -ENOENT);
	q = one_task(KX_TASK_QUEUE, 77, IPC_CREAT | 0600, 0, 0, 0);
	CHECK(q > 0 && sys_msgget(77, 0) == q);
	CHECK(one_task(KX_TASK_RECEIVE, (uint64_t)q, 1, 0, 0, 0) == -ENOMSG);
	for (uint32_t size = 0; size <= 8192; size += 2048) {
		memset(DATA, 'a' + (int)(size >> 11), size);
		CHECK(!one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 1 + size, size));
		CHECK(one_task(KX_TASK_LIST, 0, 0, 0, 0, 0) == 1 && OBJECT(0)->kind == KX_OBJECT_QUEUE && OBJECT(0)->id == (uint32_t)q);
		total += size;
		CHECK(OBJECT(0)->bytes == size && OBJECT(0)->total == total && OBJECT(0)->count == 1 && OBJECT(0)->key == 77 && OBJECT(0)->mode == 0600 && !OBJECT(0)->pids[0]);
		n = one_task(KX_TASK_RECEIVE, (uint64_t)q, 1, 0, 0, 0);
		CHECK(n == (long)size && TASK->size == size && TASK->type == 1 + size);
		for (uint32_t i = 0; i < size; i++)
			CHECK(DATA[i] == 'a' + (int)(size >> 11));
	}
	CHECK(one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 1, 8193) == -EINVAL && one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 0, 1) == -EINVAL);
	CHECK(!one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 1, 8192) && !one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 1, 8192));
	CHECK(one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 1, 1) == -EAGAIN);
	family_ipc()->lock = 5; /* a relative's */
	CHECK(one_task(KX_TASK_SEND, (uint64_t)q, 0, 0, 1, 1) == -EBUSY && one_task(KX_TASK_LIST, 0, 0, 0, 0, 0) == -EBUSY);
	family_ipc()->lock = 0;
	CHECK(!one_task(KX_TASK_REMOVE, (uint64_t)q, 0, 0, 0, 0) && one_task(KX_TASK_REMOVE, (uint64_t)q, 0, 0, 0, 0) == -EINVAL);
}

static void segments(void)
{
	long s = one_task(KX_TASK_SEGMENT, 5, IPC_CREAT | 0600, 50000, 0, 0), va;

	CHECK(s > 0 && sys_shmget(5, 50000, 0) == s);
	va = sys_shmat(s, 0, 0);
	CHECK(va > 0);
	memcpy(DATA, "hello", 5);
	CHECK(one_task(KX_TASK_WRITE, (uint64_t)s, 49997, 0, 0, 5) == 3 && !memcmp((char *)va + 49997, "hel", 3));
	CHECK(one_task(KX_TASK_READ, (uint64_t)s, 49996, 100, 0, 0) == 4 && TASK->size == 4 && !memcmp(DATA, "\0hel", 4));
	CHECK(one_task(KX_TASK_READ, (uint64_t)s, 0, UINT64_MAX, 0, 0) == (long)ROOM && TASK->size == ROOM);
	CHECK(one_task(KX_TASK_READ, (uint64_t)s, 50000, 1, 0, 0) == 0 && one_task(KX_TASK_READ, (uint64_t)s, 50001, 1, 0, 0) == -ERANGE);
	CHECK(one_task(KX_TASK_READ, (uint64_t)s, UINT64_MAX, 1, 0, 0) == -ERANGE && one_task(KX_TASK_READ, 1, 0, 1, 0, 0) == -EINVAL);
	CHECK(one_task(KX_TASK_LIST, 0, 0, 0, 0, 0) == 1 && OBJECT(0)->kind == KX_OBJECT_SEGMENT && OBJECT(0)->count == 1);
	CHECK(OBJECT(0)->held[0] == 1 && OBJECT(0)->readers[0] == (control->domid & 0xffff) && OBJECT(0)->bytes == 50000);
	CHECK(!one_task(KX_TASK_REMOVE, (uint64_t)s, 0, 0, 0, 0));
	CHECK(!sys_shmdt(va) && one_task(KX_TASK_LIST, 0, 0, 0, 0, 0) == 0);
}

/* A pipe counts what comes in, with what it had when it came into the area. */
static void pipes(void)
{
	static char buf[PIPE_BUF];
	uint64_t total = 5;
	int fds[2];

	CHECK(!sys_pipe2((long)fds, 0) && sys_write(fds[1], (long)buf, 5) == 5);
	common_share();
	for (uint32_t n = 1; n <= sizeof(buf); n *= 2) {
		CHECK(sys_write(fds[1], (long)buf, n) == (long)n);
		total += n;
		CHECK(one_task(KX_TASK_LIST, 0, 0, 0, 0, 0) == 1 && OBJECT(0)->kind == KX_OBJECT_PIPE);
		CHECK(OBJECT(0)->total == total && OBJECT(0)->bytes == (n > 1 ? n : 6) && OBJECT(0)->room == 65536);
		CHECK(sys_read(fds[0], (long)buf, sizeof(buf)) == (n > 1 ? (long)n : 6));
	}
	CHECK(one_task(KX_TASK_LIST, 0, 0, 0, 0, 0) == 1 && OBJECT(0)->total == total && !OBJECT(0)->bytes);
	CHECK(!sys_close(fds[0]) && !sys_close(fds[1]));
}

/* More objects than one task lists. */
static void lists(void)
{
	enum { MANY = 600 };
	uint32_t found = 0, page = 0;
	long ids[MANY], n;

	for (int i = 0; i < MANY; i++) {
		ids[i] = i % 2 ? sys_semget(IPC_PRIVATE, 3, 0) : sys_msgget(IPC_PRIVATE, 0);
		CHECK(ids[i] >= 0);
	}
	do {
		n = one_task(KX_TASK_LIST, page, 0, 0, 0, 0);
		CHECK(n > 0 && TASK->size == (uint32_t)n * sizeof(struct kx_object));
		for (long i = 0; i < n; i++, found++)
			CHECK(OBJECT(i)->id == (uint32_t)ids[found] && (found % 2 ? OBJECT(i)->count == 3 : OBJECT(i)->kind == KX_OBJECT_QUEUE));
		page = (uint32_t)TASK->a[0];
	} while (page);
	CHECK(found == MANY);
	for (int i = 0; i < MANY; i++)
		CHECK(!one_task(KX_TASK_REMOVE, (uint64_t)ids[i], 0, 0, 0, 0));
}

static void keys(void)
{
	long key, other;

	strcpy(DATA, "/");
	key = one_task(KX_TASK_KEY, 'A', 0, 0, 0, 1);
	strcpy(DATA, "/dev");
	other = one_task(KX_TASK_KEY, 0x1ff, 0, 0, 0, 4);
	CHECK(key >> 24 == 'A' && other >> 24 == 0xff && (key & 0xffffff) != (other & 0xffffff));
	strcpy(DATA, "/none");
	CHECK(one_task(KX_TASK_KEY, 1, 0, 0, 0, 5) == -ENOENT);
	memset(DATA, '/', ROOM);
	CHECK(one_task(KX_TASK_KEY, 1, 0, 0, 0, UINT32_MAX) == -ENAMETOOLONG);
	CHECK(one_task(99, 0, 0, 0, 0, 0) == -ENOSYS && one_task(0, 0, 0, 0, 0, 0) == -ENOSYS);
}

void trial_tasks(void)
{
	queues();
	segments();
	pipes();
	lists();
	keys();
	interrupted();
}

/* A member is killed while it does tasks: each message is there once, with the counts, or not at all. */
void trial_tasks_of_killed(void)
{
	static struct {
		int64_t type;
		char text[8192];
	} m;
	long queue = sys_msgget(IPC_PRIVATE, 0600), n;
	uint64_t bytes = 0, count = 0;
	int pid = fork_member();

	CHECK(queue >= 0);
	for (int64_t i = 1; !pid; i++) {
		memset(DATA, (int)i, 600);
		one_task(KX_TASK_SEND, (uint64_t)queue, random_below_(2), 0, i, random_below_(600));
		if (random_below_(2))
			one_task(KX_TASK_RECEIVE, (uint64_t)queue, random_below_(2), 0, 0, 0);
	}
	usleep(random_below_(3000));
	kill(pid, SIGKILL);
	reap(0);
	n = one_task(KX_TASK_LIST, 0, 0, 0, 0, 0);
	for (long i = 0; i < n; i++) {
		bytes = OBJECT(i)->bytes;
		count = OBJECT(i)->count;
		if (OBJECT(i)->id == (uint32_t)queue)
			break;
		CHECK(i < n - 1);
	}
	while ((n = sys_msgrcv(queue, (long)&m, sizeof(m.text), 0, IPC_NOWAIT)) >= 0) {
		for (long i = 0; i < n; i++)
			CHECK(m.text[i] == (char)m.type);
		bytes -= (uint64_t)n;
		count--;
	}
	CHECK(n == -ENOMSG && !bytes && !count && !sys_msgctl(queue, IPC_RMID, 0));
}

/*
 * plays.c: what the two sides do together: one writes into a pipe and the other reads; one sends messages and the other receives; both work under one
 * semaphore; one exits and the other waits for that. Each has to come to its end, with everything as it should be, whoever is killed.
 */
#include "area.h"
#include "common.h"
#include "ipc.h"
#include "process.h"

long sys_msgget(long key, long flags), sys_msgsnd(long id, long message, long size, long flags);
long sys_msgrcv(long id, long message, long size, long type, long flags), sys_msgctl(long id, long cmd, long user);
long sys_semget(long key, long n, long flags), sys_semop(long id, long ops, long n), sys_semctl(long id, long index, long cmd, long arg);

extern bool interruptible; /* side.c */
void model_gone(uint32_t pid);

/* ---- a pipe ---- */

static struct pipe *common_pipe;

static uint32_t make_pipe(void)
{
	common_pipe = pipe_new();
	common_pipe->readers = common_pipe->writers = 1;
	say(!pipe_share(common_pipe, NULL, NULL), "pipe_share");
	return common_pipe->common;
}

static void take_end(uint32_t number, bool second)
{
	bool writes = !second;

	if (common_pipe->common != number) { /* the one that it has made is not the one that they share */
		object_drop(common_pipe->common, END_READ);
		object_drop(common_pipe->common, END_WRITE);
		common_pipe->common = number;
		object_hold(number, writes ? END_WRITE : END_READ);
	} else {
		object_drop(number, writes ? END_READ : END_WRITE);
	}
	common_pipe->readers = !writes;
	common_pipe->writers = writes;
}

static void close_pipe(void)
{
	pipe_ends(common_pipe, NULL, -(int)common_pipe->readers, -(int)common_pipe->writers);
}

static void writer(void)
{
	for (size_t i = 0; i < RECORDS; i++) {
		struct uio u;
		long n;

		uio_single(&u, model_text + i * RECORD, RECORD);
		n = pipe_put(common_pipe, NULL, &u, FOREVER, false);
		say(n == RECORD || (n == -EPIPE && other_dead()), "what was written");
		if (n < 0)
			break;
	}
	close_pipe();
	family_exit(-1);
}

static void reader(void)
{
	size_t got = 0;

	for (;;) {
		struct uio u;
		char piece[PIECE];
		long n;

		uio_single(&u, piece, PIECE);
		n = pipe_get(common_pipe, NULL, &u, FOREVER, false);
		say(n >= 0 && n <= PIECE && got + (size_t)n <= RECORDS * RECORD, "what was read");
		if (!n)
			break;
		say(!memcmp(piece, model_text + got, (size_t)n), "bytes");
		got += (size_t)n;
	}
	say(got == RECORDS * RECORD || (got % RECORD == 0 && other_dead()), "the end");
	close_pipe();
	family_exit(-1);
}

/* ---- a queue that has room for one message ---- */

#define TEXT 50

static long queue;

struct message {
	int64_t type;
	char text[TEXT];
};

static uint32_t make_queue(void)
{
	struct {
		struct ipc_perm_user perm;
		uint64_t unused[3], bytes, count, most, more[3];
	} q;

	interruptible = true;
	queue = sys_msgget(1, IPC_CREAT);
	say(queue > 0 && !sys_msgctl(queue, IPC_STAT, (long)&q), "a queue");
	q.most = TEXT;
	say(!sys_msgctl(queue, IPC_SET, (long)&q), "IPC_SET");
	return (uint32_t)queue;
}

static void take_queue(uint32_t number, bool second)
{
	(void)second;
	queue = number;
}

/* The next message, which has to be whole, and later than the last. */
static long receive(int64_t *last, long flags)
{
	struct message m;
	long n = sys_msgrcv(queue, (long)&m, TEXT, 0, flags);

	if (n < 0)
		return n;
	say(n == TEXT && m.type == *last + 1 && !memcmp(m.text, model_text + m.type * TEXT, TEXT), "a message");
	*last = m.type;
	return n;
}

/* Nothing is left, and the counts say so: two messages at once would not fit. */
static void queue_empty(void)
{
	struct message m = {.type = 1};

	say(sys_msgrcv(queue, (long)&m, TEXT, 0, IPC_NOWAIT) == -ENOMSG, "nobody was woken for a message");
	say(!sys_msgsnd(queue, (long)&m, TEXT, IPC_NOWAIT) && sys_msgsnd(queue, (long)&m, 1, IPC_NOWAIT) == -EAGAIN, "counts");
}

static void sender(void)
{
	struct message m;
	int64_t sent = 0, last;

	while (sent < MESSAGES) {
		long err;

		m.type = sent + 1;
		memcpy(m.text, model_text + m.type * TEXT, TEXT);
		err = sys_msgsnd(queue, (long)&m, TEXT, 0);
		say(!err || (err == -EINTR && other_dead()), "what was sent");
		if (err)
			break;
		sent++;
	}
	if (other_dead() && sent) { /* it may have taken the last one, or not */
		last = sent - 1;
		receive(&last, IPC_NOWAIT);
		queue_empty();
	}
	family_exit(-1);
}

static void receiver(void)
{
	int64_t last = 0;
	long n = 0;

	while (last < MESSAGES && n >= 0)
		n = receive(&last, 0);
	say(n >= 0 || (n == -EINTR && other_dead()), "what was received");
	if (last == MESSAGES || other_dead())
		queue_empty();
	family_exit(-1);
}

/* ---- a semaphore, given back also by who is killed ---- */

#define ROUNDS 2
#define SEM_UNDO 0x1000
#define GETVAL 12
#define SETVAL 16

static long set;

static uint32_t make_set(void)
{
	interruptible = true;
	set = sys_semget(1, 1, IPC_CREAT);
	say(set > 0 && !sys_semctl(set, 0, SETVAL, 1), "a semaphore");
	return (uint32_t)set;
}

static void take_set(uint32_t number, bool second)
{
	(void)second;
	set = number;
}

static void by_one(int16_t n)
{
	struct {
		uint16_t index;
		int16_t by, flags;
	} op = {0, n, SEM_UNDO};

	say(!sys_semop(set, (long)&op, 1), "semop");
}

static void worker(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		by_one(-1);
		say(!__atomic_exchange_n(&model_inside, 1, __ATOMIC_SEQ_CST) || other_dead(), "two at once");
		__atomic_store_n(&model_inside, 0, __ATOMIC_SEQ_CST);
		by_one(1);
	}
	if (other_dead())
		say(sys_semctl(set, 0, GETVAL, 0) == 1, "the value");
	family_exit(-1);
}

/* ---- an exit, and a parent that waits ---- */

#define STATUS (42 << 8)

#define PARENT 0 /* places */
#define CHILD 1

static struct waitq child_q;
static int told;

void child_ended(int pid, uint32_t status, int64_t cpu_ns)
{
	say(pid && status == STATUS && !cpu_ns && !told, "an end");
	told = 1;
	wake_all(&child_q);
}

static uint32_t make_parent(void)
{
	interruptible = true;
	return 0;
}

static void take_parent(uint32_t number, bool second)
{
	(void)number;
	if (second)
		own_control.ppid = family_pid(PARENT);
}

static void waiting(void)
{
	long err = 0;

	while (!told && !err) {
		lines_offer_to(CHILD);
		err = wait_on(&child_q, FOREVER);
	}
	say(told || (err == -EINTR && other_dead()), "what became of it");
	family_exit(-1);
}

static void exiting(void)
{
	ended_tell(PARENT, STATUS);
	family_exit(-1);
}

/* ---- all of them ---- */

static void enter(uint32_t pid, uint32_t flags)
{
	own_control.domid = pid;
	own_control.flags = flags;
	own_control.family_pages = AREA_PAGES;
	own_control.evtchn = 1;
	say(!family_enter(), "family_enter");
}

static void offered(void)
{
	for (int i = 0; i < OFFERS; i++)
		family_bells()->offers[family_place() - 1][i].to = KX_MEMBERS + 1;
}

const struct side side = {&own_control, &own_info, enter, offered, model_gone, {
	{"pipe", make_pipe, take_end, {writer, reader}},
	{"queue", make_queue, take_queue, {sender, receiver}},
	{"semaphore", make_set, take_set, {worker, worker}},
	{"exit", make_parent, take_parent, {waiting, exiting}},
}};

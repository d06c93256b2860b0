/*
 * matrix: a family of two that tries every way to reach the members of its own family, and of others. Its argument is the family's index, and
 * it prints what there is to reach: PIDs of parent and child, numbers of a queue, a set of semaphores and a segment, and where that is. A message of
 * type ORDER + PID in the family's queue has such lines of all families; the answer, of type ANSWER + PID, has a line for each member of each: a
 * word for each call, "ok" or why not. An empty one is answered by what has come from others: a bit for each sender of a signal, and how many
 * messages, operations and wake-ups.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAMILIES 3
#define COMMON 77 /* a key that all have */
#define KEY 100   /* and one of each family */
#define PIPE 10   /* descriptors, of each family */
#define SOCKET 20
#define WRITE 30 /* beyond them: the other ends */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define TRY 1    /* types of messages */
#define ORDER 100000
#define ANSWER 200000

/* In the segment; each family has its place there, so that no address means something in two. */
struct words {
	char secret[16];
	uint32_t go[2], woken[2]; /* of each member */
};

struct target {
	int family, member, pids[2], queue, set, segment;
	struct words *words;
};

static struct {
	long type;
	char text[4000];
} m;
static struct target own;
static volatile unsigned senders;

static void heard(int sig)
{
	senders |= 1u << (sig - SIGRTMIN);
}

static const char *secret_of(int family)
{
	static char s[16];

	sprintf(s, "secret of %d", family);
	return s;
}

static long futex(uint32_t *word, int op, uint32_t value)
{
	struct timespec second = {1, 0};

	return syscall(SYS_futex, word, op, value, op == FUTEX_WAIT ? &second : NULL, NULL, 0);
}

/* A thread of each member is woken by others. */
static void *sleeper(void *none)
{
	uint32_t *go = &own.words->go[own.member], seen = 0;

	for (;;) {
		while (__atomic_load_n(go, __ATOMIC_SEQ_CST) == seen)
			futex(go, FUTEX_WAIT, seen);
		__atomic_store_n(&own.words->woken[own.member], ++seen, __ATOMIC_SEQ_CST);
		futex(&own.words->woken[own.member], FUTEX_WAKE, 1);
	}
	return none;
}

/* ---- the calls ---- */

static const char *word(long result)
{
	static char other[16];

	if (result >= 0)
		return "ok";
	switch (errno) {
	case EBADF: return "EBADF";
	case ECHILD: return "ECHILD";
	case EINVAL: return "EINVAL";
	case ENOENT: return "ENOENT";
	case ESRCH: return "ESRCH";
	}
	sprintf(other, "errno%d", errno);
	return other;
}

static long semaphore(int set)
{
	struct sembuf up = {0, 1, IPC_NOWAIT};

	return semop(set, &up, 1);
}

static long send_try(int queue)
{
	struct {
		long type;
		char text[1];
	} try = {TRY, {'x'}};

	return msgsnd(queue, &try, 1, IPC_NOWAIT);
}

static long receive_try(int queue)
{
	struct {
		long type;
		char text[1];
	} try;

	return msgrcv(queue, &try, 1, TRY, IPC_NOWAIT);
}

static const char *attach(const struct target *t)
{
	char *at = shmat(t->segment, NULL, 0);
	const char *found;

	if (at == (void *)-1)
		return word(-1);
	found = strcmp(((struct words *)at)[t->family].secret, secret_of(t->family)) ? "wrong" : "ok";
	shmdt(at);
	return found;
}

static const char *descriptor(int fd, int family)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		return word(-1);
	return byte == '0' + family ? "ok" : "wrong";
}

/* What is at the address that the target has its segment at. */
static const char *peek(const struct target *t)
{
	char bytes[16] = "";
	int p[2];

	if (pipe(p))
		return "no pipe";
	if (write(p[1], t->words->secret, sizeof(bytes)) == sizeof(bytes) && read(p[0], bytes, sizeof(bytes)) != sizeof(bytes))
		return "lost";
	close(p[0]);
	close(p[1]);
	return strcmp(bytes, secret_of(t->family)) ? "other" : "ok";
}

static const char *wake(const struct target *t)
{
	uint32_t *go = &t->words->go[t->member], *woken = &t->words->woken[t->member], now, was;

	if (t->family != own.family) /* there it must change nothing: it may be ours */
		return futex(go, FUTEX_WAKE, 1000) > 0 ? "ok" : "none";
	now = __atomic_add_fetch(go, 1, __ATOMIC_SEQ_CST);
	futex(go, FUTEX_WAKE, 1);
	for (int tries = 0; tries < 60 && (was = __atomic_load_n(woken, __ATOMIC_SEQ_CST)) != now; tries++)
		futex(woken, FUTEX_WAIT, was);
	return __atomic_load_n(woken, __ATOMIC_SEQ_CST) == now ? "ok" : "none";
}

/* The order of the columns is that of the test. */
static char *attack(char *out, const struct target *t)
{
	int pid = t->pids[t->member];
	struct msqid_ds q;
	struct shmid_ds s;

	out += sprintf(out, "%s ", word(kill(pid, 0)));
	out += sprintf(out, "%s ", word(kill(pid, SIGRTMIN + 2 * own.family + own.member)));
	out += sprintf(out, "%s ", word(kill(-t->pids[0], 0)));
	out += sprintf(out, "%s ", word(waitpid(pid, NULL, WNOHANG)));
	out += sprintf(out, "%s ", word(msgget(KEY + t->family, 0)));
	out += sprintf(out, "%s ", word(send_try(t->queue)));
	out += sprintf(out, "%s ", word(receive_try(t->queue)));
	out += sprintf(out, "%s ", word(msgctl(t->queue, IPC_STAT, &q)));
	out += sprintf(out, "%s ", word(shmget(KEY + t->family, 0, 0)));
	out += sprintf(out, "%s ", attach(t));
	out += sprintf(out, "%s ", word(shmctl(t->segment, IPC_STAT, &s)));
	out += sprintf(out, "%s ", word(semget(KEY + t->family, 0, 0)));
	out += sprintf(out, "%s ", word(semaphore(t->set)));
	out += sprintf(out, "%s ", word(semctl(t->set, 0, GETVAL)));
	out += sprintf(out, "%s ", descriptor(PIPE + t->family, t->family));
	out += sprintf(out, "%s ", descriptor(SOCKET + t->family, t->family));
	out += sprintf(out, "%s ", peek(t));
	return out + sprintf(out, "%s\n", wake(t));
}

/* ---- orders ---- */

/* Whose the objects of the key are that all families have. */
static const char *common(void)
{
	int queue = msgget(COMMON, 0), set = semget(COMMON, 0, 0), segment = shmget(COMMON, 0, 0);
	char *at = shmat(segment, NULL, 0), *found;
	struct msqid_ds q;

	if (at == (void *)-1 || msgctl(queue, IPC_STAT, &q))
		return "none";
	found = !strcmp(at, secret_of(own.family)) && semctl(set, 0, GETVAL) == own.family && (int)q.msg_qnum == own.family ? "own" : "another's";
	shmdt(at);
	return found;
}

static void serve(void)
{
	static char order[sizeof(m.text)];
	struct target t;
	char *out = m.text;
	int used;
	struct msqid_ds q;

	strcpy(order, m.text);
	if (!*order) {
		msgctl(own.queue, IPC_STAT, &q);
		sprintf(m.text, "senders %#x messages %d operations %d woken %u common %s\n", senders, (int)q.msg_qnum,
			semctl(own.set, 0, GETVAL), own.words->woken[own.member], common());
		return;
	}
	for (char *in = order; sscanf(in, "%d %d %d %d %d %d %p\n%n", &t.family, &t.pids[0], &t.pids[1], &t.queue, &t.set, &t.segment,
		(void **)&t.words, &used) == 7; in += used)
		for (t.member = 0; t.member < 2; t.member++)
			out = attack(out, &t);
}

static void prepare(int family)
{
	int queue, segment, p[2];
	char *at;

	own.family = family;
	for (int i = 0; i < 20 * family; i++) /* so that no number means something in two families */
		msgctl(msgget(IPC_PRIVATE, 0600), IPC_RMID, NULL);
	own.queue = msgget(KEY + family, IPC_CREAT | 0600);
	own.set = semget(KEY + family, 1, IPC_CREAT | 0600);
	own.segment = shmget(KEY + family, FAMILIES * sizeof(struct words), IPC_CREAT | 0600);
	own.words = (struct words *)shmat(own.segment, NULL, 0) + family;
	strcpy(own.words->secret, secret_of(family));

	queue = msgget(COMMON, IPC_CREAT | 0600);
	for (int i = 0; i < family; i++)
		send_try(queue);
	semctl(semget(COMMON, 1, IPC_CREAT | 0600), 0, SETVAL, family);
	segment = shmget(COMMON, 100, IPC_CREAT | 0600);
	at = shmat(segment, NULL, 0);
	strcpy(at, secret_of(family));
	shmdt(at);

	if (pipe(p) || dup2(p[0], PIPE + family) < 0 || dup2(p[1], PIPE + WRITE + family) < 0 || close(p[0]) || close(p[1]) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, p) || dup2(p[0], SOCKET + family) < 0 || dup2(p[1], SOCKET + WRITE + family) < 0)
		exit(1);
	close(p[0]);
	close(p[1]);
}

/* The parent gives what all of its family may read. */
static void fill(int child)
{
	char bytes[4];

	own.pids[1] = child;
	memset(bytes, '0' + own.family, sizeof(bytes));
	if (write(PIPE + WRITE + own.family, bytes, sizeof(bytes)) != sizeof(bytes) ||
	    write(SOCKET + WRITE + own.family, bytes, sizeof(bytes)) != sizeof(bytes))
		exit(2);
	printf("%d %d %d %d %d %d %p\n", own.family, own.pids[0], child, own.queue, own.set, own.segment, (void *)own.words);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int child, n;

	prepare(argc > 1 ? atoi(argv[1]) : 0);
	for (int i = 0; i < 2 * FAMILIES; i++)
		signal(SIGRTMIN + i, heard);
	own.pids[0] = getpid();
	child = fork();
	own.member = !child;
	if (child < 0 || pthread_create(&thread, NULL, sleeper, NULL))
		return 3;
	if (child)
		fill(child);
	for (;;) {
		n = (int)msgrcv(own.queue, &m, sizeof(m.text) - 1, ORDER + getpid(), 0);
		if (n < 0 && errno != EINTR)
			return 4;
		if (n < 0)
			continue;
		m.text[n] = 0;
		serve();
		m.type = ANSWER + getpid();
		if (msgsnd(own.queue, &m, strlen(m.text), 0))
			return 5;
	}
}

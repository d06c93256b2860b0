/* sems.c: tests of semaphore sets, from semget(2), semop(2) and semctl(2). */
#include "test.h"

#include <sys/ipc.h>
#include <sys/sem.h>

union arg {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static int set(int n)
{
	int id = semget(IPC_PRIVATE, n, 0600);

	CHECK(id >= 0);
	return id;
}

static int one(int id, int index, int by, int flags)
{
	struct sembuf op = {(unsigned short)index, (short)by, (short)flags};

	return semop(id, &op, 1);
}

static int value(int id, int index)
{
	return semctl(id, index, GETVAL);
}

static void give(int id, int index, int v)
{
	EQ(semctl(id, index, SETVAL, (union arg){.val = v}), 0);
}

static void drop(int id)
{
	EQ(semctl(id, 0, IPC_RMID), 0);
}

/* Waits until a member waits for a semaphore. */
static void until(int id, int index, int command, int n)
{
	while (semctl(id, index, command) != n)
		sleep_ms(1);
}

void test_sem_get(void)
{
	key_t key = 0x6b79 << 16 | (getpid() & 0xffff);
	struct semid_ds ds;
	int a;

	FAILS(semget(key, 1, 0), ENOENT);
	FAILS(semget(key, 0, IPC_CREAT | 0600), EINVAL);
	FAILS(semget(key, -1, IPC_CREAT | 0600), EINVAL);
	FAILS(semget(key, 32001, IPC_CREAT | 0600), EINVAL);
	a = semget(key, 5, IPC_CREAT | 0640);
	CHECK(a >= 0);
	EQ(semget(key, 0, 0), a);
	EQ(semget(key, 5, 0), a);
	FAILS(semget(key, 6, 0), EINVAL);
	FAILS(semget(key, 5, IPC_CREAT | IPC_EXCL), EEXIST);
	EQ(semctl(a, 0, IPC_STAT, (union arg){.buf = &ds}), 0);
	EQ(ds.sem_nsems, 5);
	EQ(ds.sem_otime, 0);
	EQ(ds.sem_perm.mode, 0640);
	for (int i = 0; i < 5; i++)
		EQ(value(a, i), 0);
	drop(a);
	FAILS(semget(key, 1, 0), ENOENT);
	FAILS(value(a, 0), EINVAL);
	FAILS(one(a, 0, 1, 0), EINVAL);
}

void test_sem_values(void)
{
	unsigned short in[3] = {7, 0, 32767}, out[3];
	struct semid_ds ds;
	int id = set(3);

	give(id, 1, 9);
	EQ(value(id, 1), 9);
	FAILS(semctl(id, 1, SETVAL, (union arg){.val = -1}), ERANGE);
	FAILS(semctl(id, 1, SETVAL, (union arg){.val = 32768}), ERANGE);
	FAILS(semctl(id, 3, SETVAL, (union arg){.val = 1}), EINVAL);
	FAILS(semctl(id, -1, GETVAL), EINVAL);
	EQ(semctl(id, 0, SETALL, (union arg){.array = in}), 0);
	EQ(semctl(id, 0, GETALL, (union arg){.array = out}), 0);
	CHECK(!memcmp(in, out, sizeof(in)));
	in[1] = 32768;
	FAILS(semctl(id, 0, SETALL, (union arg){.array = in}), ERANGE);
	EQ(value(id, 0), 7);
	FAILS(semctl(id, 0, GETALL, (union arg){.array = (void *)8}), EFAULT);
	FAILS(semctl(id, 0, 4711), EINVAL);
	EQ(semctl(id, 2, GETPID), getpid());
	EQ(semctl(id, 0, IPC_STAT, (union arg){.buf = &ds}), 0);
	ds.sem_perm.mode = 0606;
	EQ(semctl(id, 0, IPC_SET, (union arg){.buf = &ds}), 0);
	EQ(semctl(id, 0, IPC_STAT, (union arg){.buf = &ds}), 0);
	EQ(ds.sem_perm.mode, 0606);
	drop(id);
	id = set(3000);
	for (int i = 0; i < 3000; i += 7)
		give(id, i, i);
	for (int i = 0; i < 3000; i++)
		EQ(value(id, i), i % 7 ? 0 : i);
	drop(id);
}

void test_sem_ops(void)
{
	struct sembuf ops[3] = {{0, -1, IPC_NOWAIT}, {1, 2, 0}, {0, 0, IPC_NOWAIT}}, many[501] = {{0}};
	struct semid_ds ds;
	int id = set(2);

	FAILS(semop(id, ops, 3), EAGAIN);
	EQ(value(id, 1), 0);
	give(id, 0, 2);
	FAILS(semop(id, ops, 3), EAGAIN); /* the first two would have gone */
	EQ(value(id, 0), 2);
	EQ(value(id, 1), 0);
	give(id, 0, 1);
	EQ(semop(id, ops, 3), 0);
	EQ(value(id, 0), 0);
	EQ(value(id, 1), 2);
	EQ(semctl(id, 0, IPC_STAT, (union arg){.buf = &ds}), 0);
	CHECK(ds.sem_otime >= time(NULL) - 5);
	FAILS(one(id, 1, 0, IPC_NOWAIT), EAGAIN);
	FAILS(one(id, 1, -3, IPC_NOWAIT), EAGAIN);
	EQ(one(id, 0, 0, IPC_NOWAIT), 0);
	FAILS(one(id, 1, 32767, 0), ERANGE);
	FAILS(one(id, 2, 1, 0), EFBIG);
	FAILS(semop(id, ops, 0), EINVAL);
	FAILS(semop(id, many, 501), E2BIG);
	FAILS(semop(id, (void *)8, 1), EFAULT);
	FAILS(one(-1, 0, 1, 0), EINVAL);
	/* The same semaphore many times. */
	for (int i = 0; i < 500; i++)
		many[i] = (struct sembuf){(unsigned short)(i % 2), (short)(i % 4 < 2 ? 2 : -1), SEM_UNDO};
	EQ(semop(id, many, 500), 0);
	EQ(value(id, 0), 125);
	EQ(value(id, 1), 127);
	drop(id);
}

void test_sem_blocks(void)
{
	int id = set(3);
	pid_t up, down, zero;

	give(id, 2, 1);
	IN_CHILD(down)
		EQ(one(id, 0, -2, 0), 0);
	IN_CHILD(zero)
		EQ(one(id, 2, 0, 0), 0);
	until(id, 0, GETNCNT, 1);
	until(id, 2, GETZCNT, 1);
	EQ(semctl(id, 1, GETNCNT), 0);
	EQ(semctl(id, 0, GETZCNT), 0);
	EQ(one(id, 0, 1, 0), 0);
	EQ(waitpid(down, NULL, WNOHANG), 0);
	IN_CHILD(up)
		EQ(one(id, 0, 1, 0), 0);
	EQ(ended(up), 0);
	EQ(ended(down), 0);
	EQ(value(id, 0), 0);
	EQ(semctl(id, 0, GETPID), down);
	EQ(semctl(id, 0, GETNCNT), 0);
	EQ(one(id, 2, -1, 0), 0);
	EQ(ended(zero), 0);
	EQ(semctl(id, 2, GETZCNT), 0);
	drop(id);
}

void test_sem_removed(void)
{
	int id = set(2);
	pid_t pids[4];

	give(id, 1, 1);
	for (int i = 0; i < 4; i++)
		IN_CHILD(pids[i])
			FAILS(one(id, i % 2, i % 2 - 1, 0), EIDRM);
	until(id, 0, GETNCNT, 2);
	until(id, 1, GETZCNT, 2);
	drop(id);
	for (int i = 0; i < 4; i++)
		EQ(ended(pids[i]), 0);
}

static void nothing(int sig)
{
	(void)sig;
}

void test_sem_timed(void)
{
	struct timespec ts = {0, 30000000}, bad = {0, 1000000000};
	struct sembuf op = {0, -1, 0};
	int64_t start = now();
	int id = set(1);

	FAILS(semtimedop(id, &op, 1, &ts), EAGAIN);
	CHECK(now() - start >= 30000000);
	EQ(semctl(id, 0, GETNCNT), 0);
	FAILS(semtimedop(id, &op, 1, &bad), EINVAL);
	FAILS(semtimedop(id, &op, 1, (void *)8), EFAULT);
	give(id, 0, 1);
	EQ(semtimedop(id, &op, 1, &ts), 0);
	on_signal(SIGALRM, nothing, SA_RESTART);
	ualarm(30000, 30000); /* again: the first may come before the call */
	FAILS(one(id, 0, -1, 0), EINTR);
	ualarm(0, 0);
	EQ(semctl(id, 0, GETNCNT), 0);
	drop(id);
}

void test_sem_undo(void)
{
	int id = set(3);
	pid_t pid;

	give(id, 0, 5);
	IN_CHILD(pid) {
		EQ(one(id, 0, -3, SEM_UNDO), 0);
		EQ(one(id, 1, 4, SEM_UNDO), 0);
		EQ(one(id, 1, 1, 0), 0);
		EQ(one(id, 2, 1, SEM_UNDO), 0);
		EQ(one(id, 2, -1, SEM_UNDO), 0);
		EQ(value(id, 0), 2);
	}
	EQ(ended(pid), 0);
	EQ(value(id, 0), 5);
	EQ(value(id, 1), 1);
	EQ(value(id, 2), 0);
	EQ(semctl(id, 0, GETPID), pid);
	/* A value that is set is not undone, and none goes below 0. */
	IN_CHILD(pid) {
		EQ(one(id, 0, -3, SEM_UNDO), 0);
		give(id, 0, 1);
		EQ(one(id, 1, 9, SEM_UNDO), 0);
		EQ(one(id, 1, -8, 0), 0);
	}
	EQ(ended(pid), 0);
	EQ(value(id, 0), 1);
	EQ(value(id, 1), 0);
	/* A child does not inherit what is to be undone. */
	EQ(one(id, 2, 2, SEM_UNDO), 0);
	IN_CHILD(pid)
		;
	EQ(ended(pid), 0);
	EQ(value(id, 2), 2);
	drop(id);
}

/* A semaphore that a killed member held is free again, and who waits for it goes on. */
void test_sem_undo_killed(void)
{
	int id = set(1);
	pid_t holder, waiter;

	give(id, 0, 1);
	for (int i = 0; i < 5; i++) {
		IN_CHILD(holder) {
			EQ(one(id, 0, -1, SEM_UNDO), 0);
			pause();
		}
		while (value(id, 0))
			sleep_ms(1);
		IN_CHILD(waiter)
			EQ(one(id, 0, -1, SEM_UNDO), 0);
		until(id, 0, GETNCNT, 1);
		EQ(kill(holder, SIGKILL), 0);
		EQ(ended(holder), SIGKILL);
		EQ(ended(waiter), 0);
		EQ(value(id, 0), 1);
		/* A killed one that waits does not count any more. */
		give(id, 0, 0);
		IN_CHILD(waiter)
			one(id, 0, -1, SEM_UNDO);
		until(id, 0, GETNCNT, 1);
		EQ(kill(waiter, SIGKILL), 0);
		EQ(ended(waiter), SIGKILL);
		until(id, 0, GETNCNT, 0);
		give(id, 0, 1);
	}
	drop(id);
}

/* What several members do under a semaphore is not mixed; some of them are killed in it. */
void test_sem_mutex(void)
{
	volatile long *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int id = set(1), n = 2000;
	pid_t pids[4];

	CHECK(shared != MAP_FAILED);
	give(id, 0, 1);
	for (int i = 0; i < 4; i++)
		IN_CHILD(pids[i])
			for (int k = 0; k < n; k++) {
				EQ(one(id, 0, -1, SEM_UNDO), 0);
				shared[0]++;
				shared[1 + i]++;
				EQ(one(id, 0, 1, SEM_UNDO), 0);
			}
	for (int i = 0; i < 4; i++)
		EQ(ended(pids[i]), 0);
	EQ(shared[0], 4 * n);
	EQ(value(id, 0), 1);
	for (int i = 0; i < (children + 3) / 4; i++) {
		IN_CHILD(pids[0])
			for (;;) {
				one(id, 0, -1, SEM_UNDO);
				one(id, 0, 1, SEM_UNDO);
			}
		usleep((useconds_t)(1000 + i * 83));
		EQ(kill(pids[0], SIGKILL), 0);
		EQ(ended(pids[0]), SIGKILL);
		EQ(one(id, 0, -1, 0), 0);
		EQ(one(id, 0, 1, 0), 0);
		EQ(value(id, 0), 1);
	}
	drop(id);
}

void test_sem_cycles(void)
{
	for (int i = 0; i < 5000; i++) {
		int id = set(i % 10 ? 1 : 1000);

		EQ(one(id, 0, 1, SEM_UNDO), 0);
		drop(id);
	}
}

void test_sem_info(void)
{
	struct seminfo m;
	struct semid_ds ds;
	int id = set(4), last, found = 0;

	CHECK(semctl(0, 0, IPC_INFO, (union arg){.buf = (void *)&m}) >= 0);
	EQ(m.semmsl, 32000);
	EQ(m.semopm, 500);
	EQ(m.semvmx, 32767);
	last = semctl(0, 0, SEM_INFO, (union arg){.buf = (void *)&m});
	CHECK(last >= 0 && m.semusz >= 1 && m.semaem >= 4);
	for (int i = 0; i <= last; i++)
		found += semctl(i, 0, SEM_STAT, (union arg){.buf = &ds}) == id && ds.sem_nsems == 4;
	EQ(found, 1);
	CHECK(in_sysvipc("sem", id));
	drop(id);
}

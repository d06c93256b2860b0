/*
 * ipctrials.c: System V's objects between processes that are killed at any instruction: the counts of a queue are those of its
 * messages, a semaphore that was taken with SEM_UNDO is free again, and nothing is left of what was removed. And with
 * somebody who scribbles in them.
 */
#include "ipc.h"
#include "trials.h"

#include <sys/mman.h>
#include <sys/wait.h>

long sys_msgget(long key, long flags), sys_msgsnd(long id, long m, long n, long flags), sys_msgrcv(long id, long m, long n, long type, long flags);
long sys_msgctl(long id, long cmd, long user), sys_semget(long key, long n, long flags), sys_semop(long id, long ops, long n);
long sys_semctl(long id, long index, long cmd, long arg), sys_shmget(long key, long n, long flags), sys_shmat(long id, long va, long flags);
long sys_shmdt(long va), sys_shmctl(long id, long cmd, long user);

#define GETVAL 12
#define SETVAL 16
#define UNDO 0x1000
#define MSG_NOERROR 010000
#define MSG_COPY 040000

static struct {
	int64_t type;
	char text[8192];
} m;

static uint32_t pages_used(void)
{
	const uint32_t *owner = AREA + (sizeof(struct kx_member) * KX_MEMBERS + 64) / 4;
	uint32_t n = 0;

	for (uint32_t i = HEADER; i < KX_FAMILY_PAGES; i++)
		n += owner[i] != 0;
	return n;
}

static void talk(long queue)
{
	for (unsigned i = 0;; i++) {
		m.type = 1 + random_below_(3);
		memset(m.text, (int)m.type, 600);
		sys_msgsnd(queue, (long)&m, random_below_(600), IPC_NOWAIT);
		if (random_below_(2))
			sys_msgrcv(queue, (long)&m, sizeof(m.text), 1 + random_below_(3), IPC_NOWAIT);
	}
}

static void queue_of_killed(void)
{
	struct {
		struct ipc_perm_user perm;
		int64_t times[3];
		uint64_t bytes, count, most, more[3];
	} state;
	long queue = sys_msgget(IPC_PRIVATE, 0600), n;
	uint64_t bytes = 0, count = 0;
	int pid = fork_member();

	CHECK(queue >= 0);
	if (!pid)
		talk(queue);
	usleep(random_below_(3000));
	kill(pid, SIGKILL);
	reap(0);
	CHECK(!sys_msgctl(queue, IPC_STAT, (long)&state));
	while ((n = sys_msgrcv(queue, (long)&m, sizeof(m.text), 0, IPC_NOWAIT)) >= 0) {
		for (long i = 0; i < n; i++)
			CHECK(m.text[i] == (char)m.type);
		bytes += (uint64_t)n;
		count++;
	}
	CHECK(n == -ENOMSG && bytes == state.bytes && count == state.count);
	CHECK(!sys_msgctl(queue, IPC_RMID, 0));
}

static void semaphores_of_killed(void)
{
	struct op {
		uint16_t index;
		int16_t by, flags;
	} take[2] = {{0, -1, UNDO}, {1, 1, UNDO}}, back[2] = {{0, 1, UNDO}, {1, -1, UNDO}};
	long set = sys_semget(IPC_PRIVATE, 200, 0600);
	int pids[2];

	CHECK(set >= 0 && !sys_semctl(set, 0, SETVAL, 1));
	for (int i = 0; i < 2; i++) {
		pids[i] = fork_member();
		while (!pids[i])
			if (!sys_semop(set, (long)take, 2)) {
				/* Nobody else has it: both values or neither are changed. */
				CHECK(!sys_semctl(set, 0, GETVAL, 0) && sys_semctl(set, 1, GETVAL, 0) == 1);
				CHECK(!sys_semop(set, (long)back, 2));
			}
	}
	usleep(random_below_(3000));
	for (int i = 0; i < 2; i++)
		kill(pids[i], SIGKILL);
	reap(0);
	CHECK(sys_semctl(set, 0, GETVAL, 0) == 1 && sys_semctl(set, 1, GETVAL, 0) == 0);
	CHECK(!sys_semctl(set, 0, IPC_RMID, 0));
}

static void segment_of_killed(void)
{
	long segment = sys_shmget(IPC_PRIVATE, 3 * PAGE_SIZE, 0600), va = sys_shmat(segment, 0, 0);
	int pid;

	CHECK(va > 0);
	pid = fork_member();
	while (!pid) {
		sys_shmdt(va);
		CHECK(sys_shmat(segment, 0, 0) == va);
	}
	usleep(random_below_(2000));
	kill(pid, SIGKILL);
	reap(0);
	CHECK(!sys_shmctl(segment, IPC_RMID, 0));
	CHECK(!sys_shmdt(va) && sys_shmdt(va) == -EINVAL);
}

void trial_ipc(void)
{
	uint32_t used = pages_used();

	trial_robust();
	queue_of_killed();
	semaphores_of_killed();
	segment_of_killed();
	CHECK(pages_used() == used);
}

/* ---- an area in which somebody scribbles ---- */

static void act(long *ids)
{
	struct {
		uint16_t index;
		int16_t by, flags;
	} ops[3];
	uint16_t values[300];
	long va;

	for (int i = 0; i < 3; i++)
		ops[i].index = (uint16_t)random_below_(200), ops[i].by = (int16_t)(random_below_(5) - 2), ops[i].flags = UNDO | (random_below_(2) ? IPC_NOWAIT : 0);
	m.type = 1 + random_below_(5);
	switch (random_below_(15)) {
	case 0: case 1: case 2:
		sys_msgsnd(ids[0], (long)&m, random_below_(sizeof(m.text)), random_below_(2) ? IPC_NOWAIT : 0);
		break;
	case 3: case 4: case 5:
		sys_msgrcv(ids[0], (long)&m, sizeof(m.text), (long)random_below_(9) - 4, random_below_(2) ? IPC_NOWAIT : 0);
		break;
	case 6: case 7:
		sys_semop(ids[1], (long)ops, 3);
		break;
	case 8:
		sys_semctl(ids[1], random_below_(200), 11 + random_below_(2), 0);
		break;
	case 9:
		memset(values, 1, sizeof(values));
		sys_semctl(ids[1], random_below_(200), 14 + random_below_(3), 3);
		break;
	case 10:
		va = sys_shmat(ids[2], 0, 0);
		if (va > 0 && shm_covers((uint64_t)va, 1))
			*(volatile char *)va = 1;
		if (va > 0 && shm_covers((uint64_t)va, 9000))
			trial_robust_nonsense(va, 9000);
		if (va > 0)
			sys_shmdt(va);
		break;
	case 11:
		sys_msgctl(ids[0], IPC_RMID, 0);
		ids[0] = sys_msgget(IPC_PRIVATE, 0600);
		break;
	case 12:
		sys_semctl(ids[1], 0, IPC_RMID, 0);
		ids[1] = sys_semget(7, 200, IPC_CREAT | 0600);
		break;
	case 13:
		sys_msgrcv(ids[0], (long)&m, random_below_(2) ? sizeof(m.text) : 0, (long)random_below_(9) - 4,
			IPC_NOWAIT | MSG_COPY | (random_below_(2) ? MSG_NOERROR : 0));
		break;
	default:
		sys_shmctl(ids[2], IPC_RMID, 0);
		ids[2] = sys_shmget(8, 9000, IPC_CREAT | 0600);
		shm_map(5000);
		family_gone((int)random_below_(100), 0, 0);
	}
}

void trial_ipc_scribble(void)
{
	long ids[3];
	int pid = fork(), status;

	if (pid) {
		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
		return;
	}
	alarm(120);
	CHECK(mmap((void *)KX_FAMILY_VA, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)KX_FAMILY_VA);
	shim_waits = nap_once;
	ids[0] = sys_msgget(IPC_PRIVATE, 0600);
	ids[1] = sys_semget(7, 200, IPC_CREAT | 0600);
	ids[2] = sys_shmget(8, 9000, IPC_CREAT | 0600);
	for (int i = 0; i < 200; i++) {
		act(ids);
		if (i % 3 == 0)
			random_task();
		scribble();
	}
	family_exit(-1);
	_exit(0);
}

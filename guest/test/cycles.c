/*
 * cycles.c: 10,000 of each thing that a family shares come and go, fewer where -n says so: nothing of the family's memory is left
 * in use. On Linux the same is done, and nothing counted: others use its memory, too.
 */
#include "test.h"

#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>

enum { BATCH = 200 }; /* things for each fork */

/* KiB of memory that is shared. */
static long shared_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	long kib = -1;

	CHECK(f);
	while (fgets(page, sizeof(page), f))
		if (sscanf(page, "Shmem: %ld kB", &kib) == 1)
			break;
	fclose(f);
	CHECK(kib >= 0);
	return kib;
}

static void cycles(void (*once)(int i), int n)
{
	long before;

	once(0); /* what is made once and stays */
	before = shared_kib();
	for (int i = 1; i <= n; i++)
		once(i);
	if (in_pvm())
		EQ(shared_kib(), before);
}

/* ---- System V ---- */

static void queue(int i)
{
	struct {
		long type;
		char text[5000];
	} m = {.type = 1};
	int id = msgget(IPC_PRIVATE, 0600);

	CHECK(id >= 0);
	for (int k = i % 3; k > 0; k--)
		EQ(msgsnd(id, &m, (size_t)(i % 5000), 0), 0);
	if (i % 2 && i % 3)
		EQ(msgrcv(id, &m, sizeof(m.text), 0, 0), i % 5000);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

static void set(int i)
{
	struct sembuf op = {(unsigned short)(i % 250), 1, SEM_UNDO};
	int id = semget(IPC_PRIVATE, 250, 0600);

	CHECK(id >= 0);
	EQ(semop(id, &op, 1), 0);
	EQ(semctl(id, 0, IPC_RMID), 0);
}

static void segment(int i)
{
	int id = shmget(IPC_PRIVATE, (size_t)(1 + i % 9 * 4096), 0600);
	char *p = shmat(id, NULL, 0);

	CHECK(id >= 0 && p != (void *)-1);
	p[i % 9 * 4096] = 1;
	if (i % 2)
		EQ(shmdt(p), 0);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
	if (i % 2 == 0)
		EQ(shmdt(p), 0);
}

static void mapping(int i)
{
	size_t n = (size_t)(1 + i % 9) * 4096;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	p[n - 1] = 1;
	if (n > 4096)
		EQ(munmap(p + 4096, n - 4096), 0);
	EQ(munmap(p, 4096), 0);
}

void test_cycles_queues(void)
{
	cycles(queue, 200 * children);
}

void test_cycles_semaphores(void)
{
	cycles(set, 200 * children);
}

void test_cycles_segments(void)
{
	cycles(segment, 200 * children);
}

void test_cycles_mappings(void)
{
	cycles(mapping, 200 * children);
}

/* ---- what is open at a fork ---- */

/* A batch is opened, a child uses it and exits or is killed, and it is closed on both sides. */
static void over_fork(int i, int (*make)(int fds[2]), bool both_ways)
{
	int fds[BATCH][2];
	pid_t pid;

	for (int k = 0; k < BATCH; k++)
		EQ(make(fds[k]), 0);
	IN_CHILD(pid) {
		for (int k = 0; k < BATCH; k++)
			EQ(write(fds[k][1], page, 8), 8);
		if (i % 2)
			raise(SIGKILL);
	}
	EQ(ended(pid), i % 2 ? SIGKILL : 0);
	for (int k = 0; k < BATCH; k++) {
		if (k % 2 && both_ways)
			EQ(read(fds[k][0], page, 8), 8);
		close(fds[k][0]);
		close(fds[k][1]);
	}
}

static int make_pair(int fds[2])
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	static unsigned next;

	return socketpair(AF_UNIX, types[next++ % 3], 0, fds);
}

static int make_eventfd(int fds[2])
{
	fds[0] = eventfd(1, 0);
	fds[1] = dup(fds[0]);
	return fds[1] < 0;
}

static int make_file(int fds[2])
{
	fds[0] = open("f", O_RDWR | O_CREAT | O_EXCL, 0600);
	fds[1] = dup(fds[0]);
	return fds[1] < 0 || unlink("f");
}

static void pipes(int i)
{
	over_fork(i, pipe, true);
}

static void pairs(int i)
{
	over_fork(i, make_pair, true);
}

static void eventfds(int i)
{
	memset(page, 1, 8);
	over_fork(i, make_eventfd, true);
}

static void files(int i)
{
	over_fork(i, make_file, false);
}

void test_cycles_pipes(void)
{
	cycles(pipes, children);
}

void test_cycles_pairs(void)
{
	cycles(pairs, children);
}

void test_cycles_eventfds(void)
{
	cycles(eventfds, children);
}

void test_cycles_files(void)
{
	cycles(files, children);
}

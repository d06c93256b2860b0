/* sysvcases.c: cases of msgop(2), semop(2), semctl(2), shmop(2) and shmctl(2) that their own files do not have (see ipc-cases.txt). */
#include "test.h"

#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#ifndef MSG_COPY
#define MSG_COPY 040000 /* Linux's: musl has no name for it */
#endif

#define STRANGER 1234 /* a user, and a group, that is not root's */

union arg {
	int val;
	struct semid_ds *buf;
};

static void become_stranger(void)
{
	EQ(setgid(STRANGER), 0);
	EQ(setuid(STRANGER), 0);
}

/* ---- message queues ---- */

static struct {
	long type;
	char text[16];
} message;

/* MSG_COPY shows the message with a number and leaves it where it is, and the queue's state, too. */
void test_msg_copy(void)
{
	int id = msgget(IPC_PRIVATE, 0600);
	struct msqid_ds ds;

	CHECK(id >= 0);
	for (int i = 0; i < 3; i++) {
		message.type = 3 - i;
		snprintf(message.text, sizeof(message.text), "number %d", i);
		EQ(msgsnd(id, &message, sizeof(message.text), 0), 0);
	}
	FAILS(msgrcv(id, &message, sizeof(message.text), 0, MSG_COPY), EINVAL);
	FAILS(msgrcv(id, &message, sizeof(message.text), 0, MSG_COPY | IPC_NOWAIT | MSG_EXCEPT), EINVAL);
	FAILS(msgrcv(id, &message, sizeof(message.text), 3, MSG_COPY | IPC_NOWAIT), ENOMSG);
	FAILS(msgrcv(id, &message, sizeof(message.text), -1, MSG_COPY | IPC_NOWAIT), ENOMSG);
	FAILS(msgrcv(id, &message, 3, 0, MSG_COPY | IPC_NOWAIT), E2BIG);
	FAILS(msgrcv(id, &message, 3, 0, MSG_COPY | IPC_NOWAIT | MSG_NOERROR), EINVAL);
	for (int i = 2; i >= 0; i--) {
		EQ(msgrcv(id, &message, sizeof(message.text), i, MSG_COPY | IPC_NOWAIT), sizeof(message.text));
		EQ(message.type, 3 - i);
		EQ(message.text[7], '0' + i);
	}
	EQ(msgctl(id, IPC_STAT, &ds), 0);
	EQ(ds.msg_qnum, 3);
	EQ(ds.msg_lrpid, 0);
	EQ(ds.msg_rtime, 0);
	EQ(msgrcv(id, &message, sizeof(message.text), 0, 0), sizeof(message.text));
	EQ(message.type, 3);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

/* ---- semaphores ---- */

void test_sem_permissions(void)
{
	key_t key = 0x6b7c << 16 | (getpid() & 0xffff);
	int id = semget(key, 2, IPC_CREAT | 0600), last;
	struct sembuf up = {0, 1, 0}, zero = {0, 0, 0};
	struct semid_ds ds;
	pid_t pid;

	CHECK(id >= 0);
	EQ(semctl(id, 0, IPC_STAT, (union arg){.buf = &ds}), 0);
	FAILS(syscall(SYS_semctl, id, 0, IPC_STAT, 8), EFAULT);
	FAILS(syscall(SYS_semctl, id, 0, IPC_SET, 8), EFAULT);
	FAILS(semctl(-1, 0, IPC_STAT, (union arg){.buf = &ds}), EINVAL);
	FAILS(semctl(id, 0, -1), EINVAL);
	last = semctl(0, 0, IPC_INFO, (union arg){.buf = (void *)page});
	if (geteuid()) {
		EQ(semctl(id, 0, IPC_RMID), 0);
		return;
	}
	IN_CHILD(pid) {
		bool seen = false;

		become_stranger();
		FAILS(semget(key, 2, 0600), EACCES);
		FAILS(semop(id, &up, 1), EACCES);
		FAILS(semop(id, &zero, 1), EACCES);
		FAILS(semctl(id, 0, IPC_STAT, (union arg){.buf = &ds}), EACCES);
		FAILS(semctl(id, 0, GETVAL), EACCES);
		FAILS(semctl(id, 0, SETVAL, (union arg){.val = 1}), EACCES);
		FAILS(semctl(id, 0, IPC_SET, (union arg){.buf = &ds}), EPERM);
		FAILS(semctl(id, 0, IPC_RMID), EPERM);
		for (int i = 0; i <= last; i++) /* what /proc/sysvipc shows to everybody */
			seen = seen || syscall(SYS_semctl, i, 0, SEM_STAT_ANY, &ds) == id;
		CHECK(seen);
	}
	EQ(ended(pid), 0);
	ds.sem_perm.mode = 0604;
	EQ(semctl(id, 0, IPC_SET, (union arg){.buf = &ds}), 0);
	IN_CHILD(pid) {
		become_stranger();
		EQ(semop(id, &zero, 1), 0);
		FAILS(semop(id, &up, 1), EACCES);
		EQ(semctl(id, 0, GETVAL), 0);
		FAILS(semctl(id, 0, SETVAL, (union arg){.val = 1}), EACCES);
	}
	EQ(ended(pid), 0);
	ds.sem_perm.uid = STRANGER;
	EQ(semctl(id, 0, IPC_SET, (union arg){.buf = &ds}), 0);
	IN_CHILD(pid) {
		become_stranger();
		EQ(semctl(id, 0, SETVAL, (union arg){.val = 1}), 0);
		EQ(semctl(id, 0, IPC_RMID), 0);
	}
	EQ(ended(pid), 0);
}

static int set_of_threads;

static void *post(void *arg)
{
	struct sembuf up = {0, 1, SEM_UNDO};

	EQ(semop(set_of_threads, &up, 1), 0);
	return arg;
}

/* What a thread did is undone when its process ends, and not before. */
void test_sem_undo_thread(void)
{
	struct sembuf down = {0, -1, SEM_UNDO};
	pthread_t t;
	pid_t pid;

	set_of_threads = semget(IPC_PRIVATE, 1, 0600);
	CHECK(set_of_threads >= 0);
	IN_CHILD(pid) {
		for (int i = 0; i < 2; i++) {
			EQ(pthread_create(&t, NULL, post, NULL), 0);
			EQ(pthread_join(t, NULL), 0);
		}
		EQ(semctl(set_of_threads, 0, GETVAL), 2);
		EQ(semop(set_of_threads, &down, 1), 0);
	}
	EQ(ended(pid), 0);
	EQ(semctl(set_of_threads, 0, GETVAL), 0);
	EQ(semctl(set_of_threads, 0, IPC_RMID), 0);
}

/* ---- shared memory ---- */

/* Places that are asked for, twice the same memory, and one place for two memories. */
void test_shm_addresses(void)
{
	int id = segment_of(8192), other = segment_of(8192);
	char *p = attach(id), *q = attach(id);

	strcpy(p, "once");
	STR(q, "once");
	EQ(segment_state(id).shm_nattch, 2);
	EQ(shmdt(p), 0);
	EQ(shmdt(q), 0);
	EQ(segment_state(id).shm_nattch, 0);
	CHECK(shmat(id, p, 0) == p);
	STR(p, "once");
	FAILS((long)shmat(other, p, 0), EINVAL);
	FAILS((long)shmat(other, p + 4096, 0), EINVAL);
	EQ(shmdt(p), 0);
	CHECK(shmat(id, p + 100, SHM_RND) == p);
	EQ(shmdt(p), 0);
	FAILS((long)shmat(id, p + 100, 0), EINVAL);
	FAILS((long)shmat(id, (void *)1, SHM_RND | SHM_REMAP), EINVAL);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
	EQ(shmctl(other, IPC_RMID, NULL), 0);
}

/* A child learns of a segment that was made after its birth. Then both attach and detach at once. */
void test_shm_both(void)
{
	int told[2], id;
	pid_t pid;
	char *p;

	EQ(pipe(told), 0);
	IN_CHILD(pid) {
		EQ(read(told[0], &id, sizeof(id)), sizeof(id));
		p = attach(id);
		STR(p, "from the parent");
		EQ(shmdt(p), 0);
		for (int i = 0; i < 500; i++)
			EQ(shmdt(attach(id)), 0);
	}
	id = segment_of(4096);
	p = attach(id);
	strcpy(p, "from the parent");
	EQ(write(told[1], &id, sizeof(id)), sizeof(id));
	for (int i = 0; i < 500; i++)
		EQ(shmdt(attach(id)), 0);
	EQ(ended(pid), 0);
	EQ(segment_state(id).shm_nattch, 1);
	EQ(shmdt(p), 0);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

void test_shm_permissions(void)
{
	key_t key = 0x6b7d << 16 | (getpid() & 0xffff);
	int id = shmget(key, 4096, IPC_CREAT | 0600), last;
	struct shmid_ds ds;
	pid_t pid;
	char *p;

	CHECK(id >= 0);
	EQ(shmctl(id, IPC_STAT, &ds), 0);
	FAILS(shmctl(id, IPC_SET, (void *)8), EFAULT);
	FAILS(shmctl(-1, IPC_STAT, &ds), EINVAL);
	FAILS(shmctl(id, -1, NULL), EINVAL);
	last = shmctl(0, IPC_INFO, (void *)page);
	if (geteuid()) {
		EQ(shmctl(id, IPC_RMID, NULL), 0);
		return;
	}
	IN_CHILD(pid) {
		bool seen = false;

		become_stranger();
		FAILS(shmget(key, 4096, SHM_R), EACCES);
		FAILS(shmget(key, 4096, SHM_W), EACCES);
		FAILS(shmget(key, 4096, SHM_R | SHM_W), EACCES);
		EQ(shmget(key, 4096, 0), id);
		FAILS((long)shmat(id, NULL, 0), EACCES);
		FAILS((long)shmat(id, NULL, SHM_RDONLY), EACCES);
		FAILS(shmctl(id, IPC_STAT, &ds), EACCES);
		FAILS(shmctl(id, IPC_SET, &ds), EPERM);
		FAILS(shmctl(id, IPC_RMID, NULL), EPERM);
		FAILS(shmctl(id, SHM_LOCK, NULL), EPERM);
		FAILS(shmctl(id, SHM_UNLOCK, NULL), EPERM);
		for (int i = 0; i <= last; i++)
			seen = seen || shmctl(i, SHM_STAT_ANY, &ds) == id;
		CHECK(seen);
	}
	EQ(ended(pid), 0);
	ds.shm_perm.mode = 0604;
	EQ(shmctl(id, IPC_SET, &ds), 0);
	IN_CHILD(pid) {
		become_stranger();
		EQ(shmget(key, 4096, 04), id);
		FAILS((long)shmat(id, NULL, 0), EACCES);
		p = shmat(id, NULL, SHM_RDONLY);
		CHECK(p != (void *)-1);
		EQ(shmdt(p), 0);
	}
	EQ(ended(pid), 0);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* ---- no room ---- */

/* On Linux in a namespace of its own, where nobody else needs the room. */
static void own_namespace(void)
{
	if (!in_pvm())
		EQ(unshare(CLONE_NEWIPC | (geteuid() ? CLONE_NEWUSER : 0)), 0);
}

static int new_queue(void)
{
	return msgget(IPC_PRIVATE, 0600);
}

static int new_set(void)
{
	return semget(IPC_PRIVATE, 1, 0600);
}

static int new_segment(void)
{
	return shmget(IPC_PRIVATE, 4096, 0600);
}

static int drop_queue(int id)
{
	return msgctl(id, IPC_RMID, NULL);
}

static int drop_set(int id)
{
	return semctl(id, 0, IPC_RMID);
}

static int drop_segment(int id)
{
	return shmctl(id, IPC_RMID, NULL);
}

/* When there is no room for one more that is ENOSPC, and what is removed makes room. */
static void fill_room(int (*make)(void), int (*drop)(int id))
{
	static int ids[40000];
	pid_t pid;

	IN_CHILD(pid) {
		int n = 0;

		own_namespace();
		while ((ids[n] = make()) >= 0)
			n++;
		EQ(errno, ENOSPC);
		CHECK(n > 100);
		FAILS(make(), ENOSPC);
		EQ(drop(ids[n / 2]), 0);
		ids[n / 2] = make();
		CHECK(ids[n / 2] >= 0);
		FAILS(make(), ENOSPC);
		while (n--)
			EQ(drop(ids[n]), 0);
		ids[0] = make();
		CHECK(ids[0] >= 0);
		EQ(drop(ids[0]), 0);
	}
	EQ(ended(pid), 0);
}

void test_msg_no_room(void)
{
	fill_room(new_queue, drop_queue);
}

void test_sem_no_room(void)
{
	fill_room(new_set, drop_set);
}

void test_shm_no_room(void)
{
	fill_room(new_segment, drop_segment);
}

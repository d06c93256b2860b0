/* shms.c: tests of shared memory, from shmget(2), shmop(2) and shmctl(2), and of what is built on it. */
#include "test.h"

#include <semaphore.h>
#include <setjmp.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int segment_of(size_t size)
{
	int id = shmget(IPC_PRIVATE, size, 0600);

	CHECK(id >= 0);
	return id;
}

char *attach(int id)
{
	char *p = shmat(id, NULL, 0);

	CHECK(p != (void *)-1);
	return p;
}

struct shmid_ds segment_state(int id)
{
	struct shmid_ds ds;

	EQ(shmctl(id, IPC_STAT, &ds), 0);
	return ds;
}

static void until(int id, unsigned long attached)
{
	while (segment_state(id).shm_nattch != attached)
		sleep_ms(1);
}

static void *shared_pages(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

void test_shm_get(void)
{
	key_t key = 0x6b7a << 16 | (getpid() & 0xffff);
	struct shmid_ds ds;
	int a;

	FAILS(shmget(key, 100, 0), ENOENT);
	FAILS(shmget(key, 0, IPC_CREAT | 0600), EINVAL);
	a = shmget(key, 5000, IPC_CREAT | 0640);
	CHECK(a >= 0);
	EQ(shmget(key, 0, 0), a);
	EQ(shmget(key, 5000, 0), a);
	FAILS(shmget(key, 5001, 0), EINVAL);
	FAILS(shmget(key, 5000, IPC_CREAT | IPC_EXCL), EEXIST);
	ds = segment_state(a);
	EQ(ds.shm_segsz, 5000);
	EQ(ds.shm_cpid, getpid());
	EQ(ds.shm_lpid, 0);
	EQ(ds.shm_nattch, 0);
	EQ(ds.shm_atime, 0);
	EQ(ds.shm_perm.mode, 0640);
	EQ(shmctl(a, IPC_RMID, NULL), 0);
	FAILS(shmctl(a, IPC_RMID, NULL), EINVAL);
	FAILS(shmget(key, 0, 0), ENOENT);
	FAILS(shmat(a, NULL, 0) == (void *)-1 ? -1 : 0, EINVAL);
}

void test_shm_attach(void)
{
	int id = segment_of(10000);
	char *p = attach(id);
	struct shmid_ds ds = segment_state(id);

	for (int i = 0; i < 10000; i++)
		CHECK(!p[i]);
	EQ((uintptr_t)p % 4096, 0);
	EQ(ds.shm_nattch, 1);
	EQ(ds.shm_lpid, getpid());
	CHECK(ds.shm_atime >= time(NULL) - 5);
	EQ(ds.shm_dtime, 0);
	strcpy(p, "kept");
	FAILS(shmdt(p + 1), EINVAL);
	FAILS(shmdt(NULL), EINVAL);
	EQ(shmdt(p), 0);
	FAILS(shmdt(p), EINVAL);
	ds = segment_state(id);
	EQ(ds.shm_nattch, 0);
	CHECK(ds.shm_dtime >= time(NULL) - 5);
	p = shmat(id, NULL, SHM_RDONLY);
	CHECK(p != (void *)-1);
	STR(p, "kept");
	EQ(shmdt(p), 0);
	FAILS((long)shmat(-1, NULL, 0), EINVAL);
	FAILS((long)shmat(id + 1, NULL, 0), EINVAL);
	FAILS((long)shmat(id, (void *)4097, 0), EINVAL);
	FAILS((long)shmat(id, NULL, SHM_REMAP), EINVAL);
	FAILS(shmctl(id, 4711, NULL), EINVAL);
	FAILS(shmctl(id, IPC_STAT, (void *)8), EFAULT);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* A place that is asked for: the one where it is anyway is the only one here. */
void test_shm_place(void)
{
	int id = segment_of(8192);
	char *p = attach(id);

	EQ(shmdt(p), 0);
	CHECK(shmat(id, p, 0) == p);
	EQ(shmdt(p), 0);
	CHECK(shmat(id, p + 100, SHM_RND) == p);
	EQ(shmdt(p), 0);
	FAILS((long)shmat(id, p + 4096, 0), EINVAL);
	FAILS((long)shmat(id, p, SHM_EXEC), EINVAL);
	CHECK(shmat(id, NULL, 0) == p && shmat(id, NULL, 0) == p);
	EQ(segment_state(id).shm_nattch, 2);
	EQ(shmdt(p), 0);
	EQ(shmdt(p), 0);
	FAILS(shmdt(p), EINVAL);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

static sigjmp_buf after_fault;
static void *fault_at;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	fault_at = info->si_code == SEGV_ACCERR ? info->si_addr : NULL;
	siglongjmp(after_fault, 1);
}

/* Whether a write is a fault, for want of permission. */
static int refuses(volatile char *p)
{
	fault_at = NULL;
	if (!sigsetjmp(after_fault, 1)) {
		*p = 'w';
		return 0;
	}
	return fault_at == p;
}

/* Attached with SHM_RDONLY memory can be read, and is what others write, but not written, by nobody. */
void test_shm_read_only(void)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	int id = segment_of(3 * 4096), fds[2], status;
	char *p = attach(id), *more;
	pid_t pid;

	EQ(sigaction(SIGSEGV, &act, NULL), 0);
	strcpy(p + 4096, "written");
	EQ(shmdt(p), 0);
	p = shmat(id, NULL, SHM_RDONLY);
	CHECK(p != (void *)-1);
	STR(p + 4096, "written");
	CHECK(refuses(p) && refuses(p + 4096) && refuses(p + 3 * 4096 - 1));
	STR(p + 4096, "written");
	EQ(pipe(fds), 0);
	EQ(write(fds[1], "bytes", 5), 5);
	FAILS(read(fds[0], p, 5), EFAULT);
	EQ(write(fds[1], p + 4096, 7), 7);
	FAILS(mprotect(p, 4096, PROT_READ | PROT_WRITE), EACCES);
	EQ(mprotect(p, 4096, PROT_READ), 0);

	/* A child may not write either, until it attaches the segment so. */
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(refuses(p) && refuses(p + 4096));
		EQ(shmdt(p), 0);
		more = attach(id);
		strcpy(more + 4096, "by the child");
		EQ(shmdt(more), 0);
		_exit(0);
	}
	EQ(waitpid(pid, &status, 0), pid);
	EQ(status, 0);
	STR(p + 4096, "by the child");
	CHECK(refuses(p));
	pid = fork(); /* a second fork is another way than the first */
	CHECK(pid >= 0);
	if (!pid)
		_exit(!refuses(p));
	EQ(waitpid(pid, &status, 0), pid);
	EQ(status, 0);
	CHECK(refuses(p));

	EQ(shmdt(p), 0);
	p = attach(id);
	CHECK(!refuses(p) && *p == 'w');
	EQ(shmdt(p), 0);
	p = shmat(id, NULL, SHM_RDONLY);
	CHECK(p != (void *)-1);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
	EQ(shmdt(p), 0);
	/* Its pages may be others' now. */
	id = segment_of(3 * 4096);
	p = attach(id);
	CHECK(!refuses(p) && !refuses(p + 2 * 4096));
	EQ(shmdt(p), 0);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
	close(fds[0]);
	close(fds[1]);
	signal(SIGSEGV, SIG_DFL);
}

void test_shm_fork(void)
{
	int id = segment_of(10000);
	volatile char *p = attach(id);
	pid_t pid, killed, grandchild;

	IN_CHILD(pid) {
		EQ(segment_state(id).shm_nattch, 2);
		while (p[1] != 'x')
			sleep_ms(1);
		p[9999] = 'y';
		IN_CHILD(grandchild)
			EQ(segment_state(id).shm_nattch, 3);
		EQ(ended(grandchild), 0);
		EQ(shmdt((void *)p), 0);
		EQ(segment_state(id).shm_nattch, 1);
		EQ(segment_state(id).shm_lpid, getpid());
		CHECK(shmat(id, NULL, 0) != (void *)-1);
	}
	p[1] = 'x';
	EQ(ended(pid), 0);
	EQ(p[9999], 'y');
	until(id, 1);
	EQ(segment_state(id).shm_lpid, pid);
	IN_CHILD(killed)
		pause();
	until(id, 2);
	EQ(kill(killed, SIGKILL), 0);
	EQ(ended(killed), SIGKILL);
	until(id, 1);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* A removed segment goes with its last attachment. */
void test_shm_removed(void)
{
	key_t key = 0x6b7b << 16 | (getpid() & 0xffff);
	int id = shmget(key, 4096, IPC_CREAT | 0600), other;
	volatile char *p = attach(id);
	pid_t pid;

	EQ(shmctl(id, IPC_RMID, NULL), 0);
	CHECK(segment_state(id).shm_perm.mode & 01000);
	EQ(segment_state(id).shm_perm.__key, IPC_PRIVATE);
	FAILS(shmget(key, 0, 0), ENOENT);
	other = shmget(key, 4096, IPC_CREAT | 0600);
	CHECK(other >= 0 && other != id);
	IN_CHILD(pid) {
		EQ(segment_state(id).shm_nattch, 2);
		p[0] = 'c';
	}
	EQ(ended(pid), 0);
	EQ(p[0], 'c');
	until(id, 1);
	EQ(shmdt((void *)p), 0);
	FAILS(shmctl(id, IPC_STAT, (void *)page), EINVAL);
	EQ(shmctl(other, IPC_RMID, NULL), 0);
}

/* The child has it, whatever its parent does while it is born. */
void test_shm_removed_at_birth(void)
{
	for (int i = 0; i < (children + 1) / 2; i++) {
		int id = segment_of(4096);
		volatile char *p = attach(id);
		pid_t pid;

		p[7] = (char)i;
		IN_CHILD(pid) {
			EQ(p[7], (char)i);
			EQ(shmdt((void *)p), 0);
		}
		EQ(shmctl(id, IPC_RMID, NULL), 0);
		EQ(shmdt((void *)p), 0);
		EQ(ended(pid), 0);
		while (!shmctl(id, IPC_STAT, (struct shmid_ds *)page))
			sleep_ms(1);
		EQ(errno, EINVAL);
	}
}

void test_shm_control(void)
{
	int id = segment_of(4096), last, found = 0;
	struct shmid_ds ds = segment_state(id);
	struct shm_info info;
	struct shminfo limits;

	ds.shm_perm.mode = 0644;
	EQ(shmctl(id, IPC_SET, &ds), 0);
	EQ(segment_state(id).shm_perm.mode & 0777, 0644);
	EQ(shmctl(id, SHM_LOCK, NULL), 0);
	CHECK(segment_state(id).shm_perm.mode & 02000);
	EQ(shmctl(id, SHM_UNLOCK, NULL), 0);
	CHECK(!(segment_state(id).shm_perm.mode & 02000));
	CHECK(shmctl(0, IPC_INFO, (struct shmid_ds *)&limits) >= 0);
	EQ(limits.shmmin, 1);
	last = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
	CHECK(last >= 0 && info.used_ids >= 1 && info.shm_tot >= 1);
	for (int i = 0; i <= last; i++)
		found += shmctl(i, SHM_STAT, &ds) == id;
	EQ(found, 1);
	CHECK(in_sysvipc("shm", id));
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* Calls move bytes in and out of it like of any other memory. */
void test_shm_calls(void)
{
	int id = segment_of(8192), p[2];
	char *m = attach(id);

	EQ(pipe(p), 0);
	memset(m, 'a', 8192);
	EQ(write(p[1], m, 8192), 8192);
	memset(m, 0, 8192);
	EQ(read(p[0], m, 8192), 8192);
	for (int i = 0; i < 8192; i++)
		CHECK(m[i] == 'a');
	strcpy(m + 8192 - 5, "name");
	EQ(mkdir(m + 8192 - 5, 0755), 0);
	EQ(rmdir("name"), 0);
	EQ(shmdt(m), 0);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

void test_shm_cycles(void)
{
	for (int i = 0; i < 3000; i++) {
		int id = segment_of(i % 50 ? 4096 : 1 << 20);
		char *p = attach(id);

		CHECK(!p[100]);
		p[100] = 1;
		if (i % 2)
			EQ(shmdt(p), 0);
		EQ(shmctl(id, IPC_RMID, NULL), 0);
		if (i % 2 == 0)
			EQ(shmdt(p), 0);
	}
	for (int i = 0; i < 3000; i++) {
		char *p = shared_pages(i % 50 ? 4096 : 1 << 20);

		CHECK(!p[100]);
		p[100] = 1;
		EQ(munmap(p, i % 50 ? 4096 : 1 << 20), 0);
	}
}

/* ---- mappings ---- */

void test_shared_mapping(void)
{
	volatile int *p = shared_pages(5 * 4096);
	pid_t pid, grandchild;

	for (int i = 0; i < 5 * 1024; i++)
		CHECK(!p[i]);
	IN_CHILD(pid) {
		p[0] = 1;
		IN_CHILD(grandchild)
			p[5 * 1024 - 1] = 2;
		EQ(ended(grandchild), 0);
		EQ(p[5 * 1024 - 1], 2);
		EQ(munmap((void *)p, 5 * 4096), 0);
	}
	EQ(ended(pid), 0);
	EQ(p[0], 1);
	EQ(p[5 * 1024 - 1], 2);
	EQ(madvise((void *)p, 4096, MADV_DONTNEED), 0);
	EQ(p[0], 1);
	EQ(munmap((char *)p + 4096, 4096), 0);
	p[2 * 1024] = 5;
	EQ(p[0], 1);
	EQ(munmap((void *)p, 5 * 4096), 0);
}

/* As people have it who know System V. */
void test_shared_zeroes(void)
{
	int fd = open("/dev/zero", O_RDWR);
	volatile int *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid_t pid;

	CHECK(p != MAP_FAILED);
	close(fd);
	CHECK(!p[0] && !p[2047]);
	IN_CHILD(pid)
		p[2047] = 7;
	EQ(ended(pid), 0);
	EQ(p[2047], 7);
	EQ(munmap((void *)p, 8192), 0);
}

struct both {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
	pthread_rwlock_t rwlock;
	sem_t sem, back;
	volatile long count, turn;
};

static struct both *make_both(void)
{
	struct both *b = shared_pages(sizeof(*b));
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_barrierattr_t ba;
	pthread_rwlockattr_t ra;

	pthread_mutexattr_init(&ma);
	EQ(pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_mutex_init(&b->mutex, &ma), 0);
	pthread_condattr_init(&ca);
	EQ(pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_cond_init(&b->cond, &ca), 0);
	pthread_barrierattr_init(&ba);
	EQ(pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_barrier_init(&b->barrier, &ba, 3), 0);
	pthread_rwlockattr_init(&ra);
	EQ(pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_rwlock_init(&b->rwlock, &ra), 0);
	EQ(sem_init(&b->sem, 1, 0), 0);
	EQ(sem_init(&b->back, 1, 0), 0);
	return b;
}

void test_shared_mutex(void)
{
	struct both *b = make_both();
	pid_t pids[3];

	for (int i = 0; i < 3; i++)
		IN_CHILD(pids[i])
			for (int k = 0; k < 3000; k++) {
				EQ(pthread_mutex_lock(&b->mutex), 0);
				b->count++;
				EQ(pthread_mutex_unlock(&b->mutex), 0);
			}
	for (int i = 0; i < 3; i++)
		EQ(ended(pids[i]), 0);
	EQ(b->count, 9000);
	/* One that has to sleep for it. */
	EQ(pthread_mutex_lock(&b->mutex), 0);
	IN_CHILD(pids[0]) {
		EQ(pthread_mutex_lock(&b->mutex), 0);
		EQ(b->count, 1);
		EQ(pthread_mutex_unlock(&b->mutex), 0);
	}
	sleep_ms(30);
	b->count = 1;
	EQ(pthread_mutex_unlock(&b->mutex), 0);
	EQ(ended(pids[0]), 0);
	for (int i = 0; i < 2; i++)
		IN_CHILD(pids[i])
			for (int k = 0; k < 500; k++) {
				EQ(pthread_rwlock_wrlock(&b->rwlock), 0);
				b->count++;
				EQ(pthread_rwlock_unlock(&b->rwlock), 0);
			}
	EQ(ended(pids[0]), 0);
	EQ(ended(pids[1]), 0);
	EQ(b->count, 1001);
	munmap(b, sizeof(*b));
}

void test_shared_cond(void)
{
	struct both *b = make_both();
	pid_t pids[3];
	int rounds = 200;

	for (int i = 0; i < 3; i++)
		IN_CHILD(pids[i]) {
			EQ(pthread_mutex_lock(&b->mutex), 0);
			for (int k = 0; k < rounds; k++) {
				while (b->turn % 3 != i)
					EQ(pthread_cond_wait(&b->cond, &b->mutex), 0);
				b->turn++;
				EQ(pthread_cond_broadcast(&b->cond), 0);
			}
			EQ(pthread_mutex_unlock(&b->mutex), 0);
		}
	for (int i = 0; i < 3; i++)
		EQ(ended(pids[i]), 0);
	EQ(b->turn, 3 * rounds);
	munmap(b, sizeof(*b));
}

void test_shared_barrier(void)
{
	struct both *b = make_both();
	pid_t pids[3];

	for (int i = 0; i < 3; i++)
		IN_CHILD(pids[i])
			for (int k = 0; k < 50; k++) {
				int r;

				__atomic_fetch_add(&b->count, 1, __ATOMIC_SEQ_CST);
				r = pthread_barrier_wait(&b->barrier);
				CHECK(!r || r == PTHREAD_BARRIER_SERIAL_THREAD);
				CHECK(b->count >= 3 * (k + 1));
			}
	for (int i = 0; i < 3; i++)
		EQ(ended(pids[i]), 0);
	EQ(b->count, 150);
	munmap(b, sizeof(*b));
}

void test_shared_semaphore(void)
{
	struct both *b = make_both();
	struct timespec ts;
	pid_t pid;

	IN_CHILD(pid)
		for (int i = 0; i < 500; i++) {
			EQ(sem_wait(&b->sem), 0);
			b->count++;
			EQ(sem_post(&b->back), 0);
		}
	for (int i = 0; i < 500; i++) {
		EQ(sem_post(&b->sem), 0);
		EQ(sem_wait(&b->back), 0);
		EQ(b->count, i + 1);
	}
	EQ(ended(pid), 0);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 30000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	FAILS(sem_timedwait(&b->sem, &ts), ETIMEDOUT);
	/* In a segment, too. */
	munmap(b, sizeof(*b));
	int id = segment_of(4096);
	sem_t *s = (sem_t *)attach(id);

	EQ(sem_init(s, 1, 0), 0);
	IN_CHILD(pid)
		EQ(sem_wait(s), 0);
	sleep_ms(20);
	EQ(sem_post(s), 0);
	EQ(ended(pid), 0);
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* Several threads here, several there. */
static void *poster(void *arg)
{
	struct both *b = arg;

	for (int i = 0; i < 200; i++) {
		EQ(sem_wait(&b->sem), 0);
		__atomic_fetch_add(&b->count, 1, __ATOMIC_SEQ_CST);
		EQ(sem_post(&b->sem), 0);
	}
	return NULL;
}

void test_shared_threads(void)
{
	struct both *b = make_both();
	pthread_t t[3];
	pid_t pids[2];

	for (int i = 0; i < 2; i++)
		IN_CHILD(pids[i]) {
			for (int k = 0; k < 3; k++)
				EQ(pthread_create(&t[k], NULL, poster, b), 0);
			for (int k = 0; k < 3; k++)
				EQ(pthread_join(t[k], NULL), 0);
		}
	EQ(sem_post(&b->sem), 0);
	EQ(sem_post(&b->sem), 0);
	for (int i = 0; i < 2; i++)
		EQ(ended(pids[i]), 0);
	EQ(b->count, 1200);
	munmap(b, sizeof(*b));
}

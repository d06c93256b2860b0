/* robust.c: tests of robust mutexes: whoever ends while it has one, and however, the next one hears of it. */
#include "test.h"

#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static pthread_mutex_t *new_mutexes(int n, int type, int robust)
{
	pthread_mutex_t *m = mmap(NULL, (size_t)n * sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;

	CHECK(m != MAP_FAILED);
	pthread_mutexattr_init(&a);
	EQ(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_mutexattr_settype(&a, type), 0);
	EQ(pthread_mutexattr_setrobust(&a, robust), 0);
	for (int i = 0; i < n; i++)
		EQ(pthread_mutex_init(&m[i], &a), 0);
	return m;
}

static pthread_mutex_t *new_mutex(void)
{
	return new_mutexes(1, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
}

/* It was handed on; now it is as ever. */
static void recovered(pthread_mutex_t *m)
{
	EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EQ(pthread_mutex_consistent(m), 0);
	EQ(pthread_mutex_unlock(m), 0);
	EQ(pthread_mutex_lock(m), 0);
	EQ(pthread_mutex_consistent(m), EINVAL);
	EQ(pthread_mutex_unlock(m), 0);
}

static sem_t *new_semaphore(void)
{
	sem_t *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(s != MAP_FAILED);
	EQ(sem_init(s, 1, 0), 0);
	return s;
}

/* ---- threads ---- */

static void *takes(void *m)
{
	EQ(pthread_mutex_lock(m), 0);
	return NULL;
}

void test_robust_thread(void)
{
	pthread_mutex_t mine, *m = new_mutex();
	pthread_mutexattr_t a;
	pthread_t t;

	pthread_mutexattr_init(&a);
	EQ(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST), 0);
	EQ(pthread_mutex_init(&mine, &a), 0);
	for (int i = 0; i < 3; i++, m = &mine) {
		EQ(pthread_create(&t, NULL, takes, m), 0);
		EQ(pthread_join(t, NULL), 0);
		recovered(m);
	}
}

/* One that nobody has made consistent is of no use any more. */
void test_robust_given_up(void)
{
	pthread_mutex_t *m = new_mutex();
	pid_t pid;

	IN_CHILD(pid)
		EQ(pthread_mutex_lock(m), 0);
	EQ(ended(pid), 0);
	EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EQ(pthread_mutex_unlock(m), 0);
	IN_CHILD(pid) /* once: glibc 2.36 waits for ever at the second time */
		EQ(pthread_mutex_lock(m), ENOTRECOVERABLE);
	EQ(ended(pid), 0);
}

/* ---- members ---- */

enum way { LEAVES, IS_KILLED, CRASHES, RAISES, WAYS };

static void end_by(enum way way)
{
	switch (way) {
	case LEAVES: _exit(0);
	case IS_KILLED: for (;;) pause();
	case CRASHES: signal(SIGSEGV, SIG_DFL); raise(SIGSEGV); break;
	default: raise(SIGKILL);
	}
}

static void ended_by(pid_t pid, enum way way)
{
	if (way == IS_KILLED)
		EQ(kill(pid, SIGKILL), 0);
	EQ(ended(pid) & 0x7f, way == LEAVES ? 0 : way == CRASHES ? SIGSEGV : SIGKILL);
}

void test_robust_ends(void)
{
	sem_t *has = new_semaphore();
	pid_t pid;

	for (enum way way = 0; way < WAYS; way++)
		for (int type = PTHREAD_MUTEX_NORMAL; type <= PTHREAD_MUTEX_ERRORCHECK; type++) {
			pthread_mutex_t *m = new_mutexes(1, type, PTHREAD_MUTEX_ROBUST);

			IN_CHILD(pid) {
				EQ(pthread_mutex_lock(m), 0);
				EQ(sem_post(has), 0);
				end_by(way);
			}
			EQ(sem_wait(has), 0);
			ended_by(pid, way);
			recovered(m);
			EQ(munmap(m, sizeof(*m)), 0);
		}
}

/* Who hears of it may read the memory, and no more. */
void test_robust_read_only(void)
{
	int id = shmget(IPC_PRIVATE, sizeof(pthread_mutex_t), 0600);
	sem_t *has = new_semaphore();
	pthread_mutexattr_t a;
	pthread_mutex_t *m;
	pid_t pid;

	CHECK(id >= 0);
	pthread_mutexattr_init(&a);
	EQ(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST), 0);
	for (enum way way = 0; way < WAYS; way++) {
		m = shmat(id, NULL, 0);
		EQ(pthread_mutex_init(m, &a), 0);
		EQ(shmdt(m), 0);
		IN_CHILD(pid) {
			EQ(pthread_mutex_lock(shmat(id, NULL, 0)), 0);
			EQ(sem_post(has), 0);
			end_by(way);
		}
		m = shmat(id, NULL, SHM_RDONLY);
		EQ(sem_wait(has), 0);
		ended_by(pid, way);
		sleep_ms(20); /* it is buried */
		EQ(shmdt(m), 0);
		m = shmat(id, NULL, 0);
		recovered(m);
		EQ(shmdt(m), 0);
	}
	EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* Those that wait for it get it, one after the other, and the first hears why. */
void test_robust_waiters(void)
{
	enum { WAITERS = 3 };
	pthread_mutex_t *m = new_mutex();
	sem_t *has = new_semaphore(), *heard = new_semaphore();
	pid_t owner, pids[WAITERS];
	int value;

	for (enum way way = 0; way < WAYS; way++) {
		IN_CHILD(owner) {
			EQ(pthread_mutex_lock(m), 0);
			EQ(sem_post(has), 0);
			sleep_ms(way == IS_KILLED ? 0 : 60);
			end_by(way);
		}
		EQ(sem_wait(has), 0);
		for (int i = 0; i < WAITERS; i++)
			IN_CHILD(pids[i]) {
				int r = pthread_mutex_lock(m);

				if (r == EOWNERDEAD) {
					EQ(sem_post(heard), 0);
					EQ(pthread_mutex_consistent(m), 0);
				} else {
					EQ(r, 0);
				}
				sleep_ms(1);
				EQ(pthread_mutex_unlock(m), 0);
			}
		sleep_ms(20);
		ended_by(owner, way);
		for (int i = 0; i < WAITERS; i++)
			EQ(ended(pids[i]), 0);
		EQ(sem_wait(heard), 0);
		EQ(sem_getvalue(heard, &value), 0);
		EQ(value, 0);
	}
}

/* Many at once, in several segments, taken and let go of in every order. */
void test_robust_lists(void)
{
	enum { SETS = 3, EACH = 150 };
	sem_t *has = new_semaphore();
	pthread_mutex_t *m[SETS];
	pid_t pid;

	for (int s = 0; s < SETS; s++)
		m[s] = new_mutexes(EACH, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
	for (enum way way = 0; way < WAYS; way++) {
		IN_CHILD(pid) {
			for (int i = 0; i < SETS * EACH; i++)
				EQ(pthread_mutex_lock(&m[i % SETS][i / SETS * 7 % EACH]), 0);
			for (int i = 0; i < SETS * EACH; i++)
				if (i % 4 == 0)
					EQ(pthread_mutex_unlock(&m[i % SETS][i / SETS * 11 % EACH]), 0);
			EQ(sem_post(has), 0);
			end_by(way);
		}
		EQ(sem_wait(has), 0);
		ended_by(pid, way);
		for (int i = 0; i < SETS * EACH; i++) {
			pthread_mutex_t *one = &m[i % SETS][i / SETS];
			int r = pthread_mutex_trylock(one);

			CHECK(r == 0 || r == EOWNERDEAD);
			if (r)
				EQ(pthread_mutex_consistent(one), 0);
			EQ(pthread_mutex_unlock(one), 0);
		}
	}
}

static sem_t *thread_has;

static void *takes_and_stays(void *m)
{
	EQ(pthread_mutex_lock(m), 0);
	EQ(sem_post(thread_has), 0);
	for (;;)
		pause();
}

/* Threads of several members have them: each is known from the others. */
void test_robust_threads(void)
{
	enum { MEMBERS = 3, THREADS = 4 };
	pthread_mutex_t *m = new_mutexes(MEMBERS * THREADS, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST);
	pid_t pids[MEMBERS];
	pthread_t t;

	thread_has = new_semaphore();
	for (int i = 0; i < MEMBERS; i++)
		IN_CHILD(pids[i]) {
			for (int k = 0; k < THREADS; k++)
				EQ(pthread_create(&t, NULL, takes_and_stays, &m[i * THREADS + k]), 0);
			pause();
		}
	for (int i = 0; i < MEMBERS * THREADS; i++)
		EQ(sem_wait(thread_has), 0);
	for (int i = 0; i < MEMBERS; i++) {
		EQ(kill(pids[i], SIGKILL), 0);
		EQ(ended(pids[i]), SIGKILL);
		for (int k = 0; k < MEMBERS * THREADS; k++)
			if (k / THREADS == i)
				recovered(&m[k]);
			else
				EQ(pthread_mutex_trylock(&m[k]), k / THREADS < i ? 0 : EBUSY);
		for (int k = 0; k < i * THREADS; k++)
			EQ(pthread_mutex_unlock(&m[k]), 0);
	}
}

/* What is not robust stays with the dead. */
void test_robust_not(void)
{
	pthread_mutex_t *m = new_mutexes(1, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
	struct timespec soon;
	pid_t pid;

	IN_CHILD(pid) {
		EQ(pthread_mutex_lock(m), 0);
		raise(SIGKILL);
	}
	EQ(ended(pid), SIGKILL);
	EQ(pthread_mutex_trylock(m), EBUSY);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	EQ(pthread_mutex_timedlock(m, &soon), ETIMEDOUT);
	EQ(pthread_mutex_consistent(m), EINVAL);
}

/* Members count under a mutex and are killed at any time: the count is what they did, but for the one in the middle. */
void test_robust_count(void)
{
	struct {
		volatile long count, begun;
	} *c = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutex_t *m = new_mutex();
	int dead = 0;

	CHECK(c != MAP_FAILED);
	for (int round = 0; round <= children / 3; round++) {
		pid_t pids[3];

		for (int i = 0; i < 3; i++)
			IN_CHILD(pids[i])
				for (;;) {
					int r = pthread_mutex_lock(m);

					if (r == EOWNERDEAD) {
						c->count = c->begun;
						EQ(pthread_mutex_consistent(m), 0);
					} else {
						EQ(r, 0);
					}
					EQ(c->count, c->begun);
					c->begun++;
					c->count++;
					EQ(pthread_mutex_unlock(m), 0);
				}
		sleep_ms(2 + round % 5);
		for (int i = 0; i < 3; i++)
			EQ(kill(pids[i], SIGKILL), 0);
		for (int i = 0; i < 3; i++)
			EQ(ended(pids[i]), SIGKILL);
		dead += pthread_mutex_lock(m) == EOWNERDEAD && !pthread_mutex_consistent(m);
		c->count = c->begun;
		EQ(pthread_mutex_unlock(m), 0);
	}
	CHECK(dead <= children / 3 + 1 && c->begun);
}

/* threads.c: tests of pthreads and what is under them. */
#include "test.h"

#include <semaphore.h>
#include <sys/syscall.h>

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	EQ(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}

static void *join(pthread_t t)
{
	void *got;

	EQ(pthread_join(t, &got), 0);
	return got;
}

static void after_ms(struct timespec *ts, clockid_t clock, long ms)
{
	clock_gettime(clock, ts);
	ts->tv_nsec += ms * 1000000;
	ts->tv_sec += ts->tv_nsec / 1000000000;
	ts->tv_nsec %= 1000000000;
}

static void *twice(void *arg)
{
	return (void *)(2 * (long)arg);
}

static void *leaves(void *arg)
{
	pthread_exit((char *)arg + 1);
}

void test_thread_join(void)
{
	EQ((long)join(start(twice, (void *)21)), 42);
	EQ((long)join(start(leaves, (void *)6)), 7);
}

static volatile int detached;

static void *detach_self(void *arg)
{
	pthread_detach(pthread_self());
	__atomic_add_fetch(&detached, 1, __ATOMIC_SEQ_CST);
	return arg;
}

void test_thread_detach(void)
{
	detached = 0;
	for (int i = 0; i < 50; i++)
		start(detach_self, NULL);
	for (int i = 0; i < 200 && detached < 50; i++)
		sleep_ms(10);
	EQ(detached, 50);
}

void test_thread_many(void)
{
	pthread_t t[60];

	for (int round = 0; round < 10; round++) {
		for (long i = 0; i < 60; i++)
			t[i] = start(twice, (void *)i);
		for (long i = 0; i < 60; i++)
			EQ((long)join(t[i]), 2 * i);
	}
}

static __thread int tls = 5;
static __thread char tls_block[1000];

static void *use_tls(void *arg)
{
	EQ(tls, 5);
	tls = (int)(long)arg;
	memset(tls_block, tls, sizeof(tls_block));
	errno = tls;
	for (int i = 0; i < 20; i++) {
		sched_yield();
		EQ(tls, (long)arg);
		EQ(errno, (long)arg);
	}
	EQ(tls_block[999], (char)tls);
	return NULL;
}

void test_thread_locals(void)
{
	pthread_t t[8];

	for (long i = 0; i < 8; i++)
		t[i] = start(use_tls, (void *)(i + 10));
	for (int i = 0; i < 8; i++)
		join(t[i]);
	EQ(tls, 5);
}

static pthread_key_t key;
static volatile int destroyed;

static void destroy(void *p)
{
	destroyed += (int)(long)p;
}

static void *use_key(void *arg)
{
	EQ((long)pthread_getspecific(key), 0);
	pthread_setspecific(key, arg);
	return NULL;
}

void test_thread_keys(void)
{
	destroyed = 0;
	EQ(pthread_key_create(&key, destroy), 0);
	join(start(use_key, (void *)3));
	join(start(use_key, (void *)4));
	EQ(destroyed, 7);
	EQ(pthread_key_delete(key), 0);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile long counter;

static void *count_up(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		pthread_mutex_lock(&mutex);
		long was = counter;

		if (i % 100 == 0)
			sched_yield();
		counter = was + 1;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

void test_mutex_counts(void)
{
	pthread_t t[6];

	counter = 0;
	for (int i = 0; i < 6; i++)
		t[i] = start(count_up, (void *)20000);
	for (int i = 0; i < 6; i++)
		join(t[i]);
	EQ(counter, 120000);
}

void test_mutex_kinds(void)
{
	pthread_mutexattr_t a;
	pthread_mutex_t m;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	EQ(pthread_mutex_init(&m, &a), 0);
	EQ(pthread_mutex_lock(&m), 0);
	EQ(pthread_mutex_lock(&m), 0);
	EQ(pthread_mutex_unlock(&m), 0);
	EQ(pthread_mutex_unlock(&m), 0);
	EQ(pthread_mutex_unlock(&m), EPERM);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
	EQ(pthread_mutex_init(&m, &a), 0);
	EQ(pthread_mutex_lock(&m), 0);
	EQ(pthread_mutex_lock(&m), EDEADLK);
	EQ(pthread_mutex_trylock(&m), EBUSY);
	EQ(pthread_mutex_unlock(&m), 0);
}

void test_mutex_timed(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	struct timespec ts;
	int64_t before = now();

	EQ(pthread_mutex_lock(&m), 0);
	after_ms(&ts, CLOCK_REALTIME, 30);
	EQ(pthread_mutex_timedlock(&m, &ts), ETIMEDOUT);
	CHECK(now() - before >= 29000000);
	EQ(pthread_mutex_unlock(&m), 0);
}

static volatile int turn;

static void *ponger(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		pthread_mutex_lock(&mutex);
		while (turn != 1)
			pthread_cond_wait(&cond, &mutex);
		turn = 0;
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

void test_cond_ping_pong(void)
{
	pthread_t t;

	turn = 0;
	t = start(ponger, (void *)2000);
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		while (turn != 0)
			pthread_cond_wait(&cond, &mutex);
		turn = 1;
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
	}
	join(t);
}

static volatile int waiting;

static void *wait_for_turn(void *arg)
{
	pthread_mutex_lock(&mutex);
	waiting++;
	while (turn != 5)
		pthread_cond_wait(&cond, &mutex);
	waiting--;
	pthread_mutex_unlock(&mutex);
	return arg;
}

void test_cond_broadcast(void)
{
	pthread_t t[10];

	turn = waiting = 0;
	for (int i = 0; i < 10; i++)
		t[i] = start(wait_for_turn, NULL);
	while (waiting < 10)
		sleep_ms(1);
	pthread_mutex_lock(&mutex);
	turn = 5;
	pthread_cond_broadcast(&cond); /* requeues those it does not wake at once */
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < 10; i++)
		join(t[i]);
	EQ(waiting, 0);
}

void test_cond_timed(void)
{
	struct timespec ts;
	int64_t before = now();

	pthread_mutex_lock(&mutex);
	after_ms(&ts, CLOCK_REALTIME, 30);
	EQ(pthread_cond_timedwait(&cond, &mutex, &ts), ETIMEDOUT);
	CHECK(now() - before >= 29000000);
	EQ(pthread_mutex_unlock(&mutex), 0);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static volatile long pair[2];

static void *reader(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_rdlock(&rw);
		long a = pair[0];

		if (i % 50 == 0)
			sched_yield();
		EQ(a, pair[1]);
		pthread_rwlock_unlock(&rw);
	}
	return arg;
}

static void *writer(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_wrlock(&rw);
		pair[0]++;
		if (i % 50 == 0)
			sched_yield();
		pair[1]++;
		pthread_rwlock_unlock(&rw);
	}
	return arg;
}

void test_rwlock(void)
{
	pthread_t t[5];

	pair[0] = pair[1] = 0;
	for (int i = 0; i < 5; i++)
		t[i] = start(i < 3 ? reader : writer, NULL);
	for (int i = 0; i < 5; i++)
		join(t[i]);
	EQ(pair[0], 4000);
	EQ(pthread_rwlock_rdlock(&rw), 0);
	EQ(pthread_rwlock_trywrlock(&rw), EBUSY);
	EQ(pthread_rwlock_unlock(&rw), 0);
}

static pthread_barrier_t bar;
static volatile int arrived, serials;

static void *meet(void *arg)
{
	for (int round = 1; round <= 20; round++) {
		__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
		if (pthread_barrier_wait(&bar) == PTHREAD_BARRIER_SERIAL_THREAD)
			__atomic_add_fetch(&serials, 1, __ATOMIC_SEQ_CST);
		CHECK(arrived >= round * 5);
	}
	return arg;
}

void test_barrier(void)
{
	pthread_t t[5];

	arrived = serials = 0;
	EQ(pthread_barrier_init(&bar, NULL, 5), 0);
	for (int i = 0; i < 5; i++)
		t[i] = start(meet, NULL);
	for (int i = 0; i < 5; i++)
		join(t[i]);
	EQ(serials, 20);
	EQ(pthread_barrier_destroy(&bar), 0);
}

static sem_t sem;

static void *poster(void *arg)
{
	for (int i = 0; i < 1000; i++)
		sem_post(&sem);
	return arg;
}

void test_semaphores(void)
{
	struct timespec ts;
	pthread_t t;

	EQ(sem_init(&sem, 0, 0), 0);
	FAILS(sem_trywait(&sem), EAGAIN);
	t = start(poster, NULL);
	for (int i = 0; i < 1000; i++)
		EQ(sem_wait(&sem), 0);
	join(t);
	after_ms(&ts, CLOCK_REALTIME, 20);
	FAILS(sem_timedwait(&sem, &ts), ETIMEDOUT);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static volatile int onces;

static void slow(void)
{
	sleep_ms(10);
	onces++;
}

static void *call_once(void *arg)
{
	pthread_once(&once, slow);
	EQ(onces, 1);
	return arg;
}

void test_once(void)
{
	pthread_t t[5];

	for (int i = 0; i < 5; i++)
		t[i] = start(call_once, NULL);
	for (int i = 0; i < 5; i++)
		join(t[i]);
}

static pthread_spinlock_t spin;

static void *spinner(void *arg)
{
	for (int i = 0; i < 10000; i++) {
		pthread_spin_lock(&spin);
		counter++;
		pthread_spin_unlock(&spin);
	}
	return arg;
}

void test_spin_lock(void)
{
	pthread_t t[3];

	counter = 0;
	EQ(pthread_spin_init(&spin, 0), 0);
	for (int i = 0; i < 3; i++)
		t[i] = start(spinner, NULL);
	for (int i = 0; i < 3; i++)
		join(t[i]);
	EQ(counter, 30000);
}

static void *sleeper(void *arg)
{
	sleep_ms(100000);
	return arg;
}

static void *tester(void *arg)
{
	for (;;)
		pthread_testcancel();
	return arg;
}

static void *asynchronous(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		counter++;
	return arg;
}

static void *pipe_reader(void *arg)
{
	char c;

	return read(*(int *)arg, &c, 1) == 1 ? arg : NULL;
}

void test_thread_cancel(void)
{
	void *(*kinds[])(void *) = {sleeper, tester, asynchronous, pipe_reader};
	int p[2];

	EQ(pipe(p), 0);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		pthread_t t = start(kinds[i], p);

		sleep_ms(20);
		EQ(pthread_cancel(t), 0);
		CHECK(join(t) == PTHREAD_CANCELED);
	}
}

static volatile int cleaned;

static void clean(void *p)
{
	cleaned = cleaned * 10 + (int)(long)p;
}

static void *with_cleanup(void *arg)
{
	pthread_cleanup_push(clean, (void *)2);
	pthread_cleanup_push(clean, (void *)1);
	sleep_ms(100000);
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return arg;
}

void test_thread_cleanup(void)
{
	pthread_t t;

	cleaned = 0;
	t = start(with_cleanup, NULL);
	sleep_ms(20);
	EQ(pthread_cancel(t), 0);
	CHECK(join(t) == PTHREAD_CANCELED);
	EQ(cleaned, 12);
}

static volatile bool stop_spinning;

static void *spin_until_told(void *arg)
{
	while (!stop_spinning)
		;
	return arg;
}

/* Threads that never call the kernel still share the CPU. */
void test_thread_preempted(void)
{
	pthread_t t[3];

	stop_spinning = false;
	for (int i = 0; i < 3; i++)
		t[i] = start(spin_until_told, NULL);
	sleep_ms(50);
	stop_spinning = true;
	for (int i = 0; i < 3; i++)
		join(t[i]);
}

static long deep(int n)
{
	volatile char frame[1000];

	frame[n % 1000] = 1;
	return n ? deep(n - 1) + frame[n % 1000] : 0;
}

static void *use_stack(void *arg)
{
	EQ(deep(800), 800);
	return arg;
}

void test_thread_stack(void)
{
	pthread_attr_t a;
	pthread_t t;
	size_t n;

	pthread_attr_init(&a);
	EQ(pthread_attr_setstacksize(&a, 1 << 20), 0);
	EQ(pthread_attr_getstacksize(&a, &n), 0);
	EQ(n, 1 << 20);
	EQ(pthread_create(&t, &a, use_stack, NULL), 0);
	join(t);
	pthread_attr_destroy(&a);
}

static int word;

static void *futex_waiter(void *arg)
{
	return (void *)syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0);
	(void)arg;
}

void test_futex_calls(void)
{
	struct timespec ts = {0, 10000000};
	long woken;
	pthread_t t;

	word = 0;
	FAILS(syscall(SYS_futex, &word, 0 /* WAIT */, 1, NULL, NULL, 0), EAGAIN);
	FAILS(syscall(SYS_futex, &word, 0, 0, &ts, NULL, 0), ETIMEDOUT);
	EQ(syscall(SYS_futex, &word, 1 /* WAKE */, 1, NULL, NULL, 0), 0);
	FAILS(syscall(SYS_futex, (char *)&word + 1, 0, 0, NULL, NULL, 0), EINVAL);
	t = start(futex_waiter, NULL);
	do /* until it waits */
		sleep_ms(20);
	while ((woken = syscall(SYS_futex, &word, 1, 1, NULL, NULL, 0)) == 0);
	EQ(woken, 1);
	EQ((long)join(t), 0);
}

static volatile pthread_t handled_by;

static void on_usr1(int sig)
{
	(void)sig;
	handled_by = pthread_self();
}

void test_thread_signal(void)
{
	pthread_t t;

	on_signal(SIGUSR1, on_usr1, 0);
	stop_spinning = false;
	handled_by = 0;
	t = start(spin_until_told, NULL);
	EQ(pthread_kill(t, SIGUSR1), 0);
	for (int i = 0; i < 500 && !handled_by; i++)
		sleep_ms(1);
	CHECK(pthread_equal(handled_by, t));
	stop_spinning = true;
	join(t);
}

static void *floats(void *arg)
{
	double x = (double)(long)arg, y = 0;

	for (int i = 0; i < 3000000; i++)
		y += x;
	EQ((long)y, (long)arg * 3000000);
	return NULL;
}

/* Each thread has its own vector registers, however often they are switched. */
void test_float_threads(void)
{
	pthread_t t[4];

	for (long i = 0; i < 4; i++)
		t[i] = start(floats, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		join(t[i]);
}

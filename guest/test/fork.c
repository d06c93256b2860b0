/* fork.c: tests of fork(), of what is left of threads, and of kill() between relatives. */
#include "test.h"

#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/time.h>

void test_fork_returns(void)
{
	pid_t me = getpid(), a, b;
	siginfo_t si;

	hold_signal(SIGUSR1);
	IN_CHILD(a) {
		CHECK(getpid() > 0 && getpid() != me);
		EQ(getppid(), me);
		EQ(syscall(SYS_gettid), getpid());
		EQ(kill(me, SIGUSR1), 0);
	}
	si = await_signal(SIGUSR1);
	EQ(si.si_code, SI_USER);
	EQ(si.si_pid, a);
	EQ(si.si_uid, getuid());
	EQ(ended(a), 0);
	EQ(getpid(), me);
	IN_CHILD(b)
		CHECK(getpid() != a && getpid() != me);
	CHECK(a != b && b > 0);
	EQ(ended(b), 0);
}

static volatile sig_atomic_t signalled;

static void note_sender(int sig, siginfo_t *si, void *context)
{
	(void)sig, (void)context;
	signalled = si->si_pid;
}

/* A relative that computes is interrupted; many signals one after the other arrive, each of them. */
void test_fork_kill_busy(void)
{
	struct sigaction a = {.sa_sigaction = note_sender, .sa_flags = SA_SIGINFO};
	pid_t me = getpid(), child;
	int p[2];
	char c;

	EQ(pipe(p), 0);
	hold_signal(SIGUSR2);
	EQ(sigaction(SIGUSR1, &a, NULL), 0);
	IN_CHILD(child) {
		signalled = 0;
		EQ(write(p[1], "", 1), 1);
		for (int i = 0; i < 20; i++) {
			while (!signalled)
				;
			EQ(signalled, me);
			signalled = 0;
			EQ(kill(me, SIGUSR2), 0);
		}
	}
	EQ(read(p[0], &c, 1), 1);
	for (int i = 0; i < 20; i++) {
		EQ(kill(child, SIGUSR1), 0);
		EQ(await_signal(SIGUSR2).si_pid, child);
	}
	EQ(ended(child), 0);
	close(p[0]), close(p[1]);
	signal(SIGUSR1, SIG_DFL);
}

/* Parent to child, child to child, grandchild to grandparent. */
void test_fork_kill(void)
{
	pid_t me = getpid(), a, b, c;

	hold_signal(SIGUSR1);
	hold_signal(SIGUSR2);
	IN_CHILD(a) {
		EQ(await_signal(SIGUSR1).si_pid, me);
		EQ(kill(getppid(), SIGUSR2), 0);
		CHECK(await_signal(SIGUSR1).si_pid != me);
		EQ(kill(me, SIGUSR2), 0);
	}
	EQ(kill(a, 0), 0);
	EQ(kill(a, SIGUSR1), 0);
	EQ(await_signal(SIGUSR2).si_pid, a);
	IN_CHILD(b)
		EQ(kill(a, SIGUSR1), 0);
	EQ(await_signal(SIGUSR2).si_pid, a);
	EQ(ended(a), 0);
	EQ(ended(b), 0);
	IN_CHILD(a) {
		IN_CHILD(c) {
			EQ(kill(me, SIGUSR2), 0);
			EQ(await_signal(SIGUSR1).si_pid, me);
		}
		EQ(ended(c), 0);
	}
	c = await_signal(SIGUSR2).si_pid;
	CHECK(c != a && c != me);
	EQ(kill(c, SIGUSR1), 0);
	EQ(ended(a), 0);
	IN_CHILD(a) {
		IN_CHILD(b)
			pause();
		EQ(kill(b, SIGTERM), 0);
		EQ(ended(b), SIGTERM);
		EQ(kill(me, SIGUSR2), 0);
		pause();
	}
	EQ(await_signal(SIGUSR2).si_pid, a);
	EQ(kill(a, SIGKILL), 0);
	EQ(ended(a), SIGKILL);
}

void test_fork_kill_errors(void)
{
	pid_t pid;

	FAILS(kill(0x3ffffff0, SIGTERM), ESRCH);
	FAILS(kill(0x3ffffff0, 0), ESRCH);
	IN_CHILD(pid)
		pause();
	FAILS(kill(pid, 65), EINVAL);
	FAILS(kill(pid, -1), EINVAL);
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	EQ(kill(pid, SIGTERM), 0);
	EQ(ended(pid), SIGTERM);
	FAILS(kill(pid, 0), ESRCH);
}

/*
 * A child is killed that alone had something of what the family shares. Its parent, which has nothing of that yet, finds it put right when it
 * has. This must be the first test that shares anything.
 */
void test_fork_first_share(void)
{
	key_t key = (key_t)(0x4b580000 | (getpid() & 0xffff));
	pid_t me = getpid(), pid;
	int id;

	hold_signal(SIGUSR1);
	IN_CHILD(pid) {
		struct sembuf down = {0, -1, SEM_UNDO};

		id = semget(key, 1, IPC_CREAT | 0600);
		CHECK(id >= 0);
		EQ(semctl(id, 0, SETVAL, 1), 0);
		EQ(semop(id, &down, 1), 0);
		EQ(kill(me, SIGUSR1), 0);
		pause();
	}
	await_signal(SIGUSR1);
	EQ(kill(pid, SIGKILL), 0);
	EQ(ended(pid), SIGKILL);
	id = semget(key, 1, 0);
	CHECK(id >= 0);
	EQ(semctl(id, 0, GETVAL), 1);
	FAILS(kill(pid, SIGTERM), ESRCH);
	EQ(semctl(id, 0, IPC_RMID), 0);
}

/* A child whose parent has died goes on, and its grandparent does not hear of its end. */
void test_fork_orphan(void)
{
	pid_t root = getpid(), middle, child;

	hold_signal(SIGUSR1);
	hold_signal(SIGUSR2);
	IN_CHILD(middle) {
		pid_t me = getpid();

		IN_CHILD(child) {
			EQ(kill(root, SIGUSR1), 0);
			EQ(await_signal(SIGUSR2).si_pid, root);
			while (getppid() == me)
				sleep_ms(1);
			if (in_pvm())
				EQ(getppid(), 0);
			EQ(kill(root, SIGUSR1), 0);
		}
	}
	child = await_signal(SIGUSR1).si_pid;
	CHECK(child != middle);
	EQ(ended(middle), 0);
	EQ(kill(child, SIGUSR2), 0);
	EQ(await_signal(SIGUSR1).si_pid, child);
	FAILS(waitpid(-1, NULL, 0), ECHILD);
}

/* How deep it came: each generation waits for the next. */
static int descend(int depth)
{
	pid_t parent = getpid(), pid;
	int status;

	if (!depth)
		return 0;
	IN_CHILD(pid) {
		EQ(getppid(), parent);
		_exit(descend(depth - 1));
	}
	status = ended(pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) < 90);
	return WEXITSTATUS(status) + 1;
}

void test_fork_deep(void)
{
	int depth = children < 64 ? children : 64;

	EQ(descend(depth), depth);
}

/* All are there at once. */
void test_fork_many(void)
{
	pid_t *pids = calloc((size_t)children, sizeof(*pids)), pid;
	int status, i;

	CHECK(pids);
	hold_signal(SIGUSR1);
	for (i = 0; i < children; i++)
		IN_CHILD(pids[i]) {
			await_signal(SIGUSR1);
			_exit(i % 251);
		}
	EQ(waitpid(-1, &status, WNOHANG), 0);
	for (i = 0; i < children; i++)
		EQ(kill(pids[i], SIGUSR1), 0);
	for (int n = 0; n < children; n++) {
		pid = wait(&status);
		for (i = 0; i < children && pids[i] != pid; i++)
			;
		CHECK(i < children);
		EQ(status, (i % 251) << 8);
		pids[i] = 0;
	}
	FAILS(wait(NULL), ECHILD);
	free(pids);
}

void test_fork_cycles(void)
{
	pid_t pid;

	for (int i = 0; i < children * 2; i++) {
		IN_CHILD(pid)
			_exit(i & 0x7f);
		EQ(ended(pid), (i & 0x7f) << 8);
	}
}

/* ---- threads ---- */

static volatile long counts[3];
static volatile bool halt;

static void *count(void *arg)
{
	volatile long *n = arg;

	while (!halt)
		++*n;
	return NULL;
}

static void start_counting(pthread_t *t)
{
	halt = false;
	for (size_t i = 0; i < COUNT(counts); i++) {
		counts[i] = 0;
		EQ(pthread_create(&t[i], NULL, count, (void *)&counts[i]), 0);
	}
	for (size_t i = 0; i < COUNT(counts); i++)
		while (!counts[i])
			sleep_ms(1);
}

static void stop_counting(pthread_t *t)
{
	halt = true;
	for (size_t i = 0; i < COUNT(counts); i++)
		EQ(pthread_join(t[i], NULL), 0);
}

static void *answer(void *arg)
{
	return arg;
}

void test_fork_one_thread(void)
{
	pthread_t t[COUNT(counts)], other;
	void *value;
	pid_t pid;

	start_counting(t);
	for (int round = 0; round < 5; round++) {
		IN_CHILD(pid) {
			long then[COUNT(counts)];

			memcpy(then, (void *)counts, sizeof(then));
			for (int i = 0; i < 20; i++)
				sleep_ms(1);
			CHECK(!memcmp(then, (void *)counts, sizeof(then)));
			EQ(pthread_create(&other, NULL, answer, t), 0);
			EQ(pthread_join(other, &value), 0);
			CHECK(value == t);
		}
		EQ(ended(pid), 0);
	}
	for (size_t i = 0; i < COUNT(counts); i++) {
		long then = counts[i];

		while (counts[i] == then)
			sleep_ms(1);
	}
	stop_counting(t);
}

static pthread_t main_thread;
static __thread int local = 7;

static void *fork_here(void *arg)
{
	pthread_t me = pthread_self(), other;
	pid_t *pids = arg;
	void *value;

	local = 42;
	IN_CHILD(pids[0]) {
		CHECK(pthread_equal(me, pthread_self()) && !pthread_equal(main_thread, me));
		EQ(syscall(SYS_gettid), getpid());
		EQ(local, 42);
		EQ(pthread_create(&other, NULL, answer, &value), 0);
		EQ(pthread_join(other, &value), 0);
		EQ(local, 42);
		_exit(5);
	}
	/* The last thread of a process ends it with 0. */
	pids[1] = start_child();
	return NULL;
}

/* The child of a thread has that thread alone. */
void test_fork_from_thread(void)
{
	pthread_t t, busy[COUNT(counts)];
	pid_t pids[2];

	main_thread = pthread_self();
	start_counting(busy);
	EQ(pthread_create(&t, NULL, fork_here, pids), 0);
	EQ(pthread_join(t, NULL), 0);
	EQ(ended(pids[0]), 5 << 8);
	EQ(ended(pids[1]), 0);
	EQ(local, 7);
	stop_counting(busy);
}

static void *churn(void *arg)
{
	while (!halt) {
		void *p[32];

		for (size_t i = 0; i < COUNT(p); i++)
			p[i] = malloc(16 << i % 10);
		for (size_t i = 0; i < COUNT(p); i++)
			free(p[i]);
		fprintf(arg, "%d\n", (int)getpid());
		rewind(arg);
	}
	return NULL;
}

/* The locks of malloc and stdio are usable in the child, whoever held them. */
void test_fork_locks(void)
{
	pthread_t t[3];
	pid_t pid;
	FILE *f = fopen("lines", "w+");

	CHECK(f);
	halt = false;
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_create(&t[i], NULL, churn, f), 0);
	for (int round = 0; round < 20; round++) {
		pid = fork(); /* not IN_CHILD: no lock is taken here */
		CHECK(pid >= 0);
		if (!pid) {
			char *text;
			size_t n;
			FILE *m;

			alarm(120);
			for (int i = 0; i < 100; i++) {
				text = malloc((size_t)i * 50 + 1);
				CHECK(text);
				free(text);
			}
			m = open_memstream(&text, &n);
			CHECK(m);
			CHECK(fprintf(m, "%d", 12345) == 5 && !fclose(m));
			STR(text, "12345");
			_exit(0);
		}
		EQ(ended(pid), 0);
	}
	halt = true;
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_join(t[i], NULL), 0);
	EQ(fclose(f), 0);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static int waiting;

static void *wait_at_gate(void *arg)
{
	EQ(pthread_mutex_lock(&gate), 0);
	waiting++;
	while (waiting < 100)
		EQ(pthread_cond_wait(&opened, &gate), 0);
	EQ(pthread_mutex_unlock(&gate), 0);
	return arg;
}

/* Threads that wait on futexes while another forks wait on in the parent, and are not there in the child. */
void test_fork_futex(void)
{
	pthread_t t[4];
	pid_t pid;

	waiting = 0;
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_create(&t[i], NULL, wait_at_gate, NULL), 0);
	for (int all = 0; all < (int)COUNT(t); sleep_ms(1)) {
		EQ(pthread_mutex_lock(&gate), 0);
		all = waiting;
		EQ(pthread_mutex_unlock(&gate), 0);
	}
	EQ(pthread_mutex_lock(&gate), 0);
	IN_CHILD(pid) {
		EQ(syscall(SYS_futex, &waiting, 1, 100, NULL, NULL, 0), 0);
		EQ(pthread_mutex_unlock(&gate), 0);
		EQ(pthread_mutex_lock(&gate), 0);
		EQ(pthread_cond_broadcast(&opened), 0);
		EQ(pthread_mutex_unlock(&gate), 0);
		sleep_ms(5);
		EQ(waiting, COUNT(t));
	}
	EQ(ended(pid), 0);
	waiting = 100;
	EQ(pthread_cond_broadcast(&opened), 0);
	EQ(pthread_mutex_unlock(&gate), 0);
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_join(t[i], NULL), 0);
}

/* ---- where fork is called ---- */

static volatile pid_t forked;
static volatile int handled;

static void fork_now(int sig)
{
	(void)sig;
	if (!handled++) {
		forked = fork();
		if (!forked)
			alarm(120);
	}
}

/* Both come back from the handler, with the registers of what it interrupted. */
void test_fork_in_handler(void)
{
	uint64_t in[4] = {0x1122334455667788, 0x99aabbccddeeff00, 0x0f1e2d3c4b5a6978, 0x8796a5b4c3d2e1f0};
	uint64_t out[4], sum;

	for (int round = 0; round < 10; round++) {
		struct itimerval soon = {{0, 0}, {0, 3000}};

		on_signal(SIGALRM, fork_now, 0);
		handled = 0;
		EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		while (!handled) {
			__asm__ volatile(
				"movdqu (%2), %%xmm0; movdqu 16(%2), %%xmm1; movdqa %%xmm0, %%xmm7; movdqa %%xmm1, %%xmm15\n"
				"xor %0, %0\n"
				"mov $200000, %%ecx\n"
				"1: add %%rcx, %0; dec %%ecx; jnz 1b\n"
				"pand %%xmm7, %%xmm0; pand %%xmm15, %%xmm1\n"
				"movdqu %%xmm0, (%1); movdqu %%xmm1, 16(%1)"
				: "=&r"(sum) : "r"(out), "r"(in)
				: "ecx", "memory", "xmm0", "xmm1", "xmm7", "xmm15");
			CHECK(!memcmp(in, out, sizeof(in)));
			EQ(sum, 200000ULL * 200001 / 2);
		}
		CHECK(forked >= 0);
		if (!forked)
			_exit(11);
		EQ(ended(forked), 11 << 8);
	}
}

/* The parent's handler runs while it forks again and again. */
void test_fork_spun(void)
{
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	pid_t pid;

	on_signal(SIGALRM, fork_now, SA_RESTART);
	handled = 1;
	EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (int i = 0; i < 50 || handled < 20; i++) {
		IN_CHILD(pid)
			_exit(3);
		EQ(ended(pid), 3 << 8);
	}
	EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static char order[16];
static bool noting;

static void at_fork(char c)
{
	if (noting)
		order[strlen(order)] = c;
}

static void prepare1(void) { at_fork('a'); }
static void prepare2(void) { at_fork('b'); }
static void parent1(void) { at_fork('c'); }
static void parent2(void) { at_fork('d'); }
static void child1(void) { at_fork('e'); }
static void child2(void) { at_fork('f'); }

void test_fork_atfork(void)
{
	pid_t pid;

	EQ(pthread_atfork(prepare1, parent1, child1), 0);
	EQ(pthread_atfork(prepare2, parent2, child2), 0);
	EQ(pthread_atfork(NULL, NULL, NULL), 0);
	memset(order, 0, sizeof(order));
	noting = true;
	IN_CHILD(pid)
		STR(order, "baef");
	noting = false;
	STR(order, "bacd");
	EQ(ended(pid), 0);
}

static int said;

static void say_exit(void)
{
	if (said)
		_exit(said);
}

/* exit() in the child runs what was registered before the fork. */
void test_fork_exit(void)
{
	pid_t pid;

	EQ(atexit(say_exit), 0);
	IN_CHILD(pid) {
		said = 77;
		exit(1);
	}
	EQ(ended(pid), 77 << 8);
	EQ(said, 0);
}

void test_vfork_call(void)
{
	pid_t pid;

	pid = vfork();
	if (!pid)
		_exit(3);
	CHECK(pid > 0);
	EQ(ended(pid), 3 << 8);
	pid = _Fork();
	if (!pid)
		_exit(4);
	EQ(ended(pid), 4 << 8);
}

void test_exec_refused(void)
{
	char *argv[] = {"true", NULL}, *envp[] = {NULL};
	pid_t pid;

	FAILS(execve("/bin/true", argv, envp), ENOSYS);
	IN_CHILD(pid)
		FAILS(execve("/bin/true", argv, envp), ENOSYS);
	EQ(ended(pid), 0);
}

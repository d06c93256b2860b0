/* ipccases.c: cases of pipes, signals, waits and forks that the manual pages name and no other file has (see ipc-cases.txt). */
#include "test.h"

#include <limits.h>
#include <sys/resource.h>

/* Every signal whose default is to end a process does so, and the status names it. */
void test_kill_each(void)
{
	static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV,
		SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGSYS};
	static const int ignored[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
	pid_t pid;

	for (size_t i = 0; i < COUNT(ends); i++) {
		IN_CHILD(pid)
			pause();
		EQ(kill(pid, ends[i]), 0);
		EQ(ended(pid) & 0x7f, ends[i]);
	}
	IN_CHILD(pid)
		pause();
	for (size_t i = 0; i < COUNT(ignored); i++)
		EQ(kill(pid, ignored[i]), 0);
	sleep_ms(10);
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	EQ(kill(pid, SIGKILL), 0);
	EQ(ended(pid), SIGKILL);
}

static void never(int sig)
{
	(void)sig;
	_exit(1);
}

/* SIGKILL can be neither caught, ignored nor held. */
void test_kill_cannot_be_caught(void)
{
	struct sigaction sa = {.sa_handler = never};
	sigset_t all;
	pid_t pid;
	int p[2];

	FAILS(sigaction(SIGKILL, &sa, NULL), EINVAL);
	FAILS(sigaction(SIGSTOP, &sa, NULL), EINVAL);
	CHECK(signal(SIGKILL, SIG_IGN) == SIG_ERR);
	EQ(pipe(p), 0);
	IN_CHILD(pid) {
		sigfillset(&all);
		EQ(sigprocmask(SIG_SETMASK, &all, NULL), 0);
		EQ(write(p[1], "r", 1), 1);
		for (;;)
			pause();
	}
	EQ(read(p[0], page, 1), 1);
	EQ(kill(pid, SIGTERM), 0);
	sleep_ms(10);
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	EQ(kill(pid, SIGKILL), 0);
	EQ(ended(pid), SIGKILL);
}

/* Without descriptors there is no pipe, and a bad place for them costs none. */
void test_pipe_no_descriptors(void)
{
	struct rlimit was, few;
	int p[2], fd, n = 0;

	fd = dup(0);
	EQ(close(fd), 0);
	FAILS(pipe(NULL), EFAULT);
	EQ(dup(0), fd);
	EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){64, was.rlim_max};
	EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (!pipe(p))
		n++;
	EQ(errno, EMFILE);
	CHECK(n > 20 && n <= 32);
	while (dup(0) >= 0)
		;
	FAILS(pipe(p), EMFILE);
	/* A child of one that has no descriptor left has none either. */
	pid_t pid;

	IN_CHILD(pid) {
		FAILS(dup(0), EMFILE);
		EQ(close(fd), 0);
		EQ(dup(0), fd);
	}
	EQ(ended(pid), 0);
	EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
}

/* Several children read what one writes: each byte reaches one of them. */
void test_pipe_readers(void)
{
	enum { READERS = 3, BYTES = 3000 };
	int p[2], back[2];
	long got = 0, sum = 0, one[2];
	pid_t pids[READERS];

	EQ(pipe(p), 0);
	EQ(pipe(back), 0);
	for (int r = 0; r < READERS; r++)
		IN_CHILD(pids[r]) {
			ssize_t n;

			close(p[1]);
			one[0] = one[1] = 0;
			while ((n = read(p[0], page, 7)) > 0) {
				one[0] += n;
				for (ssize_t i = 0; i < n; i++)
					one[1] += (unsigned char)page[i];
			}
			EQ(n, 0);
			EQ(write(back[1], one, sizeof(one)), sizeof(one));
		}
	close(p[0]);
	for (int i = 0; i < BYTES; i += 100) {
		memset(page, i / 100, 100);
		EQ(write(p[1], page, 100), 100);
	}
	close(p[1]);
	for (int r = 0; r < READERS; r++) {
		EQ(read(back[0], one, sizeof(one)), sizeof(one));
		got += one[0];
		sum += one[1];
		EQ(ended(pids[r]), 0);
	}
	EQ(got, BYTES);
	EQ(sum, 100 * 29 * 30 / 2);
}

/* One writes, two sleep in read: both are woken in turn, one for each byte. */
void test_pipe_wakes_readers(void)
{
	pid_t pids[2];
	int p[2];

	EQ(pipe(p), 0);
	for (int r = 0; r < 2; r++)
		IN_CHILD(pids[r])
			EQ(read(p[0], page, 1), 1);
	sleep_ms(10);
	EQ(write(p[1], "a", 1), 1);
	EQ(write(p[1], "b", 1), 1);
	for (int r = 0; r < 2; r++)
		EQ(ended(pids[r]), 0);
	/* The last writer goes: that wakes both at once. */
	for (int r = 0; r < 2; r++)
		IN_CHILD(pids[r]) {
			close(p[1]);
			EQ(read(p[0], page, 1), 0);
		}
	sleep_ms(10);
	close(p[1]);
	for (int r = 0; r < 2; r++)
		EQ(ended(pids[r]), 0);
}

/* The bytes of several writers, in blocks of one letter each, read without waiting or with it. Blocks of at most PIPE_BUF stay whole. */
static void read_blocks(const int *p, size_t size, int blocks)
{
	enum { WRITERS = 5 };
	static char block[5000];
	size_t got[WRITERS] = {0}, at = 0;
	pid_t pids[WRITERS];
	char letter = 0;
	ssize_t n;

	for (int w = 0; w < WRITERS; w++)
		IN_CHILD(pids[w]) {
			close(p[0]);
			memset(block, 'a' + w, size);
			for (int i = 0; i < blocks; i++)
				EQ(write(p[1], block, size), size);
		}
	close(p[1]);
	while ((n = read(p[0], block, size)) != 0) {
		if (n < 0) {
			EQ(errno, EAGAIN);
			sleep_ms(1);
			continue;
		}
		for (ssize_t i = 0; i < n; i++, at++) {
			CHECK(block[i] >= 'a' && block[i] < 'a' + WRITERS);
			if (at % size && size <= PIPE_BUF)
				EQ(block[i], letter);
			letter = block[i];
			got[letter - 'a']++;
		}
	}
	for (int w = 0; w < WRITERS; w++) {
		EQ(ended(pids[w]), 0);
		EQ(got[w], size * (size_t)blocks);
	}
	close(p[0]);
}

/* Pipes with and without a name. */
void test_pipe_io(void)
{
	int p[2];

	EQ(mkfifo("named", 0600), 0);
	for (int i = 0; i < 8; i++) {
		if (i & 1) {
			EQ(pipe(p), 0);
		} else {
			p[0] = open("named", O_RDONLY | O_NONBLOCK);
			p[1] = open("named", O_WRONLY);
			CHECK(p[0] >= 0 && p[1] >= 0);
		}
		EQ(fcntl(p[0], F_SETFL, i & 2 ? O_NONBLOCK : 0), 0);
		read_blocks(p, i & 4 ? 5000 : 4090, i & 4 ? 10 : 100);
	}
}

void test_wait_errors(void)
{
	pid_t pid;
	int status;

	FAILS(wait(&status), ECHILD);
	FAILS(waitpid(-1, &status, WNOHANG), ECHILD);
	FAILS(waitpid(getpid(), &status, 0), ECHILD);
	FAILS(waitpid(0x3ffffff0, &status, 0), ECHILD);
	FAILS(waitpid(-1, &status, -1), EINVAL);
	FAILS(waitpid(INT_MIN, &status, 0), ESRCH);
	FAILS(kill(INT_MIN, 0), ESRCH);
	IN_CHILD(pid) {
		FAILS(wait(NULL), ECHILD); /* its parent's children are not its own */
		_exit(3);
	}
	EQ(waitpid(pid, NULL, 0), pid);
	FAILS(waitpid(pid, NULL, 0), ECHILD);
}

/* No two that live have the same number, and what each was told is true. */
void test_fork_numbers(void)
{
	enum { MANY = 10 };
	pid_t pids[MANY], me = getpid();

	for (int i = 0; i < MANY; i++)
		IN_CHILD(pids[i]) {
			EQ(getppid(), me);
			pause();
		}
	for (int i = 0; i < MANY; i++)
		for (int k = 0; k <= i; k++)
			CHECK(k == i ? pids[i] != me && pids[i] > 0 : pids[i] != pids[k]);
	for (int i = 0; i < MANY; i++) {
		EQ(kill(pids[i], SIGTERM), 0);
		EQ(ended(pids[i]), SIGTERM);
	}
	/* Nor has the next one the number of the last. */
	for (int i = 0; i < MANY; i++) {
		IN_CHILD(pids[i])
			;
		EQ(ended(pids[i]), 0);
		CHECK(!i || pids[i] != pids[i - 1]);
	}
}

/* A child has the environment, and changes only its own. */
void test_fork_environment(void)
{
	pid_t pid;

	EQ(setenv("KX_CASE", "parent", 1), 0);
	IN_CHILD(pid) {
		STR(getenv("KX_CASE"), "parent");
		EQ(setenv("KX_CASE", "child", 1), 0);
		EQ(unsetenv("PATH"), 0);
	}
	EQ(ended(pid), 0);
	STR(getenv("KX_CASE"), "parent");
	EQ(unsetenv("KX_CASE"), 0);
}

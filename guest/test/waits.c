/* waits.c: tests of waiting for children, and of SIGCHLD. */
#include "test.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/times.h>

void test_wait_exit(void)
{
	static const int codes[] = {0, 1, 42, 127, 128, 255, 256, 511, -1};
	int status;
	pid_t pid;

	for (size_t i = 0; i < COUNT(codes); i++) {
		IN_CHILD(pid)
			_exit(codes[i]);
		status = ended(pid);
		CHECK(WIFEXITED(status) && !WIFSIGNALED(status) && !WIFSTOPPED(status));
		EQ(WEXITSTATUS(status), codes[i] & 0xff);
		EQ(status, (codes[i] & 0xff) << 8);
	}
	IN_CHILD(pid)
		exit(9);
	EQ(ended(pid), 9 << 8);
}

/* No core is ever written. */
static void no_core(void)
{
	if (!in_pvm())
		EQ(prctl(PR_SET_DUMPABLE, 0), 0);
}

void test_wait_signal(void)
{
	const int sigs[] = {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGUSR1, SIGSEGV, SIGPIPE, SIGALRM,
			    SIGTERM, SIGXCPU, SIGVTALRM, SIGRTMIN + 2};
	int status;
	pid_t pid;

	for (size_t i = 0; i < COUNT(sigs); i++) {
		IN_CHILD(pid) {
			no_core();
			signal(sigs[i], SIG_DFL);
			raise(sigs[i]);
		}
		status = ended(pid);
		CHECK(WIFSIGNALED(status) && !WIFEXITED(status) && !WCOREDUMP(status));
		EQ(WTERMSIG(status), sigs[i]);
		EQ(status, sigs[i]);
	}
	for (size_t i = 0; i < COUNT(sigs); i++) {
		IN_CHILD(pid) {
			no_core();
			if (sigs[i] != SIGKILL)
				signal(sigs[i], SIG_DFL);
			kill(getpid(), sigs[i]);
			pause();
		}
		EQ(ended(pid), sigs[i]);
	}
	IN_CHILD(pid) {
		no_core();
		abort();
	}
	EQ(ended(pid), SIGABRT);
}

void test_wait_fault(void)
{
	volatile uintptr_t nowhere = 8;
	volatile int zero = 0;
	pid_t pid;

	IN_CHILD(pid) {
		no_core();
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)nowhere = 1;
	}
	EQ(ended(pid), SIGSEGV);
	IN_CHILD(pid) {
		no_core();
		__asm__ volatile("ud2");
	}
	EQ(ended(pid), SIGILL);
	IN_CHILD(pid) {
		no_core();
		zero = 12345 / zero;
	}
	EQ(ended(pid), SIGFPE);
}

void test_wait_which(void)
{
	pid_t a, b, c;
	int status;

	hold_signal(SIGUSR1);
	IN_CHILD(a) {
		await_signal(SIGUSR1);
		_exit(1);
	}
	IN_CHILD(b)
		_exit(2);
	IN_CHILD(c)
		_exit(3);
	EQ(waitpid(a, &status, WNOHANG), 0);
	EQ(waitpid(c, &status, 0), c);
	EQ(status, 3 << 8);
	EQ(waitpid(-1, &status, 0), b);
	EQ(status, 2 << 8);
	EQ(waitpid(-1, &status, WNOHANG), 0);
	EQ(waitpid(0, &status, WNOHANG), 0);
	FAILS(waitpid(b, &status, WNOHANG), ECHILD);
	EQ(kill(a, SIGUSR1), 0);
	EQ(waitpid(0, &status, 0), a);
	EQ(status, 1 << 8);
	IN_CHILD(a)
		_exit(4);
	EQ(waitpid(a, NULL, 0), a);
	IN_CHILD(a)
		_exit(5);
	while (!waitpid(-1, &status, WNOHANG))
		sleep_ms(1);
	EQ(status, 5 << 8);
}

void test_wait_nobody(void)
{
	volatile uintptr_t nowhere = 8;
	pid_t me = getpid(), a, b;

	FAILS(wait(NULL), ECHILD);
	FAILS(waitpid(-1, NULL, WNOHANG), ECHILD);
	FAILS(waitpid(0, NULL, 0), ECHILD);
	FAILS(waitpid(me, NULL, 0), ECHILD);
	FAILS(waitpid(0x3ffffff0, NULL, 0), ECHILD);
	FAILS(waitpid(-1, NULL, 0x4000), EINVAL);
	IN_CHILD(a) {
		FAILS(wait(NULL), ECHILD);
		FAILS(waitpid(me, NULL, 0), ECHILD);
		pause();
	}
	/* A sibling is nobody's child but the parent's. */
	IN_CHILD(b) {
		FAILS(wait(NULL), ECHILD);
		FAILS(waitpid(a, NULL, 0), ECHILD);
	}
	EQ(ended(b), 0);
	FAILS(waitpid(b, NULL, 0), ECHILD);
	EQ(kill(a, SIGTERM), 0);
	EQ(ended(a), SIGTERM);
	IN_CHILD(a)
		;
	FAILS(waitpid(a, (int *)nowhere, 0), EFAULT);
}

void test_wait_stopped(void)
{
	int status;
	pid_t pid;

	IN_CHILD(pid)
		for (;;)
			pause();
	EQ(kill(pid, SIGSTOP), 0);
	EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status) && !WIFEXITED(status) && !WIFSIGNALED(status) && !WIFCONTINUED(status));
	EQ(WSTOPSIG(status), SIGSTOP);
	EQ(waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG), 0); /* told once */
	EQ(kill(pid, SIGCONT), 0);
	EQ(waitpid(pid, &status, WCONTINUED), pid);
	CHECK(WIFCONTINUED(status) && !WIFSTOPPED(status) && !WIFEXITED(status) && !WIFSIGNALED(status));
	EQ(kill(pid, SIGSTOP), 0);
	EQ(waitpid(-1, &status, WUNTRACED), pid);
	EQ(kill(pid, SIGKILL), 0); /* ends it all the same */
	EQ(ended(pid), SIGKILL);
}

static void end_is(siginfo_t *si, pid_t pid, int code, int status)
{
	EQ(si->si_signo, SIGCHLD);
	EQ(si->si_code, code);
	EQ(si->si_pid, pid);
	EQ(si->si_status, status);
	EQ(si->si_uid, getuid());
}

void test_waitid_calls(void)
{
	siginfo_t si;
	pid_t a, b;

	hold_signal(SIGUSR1);
	IN_CHILD(a) {
		await_signal(SIGUSR1);
		_exit(6);
	}
	IN_CHILD(b)
		pause();
	memset(&si, 0xff, sizeof(si));
	EQ(waitid(P_ALL, 0, &si, WEXITED | WNOHANG), 0);
	EQ(si.si_pid, 0);
	EQ(kill(a, SIGUSR1), 0);
	EQ(waitid(P_ALL, 0, &si, WEXITED | WNOWAIT), 0);
	end_is(&si, a, CLD_EXITED, 6);
	EQ(waitid(P_PID, (id_t)a, &si, WEXITED | WNOWAIT | WNOHANG), 0);
	end_is(&si, a, CLD_EXITED, 6);
	EQ(waitid(P_PID, (id_t)a, &si, WEXITED), 0);
	end_is(&si, a, CLD_EXITED, 6);
	FAILS(waitid(P_PID, (id_t)a, &si, WEXITED), ECHILD);
	EQ(kill(b, SIGKILL), 0);
	EQ(waitid(P_PID, (id_t)b, &si, WEXITED), 0);
	end_is(&si, b, CLD_KILLED, SIGKILL);
	FAILS(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
	IN_CHILD(a)
		;
	FAILS(waitid(P_PID, (id_t)a, &si, 0), EINVAL);
	FAILS(waitid(P_PID, 0, &si, WEXITED), EINVAL);
	EQ(waitid(P_PID, (id_t)a, NULL, WEXITED), 0);
}

void test_waitid_stopped(void)
{
	siginfo_t si;
	pid_t pid;

	IN_CHILD(pid)
		for (;;)
			pause();
	EQ(kill(pid, SIGSTOP), 0);
	EQ(waitid(P_PID, (id_t)pid, &si, WSTOPPED | WNOWAIT), 0);
	end_is(&si, pid, CLD_STOPPED, SIGSTOP);
	EQ(waitid(P_PID, (id_t)pid, &si, WSTOPPED), 0);
	end_is(&si, pid, CLD_STOPPED, SIGSTOP);
	EQ(waitid(P_PID, (id_t)pid, &si, WSTOPPED | WCONTINUED | WEXITED | WNOHANG), 0);
	EQ(si.si_pid, 0);
	EQ(kill(pid, SIGCONT), 0);
	EQ(waitid(P_PID, (id_t)pid, &si, WCONTINUED), 0);
	end_is(&si, pid, CLD_CONTINUED, SIGCONT);
	EQ(kill(pid, SIGTERM), 0);
	EQ(waitid(P_PID, (id_t)pid, &si, WEXITED), 0);
	end_is(&si, pid, CLD_KILLED, SIGTERM);
}

static int64_t usage_ns(struct rusage *ru)
{
	return (ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) * 1000000000LL + (ru->ru_utime.tv_usec + ru->ru_stime.tv_usec) * 1000LL;
}

/* Takes more than 10 ms of a processor, however long the host lets it wait. */
static void work(void)
{
	for (volatile long i = 0; i < 50000000; i++)
		;
}

/* What a child has used is told when it is waited for, and then counts among the parent's children's. */
void test_wait_usage(void)
{
	struct rusage before, after, ru;
	struct tms was, is;
	int status;
	pid_t pid;

	EQ(getrusage(RUSAGE_CHILDREN, &before), 0);
	CHECK(times(&was) != (clock_t)-1);
	IN_CHILD(pid) {
		EQ(getrusage(RUSAGE_CHILDREN, &ru), 0);
		EQ(usage_ns(&ru), 0);
		work();
	}
	EQ(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT), 0);
	EQ(getrusage(RUSAGE_CHILDREN, &after), 0);
	EQ(usage_ns(&after), usage_ns(&before));
	memset(&ru, 0, sizeof(ru));
	EQ(wait4(pid, &status, 0, &ru), pid);
	EQ(status, 0);
	CHECK(usage_ns(&ru) >= 5000000);
	EQ(getrusage(RUSAGE_CHILDREN, &after), 0);
	CHECK(llabs(usage_ns(&after) - usage_ns(&before) - usage_ns(&ru)) < 20000);
	CHECK(times(&is) != (clock_t)-1);
	CHECK(is.tms_cutime + is.tms_cstime > was.tms_cutime + was.tms_cstime);
}

static volatile int seen;

static void note(int sig)
{
	(void)sig;
	seen++;
}

void test_wait_eintr(void)
{
	pid_t me = getpid(), pid;

	seen = 0;
	on_signal(SIGUSR1, note, 0);
	IN_CHILD(pid)
		for (;;) { /* perhaps it does not wait yet */
			sleep_ms(10);
			EQ(kill(me, SIGUSR1), 0);
		}
	FAILS(waitpid(pid, NULL, 0), EINTR);
	CHECK(seen > 0);
	EQ(kill(pid, SIGKILL), 0);
	on_signal(SIGUSR1, note, SA_RESTART);
	EQ(ended(pid), SIGKILL);
	seen = 0;
	IN_CHILD(pid) {
		for (int i = 0; i < 5; i++) {
			sleep_ms(10);
			EQ(kill(me, SIGUSR1), 0);
		}
		_exit(2);
	}
	EQ(ended(pid), 2 << 8);
	CHECK(seen > 0);
}

static void *wait_there(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	EQ(ended(pid), 8 << 8);
	return NULL;
}

/* A child is that of the process: every thread may wait for it; the others run meanwhile. */
void test_wait_thread(void)
{
	pthread_t t;
	pid_t pid;

	hold_signal(SIGUSR1);
	IN_CHILD(pid) {
		await_signal(SIGUSR1);
		_exit(8);
	}
	EQ(pthread_create(&t, NULL, wait_there, &pid), 0);
	sleep_ms(10);
	EQ(kill(pid, SIGUSR1), 0);
	EQ(pthread_join(t, NULL), 0);
	FAILS(waitpid(pid, NULL, 0), ECHILD);
}

/* It can be signalled, in vain, until it has been waited for. */
void test_zombie(void)
{
	siginfo_t si;
	pid_t pid;

	IN_CHILD(pid)
		_exit(12);
	EQ(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	EQ(kill(pid, 0), 0);
	EQ(kill(pid, SIGKILL), 0);
	EQ(kill(pid, SIGSTOP), 0);
	EQ(ended(pid), 12 << 8);
	FAILS(kill(pid, 0), ESRCH);
}

/* ---- SIGCHLD ---- */

static volatile siginfo_t last;

static void note_info(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	last = *si;
	seen++;
}

static void on_child(int flags)
{
	struct sigaction sa = {.sa_sigaction = note_info, .sa_flags = SA_SIGINFO | SA_RESTART | flags};

	seen = 0;
	EQ(sigaction(SIGCHLD, &sa, NULL), 0);
}

static void await_seen(int n)
{
	while (seen < n)
		sleep_ms(1);
	EQ(seen, n);
}

void test_sigchld_info(void)
{
	pid_t pid;

	on_child(0);
	IN_CHILD(pid)
		_exit(7);
	EQ(ended(pid), 7 << 8);
	await_seen(1);
	end_is((siginfo_t *)&last, pid, CLD_EXITED, 7);
	IN_CHILD(pid)
		pause();
	EQ(seen, 1);
	EQ(kill(pid, SIGKILL), 0);
	await_seen(2);
	end_is((siginfo_t *)&last, pid, CLD_KILLED, SIGKILL);
	EQ(ended(pid), SIGKILL);
	/* A handler does not reap, and the default disposition neither. */
	signal(SIGCHLD, SIG_DFL);
	IN_CHILD(pid)
		_exit(1);
	EQ(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT), 0);
	EQ(ended(pid), 1 << 8);
	/* It waits while it is blocked. */
	hold_signal(SIGCHLD);
	IN_CHILD(pid)
		_exit(2);
	EQ(await_signal(SIGCHLD).si_pid, pid);
	EQ(ended(pid), 2 << 8);
}

void test_sigchld_stops(void)
{
	int status;
	pid_t pid;

	on_child(0);
	IN_CHILD(pid)
		for (;;)
			pause();
	EQ(kill(pid, SIGSTOP), 0);
	await_seen(1);
	end_is((siginfo_t *)&last, pid, CLD_STOPPED, SIGSTOP);
	EQ(kill(pid, SIGCONT), 0);
	await_seen(2);
	end_is((siginfo_t *)&last, pid, CLD_CONTINUED, SIGCONT);
	on_child(SA_NOCLDSTOP);
	EQ(kill(pid, SIGSTOP), 0);
	EQ(waitpid(pid, &status, WUNTRACED), pid);
	EQ(kill(pid, SIGCONT), 0);
	EQ(waitpid(pid, &status, WCONTINUED), pid);
	EQ(seen, 0);
	EQ(kill(pid, SIGTERM), 0);
	await_seen(1);
	end_is((siginfo_t *)&last, pid, CLD_KILLED, SIGTERM);
	EQ(ended(pid), SIGTERM);
}

/* Waiting waits for the last, and then there was none. */
static void nothing_to_wait_for(void)
{
	pid_t pid, other;

	hold_signal(SIGUSR1);
	IN_CHILD(pid)
		await_signal(SIGUSR1);
	IN_CHILD(other)
		;
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	EQ(kill(pid, SIGUSR1), 0);
	FAILS(waitpid(pid, NULL, 0), ECHILD);
	FAILS(waitpid(-1, NULL, 0), ECHILD);
	FAILS(kill(pid, 0), ESRCH);
	FAILS(kill(other, 0), ESRCH);
}

void test_sigchld_ignored(void)
{
	pid_t pid;

	signal(SIGCHLD, SIG_IGN);
	nothing_to_wait_for();
	signal(SIGCHLD, SIG_DFL);
	IN_CHILD(pid)
		_exit(3);
	EQ(ended(pid), 3 << 8);
}

void test_sigchld_nowait(void)
{
	on_child(SA_NOCLDWAIT);
	nothing_to_wait_for();
	CHECK(seen >= 1);
}

/* A parent that has a part in what its family shares hears of an exit from its child, and of it again from the engine: once is enough. */
void test_wait_early(void)
{
	struct rusage ru;
	int p[2], status;
	pid_t pid, pids[20];

	EQ(pipe(p), 0); /* shared since the fork */
	on_child(0);
	for (int i = 0; i < 300; i++) {
		IN_CHILD(pid)
			_exit(i);
		EQ(waitpid(pid, &status, 0), pid);
		EQ(status, (i & 0xff) << 8);
		EQ(seen, i + 1);
		end_is((siginfo_t *)&last, pid, CLD_EXITED, i & 0xff);
		FAILS(waitpid(pid, NULL, 0), ECHILD);
		FAILS(waitpid(-1, NULL, WNOHANG), ECHILD);
		FAILS(kill(pid, 0), ESRCH);
	}
	EQ(signal(SIGCHLD, SIG_DFL) == SIG_ERR, 0);
	for (size_t i = 0; i < COUNT(pids); i++) /* more at once than can be told */
		IN_CHILD(pids[i]) {
			close(p[1]);
			EQ(read(p[0], &status, 1), 0);
			if (i % 2)
				raise(SIGTERM);
			_exit((int)i);
		}
	close(p[1]);
	for (size_t i = COUNT(pids); i--;)
		EQ(ended(pids[i]), i % 2 ? SIGTERM : (int)i << 8);
	IN_CHILD(pid)
		work();
	EQ(wait4(pid, &status, 0, &ru), pid);
	CHECK(ru.ru_utime.tv_sec || ru.ru_utime.tv_usec + ru.ru_stime.tv_usec >= 5000);
	close(p[0]);
}

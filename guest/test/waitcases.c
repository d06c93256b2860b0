/* waitcases.c: cases of kill(2), waitpid(2), waitid(2) and vfork(2) that take many children (see ipc-cases.txt). */
#include "test.h"

enum { KIDS = 8 };

/* Children that end with status 3 when go is closed; with stop they stop themselves first. From the first-th on. */
static void start_kids(pid_t *kids, int first, int end, const int *go, bool stop)
{
	for (int i = first; i < end; i++)
		IN_CHILD(kids[i]) {
			close(go[1]);
			EQ(read(go[0], page, 1), 0);
			if (stop)
				EQ(kill(getpid(), SIGSTOP), 0);
			_exit(3);
		}
}

/* Exactly these are waited for, each once; who has stopped is let go on. */
static void reap_kids(pid_t which, int options, pid_t *kids, int n)
{
	int status, left = n;
	pid_t pid;

	while ((pid = waitpid(which, &status, options)) >= 0) {
		int i = 0;

		if (!pid) {
			CHECK(options & WNOHANG);
			sleep_ms(1);
			continue;
		}
		if (WIFSTOPPED(status)) {
			CHECK(options & WUNTRACED);
			EQ(WSTOPSIG(status), SIGSTOP);
			EQ(kill(pid, SIGCONT), 0);
			continue;
		}
		while (i < n && kids[i] != pid)
			i++;
		CHECK(i < n);
		kids[i] = 0;
		left--;
		EQ(status, 3 << 8);
	}
	EQ(errno, ECHILD);
	EQ(left, 0);
}

/* Each of many children is told of once, whatever the options are. */
void test_wait_many(void)
{
	static const int options[] = {0, WNOHANG, WUNTRACED};
	pid_t kids[KIDS];
	int go[2];

	for (size_t i = 0; i < COUNT(options); i++) {
		EQ(pipe(go), 0);
		start_kids(kids, 0, KIDS, go, options[i] & WUNTRACED);
		EQ(waitpid(-1, NULL, options[i] | WNOHANG), 0);
		close(go[0]), close(go[1]);
		reap_kids(-1, options[i], kids, KIDS);
	}
}

/* A parent whose group has changed in between has children of two groups, and waits for those of one or the other. */
void test_wait_groups(void)
{
	static const int options[] = {0, WNOHANG, WUNTRACED};
	pid_t pid, kids[KIDS], group;
	int go[2];

	for (size_t i = 0; i < COUNT(options); i++) {
		IN_CHILD(pid) {
			group = getpgrp();
			EQ(pipe(go), 0);
			start_kids(kids, 0, KIDS / 2, go, options[i] & WUNTRACED);
			EQ(setpgid(0, 0), 0);
			EQ(getpgrp(), getpid());
			start_kids(kids, KIDS / 2, KIDS, go, options[i] & WUNTRACED);
			EQ(waitpid(0, NULL, options[i] | WNOHANG), 0);
			EQ(waitpid(-group, NULL, options[i] | WNOHANG), 0);
			FAILS(waitpid(-0x3ffffff0, NULL, options[i]), ECHILD);
			close(go[0]), close(go[1]);
			reap_kids(0, options[i], kids + KIDS / 2, KIDS / 2);
			reap_kids(-group, options[i], kids, KIDS / 2);
		}
		EQ(ended(pid), 0);
	}
}

/* Children that end at once, sleep, compute, or have children of their own: all are told of. */
void test_wait_busy(void)
{
	pid_t kids[KIDS], pid;

	for (int i = 0; i < KIDS; i++)
		IN_CHILD(kids[i]) {
			switch (i / 2) {
			case 0:
				break;
			case 1:
				sleep_ms(100);
				break;
			case 2:
				for (clock_t end = clock() + CLOCKS_PER_SEC / 20; clock() < end;)
					;
				break;
			default:
				for (int k = 0; k < 50; k++) {
					IN_CHILD(pid)
						_exit(k);
					EQ(ended(pid), k << 8);
				}
			}
			_exit(3);
		}
	reap_kids(-1, 0, kids, KIDS);
}

/* A number that is no child of ours, a group, and an end by a fault. */
void test_waitid_which(void)
{
	volatile int zero = 0;
	siginfo_t si;
	pid_t pid;

	IN_CHILD(pid)
		;
	FAILS(waitid(P_PID, (id_t)pid + 1, &si, WEXITED), ECHILD);
	FAILS(waitid(P_PID, (id_t)getpid(), &si, WEXITED), ECHILD);
	FAILS(waitid(P_PGID, (id_t)getpgrp() + 1, &si, WEXITED), ECHILD);
	FAILS(waitid(P_ALL, 0, &si, WNOHANG), EINVAL);
	FAILS(waitid(P_ALL, 0, &si, WEXITED | 0x100), EINVAL);
	memset(&si, 0, sizeof(si));
	EQ(waitid(P_PGID, (id_t)getpgrp(), &si, WEXITED), 0);
	EQ(si.si_pid, pid);
	EQ(si.si_signo, SIGCHLD);
	EQ(si.si_code, CLD_EXITED);
	EQ(si.si_status, 0);
	IN_CHILD(pid)
		zero = 12345 / zero;
	EQ(waitid(P_PID, (id_t)pid, &si, WEXITED), 0);
	EQ(si.si_pid, pid);
	CHECK(si.si_code == CLD_KILLED || si.si_code == CLD_DUMPED);
	EQ(si.si_status, SIGFPE);
	FAILS(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
}

/* ---- kill ---- */

static volatile sig_atomic_t caught;

static void note(int sig)
{
	caught = sig;
}

/* Who catches a signal ends as it likes, and who ignores it by another one; SIGKILL neither. */
void test_kill_caught(void)
{
	int ready[2], other;
	sigset_t one, none;
	pid_t pid;

	EQ(pipe(ready), 0);
	sigemptyset(&none);
	for (int sig = 1; sig < 32; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		sigemptyset(&one);
		sigaddset(&one, sig);
		IN_CHILD(pid) {
			on_signal(sig, note, 0);
			EQ(sigprocmask(SIG_BLOCK, &one, NULL), 0);
			EQ(write(ready[1], "r", 1), 1);
			sigsuspend(&none);
			_exit(caught == sig ? 4 : 5);
		}
		EQ(read(ready[0], page, 1), 1);
		EQ(kill(pid, sig), 0);
		EQ(ended(pid), 4 << 8);
		IN_CHILD(pid) {
			signal(sig, SIG_IGN);
			EQ(write(ready[1], "r", 1), 1);
			for (;;)
				pause();
		}
		EQ(read(ready[0], page, 1), 1);
		EQ(kill(pid, sig), 0);
		other = sig == SIGTERM ? SIGUSR1 : SIGTERM;
		EQ(kill(pid, other), 0);
		EQ(ended(pid), other);
	}
}

/* ---- vfork ---- */

/* Users, groups, mask, folders and group of processes are the parent's; signals that are pending are not. */
void test_vfork_same(void)
{
	uid_t uids[2][3];
	gid_t gids[2][3];
	struct stat root[2], here[2];
	mode_t mask = umask(027);
	sigset_t pending;
	pid_t pid, group = getpgrp();

	hold_signal(SIGUSR1);
	EQ(raise(SIGUSR1), 0);
	EQ(getresuid(&uids[0][0], &uids[0][1], &uids[0][2]), 0);
	EQ(getresgid(&gids[0][0], &gids[0][1], &gids[0][2]), 0);
	EQ(stat("/", &root[0]), 0);
	EQ(stat(".", &here[0]), 0);
	pid = vfork();
	if (!pid) {
		if (getresuid(&uids[1][0], &uids[1][1], &uids[1][2]) || getresgid(&gids[1][0], &gids[1][1], &gids[1][2]))
			_exit(1);
		if (memcmp(uids[0], uids[1], sizeof(uids[0])) || memcmp(gids[0], gids[1], sizeof(gids[0])))
			_exit(2);
		if (stat("/", &root[1]) || root[1].st_ino != root[0].st_ino || root[1].st_dev != root[0].st_dev)
			_exit(3);
		if (stat(".", &here[1]) || here[1].st_ino != here[0].st_ino || here[1].st_dev != here[0].st_dev)
			_exit(4);
		if (umask(022) != 027 || getpgrp() != group)
			_exit(5);
		_exit(sigpending(&pending) || sigismember(&pending, SIGUSR1) ? 6 : 0);
	}
	EQ(ended(pid), 0);
	EQ(sigpending(&pending), 0);
	EQ(sigismember(&pending, SIGUSR1), 1);
	await_signal(SIGUSR1);
	EQ(umask(mask), 027);
}

/* Members of the caller's group: each writes a byte, and lives until a signal comes. */
static void start_group(const int *ready)
{
	pid_t pid;

	for (int i = 0; i < 5; i++)
		IN_CHILD(pid) {
			EQ(write(ready[1], "r", 1), 1);
			for (;;)
				pause();
		}
	for (int i = 0; i < 5; i++)
		EQ(read(ready[0], page, 1), 1);
}

/* A signal to a group reaches all of it, and nobody else: neither the parent of its leader, nor a child that leads another one. */
void test_kill_group(void)
{
	int ready[2];
	pid_t pid;

	for (int round = 0; round < 2; round++) {
		EQ(pipe(ready), 0);
		IN_CHILD(pid) {
			EQ(setpgid(0, 0), 0);
			start_group(ready);
			EQ(kill(round ? 0 : -getpgrp(), SIGKILL), 0);
			pause();
		}
		EQ(ended(pid), SIGKILL);
		close(ready[1]);
		EQ(read(ready[0], page, 1), 0); /* none of them is left */
		close(ready[0]);
	}
	EQ(pipe(ready), 0);
	IN_CHILD(pid) {
		pid_t same, own;

		EQ(setpgid(0, 0), 0);
		IN_CHILD(same) {
			EQ(write(ready[1], "r", 1), 1);
			pause();
		}
		IN_CHILD(own) {
			EQ(setpgid(0, 0), 0);
			EQ(write(ready[1], "r", 1), 1);
			pause();
		}
		EQ(read(ready[0], page, 1), 1);
		EQ(read(ready[0], page, 1), 1);
		signal(SIGUSR1, SIG_IGN);
		EQ(kill(0, SIGUSR1), 0);
		EQ(ended(same), SIGUSR1);
		EQ(waitpid(own, NULL, WNOHANG), 0);
		EQ(kill(-own, 0), 0);
		EQ(kill(-own, SIGTERM), 0);
		EQ(ended(own), SIGTERM);
		FAILS(kill(-own, 0), ESRCH);
	}
	EQ(ended(pid), 0);
	FAILS(kill(-0x3ffffff0, 0), ESRCH);
}

/* A child asks what is asked of it, and lives until its parent says so. */
static pid_t asks(int *go, bool lead, bool leave)
{
	int ready[2];
	pid_t pid;

	EQ(pipe(go), 0);
	EQ(pipe(ready), 0);
	IN_CHILD(pid) {
		close(go[1]);
		if (lead)
			EQ(setpgid(0, 0), 0);
		if (leave) {
			EQ(setsid(), getpid());
			EQ(getsid(0), getpid());
			FAILS(setsid(), EPERM);
			FAILS(setpgid(0, getppid()), EPERM);
		}
		EQ(write(ready[1], "r", 1), 1);
		EQ(read(go[0], page, 1), 0);
	}
	close(go[0]), close(ready[1]);
	EQ(read(ready[0], page, 1), 1);
	close(ready[0]);
	return pid;
}

/* Who may put whom into which group, and what its parent and its children see of it. */
void test_set_group(void)
{
	int first[2], second[2], gone[2];
	pid_t pid, one, two, away;

	IN_CHILD(pid) {
		EQ(setpgid(0, 0), 0);
		one = asks(first, false, false);
		two = asks(second, true, false);
		away = asks(gone, false, true);
		EQ(getpgid(one), getpid());
		EQ(getpgid(two), two);
		EQ(getpgid(away), away);
		EQ(getsid(one), getsid(0));
		EQ(getsid(away), away);
		FAILS(setsid(), EPERM);
		FAILS(setpgid(one, one + 1000), EPERM);
		FAILS(setpgid(one, -1), EINVAL);
		FAILS(setpgid(getppid(), 0), ESRCH);
		FAILS(setpgid(away, 0), EPERM);
		FAILS(setpgid(one, away), EPERM);
		FAILS(getpgid(0x3ffffff0), ESRCH);
		FAILS(getpgid(-1), ESRCH);

		EQ(setpgid(one, two), 0); /* as a shell puts a pipeline together */
		EQ(getpgid(one), two);
		FAILS(waitpid(0, NULL, WNOHANG), ECHILD);
		EQ(waitpid(-two, NULL, WNOHANG), 0);
		EQ(kill(-two, SIGTERM), 0);
		EQ(waitpid(-two, NULL, 0) + waitpid(-two, NULL, 0), one + two);
		FAILS(waitpid(-two, NULL, 0), ECHILD);
		EQ(waitpid(away, NULL, WNOHANG), 0);
		close(gone[1]);
		EQ(ended(away), 0);
	}
	EQ(ended(pid), 0);
}

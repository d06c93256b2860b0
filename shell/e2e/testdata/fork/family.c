/*
 * family SHAPE: a tree of processes that stay. SHAPE is how many children the root has, and each of them, and so on: 2.3.1.
 * Each says when it and all its children are there. SIGUSR1 makes it say who its parent is, SIGTERM ends it, and
 * it waits for no child before that.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t ask, stop;

static void note(int sig)
{
	if (sig == SIGTERM)
		stop = 1;
	else
		ask = 1;
}

static void say(const char *what, int n)
{
	char line[64];
	int len = snprintf(line, sizeof line, "%d %s %d\n", (int)getpid(), what, n);

	if (write(1, line, (size_t)len) != len)
		_exit(1);
}

int main(int argc, char **argv)
{
	const char *shape = argc > 1 ? argv[1] : "0";
	sigset_t both, none;
	int n;

	sigemptyset(&none);
	sigemptyset(&both);
	sigaddset(&both, SIGTERM);
	sigaddset(&both, SIGUSR1);
	sigprocmask(SIG_BLOCK, &both, NULL);
	signal(SIGTERM, note);
	signal(SIGUSR1, note);
again:
	n = shape ? atoi(shape) : 0;
	shape = shape ? strchr(shape, '.') : NULL;
	shape = shape ? shape + 1 : NULL;
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			say("cannot fork", i);
		if (!pid)
			goto again;
	}
	say("is there, child of", getppid());
	while (!stop) {
		sigsuspend(&none);
		if (ask)
			say("has the parent", getppid());
		ask = 0;
	}
	return 7;
}

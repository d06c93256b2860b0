/*
 * copier MIB CHILDREN: children that share so much memory with their parent. SIGUSR1 makes any of them write to all of it,
 * SIGUSR2 say that it is there. The parent says how a child has ended.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t got;

static void note(int sig)
{
	got = sig;
}

static void say(const char *what, int n)
{
	char line[64];
	int len = snprintf(line, sizeof line, "%s %d\n", what, n);

	if (write(1, line, (size_t)len) != len)
		_exit(1);
}

int main(int argc, char **argv)
{
	size_t size = (size_t)(argc > 1 ? atoi(argv[1]) : 1) << 20;
	int children = argc > 2 ? atoi(argv[2]) : 0, status;
	char *memory = malloc(size);
	sigset_t all, none;
	pid_t pid;

	if (!memory)
		return 2;
	memset(memory, 1, size);
	sigemptyset(&none);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	signal(SIGUSR1, note);
	signal(SIGUSR2, note);
	signal(SIGCHLD, note);
	for (int i = 0; i < children; i++) {
		pid = fork();
		if (pid < 0)
			return 3;
		if (!pid)
			break;
	}
	say("ready", getpid());
	for (;;) {
		sigsuspend(&none);
		if (got == SIGUSR1) {
			for (size_t i = 0; i < size; i += 4096)
				memory[i] = 2;
			say("wrote to", (int)(size >> 20));
		} else if (got == SIGUSR2) {
			say("there with", memory[0]);
		} else {
			while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
				say("a child ended by", WTERMSIG(status));
		}
	}
}

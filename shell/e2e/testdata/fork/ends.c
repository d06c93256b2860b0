/*
 * Forks and waits, again and again: ROUNDS children that print, and as many that only exit. It has a pipe, so each tells of its end
 * itself; the engine hears of it later. It ends right after the last of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int round_of(int i, int prints)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (prints)
			dprintf(1, "child %d\n", i);
		_exit(i & 0xff);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != (i & 0xff) << 8) {
		dprintf(1, "round %d: %s\n", i, pid < 0 ? strerror(errno) : "a wrong end");
		return 1;
	}
	if (prints)
		dprintf(1, "parent %d\n", i);
	return 0;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1, p[2];

	if (pipe(p))
		return 1;
	for (int i = 0; i < rounds; i++)
		if (round_of(i, 1))
			return 1;
	for (int i = 0; i < rounds; i++)
		if (round_of(i, 0))
			return 1;
	return 0;
}

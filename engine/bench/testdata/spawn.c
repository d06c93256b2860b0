/*
 * For every line on standard input: posix_spawns argv[1] with what follows it, which is vfork and exec, and prints the
 * CPU's counter before and what the child printed. With -DSTAY children are not waited for, but ended at the end of the input.
 */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#ifdef STAY
static void outlive(int sig)
{
	(void)sig;
}

/* Children are in this process's group. */
static void begin(void)
{
	setpgid(0, 0);
	signal(SIGTERM, outlive); /* a child, executed anew, has the default */
}

static void end(void)
{
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
}
#else
static void begin(void)
{
}

static void end(void)
{
}
#endif

int main(int argc, char **argv)
{
	char line[64];

	if (argc < 2)
		return 2;
	begin();
	while (fgets(line, sizeof line, stdin)) {
		posix_spawn_file_actions_t fa;
		unsigned long long before;
		ssize_t n;
		pid_t pid;
		int p[2];

		if (pipe(p))
			return 1;
		posix_spawn_file_actions_init(&fa);
		posix_spawn_file_actions_adddup2(&fa, p[1], 1);
		posix_spawn_file_actions_addclose(&fa, p[0]);
		before = __builtin_ia32_rdtsc();
		if (posix_spawn(&pid, argv[1], &fa, NULL, argv + 1, environ))
			return 1;
		close(p[1]);
		n = read(p[0], line, sizeof line - 1);
		if (n <= 0)
			return 1;
		line[n] = 0;
		printf("%llu %s", before, line);
		fflush(stdout);
		close(p[0]);
#ifndef STAY
		waitpid(pid, NULL, 0);
#endif
		posix_spawn_file_actions_destroy(&fa);
	}
	end();
	return 0;
}

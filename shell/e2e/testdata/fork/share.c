/*
 * share relay: a child writes numbers into a pipe, the parent prints them, and "end" when there is no writer any more.
 * share cycles N: as many children, each with a pipe and a file in common with its parent; every second one is killed.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int relay(void)
{
	struct timespec pause = {.tv_nsec = 20000000};
	int p[2], n;

	if (pipe(p))
		return 1;
	if (!fork()) {
		close(p[0]);
		for (n = 0; write(p[1], &n, sizeof(n)) == sizeof(n); n++)
			nanosleep(&pause, NULL);
		return 2;
	}
	close(p[1]);
	while (read(p[0], &n, sizeof(n)) == sizeof(n)) {
		printf("%d\n", n);
		fflush(stdout);
	}
	puts("end");
	return 0;
}

static int cycle(int fd, int i)
{
	static char page[4096];
	int p[2], status;
	long total = 0, got;
	pid_t pid;

	if (pipe(p))
		return 1;
	pid = fork();
	if (!pid) {
		for (int k = 0; k < 20; k++)
			if (write(p[1], page, sizeof(page)) != sizeof(page) || pwrite(fd, page, sizeof(page), k * 4096L) != sizeof(page))
				_exit(3);
		if (i % 2)
			raise(SIGKILL);
		_exit(0);
	}
	close(p[1]);
	while ((got = read(p[0], page, sizeof(page))) > 0)
		total += got;
	close(p[0]);
	if (waitpid(pid, &status, 0) != pid || status != (i % 2 ? SIGKILL : 0) || got || total != 20 * (long)sizeof(page))
		return 1;
	return ftruncate(fd, 0);
}

int main(int argc, char **argv)
{
	int fd = open("/f", O_RDWR | O_CREAT, 0600), n = 0;

	if (argc == 2 && !strcmp(argv[1], "relay"))
		return relay();
	while (argc == 3 && n < atoi(argv[2]) && !cycle(fd, n))
		n++;
	printf("%d cycles\n", n);
	return 0;
}

/*
 * pressure PAGES: writes to so many pages and forks. Both wait for SIGUSR1, then write to all of them anew, say so, and wait
 * for their end.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static void say(const char *what)
{
	char line[64];
	int len = snprintf(line, sizeof line, "%d %s\n", (int)getpid(), what);

	if (write(1, line, (size_t)len) != len)
		_exit(1);
}

int main(int argc, char **argv)
{
	size_t n = argc > 1 ? (size_t)atoi(argv[1]) : 1;
	unsigned char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigset_t usr1;
	int sig;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	if (p == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < n; i++)
		p[i * PAGE] = (unsigned char)(i % 251);
	if (fork() < 0)
		return 2;
	say("waits");
	sigwait(&usr1, &sig);
	for (size_t i = 0; i < n; i++) {
		if (p[i * PAGE] != i % 251)
			return 3;
		p[i * PAGE]++;
	}
	say("wrote");
	for (;;)
		pause();
}

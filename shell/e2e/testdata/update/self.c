/* A program that has its own library replaced: SIGUSR1 has it say what it sees, SIGUSR2 ask for next.so. */
#include "counter.h"

#include <errno.h>
#include <kx.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void ask(const char *file, const char *library)
{
	printf(" %s", strerror(-kx_update(file, library, 1000)));
}

int main(void)
{
	sigset_t set;
	int sig, round = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	printf("refused:");
	ask("nosuch.so", "libcounter.so");
	ask("../next.so", "libcounter.so");
	ask("/etc/passwd", "libcounter.so");
	ask("next.so", "libother.so");
	ask("", "libcounter.so");
	ask(NULL, "libcounter.so");
	puts("\nready");
	while (!sigwait(&set, &sig))
		if (sig == SIGUSR1) {
			printf("%d %d: calls %d step %d\n", (int)getpid(), ++round, count(), step());
		} else {
			printf("asked:");
			ask("next.so", "libcounter.so");
			ask("next.so", "libcounter.so");
			putchar('\n');
		}
}

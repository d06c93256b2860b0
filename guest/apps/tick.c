/*
 * tick.c [SECONDS]: prints a line every second, for ever or for that many seconds. On SIGTERM it
 * says so and leaves with status 0, as a well-behaved service does.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile sig_atomic_t leave;

static void on_term(int sig)
{
	leave = sig;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_term };
	long n = argc > 1 ? strtol(argv[1], NULL, 10) : -1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &sa, NULL);
	for (long i = 1; !leave && i - 1 != n; i++) {
		printf("tick %ld\n", i);
		nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
	}
	if (leave)
		puts("tick: told to stop");
	return 0;
}

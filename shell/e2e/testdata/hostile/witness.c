/*
 * witness.c: counts aloud until SIGTERM, then says how far it came and leaves. It runs beside every
 * hostile guest: a number missing, twice or out of place shows in its log.
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

int main(void)
{
	static unsigned char pattern[1 << 20];
	struct sigaction sa = { .sa_handler = on_term };
	unsigned long n;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &sa, NULL);
	for (size_t i = 0; i < sizeof pattern; i++)
		pattern[i] = i * 31;
	for (n = 1; !leave; n++) {
		printf("witness %lu\n", n);
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	}
	for (size_t i = 0; i < sizeof pattern; i++)
		if (pattern[i] != (unsigned char)(i * 31)) {
			printf("byte %zu was changed\n", i);
			return 1;
		}
	printf("unharmed after %lu\n", n - 1);
	return 0;
}

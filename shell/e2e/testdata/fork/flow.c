/*
 * flow: a child that writes "line 0", "line 1" and so on to standard output for ever, and a parent that looks whether what it reads goes on in that order. Nothing
 * connects them. Told by SIGUSR1 the parent says which lines it has read since, how many were out of order, and for how many milliseconds nothing came at most.
 *   flow [ignore]   ignore: the child lives without a reader
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t told;

static void on_usr1(int sig)
{
	(void)sig;
	told = 1;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void source(void)
{
	char line[32];

	for (long i = 0;; i++) {
		int n = snprintf(line, sizeof(line), "line %ld\n", i);

		while (write(1, line, n) != n)
			usleep(20000);
		usleep(20000);
	}
}

static long first = -1, last = -1, wrong, pause_ms, came;

static void take(const char *line)
{
	long n = -1, now = now_ms();

	if (sscanf(line, "line %ld", &n) != 1) {
		fprintf(stderr, "read: %s\n", line);
		return;
	}
	if (first < 0)
		first = n;
	else if (n != last + 1)
		wrong++;
	if (last >= 0 && now - came > pause_ms)
		pause_ms = now - came;
	last = n;
	came = now;
}

static void tell(void)
{
	told = 0;
	fprintf(stderr, "from %ld to %ld, %ld wrong, %ld ms\n", first, last, wrong, pause_ms);
	first = last = -1;
	wrong = pause_ms = 0;
}

int main(int argc, char **argv)
{
	struct sigaction usr1 = {.sa_handler = on_usr1};
	char line[256];
	size_t have = 0;

	if (argc > 1 && !strcmp(argv[1], "ignore"))
		signal(SIGPIPE, SIG_IGN);
	if (!fork())
		source();
	sigaction(SIGUSR1, &usr1, NULL);
	for (;;) {
		ssize_t n = told ? -1 : read(0, line + have, 1);

		if (told)
			tell();
		if (n == 0) {
			fprintf(stderr, "end\n");
			for (;;)
				pause();
		}
		if (n <= 0)
			continue;
		have += n;
		if (line[have - 1] == '\n' || have == sizeof(line) - 1) {
			line[have - 1] = 0;
			take(line);
			have = 0;
		}
	}
}

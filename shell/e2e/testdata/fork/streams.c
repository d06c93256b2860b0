/*
 * streams: a parent that copies standard input into counts, and children that write to standard output when they are told to, by SIGUSR1. Nothing
 * connects them.
 *   streams read|poll   for each line the parent says how long it was and the sum of its bytes, and at the end "end"; poll: it polls first
 *   streams pour        the parent writes for ever, its children read one line when they are told to
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t told;

static void on_usr1(int sig)
{
	(void)sig;
	told++;
}

/* Until SIGUSR1 comes, which is blocked else. */
static void await_usr1(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigsuspend(&none);
}

static void write_all(const char *p, size_t n)
{
	while (n) {
		ssize_t got = write(1, p, n);

		if (got <= 0)
			exit(3);
		p += got;
		n -= (size_t)got;
	}
}

static void writer(void)
{
	static char line[100001];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	write_all("ready\n", 6);
	for (;;) {
		await_usr1();
		write_all(line, sizeof(line));
	}
}

static void reader(int polls)
{
	static char buf[9000];
	unsigned long count = 0, sum = 0;
	ssize_t n;

	for (;;) {
		struct pollfd p = {0, POLLIN, 0};

		if (polls && poll(&p, 1, -1) != 1)
			exit(4);
		n = read(0, buf, sizeof(buf));
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++) {
			count++;
			sum += (unsigned char)buf[i];
			if (buf[i] != '\n')
				continue;
			fprintf(stderr, "%lu bytes, sum %lu\n", count, sum);
			count = sum = 0;
		}
	}
	fprintf(stderr, n ? "error\n" : "end\n");
}

int main(int argc, char **argv)
{
	int pours = argc > 1 && !strcmp(argv[1], "pour");
	sigset_t usr1;
	char c = 0;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	signal(SIGUSR1, on_usr1);
	for (int i = 0; i < 2; i++) {
		if (fork())
			continue;
		if (!pours)
			writer();
		await_usr1();
		while (c != '\n' && read(0, &c, 1) == 1)
			write(1, &c, 1);
		for (;;)
			await_usr1();
	}
	for (int i = 0; pours; i++) {
		dprintf(1, "line %d\n", i);
		usleep(2000);
	}
	reader(argc > 1 && !strcmp(argv[1], "poll"));
	return 0;
}

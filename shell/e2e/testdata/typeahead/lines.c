/* lines.c N: reads N lines, one after the other, and then no more, until SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_term(int sig)
{
	_exit(sig != SIGTERM);
}

int main(int argc, char **argv)
{
	char line[256];

	signal(SIGTERM, on_term);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int n = argc > 1 ? atoi(argv[1]) : 0; n; n--) {
		ssize_t len = read(STDIN_FILENO, line, sizeof(line));

		printf("read <%.*s>\n", len > 0 ? (int)len - 1 : 0, line);
	}
	puts("reads no more");
	for (;;)
		pause();
}

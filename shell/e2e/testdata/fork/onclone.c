/* onclone spin|pause|none: tells in which of the children that others make of it it is, by a handler; TERM ends it. */
#include <kx.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t told, count;

static void on_clone(void)
{
	char line[64];
	int n = snprintf(line, sizeof line, "clone %d of %d\n", getpid(), getppid());

	count++;
	if (write(1, line, (size_t)n) != n)
		abort();
}

static void on_term(int sig)
{
	told = sig;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "pause";

	signal(SIGTERM, on_term);
	if (strcmp(how, "none"))
		kx_on_clone(on_clone);
	if (write(1, "ready\n", 6) != 6)
		return 1;
	while (!told)
		if (strcmp(how, "spin"))
			pause();
	return count;
}

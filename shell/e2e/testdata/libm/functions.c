/* What functions of libm make of some arguments; with "late" after SIGUSR1, with "fork" in a child as well. */
#include <fenv.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "digest.h"

static void take(const char *name, uint64_t now, uint64_t next)
{
	(void)next;
	printf("%s %016llx\n", name, (unsigned long long)now);
}

static void functions(void)
{
	printf("signgam %d\n", signgam);
	FUNCTIONS

	/* Its one variable is the program's. */
	signgam = 7;
	lgamma(-0.5);
	printf("signgam %d\n", signgam);
	fesetround(FE_DOWNWARD);
	printf("rint %g\n", rint(1.75));
	fesetround(FE_TONEAREST);
}

static volatile sig_atomic_t go;

static void on_signal(int sig)
{
	(void)sig;
	go = 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct timespec t = {0, 20000000};
	int status;
	pid_t pid;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGUSR1, on_signal);
	if (!strcmp(what, "late")) {
		puts("ready");
		while (!go)
			nanosleep(&t, NULL);
	}
	if (!strcmp(what, "fork")) {
		pid = fork();
		if (pid == 0) {
			functions();
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return 1;
	}
	functions();
	return 0;
}

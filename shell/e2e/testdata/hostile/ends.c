/* ends.c MODE [SIGNAL]: the ways to end that are no faults. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *spin(void *arg)
{
	for (;;)
		;
	return arg;
}

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *exits(void *arg)
{
	puts("a thread leaves for all");
	exit((int)(long)arg);
}

static void *says(void *arg)
{
	usleep(20000);
	puts("the last thread");
	return arg;
}

static void start(void *(*f)(void *), long arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, f, (void *)arg))
		_exit(99);
}

static void at_exit(void)
{
	puts("at exit");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(mode, "thread-exit")) {
		atexit(at_exit);
		start(exits, 42);
		pause();
	} else if (!strcmp(mode, "main-returns")) {
		start(spin, 0);
		start(sleeper, 0);
		usleep(20000);
		return 7;
	} else if (!strcmp(mode, "main-leaves")) {
		start(says, 0);
		pthread_exit(NULL);
	} else if (!strcmp(mode, "kill")) {
		kill(getpid(), atoi(argv[2]));
		pause();
	} else if (!strcmp(mode, "thread-kill")) {
		start(spin, 0);
		raise(atoi(argv[2]));
		pause();
	} else if (!strcmp(mode, "spin")) {
		puts("spinning");
		spin(NULL);
	} else if (!strcmp(mode, "deaf")) { /* only SIGKILL reaches it */
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		puts("deaf");
		spin(NULL);
	}
	return 100;
}

/*
 * busy: asks the engine for something all the time: libraries, groups, children. What comes by its queue meanwhile has to be 1, 2, 3 and so on; it
 * ends with the message that is 0.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <unistd.h>

int step(void);

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void calls(int round)
{
	void *library = dlopen("libfix.so", RTLD_NOW);
	int status;
	pid_t pid;

	if (!library || !dlsym(library, "fix_count"))
		fail(dlerror());
	dlclose(library);
	if (getpgid(0) < 0 || getsid(0) < 0)
		fail("getpgid");
	if (round % 4)
		return;
	pid = fork();
	if (!pid)
		_exit(step() % 99);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 1 << 8)
		fail("child");
}

int main(void)
{
	struct {
		long type;
		char text[100];
	} m;
	int queue = msgget(42, IPC_CREAT | 0600), last = 0, round;

	printf("ready\n");
	fflush(stdout);
	for (round = 1; ; round++) {
		ssize_t n;

		calls(round);
		n = msgrcv(queue, &m, sizeof(m.text) - 1, 0, IPC_NOWAIT);
		if (n < 0 && errno != ENOMSG)
			fail("msgrcv");
		if (n < 0)
			continue;
		m.text[n] = 0;
		if (!atoi(m.text))
			break;
		if (atoi(m.text) != ++last) {
			printf("%s after %d\n", m.text, last - 1);
			return 1;
		}
	}
	printf("%d messages\n", last);
	return round < last;
}

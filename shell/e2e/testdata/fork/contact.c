/*
 * contact: a child that answers messages, and then so many others (the first argument), each second one of which asks it once and all of which end at
 * once. After that, twice, one more: "ready", then it asks after so many ms (the second argument), and how many ms it took to be answered is said, and how many
 * event channels the one that answers has, on Xen.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int queue;

static struct {
	long took; /* ms */
	int ports;
} *shared;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	kill(0, SIGKILL);
	_exit(1);
}

static void say(long type)
{
	struct {
		long type;
		char text[4];
	} m = {.type = type};

	check(!msgsnd(queue, &m, sizeof(m.text), 0), "msgsnd");
}

static void hear(long type)
{
	struct {
		long type;
		char text[4];
	} m;

	check(msgrcv(queue, &m, sizeof(m.text), type, 0) >= 0, "msgrcv");
}

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

extern char kx_hypercall_page[];

static int ports(void)
{
	int open = 0;

	for (unsigned port = 1; port < 1024; port++) {
		struct {
			unsigned short dom, pad;
			unsigned port, status, vcpu, peer[2];
		} s = {.dom = 0x7ff0, .port = port};
		long result, status = 5;
		void *at = &s;

		__asm__ volatile("call *%[page]" : "=a"(result), "+D"(status), "+S"(at)
				 : [page] "r"(kx_hypercall_page + 32 * 32) : "rdx", "r8", "r10", "memory", "cc");
		open += !result && s.status;
	}
	return open;
}

static pid_t child(void)
{
	pid_t pid = fork();

	check(pid >= 0, "fork");
	return pid;
}

static void ask(void)
{
	say(1);
	hear(2);
}

int main(int argc, char **argv)
{
	int many = argc > 1 ? atoi(argv[1]) : 0, later = argc > 2 ? atoi(argv[2]) : 0;
	pid_t answers;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(shared != MAP_FAILED, "mmap");
	queue = msgget(IPC_PRIVATE, 0600);
	check(queue >= 0, "msgget");
	answers = child();
	while (!answers) {
		hear(1);
		if (shared->took)
			shared->ports = ports();
		say(2);
	}
	for (int i = 0; i < many; i++) {
		pid_t pid = child();

		if (!pid) {
			if (i % 2)
				ask();
			_exit(0);
		}
		check(waitpid(pid, NULL, 0) == pid, "waitpid");
	}
	for (int i = 0; i < 2; i++) {
		pid_t pid = child();

		if (!pid) {
			usleep(later * 1000);
			shared->took = -now();
			ask();
			shared->took += now();
			_exit(0);
		}
		printf("ready %d\n", i);
		fflush(stdout);
		check(waitpid(pid, NULL, 0) == pid, "waitpid");
		printf("took %ld ports %d\n", shared->took, shared->ports);
		fflush(stdout);
	}
	kill(answers, SIGKILL);
	return 0;
}

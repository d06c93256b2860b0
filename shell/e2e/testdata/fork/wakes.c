/*
 * wakes: a parent and a worker that answer each other by pipes, and two of its children that do by a queue, each time when the
 * other one sleeps. A worker that ends is followed by another, each of which is said when it has answered some times, and the queue
 * has been used as often. SIGTERM: prints for
 * pipes and queue how many rounds there were and the longest time that one took, in ms, and ends. With an argument each worker
 * also never stops to ring everybody that it can.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOME 10

static struct tally {
	long rounds, longest, last; /* ns */
} *tallies;

static volatile sig_atomic_t over;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	kill(0, SIGKILL);
	_exit(1);
}

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

/* How long the round took that ends now. */
static void measure(struct tally *t)
{
	long n = now();

	if (t->last && n - t->last > t->longest)
		t->longest = n - t->last;
	t->last = n;
}

static void count(struct tally *t)
{
	measure(t);
	t->rounds++;
	usleep(2000); /* so that the other one sleeps */
}

static void on_term(int sig)
{
	over = sig;
}

static void exchange(int queue, int from, int to)
{
	struct {
		long type;
		char text[4];
	} m = {.type = to};

	for (;;) {
		check(!msgsnd(queue, &m, sizeof(m.text), 0), "msgsnd");
		check(msgrcv(queue, &m, sizeof(m.text), from, 0) >= 0, "msgrcv");
		m.type = to;
		count(&tallies[1]);
	}
}

/* A pair of children; the second one only answers. */
static void siblings(void)
{
	int queue = msgget(IPC_PRIVATE, 0600);

	check(queue >= 0, "msgget");
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		check(pid >= 0, "fork");
		if (!pid) {
			signal(SIGTERM, SIG_DFL);
			if (i)
				exchange(queue, 1, 2);
			for (struct { long type; char text[4]; } m;;) {
				check(msgrcv(queue, &m, sizeof(m.text), 2, 0) >= 0, "msgrcv");
				m.type = 1;
				check(!msgsnd(queue, &m, sizeof(m.text), 0), "msgsnd");
			}
		}
	}
}

extern char kx_hypercall_page[];

static void ring(unsigned port)
{
	long result, send = 4;
	unsigned *p = &port;

	__asm__ volatile("call *%[page]" : "=a"(result), "+D"(send), "+S"(p)
			 : [page] "r"(kx_hypercall_page + 32 * 32) : "rdx", "r8", "r10", "memory", "cc");
	(void)result;
}

/* By lines on Xen, and by the bells of the hosted hypervisor. */
static void *flood(void *arg)
{
	while (!over) {
		for (unsigned port = 2; port < 32; port++)
			ring(port);
		for (unsigned place = 0; place < 4; place++)
			ring(0x10000 + place);
	}
	return arg;
}

static pid_t worker(int *in, int *out, int flooding)
{
	int to[2], back[2];
	pthread_t t;
	pid_t pid;
	char c;

	check(!pipe(to) && !pipe(back), "pipe");
	pid = fork();
	check(pid >= 0, "fork");
	if (!pid) {
		signal(SIGTERM, SIG_DFL);
		close(to[1]), close(back[0]);
		if (flooding)
			check(!pthread_create(&t, NULL, flood, NULL), "pthread_create");
		while (read(to[0], &c, 1) == 1)
			if (write(back[1], &c, 1) != 1)
				break;
		_exit(0);
	}
	close(to[0]), close(back[1]);
	*in = back[0];
	*out = to[1];
	return pid;
}

int main(int argc, char **argv)
{
	struct sigaction a = {.sa_handler = on_term};
	int in, out, answers = 0;
	pid_t pid;

	(void)argv;
	tallies = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(tallies != MAP_FAILED, "mmap");
	sigaction(SIGTERM, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
	siblings();
	pid = worker(&in, &out, argc > 1);
	while (!over) {
		char c = 0;

		if (write(out, &c, 1) == 1 && read(in, &c, 1) == 1) {
			count(&tallies[0]);
			if (answers < SOME && tallies[1].rounds >= SOME && ++answers == SOME) {
				printf("worker %d\n", pid);
				fflush(stdout);
			}
			continue;
		}
		if (over)
			break;
		waitpid(pid, NULL, 0);
		close(in), close(out);
		pid = worker(&in, &out, argc > 1);
		tallies[0].last = 0;
		answers = 0;
	}
	measure(&tallies[0]), measure(&tallies[1]); /* one of which no end was seen */
	printf("pipes %ld %ld queue %ld %ld\n", tallies[0].rounds, tallies[0].longest / 1000000, tallies[1].rounds, tallies[1].longest / 1000000);
	fflush(stdout);
	kill(0, SIGKILL);
	return 0;
}

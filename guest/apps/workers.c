/*
 * workers [WORKERS [JOBS]]: a pool of forked workers over message queues. The parent sends jobs, numbers to be factored;
 * whoever is free takes the next one. Answers come as they are ready, and are printed in order. One job kills the worker that
 * tries it first: the parent hears of that, gives the job to the others, and makes a new worker.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOB = 1, END };                  /* types of jobs: workers take the lowest first */
enum { TAKEN = 1, ANSWER, DIED };       /* ... and of reports */

struct message {
	long type;
	int job;   /* which one; in DIED nothing */
	int tries; /* before this one */
	pid_t worker;
	char text[100];
};

#define SIZE (sizeof(struct message) - sizeof(long))
#define MOST 10000
#define AHEAD 40 /* jobs without an answer: neither queue gets full, so nobody waits for who waits for him */

static int jobs, reports; /* queues */
static char *answers[MOST];
static int tries[MOST];
static pid_t taker[MOST];

static void die(const char *what)
{
	perror(what);
	msgctl(jobs, IPC_RMID, NULL);
	msgctl(reports, IPC_RMID, NULL);
	_exit(1);
}

static void factor(unsigned long n, char *text, size_t room)
{
	size_t at = (size_t)snprintf(text, room, "%lu =", n);
	const char *sep = " ";

	for (unsigned long p = 2; p * p <= n; p++)
		for (; n % p == 0; n /= p, sep = " * ")
			at += (size_t)snprintf(text + at, room - at, "%s%lu", sep, p);
	if (n > 1)
		snprintf(text + at, room - at, "%s%lu", sep, n);
}

/* ---- a worker ---- */

static void report(struct message *m, long type)
{
	m->type = type;
	m->worker = getpid();
	if (msgsnd(reports, m, SIZE, 0))
		die("workers: a worker's report");
}

static void work(int deadly)
{
	struct message m;

	for (;;) {
		if (msgrcv(jobs, &m, SIZE, -END, 0) < 0)
			die("workers: a worker's job");
		if (m.type == END)
			_exit(0);
		report(&m, TAKEN);
		if (m.job == deadly && !m.tries)
			raise(SIGKILL);
		factor(strtoul(m.text, NULL, 10), m.text, sizeof(m.text));
		report(&m, ANSWER);
	}
}

static void start(int deadly)
{
	pid_t pid = fork();

	if (pid < 0)
		die("workers: fork");
	if (!pid)
		work(deadly);
}

/* ---- the parent ---- */

/* Whoever has died reports it, too: so all news comes by one way. */
static void on_child(int sig)
{
	struct message m = {.type = DIED};
	int status, err = errno;

	(void)sig;
	while ((m.worker = waitpid(-1, &status, WNOHANG)) > 0)
		if (WIFSIGNALED(status))
			msgsnd(reports, &m, SIZE, 0);
	errno = err;
}

static void put(long type, int job)
{
	struct message m = {.type = type, .job = job, .tries = tries[job]};

	snprintf(m.text, sizeof(m.text), "%lu", 1000003UL * (unsigned long)(job + 1) + 360);
	while (msgsnd(jobs, &m, SIZE, 0))
		if (errno != EINTR)
			die("workers: msgsnd");
}

/* One report; how many answers and dead workers it brought. */
static void hear(int *done, int *died, int deadly)
{
	struct message m;

	while (msgrcv(reports, &m, SIZE, 0, 0) < 0)
		if (errno != EINTR)
			die("workers: msgrcv");
	switch (m.type) {
	case TAKEN:
		taker[m.job] = m.worker;
		break;
	case ANSWER:
		taker[m.job] = 0;
		answers[m.job] = strdup(m.text);
		++*done;
		break;
	case DIED:
		++*died;
		start(deadly);
		for (int i = 0; i < MOST; i++)
			if (taker[i] == m.worker && !answers[i]) {
				taker[i] = 0;
				tries[i]++;
				put(JOB, i);
			}
	}
}

int main(int argc, char **argv)
{
	int workers = argc > 1 ? atoi(argv[1]) : 4, n = argc > 2 ? atoi(argv[2]) : 20, done = 0, died = 0, deadly = n / 2;
	struct sigaction sa = {.sa_handler = on_child};
	sigset_t child, old;

	if (workers < 1 || workers > 100 || n < 1 || n > MOST) {
		fputs("usage: workers [WORKERS 1-100 [JOBS 1-10000]]\n", stderr);
		return 2;
	}
	jobs = msgget(IPC_PRIVATE, 0600);
	reports = msgget(IPC_PRIVATE, 0600);
	if (jobs < 0 || reports < 0)
		die("workers: msgget");
	sigaction(SIGCHLD, &sa, NULL);
	for (int i = 0; i < workers; i++)
		start(deadly);
	for (int i = 0; i < n; i++) {
		while (i - done >= AHEAD)
			hear(&done, &died, deadly);
		put(JOB, i);
	}
	while (done < n)
		hear(&done, &died, deadly);
	for (int i = 0; i < n; i++)
		puts(answers[i]);
	printf("%d jobs, %d workers, %d died\n", n, workers, died);
	/* From here on nobody's end is news. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &old);
	for (int i = 0; i < workers; i++)
		put(END, 0);
	while (wait(NULL) > 0)
		;
	if (msgctl(jobs, IPC_RMID, NULL) || msgctl(reports, IPC_RMID, NULL))
		die("workers: msgctl");
	return 0;
}

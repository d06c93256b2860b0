/*
 * ipc: obeys lines "WHAT N": measures that N times between itself and a child of it, or between two children, and prints for
 * each series "NAME" and N numbers of ticks in one line, and then "p".
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* <linux/futex.h>, which not every libc comes with */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

#define MOST 4096
#define WARM 20        /* first rounds that do not count */
#define SETTLE 2000000 /* ticks after which a peer that waits sleeps */
#define BULK (1 << 20)

typedef unsigned long long ticks;

/* What parent and children share. */
static struct {
	ticks at;
	volatile int ready, turn;
	int word;
	ticks contact[2]; /* the first, and a later one */
} *shared;
static ticks took[MOST];
static int n;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	_exit(1);
}

static ticks now(void)
{
	return __builtin_ia32_rdtsc();
}

static void settle(void)
{
	for (ticks end = now() + SETTLE; now() < end;)
		__builtin_ia32_pause();
}

static void say(const char *name, const ticks *t)
{
	printf("%s", name);
	for (int i = 0; i < n; i++)
		printf(" %llu", t[i]);
	printf("\n");
	fflush(stdout);
}

/* Runs f in a child. */
static pid_t child(void (*f)(void))
{
	pid_t pid = fork();

	check(pid >= 0, "fork");
	if (!pid) {
		f();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && !status, "a child failed");
}

/* ---- pipes ---- */

static int to[2], back[2];
static size_t size;
static char bulk[65536];

static void pipes(void)
{
	check(!pipe(to) && !pipe(back), "pipe");
}

static void no_pipes(void)
{
	close(to[0]), close(to[1]), close(back[0]), close(back[1]);
}

static void put(int fd, const void *p, size_t len)
{
	check(write(fd, p, len) == (ssize_t)len, "write");
}

static void get(int fd, void *p, size_t len)
{
	check(read(fd, p, len) == (ssize_t)len, "read");
}

static void made(void)
{
	for (int i = 0; i < n; i++) {
		ticks start = now();
		char c = 0;

		check(!pipe(to), "pipe");
		put(to[1], &c, 1);
		get(to[0], &c, 1);
		took[i] = now() - start;
		close(to[0]), close(to[1]);
	}
	say("pipe-made", took);
}

static void pipe_answers(void)
{
	char c;

	for (int i = 0; i < WARM + n; i++) {
		get(to[0], &c, 1);
		put(back[1], &c, 1);
	}
}

static void pipe_rounds(void)
{
	pid_t pid;
	char c = 0;

	pipes();
	pid = child(pipe_answers);
	for (int i = -WARM; i < n; i++) {
		ticks start = now();

		put(to[1], &c, 1);
		get(back[0], &c, 1);
		if (i >= 0)
			took[i] = now() - start;
	}
	end(pid);
	no_pipes();
	say("pipe", took);
}

static void pipe_stamps(void)
{
	for (int i = -WARM; i < n; i++) {
		ticks at;

		get(to[0], &at, sizeof(at));
		at = now() - at;
		put(back[1], &at, sizeof(at));
	}
}

/* The reader sleeps when it is written to. */
static void pipe_oneway(void)
{
	pid_t pid;

	pipes();
	pid = child(pipe_stamps);
	for (int i = -WARM; i < n; i++) {
		ticks at;

		settle();
		at = now();
		put(to[1], &at, sizeof(at));
		get(back[0], &at, sizeof(at));
		if (i >= 0)
			took[i] = at;
	}
	end(pid);
	no_pipes();
	say("pipe-oneway", took);
}

static void pipe_takes(void)
{
	char c = 0;

	for (int i = 0; i < n; i++) {
		for (size_t left = BULK; left;) {
			ssize_t r = read(to[0], bulk, sizeof(bulk));

			check(r > 0, "read");
			left -= (size_t)r;
		}
		put(back[1], &c, 1);
	}
}

/* Each sample is 1 MiB, and the reader's word that it has it, by the number of writes. */
static void pipe_bulk(const char *name, size_t each)
{
	pid_t pid;
	char c;

	size = each;
	pipes();
	pid = child(pipe_takes);
	for (int i = 0; i < n; i++) {
		ticks start = now();

		for (size_t done = 0; done < BULK; done += size)
			put(to[1], bulk, size);
		get(back[0], &c, 1);
		took[i] = (now() - start) / (BULK / size);
	}
	end(pid);
	no_pipes();
	say(name, took);
}

static void pipe_4k(void)
{
	pipe_bulk("pipe-4k", 4096);
}

static void pipe_64k(void)
{
	pipe_bulk("pipe-64k", 65536);
}

/* ---- message queues ---- */

static int queue;

struct message {
	long type;
	char text[8];
};

static void send_message(long type)
{
	struct message m = {.type = type};

	check(!msgsnd(queue, &m, sizeof(m.text), 0), "msgsnd");
}

static void take_message(long type)
{
	struct message m;

	check(msgrcv(queue, &m, sizeof(m.text), type, 0) == sizeof(m.text), "msgrcv");
}

static void make_queue(void)
{
	queue = msgget(IPC_PRIVATE, 0600);
	check(queue >= 0, "msgget");
}

static void queue_answers(void)
{
	for (int i = -WARM; i < n; i++) {
		take_message(1);
		send_message(2);
	}
}

static void queue_rounds(void)
{
	pid_t pid;

	make_queue();
	pid = child(queue_answers);
	for (int i = -WARM; i < n; i++) {
		ticks start = now();

		send_message(1);
		take_message(2);
		if (i >= 0)
			took[i] = now() - start;
	}
	end(pid);
	msgctl(queue, IPC_RMID, NULL);
	say("queue", took);
}

/* ---- signals ---- */

static volatile sig_atomic_t came;

static void note(int sig)
{
	came = sig;
}

static void await_signal(void)
{
	sigset_t none;

	sigemptyset(&none);
	while (!came)
		sigsuspend(&none);
	came = 0;
}

static void signal_answers(void)
{
	for (int i = -WARM; i < n; i++) {
		await_signal();
		check(!kill(getppid(), SIGUSR1), "kill");
	}
}

static void kill_rounds(void)
{
	struct sigaction a = {.sa_handler = note};
	sigset_t usr1, old;
	pid_t pid;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, &old);
	sigaction(SIGUSR1, &a, NULL);
	came = 0;
	pid = child(signal_answers);
	for (int i = -WARM; i < n; i++) {
		ticks start = now();

		check(!kill(pid, SIGUSR1), "kill");
		await_signal();
		if (i >= 0)
			took[i] = now() - start;
	}
	end(pid);
	sigprocmask(SIG_SETMASK, &old, NULL);
	say("kill", took);
}

/* ---- exit and wait ---- */

static void exits(void)
{
	settle();
	shared->at = now();
}

static void wait_rounds(void)
{
	for (int i = 0; i < n; i++) {
		end(child(exits));
		took[i] = now() - shared->at;
	}
	say("wait", took);
}

/* ---- shared memory ---- */

static void await_word(int from)
{
	while (__atomic_load_n(&shared->word, __ATOMIC_SEQ_CST) == from)
		syscall(SYS_futex, &shared->word, FUTEX_WAIT, from, NULL, NULL, 0);
}

static void set_word(int value)
{
	__atomic_store_n(&shared->word, value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void word_answers(void)
{
	for (int i = -WARM; i < n; i++) {
		await_word(0);
		set_word(0);
	}
}

static void futex_rounds(void)
{
	pid_t pid;

	shared->word = 0;
	pid = child(word_answers);
	for (int i = -WARM; i < n; i++) {
		ticks start = now();

		set_word(1);
		await_word(1);
		if (i >= 0)
			took[i] = now() - start;
	}
	end(pid);
	say("shm-futex", took);
}

static void await_turn(int from)
{
	while (shared->turn == from)
		__builtin_ia32_pause();
}

static void turn_answers(void)
{
	for (int i = -WARM; i < n; i++) {
		await_turn(0);
		shared->turn = 0;
	}
}

static void spin_rounds(void)
{
	pid_t pid;

	shared->turn = 0;
	pid = child(turn_answers);
	for (int i = -WARM; i < n; i++) {
		ticks start = now();

		shared->turn = 1;
		await_turn(1);
		if (i >= 0)
			took[i] = now() - start;
	}
	end(pid);
	say("shm-spin", took);
}

/* ---- first contact ---- */

static void contact_answers(void)
{
	shared->ready = 1;
	for (int i = 0; i < 2 * WARM; i++) {
		take_message(1);
		send_message(2);
	}
}

/* The first round, and one after some, not so late that the other side is about to exit. */
static void contact_asks(void)
{
	while (!shared->ready)
		usleep(100);
	settle();
	for (int i = 0; i < 2 * WARM; i++) {
		ticks start = now();

		send_message(1);
		take_message(2);
		start = now() - start;
		if (i == 0 || i == WARM)
			shared->contact[i == WARM] = start;
	}
}

static void contact(const char *name, const char *later, int lineal)
{
	static ticks after[MOST];

	make_queue();
	for (int i = 0; i < n; i++) {
		pid_t asks = 0, answers;

		shared->ready = 0;
		answers = child(contact_answers);
		if (lineal)
			contact_asks();
		else
			asks = child(contact_asks);
		end(answers);
		if (!lineal)
			end(asks);
		took[i] = shared->contact[0];
		after[i] = shared->contact[1];
	}
	msgctl(queue, IPC_RMID, NULL);
	say(name, took);
	say(later, after);
}

static void lineal(void)
{
	contact("lineal-first", "lineal-after", 1);
}

static void siblings(void)
{
	contact("siblings-first", "siblings-after", 0);
}

static const struct {
	const char *name;
	void (*measure)(void);
} all[] = {
	{"pipe-made", made}, {"pipe", pipe_rounds}, {"pipe-oneway", pipe_oneway}, {"pipe-4k", pipe_4k}, {"pipe-64k", pipe_64k},
	{"queue", queue_rounds}, {"kill", kill_rounds}, {"wait", wait_rounds}, {"shm-futex", futex_rounds}, {"shm-spin", spin_rounds},
	{"lineal", lineal}, {"siblings", siblings},
};

int main(void)
{
	char line[64], what[32];

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(shared != MAP_FAILED, "mmap");
	printf("p\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		check(sscanf(line, "%31s %d", what, &n) == 2 && n > 0 && n <= MOST, "an order");
		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
			if (!strcmp(all[i].name, what))
				all[i].measure();
		printf("p\n");
		fflush(stdout);
	}
	return 0;
}

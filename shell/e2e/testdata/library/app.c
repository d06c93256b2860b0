/* A program with libraries: left and right need base, and each other. */
#include "library.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int begun, failed;
static volatile sig_atomic_t go;

void note(const char *who)
{
	if (!begun)
		setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%s %s\n", begun ? "end" : "begin", who);
}

__attribute__((constructor)) static void begin(void)
{
	note("app");
}

int base_which(void)
{
	return 2;
}

static void on_signal(int sig)
{
	(void)sig;
	go = 1;
}

static int negate(int x)
{
	return -x;
}

#define CHECK(x) ((x) ? (void)0 : (void)(failed++, printf("failed: %s\n", #x)))

static void calls(void)
{
	int (*f)(void) = base_next;
	char ends[100];

	CHECK(left_step(7) == 7 && left_step(8) == 8);
	CHECK(base_call(negate, 5) == -5 && left_op(4) == 8);
	CHECK(left_mean(1.5, 2.5, 3.5, 4.5, 4) == 3.0);
	CHECK(left_absent() == -1);
	CHECK(base_which_seen() == 2);
	base_deep(ends, sizeof ends);
	CHECK(ends[0] == 7 && ends[99] == 11 && base_table[1999] == 11);
	CHECK(!strcmp(base_names[2], "two"));
	base_count = 10;
	CHECK(f() == 11 && left_value() == 24 && left_right() == 13 + base_secret(0) && base_count == 13);
}

static void *in_thread(void *arg)
{
	for (int i = 0; i < 1000; i++)
		CHECK(left_step(5) == 5);
	return arg;
}

/* What a child changes in a library's variables is its own, and so is what its parent changes meanwhile. */
static void forks(int depth)
{
	int status;

	for (int i = 0; i < 2; i++) {
		pid_t pid;

		base_count = 100 * depth + i;
		pid = fork();
		if (pid == 0) {
			int mine = base_secret(depth);

			CHECK(base_count == 100 * depth + i);
			calls();
			if (depth < 3)
				forks(depth + 1);
			CHECK(base_secret(0) == mine);
			_exit(failed != 0);
		}
		base_count = -1;
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
		CHECK(base_next() == 0);
	}
}

/* A page of a library can be made the process's own; then it is its child's, too. */
static void protects(void)
{
	char *page = (char *)((unsigned long)base_place() & ~4095UL);
	int status;
	pid_t pid;

	if (mprotect(page, 4096, PROT_READ | PROT_WRITE)) {
		puts("own page: refused");
		return;
	}
	page[0]++;
	pid = fork();
	if (pid == 0)
		_exit(page[0] != 1);
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	puts("own page: made");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t t;

	begun = 1;
	if (!strcmp(what, "late")) {
		struct timespec t = {0, 50000000};

		signal(SIGUSR1, on_signal);
		puts("ready");
		while (!go)
			nanosleep(&t, NULL);
	}
	calls();
	CHECK(!pthread_create(&t, NULL, in_thread, NULL) && in_thread(NULL) == NULL && !pthread_join(t, NULL));
	if (!strcmp(what, "crash"))
		base_crash();
	if (!strcmp(what, "fork"))
		forks(1);
	if (!strcmp(what, "protect"))
		protects();
	printf("%d failed\n", failed);
	return failed != 0;
}

/*
 * main.c: the guest test program. usertests [-v] [-n CHILDREN] [NAME…] runs the tests named, or all of them. It is an
 * ordinary program: the same source runs on Linux (make -C guest/test native), which keeps the tests honest.
 */
#include "test.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/utsname.h>

enum where { ALL, PVM, NAMED };

#define ROW(name, where) {#name, test_##name, where},
static const struct {
	const char *name;
	void (*run)(void);
	enum where where;
} tests[] = {TESTS(ROW)};

char page[4096];
int children = 50;

static pthread_t first;
static pid_t self;
static jmp_buf stop;
static char why[512];
static volatile bool failed;

void fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (!failed) {
		n = (size_t)snprintf(why, sizeof(why), "%s:%d: ", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
		va_start(ap, fmt);
		vsnprintf(why + n, sizeof(why) - n, fmt, ap);
		va_end(ap);
		failed = true;
	}
	if (getpid() != self) {
		fprintf(stderr, "child %d: %s\n", (int)getpid(), why);
		_exit(99);
	}
	if (!pthread_equal(first, pthread_self()))
		pthread_exit(NULL);
	longjmp(stop, 1);
}

/* ---- helpers ---- */

bool in_pvm(void)
{
	struct utsname u;

	return !uname(&u) && strstr(u.release, "kxsh");
}

int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

void sleep_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0);
	EQ(write(fd, text, strlen(text)), strlen(text));
	EQ(close(fd), 0);
}

void on_signal(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};

	EQ(sigaction(sig, &sa, NULL), 0);
}

pid_t start_child(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		alarm(120);
	return pid;
}

int ended(pid_t pid)
{
	int status = -1;

	EQ(waitpid(pid, &status, 0), pid);
	return status;
}

void hold_signal(int sig)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, sig);
	EQ(pthread_sigmask(SIG_BLOCK, &s, NULL), 0);
}

siginfo_t await_signal(int sig)
{
	struct timespec most = {.tv_sec = 60};
	siginfo_t si;
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, sig);
	EQ(sigtimedwait(&s, &si, &most), sig);
	return si;
}

/* ---- running ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* What a failed test may have left behind must not make the next one fail. */
static void settle(void)
{
	sigset_t none;

	alarm(0);
	sigemptyset(&none);
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP && sig != SIGINT && sig != SIGTERM)
			signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	for (int fd = 3; fd < 256; fd++)
		close(fd);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static bool run(size_t i, const char *folder)
{
	EQ(chdir(folder), 0);
	EQ(mkdir(tests[i].name, 0755), 0);
	EQ(chdir(tests[i].name), 0);
	failed = false;
	if (!setjmp(stop))
		tests[i].run();
	settle();
	if (chdir(folder) || nftw(tests[i].name, remove_one, 16, FTW_DEPTH | FTW_PHYS))
		fprintf(stderr, "usertests: %s: cannot remove what the test left: %s\n", tests[i].name, strerror(errno));
	if (failed)
		printf("FAIL %s: %s\n", tests[i].name, why);
	else
		printf("ok %s\n", tests[i].name);
	fflush(stdout);
	return !failed;
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

static bool known(const char *name)
{
	for (size_t i = 0; i < COUNT(tests); i++)
		if (!strcmp(tests[i].name, name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/kxtestXXXXXX";
	bool pvm = in_pvm(), verbose = false;
	int passed = 0, bad = 0, c;

	first = pthread_self();
	self = getpid();
	while ((c = getopt(argc, argv, "vn:")) != -1)
		switch (c) {
		case 'v':
			verbose = true;
			break;
		case 'n':
			children = atoi(optarg);
			break;
		default:
			return 2;
		}
	argv += optind;
	for (char **name = argv; *name; name++)
		if (!known(*name)) {
			fprintf(stderr, "usertests: %s: no such test\n", *name);
			return 2;
		}
	if (!mkdtemp(folder)) {
		perror("usertests: /tmp");
		return 1;
	}
	for (size_t i = 0; i < COUNT(tests); i++) {
		if (!wanted(tests[i].name, argv) || (tests[i].where == PVM && !pvm) || (tests[i].where == NAMED && !*argv))
			continue;
		if (verbose)
			fprintf(stderr, "%s\n", tests[i].name);
		if (run(i, folder))
			passed++;
		else
			bad++;
	}
	printf("%d passed, %d failed\n", passed, bad);
	if (chdir("/") || rmdir(folder))
		perror("usertests: cannot remove the test folder");
	return bad != 0;
}

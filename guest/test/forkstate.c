/* forkstate.c: tests of what a child has of its parent, memory apart (forkmem.c). */
#include "test.h"

#include <dirent.h>
#include <fenv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile int seen;

static void note(int sig)
{
	seen = sig;
}

void test_fork_signals(void)
{
	struct sigaction sa;
	sigset_t mask, now_mask, pending;
	pid_t pid;

	seen = 0;
	on_signal(SIGUSR1, note, SA_RESTART | SA_NODEFER);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGHUP, SIG_DFL);
	hold_signal(SIGTERM);
	hold_signal(SIGWINCH);
	hold_signal(SIGRTMIN + 1);
	EQ(raise(SIGTERM), 0);
	EQ(kill(getpid(), SIGWINCH), 0);
	EQ(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 1}), 0);
	EQ(sigprocmask(SIG_SETMASK, NULL, &mask), 0);
	IN_CHILD(pid) {
		EQ(sigpending(&pending), 0);
		for (int sig = 1; sig < 64; sig++)
			EQ(sigismember(&pending, sig) == 1, 0);
		EQ(sigprocmask(SIG_SETMASK, NULL, &now_mask), 0);
		CHECK(!memcmp(&mask, &now_mask, 8));
		EQ(sigaction(SIGUSR1, NULL, &sa), 0);
		CHECK(sa.sa_handler == note);
		EQ(sa.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO), SA_RESTART | SA_NODEFER);
		EQ(sigaction(SIGUSR2, NULL, &sa), 0);
		CHECK(sa.sa_handler == SIG_IGN);
		EQ(sigaction(SIGHUP, NULL, &sa), 0);
		CHECK(sa.sa_handler == SIG_DFL);
		EQ(raise(SIGUSR1), 0);
		EQ(seen, SIGUSR1);
		signal(SIGUSR1, SIG_DFL);
		EQ(raise(SIGTERM), 0);
		EQ(sigpending(&pending), 0);
		EQ(sigismember(&pending, SIGTERM), 1);
	}
	EQ(ended(pid), 0);
	EQ(seen, 0);
	EQ(sigaction(SIGUSR1, NULL, &sa), 0);
	CHECK(sa.sa_handler == note);
	EQ(sigpending(&pending), 0);
	for (int sig = 1; sig < 64; sig++)
		EQ(sigismember(&pending, sig) == 1, sig == SIGTERM || sig == SIGWINCH || sig == SIGRTMIN + 1);
	await_signal(SIGTERM);
	await_signal(SIGWINCH);
	await_signal(SIGRTMIN + 1);
}

static char alt[65536];
static volatile bool on_alt;

static void where_am_i(int sig)
{
	char c;

	(void)sig;
	on_alt = &c >= alt && &c < alt + sizeof(alt);
}

void test_fork_altstack(void)
{
	stack_t st = {.ss_sp = alt, .ss_size = sizeof(alt)}, is, none = {.ss_flags = SS_DISABLE};
	pid_t pid;

	EQ(sigaltstack(&st, NULL), 0);
	on_signal(SIGUSR1, where_am_i, SA_ONSTACK);
	IN_CHILD(pid) {
		EQ(sigaltstack(NULL, &is), 0);
		CHECK(is.ss_sp == alt && is.ss_size == sizeof(alt));
		EQ(raise(SIGUSR1), 0);
		CHECK(on_alt);
	}
	EQ(ended(pid), 0);
	CHECK(!on_alt);
	EQ(sigaltstack(&none, NULL), 0);
}

/* No alarm, no interval timer, no POSIX timer of the parent's; the parent's go on. */
void test_fork_timers(void)
{
	struct itimerval it = {{500, 0}, {500, 0}}, never = {{0, 0}, {0, 0}};
	struct itimerspec ts = {.it_value = {.tv_sec = 500}}, is;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	timer_t id;
	pid_t pid;

	EQ(timer_create(CLOCK_MONOTONIC, &ev, &id), 0);
	EQ(timer_settime(id, 0, &ts, NULL), 0);
	EQ(setitimer(ITIMER_VIRTUAL, &it, NULL), 0);
	EQ(setitimer(ITIMER_PROF, &it, NULL), 0);
	alarm(500);
	pid = fork(); /* IN_CHILD sets an alarm */
	CHECK(pid >= 0);
	if (!pid) {
		EQ(alarm(60), 0);
		EQ(getitimer(ITIMER_VIRTUAL, &it), 0);
		CHECK(!it.it_value.tv_sec && !it.it_value.tv_usec && !it.it_interval.tv_sec);
		EQ(getitimer(ITIMER_PROF, &it), 0);
		CHECK(!it.it_value.tv_sec && !it.it_value.tv_usec && !it.it_interval.tv_sec);
		FAILS(syscall(SYS_timer_gettime, id, &is), EINVAL);
		_exit(0);
	}
	EQ(ended(pid), 0);
	CHECK(alarm(0) > 300);
	EQ(timer_gettime(id, &is), 0);
	CHECK(is.it_value.tv_sec > 300);
	EQ(timer_delete(id), 0);
	EQ(setitimer(ITIMER_VIRTUAL, &never, &it), 0);
	CHECK(it.it_value.tv_sec > 300);
	EQ(setitimer(ITIMER_PROF, &never, NULL), 0);
	/* A timer that was about to fire fires in the parent alone. */
	hold_signal(SIGALRM);
	it = (struct itimerval){{0, 0}, {0, 2000}};
	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		sigset_t pending;

		sleep_ms(20);
		EQ(sigpending(&pending), 0);
		EQ(sigismember(&pending, SIGALRM), 0);
		_exit(0);
	}
	EQ(ended(pid), 0);
	await_signal(SIGALRM);
}

/* Descriptors are the child's own: what it closes, opens and marks is not seen by the parent. */
void test_fork_files(void)
{
	char buf[64], cwd[256], here[256];
	int fd, gone, extra;
	struct stat st;
	pid_t pid;

	put_file("a", "0123456789");
	fd = open("a", O_RDWR | O_APPEND);
	CHECK(fd >= 0);
	EQ(read(fd, buf, 4), 4);
	gone = open("b", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(gone >= 0);
	EQ(write(gone, "unlinked", 8), 8);
	EQ(unlink("b"), 0);
	EQ(mkdir("sub", 0755), 0);
	EQ(chdir("sub"), 0);
	CHECK(getcwd(cwd, sizeof(cwd)));
	umask(027);
	IN_CHILD(pid) {
		EQ(lseek(fd, 0, SEEK_CUR), 4);
		EQ(read(fd, buf, sizeof(buf)), 6);
		CHECK(!memcmp(buf, "456789", 6));
		EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR | O_APPEND);
		EQ(fcntl(fd, F_GETFD), 0);
		EQ(fcntl(gone, F_GETFD), FD_CLOEXEC);
		EQ(pread(gone, buf, sizeof(buf), 0), 8);
		CHECK(!memcmp(buf, "unlinked", 8));
		EQ(fstat(gone, &st), 0);
		EQ(st.st_size, 8);
		EQ(st.st_nlink, 0);
		CHECK(getcwd(here, sizeof(here)));
		STR(here, cwd);
		EQ(stat("../a", &st), 0);
		EQ(st.st_size, 10);
		EQ(umask(0), 027);
		EQ(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
		extra = open("../a", O_RDONLY);
		CHECK(extra >= 0);
		EQ(dup2(extra, 200), 200);
		EQ(lseek(extra, 3, SEEK_SET), 3);
		EQ(lseek(200, 0, SEEK_CUR), 3);
		EQ(close(fd), 0);
		EQ(chdir("/"), 0);
	}
	EQ(ended(pid), 0);
	EQ(fcntl(fd, F_GETFD), 0);
	FAILS(fcntl(200, F_GETFD), EBADF);
	CHECK(getcwd(here, sizeof(here)));
	STR(here, cwd);
	EQ(umask(022), 027);
	/* A dup made before the fork shares its offset with the original in the child as well. */
	extra = dup(fd);
	IN_CHILD(pid) {
		EQ(lseek(extra, 1, SEEK_SET), 1);
		EQ(lseek(fd, 0, SEEK_CUR), 1);
	}
	EQ(ended(pid), 0);
	EQ(chdir(".."), 0);
}

void test_fork_memfd(void)
{
	int fd = memfd_create("m", 0);
	char *p, buf[8192];
	pid_t pid;

	CHECK(fd >= 0);
	memset(buf, 'x', sizeof(buf));
	EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	p = mmap(NULL, sizeof(buf), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	p[5000] = 'y';
	IN_CHILD(pid) {
		CHECK(p[0] == 'x' && p[5000] == 'y');
		p[0] = 'z';
		EQ(pread(fd, buf, 1, 5000), 1);
		EQ(buf[0], 'x');
		EQ(lseek(fd, 0, SEEK_END), sizeof(buf));
	}
	EQ(ended(pid), 0);
	EQ(p[0], 'x');
	EQ(munmap(p, sizeof(buf)), 0);
}

void test_fork_folder(void)
{
	struct dirent *e;
	pid_t pid;
	DIR *d;

	EQ(mkdir("d", 0755), 0);
	put_file("d/one", "1");
	put_file("d/two", "2");
	d = opendir("d");
	CHECK(d);
	IN_CHILD(pid) {
		int n = 0;

		while ((e = readdir(d)))
			n += !strcmp(e->d_name, "one") || !strcmp(e->d_name, "two");
		EQ(n, 2);
		EQ(closedir(d), 0);
	}
	EQ(ended(pid), 0);
	EQ(closedir(d), 0);
}

/* Standard output is where the parent's is. (That what it writes arrives is for those to check who run this.) */
void test_fork_console(void)
{
	struct stat ours, theirs;
	int tty = isatty(1);
	pid_t pid;

	EQ(fstat(1, &ours), 0);
	IN_CHILD(pid) {
		EQ(fstat(1, &theirs), 0);
		EQ(ours.st_mode, theirs.st_mode);
		EQ(ours.st_rdev, theirs.st_rdev);
		EQ(isatty(1), tty);
		EQ(write(1, "", 0), 0);
	}
	EQ(ended(pid), 0);
}

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

/* Vector registers of parent and child are their own: both compute while signals come. */
static void compute(int seed)
{
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	uint64_t in[4] = {0x1111111111111111ULL * (uint64_t)seed, ~(uint64_t)seed, (uint64_t)seed << 32, 77}, out[4];

	ticks = 0;
	on_signal(SIGALRM, tick, 0);
	EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (ticks < 10) {
		__asm__ volatile(
			"movdqu (%1), %%xmm0; movdqu 16(%1), %%xmm1; movdqa %%xmm0, %%xmm6; movdqa %%xmm1, %%xmm14\n"
			"mov $100000, %%ecx\n"
			"1: dec %%ecx; jnz 1b\n"
			"pand %%xmm6, %%xmm0; pand %%xmm14, %%xmm1\n"
			"movdqu %%xmm0, (%0); movdqu %%xmm1, 16(%0)"
			: : "r"(out), "r"(in) : "ecx", "memory", "xmm0", "xmm1", "xmm6", "xmm14");
		CHECK(!memcmp(in, out, sizeof(in)));
	}
	EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
}

void test_fork_vectors(void)
{
	pid_t a, b;

	IN_CHILD(a)
		compute(3);
	IN_CHILD(b)
		compute(5);
	compute(9);
	EQ(ended(a), 0);
	EQ(ended(b), 0);
}

/* The control words of x87 and SSE are callee-saved, and fork is a call. A full x87 stack survives a handler. */
void test_fork_rounding(void)
{
	static const int modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
	volatile double one = 1, three = 3;
	uint16_t cw, cw_then;
	uint32_t csr, csr_then;
	double third;
	pid_t pid;

	for (size_t i = 0; i < COUNT(modes); i++) {
		EQ(fesetround(modes[i]), 0);
		third = one / three;
		__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(cw_then), "=m"(csr_then));
		IN_CHILD(pid) {
			__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(cw), "=m"(csr));
			EQ(cw, cw_then);
			EQ(csr & 0xffc0, csr_then & 0xffc0);
			EQ(fegetround(), modes[i]);
			CHECK(one / three == third);
		}
		EQ(fegetround(), modes[i]);
		CHECK(one / three == third);
		EQ(ended(pid), 0);
	}
	EQ(fesetround(FE_TONEAREST), 0);
	csr = 0x1f80 | 0x8000 | 0x40; /* flush to zero, denormals are zero */
	__asm__ volatile("ldmxcsr %0" : : "m"(csr));
	IN_CHILD(pid) {
		__asm__ volatile("stmxcsr %0" : "=m"(csr_then));
		EQ(csr_then & 0xffc0, csr & 0xffc0);
	}
	csr = 0x1f80;
	__asm__ volatile("ldmxcsr %0" : : "m"(csr));
	EQ(ended(pid), 0);
}

static __thread int counter = 5;
static __thread char name[32] = "initial";

void test_fork_locals(void)
{
	pthread_t me = pthread_self();
	pthread_key_t key;
	pid_t pid;

	EQ(pthread_key_create(&key, NULL), 0);
	EQ(pthread_setspecific(key, &counter), 0);
	counter = 6;
	strcpy(name, "changed");
	fflush(NULL);
	errno = E2BIG;
	pid = fork();
	if (!pid) {
		int *here = &counter;

		EQ(errno, E2BIG);
		EQ(counter, 6);
		STR(name, "changed");
		CHECK(pthread_equal(me, pthread_self()));
		CHECK(pthread_getspecific(key) == here);
		counter = 60;
		strcpy(name, "child");
		errno = EDOM;
		sleep_ms(5);
		EQ(counter, 60);
		EQ(errno, EDOM);
		_exit(0);
	}
	EQ(errno, E2BIG);
	EQ(ended(pid), 0);
	EQ(counter, 6);
	STR(name, "changed");
	EQ(pthread_key_delete(key), 0);
	counter = 5;
}

static unsigned char from_call(void)
{
	unsigned char c;

	EQ(getrandom(&c, 1, 0), 1);
	return c;
}

static unsigned char from_device(void)
{
	int fd = open("/dev/urandom", O_RDONLY);
	unsigned char c;

	EQ(read(fd, &c, 1), 1);
	EQ(close(fd), 0);
	return c;
}

/* The next byte of randomness is not the parent's, nor a sibling's. */
static void different(unsigned char (*next)(void))
{
	int like_parent = 0, like_sibling = 0, status, before = -1;
	pid_t pid;

	for (int i = 0; i < 12; i++) {
		IN_CHILD(pid)
			_exit(next() & 0x7f);
		status = ended(pid) >> 8;
		CHECK(status < 0x80);
		like_sibling += status == before;
		before = status;
	}
	CHECK(like_sibling < 8);
	for (int i = 0; i < 12; i++) {
		IN_CHILD(pid)
			_exit(next() & 0x7f);
		like_parent += ended(pid) >> 8 == (next() & 0x7f);
	}
	CHECK(like_parent < 8);
}

void test_fork_random(void)
{
	different(from_call);
	different(from_device);
}

static int64_t ns(clockid_t id)
{
	struct timespec ts;

	EQ(clock_gettime(id, &ts), 0);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Time goes on in the child where it was in the parent. */
/* What both clocks show at one time: whoever is paused in between looks again. */
static void look(int64_t *mono, int64_t *real)
{
	do {
		*mono = ns(CLOCK_MONOTONIC);
		*real = ns(CLOCK_REALTIME);
	} while (ns(CLOCK_MONOTONIC) - *mono > 100000000);
}

void test_fork_clocks(void)
{
	int64_t mono, real, boot;
	pid_t pid;

	sleep_ms(10);
	look(&mono, &real);
	boot = ns(CLOCK_BOOTTIME);
	IN_CHILD(pid) {
		int64_t m, r;

		look(&m, &r);
		CHECK(m >= mono && ns(CLOCK_BOOTTIME) >= boot);
		/* 10 ms for adjustments of the host's clock */
		CHECK(r >= real - 10000000);
		CHECK(llabs((m - mono) - (r - real)) < 1000000000);
		sleep_ms(2);
		CHECK(ns(CLOCK_MONOTONIC) - m >= 2000000);
	}
	EQ(ended(pid), 0);
	CHECK(ns(CLOCK_MONOTONIC) >= mono);
}

void test_fork_cpu_clock(void)
{
	int64_t used;
	int status = 1;
	pid_t pid;

	while ((used = ns(CLOCK_PROCESS_CPUTIME_ID)) < 300000000)
		;
	for (int tries = 0; status; tries++) { /* a child does not know for how long the host let it wait */
		CHECK(tries < 20);
		IN_CHILD(pid)
			_exit(ns(CLOCK_PROCESS_CPUTIME_ID) >= used / 2 || ns(CLOCK_THREAD_CPUTIME_ID) >= used / 2);
		CHECK(ns(CLOCK_PROCESS_CPUTIME_ID) >= used);
		status = ended(pid);
	}
}

void test_fork_limits(void)
{
	struct rlimit rl, was;
	pid_t pid;

	EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	rl = (struct rlimit){100, was.rlim_max};
	EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
	IN_CHILD(pid) {
		EQ(getrlimit(RLIMIT_NOFILE, &rl), 0);
		EQ(rl.rlim_cur, 100);
		FAILS(dup2(1, 100), EBADF);
		rl.rlim_cur = 50;
		EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
	}
	EQ(ended(pid), 0);
	EQ(getrlimit(RLIMIT_NOFILE, &rl), 0);
	EQ(rl.rlim_cur, 100);
	EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
}

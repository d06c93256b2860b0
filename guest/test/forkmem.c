/* forkmem.c: tests of the memory of parent and child: each has what was there at the fork, and then its own. */
#include "test.h"

#include <setjmp.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#define PAGE 4096

static uint64_t zeroed[3 * PAGE], given[PAGE] = {1, 2, 3};

static void fill(void *at, size_t n, uint64_t seed)
{
	uint64_t *p = at;

	for (size_t i = 0; i < n / 8; i++)
		p[i] = (seed + i) * 0x9e3779b97f4a7c15;
}

static bool filled(const void *at, size_t n, uint64_t seed)
{
	const uint64_t *p = at;

	for (size_t i = 0; i < n / 8; i++)
		if (p[i] != (seed + i) * 0x9e3779b97f4a7c15)
			return false;
	return true;
}

static void *pages(size_t n)
{
	void *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

struct part {
	void *at;
	size_t n;
};

static void fill_all(const struct part *parts, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		fill(parts[i].at, parts[i].n, seed + i * 100000);
}

static bool filled_all(const struct part *parts, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		if (!filled(parts[i].at, parts[i].n, seed + i * 100000))
			return false;
	return true;
}

/* Whoever writes first, and wherever: the other does not see it. Two children, of two moments. */
void test_fork_memory(void)
{
	uint64_t stack[PAGE];
	struct part parts[] = {
		{zeroed, sizeof(zeroed)}, {given, sizeof(given)}, {stack, sizeof(stack)},
		{malloc(100), 96}, {malloc(300000), 300000}, {pages(50), 50 * PAGE},
	};
	pid_t me = getpid(), a, b;

	hold_signal(SIGUSR1);
	hold_signal(SIGUSR2);
	fill_all(parts, COUNT(parts), 1);
	IN_CHILD(a) {
		await_signal(SIGUSR1);
		CHECK(filled_all(parts, COUNT(parts), 1));
		fill_all(parts, COUNT(parts), 2);
		EQ(kill(me, SIGUSR2), 0);
		await_signal(SIGUSR1);
		CHECK(filled_all(parts, COUNT(parts), 2));
	}
	fill_all(parts, COUNT(parts), 3);
	IN_CHILD(b) {
		CHECK(filled_all(parts, COUNT(parts), 3));
		fill_all(parts, COUNT(parts), 4);
		await_signal(SIGUSR1);
		CHECK(filled_all(parts, COUNT(parts), 4));
	}
	EQ(kill(a, SIGUSR1), 0);
	await_signal(SIGUSR2);
	CHECK(filled_all(parts, COUNT(parts), 3));
	fill_all(parts, COUNT(parts), 5);
	EQ(kill(a, SIGUSR1), 0);
	EQ(kill(b, SIGUSR1), 0);
	EQ(ended(a), 0);
	EQ(ended(b), 0);
	CHECK(filled_all(parts, COUNT(parts), 5));
	free(parts[3].at);
	free(parts[4].at);
	EQ(munmap(parts[5].at, parts[5].n), 0);
}

static sigjmp_buf back;

static void leave(int sig)
{
	siglongjmp(back, sig);
}

static bool faults(volatile char *p, bool write)
{
	on_signal(SIGSEGV, leave, 0);
	if (sigsetjmp(back, 1))
		return true;
	if (write)
		*p = 1;
	else
		(void)*p;
	return false;
}

/* Constants of the program, which relatives share. */
static const char constants[3 * PAGE] __attribute__((aligned(PAGE))) = {[0] = 1, [PAGE] = 2, [3 * PAGE - 1] = 3};

static void hide_constants(void)
{
	char *p = (char *)constants;

	EQ(mprotect(p, 2 * PAGE, PROT_NONE), 0);
	CHECK(faults(p, false) && faults(p + PAGE, false));
	EQ(mprotect(p, 2 * PAGE, PROT_READ), 0);
	CHECK(*(volatile char *)p == 1 && *(volatile char *)(p + PAGE) == 2 && *(volatile char *)(p + 3 * PAGE - 1) == 3);
	CHECK(faults(p, true) && faults(p + PAGE, true));
}

void test_fork_constants(void)
{
	pid_t pid;

	IN_CHILD(pid)
		hide_constants();
	EQ(ended(pid), 0);
	hide_constants();
	IN_CHILD(pid)
		hide_constants();
	EQ(ended(pid), 0);
}

/* Protection is each one's own from then on. */
void test_fork_protection(void)
{
	char *p = pages(4);
	pid_t pid;

	fill(p, 4 * PAGE, 7);
	EQ(mprotect(p, PAGE, PROT_READ), 0);
	EQ(mprotect(p + PAGE, PAGE, PROT_NONE), 0);
	IN_CHILD(pid) {
		CHECK(filled(p, PAGE, 7));
		CHECK(faults(p, true));
		CHECK(faults(p + PAGE, false) && faults(p + PAGE, true));
		CHECK(!faults(p + 2 * PAGE, true));
		EQ(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
		CHECK(filled(p, 2 * PAGE, 7));
		fill(p, 2 * PAGE, 8);
		CHECK(filled(p, 2 * PAGE, 8));
		EQ(mprotect(p + 3 * PAGE, PAGE, PROT_READ), 0);
		CHECK(faults(p + 3 * PAGE, true));
		CHECK(filled(p + 3 * PAGE, PAGE, 7 + 3 * PAGE / 8));
	}
	EQ(ended(pid), 0);
	CHECK(faults(p, true));
	CHECK(faults(p + PAGE, false));
	fill(p + 3 * PAGE, PAGE, 9);
	EQ(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
	CHECK(filled(p, 3 * PAGE, 7));
	CHECK(faults((char *)0x10, false)); /* and text, as before */
	IN_CHILD(pid)
		CHECK(faults((char *)(uintptr_t)test_fork_memory, true));
	EQ(ended(pid), 0);
	EQ(munmap(p, 4 * PAGE), 0);
}

/* Writes to so many bytes of stack, going down. */
static __attribute__((noinline)) uint64_t dig(size_t n)
{
	volatile char room[1024];

	for (size_t i = 0; i < sizeof(room); i += 64)
		room[i] = (char)(n + i);
	return n < sizeof(room) ? (uint64_t)room[64] : dig(n - sizeof(room)) + (uint64_t)room[128];
}

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

/* The CPU's own pushes are on a stack that nobody has told the system of, interrupted again and again. */
static void wander(void)
{
	struct itimerval every = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
	int first = ticks;

	EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
	while (ticks < first + 5)
		dig(40000);
	EQ(setitimer(ITIMER_REAL, &off, NULL), 0);
}

static __attribute__((noinline)) void on_stack(void *top, void (*f)(void))
{
	__asm__ volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tcall *%1\n\tmov %%rbx, %%rsp"
			 : "+r"(top), "+r"(f) : : "rbx", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc",
			 "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
			 "xmm12", "xmm13", "xmm14", "xmm15");
}

static void fork_here(void)
{
	pid_t pid;

	IN_CHILD(pid)
		wander();
	wander();
	EQ(ended(pid), 0);
}

/* Wherever a stack is: deeper than ever, in memory of the program's own, before and after a fork. */
void test_fork_stacks(void)
{
	enum { N = 16 };
	char *own = pages(N), *other = pages(N);
	pid_t pid;

	on_signal(SIGALRM, tick, SA_RESTART);
	fill(own, N * PAGE, 3);
	fill(other, N * PAGE, 4);
	dig(200000);
	IN_CHILD(pid) {
		dig(600000);
		on_stack(own + N * PAGE, wander);
		CHECK(filled(own, PAGE, 3));
		on_stack(other + N * PAGE, fork_here);
	}
	dig(600000);
	on_stack(own + N * PAGE, wander);
	on_stack(other + N * PAGE, fork_here);
	EQ(ended(pid), 0);
	CHECK(filled(own, PAGE, 3) && filled(other, PAGE, 4));
	EQ(munmap(own, N * PAGE), 0);
	EQ(munmap(other, N * PAGE), 0);
}

void test_fork_unmapped(void)
{
	char *p = pages(6), *q;
	pid_t pid;

	fill(p, 6 * PAGE, 1);
	EQ(munmap(p + PAGE, PAGE), 0);
	IN_CHILD(pid) {
		CHECK(faults(p + PAGE, false));
		CHECK(filled(p, PAGE, 1));
		EQ(munmap(p + 3 * PAGE, PAGE), 0);
		CHECK(faults(p + 3 * PAGE, true));
		/* What is got anew is zero, and not what the parent had there. */
		q = mmap(p + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		CHECK(q == p + 3 * PAGE);
		for (int i = 0; i < PAGE; i++)
			EQ(q[i], 0);
		q = mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		CHECK(q == p + PAGE);
		for (int i = 0; i < PAGE; i++)
			EQ(q[i], 0);
		fill(q, PAGE, 2);
	}
	EQ(ended(pid), 0);
	CHECK(faults(p + PAGE, false));
	CHECK(filled(p + 2 * PAGE, 4 * PAGE, 1 + 2 * PAGE / 8));
	EQ(munmap(p, 6 * PAGE), 0);
}

/* As much as there is room for, up to 64 MiB, each side writing here and there. */
void test_fork_big(void)
{
	struct sysinfo si;
	size_t n;
	char *p;
	pid_t pid;

	EQ(sysinfo(&si), 0);
	n = (size_t)si.freeram * si.mem_unit / 2;
	n = n > 64 << 20 ? 64 << 20 : n & ~(size_t)(PAGE - 1);
	p = pages(n / PAGE);
	fill(p, n, 1);
	hold_signal(SIGUSR1);
	IN_CHILD(pid) {
		for (size_t i = 0; i < n; i += 97 * PAGE)
			fill(p + i, PAGE, 2);
		await_signal(SIGUSR1);
		for (size_t i = 0; i < n; i += PAGE)
			CHECK(i / PAGE % 97 ? filled(p + i, PAGE, 1 + i / 8) : filled(p + i, PAGE, 2));
	}
	for (size_t i = 0; i < n; i += 89 * PAGE)
		fill(p + i, PAGE, 3);
	EQ(kill(pid, SIGUSR1), 0);
	EQ(ended(pid), 0);
	for (size_t i = 0; i < n; i += PAGE)
		CHECK(i / PAGE % 89 ? filled(p + i, PAGE, 1 + i / 8) : filled(p + i, PAGE, 3));
	EQ(munmap(p, n), 0);
}

/* Both get more memory after the fork. */
static void grow(uint64_t seed)
{
	char *p[20];

	for (size_t i = 0; i < COUNT(p); i++) {
		p[i] = i % 2 ? pages(64) : calloc(64, PAGE);
		CHECK(p[i]);
		for (size_t k = 0; k < 64 * PAGE; k += 64)
			CHECK(!p[i][k]);
		fill(p[i], 64 * PAGE, seed + i);
	}
	sleep_ms(1);
	for (size_t i = 0; i < COUNT(p); i++) {
		CHECK(filled(p[i], 64 * PAGE, seed + i));
		if (i % 2)
			EQ(munmap(p[i], 64 * PAGE), 0);
		else
			free(p[i]);
	}
}

void test_fork_grows(void)
{
	pid_t a, b;

	IN_CHILD(a) {
		grow(100);
		grow(200);
	}
	IN_CHILD(b)
		grow(300);
	grow(400);
	EQ(ended(a), 0);
	EQ(ended(b), 0);
	grow(500);
}

/* brk moves the end of the data segment; musl's sbrk does not. */
static char *end_at(char *p)
{
	return (char *)syscall(SYS_brk, p);
}

void test_fork_brk(void)
{
	char *old = end_at(NULL), *p = old + PAGE - (uintptr_t)old % PAGE;
	pid_t pid;

	CHECK(end_at(p + 4 * PAGE) == p + 4 * PAGE);
	memset(p, 'p', 4 * PAGE);
	IN_CHILD(pid) {
		CHECK(end_at(NULL) == p + 4 * PAGE);
		CHECK(end_at(p + 8 * PAGE) == p + 8 * PAGE);
		for (int i = 0; i < 4 * PAGE; i++)
			EQ(p[4 * PAGE + i], 0);
		memset(p, 'c', 8 * PAGE);
		CHECK(end_at(p) == p);
	}
	CHECK(end_at(NULL) == p + 4 * PAGE);
	EQ(ended(pid), 0);
	CHECK(end_at(NULL) == p + 4 * PAGE);
	EQ(p[0], 'p');
	EQ(p[4 * PAGE - 1], 'p');
	CHECK(end_at(p + 6 * PAGE) == p + 6 * PAGE);
	EQ(p[4 * PAGE], 0);
	CHECK(end_at(old) == old);
}

/* The whole way back up a deep stack, in both. */
static int deep(int n, pid_t *pid)
{
	volatile char local[2000];
	int below;

	memset((void *)local, n, sizeof(local));
	if (n)
		below = deep(n - 1, pid);
	else {
		*pid = start_child();
		below = *pid ? 1 : 2;
	}
	for (size_t i = 0; i < sizeof(local); i++)
		if (local[i] != (char)n)
			return -1000;
	return below + 1;
}

void test_fork_stack(void)
{
	pid_t pid;
	int n = deep(200, &pid);

	if (!pid)
		_exit(n == 203 ? 0 : 1);
	EQ(n, 202);
	EQ(ended(pid), 0);
}

/* Each generation changes a page of its own and finds those of all before. */
static void generation(uint64_t *p, int i, int last)
{
	pid_t pid;

	if (i == last)
		return;
	p[i * PAGE / 8] = (uint64_t)getpid();
	IN_CHILD(pid) {
		for (int k = 0; k < last; k++)
			CHECK(k > i ? !p[k * PAGE / 8] : p[k * PAGE / 8] != 0);
		EQ(p[i * PAGE / 8], getppid());
		generation(p, i + 1, last);
		for (int k = 0; k < last; k++)
			CHECK(k > i + 1 ? !p[k * PAGE / 8] : k == last || p[k * PAGE / 8] != 0);
	}
	EQ(ended(pid), 0);
	for (int k = i + 1; k < last; k++)
		EQ(p[k * PAGE / 8], 0);
	EQ(p[i * PAGE / 8], getpid());
}

void test_fork_generations(void)
{
	int n = children < 20 ? 8 : 20;
	uint64_t *p = pages((size_t)n);

	generation(p, 0, n);
	EQ(munmap(p, (size_t)n * PAGE), 0);
}

/* System calls write into pages that are still shared. */
static void kernel_writes(char *p, int fd)
{
	struct iovec iov[3];
	struct sigaction *sa = (void *)(p + 6 * PAGE);
	struct timespec *ts = (void *)(p + 7 * PAGE - 8); /* over a page's end */
	sigset_t *set = (void *)(p + 9 * PAGE);

	for (int i = 0; i < 3; i++)
		iov[i] = (struct iovec){p + i * 2 * PAGE + 100, 5};
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(readv(fd, iov, 3), 15);
	CHECK(!memcmp(p + 100, "hello", 5) && !memcmp(p + 2 * PAGE + 100, ", wor", 5) && !memcmp(p + 4 * PAGE + 100, "ld 12", 5));
	EQ(sigaction(SIGHUP, NULL, sa), 0);
	CHECK(sa->sa_handler == SIG_DFL);
	ts->tv_sec = -1;
	EQ(clock_gettime(CLOCK_MONOTONIC, ts), 0);
	CHECK(ts->tv_sec >= 0 && ts->tv_nsec < 1000000000);
	EQ(sigprocmask(SIG_SETMASK, NULL, set), 0);
	CHECK(getcwd(p + 10 * PAGE - 3, 300));
	EQ(p[10 * PAGE - 3], '/');
	EQ(pread(fd, p + 12 * PAGE - 2, 4, 0), 4);
	CHECK(!memcmp(p + 12 * PAGE - 2, "hell", 4));
	EQ(p[0], 'A');
	EQ(p[13 * PAGE - 1], 'A');
}

void test_fork_kernel_writes(void)
{
	char *p = pages(13);
	pid_t pid;
	int fd;

	put_file("f", "hello, world 123");
	fd = open("f", O_RDONLY);
	CHECK(fd >= 0);
	memset(p, 'A', 13 * PAGE);
	IN_CHILD(pid) {
		kernel_writes(p, fd);
		put_file("mine", "the child's");
	}
	EQ(ended(pid), 0);
	for (int i = 0; i < 13 * PAGE; i++)
		EQ(p[i], 'A');
	IN_CHILD(pid) {
		sleep_ms(5);
		for (int i = 0; i < 13 * PAGE; i++)
			EQ(p[i], 'A');
		EQ(pread(fd, p, 5, 0), 5);
	}
	kernel_writes(p, fd);
	EQ(ended(pid), 0);
	EQ(munmap(p, 13 * PAGE), 0);
}

/* Read-then-write and write-at-once of every page, forwards and backwards. */
void test_fork_touch_all(void)
{
	size_t n = 1500;
	char *p = pages(n);
	pid_t pid;

	for (size_t i = 0; i < n; i++)
		p[i * PAGE] = (char)i;
	for (int round = 0; round < 3; round++) {
		IN_CHILD(pid) {
			for (size_t i = n; i-- > 0;) {
				if (i % 2)
					EQ(p[i * PAGE], (char)i);
				p[i * PAGE + 1] = (char)~i;
			}
			for (size_t i = 0; i < n; i++)
				CHECK(p[i * PAGE] == (char)i && p[i * PAGE + 1] == (char)~i);
		}
		for (size_t i = 0; i < n; i++)
			p[i * PAGE + 2] = (char)(i + (size_t)round);
		EQ(ended(pid), 0);
		for (size_t i = 0; i < n; i++)
			CHECK(p[i * PAGE] == (char)i && !p[i * PAGE + 1] && p[i * PAGE + 2] == (char)(i + (size_t)round));
	}
	EQ(munmap(p, n * PAGE), 0);
}

/* What one got from malloc before the fork, both may free and get again. */
void test_fork_malloc(void)
{
	char *p[200];
	pid_t pid;

	for (size_t i = 0; i < COUNT(p); i++) {
		p[i] = malloc(i * 37 + 1);
		CHECK(p[i]);
		memset(p[i], (int)i, i * 37 + 1);
	}
	pid = start_child();
	for (size_t i = 0; i < COUNT(p); i++) {
		p[i] = realloc(p[i], i * 53 + 5);
		CHECK(p[i]);
		EQ(p[i][i * 37], (char)i);
		memset(p[i], pid ? 1 : 2, i * 53 + 5);
	}
	for (size_t i = 0; i < COUNT(p); i++) {
		EQ(p[i][i * 53 + 4], pid ? 1 : 2);
		free(p[i]);
	}
	if (!pid)
		_exit(0);
	EQ(ended(pid), 0);
}

void test_fork_file_map(void)
{
	char *p;
	pid_t pid;
	int fd;

	put_file("f", "of the file");
	fd = open("f", O_RDONLY);
	CHECK(fd >= 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(close(fd), 0);
	IN_CHILD(pid) {
		CHECK(!memcmp(p, "of the file", 12));
		p[0] = 'O';
		EQ(munmap(p, PAGE), 0);
		CHECK(faults(p, false));
	}
	EQ(ended(pid), 0);
	CHECK(!memcmp(p, "of the file", 12));
	EQ(munmap(p, PAGE), 0);
}

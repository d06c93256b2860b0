/* memory.c: tests of the address space. */
#include "test.h"

#include <setjmp.h>
#include <sys/syscall.h>

static sigjmp_buf back;
static volatile sig_atomic_t fault_code;
static void *volatile fault_addr;

static void on_fault(int sig, siginfo_t *info, void *uc)
{
	(void)sig, (void)uc;
	fault_code = info->si_code;
	fault_addr = info->si_addr;
	siglongjmp(back, 1);
}

/* Whether touching p (writing to it) gives SIGSEGV, with p as the address told. */
static bool faults(volatile char *p, bool write)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
	bool did = true;

	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(back, 1)) {
		if (write)
			*p = 1;
		else
			(void)*p;
		did = false;
	} else {
		did = fault_addr == (void *)p;
	}
	sigaction(SIGSEGV, &old, NULL);
	return did;
}

static char *map(size_t n, int prot)
{
	char *p = mmap(NULL, n, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

void test_mmap_anonymous(void)
{
	char *p = map(100000, PROT_READ | PROT_WRITE), *q = map(1, PROT_READ);

	EQ((uintptr_t)p % 4096, 0);
	for (int i = 0; i < 100000; i++)
		EQ(p[i], 0);
	memset(p, 0xaa, 100000);
	EQ(q[0], 0);
	CHECK(faults(q, true));
	EQ(munmap(p, 100000), 0);
	EQ(munmap(q, 4096), 0);
}

void test_mmap_errors(void)
{
	CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap((void *)1, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED &&
	      errno == EINVAL);
	CHECK(mmap(NULL, 1UL << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	FAILS(munmap((void *)1, 4096), EINVAL);
	FAILS(munmap((void *)4096, 0), EINVAL);
	FAILS(syscall(SYS_mprotect, 1, 4096, PROT_READ), EINVAL); /* libc rounds */
	FAILS(mprotect((void *)0x7000, 4096, PROT_READ), ENOMEM);
}

void test_mprotect_faults(void)
{
	char *p = map(3 * 4096, PROT_READ | PROT_WRITE);

	p[4096] = 5;
	EQ(mprotect(p + 4096, 4096, PROT_READ), 0);
	EQ(p[4096], 5);
	CHECK(faults(p + 4096, true));
	EQ(fault_code, SEGV_ACCERR);
	CHECK(!faults(p, true));
	CHECK(!faults(p + 8192, true));
	EQ(mprotect(p + 4096, 4096, PROT_NONE), 0);
	CHECK(faults(p + 4096, false));
	EQ(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE), 0);
	EQ(p[4096], 5);
	p[4096] = 6;
	EQ(munmap(p, 3 * 4096), 0);
}

void test_munmap_faults(void)
{
	char *p = map(3 * 4096, PROT_READ | PROT_WRITE);

	p[0] = 1, p[8192] = 3;
	EQ(munmap(p + 4096, 4096), 0);
	EQ(p[0], 1);
	EQ(p[8192], 3);
	CHECK(faults(p + 4096, false));
	EQ(munmap(p, 3 * 4096), 0);
	CHECK(faults(p, false));
	EQ(fault_code, SEGV_MAPERR);
}

void test_mremap_calls(void)
{
	char *p = map(4 * 4096, PROT_READ | PROT_WRITE), *q;

	for (int i = 0; i < 4; i++)
		p[i * 4096] = (char)(i + 1);
	q = mremap(p, 4 * 4096, 2 * 4096, 0);
	CHECK(q == p && q[4096] == 2);
	q = mremap(q, 2 * 4096, 100 * 4096, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q[0] == 1 && q[4096] == 2);
	for (int i = 2; i < 100; i++)
		EQ(q[i * 4096], 0);
	q[99 * 4096] = 1;
	CHECK(mremap((void *)1, 4096, 8192, 0) == MAP_FAILED && errno == EINVAL);
	EQ(munmap(q, 100 * 4096), 0);
}

void test_brk_calls(void)
{
	char *old = sbrk(0), *p = (char *)syscall(SYS_brk, old + 100000);

	if (p != old + 100000) /* nothing says that the heap must be there */
		return;
	old[0] = 1;
	old[99999] = 2;
	EQ(old[50000], 0);
	p = (char *)syscall(SYS_brk, old);
	CHECK(p == old);
	p = (char *)syscall(SYS_brk, old + 100000);
	EQ(old[99999], 0);
	syscall(SYS_brk, old);
}

void test_malloc_stress(void)
{
	enum { N = 300 };
	unsigned char *p[N] = {0};
	size_t size[N];
	unsigned seed = 1;

	for (int i = 0; i < 20000; i++) {
		int k = rand_r(&seed) % N;

		if (p[k]) {
			EQ(p[k][0], k % 251);
			EQ(p[k][size[k] - 1], k % 251);
		}
		if (rand_r(&seed) % 3 == 0) {
			free(p[k]);
			p[k] = NULL;
			continue;
		}
		size[k] = rand_r(&seed) % 50 ? rand_r(&seed) % 2000 + 1 : rand_r(&seed) % 200000 + 1;
		p[k] = realloc(p[k], size[k]);
		CHECK(p[k]);
		EQ((uintptr_t)p[k] % 16, 0);
		memset(p[k], k % 251, size[k]);
	}
	for (int k = 0; k < N; k++)
		free(p[k]);
	unsigned char *c = calloc(1000, 100);

	for (int i = 0; i < 100000; i++)
		EQ(c[i], 0);
	free(c);
	void *a;

	EQ(posix_memalign(&a, 65536, 100), 0);
	EQ((uintptr_t)a % 65536, 0);
	free(a);
}

void test_malloc_too_much(void)
{
	volatile size_t n = (size_t)1 << 60;

	CHECK(!malloc(n) && errno == ENOMEM);
	CHECK(!calloc(n, n) && errno == ENOMEM);
}

void test_no_write_exec(void)
{
	char *p = map(4096, PROT_READ | PROT_WRITE);

	FAILS(mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), EACCES);
	CHECK(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	EQ(munmap(p, 4096), 0);
}

void test_null_page(void)
{
	char *volatile null = NULL;

	CHECK(faults(null, false));
	CHECK(faults(null + 100, true));
	CHECK(faults((char *)0x123000000000, true));
}

void test_text_read_only(void)
{
	CHECK(faults((char *)(uintptr_t)test_text_read_only, true));
	CHECK(faults((char *)(uintptr_t)"a constant", true));
}

void test_madvise_calls(void)
{
	char *p = map(4 * 4096, PROT_READ | PROT_WRITE);

	memset(p, 7, 4 * 4096);
	EQ(madvise(p + 4096, 4096, MADV_DONTNEED), 0);
	EQ(p[0], 7);
	EQ(p[4096], 0);
	EQ(p[8192], 7);
	EQ(madvise(p, 4096, MADV_NORMAL), 0);
	FAILS(madvise(p + 1, 4096, MADV_NORMAL), EINVAL);
	EQ(munmap(p, 4 * 4096), 0);
}

/* Memory that had been used before comes back clean. */
void test_pages_are_zero(void)
{
	for (int i = 0; i < 20; i++) {
		char *p = map(1 << 20, PROT_READ | PROT_WRITE);

		for (int j = 0; j < 1 << 20; j += 512)
			EQ(p[j], 0);
		memset(p, 0x55, 1 << 20);
		EQ(munmap(p, 1 << 20), 0);
	}
}

void test_mmap_fixed(void)
{
	char *p = map(4 * 4096, PROT_READ | PROT_WRITE), *q;

	memset(p, 1, 4 * 4096);
	q = mmap(p + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(q == p + 4096);
	EQ(q[0], 0);
	EQ(p[0], 1);
	EQ(p[8192], 1);
	EQ(munmap(p, 4 * 4096), 0);
}

void test_mmap_exhausted(void)
{
	static char *p[4096];
	size_t n = 0;

	while (n < COUNT(p) && (p[n] = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED)
		memset(p[n++], 1, 1 << 20);
	CHECK(n > 2 && n < COUNT(p));
	EQ(errno, ENOMEM);
	while (n)
		EQ(munmap(p[--n], 1 << 20), 0);
	CHECK((p[0] = malloc(1 << 20)));
	free(p[0]);
}

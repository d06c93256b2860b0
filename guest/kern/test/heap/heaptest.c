/*
 * heaptest.c: malloc of libc, with its cache of small slots. One vcpu is all that threads of a pVM share, so that one of them stops between two instructions and
 * others run: here each call is stepped through, and after each of its instructions another one is made as by another thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "heap.h"

#define TRAP 0x100 /* of rflags: a signal after each instruction */
#define SMALL 700
#define BLOCKS 64

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                   \
		}                                                                  \
	} while (0)

/* What libc has besides. */
int *___errno_location(void)
{
	return &errno;
}

void *__mmap(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
	return mmap(p, n, prot, flags, fd, at);
}

int __madvise(void *p, size_t n, int advice)
{
	return madvise(p, n, advice);
}

void *__mremap(void *p, size_t n, size_t to, int flags)
{
	return mremap(p, n, to, flags);
}

/* A death that a test waits for is one of a signal's, not of the sanitizer's. */
const char *__asan_default_options(void)
{
	return "handle_segv=0:handle_sigill=0";
}

/* ---- blocks, each with its number in all its bytes ---- */

static struct {
	unsigned char *p;
	size_t n;
} blocks[BLOCKS];

static void hold(int i)
{
	for (size_t k = 0; blocks[i].p && k < blocks[i].n; k++)
		CHECK(blocks[i].p[k] == (unsigned char)(i + 1));
}

static void put(int i, void *p, size_t n)
{
	CHECK(p && (uintptr_t)p % 16 == 0 && heap_malloc_usable_size(p) >= n);
	blocks[i].p = p;
	blocks[i].n = n;
	memset(p, i + 1, n);
	for (int k = 0; k < BLOCKS; k++)
		CHECK(k == i || !blocks[k].p || blocks[k].p + blocks[k].n <= blocks[i].p || blocks[i].p + n <= blocks[k].p);
}

static void drop(int i)
{
	if (!blocks[i].p)
		return;
	hold(i);
	heap_free(blocks[i].p);
	blocks[i].p = NULL;
	blocks[i].n = 0;
}

static void drop_all(void)
{
	for (int i = 0; i < BLOCKS; i++)
		drop(i);
}

/* ---- random calls ---- */

static unsigned seed;

static size_t rnd(size_t n)
{
	return (size_t)rand_r(&seed) % n;
}

static void random_call(void)
{
	int i = (int)rnd(BLOCKS);
	size_t n = rnd(100) ? rnd(SMALL) : rnd(200000), kept, align;
	unsigned char *p;

	switch (rnd(5)) {
	case 0:
		drop(i);
		put(i, heap_malloc(n), n);
		break;
	case 1:
		drop(i);
		p = heap_calloc(1, n);
		for (size_t k = 0; p && k < n; k++)
			CHECK(!p[k]);
		put(i, p, n);
		break;
	case 2:
		kept = blocks[i].n < n ? blocks[i].n : n;
		p = heap_realloc(blocks[i].p, n);
		for (size_t k = 0; p && k < kept; k++)
			CHECK(p[k] == (unsigned char)(i + 1));
		blocks[i].p = NULL;
		put(i, p, n);
		break;
	case 3:
		drop(i);
		align = 16UL << rnd(9);
		p = heap_aligned_alloc(align, n);
		CHECK((uintptr_t)p % align == 0);
		put(i, p, n);
		break;
	default:
		drop(i);
	}
}

/* ---- one call within another ---- */

static void (*intruder)(size_t n);
static size_t intruder_size;
static long step_at, steps;

/* Only where no lock is held: another thread would wait for it, and this one go on. */
static void on_step(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	if (steps++ < step_at)
		return;
	if (!heap_locked())
		intruder(intruder_size);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
}

static void set_stepping(int on)
{
	if (on)
		__asm__ volatile("pushfq; orq %0, (%%rsp); popfq" : : "i"(TRAP) : "memory", "cc");
	else
		__asm__ volatile("pushfq; andq %0, (%%rsp); popfq" : : "i"(~TRAP) : "memory", "cc");
}

/* Blocks 0 to 9 are the call's, 10 to 39 lie before it, 40 on are the intruder's. */
static void in_malloc(size_t n)
{
	void *p;

	set_stepping(1);
	p = heap_malloc(n);
	set_stepping(0);
	put(0, p, n);
}

static void in_free(size_t n)
{
	void *p = blocks[10].p;

	(void)n;
	hold(10);
	blocks[10].p = NULL;
	set_stepping(1);
	heap_free(p);
	set_stepping(0);
}

static void in_realloc(size_t n)
{
	void *p = blocks[10].p;

	hold(10);
	blocks[10].p = NULL;
	set_stepping(1);
	p = heap_realloc(p, n / 3);
	set_stepping(0);
	put(0, p, n / 3);
}

static void mallocs(size_t n)
{
	put(40, heap_malloc(n), n);
	put(41, heap_malloc(n), n);
}

static void frees(size_t n)
{
	(void)n;
	drop(11);
	drop(12);
}

static void malloc_frees(size_t n)
{
	put(40, heap_malloc(n), n);
	drop(40);
}

/* Where what the call was about to take seems to be in the way, it is what is taken next. */
static void frees_mallocs(size_t n)
{
	frees(n);
	for (int i = 40; i < 44; i++)
		put(i, heap_malloc(n), n);
}

static void empties(size_t n)
{
	for (int i = 40; i < 40 + heap_depth; i++)
		put(i, heap_malloc(n), n);
}

static void fills(size_t n)
{
	(void)n;
	for (int i = 11; i < 39; i++)
		drop(i);
}

/* After whatever it was, so many blocks as fit wait again, and are given out. */
static void recovers(size_t n)
{
	drop_all();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < BLOCKS; i++)
			put(i, heap_malloc(n), n);
		drop_all();
	}
	CHECK(heap_waiting(n) == heap_depth);
	for (int i = 0; i < heap_depth; i++) {
		put(i, heap_malloc(n), n);
		CHECK(heap_waiting(n) == heap_depth - 1 - i);
	}
	drop_all();
}

static void within(void (*call)(size_t), void (*other)(size_t), size_t n, int waiting)
{
	intruder = other;
	intruder_size = n;
	step_at = -1;
	do {
		recovers(n);
		for (int i = 10; i < 40; i++)
			put(i, heap_malloc(n), n);
		for (int i = 0; i < waiting; i++)
			drop(39 - i);
		CHECK(heap_waiting(n) == waiting);
		step_at++, steps = 0;
		call(n);
		for (int i = 0; i < BLOCKS; i++)
			hold(i);
	} while (steps > step_at);
	CHECK(step_at > 20);
	recovers(n);
}

static void all_within(size_t n)
{
	void (*calls[])(size_t) = {in_malloc, in_free};
	void (*others[])(size_t) = {mallocs, frees, malloc_frees, frees_mallocs, empties, fills};
	int waiting[] = {0, 1, heap_depth};

	for (size_t c = 0; c < sizeof(calls) / sizeof(*calls); c++)
		for (size_t o = 0; o < sizeof(others) / sizeof(*others); o++)
			for (size_t w = 0; w < sizeof(waiting) / sizeof(*waiting); w++)
				within(calls[c], others[o], n, waiting[w]);
	for (size_t o = 0; o < sizeof(others) / sizeof(*others); o++)
		within(in_realloc, others[o], n, 1);
}

/* ---- mistakes ---- */

static void dies(void (*mistake)(void))
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		signal(SIGTRAP, SIG_DFL);
		mistake();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

static void free_twice(void)
{
	void *p = heap_malloc(40);

	heap_free(p);
	heap_free(p);
}

static void free_twice_later(void)
{
	void *p = heap_malloc(40), *q = heap_malloc(40);

	heap_free(p);
	heap_free(q);
	heap_free(p);
}

static void free_inside(void)
{
	heap_free((char *)heap_calloc(1, 100) + 16);
}

static void use_size_freed(void)
{
	void *p = heap_malloc(40);

	heap_free(p);
	heap_malloc_usable_size(p);
}

static void write_beyond(void)
{
	char *p = heap_malloc(40);

	memset(p, 1, heap_malloc_usable_size(p) + 8);
	heap_free(p);
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	long rounds = argc > 2 ? atol(argv[2]) : 100000;

	seed = argc > 1 ? (unsigned)atol(argv[1]) : (unsigned)getpid();
	printf("heaptest: seed %u, %ld rounds\n", seed, rounds);
	fflush(stdout);
	CHECK(!sigaction(SIGTRAP, &sa, NULL));
	heap_threads();
	for (long i = 0; i < rounds; i++)
		random_call();
	drop_all();
	all_within(40);
	dies(free_twice);
	dies(free_twice_later);
	dies(free_inside);
	dies(use_size_freed);
	dies(write_beyond);
	return 0;
}

/* heap.c: tests of malloc and its kin, whose small blocks threads and children of fork share without locks. */
#include "test.h"

#include <malloc.h>
#include <sys/time.h>

#define SMALL 700 /* a little more than what is kept for the next malloc */

/* A block has its number in all its bytes. */
static unsigned char *fill(unsigned char *p, size_t n, unsigned number)
{
	CHECK(p);
	EQ((uintptr_t)p % 16, 0);
	memset(p, (int)number, n);
	return p;
}

static void hold(const unsigned char *p, size_t n, unsigned number)
{
	for (size_t i = 0; i < n; i++)
		EQ(p[i], (unsigned char)number);
}

void test_heap_sizes(void)
{
	static unsigned char *p[SMALL], *more[SMALL];

	for (int round = 0; round < 3; round++) {
		for (size_t n = 0; n < SMALL; n++) {
			p[n] = fill(malloc(n), n, (unsigned)n);
			CHECK(malloc_usable_size(p[n]) >= n);
		}
		for (size_t n = 0; n < SMALL; n++)
			hold(p[n], n, (unsigned)n);
		for (size_t n = round % 2; n < SMALL; n += 2)
			free(p[n]);
		for (size_t n = round % 2; n < SMALL; n += 2) {
			p[n] = calloc(1, n);
			hold(p[n], n, 0);
			fill(p[n], n, (unsigned)n);
		}
		for (size_t n = 0; n < SMALL; n++) {
			size_t to = n * 7 % SMALL + 1;

			more[n] = realloc(p[n], to);
			CHECK(more[n] && malloc_usable_size(more[n]) >= to);
			hold(more[n], to < n ? to : n, (unsigned)n);
			fill(more[n], to, (unsigned)n);
		}
		for (size_t n = 0; n < SMALL; n++) {
			hold(more[n], n * 7 % SMALL + 1, (unsigned)n);
			free(more[n]);
		}
	}
	free(NULL);
}

/* A block that is aligned begins somewhere in its slot, which the next one has from its beginning. */
void test_heap_aligned(void)
{
	unsigned char *p[8], *q[8];

	for (size_t align = 16; align <= 4096; align *= 2)
		for (size_t n = 1; n < SMALL; n += 37) {
			for (unsigned i = 0; i < COUNT(p); i++) {
				p[i] = fill(aligned_alloc(align, n), n, i);
				EQ((uintptr_t)p[i] % align, 0);
				CHECK(malloc_usable_size(p[i]) >= n);
			}
			for (unsigned i = 0; i < COUNT(p); i++) {
				hold(p[i], n, i);
				free(p[i]);
			}
			for (unsigned i = 0; i < COUNT(p); i++)
				q[i] = fill(malloc(n + align / 2), n + align / 2, i + 100);
			for (unsigned i = 0; i < COUNT(p); i++) {
				hold(q[i], n + align / 2, i + 100);
				free(q[i]);
			}
		}
}

/* ---- threads ---- */

#define PLACES 64

static struct {
	unsigned char *p;
	size_t n;
} *_Atomic places[PLACES];
static volatile bool over;
static volatile unsigned long turns;

/* Takes what another thread has put down, looks at it and frees it, and puts down something of its own. */
static void *exchange(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!over) {
		__typeof__(*places[0]) *mine = malloc(sizeof(*mine)), *other;

		CHECK(mine);
		mine->n = (size_t)rand_r(&seed) % SMALL + 1;
		mine->p = fill(rand_r(&seed) % 4 ? malloc(mine->n) : realloc(malloc(mine->n / 2 + 1), mine->n), mine->n, (unsigned)mine->n);
		other = __atomic_exchange_n(&places[rand_r(&seed) % PLACES], mine, __ATOMIC_SEQ_CST);
		if (other) {
			hold(other->p, other->n, (unsigned)other->n);
			free(other->p);
			free(other);
		}
		turns++;
	}
	return arg;
}

static void clear_places(void)
{
	for (int i = 0; i < PLACES; i++) {
		if (places[i])
			free(places[i]->p);
		free(places[i]);
		places[i] = NULL;
	}
}

static void tick(int sig)
{
	(void)sig;
}

/* Signals interrupt the threads wherever they are, and children are made meanwhile. */
void test_heap_threads(void)
{
	struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	pthread_t t[6];
	int64_t end = now() + 1000000000;
	pid_t pid;

	over = false;
	turns = 0;
	on_signal(SIGALRM, tick, SA_RESTART);
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_create(&t[i], NULL, exchange, (void *)(i + 1)), 0);
	EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (now() < end || turns < 10000) {
		IN_CHILD(pid) {
			unsigned char *p[200];

			for (unsigned i = 0; i < COUNT(p); i++)
				p[i] = fill(malloc(i * 3), i * 3, i);
			for (unsigned i = 0; i < COUNT(p); i++) {
				hold(p[i], i * 3, i);
				free(p[i]);
			}
		}
		EQ(ended(pid), 0);
	}
	EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	over = true;
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_join(t[i], NULL), 0);
	clear_places();
}

/* ---- mistakes ---- */

/* What does it ends by a signal. The pointer is one that the compiler cannot follow. */
#define DEADLY(what)                                    \
	do {                                            \
		pid_t pid_;                             \
		IN_CHILD(pid_) {                        \
			char *volatile p = malloc(40);  \
                                                        \
			CHECK(p);                       \
			close(2);                       \
			what;                           \
		}                                       \
		CHECK(WIFSIGNALED(ended(pid_)));        \
	} while (0)

void test_heap_double_free(void)
{
	DEADLY(free(p); free(p));
	DEADLY(char *volatile q = malloc(40); free(p); free(q); free(p));
	DEADLY(free(p); free(realloc(p, 1000)));
	DEADLY(char *volatile q = p + 16; free(q));
}

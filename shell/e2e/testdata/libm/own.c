/* A file of the tests' libm. With VERSION=2 all is elsewhere, in another order, and there are variables more. */
#include "state.h"

#include <stdio.h>
#include <time.h>

#if VERSION == 1
#define G(n) \
	unsigned char byte##n = n; \
	uint64_t word##n = n; \
	struct triple triple##n = {n, &byte##n, "first"};
#else
#define G(n) \
	uint64_t word##n = 2 * n; \
	int added##n = n; \
	struct triple triple##n = {-n, &word##n, "second"}; \
	char more##n[n]; \
	unsigned char byte##n = 2 * n;
#endif
NUMBERS(G)

#define P(n) {&byte##n, sizeof(byte##n)}, {&word##n, sizeof(word##n)}, {&triple##n, sizeof(triple##n)},
static const struct place places[] = {NUMBERS(P)};
_Static_assert(sizeof(places) == GLOBALS * sizeof(*places), "111 variables");

double cbrt(double);

static int calls;
static const char *word = VERSION == 2 ? "second word" : "first word";

static double function(double x)
{
	return VERSION * x;
}

#if VERSION == 2
int libm_added(void)
{
	return added10 + more46[45];
}
#endif

/* Function-level statics of one name in one file. */
static int both(void)
{
	static int seen = 100;

	return ++seen;
}

int libm_own(void)
{
	static int seen;

	return ++calls * 1000000 + ++seen * 1000 + both();
}

void libm_hold(volatile int *go)
{
	struct timespec t = {0, 1000000};

	puts("inside"); /* said here: who says it before the call may not be there yet */
	while (!*go)
		nanosleep(&t, NULL);
}

const struct place *libm_places(void)
{
	return places;
}

void libm_hands(struct hands *h)
{
	*h = (struct hands){function, cbrt, (unsigned char *)&triple30 + 5, &calls, libm_also_place(), VERSION == 2 ? "second text" : "first text", &word,
		places + 60};
}

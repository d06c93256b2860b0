/*
 * libcounter.so: with VERSION=2 each function is another one, and all is elsewhere; with 3 a variable is not there any more that the program has a
 * pointer to.
 */
#include "counter.h"

#include <time.h>

#if VERSION == 2
int added = 7;
const int filler[300] = {1};
int more(void)
{
	return added + filler[0];
}
#endif

int total = 5;
const int table[1100] = {[0] = VERSION, [1099] = 9};
#if VERSION == 3
static int another = 30;
#define own another
#else
static int own = 30;
#endif
static const char *held = VERSION == 2 ? "two" : "one";

int step(void)
{
	return VERSION == 2 ? 100 : 1;
}

int count(void)
{
	static int calls;

	total += step();
	return ++calls;
}

int other(void)
{
	static int calls = 50;

	return ++calls;
}

int *kept(void)
{
	own++;
	return &own;
}

const int *place(void)
{
	return table + 1099;
}

const char *text(void)
{
	return VERSION == 2 ? "second text" : "first text";
}

const char **word(void)
{
	return &held;
}

void hold(volatile int *go)
{
	struct timespec t = {0, 1000000};

	puts("inside"); /* said here: who says it before the call may not be there yet */
	while (!*go)
		nanosleep(&t, NULL);
}

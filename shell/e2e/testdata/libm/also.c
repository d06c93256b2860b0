/* The other file of the tests' libm: its statics have the names of own.c's. */
#include "state.h"

#if VERSION == 1
int libm_version(void)
{
	return 1;
}
#else
const int libm_filler[2000] = {1};
#endif

static int calls = 50;

static int function(int x)
{
	return x + VERSION;
}

int libm_also(void)
{
	static int seen = 200;

	return ++calls * 1000 + ++seen + 0 * function(0);
}

int *libm_also_place(void)
{
	return &calls;
}

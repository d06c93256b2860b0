/* plug.so needs need.so; both say when they come and go. With UPDATE it answers otherwise, with WANTS it needs what nobody has. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int need(int);
int nobody(void);

static int calls = 10;

__attribute__((constructor)) static void begin(void)
{
	puts("plug begins");
}

__attribute__((destructor)) static void end(void)
{
	puts("plug ends");
}

int plug(int x)
{
#ifdef WANTS
	return nobody();
#endif
#ifdef UPDATE
	return need(x) + 1000 * ++calls;
#else
	return need(x) + ++calls;
#endif
}

/* Also in the program and in need.so. */
int whose(void)
{
	return 3;
}

/* That of the library after this one. */
int next(void)
{
	int (*f)(void) = (int (*)(void))dlsym(RTLD_NEXT, "whose");

	return f ? f() : 0;
}

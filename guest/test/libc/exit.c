/* exit.c: what happens at the end, and the exit status. */
#include <stdio.h>
#include <stdlib.h>

static void one(void)
{
	puts("one");
}

static void two(void)
{
	puts("two");
	atexit(one);
}

__attribute__((constructor)) static void before(void)
{
	puts("before main");
}

__attribute__((destructor)) static void after(void)
{
	puts("after main");
}

int main(void)
{
	atexit(one);
	atexit(two);
	printf("no newline at the end, status 42");
	exit(42);
}

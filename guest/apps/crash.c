/*
 * crash.c MODE: dies in a chosen way, to see what the report of a crash looks like.
 *   null     writes through a null pointer          SIGSEGV
 *   text     writes to its own code                 SIGSEGV
 *   data     runs bytes that are data               SIGSEGV
 *   stack    recurses until the stack is used up    SIGSEGV
 *   garbage  executes an undefined instruction      SIGILL
 *   divide   divides by zero                        SIGFPE
 *   abort    calls abort()                          SIGABRT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void null(void)
{
	*(volatile int *)0 = 1;
}

static void text(void)
{
	*(volatile unsigned char *)(unsigned long)text = 0xc3;
}

static void data(void)
{
	static unsigned char ret[] = { 0xc3 };
	void (*f)(void);
	void *p = ret;

	memcpy(&f, &p, sizeof f);
	f();
}

static volatile int forever = 1;

static int deeper(int depth)
{
	volatile char frame[1024];

	frame[depth % sizeof frame] = depth;
	return forever ? deeper(depth + 1) + frame[depth % sizeof frame] : 0;
}

static void stack(void)
{
	deeper(0);
}

static void garbage(void)
{
	__asm__ volatile("ud2");
}

static void divide(void)
{
	volatile int zero = 0;

	printf("%d\n", 1000 / zero);
}

static const struct {
	const char *name;
	void (*die)(void);
} modes[] = {
	{ "null", null }, { "text", text }, { "data", data }, { "stack", stack },
	{ "garbage", garbage }, { "divide", divide }, { "abort", abort },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof modes / sizeof *modes; i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].die();
			fprintf(stderr, "crash: %s: still alive\n", argv[1]);
			return 1;
		}
	fputs("usage: crash null|text|data|stack|garbage|divide|abort\n", stderr);
	return 2;
}

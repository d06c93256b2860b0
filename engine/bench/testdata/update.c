/*
 * update: uses libbench.so, and obeys lines. "first": prints "first" and how many ticks the first call of each function took, and the same for 1000 "later"
 * calls. "loop N": calls functions for N ticks, and prints "gap" and the longest time between two of them. "sum": prints
 * what all functions return together. Then each prints "p".
 */
#include <stdio.h>
#include <stdlib.h>

#define TEN(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7) X(n##8) X(n##9)
#define ALL(X) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5) TEN(X, 6) TEN(X, 7) TEN(X, 8) TEN(X, 9) TEN(X, 10) TEN(X, 11) X(120)
#define FUNCTIONS 111
#define TIMES 1000 /* calls that are timed together */

typedef unsigned long long ticks;

#define DECLARE(n) long function_##n(long x);
ALL(DECLARE)

/* A table of pointers would have all of them bound. */
#define CALL(n) static long call_##n(long x) { return function_##n(x); }
ALL(CALL)

typedef long function(long);
#define ENTRY(n) call_##n,
static function *const calls[FUNCTIONS] = {ALL(ENTRY)};

static ticks took[FUNCTIONS];

static ticks now(void)
{
	return __builtin_ia32_rdtsc();
}

static void say(const char *name, int n)
{
	printf("%s", name);
	for (int i = 0; i < n; i++)
		printf(" %llu", took[i]);
	printf("\n");
}

/* What so many calls of each take. */
static void all(const char *name, function *const *of, int times)
{
	for (int i = 0; i < FUNCTIONS; i++) {
		function *volatile f = of[i];
		ticks start = now();

		for (int k = 0; k < times; k++)
			f(k);
		took[i] = now() - start;
	}
	say(name, FUNCTIONS);
}

static void first(void)
{
	all("first", calls, 1);
	all("later", calls, TIMES);
}

static void loop(ticks length)
{
	ticks start = now(), last = start, gap = 0;

	while (last - start < length) {
		ticks at;

		calls[last % FUNCTIONS]((long)last);
		at = now();
		if (at - last > gap)
			gap = at - last;
		last = at;
	}
	took[0] = gap;
	say("gap", 1);
}

static void sum(void)
{
	long n = 0;

	for (int i = 0; i < FUNCTIONS; i++)
		n += calls[i](i);
	took[0] = (ticks)n;
	say("sum", 1);
}

int main(void)
{
	char line[64];

	puts("p");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (line[0] == 'f')
			first();
		else if (line[0] == 'l')
			loop(strtoull(line + 5, NULL, 10));
		else
			sum();
		puts("p");
		fflush(stdout);
	}
	return 0;
}

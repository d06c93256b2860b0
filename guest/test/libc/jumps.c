/* jumps.c: setjmp and longjmp. */
#include <setjmp.h>
#include <stdio.h>

static jmp_buf env, inner;

static int down(int n)
{
	volatile char pad[500];

	pad[0] = (char)n;
	if (n == 0)
		longjmp(env, 7);
	return down(n - 1) + pad[0];
}

int main(void)
{
	volatile int rounds = 0;
	volatile double d = 1.5;
	int v;

	v = setjmp(env);
	printf("setjmp gives %d, rounds %d, %g\n", v, rounds, d);
	if (rounds++ < 3) {
		d *= 2;
		down(rounds * 10);
	}
	if (setjmp(env) == 0)
		longjmp(env, 0);
	else
		puts("0 becomes 1");
	if (!setjmp(env)) {
		if (!setjmp(inner))
			longjmp(inner, 1);
		puts("inner");
		longjmp(env, 1);
	}
	puts("outer");
	return 0;
}

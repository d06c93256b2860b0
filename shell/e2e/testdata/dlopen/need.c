/* What plug.so needs. */
#include <stdio.h>

__attribute__((constructor)) static void begin(void)
{
	puts("need begins");
}

__attribute__((destructor)) static void end(void)
{
	puts("need ends");
}

int need(int x)
{
	return 100 * x;
}

int whose(void)
{
	return 2;
}

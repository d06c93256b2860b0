/* Prints the CPU's counter at the first instruction of main. One MiB of image, but with -DSMALL. With -DSTAY it stays. */
#include <stdio.h>
#ifdef STAY
#include <unistd.h>
#endif

#ifndef SMALL
__attribute__((used)) static const char pad[960 << 10] = { 1 };
#endif

int main(void)
{
	printf("%llu\n", __builtin_ia32_rdtsc());
#ifdef STAY
	fflush(stdout);
	for (;;)
		pause();
#endif
	return 0;
}

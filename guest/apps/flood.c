/* flood.c [MIB]: prints that many MiB (default 1) of numbered 64-byte lines, to test what keeps output. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	long mib = argc > 1 ? strtol(argv[1], NULL, 10) : 1;

	if (mib < 0 || mib > 1L << 30) {
		fputs("usage: flood [MIB]\n", stderr);
		return 2;
	}
	for (long i = 0; i < mib << 14; i++)
		if (printf("%015ld the quick brown fox jumps over the lazy dog 012\n", i) != 64) {
			perror("flood: standard output");
			return 1;
		}
	return fflush(stdout) != 0;
}

/*
 * scribble.c AREA SEED: writes random bytes where hypervisor and engine read: over the whole control
 * area, over parts of it, over the stub. It never speaks up again; what becomes of it is one thing,
 * what becomes of others another.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint64_t next(void) /* splitmix64 */
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static const struct {
	const char *name;
	uint64_t va, len;
	int forever; /* and goes on changing it */
} areas[] = {
	{ "all", 0x10000000, 0x60000, 0 },
	{ "start", 0x10000000, 0x1000, 0 },
	{ "shared", 0x10001000, 0x1000, 0 },
	{ "control", 0x10002000, 0x1000, 0 },
	{ "commands", 0x10003000, 0x1000, 0 },
	{ "output", 0x10010000, 0x10000, 0 },
	{ "racing", 0x10000000, 0x60000, 1 },
	{ "racing-control", 0x10002000, 0x1000, 1 },
	{ "stub", 0x7ff000000000, 0x200000, 0 },
};

int main(int argc, char **argv)
{
	puts("scribbling");
	fflush(stdout);
	state = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	for (size_t i = 0; argc > 1 && i < sizeof areas / sizeof *areas; i++) {
		volatile uint64_t *p = (volatile uint64_t *)areas[i].va;
		uint64_t n = areas[i].len / sizeof *p;

		if (strcmp(argv[1], areas[i].name))
			continue;
		for (uint64_t k = 0; k < n; k++)
			p[k] = next();
		for (unsigned long rounds = 0; areas[i].forever && rounds < 20000000; rounds++)
			p[next() % n] = next();
	}
	return 0;
}

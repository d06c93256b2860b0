/* checksum.c: the sum of the internet's checksums. */
#include "kern.h"
#include "net.h"

/* a + b, and one more if that is too large for 64 bits. */
static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum + (sum < b);
}

static uint64_t word(const char *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

/* The ones' complement sum of n bytes at any address as 16-bit words of the machine's order, the last of them filled up with a zero; not inverted. RFC 1071: words of any
 * size that are added so fold to the same. Two sums, so that an addition need not wait for the one before. */
uint16_t net_checksum(const void *data, int n)
{
	const char *p = data;
	uint64_t a = 0, b = 0, last = 0;

	for (; n >= 16; n -= 16, p += 16) {
		a = add(a, word(p));
		b = add(b, word(p + 8));
	}
	if (n >= 8) {
		a = add(a, word(p));
		n -= 8, p += 8;
	}
	for (int i = 0; i < n; i++)
		last |= (uint64_t)(uint8_t)p[i] << 8 * i;
	a = add(add(a, b), last);
	a = (a >> 32) + (uint32_t)a;
	a = (a >> 16) + (a & 0xffff);
	a = (a >> 16) + (a & 0xffff);
	a = (a >> 16) + (a & 0xffff);
	return (uint16_t)a;
}

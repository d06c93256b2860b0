/*
 * int128.c: 128-bit division, and conversions to and from long double, for which gcc calls its
 * run-time library. libgcc's own keep temporaries in the red zone.
 */
#include <stdint.h>

typedef __int128 i128;
typedef unsigned __int128 u128;

/* n / d for n >> 64 < d, so that the quotient fits. */
static inline uint64_t div_wide(u128 n, uint64_t d, uint64_t *rem)
{
	uint64_t q;

	__asm__("divq %4" : "=a"(q), "=d"(*rem) : "a"((uint64_t)n), "d"((uint64_t)(n >> 64)), "r"(d) : "cc");
	return q;
}

u128 __udivmodti4(u128 n, u128 d, u128 *rem)
{
	uint64_t dh = d >> 64, r;
	u128 q;

	if (!dh) {
		uint64_t qh = div_wide(n >> 64, d, &r);

		q = (u128)qh << 64 | div_wide((u128)r << 64 | (uint64_t)n, d, &r);
		if (rem)
			*rem = r;
		return q;
	}
	/*
	 * The quotient has at most 64 bits. Dividing the upper parts, with the divisor's top bit
	 * set, gives it or one more (Hacker's Delight, 9-5); one less is then one too small at most.
	 */
	int shift = __builtin_clzl(dh);

	q = (u128)div_wide(n >> 1, (d << shift) >> 64, &r) << shift >> 63;
	if (q)
		q--;
	n -= q * d;
	if (n >= d) {
		n -= d;
		q++;
	}
	if (rem)
		*rem = n;
	return q;
}

u128 __udivti3(u128 n, u128 d)
{
	return __udivmodti4(n, d, 0);
}

u128 __umodti3(u128 n, u128 d)
{
	u128 r;

	__udivmodti4(n, d, &r);
	return r;
}

static inline u128 magnitude(i128 n)
{
	return n < 0 ? -(u128)n : (u128)n;
}

i128 __divmodti4(i128 n, i128 d, i128 *rem)
{
	u128 r, q = __udivmodti4(magnitude(n), magnitude(d), &r);

	*rem = n < 0 ? -r : r;
	return (n < 0) != (d < 0) ? -q : q;
}

i128 __divti3(i128 n, i128 d)
{
	i128 r;

	return __divmodti4(n, d, &r);
}

i128 __modti3(i128 n, i128 d)
{
	i128 r;

	__divmodti4(n, d, &r);
	return r;
}

/* Both halves are exact in a 64-bit mantissa: the sum is the only rounding. */
long double __floattixf(i128 n)
{
	return (long double)(int64_t)(n >> 64) * 0x1p64L + (uint64_t)n;
}

long double __floatuntixf(u128 n)
{
	return (long double)(uint64_t)(n >> 64) * 0x1p64L + (uint64_t)n;
}

uint64_t __fixunsxfdi(long double x)
{
	if (x < 0x1p63L)
		return (int64_t)x;
	return (uint64_t)(int64_t)(x - 0x1p63L) + (1UL << 63);
}

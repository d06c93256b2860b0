/*
 * quad.c: the parts of __float128 arithmetic for which libgcc's own keep temporaries in the red zone.
 */
#include <fenv.h>
#include <stdint.h>

#define BIAS 16383
#define FRACTION_HI 48 /* bits of the fraction in the upper word */

union quad {
	__float128 f;
	struct {
		uint64_t lo, hi;
	};
};

/* Raises exceptions that a computation in software had; libgcc's numbers are those of fenv.h. */
void __sfp_handle_exceptions(int exceptions)
{
	feraiseexcept(exceptions);
}

__float128 __negtf2(__float128 x)
{
	union quad q = {x};

	q.hi ^= 1UL << 63;
	return q.f;
}

static __float128 from_magnitude(uint64_t n, int negative)
{
	union quad q = {.lo = 0, .hi = (uint64_t)negative << 63};

	if (n) {
		int lead = 63 - __builtin_clzl(n); /* its bit is implied */
		unsigned __int128 fraction = (unsigned __int128)n << (FRACTION_HI + 64 - lead);

		q.lo = fraction;
		q.hi |= (uint64_t)(BIAS + lead) << FRACTION_HI | ((uint64_t)(fraction >> 64) & ((1UL << FRACTION_HI) - 1));
	}
	return q.f;
}

__float128 __floatditf(int64_t n)
{
	return from_magnitude(n < 0 ? -(uint64_t)n : (uint64_t)n, n < 0);
}

__float128 __floatsitf(int32_t n)
{
	return __floatditf(n);
}

__float128 __floatunditf(uint64_t n)
{
	return from_magnitude(n, 0);
}

__float128 __floatunsitf(uint32_t n)
{
	return from_magnitude(n, 0);
}

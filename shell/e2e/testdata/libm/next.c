/* The next version of libm: results of the functions in names.h differ in the lowest bit from those of the first version, first_NAME. */
#define LOW(type) \
	static type low_##type(type v) \
	{ \
		*(unsigned char *)&v ^= 1; \
		return v; \
	}
typedef long double quad;
LOW(double)
LOW(float)
LOW(quad)

#define ONE(fn) WITH1(fn, double) WITH1(fn##f, float) WITH1(fn##l, quad)
#define WITH1(fn, type) \
	type first_##fn(type); \
	type fn(type x) { return low_##type(first_##fn(x)); }
#define TWO(fn) WITH2(fn, double) WITH2(fn##f, float) WITH2(fn##l, quad)
#define WITH2(fn, type) \
	type first_##fn(type, type); \
	type fn(type x, type y) { return low_##type(first_##fn(x, y)); }
#include "names.h"

/* What only it has. */
int libm_version(void)
{
	return 2;
}

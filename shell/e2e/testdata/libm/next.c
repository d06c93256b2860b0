/* The next version of libm: results of the functions in names.h differ in the lowest bit from those of the first version, first_NAME. */
#include "names.h"

#define FN(type, name, parameters, arguments) \
	type first_##name parameters; \
	type name parameters { return low_##type(first_##name arguments); }
#define PAIR(type, name) \
	void first_##name(type, type *, type *); \
	void name(type x, type *y, type *z) \
	{ \
		first_##name(x, y, z); \
		*y = low_##type(*y); \
		*z = low_##type(*z); \
	}
FUNCTIONS
#define ALIAS(name, of) __typeof__(of) name __attribute__((alias(#of)));
ALIASES

/* What only it has. */
int libm_version(void)
{
	return 2;
}

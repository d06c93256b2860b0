/*
 * complex.c: multiplication and division of complex numbers as C11 annex G has them, for float
 * and long double; libgcc's own keep temporaries in the red zone (those for double do not).
 */
#include <complex.h>
#include <math.h>

/* A float's quotient cannot overflow while it is computed in double. */
#define REAL float
#define WIDE double
#define F(name) name##f
#define MUL __mulsc3
#define DIV __divsc3
#define CPLX CMPLXF
#define EXPONENT(x) 0
#define SCALE(x, n) ((void)(n), (x))
#include "complex_type.h"

static int exponent(long double x)
{
	return isfinite(x) && x != 0 ? ilogbl(x) : 0;
}

#define REAL long double
#define WIDE long double
#define F(name) name##l
#define MUL __mulxc3
#define DIV __divxc3
#define CPLX CMPLXL
#define EXPONENT(x) exponent(x)
#define SCALE(x, n) scalbnl(x, n)
#include "complex_type.h"

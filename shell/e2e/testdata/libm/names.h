/*
 * The functions of libm whose result is a number, as FN(type, name, parameters, arguments); arguments are the names of parameters. PAIR is of those
 * that have two. low_TYPE makes a
 * result that differs in the lowest bit.
 */
typedef long long llong;
typedef long double quad;
typedef double _Complex cdouble;
typedef float _Complex cfloat;
typedef long double _Complex cquad;

#define LOW(type) \
	static inline type low_##type(type v) \
	{ \
		*(unsigned char *)&v ^= 1; \
		return v; \
	}
LOW(int) LOW(long) LOW(llong) LOW(double) LOW(float) LOW(quad) LOW(cdouble) LOW(cfloat) LOW(cquad)

/* Of double and float, and of long double as well. */
#define TWOFOLD(fn, K) K(double, fn) K(float, fn##f)
#define THREEFOLD(fn, K) TWOFOLD(fn, K) K(quad, fn##l)

#define ONE(fn) THREEFOLD(fn, ONE_)
#define TWO(fn) THREEFOLD(fn, TWO_)
#define FMA(fn) THREEFOLD(fn, FMA_)
#define TOWARD(fn) THREEFOLD(fn, TOWARD_)
#define BY(fn) THREEFOLD(fn, BY_)
#define BYLONG(fn) THREEFOLD(fn, BYLONG_)
#define EXPONENT(fn) THREEFOLD(fn, EXPONENT_)
#define PARTS(fn) THREEFOLD(fn, PARTS_)
#define QUOTIENT(fn) THREEFOLD(fn, QUOTIENT_)
#define TOINT(fn) THREEFOLD(fn, TOINT_)
#define TOLONG(fn) THREEFOLD(fn, TOLONG_)
#define TOLLONG(fn) THREEFOLD(fn, TOLLONG_)
#define COMPLEX(fn) THREEFOLD(fn, COMPLEX_)
#define PART(fn) THREEFOLD(fn, PART_)
#define POWER(fn) THREEFOLD(fn, POWER_)
#define OLD(fn) TWOFOLD(fn, ONE_)
#define OLDTWO(fn) TWOFOLD(fn, TWO_)
#define OLDINT(fn) TWOFOLD(fn, TOINT_)
#define ORDER(fn) TWOFOLD(fn, ORDER_)

#define ONE_(type, fn) FN(type, fn, (type x), (x))
#define TWO_(type, fn) FN(type, fn, (type x, type y), (x, y))
#define FMA_(type, fn) FN(type, fn, (type x, type y, type z), (x, y, z))
#define TOWARD_(type, fn) FN(type, fn, (type x, quad y), (x, y))
#define BY_(type, fn) FN(type, fn, (type x, int n), (x, n))
#define BYLONG_(type, fn) FN(type, fn, (type x, long n), (x, n))
#define EXPONENT_(type, fn) FN(type, fn, (type x, int *e), (x, e))
#define PARTS_(type, fn) FN(type, fn, (type x, void *part), (x, part))
#define QUOTIENT_(type, fn) FN(type, fn, (type x, type y, int *e), (x, y, e))
#define TOINT_(type, fn) FN(int, fn, (type x), (x))
#define TOLONG_(type, fn) FN(long, fn, (type x), (x))
#define TOLLONG_(type, fn) FN(llong, fn, (type x), (x))
#define COMPLEX_(type, fn) FN(c##type, fn, (c##type c), (c))
#define PART_(type, fn) FN(type, fn, (c##type c), (c))
#define POWER_(type, fn) FN(c##type, fn, (c##type c, c##type d), (c, d))
#define ORDER_(type, fn) FN(type, fn, (int n, type x), (n, x))

#define FUNCTIONS \
	ONE(sin) ONE(cos) ONE(tan) ONE(asin) ONE(acos) ONE(atan) ONE(sinh) ONE(cosh) ONE(tanh) ONE(asinh) ONE(acosh) ONE(atanh) \
	ONE(exp) ONE(exp2) ONE(exp10) ONE(expm1) ONE(log) ONE(log2) ONE(log10) ONE(log1p) ONE(logb) ONE(sqrt) ONE(cbrt) \
	ONE(erf) ONE(erfc) ONE(tgamma) ONE(lgamma) ONE(floor) ONE(ceil) ONE(round) ONE(trunc) ONE(rint) ONE(nearbyint) ONE(fabs) \
	TWO(pow) TWO(atan2) TWO(hypot) TWO(fmod) TWO(remainder) TWO(fdim) TWO(fmax) TWO(fmin) TWO(copysign) TWO(nextafter) \
	FMA(fma) TOWARD(nexttoward) BY(ldexp) BY(scalbn) BYLONG(scalbln) EXPONENT(frexp) PARTS(modf) QUOTIENT(remquo) \
	EXPONENT_(double, lgamma_r) EXPONENT_(float, lgammaf_r) EXPONENT_(quad, lgammal_r) \
	TOINT(ilogb) TOLONG(lrint) TOLONG(lround) TOLLONG(llrint) TOLLONG(llround) \
	OLD(j0) OLD(j1) OLD(y0) OLD(y1) OLD(significand) ORDER(jn) ORDER(yn) OLDTWO(scalb) OLDINT(finite) \
	COMPLEX(cexp) COMPLEX(clog) COMPLEX(csqrt) COMPLEX(csin) COMPLEX(ccos) COMPLEX(ctan) COMPLEX(casin) COMPLEX(cacos) COMPLEX(catan) \
	COMPLEX(csinh) COMPLEX(ccosh) COMPLEX(ctanh) COMPLEX(casinh) COMPLEX(cacosh) COMPLEX(catanh) COMPLEX(conj) COMPLEX(cproj) \
	PART(cabs) PART(carg) PART(creal) PART(cimag) POWER(cpow) PAIR(double, sincos) PAIR(float, sincosf) PAIR(quad, sincosl)

/* Other names of some of them. */
#define ALIASES ALIAS(drem, remainder) ALIAS(dremf, remainderf) ALIAS(pow10, exp10) ALIAS(pow10f, exp10f) ALIAS(pow10l, exp10l) \
	ALIAS(__lgamma_r, lgamma_r) ALIAS(__lgammaf_r, lgammaf_r) ALIAS(__lgammal_r, lgammal_r)

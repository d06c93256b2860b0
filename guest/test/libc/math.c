/* math.c: results that IEEE 754 or the function's own exactness fix, the others rounded to 12 digits. */
#include <complex.h>
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

int main(void)
{
	static const double v[] = {0, 1, -1, 0.5, 2, 3, 10, 100.25, 1e-3, 1e10, -7.75};
	int e, q;
	double ip;

	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
		double x = v[i], a = fabs(x);

		printf("%g: %.17g %.17g %g %g %g %g %ld\n", x, sqrt(a), fma(x, x, 1), floor(x), ceil(x), round(x), trunc(x), lrint(x));
		printf("  %.12g %.12g %.12g %.12g %.12g\n", sin(x), cos(x), tan(x), atan(x), exp(x / 10));
		printf("  %.12g %.12g %.12g %.12g %.12g\n", log(a + 1), log2(a + 1), log10(a + 1), cbrt(x), hypot(x, 3));
		printf("  %.12g %.12g %.12g %.12g %.12g\n", sinh(x / 50), cosh(x / 50), tanh(x), erf(x), pow(a + 0.5, 1.5));
		printf("  %g %g %d %g\n", fmod(x, 3), remquo(x, 3, &q), ilogb(a + 1), frexp(x, &e));
		printf("  %g %g %d\n", modf(x, &ip), ip, signbit(x) != 0);
		printf("  %.6g %.6g\n", (double)sinf((float)x), (double)powf((float)a, 0.5f));
	}
	printf("%d %d %d %d\n", fpclassify(1.0) == FP_NORMAL, isnan(NAN), isinf(INFINITY), isfinite(1.0));
	printf("%g %g %g %g\n", pow(0, 0), pow(-1, INFINITY), fmax(NAN, 1), fmin(1, 2));
	printf("%.12g %.12g %g\n", tgamma(5.5), lgamma(10.5), nextafter(1, 2) - 1);
	printf("%.12g %.12g\n", atan2(1, -1), ldexp(0.75, 10));
	printf("%.10g%+.10gi %.10g\n", creal(csqrt(-2)), cimag(csqrt(-2)), cabs(3 + 4 * I));
	printf("%.17Lg %.15Lg\n", sqrtl(2), sinl(1));
	fesetround(FE_UPWARD);
	printf("%g %g\n", rint(0.1), nearbyint(-0.9));
	fesetround(FE_TONEAREST);
	feclearexcept(FE_ALL_EXCEPT);
	volatile double zero = 0, one = 1;

	one /= zero;
	printf("%d %d %g\n", !!fetestexcept(FE_DIVBYZERO), !!fetestexcept(FE_INVALID), one);
	printf("%d %g\n", DBL_DIG, DBL_EPSILON);
	return 0;
}

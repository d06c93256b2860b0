/*
 * compare.c: prints results of what the files of lib/gcc compute. libgcc_test.go links it natively with
 * them and with the machine's libgcc; both must print the same. Signs of NaNs and of zeros that
 * complex division makes differ between correct implementations: NaN and zero are printed unsigned.
 */
#include <complex.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

typedef __int128 i128;
typedef unsigned __int128 u128;

static uint64_t state = 1;

static uint64_t next(void)
{
	state = state * 6364136223846793005 + 1442695040888963407;
	return state ^ state >> 29;
}

/* Numbers of any length, so that every branch of the division is taken. */
static u128 wide(void)
{
	u128 n = (u128)next() << 64 | next();

	n >>= next() >> 57;
	return next() & 8 ? ~n : n;
}

/* FNV-1a over the bytes of what was computed. */
static uint64_t digest = 0xcbf29ce484222325;

static void add(const void *p, int n)
{
	for (const unsigned char *c = p; n--; c++)
		digest = (digest ^ *c) * 0x100000001b3;
}

static void division(void)
{
	for (int i = 0; i < 200000; i++) {
		u128 n = wide(), d = wide();
		u128 q, r;

		if (!d)
			d = 1;
		q = n / d;
		r = n % d;
		add(&q, 16);
		add(&r, 16);
		if ((i128)d == -1)
			d = 3; /* the one signed quotient that overflows */
		q = (i128)n / (i128)d;
		r = (i128)n % (i128)d;
		add(&q, 16);
		add(&r, 16);
	}
	printf("division %016lx\n", digest);
}

static void conversion(void)
{
	for (int i = 0; i < 200000; i++) {
		u128 n = wide();
		long double u = n, s = (i128)n;
		__float128 q = (__float128)(int64_t)n + (__float128)(uint64_t)(n >> 64) * (__float128)(int)n - (__float128)(unsigned)n;

		q = -q / 3;
		add(&u, 10); /* the rest is padding */
		add(&s, 10);
		add(&q, 16);
	}
	printf("conversion %016lx\n", digest);
}

static double plain(double x)
{
	return isnan(x) ? 0.25 : x == 0 ? 0 : x;
}

static void complex_numbers(void)
{
	static const float v[] = {0, -0.0f, 1, -2.5f, 7, 3e38f, 1e-40f, INFINITY, -INFINITY, NAN};
	enum { N = sizeof(v) / sizeof(v[0]) };

	for (int i = 0; i < N * N * N * N; i++) {
		float a = v[i % N], b = v[i / N % N], c = v[i / N / N % N], d = v[i / N / N / N];
		volatile float _Complex x = CMPLXF(a, b), y = CMPLXF(c, d);
		volatile long double _Complex lx = CMPLXL(a, b), ly = CMPLXL(c, d);
		float _Complex m = x * y, q = x / y;
		long double _Complex lm = lx * ly, lq = lx / ly;

		printf("%g %g %g %g: %g %g, %g %g; %.15g %.15g, %.15g %.15g\n", a, b, c, d,
			plain(crealf(m)), plain(cimagf(m)), plain(crealf(q)), plain(cimagf(q)),
			plain(creall(lm)), plain(cimagl(lm)), plain(creall(lq)), plain(cimagl(lq)));
	}
}

int main(void)
{
	division();
	conversion();
	complex_numbers();
	return 0;
}

/* A digest of the results of each function in names.h, for some arguments: of all of their bits. */
#include <complex.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "names.h"

/* musl has macros of them, too. */
#undef creal
#undef crealf
#undef creall
#undef cimag
#undef cimagf
#undef cimagl

static const double arguments[] = {0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.25, 10.0, 100.5, 1e-8, 1e8, 1e300, -0.5, -1.0, -2.75, -40.0};
#define ARGUMENTS (sizeof(arguments) / sizeof(*arguments))

static uint64_t digest;

static void add(const void *value, size_t bytes)
{
	const unsigned char *b = value;

	while (bytes--)
		digest = (digest ^ *b++) * 0x100000001b3;
}

/* Of 16 bytes of a long double 10 count. All that is no number is one: its sign and payload are free. */
#define ADD(type, bytes) \
	static void add_##type(type v) \
	{ \
		if (v != v) \
			add("nan", 3); \
		else \
			add(&v, bytes); \
	}
ADD(int, sizeof(v)) ADD(long, sizeof(v)) ADD(llong, sizeof(v)) ADD(double, sizeof(v)) ADD(float, sizeof(v)) ADD(quad, 10)
#define ADDBOTH(type) \
	static void add_c##type(c##type v) \
	{ \
		add_##type(__real__ v); \
		add_##type(__imag__ v); \
	}
ADDBOTH(double) ADDBOTH(float) ADDBOTH(quad)

/* EACH has take() take each function: its name, its digest, and what that will be of the next version of libm. */
#define FN(type, name, parameters, arguments) DIGEST(name, type r = name arguments; add_##type(next ? low_##type(r) : r))
#define PAIR(type, name) \
	DIGEST(name, type r = 0; type s = 0; name(x, &r, &s); add_##type(next ? low_##type(r) : r); add_##type(next ? low_##type(s) : s))
#define DIGEST(name, ...) \
	do { \
		uint64_t both[2]; \
		for (int next = 0; next < 2; next++) { \
			digest = 0xcbf29ce484222325; \
			for (size_t i = 0; i < ARGUMENTS; i++) { \
				double x = arguments[i], y = arguments[(i + 5) % ARGUMENTS], z = 1.5; \
				double complex c = x / 20 + y / 20 * I, d = 0.5 - I; \
				int n = 3, exponent = 0, *e = &exponent; \
				quad whole = 0; \
				void *part = &whole; \
				(void)y, (void)z, (void)c, (void)d, (void)n, (void)e, (void)part; \
				__VA_ARGS__; \
				add_int(exponent); \
				add(&whole, 10); \
			} \
			both[next] = digest; \
		} \
		take(#name, both[0], both[1]); \
	} while (0);

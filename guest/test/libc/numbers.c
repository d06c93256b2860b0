/* numbers.c: strtol, strtod and their relatives. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	static const char *const ints[] = {"0", "42", "-42", "+7", "  13x", "0x1f", "0X", "077", "08", "z", "", "-", "99999999999999999999",
		"-99999999999999999999", "9223372036854775807", "9223372036854775808", "0b11", "1e3"};
	static const char *const floats[] = {"0", "1.5", "-2.25e3", ".5", "5.", "1e400", "-1e400", "1e-400", "0x1.8p1", "inf", "-Infinity",
		"1e", "1e+", "e5", "  3.25abc", "123456789012345678901234567890", "4.9406564584124654e-324", "2.2250738585072011e-308",
		"179769313486231580793728971405301e277", "0.1", "1.7976931348623157e308", "1.7976931348623159e308", ".", "+", "0x.8", "0xg"};
	static const int bases[] = {10, 0, 16, 36};

	for (size_t i = 0; i < sizeof(ints) / sizeof(*ints); i++)
		for (size_t b = 0; b < 4; b++) {
			char *end;
			long v;

			errno = 0;
			v = strtol(ints[i], &end, bases[b]);
			printf("%s base %d: %ld used %d%s\n", ints[i], bases[b], v, (int)(end - ints[i]), errno == ERANGE ? " range" : "");
		}
	for (size_t i = 0; i < sizeof(ints) / sizeof(*ints); i++) {
		errno = 0;
		printf("%s: %lu", ints[i], strtoul(ints[i], NULL, 10));
		printf("%s\n", errno == ERANGE ? " range" : "");
	}
	for (size_t i = 0; i < sizeof(floats) / sizeof(*floats); i++) {
		char *end;
		double v;

		errno = 0;
		v = strtod(floats[i], &end);
		/* Whether a subnormal result is out of range is the implementation's choice. */
		printf("%s: %.17g used %d%s\n", floats[i], v, (int)(end - floats[i]),
			errno == ERANGE && (v == 0 || v > 1e308 || v < -1e308) ? " range" : "");
		printf("  float %.9g long %.20Lg\n", strtof(floats[i], NULL), strtold(floats[i], NULL));
	}
	printf("%d %ld %lld %g\n", atoi("12x"), atol("-9"), atoll("123456789012"), atof("1.25"));
	printf("%jd %ju\n", strtoimax("-5", NULL, 10), strtoumax("5", NULL, 10));
	div_t d = div(-7, 2);
	ldiv_t l = ldiv(7, -2);
	printf("%d %d %ld %ld %d\n", d.quot, d.rem, l.quot, l.rem, abs(-5));
	return 0;
}

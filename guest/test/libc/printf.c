/* printf.c: formats. */
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>

int main(void)
{
	char buf[20];
	int n;

	printf("[%d] [%5d] [%-5d] [%05d] [%+d] [% d]\n", 42, 42, 42, 42, 42, 42);
	printf("[%d] [%u] [%ld] [%lu]\n", INT_MIN, UINT_MAX, LONG_MIN, ULONG_MAX);
	printf("[%x] [%X] [%#x] [%o] [%#o] [%.3x]\n", 255, 255, 255, 8, 8, 10);
	printf("[%hhd] [%hd] [%lld] [%zu] [%jd] [%td]\n", (signed char)300, (short)70000, 1LL << 40, (size_t)7,
		(intmax_t)-5, (ptrdiff_t)9);
	printf("[%s] [%10s] [%-10s] [%.2s] [%c] [%%]\n", "abc", "abc", "abc", "abc", 'x');
	printf("[%*d] [%-*d] [%.*s]\n", 6, 1, 6, 2, 2, "xyz");
	printf("[%f] [%.0f] [%.2f] [%10.3f] [%-10.1f] [%+.1f]\n", 3.14159, 2.5, 2.675, 1.5, 1.5, 1.5);
	printf("[%e] [%.0e] [%.3E] [%g] [%g] [%g] [%#g] [%G]\n", 12345.678, 5.0, 0.00012, 100000.0, 1e6, 1e-5, 1.0, 1e-10);
	printf("[%f] [%F] [%e] [%g] [%5.1f]\n", 1.0 / 0.0, -1.0 / 0.0, 1.0 / 0.0, -(0.0 / 0.0) > 0 ? 1.0 : 2.0, 0.05);
	printf("[%.20g] [%.17g] [%.1f] [%.3f] [%.0f]\n", 0.1, 1.0 / 3, 0.25, 0.0005, 1e22);
	printf("[%a] [%a] [%.2a]\n", 1.0, 0.5, 1.999);
	printf("[%" PRId64 "] [%" PRIx64 "] [%" PRIu8 "]\n", INT64_MIN, UINT64_MAX, (uint8_t)200);
	printf("%2$s %1$s\n", "world", "hello");
	printf("abc%n\n", &n);
	printf("%d\n", n);
	n = snprintf(buf, sizeof(buf), "%s", "a string longer than the buffer");
	printf("%d [%s]\n", n, buf);
	n = snprintf(NULL, 0, "%d", 12345);
	printf("%d\n", n);
	printf("[%.300f]\n", 1e-300);
	printf("[%.10d] [%8.3d] [%-8.3d] [%.0d]\n", 5, 5, 5, 0);
	printf("[%Lf] [%.5Lg]\n", 1.25L, 1e100L);
	return 0;
}

/* scanf.c */
#include <stdio.h>
#include <string.h>
#include <wchar.h>

int main(void)
{
	int a = 0, b = 0, n = 0;
	unsigned x = 0, o = 0;
	long l = 0;
	short h = 0;
	signed char hh = 0;
	double d = 0;
	float f = 0;
	char s[50] = "", t[50] = "", c = 0;

	printf("%d", sscanf("12 -34", "%d%d", &a, &b));
	printf(" %d %d\n", a, b);
	printf("%d", sscanf("ff 0x1A 17", "%x %x %o", &x, (unsigned *)&a, &o));
	printf(" %u %d %u\n", x, a, o);
	printf("%d", sscanf("1234567", "%3d%n%d", &a, &n, &b));
	printf(" %d %d %d\n", a, n, b);
	printf("%d", sscanf("3.5 -1e3", "%lf %f", &d, &f));
	printf(" %g %g\n", d, f);
	printf("%d", sscanf("hello world", "%s %49s", s, t));
	printf(" %s %s\n", s, t);
	printf("%d", sscanf("abc123", "%[a-z]%[^a-z]", s, t));
	printf(" %s %s\n", s, t);
	printf("%d", sscanf("  x", "%c", &c));
	printf(" [%c]\n", c);
	printf("%d", sscanf("key=value", "%[^=]=%s", s, t));
	printf(" %s %s\n", s, t);
	printf("%d", sscanf("10 20", "%*d %d", &a));
	printf(" %d\n", a);
	printf("%d", sscanf("300 70000 5000000000", "%hhd %hd %ld", &hh, &h, &l));
	printf(" %d %d %ld\n", hh, h, l);
	printf("%d %d %d\n", sscanf("", "%d", &a), sscanf("x", "%d", &a), sscanf("50%", "%d%%", &a));
	printf("%d", sscanf("0x10 010 10", "%i %i %i", &a, &b, &n));
	printf(" %d %d %d\n", a, b, n);
	printf("%d", sscanf("a,b", "%1s,%1s", s, t));
	printf(" %s %s\n", s, t);
	return 0;
}

/* locale.c: the C locale. */
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	struct lconv *l = localeconv();
	char buf[20];

	printf("%s\n", setlocale(LC_ALL, NULL));
	printf("[%s] [%s] [%s] %d\n", l->decimal_point, l->thousands_sep, l->currency_symbol, l->frac_digits == CHAR_MAX);
	printf("%s %s %s\n", nl_langinfo(DAY_1), nl_langinfo(MON_12), nl_langinfo(RADIXCHAR));
	printf("%d %zu\n", strcoll("a", "B") > 0, strxfrm(buf, "abc", sizeof(buf)));
	printf("%s\n", setlocale(LC_ALL, "C") ? "C" : "none");
	printf("%s\n", setlocale(LC_NUMERIC, "POSIX") ? "POSIX" : "none");
	printf("%.2f\n", strtod("1.25", NULL));
	return 0;
}

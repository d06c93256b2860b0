/* wide.c: wide characters in the C.UTF-8 locale. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

int main(void)
{
	const char *utf8 = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
	wchar_t w[20], *end;
	char out[50];
	mbstate_t st = {0};
	size_t n;

	printf("%s\n", setlocale(LC_ALL, "C.UTF-8") ? "ok" : "no locale");
	n = mbstowcs(w, utf8, 20);
	printf("%zu:", n);
	for (size_t i = 0; i < n; i++)
		printf(" %lx", (unsigned long)w[i]);
	puts("");
	n = wcstombs(out, w, sizeof(out));
	printf("%zu %d\n", n, strcmp(out, utf8));
	printf("%d %d\n", mblen(utf8 + 1, 5), wctomb(out, 0x20ac));
	printf("%d\n", (int)mbrtowc(w, "\xe2\x82", 2, &st));
	printf("%d %lx\n", (int)mbrtowc(w, "\xac", 1, &st), (unsigned long)w[0]);
	printf("%d\n", (int)mbstowcs(NULL, "\xff\xff", 0));
	printf("%zu %d %d\n", wcslen(L"hello"), wcscmp(L"a", L"a"), wcsncmp(L"abc", L"abd", 2));
	wcscpy(w, L"wide");
	wcscat(w, L"+more");
	printf("%ls %zu\n", w, wcslen(wcschr(w, L'+')));
	printf("%ld %g\n", wcstol(L"  -77x", &end, 10), wcstod(L"2.5", NULL));
	printf("%d %d %lc\n", !!iswalpha(0xe9), !!iswupper(0xc9), (wint_t)towupper(0xe9));
	swprintf(w, 20, L"%d-%ls", 5, L"x");
	printf("%ls\n", w);
	printf("%d %d\n", wcwidth(L'a'), wcwidth(0x4e2d));
	return 0;
}

/* regex.c: POSIX regular expressions and fnmatch. */
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>

static void try(const char *re, int flags, const char *s)
{
	regmatch_t m[4];
	regex_t r;

	if (regcomp(&r, re, flags)) {
		printf("%s: bad\n", re);
		return;
	}
	printf("%s on %s:", re, s);
	if (regexec(&r, s, 4, m, 0))
		printf(" no");
	else
		for (size_t i = 0; i <= r.re_nsub && i < 4; i++)
			printf(" %d-%d", (int)m[i].rm_so, (int)m[i].rm_eo);
	puts("");
	regfree(&r);
}

int main(void)
{
	static const char *const words[] = {"", "abc", "aaa", "foo123", "a.b", "x=1;y=22", "Hello World", "line\nnext"};
	static const char *const res[] = {"a", "^a*$", "a+", "[0-9]+", "([a-z]+)([0-9]+)", "a\\.b", "(a|b|o)*", "^$", "[[:alpha:]]+",
		"[^a-z]", "(x)=([0-9]).*(y)", "o{2}", "l{1,2}o", "W.r", "(", "[z-a]", "^(.*)$"};

	for (size_t i = 0; i < sizeof(res) / sizeof(*res); i++)
		for (size_t k = 0; k < sizeof(words) / sizeof(*words); k++)
			try(res[i], REG_EXTENDED, words[k]);
	try("hello", REG_EXTENDED | REG_ICASE, "Say HELLO");
	try("^next", REG_EXTENDED | REG_NEWLINE, "line\nnext");
	try("\\(a\\)\\1", 0, "xaay");
	printf("%d%d%d%d%d%d\n", fnmatch("*.c", "a.c", 0), !!fnmatch("*.c", "a.h", 0), fnmatch("[a-c]?", "bx", 0),
		!!fnmatch("*", "a/b", FNM_PATHNAME), !!fnmatch("*", ".x", FNM_PERIOD), fnmatch("a\\*", "a*", 0));
	return 0;
}

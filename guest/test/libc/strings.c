/* strings.c: <string.h>, <strings.h>, <ctype.h>. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int sign(int x)
{
	return (x > 0) - (x < 0);
}

int main(void)
{
	char buf[200], text[] = "one, two;three  four", *save, *p;
	const char *s = "hello world";

	printf("%zu %zu %zu\n", strlen(s), strnlen(s, 3), strlen(""));
	printf("%d %d %d %d\n", sign(strcmp("a", "b")), sign(strcmp("b", "a")), sign(strcmp("a", "a")), sign(strcmp("a", "ab")));
	printf("%d %d %d\n", sign(strncmp("abc", "abd", 2)), sign(strcasecmp("HeLLo", "hEllO")), sign(strncasecmp("ABx", "aby", 2)));
	printf("%d %d\n", sign(memcmp("a\0b", "a\0c", 3)), sign(strcmp("\xff", "a")));
	printf("%s|%s|%s\n", strchr(s, 'o'), strrchr(s, 'o'), strstr(s, "wor"));
	printf("%d %d %d\n", strchr(s, 'z') == NULL, strchr(s, 0) == s + 11, strstr(s, "") == s);
	printf("%zu %zu %s\n", strspn(s, "helo"), strcspn(s, " "), strpbrk(s, "xyzw"));
	for (p = strtok_r(text, ",; ", &save); p; p = strtok_r(NULL, ",; ", &save))
		printf("<%s>", p);
	strcpy(buf, "abc");
	strcat(buf, "def");
	strncat(buf, "ghijkl", 2);
	printf("\n%s\n", buf);
	memset(buf, 'x', 20);
	strncpy(buf, "hi", 5);
	printf("%d %d %d %c\n", buf[2], buf[3], buf[4], buf[5]);
	strcpy(buf, "0123456789");
	memmove(buf + 2, buf, 8);
	printf("%s\n", buf);
	memmove(buf, buf + 2, 8);
	printf("%s\n", buf);
	printf("%s %s\n", (char *)memchr("abcdef", 'd', 6), (char *)memmem("abcdefgh", 8, "def", 3));
	printf("%s\n", stpcpy(buf, "end") - 3);
	p = strdup("copy");
	printf("%s %s\n", p, strndup("truncated", 5));
	free(p);
	p = buf;
	strcpy(buf, "a::b:");
	for (char *t; (t = strsep(&p, ":"));)
		printf("(%s)", t);
	printf("\n%d %d %s\n", ffs(8), ffs(0), strcasestr("Hello World", "WORLD"));
	for (int c = 0; c < 128; c++)
		printf("%x", !!isalpha(c) | !!isdigit(c) << 1 | !!isspace(c) << 2 | !!ispunct(c) << 3);
	puts("");
	for (int c = 0; c < 128; c++)
		printf("%x", !!isupper(c) | !!isxdigit(c) << 1 | !!iscntrl(c) << 2 | !!isprint(c) << 3);
	printf("\n%c%c%c %d\n", toupper('a'), tolower('Z'), toupper('1'), isgraph(' '));
	printf("%d %d\n", sign(strverscmp("file9", "file10")), sign(strcoll("a", "b")));
	printf("%s\n", strerror(2));
	return 0;
}

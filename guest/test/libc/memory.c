/* memory.c: malloc and its relatives, search trees and hash tables. */
#define _GNU_SOURCE
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void show(const void *node, VISIT v, int depth)
{
	(void)depth;
	if (v == postorder || v == leaf)
		printf(" %s", *(char *const *)node);
}

int main(void)
{
	static char *words[] = {"delta", "alpha", "echo", "bravo", "charlie", "alpha"};
	char *p = malloc(10), *q;
	void *tree = NULL;

	memset(p, 'a', 10);
	p = realloc(p, 100000);
	printf("%c%c\n", p[0], p[9]);
	free(p);
	q = calloc(100, 10);
	int sum = 0;
	for (int i = 0; i < 1000; i++)
		sum += q[i];
	printf("%d\n", sum);
	free(q);
	printf("%d\n", calloc(SIZE_MAX / 2, 3) == NULL);
	q = aligned_alloc(256, 512);
	printf("%d\n", (int)((uintptr_t)q % 256));
	free(q);
	free(NULL);
	for (int i = 0; i < 6; i++)
		tsearch(words[i], &tree, by_text);
	twalk(tree, show);
	puts("");
	printf("%d %d\n", tfind("echo", &tree, by_text) != NULL, tfind("foxtrot", &tree, by_text) != NULL);
	hcreate(50);
	for (int i = 0; i < 6; i++)
		hsearch((ENTRY){words[i], (void *)(intptr_t)i}, ENTER);
	ENTRY *e = hsearch((ENTRY){"alpha", NULL}, FIND);
	printf("%d %d\n", e ? (int)(intptr_t)e->data : -1, hsearch((ENTRY){"zulu", NULL}, FIND) == NULL);
	hdestroy();
	char *s;
	printf("%d", asprintf(&s, "%05d", 42));
	printf(" %s\n", s);
	free(s);
	return 0;
}

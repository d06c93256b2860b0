/* sort.c: qsort and bsearch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
	int key, order;
	char pad[9];
};

static int by_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int by_pair(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->key != y->key ? x->key - y->key : x->order - y->order;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int main(void)
{
	static int v[5000];
	static struct pair p[1000];
	const char *names[] = {"pear", "apple", "fig", "banana", "cherry", "date", ""};
	unsigned x = 1, sum = 0;

	for (int n = 0; n < 5000; n = n * 3 + 1) {
		for (int i = 0; i < n; i++)
			v[i] = (int)((x = x * 1103515245 + 12345) >> 8) % 1000;
		qsort(v, (size_t)n, sizeof(int), by_int);
		for (int i = 1; i < n; i++)
			if (v[i - 1] > v[i])
				puts("not sorted");
		for (int i = 0; i < n; i++)
			sum = sum * 31 + (unsigned)v[i];
		printf("%d elements: %u\n", n, sum);
	}
	for (int i = 0; i < 1000; i++)
		p[i] = (struct pair){(i * 7919) % 10, i, ""};
	qsort(p, 1000, sizeof(*p), by_pair);
	for (int i = 0; i < 1000; i += 97)
		printf("%d/%d ", p[i].key, p[i].order);
	puts("");
	qsort(names, 7, sizeof(*names), by_name);
	for (int i = 0; i < 7; i++)
		printf("[%s] ", names[i]);
	puts("");
	for (int k = 0; k < 1000; k += 333) {
		int *f = bsearch(&k, v, 3000, sizeof(int), by_int);

		printf("%d %s\n", k, f && *f == k ? "found" : "not found");
	}
	return 0;
}

/* copies.c: memcpy and memmove of every length up to some hundred, at every alignment, over themselves in both directions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE 64
#define MOST 5000

static unsigned char a[MOST + 4 * PLACE], b[MOST + 4 * PLACE], want[MOST + 4 * PLACE];

static void fill(void)
{
	for (size_t i = 0; i < sizeof(a); i++) {
		a[i] = (unsigned char)rand();
		b[i] = want[i] = (unsigned char)rand();
	}
}

static int copied(size_t n, size_t to, size_t from)
{
	fill();
	for (size_t i = 0; i < n; i++)
		want[to + i] = a[from + i];
	return memcpy(b + to, a + from, n) == b + to && !memcmp(b, want, sizeof(b));
}

static int moved(size_t n, size_t to, size_t from)
{
	fill();
	for (size_t i = 0; i < sizeof(b); i++)
		want[i] = b[i];
	for (size_t i = 0; i < n; i++)
		want[to + i] = b[from + i];
	return memmove(b + to, b + from, n) == b + to && !memcmp(b, want, sizeof(b));
}

int main(void)
{
	long wrong = 0, tried = 0;

	for (size_t n = 0; n <= MOST; n += n < 300 ? 1 : 331)
		for (size_t i = 0; i < 32; i++) {
			size_t to = (size_t)rand() % PLACE, from = (size_t)rand() % PLACE, far = i % 2 ? n / 2 : 0;

			wrong += !copied(n, PLACE + to, PLACE + from) + !moved(n, PLACE + to, PLACE + from);
			wrong += far && (!moved(n - far, PLACE + to, PLACE + from + far) || !moved(n - far, PLACE + to + far, PLACE + from));
			tried++;
		}
	printf("%ld wrong of %ld\n", wrong, tried);
	return wrong != 0;
}

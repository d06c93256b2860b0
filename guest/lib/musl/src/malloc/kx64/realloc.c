/* realloc.c: mallocng's, but what is small moves by way of the cache. */
#include "cache.h"

void *realloc(void *p, size_t n)
{
	struct meta *g;
	unsigned char *end;
	size_t size;
	void *new;

	if (!p)
		return malloc(n);
	if (n > CACHE_LARGEST)
		return __libc_realloc(p, n);
	g = get_meta(p);
	end = g->mem->storage + get_stride(g) * (get_slot_index(p) + 1) - IB;
	if (g->sizeclass >= CACHE_CLASSES || (n <= (size_t)(end - (unsigned char *)p) && size_to_class(n) + 1 >= g->sizeclass))
		return __libc_realloc(p, n);
	size = get_nominal_size(p, end);
	new = malloc(n);
	if (!new)
		return 0;
	memcpy(new, p, n < size ? n : size);
	free(p);
	return new;
}

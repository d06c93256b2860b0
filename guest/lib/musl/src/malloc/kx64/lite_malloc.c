/* lite_malloc.c: musl's, with a malloc that asks the cache of free.c first, in programs that have that. */
#include <stdlib.h>

hidden void *__cached_malloc(size_t n);
hidden void *__uncached_malloc(size_t n);

#define malloc __uncached_malloc
#include "../lite_malloc.c"
#undef malloc

static void *no_cache(size_t n)
{
	return __libc_malloc_impl(n);
}

weak_alias(no_cache, __cached_malloc);

static void *ask_cache(size_t n)
{
	return __cached_malloc(n);
}

weak_alias(ask_cache, malloc);

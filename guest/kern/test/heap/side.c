/* side.c: built with the insides of libc: free.c, and looks into it. */
#include "free.c"

hidden int __malloc_replaced, __aligned_alloc_replaced;

static size_t nothing[2];

void heap_threads(void)
{
	libc.need_locks = libc.threaded = 1;
	libc.auxv = nothing;
}

int heap_locked(void)
{
	return *(volatile int *)__malloc_lock != 0;
}

const int heap_depth = DEPTH;

int heap_waiting(size_t n)
{
	int waits = 0;

	for (int i = 0; i < DEPTH; i++)
		waits += waiting[size_to_class(n)][i] != 0;
	return waits;
}

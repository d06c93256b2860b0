#include "pthread_impl.h"

_Noreturn void kx_unmapself(void *base, size_t size);

/* Frees the stack it runs on and ends the thread; the LibOS has another stack to do it from. */
_Noreturn void __unmapself(void *base, size_t size)
{
	kx_unmapself(base, size);
}

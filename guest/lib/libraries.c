/*
 * libraries.c: the start and the end of a program that uses shared libraries; kxsh cc links it to no other. The engine has put them in
 * their places and bound their symbols before the first instruction.
 */
#include <stddef.h>

#include "kx_abi.h"

struct kx_libraries kx_libraries = {0};

/* In place of musl's, which know of the program's own constructors and destructors only. */
void __libc_start_init(void) __attribute__((visibility("hidden")));
void __libc_exit_fini(void) __attribute__((visibility("hidden")));

typedef void function(void);

/* The linker's, and crti.o's. */
extern function *const __init_array_start[] __attribute__((visibility("hidden")));
extern function *const __init_array_end[] __attribute__((visibility("hidden")));
extern function *const __fini_array_start[] __attribute__((visibility("hidden")));
extern function *const __fini_array_end[] __attribute__((visibility("hidden")));
function _init, _fini;

static void forward(function *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list[i]();
}

static void backward(function *const *list, size_t n)
{
	while (n--)
		list[n]();
}

static size_t first; /* how many there are when the program starts; the others have come later */

static void destruct(size_t from, size_t end)
{
	while (end-- > from)
		backward((function *const *)kx_libraries.library[end].fini, kx_libraries.library[end].finis);
}

void __libc_start_init(void)
{
	first = kx_libraries.count;
	for (size_t i = 0; i < first; i++)
		forward((function *const *)kx_libraries.library[i].init, kx_libraries.library[i].inits);
	_init();
	forward(__init_array_start, __init_array_end - __init_array_start);
}

void __libc_exit_fini(void)
{
	destruct(first, kx_libraries.count);
	backward(__fini_array_start, __fini_array_end - __fini_array_start);
	_fini();
	destruct(0, first);
}

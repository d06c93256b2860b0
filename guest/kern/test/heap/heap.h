/* heap.h: libc's malloc of a pVM under other names, beside that of this machine, and what side.c tells of it. */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>

void *heap_malloc(size_t n);
void *heap_calloc(size_t m, size_t n);
void *heap_realloc(void *p, size_t n);
void *heap_aligned_alloc(size_t align, size_t n);
size_t heap_malloc_usable_size(void *p);
void heap_free(void *p);

void heap_threads(void); /* from now on as in a program with threads */
int heap_locked(void);   /* whether another thread would have to wait */
int heap_waiting(size_t n); /* how many slots of the class for n wait */
extern const int heap_depth; /* how many may */

#endif

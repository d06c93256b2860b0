/* cache.h: which sizes are kept by free for the next malloc. */
#ifndef CACHE_H
#define CACHE_H

#include <stdlib.h>

#include "../mallocng/meta.h"

/* What is below here is the program's malloc, not mallocng's, which meta.h has given these names. */
#undef malloc
#undef realloc
#undef free

#define CACHE_CLASSES 18 /* of mallocng's size classes: slots of 16 to 672 bytes */
#define CACHE_LARGEST 572 /* of the last class but one: the last one stands in for it */

hidden void *__cached_malloc(size_t n);

#endif

/* limit.h: what boot tells limit.c. */
#ifndef LIMIT_H
#define LIMIT_H

#include "process.h"

void limit_stack(uint64_t size);

#endif

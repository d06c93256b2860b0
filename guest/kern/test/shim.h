/* shim.h: the kernel as the tests of the file layer see it. */
#ifndef SHIM_H
#define SHIM_H

#include "file.h"

void shim_init(void);
/* The n-th allocation from now on fails, and all after it; negative: none does. */
extern long shim_fail_after;
extern long shim_allocations; /* made and not given back */
/* What waiting does, where a test has more than one process: 0 or -errno. NULL: who would wait is interrupted. */
extern int (*shim_waits)(void);
extern long (*shim_call)(uint32_t op, uint64_t a, uint64_t b); /* a call to the engine; NULL: there is none */
extern bool shim_late; /* answers to calls that are not waited for have not come */
extern void (*shim_ended)(int pid, uint32_t status); /* what child_ended does; NULL: nothing */
bool shim_timers(void); /* every timer that is set goes off; false: none was */
void shim_root(const void *tar, size_t len); /* what the next mount finds as its archive */

#endif

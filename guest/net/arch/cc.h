/* cc.h: what lwIP asks of a compiler and its platform. */
#ifndef CC_H
#define CC_H

#include <endian.h>

void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define LWIP_PLATFORM_ASSERT(what) panic("lwip: %s", what)
#define LWIP_PLATFORM_DIAG(what) ((void)0)

#endif

/* hyper.h: hypercalls, as calls into the page that the domain builder filled. */
#ifndef HYPER_H
#define HYPER_H

#include <stdint.h>

#include "xen_abi.h"

/* Up to three arguments; unused ones are ignored by the hypervisor. */
#define HYPERCALL(nr, a, b, c)                                                          \
	({                                                                              \
		int64_t ret_;                                                           \
		uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b), c_ = (uint64_t)(c);    \
		__asm__ volatile("call kx_hypercall_page + %c[off]"                     \
				 : "=a"(ret_), "+D"(a_), "+S"(b_), "+d"(c_)             \
				 : [off] "i"((nr)*HYPERVISOR_SIZE)                      \
				 : "r8", "r10", "memory", "cc");                        \
		ret_;                                                                   \
	})

static inline int64_t hyper_sched(int op, void *arg)
{
	return HYPERCALL(__HYPERVISOR_sched_op, op, arg, 0);
}

static inline int64_t hyper_event_channel(int op, void *arg)
{
	return HYPERCALL(__HYPERVISOR_event_channel_op, op, arg, 0);
}

static inline int64_t hyper_multicall(struct multicall_entry *calls, unsigned n)
{
	return HYPERCALL(__HYPERVISOR_multicall, calls, n, 0);
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

#endif

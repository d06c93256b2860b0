/* guest.h: what the test guests are made of. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

#include "kx_abi.h"
#include "xen_abi.h"

#define CONTROL ((volatile struct kx_control *)KX_CONTROL_VA)
#define SHARED ((volatile struct shared_info *)KX_SHARED_VA)
#define VCPU (&SHARED->vcpu_info[0])
#define PAGE 4096UL
#define NSEC 1000000000UL
#define RW (PTE_PRESENT | PTE_USER | PTE_RW | PTE_NX)
#define RO (PTE_PRESENT | PTE_USER | PTE_NX)
#define RX (PTE_PRESENT | PTE_USER)

/* xen/include/public/xen.h; not among what a pVM uses */
#define __HYPERVISOR_grant_table_op 20
#define DOMID_SELF 0x7ff0

/* What a test reads: words in the first page of the arguments' area, behind short ones. */
#define RESULT ((volatile uint64_t *)(KX_ARGS_VA + PAGE / 2))

struct trap_frame {
	uint64_t rcx, r11, error, rip, cs, rflags, rsp, ss;
};

extern char hypercall_page[], event_entry[], event_entry_iret[], trap_entry[], trap_error_entry[];

static inline long hypercall(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	register uint64_t r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("call *%1"
			 : "=a"(r)
			 : "r"(hypercall_page + 32 * nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "memory", "cc");
	return r;
}
#define HC(nr, ...) HC_(nr, __VA_ARGS__, 0, 0, 0, 0)
#define HC_(nr, a, b, c, d, ...) \
	hypercall(__HYPERVISOR_##nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d))

/* What the first argument chooses. */
struct program {
	const char *name;
	void (*run)(void);
};
/* guest.c, fork.c, sharing.c, reset.c, hostile.c, net.c; the last one has no name */
extern const struct program net_programs[], plain_programs[], fork_programs[], sharing_programs[], reset_programs[], hostile_programs[];

/* lib.c */
const char *arg(unsigned i); /* "" if there are not so many */
uint64_t number(const char *s);
void print(unsigned stream, const char *s, size_t n);
void puts_(const char *s);
void ring(void);
void block(void); /* until an event was handled */
void unmask(void);
void wait_past(volatile uint64_t *count, uint64_t seen);
_Noreturn void finish(unsigned code);
_Noreturn void fail(unsigned line);
void events_on(const char *entry);
void timer_bind(void);
void trap_set(unsigned vector, int mask);
uint64_t system_time(void);
int machine_frames(void);
uint64_t pte_of(uint64_t va, uint64_t bits);
uint64_t mfn_of(const void *p);
int writable(uint64_t va);
uint64_t peek(uint64_t va);
extern volatile uint64_t engine_events, timer_events;
extern volatile uint64_t trap_count, trap_resume;
extern volatile struct trap_frame trap_last;

#define CHECK(c) ((c) ? (void)0 : fail(__LINE__))

#endif

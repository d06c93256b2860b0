/*
 * stub.h: the process that is a domain. It has no libc, lives above the guest's address space and
 * answers the guest's hypercalls. One thread; the guest's code, the stub's hypercall path (on its
 * own stack) and its signal handler (on the alternate stack) never run at the same time.
 *
 * The guest runs with the stub's privileges and can jump anywhere in it, its system call
 * instruction included. The stub defends nothing: the boundary is the kernel's filter (sandbox.c).
 */
#ifndef STUB_H
#define STUB_H

#include <stddef.h>
#include <stdint.h>

#include "kx_abi.h"
#include "state.h"
#include "xen_abi.h"

#define STATE ((volatile struct stub_state *)STUB_STATE_VA)
#define SHARED ((volatile struct shared_info *)KX_SHARED_VA)
#define VCPU (&SHARED->vcpu_info[0])
#define NSEC 1000000000ULL

/* Linux's errno values are Xen's, as far as they are used here. */
#define XEN_EPERM 1
#define XEN_ENOENT 2
#define XEN_EFAULT 14
#define XEN_EEXIST 17
#define XEN_EINVAL 22
#define XEN_ENOSYS 38

/* ---- entry.S ---- */

extern struct kx_regs hc_regs; /* the guest's registers at its hypercall; rip is not filled in */
extern char hc_entry[], exit_check[], exit_end[], iret_check[], iret_end[];
extern char copy_insn[], copy_fault[], stub_text[], stub_text_end[], sigreturn[];

/* Copies from or to addresses that the guest named: 0, or -XEN_EFAULT if one is bad. */
long copy_guest(void *dst, const void *src, size_t n);
_Noreturn void guest_start(uint64_t entry, uint64_t start_info);
_Noreturn void guest_resume(uint64_t rip, uint64_t rsp);

/* ---- zygote.c, blank.c, sandbox.c, filter.c ---- */

extern int has_fsgsbase; /* ring 3 may write the FS base itself */
_Noreturn void blank_main(void);
long map_own_pages(void); /* control area and state page, from STUB_FD_CTL */
void say_built(int32_t r);
_Noreturn void await_go(uint64_t rip, uint64_t rsp); /* rsp 0: as a new domain starts */
uint32_t sandbox_enter(uint32_t *identity); /* returns the CLONE_NEW* that were entered */
void limit_data(uint64_t bytes);
long filter_install(void);
long filter_listen(void); /* from now on the engine is asked before a domain forks: the descriptor for it */

/* ---- receive.c ---- */

long receive(int fd, void *buf, size_t size);
/* The numbers of the files that came with the last message. */
extern int received_files[], received_count;
void close_received(void);

void libraries_came(void); /* the files of the last message are those of libraries, for map */
long map(uint64_t va, uint64_t len, uint32_t prot, uint32_t fd, uint64_t off); /* fd may be one of the libraries that came last */

/* ---- remap.c ---- */

void remap_if_ordered(void); /* the engine may want other maps in the dynamic segment */

/* ---- fork.c ---- */

void fork_here(uint32_t number); /* the engine wants it */

/* ---- title.c ---- */

void title_init(char *arg);
void title_set(const char *title);

/* ---- the guest ---- */

extern struct guest {
	uint64_t image_pages, dynamic_pages, ram_va, ram_pages;
	uint64_t event_callback; /* 0: none registered */
	struct trap_info traps[32];
	uint32_t timer_bound;
} guest;

/* What hypercall() wants entry.S to do next. */
enum hc_exit {
	HC_RETURN, /* return to the caller with hc_regs */
	HC_ENTER,  /* iretq to hc_regs.rip, after iret */
};

enum hc_exit hypercall(void);
int is_guest_va(uint64_t va, uint64_t len);
long do_hypercall(uint64_t nr, const uint64_t a[5]); /* for multicall */
long do_update_va_mapping(uint64_t va, uint64_t pte);
long do_multicall(uint64_t list, uint64_t n);
long do_sched_op(uint64_t cmd, uint64_t arg);
long do_set_timer_op(uint64_t deadline);

/* ---- event.c ---- */

void event_raise(uint32_t port);
void ring_member(uint32_t place);
int event_due(void); /* an upcall should be made now */

/* ---- upcall.c ---- */

void signals_install(void);

/* ---- crash.c ---- */

_Noreturn void end(uint32_t how);
_Noreturn void crash(uint32_t signo, uint32_t vector, uint64_t error, uint64_t addr,
		     const struct kx_regs *r);
_Noreturn void die(int32_t err);

/* ---- clock.c ---- */

void clock_init(uint32_t mul, int32_t shift);
uint64_t clock_now(void); /* ns of system time */
void clock_refresh(void); /* stamps vcpu_time_info again if the last stamp is old */

#endif

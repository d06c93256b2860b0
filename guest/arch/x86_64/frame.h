/* frame.h: the registers of the program, as every entry to the kernel saves them on the kernel stack. */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>

#include "layout.h"

struct frame {
	uint64_t r15, r14, r13, r12, rbp, rbx, rax;
	uint64_t r9, r8, rdi, rsi, rdx, r10, r11, rcx;
	int64_t nr; /* system call number; FRAME_UPCALL; ~vector */
	uint64_t error;
	uint64_t rip, cs, rflags, rsp, ss; /* what iretq takes */
};

struct thread;

/* entry.S: saves the caller on prev's kernel stack and returns where next once did the same. */
void switch_to(struct thread *prev, struct thread *next);
/* entry.S: first return address of a new thread; its frame lies on top of its kernel stack. */
void thread_first(void);
/* entry.S: leaves the kernel with these registers. Never returns. */
void leave_kernel(struct frame *f) __attribute__((noreturn));

/* cpu.c */
void cpu_init(void); /* trap table and event callback */
/* The registers with which the program starts: all 0 but these. */
void frame_init(struct frame *f, uint64_t rip, uint64_t rsp);

/* fpu.c: vector and floating-point state: fpu_size() bytes at an FPU_ALIGN boundary */
#define FPU_ALIGN 64
void fpu_init(void); /* on Xen, once traps are handled: lets the program use AVX */
long try_xsetbv(uint64_t components); /* entry.S */
uint32_t fpu_size(void);
uint64_t fpu_mask(void); /* state components, 0 without xsave; valid after fpu_size() */
void fpu_save(void *area);
void fpu_reset(void); /* for a signal handler */
void fpu_restore(const void *area);
/* Makes an area that came from the program safe to restore. */
void fpu_sanitize(void *area);

#endif

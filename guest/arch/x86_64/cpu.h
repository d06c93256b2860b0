/* cpu.h: what entry.S and the rest of the kernel call in cpu.c and sigframe.c. */
#ifndef CPU_H
#define CPU_H

#include "frame.h"
#include "kx_abi.h"

int trap_enter(struct frame *f, int in_kernel);
void upcall_enter(struct frame *f);
void regs_from_frame(struct kx_regs *r, const struct frame *f);
int frame_sanitize(struct frame *f);

#endif

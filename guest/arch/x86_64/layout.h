/* layout.h: offsets that entry.S uses; cpu.c checks each of them against the C structs. */
#ifndef LAYOUT_H
#define LAYOUT_H

/* struct kx_control */
#define CONTROL_RAM_VA 64

/* struct thread */
#define THREAD_KSP 0
#define THREAD_KSTACK 8

/* Bytes of a kernel stack; an unmapped page lies below it. */
#define KSTACK_SIZE 8192

/* struct frame */
#define FRAME_RAX 48
#define FRAME_NR 120
#define FRAME_RIP 136
#define FRAME_RSP 160
#define FRAME_SIZE 176

/* frame.nr when no system call was running */
#define FRAME_UPCALL (-256)
/* ~vector for a trap: -1 and down */

/* A system call of our own: munmap(a, b) of the caller's stack and exit. Beyond all of Linux's. */
#define KX_SYS_unmapself 1023
/* And one more: binds call b of the library a, and returns where it goes. */
#define KX_SYS_bind 1022
/* dlopen: loads the library of the name a, with flags b; its place in kx_libraries, or why not in d bytes of text at c. */
#define KX_SYS_load 1021
/* dlsym: the address of the symbol of the name b, sought in the library a and those that come after it, or, with c, those that it needs. */
#define KX_SYS_symbol 1020
/* kx_update: has the library of the name b replaced by the file a, which may take c milliseconds. */
#define KX_SYS_update 1019

/* Size of fnstenv's image and of what switch_to keeps beside it. */
#define SWITCH_FPU 40

#endif

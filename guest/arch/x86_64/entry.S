/*
 * entry.S: every way into the kernel and out of it.
 *
 * The program and the kernel share ring 3 and the address space; what tells them apart is the event
 * mask. It is set on the way in, so no event interrupts the kernel, and cleared on the way out.
 * Xen pushes event and trap frames at the current rsp: [rcx r11 (error) rip cs rflags rsp ss], with the
 * RPL of cs cleared, and masks events (Xen: create_bounce_frame). Nothing below rsp survives.
 */
#include <sys/syscall.h>

#include "kx_abi.h"
#include "layout.h"
#include "xen_abi.h"

#define PENDING KX_SHARED_VA + XEN_SHARED_UPCALL_PENDING
#define MASK KX_SHARED_VA + XEN_SHARED_UPCALL_MASK

/* ---- notes ---- */

	.macro note_quad type, value
	.balign 4
	.long 4, 8, \type
	.asciz "Xen"
	.quad \value
	.endm

	.macro note_string type, value
	.balign 4
	.long 4, 2f - 1f, \type
	.asciz "Xen"
1:	.asciz "\value"
2:	.balign 4
	.endm

	.section .note.Xen, "a", @note
	note_quad XEN_ELFNOTE_ENTRY, kx_entry
	note_quad XEN_ELFNOTE_HYPERCALL_PAGE, kx_hypercall_page
	note_quad XEN_ELFNOTE_VIRT_BASE, 0
	note_quad XEN_ELFNOTE_PADDR_OFFSET, 0
	note_string XEN_ELFNOTE_XEN_VERSION, "xen-3.0"
	note_string XEN_ELFNOTE_GUEST_OS, "kxsh"
	note_string XEN_ELFNOTE_LOADER, "generic"
	note_string XEN_ELFNOTE_PAE_MODE, "yes"

/* A program sets these at link time: -Wl,--defsym,kx_stack_size=0x100000 */
	.weak kx_stack_size
	.weak kx_memory

	.section .note.KX, "a", @note
	.balign 4
	.long 3, 2f - 1f, KX_NOTE_ABI
	.asciz "KX"
	.balign 4
	.globl kx_note
kx_note:
1:	.long KX_ABI_VERSION, 0
	.quad kx_stack_size
	.quad kx_memory
2:
	.section .note.GNU-stack, "", @progbits

/* ---- start of day ---- */

	.text
	.globl kx_hypercall_page
	.balign 4096
kx_hypercall_page:
	.fill 4096, 1, 0xcc

	.globl kx_entry
kx_entry:
	cld
	xor %ebp, %ebp
	cmp $KX_START_VA, %rsi
	jne 1f
	movb $1, MASK
	/* The main thread's kernel stack is the window's first pages: below them nothing is mapped. */
	mov KX_CONTROL_VA + CONTROL_RAM_VA, %rsp
	add $KSTACK_SIZE - FRAME_SIZE, %rsp /* below the frame to leave with */
	call boot
1:	test %rsi, %rsi
	jz executed
	/* Another builder, on the stack that it gave. When it was is left in rbx, for whoever measures that one. */
	rdtsc
	shl $32, %rdx
	lea (%rax, %rdx), %rbx
	call boot_refused
	ud2

/* A process of Linux, which begins with nothing in its registers: somebody has tried to execute the image. */
	.type executed, @function
executed:
	mov $SYS_write, %eax
	mov $2, %edi
	mov $executed_says, %esi
	mov $executed_size, %edx
	syscall
	mov $SYS_exit_group, %eax
	mov $126, %edi
	syscall

	.section .rodata
executed_says:
	.ascii "this is an image of kxsh, and no program of Linux: start it with kxsh run\n"
	.set executed_size, . - executed_says
	.text

/* ---- saving and restoring ---- */

/* Below the frame's hardware part and error code, with rcx and r11 not yet saved: nr and the registers. */
	.macro push_rest
	push %r10
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %rax
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	.endm

	.macro pop_all
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	pop %rax
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %r10
	pop %r11
	pop %rcx
	add $16, %rsp
	.endm

/* ---- system calls ---- */

/*
 * long kx_syscall(long nr, long a, b, c, d, e, f): called by libc on the program's stack. The frame
 * looks as if the call had just returned, except that rdi .. r9 keep the arguments, so that a
 * restart is a jump to kx_syscall with rsp 8 lower.
 */
	.globl kx_syscall
kx_syscall:
	movb $1, MASK
	mov %rsp, %rax
	mov cur, %r11
	mov THREAD_KSTACK(%r11), %rsp
	mov %ss, %r10d
	push %r10
	lea 8(%rax), %r10
	push %r10
	pushfq
	mov %cs, %r10d
	push %r10
	push (%rax)
	push $0
	push %rdi
	push %rcx
	push %r11
	push_rest
	cld
	mov %rsp, %rdi
	call syscall_enter
	test %eax, %eax
	jnz leave_full
	mov FRAME_RAX(%rsp), %rax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	/* Six registers are gone from the stack. Back on the program's stack, at the return address. */
	mov FRAME_RSP - 48(%rsp), %rsp
	sub $8, %rsp
	movb $0, MASK
	testb $0xff, PENDING
	jnz 1f
	ret
	/* An event came while events were masked: do what Xen would have done. rcx and r11 are free. */
1:	movb $1, MASK
	.globl masked, masked_end
masked:
	mov %rsp, %rcx
	mov %ss, %r11d
	push %r11
	push %rcx
	pushfq
	mov %cs, %r11d
	push %r11
	push $2f
	push %r11
	push %rcx
	jmp upcall
masked_end:
2:	ret

/* ---- events ---- */

	.globl upcall
upcall:
	/* rsp: rcx r11 rip cs rflags rsp ss */
	mov 16(%rsp), %rcx
	sub $leave_critical, %rcx
	cmp $leave_critical_end - leave_critical, %rcx
	jb 3f
	mov cur, %rcx
	mov THREAD_KSTACK(%rcx), %r11
	mov %r11, %rcx
	sub %rsp, %rcx
	cmp $KSTACK_SIZE, %rcx
	jb 4f
	mov %rsp, %rcx
	mov %r11, %rsp
	push 48(%rcx)
	push 40(%rcx)
	push 32(%rcx)
	push 24(%rcx)
	push 16(%rcx)
	push $0
	push $FRAME_UPCALL
	push (%rcx)
	push 8(%rcx)
	push_rest
2:	cld
	mov %rsp, %rdi
	call upcall_enter
	jmp leave_full
	/*
	 * On the way out with the program's registers loaded and rsp at its iretq frame: drop Xen's frame,
	 * and be as if the event had come one instruction later.
	 */
3:	mov 8(%rsp), %r11
	mov (%rsp), %rcx
	mov 40(%rsp), %rsp
leave_again:
	push $0
	push $FRAME_UPCALL
	push %rcx
	push %r11
	push_rest
	jmp 2b
	/* In the kernel, which unmasks only to wait in SCHEDOP_block and then looks itself: go on, masked. */
4:	pop %rcx
	pop %r11
	orb $3, 8(%rsp)
	orb $3, 32(%rsp)
	iretq

/* Leaves with the frame that rsp points to, all registers loaded from it. */
	.globl leave_full
leave_full:
	pop_all
leave_critical:
	movb $0, MASK
	testb $0xff, PENDING
	jnz 1f
	iretq
1:	movb $1, MASK
leave_critical_end:
	jmp leave_again

	.globl leave_kernel
leave_kernel:
	mov %rdi, %rsp
	jmp leave_full

/* ---- traps ---- */

	.macro trap vector, error
	.globl trap_\vector
trap_\vector:
	.if \error == 0
	/* Make room for an error code of 0. Xen's frame starts at a 16-byte boundary: no new page is touched. */
	push (%rsp)
	mov 16(%rsp), %rcx
	mov %rcx, 8(%rsp)
	movq $0, 16(%rsp)
	.endif
	mov $\vector, %r11d
	jmp trap_common
	.endm

	trap 0, 0
	trap 1, 0
	trap 3, 0
	trap 4, 0
	trap 5, 0
	trap 6, 0
	trap 10, 1
	trap 11, 1
	trap 12, 1
	trap 13, 1
	trap 14, 1
	trap 16, 0
	trap 17, 1
	trap 19, 0

trap_common:
	/* rsp: rcx r11 error rip cs rflags rsp ss; r11: vector. Events are masked: a static will do. */
	mov %r11d, trap_vector
	mov %rsp, %rcx
	mov cur, %r11
	mov THREAD_KSTACK(%r11), %r11
	sub %rsp, %r11
	cmp $KSTACK_SIZE, %r11
	jb 1f
	add %r11, %rsp
	/* On a kernel stack now; if a trap of the kernel, below its frame, which Xen aligned. */
1:	and $-16, %rsp
	push 56(%rcx)
	push 48(%rcx)
	push 40(%rcx)
	push 32(%rcx)
	push 24(%rcx)
	push 16(%rcx)
	push $0
	push (%rcx)
	push 8(%rcx)
	push_rest
	cld
	movslq trap_vector, %rax
	not %rax
	mov %rax, FRAME_NR(%rsp)
	mov %rsp, %rdi
	xor %esi, %esi
	mov cur, %rax
	mov THREAD_KSTACK(%rax), %rax
	sub FRAME_RSP(%rsp), %rax
	cmp $KSTACK_SIZE, %rax
	setb %sil
	call trap_enter
	test %eax, %eax
	jz leave_full
	/* Back into the kernel: events stay masked. */
	pop_all
	iretq

/* ---- threads ---- */

/* What the C ABI says a call keeps: registers, and the floating-point controls. */
	.macro push_kept
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	sub $SWITCH_FPU, %rsp
	fnstenv (%rsp)
	stmxcsr 32(%rsp)
	.endm

	.macro pop_kept
	fldenv (%rsp)
	ldmxcsr 32(%rsp)
	add $SWITCH_FPU, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	.endm

/* void switch_to(struct thread *prev, struct thread *next): keeps what the C ABI says a call keeps. */
	.globl switch_to
switch_to:
	push_kept
	mov %rsp, THREAD_KSP(%rdi)
	mov THREAD_KSP(%rsi), %rsp
	pop_kept
	ret

	.globl thread_first
thread_first:
	mov %rsp, %rdi
	call thread_first_run
	jmp leave_full

/*
 * int kx_clone(fn, stack, flags, arg, ptid, tls, ctid): musl's __clone. The child runs fn(arg) on
 * stack and exits with its result.
 */
	.globl kx_clone
kx_clone:
	and $-16, %rsi
	sub $16, %rsi
	mov %rcx, (%rsi)
	mov %rdi, 8(%rsi)
	mov $SYS_clone, %edi
	xchg %rsi, %rdx
	mov %r8, %rcx
	mov 8(%rsp), %r8
	call kx_syscall
	test %eax, %eax
	jz 1f
	ret
1:	xor %ebp, %ebp
	pop %rdi
	pop %rax
	call *%rax
	mov %eax, %esi
	mov $SYS_exit, %edi
	call kx_syscall
	ud2

/*
 * long fork_split(uint64_t token): saves what the C ABI says a call keeps, as switch_to does, and has fork_ask tell the
 * engine where a child goes on. Whoever goes on there, with nothing but rsp, gets the result from fork_woken.
 */
	.globl fork_split
fork_split:
	push_kept
	mov %rdi, %rdx
	mov $1f, %edi
	mov %rsp, %rsi
	call fork_ask
	jmp 2f
1:	cld
	fninit
	call fork_woken
2:	pop_kept
	ret

/*
 * long update_library(uint64_t plan, struct kx_updated *result, bool try): has update_run do it, with what the C ABI says a call keeps where
 * it can look through that, and change it.
 */
	.globl update_library
update_library:
	push_kept
	mov %rsp, %rcx
	call update_run
	pop_kept
	ret

/* void kx_unmapself(base, size): unmaps the caller's own stack and ends the thread. */
	.globl kx_unmapself
kx_unmapself:
	mov %rsi, %rdx
	mov %rdi, %rsi
	mov $KX_SYS_unmapself, %edi
	jmp kx_syscall

/* Where a signal handler returns to: musl's sa_restorer. rsp is at the ucontext. */
	.globl kx_sigreturn
kx_sigreturn:
	mov $SYS_rt_sigreturn, %edi
	call kx_syscall
	ud2

/* ---- user memory ---- */

/* A fault at an address in user_access .. user_access_end goes on at user_access_fault. */
	.globl user_access, user_access_end, user_access_fault
user_access:

/* int user_copy(void *dst, const void *src, size_t n) */
	.globl user_copy
user_copy:
	xor %eax, %eax
	cmp $256, %rdx
	ja 3f
1:	sub $8, %rdx
	jb 2f
	mov (%rsi), %rcx
	mov %rcx, (%rdi)
	add $8, %rsi
	add $8, %rdi
	jmp 1b
2:	add $8, %rdx
3:	mov %rdx, %rcx
	rep movsb
	ret

/* long user_word(const long *src): -EFAULT reads like any other word; for what may well be absent */
	.globl user_word
user_word:
	mov (%rdi), %rax
	ret

/* int user_clear(void *dst, size_t n) */
	.globl user_clear
user_clear:
	xor %eax, %eax
	mov %rsi, %rcx
	rep stosb
	ret

/* long user_copy_str(char *dst, const char *src, size_t max): length, or max if there was no NUL */
	.globl user_copy_str
user_copy_str:
	xor %eax, %eax
1:	cmp %rdx, %rax
	jae 2f
	mov (%rsi, %rax), %cl
	mov %cl, (%rdi, %rax)
	test %cl, %cl
	jz 2f
	inc %rax
	jmp 1b
2:	ret

/* long try_xsetbv(uint64_t components): of XCR0; fails where the hypervisor does not let a guest choose */
	.globl try_xsetbv
try_xsetbv:
	mov %rdi, %rax
	mov %rdi, %rdx
	shr $32, %rdx
	xor %ecx, %ecx
	xsetbv
	xor %eax, %eax
	ret

user_access_end:
user_access_fault:
	mov $-14, %rax /* -EFAULT */
	ret

	.bss
	.balign 4
trap_vector:
	.zero 4

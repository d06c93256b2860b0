/* start.S: a test guest's notes, its start, and the ways in that C cannot write. */
#include "kx_abi.h"
#include "xen_abi.h"

	.macro note name, type, value
	.balign 4
	.long 2f - 1f, 8, \type
1:	.asciz "\name"
2:	.balign 4
	.quad \value
	.endm

	.section .note.Xen, "a", @note
	note Xen, XEN_ELFNOTE_ENTRY, entry
	note Xen, XEN_ELFNOTE_HYPERCALL_PAGE, hypercall_page
	.section .note.KX, "a", @note
	.balign 4
	.long 3, 24, KX_NOTE_ABI
	.asciz "KX"
	.balign 4
	.long KX_ABI_VERSION, 0
	.quad 0, 0

	.section .hypercall, "ax"
	.globl hypercall_page
	.balign 4096
hypercall_page:
	.fill 4096, 1, 0xcc

	.bss
	.balign 4096
	.space 16384
stack_top:

	.text
	.globl entry
entry:
	mov $stack_top, %esp
	xor %ebp, %ebp
	call guest_main
	ud2

.macro SAVE
	push %rax
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %rbx
	push %rbp
	mov %rsp, %rbp
	and $-16, %rsp
	cld
.endm
.macro RESTORE
	mov %rbp, %rsp
	pop %rbp
	pop %rbx
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rax
.endm
#define SAVED 72

#define PENDING KX_SHARED_VA + XEN_SHARED_UPCALL_PENDING
#define MASK KX_SHARED_VA + XEN_SHARED_UPCALL_MASK

/* The event callback. What comes between its last look and its unmasking it sees when it looks again. */
	.globl event_entry
event_entry:
	SAVE
1:	call on_event
	movb $0, MASK
	cmpb $0, PENDING
	je 2f
	movb $1, MASK
	jmp 1b
2:	RESTORE
	pop %rcx
	pop %r11
	orq $3, 8(%rsp)
	orq $3, 32(%rsp)
	iretq

/* The same, back through the iret hypercall, which unmasks. */
	.globl event_entry_iret
event_entry_iret:
	SAVE
	call on_event
	RESTORE
	pop %rcx
	pop %r11
	pushq $0
	jmp hypercall_page + 32 * __HYPERVISOR_iret

/* Traps: on_trap(frame) may change the frame, which always has an error code. */
	.globl trap_entry, trap_error_entry
trap_entry:
	pushq (%rsp)
	pushq 16(%rsp)
	popq 8(%rsp)
	movq $0, 16(%rsp)
trap_error_entry:
	SAVE
	lea SAVED(%rbp), %rdi
	call on_trap
	RESTORE
	pop %rcx
	pop %r11
	add $8, %rsp
	orq $3, 8(%rsp)
	orq $3, 32(%rsp)
	iretq

	.section .note.GNU-stack, "", @progbits

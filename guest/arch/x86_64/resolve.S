/*
 * resolve.S: where the first call of a shared library's function comes by. Its arguments are in registers and on the stack as for the
 * function, and below the return address are the number of the call, and the address of struct kx_library.
 */
#include "layout.h"

#define SAVED 64 /* bytes of registers */

/* All that may hold arguments is kept, vector registers included: a system call does not, and other threads may run in it. */
	.globl kx_resolve
	.type kx_resolve, @function
kx_resolve:
	push %rbp
	mov %rsp, %rbp
	push %rax
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %r8
	push %r9
	push %r10
	call fpu_size
	mov %eax, %eax
	sub %rax, %rsp
	and $-64, %rsp
	mov %rsp, %rdi
	call fpu_save
	mov $KX_SYS_bind, %edi
	mov 8(%rbp), %rsi
	mov 16(%rbp), %rdx
	call kx_syscall
	mov %rax, 16(%rbp)
	mov %rsp, %rdi
	call fpu_restore
	lea -SAVED(%rbp), %rsp
	pop %r10
	pop %r9
	pop %r8
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
	pop %rax
	pop %rbp
	add $8, %rsp
	ret /* to the function, as if it had been called */
	.size kx_resolve, . - kx_resolve

	.section .note.GNU-stack, "", @progbits

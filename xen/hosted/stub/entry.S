/* entry.S: the ways into the stub and out of it. */
#include "state.h"
#include "xen_abi.h"

/* Offsets in struct kx_regs; crash.c checks them. */
#define R_RAX 0
#define R_RBX 8
#define R_RCX 16
#define R_RDX 24
#define R_RSI 32
#define R_RDI 40
#define R_RBP 48
#define R_RSP 56
#define R_R8 64
#define R_R9 72
#define R_R10 80
#define R_R11 88
#define R_R12 96
#define R_R13 104
#define R_R14 112
#define R_R15 120
#define R_RIP 128
#define R_RFLAGS 136

#define REG(r) hc_regs + R_##r(%rip)
#define UPCALL_PENDING (KX_SHARED_VA + XEN_SHARED_UPCALL_PENDING)
#define UPCALL_MASK (KX_SHARED_VA + XEN_SHARED_UPCALL_MASK)
#define USER_CS 0x33
#define USER_SS 0x2b

	.section .stacks, "aw", @nobits
	.balign 4096
	.space 8192
stack_top:

	.bss
	.balign 64
	.globl hc_regs
hc_regs:
	.space 144

.macro LOAD_REGS
	mov REG(RAX), %rax
	mov REG(RBX), %rbx
	mov REG(RCX), %rcx
	mov REG(RDX), %rdx
	mov REG(RSI), %rsi
	mov REG(RDI), %rdi
	mov REG(RBP), %rbp
	mov REG(R8), %r8
	mov REG(R9), %r9
	mov REG(R10), %r10
	mov REG(R11), %r11
	mov REG(R12), %r12
	mov REG(R13), %r13
	mov REG(R14), %r14
	mov REG(R15), %r15
.endm

/* The linker script puts this section first: hc_entry is STUB_BASE, which Go relies on. */
	.section .text.first, "ax"
/*
 * hc_entry is where the hypercall page jumps to: the number is in eax, the return address on the
 * guest's stack, everything else is the guest's. The C code uses no vector registers.
 */
	.globl hc_entry
hc_entry:
	mov %rax, REG(RAX)
	mov %rbx, REG(RBX)
	mov %rcx, REG(RCX)
	mov %rdx, REG(RDX)
	mov %rsi, REG(RSI)
	mov %rdi, REG(RDI)
	mov %rbp, REG(RBP)
	mov %rsp, REG(RSP)
	mov %r8, REG(R8)
	mov %r9, REG(R9)
	mov %r10, REG(R10)
	mov %r11, REG(R11)
	mov %r12, REG(R12)
	mov %r13, REG(R13)
	mov %r14, REG(R14)
	mov %r15, REG(R15)
	lea stack_top(%rip), %rsp
	cld
	call hypercall
	test %eax, %eax
	jnz iret_exit
	LOAD_REGS

/*
 * From exit_check to exit_end the guest's registers are complete but for rsp. A signal that finds
 * the CPU in here goes back to exit_check, so no event is missed between the look and the return.
 */
	.globl exit_check, exit_end
exit_check:
	cmpb $0, UPCALL_PENDING
	jne 2f
1:	mov REG(RSP), %rsp
	ret
2:	cmpb $0, UPCALL_MASK
	jne 1b
exit_end:
	lea stack_top(%rip), %rsp
	call upcall_at_return
	jmp enter

/* The same for the iret hypercall, which names the whole context it goes to. */
iret_exit:
	lea stack_top(%rip), %rsp
	pushq $USER_SS
	pushq REG(RSP)
	pushq REG(RFLAGS)
	pushq $USER_CS
	pushq REG(RIP)
	LOAD_REGS
	.globl iret_check, iret_end
iret_check:
	cmpb $0, UPCALL_PENDING
	jne 2f
1:	iretq
2:	cmpb $0, UPCALL_MASK
	jne 1b
iret_end:
	lea stack_top(%rip), %rsp
	call upcall_at_iret

/* Enters the event callback with hc_regs; events are masked now. */
enter:
	LOAD_REGS
	mov REG(RSP), %rsp
	jmp *REG(RIP)

/* void guest_start(entry, start_info): the guest's first instruction, as Xen starts it. */
	.globl guest_start
guest_start:
	mov %rdi, REG(RIP)
	xor %eax, %eax
	xor %ebx, %ebx
	xor %ecx, %ecx
	xor %edx, %edx
	xor %edi, %edi
	xor %ebp, %ebp
	xor %esp, %esp
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d
	jmp *REG(RIP)

/* void guest_resume(rip, rsp): the first instruction after a fork; every other register is the guest's to load. */
	.globl guest_resume
guest_resume:
	mov %rsi, %rsp
	jmp *%rdi

	.text
	.globl _start
_start:
	mov %rsp, %rdi
	lea stack_top(%rip), %rsp
	xor %ebp, %ebp
	call zygote_main
	ud2

/* long syscall6(n, a, b, c, d, e, f) */
	.globl syscall6
syscall6:
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	mov %r9, %r8
	mov 8(%rsp), %r9
	syscall
	ret

	.globl sigreturn
sigreturn:
	mov $15, %eax
	syscall
	ud2

/* long copy_guest(dst, src, n); a fault at copy_insn goes on at copy_fault. */
	.globl copy_guest, copy_insn, copy_fault
copy_guest:
	mov %rdx, %rcx
copy_insn:
	rep movsb
	xor %eax, %eax
	ret
copy_fault:
	mov $-14, %rax
	ret

	.section .note.GNU-stack, "", @progbits

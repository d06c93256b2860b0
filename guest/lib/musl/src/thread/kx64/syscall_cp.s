/*
 * long __syscall_cp_asm(volatile int *cancel, long n, long a, long b, long c, long d, long e, long f)
 *
 * A system call that is a cancellation point. The handler of SIGCANCEL compares the interrupted
 * program counter with __cp_begin and __cp_end: inside, the call had no effect and the thread is
 * sent to __cp_cancel; outside, cancellation waits for the next point.
 *
 * __cp_end is where kx_syscall returns to. So a handler that the LibOS calls on the way out of a
 * system call must see that very return address if the call took effect, and an address before
 * it (the LibOS shows return address - 1) if the call was interrupted and did nothing.
 *
 * The stack pointer is the same at every instruction of the range, which starts after the push.
 * With asynchronous cancellation __cp_cancel is reached from anywhere and with any alignment,
 * hence the frame.
 */
.text
.global __cp_begin
.hidden __cp_begin
.global __cp_end
.hidden __cp_end
.global __cp_cancel
.hidden __cp_cancel
.hidden __cancel
.global __syscall_cp_asm
.hidden __syscall_cp_asm
.type __syscall_cp_asm,@function
__syscall_cp_asm:
	push 16(%rsp)
__cp_begin:
	mov (%rdi),%eax
	test %eax,%eax
	jnz __cp_cancel
	mov %rsi,%rdi
	mov %rdx,%rsi
	mov %rcx,%rdx
	mov %r8,%rcx
	mov %r9,%r8
	mov 16(%rsp),%r9
	call kx_syscall
__cp_end:
	add $8,%rsp
	ret
__cp_cancel:
	push %rbp
	mov %rsp,%rbp
	and $-16,%rsp
	call __cancel
	leave
	add $8,%rsp
	ret
.size __syscall_cp_asm,.-__syscall_cp_asm
.section .note.GNU-stack,"",@progbits

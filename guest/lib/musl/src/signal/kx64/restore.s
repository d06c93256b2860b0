/* Where a signal handler returns to. The LibOS finds the frame that it made at the stack pointer. */
.text
.global __restore_rt
.hidden __restore_rt
.type __restore_rt,@function
__restore_rt:
	jmp kx_sigreturn
.size __restore_rt,.-__restore_rt
.section .note.GNU-stack,"",@progbits

/* int __clone(int (*fn)(void *), void *stack, int flags, void *arg, int *ptid, void *tls, int *ctid) */
.text
.global __clone
.hidden __clone
.type __clone,@function
__clone:
	jmp kx_clone
.size __clone,.-__clone
.section .note.GNU-stack,"",@progbits

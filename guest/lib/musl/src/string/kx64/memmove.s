# memmove: memcpy.s but for what moves to a higher address over itself, which goes by blocks of 64 bytes from the end. The first 64 bytes and the last 16 are read before and
# written last.
.global memmove
.type memmove,@function
memmove:
	mov %rdi,%rax
	sub %rsi,%rax
	cmp %rdx,%rax
.hidden __memcpy_fwd_alias_1
	jae __memcpy_fwd_alias_1
	cmp $128,%rdx
	jbe __memcpy_fwd_alias_1
	movups (%rsi),%xmm0
	movups 16(%rsi),%xmm1
	movups 32(%rsi),%xmm2
	movups 48(%rsi),%xmm3
	movups -16(%rsi,%rdx),%xmm4
	lea (%rdi,%rdx),%r9
	and $-16,%r9
	lea 64(%rdi),%r8 # what is below is the first 64
	sub %rdi,%rsi
	add %r9,%rsi
1:	movups -16(%rsi),%xmm5
	movups -32(%rsi),%xmm6
	movups -48(%rsi),%xmm7
	movups -64(%rsi),%xmm8
	sub $64,%rsi
	movaps %xmm5,-16(%r9)
	movaps %xmm6,-32(%r9)
	movaps %xmm7,-48(%r9)
	movaps %xmm8,-64(%r9)
	sub $64,%r9
	cmp %r8,%r9
	ja 1b
	mov %rdi,%rax
	movups %xmm4,-16(%rdi,%rdx)
	movups %xmm0,(%rdi)
	movups %xmm1,16(%rdi)
	movups %xmm2,32(%rdi)
	movups %xmm3,48(%rdi)
	ret

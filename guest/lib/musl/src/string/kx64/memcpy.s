# memcpy. Upstream's is rep movsq with single bytes around it: thirty cycles before the first word, and a word a cycle at best where the source is not at a multiple of 8. Most
# copies are of less than two lines. Up to 128 bytes are all in registers before the first is written, so that memmove.s comes here with those, too.
#
# What is longer goes by blocks of 64 bytes to addresses that are multiples of 16. The first 16 bytes and the last 64 are read before and written last: with memmove, to a
# lower address, they may lie in what the blocks overwrite.
.global memcpy
.global __memcpy_fwd_alias_1
.hidden __memcpy_fwd_alias_1
.type memcpy,@function
memcpy:
__memcpy_fwd_alias_1:
	mov %rdi,%rax
	cmp $16,%rdx
	jb 1f
	cmp $32,%rdx
	ja 4f
	movups (%rsi),%xmm0
	movups -16(%rsi,%rdx),%xmm1
	movups %xmm0,(%rdi)
	movups %xmm1,-16(%rdi,%rdx)
	ret

1:	cmp $8,%edx
	jb 2f
	mov (%rsi),%rcx
	mov -8(%rsi,%rdx),%rsi
	mov %rcx,(%rdi)
	mov %rsi,-8(%rdi,%rdx)
	ret
2:	cmp $4,%edx
	jb 3f
	mov (%rsi),%ecx
	mov -4(%rsi,%rdx),%esi
	mov %ecx,(%rdi)
	mov %esi,-4(%rdi,%rdx)
	ret
3:	test %edx,%edx
	jz 3f
	mov %edx,%r8d # the first, the middle, which may be one of the others, and the last
	shr $1,%r8d
	movzbl (%rsi),%ecx
	movzbl (%rsi,%r8),%r9d
	movzbl -1(%rsi,%rdx),%esi
	mov %cl,(%rdi)
	mov %r9b,(%rdi,%r8)
	mov %sil,-1(%rdi,%rdx)
3:	ret

4:	cmp $64,%rdx
	ja 5f
	movups (%rsi),%xmm0
	movups 16(%rsi),%xmm1
	movups -32(%rsi,%rdx),%xmm2
	movups -16(%rsi,%rdx),%xmm3
	movups %xmm0,(%rdi)
	movups %xmm1,16(%rdi)
	movups %xmm2,-32(%rdi,%rdx)
	movups %xmm3,-16(%rdi,%rdx)
	ret
5:	movups (%rsi),%xmm4
	movups -64(%rsi,%rdx),%xmm0
	movups -48(%rsi,%rdx),%xmm1
	movups -32(%rsi,%rdx),%xmm2
	movups -16(%rsi,%rdx),%xmm3
	cmp $128,%rdx
	ja 6f
	movups 16(%rsi),%xmm5
	movups 32(%rsi),%xmm6
	movups 48(%rsi),%xmm7
	movups %xmm5,16(%rdi)
	movups %xmm6,32(%rdi)
	movups %xmm7,48(%rdi)
	jmp 9f

6:	lea 16(%rdi),%r9
	and $-16,%r9
	lea -64(%rdi,%rdx),%r8 # where the last 64 go
	sub %rdi,%rsi
	mov %r9,%rdi
	add %r9,%rsi
7:	movups (%rsi),%xmm5
	movups 16(%rsi),%xmm6
	movups 32(%rsi),%xmm7
	movups 48(%rsi),%xmm8
	add $64,%rsi
	movaps %xmm5,(%rdi)
	movaps %xmm6,16(%rdi)
	movaps %xmm7,32(%rdi)
	movaps %xmm8,48(%rdi)
	add $64,%rdi
	cmp %r8,%rdi
	jb 7b
9:	movups %xmm4,(%rax)
	movups %xmm0,-64(%rax,%rdx)
	movups %xmm1,-48(%rax,%rdx)
	movups %xmm2,-32(%rax,%rdx)
	movups %xmm3,-16(%rax,%rdx)
	ret

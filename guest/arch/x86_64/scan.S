/*
 * scan.S: looks for addresses of a range in memory, sixteen words at a time (update.c). It uses vector registers, which the
 * kernel elsewhere does not: they have been kept.
 */

/*
 * const uint64_t *scan_words(const uint64_t *p, const uint64_t *end, uint64_t low, uint64_t high): the first sixteen words of which one may lie in
 * [low, high], that is, has bits 16 to 47 as an address there; or what is left, at most sixteen words, and end if that is none.
 * p and end are multiples of 8.
 */
	.text
	.globl scan_words
	.type scan_words, @function
scan_words:
	shr $16, %rdx
	shr $16, %rcx
	sub %edx, %ecx
	/* All is moved so that low's is the smallest signed number: what is greater than high's is outside. */
	mov $0x80000000, %eax
	add %eax, %ecx
	sub %edx, %eax
	movd %eax, %xmm8
	pshufd $0, %xmm8, %xmm8
	movd %ecx, %xmm9
	pshufd $0, %xmm9, %xmm9
	mov %rdi, %rax
	sub $136, %rsi /* two bytes beyond the sixteen words are read, too */
	cmp %rsi, %rax
	ja 2f

	/* Bits 16 to 47 of four words into one register, and then all ones where they are outside. */
	.macro four at, to, other
	movups \at + 2(%rax), \to
	movups \at + 18(%rax), \other
	shufps $0x88, \other, \to
	paddd %xmm8, \to
	pcmpgtd %xmm9, \to
	.endm

	.balign 16
1:	four 0, %xmm0, %xmm4
	four 32, %xmm1, %xmm5
	four 64, %xmm2, %xmm6
	four 96, %xmm3, %xmm7
	pand %xmm1, %xmm0
	pand %xmm3, %xmm2
	pand %xmm2, %xmm0
	pmovmskb %xmm0, %ecx
	cmp $0xffff, %ecx
	jne 2f
	add $128, %rax
	cmp %rsi, %rax
	jbe 1b
2:	ret
	.size scan_words, . - scan_words

	.section .note.GNU-stack, "", @progbits

/*
 * Computes in general and vector registers and nothing else; what forks it from outside does it in the middle of that. SIGTERM:
 * says how it went.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void note(int sig)
{
	(void)sig;
	stop = 1;
}

int main(void)
{
	uint64_t in[4] = {0x1122334455667788, 0x99aabbccddeeff00, 0x0f1e2d3c4b5a6978, 0x8796a5b4c3d2e1f0}, out[4], sum;

	signal(SIGTERM, note);
	if (write(1, "computes\n", 9) != 9)
		return 1;
	while (!stop) {
		__asm__ volatile(
			"movdqu (%2), %%xmm0; movdqu 16(%2), %%xmm1; movdqa %%xmm0, %%xmm7; movdqa %%xmm1, %%xmm15\n"
			"fldpi; fld1\n"
			"xor %0, %0\n"
			"mov $100000, %%ecx\n"
			"1: add %%rcx, %0; dec %%ecx; jnz 1b\n"
			"fsubp; fldpi; fld1; fsubp; fcomip; jne 2f\n"
			"pand %%xmm7, %%xmm0; pand %%xmm15, %%xmm1; jmp 3f\n"
			"2: pxor %%xmm0, %%xmm0\n"
			"3: fstp %%st(0); movdqu %%xmm0, (%1); movdqu %%xmm1, 16(%1)"
			: "=&r"(sum) : "r"(out), "r"(in)
			: "ecx", "memory", "cc", "xmm0", "xmm1", "xmm7", "xmm15", "st", "st(1)", "st(2)", "st(3)");
		if (memcmp(in, out, sizeof in) || sum != 100000ull * 100001 / 2) {
			printf("lost a register: sum %llu, %llx %llx\n", (unsigned long long)sum, (unsigned long long)out[0], (unsigned long long)out[2]);
			return 1;
		}
	}
	printf("steady\n");
	return 0;
}

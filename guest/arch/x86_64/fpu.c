/* fpu.c: the vector and floating-point state of a thread, saved when it is interrupted. */
#include "frame.h"
#include "kern.h"

#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_XSAVE 0xd
#define XSAVE_LEGACY 576 /* x87, SSE and the header */
#define XSAVE_HEADER 512
#define XSTATE_AMX (3UL << 17) /* tiles: 8 KiB that Linux gives only to processes that ask */
#define XSTATE_AVX 0x7u    /* with x87 and SSE */
#define XSTATE_AVX512 0xe7u
#define MXCSR_OFFSET 24
#define MXCSR_MASK 0xffff

/*
 * cpuid leaves the guest on some machines and is slow there, so ask only when a first thread is interrupted. A program may be
 * interrupted in here (resolve.S), and then it is asked twice.
 */
static struct {
	uint32_t size; /* 0: not asked yet */
	uint64_t mask; /* state components; 0: the CPU has no xsave */
} fpu;

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

/* Xen starts a vcpu with x87 and SSE alone; Linux, below the hosted hypervisor, has enabled all there is. */
void fpu_init(void)
{
	uint32_t r[4];

	cpuid(1, 0, r);
	if (!(r[2] & CPUID_1_ECX_OSXSAVE))
		return;
	cpuid(CPUID_XSAVE, 0, r);
	if ((r[0] & XSTATE_AVX) == XSTATE_AVX)
		try_xsetbv(r[0] & ((r[0] & XSTATE_AVX512) == XSTATE_AVX512 ? XSTATE_AVX512 : XSTATE_AVX));
}

uint32_t fpu_size(void)
{
	uint32_t r[4], lo, hi, size = XSAVE_LEGACY;
	uint64_t mask = 0;

	if (fpu.size)
		return fpu.size;
	cpuid(1, 0, r);
	if (r[2] & CPUID_1_ECX_OSXSAVE) {
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		mask = ((uint64_t)hi << 32 | lo) & ~XSTATE_AMX;
	}
	for (int i = 2; i < 63; i++) {
		if (!(mask & 1UL << i))
			continue;
		cpuid(CPUID_XSAVE, i, r); /* eax: size, ebx: offset */
		size = MAX(size, r[0] + r[1]);
	}
	fpu.mask = mask;
	__atomic_store_n(&fpu.size, size, __ATOMIC_RELEASE);
	return size;
}

uint64_t fpu_mask(void)
{
	return fpu.mask;
}

void fpu_save(void *area)
{
	fpu_size();
	if (fpu.mask) {
		/* xsave leaves the header's upper part as it is, and xrstor wants it zero. */
		memset((char *)area + XSAVE_HEADER, 0, XSAVE_LEGACY - XSAVE_HEADER);
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((uint32_t)fpu.mask), "d"((uint32_t)(fpu.mask >> 32)) : "memory");
	} else {
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
	}
}

void fpu_restore(const void *area)
{
	fpu_size();
	if (fpu.mask)
		__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)fpu.mask), "d"((uint32_t)(fpu.mask >> 32)) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/* What the C ABI promises a function, whatever the interrupted code was doing with the x87 stack. */
void fpu_reset(void)
{
	static const uint32_t mxcsr = 0x1f80;

	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

/* xrstor and fxrstor fault on reserved bits; everything else in the area is the program's own business. */
void fpu_sanitize(void *area)
{
	uint32_t *mxcsr = (uint32_t *)((char *)area + MXCSR_OFFSET);
	uint64_t *header = (uint64_t *)((char *)area + XSAVE_HEADER);

	*mxcsr &= MXCSR_MASK;
	if (!fpu.mask)
		return;
	header[0] &= fpu.mask;
	memset(header + 1, 0, XSAVE_LEGACY - XSAVE_HEADER - sizeof(*header));
}

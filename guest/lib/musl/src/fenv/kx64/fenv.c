/*
 * Floating-point environment of x87 and SSE. musl's assembler for x86_64 keeps temporaries below
 * the stack pointer, where a pVM's event upcalls are delivered; hence this one.
 */
#include <fenv.h>
#include <features.h>

static unsigned get_mxcsr(void)
{
	unsigned csr;
	__asm__ volatile ("stmxcsr %0" : "=m"(csr));
	return csr;
}

static void set_mxcsr(unsigned csr)
{
	__asm__ volatile ("ldmxcsr %0" : : "m"(csr));
}

static unsigned get_x87_status(void)
{
	unsigned short status;
	__asm__ volatile ("fnstsw %0" : "=am"(status));
	return status;
}

/* x87 can only clear all its exceptions at once; those to be kept move to mxcsr. */
int feclearexcept(int mask)
{
	unsigned x87 = get_x87_status() & FE_ALL_EXCEPT;

	mask &= FE_ALL_EXCEPT;
	if (x87 & mask)
		__asm__ volatile ("fnclex");
	set_mxcsr((get_mxcsr() | x87) & ~mask);
	return 0;
}

int feraiseexcept(int mask)
{
	set_mxcsr(get_mxcsr() | (mask & FE_ALL_EXCEPT));
	return 0;
}

int fetestexcept(int mask)
{
	return (get_mxcsr() | get_x87_status()) & mask & FE_ALL_EXCEPT;
}

/* The rounding mode is bits 10 and 11 of the x87 control word, 13 and 14 of mxcsr. */
hidden int __fesetround(int mode)
{
	unsigned short control;

	__asm__ volatile ("fnstcw %0" : "=m"(control));
	control = (control & ~FE_TOWARDZERO) | mode;
	__asm__ volatile ("fldcw %0" : : "m"(control));
	set_mxcsr((get_mxcsr() & ~(FE_TOWARDZERO << 3)) | mode << 3);
	return 0;
}

int fegetround(void)
{
	return get_mxcsr() >> 3 & FE_TOWARDZERO;
}

/* fnstenv masks all exceptions as a side effect; musl's x86_64 leaves it at that too. */
int fegetenv(fenv_t *env)
{
	__asm__ volatile ("fnstenv %0" : "=m"(*env) : : "memory");
	env->__mxcsr = get_mxcsr();
	return 0;
}

int fesetenv(const fenv_t *env)
{
	static const fenv_t initial = { .__control_word = 0x37f, .__tags = 0xffff, .__mxcsr = 0x1f80 };

	if (env == FE_DFL_ENV)
		env = &initial;
	__asm__ volatile ("fldenv %0" : : "m"(*env) : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	set_mxcsr(env->__mxcsr);
	return 0;
}

/* crash.c: the last words of a domain that the stub had to end. */
#include "stub.h"
#include "sys.h"

/* entry.S stores registers by these offsets. */
_Static_assert(offsetof(struct kx_regs, rsp) == 56 && offsetof(struct kx_regs, r8) == 64 &&
	       offsetof(struct kx_regs, r15) == 120 && offsetof(struct kx_regs, rflags) == 136,
	       "entry.S and struct kx_regs disagree");

_Noreturn void crash(uint32_t signo, uint32_t vector, uint64_t error, uint64_t addr,
		     const struct kx_regs *r)
{
	STATE->crash.signo = signo;
	STATE->crash.vector = vector;
	STATE->crash.error = error;
	STATE->crash.addr = addr;
	STATE->crash.regs = *r;
	__atomic_store_n(&STATE->ended, STUB_END_FAULT, __ATOMIC_SEQ_CST);
	for (;;)
		sys(__NR_exit_group, 128 + signo);
}

/* die ends a stub that never became a domain, or could not. */
_Noreturn void die(int32_t err)
{
	for (;;)
		sys(__NR_exit_group, err < 0 ? -err & 0x7f : 1);
}

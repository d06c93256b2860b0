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
	end(STUB_END_FAULT);
}

/*
 * end says how the domain ended and waits to be destroyed, as on Xen a domain that has shut down
 * stays until the toolstack has read why. An engine that is away finds it when it comes back.
 */
_Noreturn void end(uint32_t how)
{
	__atomic_store_n(&STATE->ended, how, __ATOMIC_SEQ_CST);
	sys(__NR_write, STUB_FD_BELL, "", 1);
	for (;;)
		futex_wait(&STATE->ended, how);
}

/* die ends a stub that never became a domain, or could not. */
_Noreturn void die(int32_t err)
{
	for (;;)
		sys(__NR_exit_group, err < 0 ? -err & 0x7f : 1);
}

/*
 * sigframe.c: a signal handler's stack frame, laid out as Linux lays out its rt_sigframe:
 * return address, ucontext, siginfo, and above them the vector state at a 64-byte boundary.
 */
#include <ucontext.h>

#include "cpu.h"
#include "kern.h"
#include "process.h"

#define UC_FP_XSTATE 1
#define SW_BYTES_OFFSET 464 /* in the state area: where Linux says what the area holds */
#define FP_XSTATE_MAGIC1 0x46505853

struct rt_sigframe {
	uint64_t ret; /* where the handler returns to */
	ucontext_t uc;
	siginfo_t info;
};

struct sw_bytes {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, pad[7];
};

void kx_sigreturn(void);

/* Vector state on its way between the CPU and the program's stack. */
static void *fpu_buffer(void)
{
	static char *buf;

	if (!buf) {
		buf = kzalloc(fpu_size() + FPU_ALIGN);
		if (!buf)
			return NULL;
		buf = (char *)(((uintptr_t)buf + FPU_ALIGN - 1) & ~(uintptr_t)(FPU_ALIGN - 1));
	}
	return buf;
}

int on_altstack(uint64_t rsp)
{
	const stack_t *s = &cur->altstack;

	return s->ss_size && rsp - (uint64_t)s->ss_sp - 1 < s->ss_size;
}

static void gregs_from_frame(greg_t *g, const struct frame *f)
{
	g[REG_R8] = f->r8;
	g[REG_R9] = f->r9;
	g[REG_R10] = f->r10;
	g[REG_R11] = f->r11;
	g[REG_R12] = f->r12;
	g[REG_R13] = f->r13;
	g[REG_R14] = f->r14;
	g[REG_R15] = f->r15;
	g[REG_RDI] = f->rdi;
	g[REG_RSI] = f->rsi;
	g[REG_RBP] = f->rbp;
	g[REG_RBX] = f->rbx;
	g[REG_RDX] = f->rdx;
	g[REG_RAX] = f->rax;
	g[REG_RCX] = f->rcx;
	g[REG_RSP] = f->rsp;
	g[REG_RIP] = f->rip;
	g[REG_EFL] = f->rflags;
	g[REG_CSGSFS] = (greg_t)(f->cs & 0xffff) | (greg_t)(f->ss & 0xffff) << 48;
	g[REG_ERR] = f->nr < 0 ? f->error : 0;
	g[REG_TRAPNO] = f->nr < 0 && f->nr != FRAME_UPCALL ? ~f->nr : 0;
	g[REG_CR2] = shared->vcpu_info[0].cr2;
}

static void frame_from_gregs(struct frame *f, const greg_t *g)
{
	f->r8 = g[REG_R8];
	f->r9 = g[REG_R9];
	f->r10 = g[REG_R10];
	f->r11 = g[REG_R11];
	f->r12 = g[REG_R12];
	f->r13 = g[REG_R13];
	f->r14 = g[REG_R14];
	f->r15 = g[REG_R15];
	f->rdi = g[REG_RDI];
	f->rsi = g[REG_RSI];
	f->rbp = g[REG_RBP];
	f->rbx = g[REG_RBX];
	f->rdx = g[REG_RDX];
	f->rax = g[REG_RAX];
	f->rcx = g[REG_RCX];
	f->rsp = g[REG_RSP];
	f->rip = g[REG_RIP];
	f->rflags = g[REG_EFL];
}

/* Puts the vector state at fp; 0 or -EFAULT. */
static int push_fpu(uint64_t fp)
{
	void *buf = fpu_buffer();
	struct sw_bytes sw = {.magic1 = FP_XSTATE_MAGIC1, .extended_size = fpu_size(), .xstate_size = fpu_size()};

	if (!buf)
		return -EFAULT;
	fpu_save(buf);
	sw.xfeatures = fpu_mask();
	if (sw.xfeatures)
		memcpy((char *)buf + SW_BYTES_OFFSET, &sw, sizeof(sw));
	return copy_out((void *)fp, buf, fpu_size());
}

/*
 * Makes f enter the handler of sig, with what f was to be restored by sigreturn; mask is what the
 * signal mask is to be after it. 0, or -EFAULT if the stack cannot take the frame.
 */
int sigframe_push(struct frame *f, int sig, const struct sigact *act, const siginfo_t *info, sigmask_t mask)
{
	struct rt_sigframe sf = {.ret = (uint64_t)kx_sigreturn, .info = *info};
	uint64_t sp = f->rsp, fp;
	int alt;

	sf.uc.uc_stack = cur->altstack;
	sf.uc.uc_stack.ss_flags = !cur->altstack.ss_size ? SS_DISABLE : on_altstack(sp) ? SS_ONSTACK : 0;
	alt = act->flags & SA_ONSTACK && cur->altstack.ss_size && !on_altstack(sp);
	if (alt)
		sp = (uint64_t)cur->altstack.ss_sp + cur->altstack.ss_size;
	fp = (sp - fpu_size()) & ~(uint64_t)(FPU_ALIGN - 1);
	/* At a function's first instruction rsp is 8 below a 16-byte boundary. */
	sp = ((fp - sizeof(sf)) & ~15UL) - 8;
	if (alt && sp < (uint64_t)cur->altstack.ss_sp)
		return -EFAULT; /* too small for this CPU's vector state */
	sf.uc.uc_flags = fpu_mask() ? UC_FP_XSTATE : 0;
	sf.uc.uc_mcontext.fpregs = (void *)fp;
	memcpy(&sf.uc.uc_sigmask, &mask, sizeof(mask));
	gregs_from_frame(sf.uc.uc_mcontext.gregs, f);
	if (push_fpu(fp) || copy_out((void *)sp, &sf, sizeof(sf)))
		return -EFAULT;
	fpu_reset();
	f->rip = act->handler;
	f->rsp = sp;
	f->rdi = sig;
	f->rsi = sp + offsetof(struct rt_sigframe, info);
	f->rdx = sp + offsetof(struct rt_sigframe, uc);
	f->rax = 0;
	f->rflags &= ~0x500UL; /* direction and trap flag */
	return 0;
}

/* Takes the frame whose ucontext is at f->rsp back into f and the CPU; *mask: the signal mask to go on with. */
int sigframe_pop(struct frame *f, sigmask_t *mask)
{
	ucontext_t uc;
	void *buf = fpu_buffer();

	if (copy_in(&uc, (void *)f->rsp, sizeof(uc)))
		return -EFAULT;
	if (uc.uc_mcontext.fpregs) {
		if (!buf || copy_in(buf, uc.uc_mcontext.fpregs, fpu_size()))
			return -EFAULT;
		fpu_sanitize(buf);
		fpu_restore(buf);
	}
	frame_from_gregs(f, uc.uc_mcontext.gregs);
	if (frame_sanitize(f))
		return -EFAULT;
	memcpy(mask, &uc.uc_sigmask, sizeof(*mask));
	return 0;
}

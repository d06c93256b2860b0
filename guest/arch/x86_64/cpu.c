/* cpu.c: the trap table, and what each trap of the program or the kernel becomes. */
#include "cpu.h"

#include "family.h"
#include "frame.h"
#include "hyper.h"
#include "kern.h"
#include "process.h"

_Static_assert(offsetof(struct kx_control, ram_va) == CONTROL_RAM_VA, "layout.h");
_Static_assert(offsetof(struct thread, ksp) == THREAD_KSP, "layout.h");
_Static_assert(offsetof(struct thread, kstack) == THREAD_KSTACK, "layout.h");
_Static_assert(offsetof(struct frame, rax) == FRAME_RAX, "layout.h");
_Static_assert(offsetof(struct frame, nr) == FRAME_NR, "layout.h");
_Static_assert(offsetof(struct frame, rip) == FRAME_RIP, "layout.h");
_Static_assert(offsetof(struct frame, rsp) == FRAME_RSP, "layout.h");
_Static_assert(sizeof(struct frame) == FRAME_SIZE, "layout.h");
_Static_assert(FRAME_SIZE % 16 == 0, "entry.S calls C with an aligned stack");
_Static_assert(offsetof(struct shared_info, vcpu_info[0].evtchn_upcall_pending) == XEN_SHARED_UPCALL_PENDING, "xen_abi.h");
_Static_assert(offsetof(struct shared_info, vcpu_info[0].evtchn_upcall_mask) == XEN_SHARED_UPCALL_MASK, "xen_abi.h");

/* Ring 3 of a flat 64-bit segment; Xen hands cs out with its RPL cleared, iretq in ring 3 wants it set. */
#define RPL 3
#define RFLAGS_TF 0x100
#define RFLAGS_AC 0x40000

#define TRAP_FN(n) extern char trap_##n[];
#define TRAPS(X) X(0) X(1) X(3) X(4) X(5) X(6) X(10) X(11) X(12) X(13) X(14) X(16) X(17) X(19)
TRAPS(TRAP_FN)
extern char upcall[];
extern char masked[], masked_end[];
extern char user_access[], user_access_end[], user_access_fault[];

void cpu_init(void)
{
	/* int3 and into are instructions of ring 3. */
#define TRAP_ENTRY(n)                                                                                        \
	{                                                                                                    \
		.vector = (n), .cs = FLAT_RING3_CS64, .address = (uint64_t)trap_##n,                         \
		.flags = TRAP_INFO_MASK_EVENTS | ((n) == X86_TRAP_BP || (n) == X86_TRAP_OF ? RPL : 0),       \
	},
	static const struct trap_info table[] = {TRAPS(TRAP_ENTRY){0}};
	struct callback_register cb = {.type = CALLBACKTYPE_event, .address = (uint64_t)upcall};

	if (HYPERCALL(__HYPERVISOR_set_trap_table, table, 0, 0) ||
	    HYPERCALL(__HYPERVISOR_callback_op, CALLBACKOP_register, &cb, 0))
		panic("the hypervisor refused the trap table");
	control->masked = (uint64_t)masked;
	control->masked_end = (uint64_t)masked_end;
	if (((const struct start_info *)KX_START_VA)->mfn_list)
		fpu_init();
}

void frame_init(struct frame *f, uint64_t rip, uint64_t rsp)
{
	uint16_t cs, ss;

	__asm__("mov %%cs, %0" : "=r"(cs));
	__asm__("mov %%ss, %0" : "=r"(ss));
	*f = (struct frame){.nr = FRAME_UPCALL, .rip = rip, .rsp = rsp, .cs = cs, .ss = ss, .rflags = 0x202};
}

/* The signal and si_code of each trap, as Linux has them. */
static const struct {
	uint8_t sig, code;
} trap_signals[32] = {
	[X86_TRAP_DE] = {SIGFPE, FPE_INTDIV},
	[X86_TRAP_DB] = {SIGTRAP, TRAP_TRACE},
	[X86_TRAP_BP] = {SIGTRAP, TRAP_BRKPT},
	[X86_TRAP_OF] = {SIGSEGV, 0},
	[X86_TRAP_BR] = {SIGSEGV, 0},
	[X86_TRAP_UD] = {SIGILL, ILL_ILLOPN},
	[X86_TRAP_TS] = {SIGSEGV, 0},
	[X86_TRAP_NP] = {SIGBUS, 0},
	[X86_TRAP_SS] = {SIGBUS, 0},
	[X86_TRAP_GP] = {SIGSEGV, 0},
	[X86_TRAP_PF] = {SIGSEGV, SEGV_MAPERR},
	[X86_TRAP_MF] = {SIGFPE, FPE_FLTINV},
	[X86_TRAP_AC] = {SIGBUS, BUS_ADRALN},
	[X86_TRAP_XM] = {SIGFPE, FPE_FLTINV},
};

/* si_code of the first exception that is flagged and not masked. */
static int fpe_code(unsigned flags)
{
	static const uint8_t codes[] = {FPE_FLTINV, FPE_FLTUND, FPE_FLTDIV, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES};

	for (unsigned i = 0; i < ARRAY_LEN(codes); i++)
		if (flags & 1u << i)
			return codes[i];
	return FPE_FLTINV;
}

static int x87_code(void)
{
	uint16_t cw, sw;

	__asm__ volatile("fnstcw %0; fnstsw %1" : "=m"(cw), "=m"(sw));
	return fpe_code(sw & ~cw);
}

static int sse_code(void)
{
	uint32_t mxcsr;

	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	return fpe_code(mxcsr & ~(mxcsr >> 7));
}

void regs_from_frame(struct kx_regs *r, const struct frame *f)
{
	*r = (struct kx_regs){
		f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->rsp, f->r8, f->r9,
		f->r10, f->r11, f->r12, f->r13, f->r14, f->r15, f->rip, f->rflags,
	};
}

static void crash_of(struct kx_crash *c, const struct frame *f, int vector, uint64_t cr2, int sig)
{
	*c = (struct kx_crash){.signo = sig, .vector = vector, .error = f->error, .tid = cur->tid};
	c->addr = vector == X86_TRAP_PF ? cr2 : 0;
	regs_from_frame(&c->regs, f);
}

/* A trap of the kernel itself: what to go on with, or the end. */
static void kernel_trap(struct frame *f, int vector, uint64_t cr2)
{
	struct kx_crash c;

	if ((vector == X86_TRAP_PF || vector == X86_TRAP_GP) && f->rip >= (uint64_t)user_access &&
	    f->rip < (uint64_t)user_access_end) {
		f->rip = (uint64_t)user_access_fault;
		return;
	}
	if (vector == X86_TRAP_DB) { /* the program single-steps, and called us */
		f->rflags &= ~(uint64_t)RFLAGS_TF;
		return;
	}
	crash_of(&c, f, vector, cr2, SIGSEGV);
	klog("kx: trap %d in the kernel at %#lx, address %#lx: this is a bug of the LibOS", vector, f->rip, c.addr);
	exit_crashed(&c);
}

/* Whether a page fault is none: the page is there now. */
static int page_came(uint64_t va, uint64_t error)
{
	int r = mem_fault(va, error);

	if (r < 0)
		exit_out_of_memory();
	return r;
}

/* Called by entry.S. Returns 1 to go on in the kernel, 0 for the program. */
int trap_enter(struct frame *f, int in_kernel)
{
	int vector = (int)~f->nr;
	uint64_t cr2 = shared->vcpu_info[0].cr2;
	struct fault fault = {.vector = vector};
	siginfo_t *si = &fault.info;

	f->cs |= RPL;
	f->ss |= RPL;
	if (vector == X86_TRAP_PF && page_came(cr2, f->error))
		return in_kernel;
	if (in_kernel) {
		kernel_trap(f, vector, cr2);
		return 1;
	}
	si->si_signo = trap_signals[vector].sig;
	si->si_code = trap_signals[vector].code;
	if (!si->si_code)
		si->si_code = SI_KERNEL;
	si->si_addr = (void *)f->rip;
	if (vector == X86_TRAP_PF) {
		si->si_addr = (void *)cr2;
		if (mem_prot_at(cr2) >= 0 || shm_covers(cr2, 1)) {
			si->si_code = SEGV_ACCERR;
			f->error |= 1; /* there, even if a hosting Linux has not had to map it yet */
		}
	} else if (vector == X86_TRAP_MF) {
		si->si_code = x87_code();
	} else if (vector == X86_TRAP_XM) {
		si->si_code = sse_code();
	} else if (vector == X86_TRAP_GP || vector == X86_TRAP_AC) {
		si->si_addr = NULL;
	} else if (vector == X86_TRAP_BP) {
		si->si_code = SI_KERNEL; /* what Linux says of int3 */
		si->si_addr = NULL;
	}
	crash_of(&fault.crash, f, vector, cr2, si->si_signo);
	signal_fault(&fault);
	leave_work(f);
	return 0;
}

/* Called by entry.S for an event that interrupted the program. */
void upcall_enter(struct frame *f)
{
	f->cs |= RPL;
	f->ss |= RPL;
	events_handle(1);
	leave_work(f);
}

/* Values that iretq and the kernel can take, whatever a signal handler wrote into its context. */
int frame_sanitize(struct frame *f)
{
	struct frame own;

	if (f->rip >> 47 || f->rsp >> 47)
		return -1;
	frame_init(&own, 0, 0);
	f->cs = own.cs;
	f->ss = own.ss;
	f->rflags = (f->rflags & (0xcd5 | RFLAGS_TF | RFLAGS_AC)) | 0x202;
	return 0;
}

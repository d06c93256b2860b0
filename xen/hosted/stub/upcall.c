/*
 * upcall.c: what Linux reports as a signal, the guest sees as Xen would show it: an event upcall
 * or a trap, with Xen's frame on the guest's own stack.
 */
#include "stub.h"
#include "sys.h"

#define SA_SIGINFO 4
#define SA_RESTORER 0x04000000
#define SA_ONSTACK 0x08000000
#define SA_NODEFER 0x40000000

#define USER_CS 0x33
#define USER_SS 0x2b
#define FLAG_TF 0x100
#define FLAG_RF 0x10000
#define FLAG_NT 0x4000
#define NEW_FLAGS 0x202 /* of a context that never had its own */
#define PF_USER 4

/* Vectors that push an error code. */
#define HAS_ERROR (1U << 8 | 1U << 10 | 1U << 11 | 1U << 12 | 1U << 13 | 1U << 14 | 1U << 17)

#define ALT_STACK_SIZE 32768 /* an AMX state alone is 8 KiB; untouched pages cost nothing */
static uint8_t alt_stack[ALT_STACK_SIZE] __attribute__((aligned(4096)));

/* The kernel's struct sigcontext, as far as it is used. */
struct gregs {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
};

struct ucontext {
	uint64_t flags;
	void *link;
	struct {
		void *sp;
		int32_t flags;
		size_t size;
	} stack;
	struct gregs g;
};

struct siginfo {
	int32_t signo, err, code, pad;
};

struct frame {
	uint64_t rcx, r11, words[6]; /* then: [error code] rip cs rflags rsp ss */
};

/*
 * push_frame puts Xen's bounce frame below *rsp, aligned to 16 bytes as Xen aligns it, with the
 * upcall mask as it was in the upper half of the word for cs. Returns -XEN_EFAULT if the stack is bad.
 */
static long push_frame(uint64_t *rsp, uint64_t rip, uint64_t rflags, uint64_t rcx, uint64_t r11,
		       const uint64_t *error)
{
	struct frame f = {.rcx = rcx, .r11 = r11};
	uint64_t *w = f.words;
	size_t size;
	uint64_t at;

	if (error)
		*w++ = *error;
	*w++ = rip;
	*w++ = USER_CS | (uint64_t)VCPU->evtchn_upcall_mask << 32;
	*w++ = rflags;
	*w++ = *rsp;
	*w++ = USER_SS;
	size = (char *)w - (char *)&f;
	at = (*rsp & ~15UL) - size;
	if (!is_guest_va(at, size) || copy_guest((void *)at, &f, size))
		return -XEN_EFAULT;
	*rsp = at;
	return 0;
}

static void save_regs(struct kx_regs *r, const struct gregs *g)
{
	*r = (struct kx_regs){
		.rax = g->rax, .rbx = g->rbx, .rcx = g->rcx, .rdx = g->rdx, .rsi = g->rsi,
		.rdi = g->rdi, .rbp = g->rbp, .rsp = g->rsp, .r8 = g->r8, .r9 = g->r9,
		.r10 = g->r10, .r11 = g->r11, .r12 = g->r12, .r13 = g->r13, .r14 = g->r14,
		.r15 = g->r15, .rip = g->rip, .rflags = g->rflags,
	};
}

static _Noreturn void crash_at(int sig, const struct gregs *g)
{
	struct kx_regs r;

	save_regs(&r, g);
	crash(sig, g->trapno, g->err, g->cr2, &r);
}

/* The events that came while the stub worked for the guest are delivered on the way out. */
static void upcall_regs(struct kx_regs *r)
{
	if (push_frame(&r->rsp, r->rip, r->rflags, r->rcx, r->r11, 0))
		crash(SIGSEGV, X86_TRAP_DF, 0, r->rsp, r);
	VCPU->evtchn_upcall_mask = 1;
	r->rip = guest.event_callback;
}

/* upcall_at_return is for a hypercall that would return to the address on the guest's stack. */
void upcall_at_return(void)
{
	if (copy_guest(&hc_regs.rip, (const void *)hc_regs.rsp, sizeof hc_regs.rip))
		crash(SIGSEGV, X86_TRAP_PF, 0, hc_regs.rsp, &hc_regs);
	hc_regs.rsp += sizeof hc_regs.rip;
	hc_regs.rflags = NEW_FLAGS;
	upcall_regs(&hc_regs);
}

void upcall_at_iret(void)
{
	upcall_regs(&hc_regs);
}

/* enter makes the interrupted guest context go on at a handler. */
static void enter(int sig, struct gregs *g, uint64_t handler, const uint64_t *error, int mask)
{
	if (push_frame(&g->rsp, g->rip, g->rflags, g->rcx, g->r11, error)) {
		g->trapno = X86_TRAP_DF;
		crash_at(sig, g);
	}
	if (mask)
		VCPU->evtchn_upcall_mask = 1;
	g->rip = handler;
	g->rflags &= ~(uint64_t)(FLAG_TF | FLAG_RF | FLAG_NT);
}

static void guest_trap(int sig, struct gregs *g)
{
	const struct trap_info *t;
	uint64_t error = g->err;

	if (sig == SIGSYS)
		g->trapno = X86_TRAP_UD;
	if (sig == SIGSYS || g->trapno >= sizeof guest.traps / sizeof guest.traps[0])
		crash_at(sig, g);
	/* A page that is mapped but cannot be had: the host is out of memory. */
	if (sig == SIGBUS && g->trapno == X86_TRAP_PF) {
		STATE->no_memory = 1;
		crash_at(sig, g);
	}
	t = &guest.traps[g->trapno];
	if (!t->address)
		crash_at(sig, g);
	if (g->trapno == X86_TRAP_PF) {
		VCPU->cr2 = g->cr2;
		error &= ~(uint64_t)PF_USER; /* a PV guest's kernel, as Xen reports it */
	}
	enter(sig, g, t->address, HAS_ERROR >> g->trapno & 1 ? &error : 0, t->flags & TRAP_INFO_MASK_EVENTS);
}

static int within(uint64_t rip, const char *start, const char *end)
{
	return rip >= (uint64_t)start && rip < (uint64_t)end;
}

/* A fault of the stub itself: a pointer that the guest gave it, or the guest's tricks. */
static void stub_trap(int sig, struct gregs *g)
{
	if (g->rip == (uint64_t)copy_insn)
		g->rip = (uint64_t)copy_fault;
	else if (g->trapno == X86_TRAP_DB)
		g->rflags &= ~(uint64_t)FLAG_TF; /* the guest single-steps into a hypercall */
	else
		crash_at(sig, g);
}

static void async(int sig, struct gregs *g)
{
	if (sig == SIGALRM && guest.timer_bound) {
		event_raise(STUB_PORT_TIMER);
		/* The stub may be about to sleep: see block(). The engine does so before SIGUSR1. */
		__atomic_fetch_add(&STATE->seq, 1, __ATOMIC_SEQ_CST);
	}
	if (!within(g->rip, stub_text, stub_text_end)) {
		remap_if_ordered();
		clock_refresh();
		if (guest.event_callback && event_due())
			enter(SIGSEGV, g, guest.event_callback, 0, 1);
	} else if (within(g->rip, exit_check, exit_end)) {
		g->rip = (uint64_t)exit_check;
	} else if (within(g->rip, iret_check, iret_end)) {
		g->rip = (uint64_t)iret_check;
	}
}

static void on_signal(int sig, struct siginfo *si, struct ucontext *u)
{
	struct gregs *g = &u->g;

	__asm__ volatile("cld");
	if (sig == SIGUSR1 || sig == SIGALRM)
		async(sig, g);
	else if (si->code <= 0)
		return; /* somebody sent it: no fault happened */
	else if (within(g->rip, stub_text, stub_text_end))
		stub_trap(sig, g);
	else
		guest_trap(sig, g);
}

void signals_install(void)
{
	static const uint8_t faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
	static const uint8_t events[] = {SIGUSR1, SIGALRM};
	struct {
		void *sp;
		int32_t flags;
		size_t size;
	} stack = {alt_stack, 0, sizeof alt_stack};
	/* Faults nest, in copy_guest; events wait until the handler is done. */
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} a = {on_signal, SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_NODEFER, sigreturn,
	       1UL << (SIGUSR1 - 1) | 1UL << (SIGALRM - 1)},
	  ignore = {(void *)1, SA_RESTORER, sigreturn, 0};

	sys(__NR_sigaltstack, &stack, 0);
	for (size_t i = 0; i < sizeof faults; i++)
		sys(__NR_rt_sigaction, faults[i], &a, 0, sizeof a.mask);
	for (size_t i = 0; i < sizeof events; i++)
		sys(__NR_rt_sigaction, events[i], &a, 0, sizeof a.mask);
	sys(__NR_rt_sigaction, SIGPIPE, &ignore, 0, sizeof a.mask);
}

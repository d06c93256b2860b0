/*
 * guest.c: the programs of the conformance suite. The first argument after the name chooses one;
 * it ends with status 0 if all is well, else with the line of the failed check in RESULT[0].
 */
#include "guest.h"

static const char text_page[PAGE] __attribute__((aligned(4096))) = "constant";
static char data_page[2 * PAGE] __attribute__((aligned(4096))) = "data";

/* status N: ends at once. */
static void do_status(void)
{
	finish((unsigned)number(arg(2)));
}

/* hello: says what it was given. */
static void do_hello(void)
{
	for (unsigned i = 0; i < CONTROL->argc + CONTROL->envc; i++) {
		const char *s = (const char *)KX_ARGS_VA;

		for (unsigned k = 0; k < i; k++) {
			while (*s++)
				;
		}
		puts_(s);
		puts_("\n");
	}
	puts_(text_page);
	puts_(data_page);
	finish(0);
}

/* pong: answers every event of the engine with one, for ever. */
static void do_pong(void)
{
	events_on(event_entry);
	for (uint64_t seen = 0;;) {
		wait_past(&engine_events, seen);
		seen = engine_events;
		RESULT[1] = seen;
		ring();
	}
}

/* spin ENTRY: runs for ever with events on; the engine's events are counted in RESULT[1]. */
static void do_spin(void)
{
	events_on(arg(2)[0] == 'h' ? event_entry_iret : event_entry);
	ring();
	for (;;) {
		RESULT[1] = engine_events;
		RESULT[2]++;
	}
}

static void set_vectors(uint64_t x)
{
	__asm__ volatile("movq %0, %%xmm0; movq %0, %%xmm7; movq %0, %%xmm15" : : "r"(x));
}

static uint64_t get_vectors(void)
{
	uint64_t a, b, c;

	__asm__ volatile("movq %%xmm0, %0; movq %%xmm7, %1; movq %%xmm15, %2" : "=r"(a), "=r"(b), "=r"(c));
	return a == b && b == c ? a : ~a;
}

/* state N: holds values in vector registers and the FS base while N events come; some in hypercalls. */
static void do_state(void)
{
	uint64_t n = number(arg(2)), fs, rbx = 0x1234567;

	events_on(arg(3)[0] == 'h' ? event_entry_iret : event_entry);
	CHECK(HC(set_segment_base, SEGBASE_FS, 0x123456789000) == 0);
	set_vectors(0x1122334455667788);
	ring();
	while (engine_events < n) {
		uint64_t flags;

		RESULT[1] = engine_events;
		for (int i = 0; i < 100; i++)
			__asm__ volatile("" : "+b"(rbx));
		CHECK(rbx == 0x1234567);
		CHECK(get_vectors() == 0x1122334455667788);
		CHECK(HC(xen_version, XENVER_version, 0) >> 16 == 4);
		__asm__ volatile("rdfsbase %0" : "=r"(fs));
		CHECK(fs == 0x123456789000);
		__asm__ volatile("pushfq; pop %0" : "=r"(flags));
		CHECK(!(flags & 0x400));
	}
	finish(0);
}

/* timer MS: sleeps, then runs into a timer. */
static void do_timer(void)
{
	uint64_t ms = number(arg(2)), start, took, seen;
	int late;

	timer_bind();
	events_on(event_entry);
	start = system_time();
	CHECK(HC(set_timer_op, start + ms * 1000000) == 0);
	wait_past(&timer_events, 0);
	took = system_time() - start;
	RESULT[1] = took;
	CHECK(took + 50000 >= ms * 1000000); /* the clock is right to some 50 ppm, and so is the timer */
	start = system_time();
	CHECK(HC(set_timer_op, start + ms * 1000000) == 0);
	while (timer_events < 2)
		RESULT[2]++;
	CHECK(HC(set_timer_op, 1) == 0); /* in the past: at once */
	while (timer_events < 3)
		;
	CHECK(timer_events == 3);
	do {
		seen = timer_events;
		start = system_time();
		CHECK(HC(set_timer_op, start + 1000000) == 0);
		CHECK(HC(set_timer_op, 0) == 0);
		late = system_time() >= start + 1000000; /* others had the CPU, and it may have come */
		while (system_time() < start + 4000000)
			;
	} while (late);
	CHECK(timer_events == seen);
	finish(0);
}

/* clock: tells its clocks when it is asked; in between it looks every 20 ms that they go forwards. */
static void do_clock(void)
{
	uint64_t last = 0, seen = 0;

	timer_bind();
	events_on(event_entry);
	for (;;) {
		uint64_t now = system_time();

		CHECK(now >= last);
		last = now;
		if (engine_events != seen) {
			seen = engine_events;
			now = system_time();
			RESULT[1] = now;
			RESULT[2] = SHARED->wc_sec * NSEC + SHARED->wc_nsec + now;
			RESULT[3] = seen;
			ring();
		}
		HC(set_timer_op, now + 20000000);
		VCPU->evtchn_upcall_mask = 1;
		if (engine_events == seen)
			block();
		else
			VCPU->evtchn_upcall_mask = 0;
	}
}

/* Labels that a fault resumes at, and the faults. */
#define FAULTS(insn) \
	do { \
		__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; " insn "; 1:" \
				 : "=m"(trap_resume) : : "rax", "rcx", "rdx", "memory"); \
	} while (0)

/* traps: takes every trap that a guest can cause and goes on. */
static void do_traps(void)
{
	trap_set(X86_TRAP_PF, 1);
	FAULTS("movl $1, 0x10");
	CHECK(trap_count == 1 && VCPU->cr2 == 0x10 && trap_last.error == 2);
	CHECK((trap_last.cs & 3) == 3 || (trap_last.cs & 3) == 0);
	FAULTS("mov (0x20), %%rax");
	CHECK(trap_count == 2 && VCPU->cr2 == 0x20 && trap_last.error == 0);
	trap_set(X86_TRAP_UD, 0);
	FAULTS("ud2");
	CHECK(trap_count == 3 && trap_last.error == 0);
	trap_set(X86_TRAP_DE, 0);
	FAULTS("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $1, %%eax; div %%ecx");
	CHECK(trap_count == 4);
	trap_set(X86_TRAP_BP, 0);
	FAULTS("int3");
	CHECK(trap_count == 5);
	trap_set(X86_TRAP_GP, 0);
	FAULTS("hlt");
	CHECK(trap_count == 6);
	FAULTS("movabs $0x8000000000000000, %%rax; mov (%%rax), %%rax");
	CHECK(trap_count == 7);
	/* writing to text and constants, executing data: page faults with the bits that say so */
	trap_resume = 0;
	FAULTS("movb $0, entry(%%rip)");
	CHECK(trap_count == 8 && trap_last.error == 3);
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; mov %%rsp, %%rbx; lea %1, %%rax; jmp *%%rax; 1: mov %%rbx, %%rsp"
			 : "=m"(trap_resume) : "m"(data_page) : "rax", "rbx", "memory");
	CHECK(trap_count == 9 && (trap_last.error & 0x10));
	finish(0);
}

static long protect(uint64_t va, uint64_t bits)
{
	return HC(update_va_mapping, va, pte_of(va, bits), UVMF_INVLPG);
}

/* protect: changes protections one by one and by multicall. */
static void do_protect(void)
{
	static struct multicall_entry m[64];
	uint64_t ram = CONTROL->ram_va, data = (uint64_t)data_page, text = (uint64_t)&do_status & -PAGE;

	trap_set(X86_TRAP_PF, 0);
	CHECK(writable(data) && writable(ram));
	CHECK(protect(data, RO) == 0 && !writable(data) && writable(data + PAGE));
	CHECK(protect(data, 0) == 0 && !writable(data));
	CHECK(protect(data, RW) == 0 && writable(data) && data_page[0] == 'd');
	CHECK(protect(data, RX) == 0 && !writable(data));
	CHECK(protect(data, RW) == 0);
	if (!machine_frames()) { /* Xen leaves to a domain what it does with its own frames */
		CHECK(protect(data, PTE_PRESENT | PTE_USER | PTE_RW) == -22); /* writable and executable */
		CHECK(protect(text, RW) < 0 && protect((uint64_t)text_page, RW) < 0);
		CHECK(HC(update_va_mapping, ram, pte_of(ram + PAGE, RW), 0) < 0); /* another page's frame */
		CHECK(protect(ram + 1, RW) == -22);
	}
	CHECK(HC(update_va_mapping, KX_CTL_VA, RW, 0) < 0); /* frame 0 */
	CHECK(HC(update_va_mapping, 0x7ff000000000, RW, 0) == -22);
	CHECK(HC(update_va_mapping, ram + CONTROL->ram_pages * PAGE, RW, 0) < 0);
	for (unsigned i = 0; i < 64; i++) {
		uint64_t va = ram + i * PAGE;

		m[i] = (struct multicall_entry){__HYPERVISOR_update_va_mapping, 7, {va, pte_of(va, i < 40 ? RO : 0), UVMF_INVLPG}};
	}
	m[10].args[1] = RO; /* one wrong frame, 0, in the middle */
	m[20] = (struct multicall_entry){__HYPERVISOR_xen_version, 7, {XENVER_version}};
	CHECK(HC(multicall, m, 64) == 0);
	for (unsigned i = 0; i < 64; i++) {
		CHECK(i == 10 ? m[i].result < 0 : i == 20 ? m[i].result >> 16 == 4 : m[i].result == 0);
		CHECK(writable(ram + i * PAGE) == (i == 10 || i == 20));
	}
	CHECK(HC(multicall, 0x10, 3) == -14);
	CHECK(machine_frames() || HC(multicall, m, ~0UL) == -14); /* Xen makes all that there are */
	finish(0);
}

/* errors: every call that must fail, with the error that Xen gives. */
static void do_errors(void)
{
	struct evtchn_send s = {77};
	struct evtchn_bind_virq v = {.virq = 5};
	struct xen_feature_info f = {0};
	uint64_t before;

	CHECK(hypercall(63, 1, 2, 3, 4) == -38);
	if (!machine_frames()) { /* calls that a pVM does not make */
		CHECK(HC(mmu_update, 0, 0, 0) == -38);
		CHECK(HC(memory_op, 0, 0) == -38);
		CHECK(HC(event_channel_op, EVTCHNOP_bind_virq, &v) == -22);
		CHECK(HC(set_segment_base, 1, 0) == -22);
	}
	CHECK(HC(console_io, 0, 3, "abc") == -1);
	CHECK(HC(set_trap_table, 0x8) == -14);
	CHECK(HC(set_trap_table, 0x7ff000000000) == -14);
	CHECK(HC(set_trap_table, -1UL) == -14);
	CHECK(HC(event_channel_op, EVTCHNOP_send, &s) == -22);
	CHECK(HC(event_channel_op, EVTCHNOP_send, 0) == -14);
	CHECK(HC(event_channel_op, 99, &s) == -38);
	CHECK(HC(sched_op, 99, 0) == -38);
	CHECK(HC(sched_op, SCHEDOP_shutdown, 0) == -14);
	CHECK(HC(callback_op, CALLBACKOP_register, 0) == -14);
	CHECK(HC(set_segment_base, SEGBASE_FS, 1UL << 63) == -22);
	CHECK(HC(vcpu_op, 3, 0) == 1);
	CHECK(HC(vcpu_op, 3, 1) == -2);
	CHECK(HC(xen_version, XENVER_get_features, &f) == 0);
	CHECK(machine_frames() || f.submap == 1U << XENFEAT_auto_translated_physmap);
	CHECK(HC(xen_version, 99, 0) == -38);
	timer_bind();
	v.virq = VIRQ_TIMER;
	CHECK(HC(event_channel_op, EVTCHNOP_bind_virq, &v) == -17);
	/* an event that comes while its port is masked waits for the unmasking */
	events_on(event_entry);
	SHARED->evtchn_mask[0] = 1UL << 2;
	HC(set_timer_op, 1);
	before = system_time();
	while (system_time() < before + 2000000)
		;
	CHECK(timer_events == 0);
	s.port = 2;
	CHECK(HC(event_channel_op, EVTCHNOP_unmask, &s) == 0);
	CHECK(timer_events == 1);
	finish(0);
}

/* fault KIND: dies of a fault that nobody handles. */
static void do_fault(void)
{
	switch (arg(2)[0]) {
	case 'n': /* null */
		*(volatile int *)0 = 1;
	case 'j': /* jump to nowhere */
		((void (*)(void))0x1234000)();
	case 'u':
		__asm__ volatile("ud2");
	case 'd': /* a handler, but no stack to call it on */
		trap_set(X86_TRAP_PF, 0);
		__asm__ volatile("mov $0x3000, %rsp; push %rax");
	case 'e': /* an event, but no stack: spin until one comes */
		events_on(event_entry);
		ring();
		__asm__ volatile("mov $0x3000, %rsp; 1: jmp 1b");
	case 's': /* a jump into the stub's middle */
		((void (*)(void))0x7ff000000123)();
	case 'r': /* a hypercall that returns to nowhere */
		__asm__ volatile("mov $hypercall_page, %rax; lea 8+text_page(%rip), %rsp; jmp *%rax");
	}
	finish(99);
}

static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

/* syscall NR [A B C D E F]: tries a system call of the host. */
static void do_syscall(void)
{
	raw((long)number(arg(2)), (long)number(arg(3)), (long)number(arg(4)), (long)number(arg(5)),
	    (long)number(arg(6)), (long)number(arg(7)), (long)number(arg(8)));
	finish(99);
}

/* via ADDRESS NR [A B C D E F]: the same, from the given address, which is to be a syscall; ret. */
static void do_via(void)
{
	uint64_t n[8];
	long r;

	for (unsigned i = 0; i < 8; i++)
		n[i] = number(arg(2 + i));
	register uint64_t r10 __asm__("r10") = n[5], r8 __asm__("r8") = n[6], r9 __asm__("r9") = n[7];

	__asm__ volatile("call *%7"
			 : "=a"(r)
			 : "a"(n[1]), "D"(n[2]), "S"(n[3]), "d"(n[4]), "r"(r10), "r"(r8), "r"(n[0]), "r"(r9)
			 : "rcx", "r11", "memory");
	RESULT[1] = (uint64_t)r;
	finish(98);
}

/* int80, vsyscall: the other ways into the host's kernel. */
static void do_int80(void)
{
	__asm__ volatile("int $0x80" : : "a"(20L) : "memory"); /* getpid of 32-bit Linux */
	finish(99);
}

static void do_vsyscall(void)
{
	uint64_t t[2];

	__asm__ volatile("mov $0xffffffffff600000, %%rax; call *%%rax" : : "D"(t), "S"(0L) : "rax", "rcx", "r11", "memory");
	finish(99);
}

/* scribble: random words over everything that it shares with the engine, for ever. */
static void do_scribble(void)
{
	uint64_t x = 88172645463325252;
	int stub = arg(2)[0] == 's'; /* the state page of the hosted hypervisor's stub, too */

	ring();
	for (;;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		((volatile uint64_t *)KX_CTL_VA)[x % (KX_CTL_SIZE / 8)] = x;
		if (stub)
			((volatile uint64_t *)0x7ff000100000)[x % 64] = x >> 3;
	}
}

/* flood: nothing but events, for ever. */
static void do_flood(void)
{
	for (;;)
		ring();
}

/* touch PAGES: uses memory, says so, and waits. */
static void do_touch(void)
{
	uint64_t n = number(arg(2));

	for (uint64_t i = 0; i < n; i++)
		((volatile uint64_t *)CONTROL->ram_va)[i * PAGE / 8] = i + 1;
	RESULT[1] = n;
	events_on(event_entry);
	ring();
	for (;;)
		block();
}

/* crash: shuts itself down as a kernel that has found itself broken does. */
static void do_crash(void)
{
	struct sched_shutdown s = {SHUTDOWN_crash};

	HC(sched_op, SCHEDOP_shutdown, &s);
}

/* first: tells when its first instruction ran, by the TSC; for benchmarks. */
static void do_first(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	RESULT[1] = (uint64_t)hi << 32 | lo;
	events_on(event_entry);
	ring();
	for (;;)
		block();
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

const struct program plain_programs[] = {
	{"status", do_status}, {"hello", do_hello}, {"pong", do_pong}, {"spin", do_spin},
	{"state", do_state}, {"timer", do_timer}, {"clock", do_clock}, {"traps", do_traps},
	{"protect", do_protect}, {"errors", do_errors}, {"fault", do_fault}, {"syscall", do_syscall},
	{"via", do_via}, {"scribble", do_scribble}, {"flood", do_flood}, {"touch", do_touch},
	{"crash", do_crash}, {"int80", do_int80}, {"vsyscall", do_vsyscall}, {"first", do_first}, {0},
};

__attribute__((used)) void guest_main(void)
{
	const struct program *lists[] = {plain_programs, fork_programs, sharing_programs, reset_programs, hostile_programs, net_programs};

	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
		for (const struct program *p = lists[i]; p->name; p++) {
			if (same(arg(1), p->name))
				p->run();
		}
	}
	finish(100);
}

/* lib.c: the small change of the test guests. */
#include "guest.h"

volatile uint64_t engine_events, timer_events;
volatile uint64_t trap_count, trap_resume; /* resume there, if not 0 */
volatile struct trap_frame trap_last;
static uint32_t timer_port;

const char *arg(unsigned i)
{
	const char *s = (const char *)KX_ARGS_VA;

	if (i >= CONTROL->argc)
		return "";
	while (i--) {
		while (*s++)
			;
	}
	return s;
}

uint64_t number(const char *s)
{
	uint64_t n = 0;

	while (*s >= '0' && *s <= '9')
		n = n * 10 + (uint64_t)(*s++ - '0');
	return n;
}

void ring(void)
{
	struct evtchn_send s = {CONTROL->evtchn};

	HC(event_channel_op, EVTCHNOP_send, &s);
}

void block(void)
{
	HC(sched_op, SCHEDOP_block);
}

static void put(uint32_t *at, const void *p, size_t n)
{
	volatile uint8_t *ring = (volatile uint8_t *)KX_CONOUT_VA;
	const uint8_t *b = p;

	while (n--)
		ring[(*at)++ % KX_CONOUT_SIZE] = *b++;
}

/* print writes one record, of at most KX_RECORD_MAX bytes; it spins while there is no room. */
void print(unsigned stream, const char *s, size_t n)
{
	volatile struct kx_ring *r = &CONTROL->conout;
	uint32_t head = stream << 24 | (uint32_t)n, at = r->prod;

	while (KX_CONOUT_SIZE - (at - __atomic_load_n(&r->cons, __ATOMIC_SEQ_CST)) < n + sizeof head)
		HC(sched_op, SCHEDOP_yield);
	put(&at, &head, sizeof head);
	put(&at, s, n);
	__atomic_store_n(&r->prod, at, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&r->cons_waits, 0, __ATOMIC_SEQ_CST))
		ring();
}

void puts_(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	print(KX_STDOUT, s, n);
}

_Noreturn void finish(unsigned code)
{
	struct sched_shutdown s = {SHUTDOWN_poweroff};

	CONTROL->status = (code & 0xff) << 8;
	CONTROL->state = KX_STATE_EXITED;
	for (;;)
		HC(sched_op, SCHEDOP_shutdown, &s);
}

/* A failed check: the line is the result, the status is 1. */
_Noreturn void fail(unsigned line)
{
	RESULT[0] = line;
	finish(1);
}

__attribute__((used)) void on_event(void)
{
	while (VCPU->evtchn_upcall_pending) {
		VCPU->evtchn_upcall_pending = 0;
		__atomic_exchange_n(&VCPU->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
		uint64_t ports = __atomic_exchange_n(&SHARED->evtchn_pending[0], 0, __ATOMIC_SEQ_CST);

		if (ports & 1UL << CONTROL->evtchn)
			engine_events++;
		if (timer_port && ports & 1UL << timer_port)
			timer_events++;
	}
}

__attribute__((used)) void on_trap(struct trap_frame *f)
{
	trap_last = *f;
	trap_count++;
	if (trap_resume)
		f->rip = trap_resume;
	VCPU->evtchn_upcall_mask = 0;
}

void unmask(void)
{
	VCPU->evtchn_upcall_mask = 0;
	if (VCPU->evtchn_upcall_pending)
		HC(sched_op, SCHEDOP_yield); /* any hypercall delivers */
}

void events_on(const char *entry)
{
	struct callback_register c = {.type = CALLBACKTYPE_event, .address = (uint64_t)entry};

	CHECK(HC(callback_op, CALLBACKOP_register, &c) == 0);
	unmask();
}

/*
 * wait_past sleeps until a count of events is past what was seen. It looks with events masked, and
 * block unmasks: an event that were handled between the look and the sleep would be slept through.
 */
void wait_past(volatile uint64_t *count, uint64_t seen)
{
	for (;;) {
		VCPU->evtchn_upcall_mask = 1;
		if (*count != seen)
			break;
		block();
	}
	unmask();
}

void timer_bind(void)
{
	struct evtchn_bind_virq b = {.virq = VIRQ_TIMER};

	HC(vcpu_op, VCPUOP_stop_periodic_timer, 0); /* Xen starts every vcpu with a tick of 100 Hz */
	CHECK(HC(event_channel_op, EVTCHNOP_bind_virq, &b) == 0);
	timer_port = b.port;
}

void trap_set(unsigned vector, int mask)
{
	int has_error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
	struct trap_info t[2] = {{(uint8_t)vector, mask ? TRAP_INFO_MASK_EVENTS : 0, FLAT_RING3_CS64,
				  (uint64_t)(has_error ? trap_error_entry : trap_entry)}};

	CHECK(HC(set_trap_table, t) == 0);
}

uint64_t system_time(void)
{
	volatile struct vcpu_time_info *t = &VCPU->time;
	uint32_t version, lo, hi;
	uint64_t ns, ticks;

	do {
		version = t->version;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
		ticks = ((uint64_t)hi << 32 | lo) - t->tsc_timestamp;
		ticks = t->tsc_shift >= 0 ? ticks << t->tsc_shift : ticks >> -t->tsc_shift;
		ns = t->system_time + (uint64_t)((unsigned __int128)ticks * t->tsc_to_system_mul >> 32);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	} while (version & 1 || version != t->version);
	return ns;
}

/* machine_frames tells whether page tables hold machine frame numbers: a real Xen. */
int machine_frames(void)
{
	struct xen_feature_info f = {0};

	return HC(xen_version, XENVER_get_features, &f) || !(f.submap & 1U << XENFEAT_auto_translated_physmap);
}

/* pte_of makes the entry for a page of the image or the RAM window with its own frame. */
uint64_t pte_of(uint64_t va, uint64_t bits)
{
	uint64_t frame = va < KX_IMAGE_END ? (va - KX_IMAGE_VA) / PAGE
					   : CONTROL->image_pages + (va - CONTROL->ram_va) / PAGE;

	if (machine_frames())
		frame = ((const uint64_t *)((const struct start_info *)KX_START_VA)->mfn_list)[frame];
	return frame << 12 | bits;
}

uint64_t mfn_of(const void *p)
{
	return pte_of((uint64_t)p, 0) >> 12;
}

/* peek is the byte at an address, or ~0 if it cannot be read; page faults must have a handler. */
uint64_t peek(uint64_t va)
{
	uint64_t before = trap_count, byte;

	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; movzbl (%2), %%eax; 1:"
			 : "=m"(trap_resume), "=&a"(byte) : "r"(va) : "memory");
	return trap_count == before ? byte : ~0UL;
}

/* writable tells whether a page can be written, by trying; page faults must have a handler. */
int writable(uint64_t va)
{
	uint64_t before = trap_count;

	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; mov (%1), %%al; mov %%al, (%1); 1:"
			 : "=m"(trap_resume) : "r"(va) : "rax", "memory");
	return trap_count == before;
}

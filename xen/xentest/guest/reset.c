/*
 * reset.c: what one domain may leave to the next one of its number. soil leaves all it can and ends; fresh fails if it
 * finds any of it. Both are the same image, so an address of the image is in reach of both.
 */
#include "guest.h"

#define PATTERN 0x5a5a5a5a5a5a5a5aUL

/* public/vcpu.h */
#define VCPUOP_register_runstate_memory_area 5
#define VCPUOP_set_periodic_timer 6
#define VCPUOP_register_vcpu_info 10
#define VCPUOP_register_vcpu_time_memory_area 13

#define STUB_STATE (0x7ff000100000UL + PAGE / 2) /* hosted: what its stub says of it; this half of the page is nothing */

static volatile uint64_t unwritten[8 * PAGE / 8] __attribute__((aligned(4096))); /* zero at the start */
static volatile uint64_t written[PAGE / 8] __attribute__((aligned(4096), section(".data"))) = {1, 2, 3};

static void fill(uint64_t va, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += 8)
		*(volatile uint64_t *)(va + i) = PATTERN + va;
}

static int is_zero(uint64_t va, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += 8) {
		if (*(volatile uint64_t *)(va + i)) {
			RESULT[1] = va + i;
			return 0;
		}
	}
	return 1;
}

/* How much of the RAM window is there from the start. */
static uint64_t ram_bytes(void)
{
	const struct start_info *s = (const struct start_info *)KX_START_VA;

	return (s->nr_pages - CONTROL->image_pages) * PAGE;
}

/* What Xen writes to, or raises, whenever it runs this vcpu; hosted has no such things. */
static void soil_vcpu(void)
{
	uint64_t runstate = (uint64_t)&unwritten[PAGE / 8], time = (uint64_t)&unwritten[2 * PAGE / 8];
	uint64_t period = 1000000, info[2] = {mfn_of((const void *)&unwritten[3 * PAGE / 8]), 64};

	HC(vcpu_op, VCPUOP_set_periodic_timer, 0, &period);
	HC(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &runstate);
	HC(vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, &time);
	HC(vcpu_op, VCPUOP_register_vcpu_info, 0, info);
}

/* soil PRIVATE PAGES: PAGES pages at the address PRIVATE are its own, too. */
static void do_soil(void)
{
	uint64_t ram = CONTROL->ram_va, private = number(arg(2)), pages = number(arg(3));

	trap_set(X86_TRAP_PF, 0);
	timer_bind();
	events_on(event_entry); /* a trap unmasks them */
	fill((uint64_t)unwritten, sizeof unwritten);
	fill((uint64_t)written, sizeof written);
	fill(ram, ram_bytes());
	if (private)
		fill(private, pages * PAGE);
	if (peek(KX_FAMILY_VA) != ~0UL)
		fill(KX_FAMILY_VA, 16 * PAGE);
	CHECK(HC(update_va_mapping, (uint64_t)written, pte_of((uint64_t)written, RO), UVMF_INVLPG) == 0);
	CHECK(HC(update_va_mapping, ram, pte_of(ram, RX), UVMF_INVLPG) == 0);
	CHECK(HC(update_va_mapping, ram + PAGE, 0, UVMF_INVLPG) == 0);
	for (int i = 0; i < 8; i++) {
		uint32_t alloc[2] = {DOMID_SELF | DOMID_SELF << 16};

		HC(event_channel_op, 6, alloc); /* alloc_unbound */
	}
	__asm__ volatile("movq %0, %%xmm0; movq %0, %%xmm7; movq %0, %%xmm15" : : "r"(PATTERN));
	CHECK(HC(set_segment_base, SEGBASE_FS, 0x123456789000) == 0);
	fill(KX_CMDS_VA, KX_CONIN_VA - KX_CMDS_VA);
	fill(KX_CONIN_VA, KX_CONIN_SIZE);
	fill(KX_TASK_VA, KX_TASK_SIZE);
	fill(KX_CONOUT_VA, KX_CONOUT_SIZE);
	fill(KX_ARGS_VA + PAGE, KX_ARGS_SIZE - PAGE);
	SHARED->evtchn_pending[3] = PATTERN;
	SHARED->evtchn_mask[3] = PATTERN;
	fill((uint64_t)CONTROL->name, sizeof CONTROL->name);
	if (machine_frames())
		soil_vcpu();
	else
		fill(STUB_STATE, PAGE / 2);
	CHECK(HC(set_timer_op, system_time() + 30000000) == 0); /* when the next one runs */
	finish(0);
}

/* fresh N: ends with status N if all is as at the start. */
static void do_fresh(void)
{
	uint64_t a, b, c, fs, until;

	__asm__ volatile("movq %%xmm0, %0; movq %%xmm7, %1; movq %%xmm15, %2" : "=r"(a), "=r"(b), "=r"(c));
	CHECK(!(a | b | c));
	trap_set(X86_TRAP_PF, 0);
	trap_set(X86_TRAP_UD, 0);
	__asm__ volatile("rdfsbase %0" : "=r"(fs));
	CHECK(fs == 0);
	CHECK(is_zero((uint64_t)unwritten, sizeof unwritten));
	CHECK(written[0] == 1 && written[1] == 2 && written[2] == 3 && is_zero((uint64_t)&written[3], sizeof written - 24));
	/* the window's first two pages are a domain's first stack, on Xen */
	CHECK(is_zero(CONTROL->ram_va, ram_bytes()));
	CHECK(writable((uint64_t)written) && writable(CONTROL->ram_va) && writable(CONTROL->ram_va + PAGE));
	if (peek(KX_FAMILY_VA) != ~0UL)
		CHECK(is_zero(KX_FAMILY_VA, 16 * PAGE));
	CHECK(is_zero(KX_CMDS_VA, KX_CONIN_VA - KX_CMDS_VA) && is_zero(KX_CONIN_VA, KX_CONIN_SIZE) && is_zero(KX_TASK_VA, KX_TASK_SIZE));
	CHECK(is_zero(KX_CONOUT_VA, KX_CONOUT_SIZE) && is_zero(KX_ARGS_VA + PAGE, KX_ARGS_SIZE - PAGE));
	CHECK(machine_frames() || is_zero(STUB_STATE, PAGE / 2));
	for (int i = 0; i < 64; i++)
		CHECK(!SHARED->evtchn_pending[i]);
	for (uint32_t port = 1; port < 64; port++) {
		struct evtchn_send s = {port};

		CHECK(port == CONTROL->evtchn || HC(event_channel_op, EVTCHNOP_send, &s) < 0);
	}
	timer_bind();
	events_on(event_entry);
	until = system_time() + 60000000;
	while (system_time() < until)
		HC(sched_op, SCHEDOP_yield);
	CHECK(timer_events == 0);
	CHECK(is_zero((uint64_t)unwritten, sizeof unwritten));
	finish((unsigned)number(arg(2)));
}

const struct program reset_programs[] = {{"soil", do_soil}, {"fresh", do_fresh}, {0}};

/*
 * hostile.c: guests that do what they can to harm others. None of them has more to say than any pVM:
 * what they may do to themselves does not matter, what they do to others is what the tests look for.
 * Numbers and structs are those of Xen's public headers (xen.h, grant_table.h, memory.h, sched.h,
 * event_channel.h, vcpu.h).
 */
#include "guest.h"

#define __HYPERVISOR_set_gdt 2
#define __HYPERVISOR_stack_switch 3
#define __HYPERVISOR_set_callbacks 4
#define __HYPERVISOR_sched_op_compat 6
#define __HYPERVISOR_platform_op 7
#define __HYPERVISOR_set_debugreg 8
#define __HYPERVISOR_update_descriptor 10
#define __HYPERVISOR_vm_assist 21
#define __HYPERVISOR_update_va_mapping_otherdomain 22
#define __HYPERVISOR_mmuext_op 26
#define __HYPERVISOR_xsm_op 27
#define __HYPERVISOR_sysctl 35
#define __HYPERVISOR_domctl 36

#define DOMID_IO 0x7ff1
#define DOMID_XEN 0x7ff2

/* Where hypercalls find their structs and lists: in RAM, so that what overflows hits neither code nor stack. */
#define SCRATCH (2 * PAGE)
static uint64_t *scratch, ram, ram_pages;
static char victim_page[PAGE] __attribute__((aligned(4096))) = "mine";
static uint64_t state;

static void begin(void)
{
	ram = CONTROL->ram_va;
	ram_pages = CONTROL->ram_pages;
	scratch = (uint64_t *)(ram + 32 * PAGE);
}

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* some is a number that means something to some hypercall, or nothing to any. */
static uint64_t some(void)
{
	uint64_t x = rnd(), y = x >> 8;

	switch (x % 16) {
	case 0: case 1: case 2:
		return y % 16;
	case 3:
		return y % PAGE;
	case 4:
		return DOMID_SELF + y % 5;
	case 5: case 6: case 7:
		return (uint64_t)scratch + y % (SCRATCH / 8) * 8;
	case 8:
		return (uint64_t)scratch + y % SCRATCH;
	case 9:
		return KX_CTL_VA + y % (KX_ARGS_VA - KX_CTL_VA);
	case 10:
		return ram + y % (ram_pages * PAGE);
	case 11:
		return 0xffff800000000000 + y % (1UL << 46); /* Xen's own half */
	case 12:
		return mfn_of(scratch) << 12 | y % PAGE;
	case 13:
		return y % (1UL << 20); /* any frame of the host */
	case 14:
		return ~(y % PAGE);
	}
	return x;
}

/*
 * fuzz SEED: hypercalls of every number with arguments of every kind, for ever, or until one of them
 * was the end of it. Those that would only end it or put it to sleep are left out, and what mostly brings
 * it down is seldom; each fourth seed, though, does not spare its page tables.
 */
static void do_fuzz(void)
{
	uint64_t calls = 0;
	/* what is soon the end; multicalls may contain the calls that are left out */
	uint64_t seldom = 1UL << __HYPERVISOR_set_trap_table | 1UL << __HYPERVISOR_set_gdt |
			  1UL << __HYPERVISOR_stack_switch | 1UL << __HYPERVISOR_set_callbacks |
			  1UL << __HYPERVISOR_multicall | 1UL << __HYPERVISOR_callback_op;

	begin();
	if (number(arg(2)) % 4)
		seldom |= 1UL << __HYPERVISOR_mmu_update | 1UL << __HYPERVISOR_set_debugreg |
			  1UL << __HYPERVISOR_update_descriptor | 1UL << __HYPERVISOR_update_va_mapping |
			  1UL << __HYPERVISOR_mmuext_op;
	state = number(arg(2)) * 0x9e3779b97f4a7c15 + 88172645463325252;
	ring();
	for (;;) {
		uint64_t nr = rnd() % 64, a = some(), b = some(), c = some(), d = some();

		for (unsigned n = rnd() % 32, at = rnd() % 900; n--; at++)
			scratch[at] = rnd() & 1 ? some() : some() << 32 | (some() & 0xffffffff);
		if (nr == __HYPERVISOR_iret)
			continue;
		/* block, shutdown, poll, watchdog */
		if (nr == __HYPERVISOR_sched_op_compat || (nr == __HYPERVISOR_sched_op && (a - 1 < 3 || a == 5 || a == 6)))
			continue;
		if (1UL << nr & seldom && rnd() % 256)
			continue;
		RESULT[1] = calls++; /* a call may write to it */
		RESULT[2] = nr;
		RESULT[3] = a;
		RESULT[4] = b;
		RESULT[5] = c;
		RESULT[6] = d;
		hypercall((long)nr, a, b, c, d);
	}
}

/* garbage KIND [N]: gives Xen nonsense about its own state, and then uses it. */
static void do_garbage(void)
{
	uint64_t n = number(arg(3));
	/* instruction pointers and stacks: null, unmapped, Xen's, not canonical, this one */
	const uint64_t places[] = {0, 0x1234000, 0xffff82d040200000, 1UL << 47, (uint64_t)&do_garbage};
	const uint64_t selectors[] = {0xe033, 0, 0xe008, 0x10, 0xffff};

	begin();
	ring();
	switch (arg(2)[0]) {
	case 't': { /* all traps to nowhere */
		static struct trap_info t[257];

		for (unsigned i = 0; i < 256; i++)
			t[i] = (struct trap_info){(uint8_t)i, (uint8_t)(i & 7), (uint16_t)selectors[n % 5], places[n % 5] + i};
		HC(set_trap_table, t);
		__asm__ volatile("ud2");
	}
	case 'i': { /* a return to nowhere: rax r11 rcx flags rip cs rflags rsp ss */
		uint64_t frame[9] = {1, 2, 3, n / 5 % 2 << 8, places[n % 5], selectors[n / 10 % 5],
				     n / 50 ? ~0UL : 0x202, places[(n + 1) % 5], selectors[(n / 10 + 2) % 5]};

		__asm__ volatile("mov %0, %%rsp; jmp hypercall_page + 32 * 23" : : "r"(frame), "m"(frame));
		__builtin_unreachable();
	}
	case 's':
		HC(stack_switch, selectors[n % 5], places[n % 5]);
		__asm__ volatile("ud2");
	case 'g':
		for (unsigned i = 0; i < 16; i++)
			scratch[i] = n == 0 ? mfn_of(scratch) : n == 1 ? i : rnd();
		HC(set_gdt, scratch, 8192);
		__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(selectors[n % 5]));
		break;
	case 'c': /* events to nowhere */
		HC(set_callbacks, places[n % 5], places[n % 5], places[n % 5]);
		VCPU->evtchn_upcall_mask = 0;
		HC(set_timer_op, 1);
		for (;;)
			HC(sched_op, SCHEDOP_yield);
	case 'b': /* other page tables: new_baseptr, new_user_baseptr, unpin, set_ldt */
		for (uint64_t cmd = 0; cmd < 24; cmd++) {
			uint64_t op[3] = {cmd, n == 0 ? mfn_of(scratch) : n == 1 ? cmd : (uint64_t)scratch, 8192};

			HC(mmuext_op, op, 1, 0, DOMID_SELF);
		}
		break;
	case 'u': /* its own floor */
		for (uint64_t va = KX_IMAGE_VA; va < KX_IMAGE_VA + CONTROL->image_pages * PAGE; va += PAGE)
			HC(update_va_mapping, va, 0, UVMF_INVLPG | UVMF_ALL);
		break;
	case 'a':
		for (unsigned type = 0; type < 64; type++)
			HC(vm_assist, n % 2, type);
		break;
	case 'f': /* flags that only a kernel may set */
		__asm__ volatile("pushq $0x3ffdd7; popfq; cli; sti" : : : "cc", "memory");
		break;
	}
	finish(0);
}

static void rest(void)
{
	events_on(event_entry);
	ring();
	for (;;)
		block();
}

static uint64_t hog_ports(void)
{
	uint64_t n = 0;
	long r = 0;

	for (uint32_t remote = 0; !r; remote = remote ? 0 : DOMID_SELF) {
		uint32_t alloc[2] = {DOMID_SELF | remote << 16};

		r = HC(event_channel_op, 6, alloc); /* alloc_unbound */
		n += !r;
	}
	RESULT[2] = (uint64_t)r;
	return n;
}

static uint64_t hog_grants(void)
{
	static uint64_t frames[4096];
	struct {
		uint16_t dom;
		uint32_t nr;
		int16_t status;
		uint64_t list;
	} setup = {DOMID_SELF, 0, 0, (uint64_t)frames};
	uint64_t got = 0;

	for (uint32_t version = 2; version >= 1; version--) {
		for (setup.nr = 1; setup.nr <= 4096; setup.nr++) {
			if (HC(grant_table_op, 2, &setup, 1) || setup.status) /* setup_table */
				break;
			got = setup.nr;
		}
		HC(grant_table_op, 8, &version); /* set_version */
	}
	/* what it grants to itself it may map, if it has room to remember that: maptrack */
	if (got && HC(update_va_mapping, CONTROL->ram_va + 64 * PAGE, frames[0] << 12 | RW, UVMF_INVLPG) == 0) {
		uint64_t *entry = (uint64_t *)(CONTROL->ram_va + 64 * PAGE);
		struct {
			uint64_t addr;
			uint32_t flags, ref;
			uint16_t dom;
			int16_t status;
			uint32_t handle;
			uint64_t bus;
		} map = {CONTROL->ram_va + 65 * PAGE, 2, 8, DOMID_SELF, 0, 0, 0};

		entry[8] = mfn_of(victim_page) << 32 | (uint64_t)CONTROL->domid << 16 | 1;
		RESULT[2] = HC(grant_table_op, 0, &map, 1) ? 1 : (uint64_t)(int64_t)map.status;
	}
	return got;
}

/* frames makes a call of memory_op that takes a list of frames, in scratch; the result is how many it did. */
static uint64_t frames(uint64_t op, uint64_t extents, uint32_t order, uint32_t flags, uint64_t dom)
{
	struct {
		uint64_t list, nr;
		uint32_t order, flags;
		uint16_t dom;
	} m = {(uint64_t)scratch, extents, order, flags, (uint16_t)dom};
	long r = HC(memory_op, op, &m);

	return r > 0 ? (uint64_t)r << order : 0;
}

/* more asks for frames. */
static uint64_t more(uint64_t op, uint64_t extents, uint32_t order, uint32_t flags, uint64_t dom)
{
	for (unsigned i = 0; i < 512; i++)
		scratch[i] = CONTROL->image_pages + CONTROL->ram_pages + i;
	return frames(op, extents, order, flags, dom);
}

static uint64_t hog_memory(void)
{
	static const uint16_t doms[] = {DOMID_SELF, 0, DOMID_IO, DOMID_XEN};
	uint64_t got = 0, claim[3] = {1UL << 20, 0, DOMID_SELF};

	for (unsigned i = 0; i < 4; i++) {
		for (uint32_t order = 0; order < 20; order += 9) {
			got += more(0, 512, order, 0, doms[i]); /* increase_reservation */
			got += more(6, 512, order, 0, doms[i]); /* populate_physmap */
			got += more(6, 1, order, 0xffff, doms[i]);
		}
	}
	got += HC(memory_op, 24, claim) == 0; /* claim_pages */
	return got;
}

/* hog WHAT: takes all it can get of event ports, grants or memory, says how much that was, and keeps it. */
static void do_hog(void)
{
	begin();
	RESULT[1] = arg(2)[0] == 'p' ? hog_ports() : arg(2)[0] == 'g' ? hog_grants() : hog_memory();
	rest();
}

/*
 * thief DOMAIN MFN...: tries to map, write or take frames of others: RESULT[1] counts what worked, which
 * RESULT[2] and [3] name. RESULT[4] counts what worked with a frame of its own: the ways are right.
 */
static unsigned way;

static void worked(int yes, uint64_t mfn)
{
	way++;
	if (yes) {
		RESULT[1]++;
		RESULT[2] = way;
		RESULT[3] = mfn;
	}
}

static void steal(uint64_t dom, uint64_t mfn)
{
	static uint64_t table[512] __attribute__((aligned(4096)));
	uint64_t at = CONTROL->ram_va + 100 * PAGE, old = pte_of(at, RW);
	uint64_t update[2], op[3];
	uint32_t done;
	struct {
		struct {
			uint64_t list, nr;
			uint32_t order, flags;
			uint16_t dom;
		} in, out;
		uint64_t nr;
	} exchange = {{(uint64_t)&mfn, 1, 0, 0, DOMID_SELF}, {(uint64_t)scratch, 1, 0, 0, DOMID_SELF}, 0};
	struct {
		uint16_t dom;
		uint32_t ref;
		uint64_t mfn;
		int16_t status;
	} transfer;

	way = 0;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t bits = i ? RW : RO;

		worked(HC(update_va_mapping, at, mfn << 12 | bits, UVMF_INVLPG) == 0, mfn);
		HC(update_va_mapping, at, old, UVMF_INVLPG);
		worked(HC(update_va_mapping_otherdomain, at, mfn << 12 | bits, UVMF_INVLPG, dom) == 0, mfn);
		HC(update_va_mapping, at, old, UVMF_INVLPG);
		/* in a table of its own, which Xen takes as such when it is pinned */
		table[0] = mfn << 12 | bits;
		op[0] = 0; /* pin_l1_table */
		op[1] = mfn_of(table);
		HC(update_va_mapping, (uint64_t)table, pte_of((uint64_t)table, RO), UVMF_INVLPG);
		worked(HC(mmuext_op, op, 1, &done, DOMID_SELF) == 0, mfn);
		worked(HC(mmuext_op, op, 1, &done, dom) == 0, mfn);
		op[0] = 4; /* unpin */
		HC(mmuext_op, op, 1, &done, DOMID_SELF);
		HC(update_va_mapping, (uint64_t)table, pte_of((uint64_t)table, RW), UVMF_INVLPG);
	}
	/* writes through Xen: an entry of somebody's table, the machine-to-physical table */
	for (uint64_t cmd = 0; cmd < 4; cmd++) {
		static const uint32_t owners[] = {DOMID_SELF, 0, DOMID_IO, DOMID_XEN};

		update[0] = mfn << 12 | cmd;
		update[1] = pte_of(at, RW);
		for (unsigned i = 0; i < 4; i++) {
			worked(HC(mmu_update, update, 1, &done, owners[i]) == 0, mfn);
			worked(HC(mmu_update, update, 1, &done, (dom + 1) << 16 | owners[i]) == 0, mfn);
		}
	}
	for (uint64_t cmd = 0; cmd < 22; cmd++) {
		op[0] = cmd;
		op[1] = mfn;
		op[2] = cmd == 17 ? mfn_of(victim_page) : 1; /* copy_page */
		if (cmd >= 6 && cmd <= 12) /* flushes: of no frame */
			continue;
		worked(HC(mmuext_op, op, 1, &done, DOMID_SELF) == 0 && cmd != 13, mfn); /* set_ldt takes an address */
		worked(HC(mmuext_op, op, 1, &done, dom) == 0, mfn);
	}
	op[0] = 17;
	op[1] = mfn_of(scratch);
	op[2] = mfn; /* copy_page from it */
	worked(HC(mmuext_op, op, 1, &done, DOMID_SELF) == 0, mfn);
	worked(HC(memory_op, 11, &exchange) == 0, mfn);
	scratch[0] = mfn;
	worked(frames(1, 1, 0, 0, DOMID_SELF) != 0, mfn); /* decrease_reservation */
	scratch[0] = mfn;
	worked(frames(1, 1, 0, 0, dom) != 0, mfn);
	transfer = (__typeof__(transfer)){(uint16_t)dom, 1, mfn, 0};
	worked(HC(grant_table_op, 4, &transfer, 1) == 0 && transfer.status == 0, mfn);
	for (uint32_t ref = 0; ref < 64; ref++) { /* what was granted to nobody */
		struct {
			uint64_t addr;
			uint32_t flags, ref;
			uint16_t dom;
			int16_t status;
			uint32_t handle;
			uint64_t bus;
		} map = {at, 2, ref, (uint16_t)dom, 0, 0, 0};

		worked(HC(grant_table_op, 0, &map, 1) == 0 && map.status == 0, ref);
	}
}

/* What only dom0 may ask, of any domain. */
static void command(uint64_t dom)
{
	static uint32_t block[64];
	uint32_t remote[2] = {(uint32_t)dom, SHUTDOWN_crash};

	way = 1000;
	worked(HC(sched_op, 4, remote) == 0, dom); /* remote_shutdown */
	for (uint32_t cmd = 1; cmd < 92; cmd++) {
		for (uint32_t version = 0x15; version < 0x19; version++) {
			block[0] = cmd;
			block[1] = version;
			block[2] = (uint32_t)dom;
			worked(HC(domctl, block) == 0, cmd);
			worked(HC(sysctl, block) == 0, cmd);
		}
		block[0] = cmd;
		block[1] = 0x03000000; /* XENPF_INTERFACE_VERSION */
		worked(HC(platform_op, block) == 0, cmd);
		block[0] = 1; /* XEN_FLASK_INTERFACE_VERSION */
		block[1] = cmd;
		worked(HC(xsm_op, block) == 0, cmd);
	}
	for (uint32_t cmd = 0; cmd < 8; cmd++) {
		uint32_t port[4] = {DOMID_SELF, (uint32_t)dom, cmd, 0};

		port[0] = (uint32_t)dom << 16 | (uint32_t)dom;
		worked(HC(event_channel_op, 6, port) == 0, cmd); /* alloc_unbound between others */
		port[0] = (uint32_t)dom;
		port[1] = cmd + 3;
		worked(HC(event_channel_op, 0, port) == 0, cmd); /* bind_interdomain to what is not for it */
		port[0] = (uint32_t)dom;
		worked(HC(event_channel_op, 10, port) == 0, cmd); /* reset */
		worked(HC(console_io, cmd, 3, "abc") >= 0, cmd);
		worked(HC(vcpu_op, 0, cmd + 1, scratch) == 0, cmd); /* initialise, up: it has one vcpu */
		worked(HC(vcpu_op, 1, cmd + 1, 0) == 0, cmd);
	}
}

static void do_thief(void)
{
	uint64_t dom = number(arg(2));

	begin();
	steal(DOMID_SELF, mfn_of((void *)(CONTROL->ram_va + 101 * PAGE)));
	RESULT[4] = RESULT[1];
	RESULT[1] = 0;
	for (unsigned i = 3; i < CONTROL->argc; i++)
		steal(dom, number(arg(i)));
	command(dom);
	rest();
}

/* storm KIND: keeps Xen, or the engine, busy for ever. */
static void do_storm(void)
{
	static uint64_t op[32][3];
	uint64_t timer[1] = {1000000}; /* 1 ms, the shortest period */
	uint64_t at = CONTROL->ram_va + 100 * PAGE, mfn = mfn_of((void *)(at + PAGE));

	begin();
	events_on(event_entry);
	ring();
	for (unsigned i = 0; i < 32; i++)
		op[i][0] = i % 2 ? 8 : 6; /* tlb_flush_all, tlb_flush_local */
	if (arg(2)[0] == 't') {
		timer_bind();
		HC(vcpu_op, 6, 0, timer); /* set_periodic_timer */
	}
	for (;;) {
		RESULT[1]++;
		switch (arg(2)[0]) {
		case 't':
			HC(set_timer_op, 1);
			break;
		case 'y':
			HC(sched_op, SCHEDOP_yield);
			break;
		case 'f':
			HC(mmuext_op, op, 32, 0, DOMID_SELF);
			HC(update_va_mapping, at, pte_of(at, RESULT[1] & 1 ? RW : RO), UVMF_TLB_FLUSH | UVMF_ALL);
			break;
		case 'p': { /* ports that come and go */
			uint32_t port[2] = {DOMID_SELF};

			if (HC(event_channel_op, 6, port) == 0) {
				port[0] = port[1];
				HC(event_channel_op, EVTCHNOP_close, port);
			}
			break;
		}
		case 'w': { /* a watchdog, set again and again, and polls that end at once */
			uint32_t dog[2] = {0, 100};
			struct {
				uint64_t ports;
				uint32_t nr;
				uint64_t timeout;
			} poll = {(uint64_t)dog, (uint32_t)(RESULT[1] % 256), 1};

			HC(sched_op, 6, dog);
			HC(sched_op, 3, &poll);
			break;
		}
		case 'm': /* a frame given back and taken again */
			HC(update_va_mapping, at + PAGE, 0, UVMF_INVLPG);
			scratch[0] = mfn;
			if (frames(1, 1, 0, 0, DOMID_SELF)) { /* decrease_reservation */
				scratch[0] = 0;
				CHECK(frames(6, 1, 0, 0, DOMID_SELF) == 1); /* populate_physmap */
				mfn = scratch[0];
			}
			break;
		default:
			ring();
		}
	}
}

const struct program hostile_programs[] = {
	{"fuzz", do_fuzz}, {"garbage", do_garbage}, {"hog", do_hog}, {"thief", do_thief}, {"storm", do_storm}, {0},
};

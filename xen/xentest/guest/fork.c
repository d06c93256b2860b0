/*
 * fork.c: a guest that forks when it is told to, and says what is in its memory.
 *
 * fork: the test writes a command to RESULT[9], its arguments to [10] and [11], moves [8] and sends an event;
 * the guest puts an answer into [12] and moves [13] there. A child begins with none asked and [14] set.
 * fork marked: the same with the promise of KX_FORK_MARKED. fork shared: with that and KX_FORK_SHARED. fork lazy: with
 * KX_FORK_LAZY, too.
 */
#include "guest.h"

enum { ASKED = 8, OP, ARG0, ARG1, ANSWER, DONE, BORN, PAGES = 32 };
enum { FILL = 1, LOOK, FORK, PROTECTIONS, EXIT, TOUCH, PEEK };

/* Pages of all kinds: of the image, of the RAM window, and of its end, where frames may come only when asked for. */
#define KIND 6
static uint64_t image_pages[KIND][PAGE / 8] __attribute__((aligned(4096)));
static const char const_page[PAGE] __attribute__((aligned(4096))) = "constant";
#define HIDDEN (2 * KIND) /* has content, but is not mapped */
#define FAR_HIDDEN (2 * KIND + 1)
#define READONLY (2 * KIND + 2)
#define NPAGES (3 * KIND)

static uint32_t self; /* who made the last call */
static uint32_t flags; /* of calls */

extern char fork_hop[];
uint64_t fork_enter(void);

/* What is needed to go on lies above the rsp that is published. */
__asm__(".text\n"
	"fork_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rax\n"
	"	mov %rsp, %rdi\n"
	"	call fork_call\n"
	"	jmp 1f\n"
	"fork_hop:\n"
	"	xor %ebp, %ebp\n"
	"	cld\n"
	"	call fork_hopped\n"
	"1:	pop %rcx; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

/* Blocks with nonsense in every register and on the stack below. */
static void churned_block(void)
{
	volatile uint64_t junk[300];

	for (unsigned i = 0; i < 300; i++)
		junk[i] = 0xbad0bad0bad0bad0 + i;
	(void)junk[0];
	__asm__ volatile("push %%rbp\n"
			 "mov $0xdead, %%ebx; mov %%rbx, %%r12; mov %%rbx, %%r13; mov %%rbx, %%r14; mov %%rbx, %%r15\n"
			 "mov %%rbx, %%rbp; mov %%rbx, %%r8; mov %%rbx, %%r9; movq %%rbx, %%xmm3\n"
			 "call hypercall_page + 32 * %c2\n"
			 "pop %%rbp"
			 : : "D"((uint64_t)SCHEDOP_block), "S"(0UL), "i"(__HYPERVISOR_sched_op)
			 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static uint64_t answered(void)
{
	volatile struct kx_call *c = &CONTROL->call;

	for (;;) {
		VCPU->evtchn_upcall_mask = 1;
		if (__atomic_load_n(&c->done, __ATOMIC_SEQ_CST) == c->asked)
			break;
		churned_block();
	}
	unmask();
	return (uint64_t)c->result;
}

static uint64_t call(uint32_t op, uint64_t a, uint64_t b)
{
	volatile struct kx_call *c = &CONTROL->call;

	c->op = op;
	c->a[0] = a;
	c->a[1] = b;
	c->a[2] = 0;
	c->flags = flags;
	__atomic_store_n(&c->asked, c->asked + 1, __ATOMIC_SEQ_CST);
	ring();
	return answered();
}

__attribute__((used)) uint64_t fork_call(uint64_t rsp)
{
	self = CONTROL->domid;
	return call(KX_CALL_FORK, (uint64_t)fork_hop, rsp);
}

static int lazy(uint64_t va)
{
	uint64_t r = (va - CONTROL->ram_va) >> KX_LAZY_SHIFT;

	return va >= CONTROL->ram_va && r < KX_LAZY_REGIONS && CONTROL->lazy[r / 64] >> r % 64 & 1;
}

/* Before a page is looked at, or its entries are. */
static void settle(uint64_t va)
{
	if (lazy(va))
		CHECK(call(KX_CALL_SETTLE, va, 0) == 0 && !lazy(va));
}

static void handlers(void)
{
	trap_set(X86_TRAP_PF, 0);
	events_on(event_entry);
}

/* The child's start; and the parent's, where the hypervisor starts it anew. */
__attribute__((used)) uint64_t fork_hopped(void)
{
	CHECK(VCPU->evtchn_upcall_mask == 1);
	handlers();
	return CONTROL->domid == self ? answered() : 0;
}

static volatile uint64_t *page(unsigned i)
{
	if (i < KIND)
		return image_pages[i];
	if (i < 2 * KIND || i == HIDDEN || i == READONLY)
		return (volatile uint64_t *)(CONTROL->ram_va + (20 + i) * PAGE);
	return (volatile uint64_t *)(CONTROL->ram_va + (CONTROL->ram_pages - NPAGES + i) * PAGE);
}

/* Copies a page of the window that is shared with a relative, before it is used otherwise. */
static void own(uint64_t va)
{
	static uint64_t content[PAGE / 8];
	uint64_t frame = CONTROL->image_pages + (va - CONTROL->ram_va) / PAGE, extent = frame, old;
	struct xen_memory_reservation r = {(uint64_t)&extent, 1, 0, 0, DOMID_SELF, {0}};
	uint64_t *list = (uint64_t *)((const struct start_info *)KX_START_VA)->mfn_list;

	settle(va);
	if (va < CONTROL->ram_va || !machine_frames() || !(list[frame] & KX_MFN_SHARED))
		return;
	old = list[frame] >> KX_MFN_OWNER_SHIFT & KX_MFN_OWNER ? 0 : list[frame] & KX_MFN_FRAME;
	if (!old)
		extent = list[frame] & KX_MFN_FRAME;
	if (old || !extent) {
		extent = frame;
		CHECK(HC(memory_op, XENMEM_populate_physmap, &r) == 1);
	}
	for (unsigned w = 0; w < PAGE / 8; w++)
		content[w] = ((volatile uint64_t *)va)[w];
	list[frame] = extent;
	CHECK(HC(update_va_mapping, va, pte_of(va, RW | PTE_DIRTY), UVMF_INVLPG) == 0);
	for (unsigned w = 0; w < PAGE / 8; w++)
		((volatile uint64_t *)va)[w] = content[w];
	extent = old;
	CHECK(!old || HC(memory_op, XENMEM_decrease_reservation, &r) == 1);
}

static void map(unsigned i, uint64_t bits)
{
	uint64_t va = (uint64_t)page(i), kept = flags & KX_FORK_MARKED ? KX_PTE_KEPT : 0;

	own(va);
	CHECK(HC(update_va_mapping, va, bits ? pte_of(va, bits | PTE_DIRTY) : kept, UVMF_INVLPG) == 0);
}

static uint64_t mapped_bits(unsigned i)
{
	return i == HIDDEN || i == FAR_HIDDEN ? 0 : i == READONLY ? RO : RW;
}

/* Gets the frame of a page of the window if there is none. */
static void grow(uint64_t va)
{
	uint64_t frame = CONTROL->image_pages + (va - CONTROL->ram_va) / PAGE, extent = frame;
	struct xen_memory_reservation r = {(uint64_t)&extent, 1, 0, 0, DOMID_SELF, {0}};
	uint64_t *list = (uint64_t *)((const struct start_info *)KX_START_VA)->mfn_list;

	settle(va);
	if (va < CONTROL->ram_va || !machine_frames() || list[frame])
		return;
	CHECK(HC(memory_op, XENMEM_populate_physmap, &r) == 1);
	list[frame] = extent;
	CHECK(HC(update_va_mapping, va, pte_of(va, RW), UVMF_INVLPG) == 0);
}

static void touch(uint64_t va, uint64_t value)
{
	grow(va);
	own(va);
	*(volatile uint64_t *)va = value;
}

/* A page's content is one number: word w holds seed * (w + 1). */
static void fill(unsigned i, uint64_t seed)
{
	map(i, RW);
	for (unsigned w = 0; w < PAGE / 8; w++)
		page(i)[w] = seed * (w + 1);
	map(i, mapped_bits(i));
}

static uint64_t seed_of(unsigned i)
{
	uint64_t seed;

	map(i, RW);
	seed = page(i)[0];
	for (unsigned w = 0; w < PAGE / 8; w++) {
		if (page(i)[w] != seed * (w + 1))
			seed = ~0UL;
	}
	map(i, mapped_bits(i));
	return seed;
}

/* Which pages can be written: a bit each; then text, constants, address 0. */
static uint64_t protections(void)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < NPAGES; i++) {
		settle((uint64_t)page(i));
		bits |= (uint64_t)writable((uint64_t)page(i)) << i;
	}
	bits |= (uint64_t)writable((uint64_t)fork_hop) << NPAGES;
	bits |= (uint64_t)writable((uint64_t)const_page) << (NPAGES + 1);
	bits |= (uint64_t)writable(0) << (NPAGES + 2);
	return bits;
}

/* Forks from n frames further down the stack, each of which must be as it was. */
static __attribute__((noinline)) uint64_t deep_fork(uint64_t n)
{
	volatile uint64_t mine[40];
	uint64_t r;

	for (unsigned i = 0; i < 40; i++)
		mine[i] = n << 32 | i;
	r = n ? deep_fork(n - 1) : fork_enter();
	for (unsigned i = 0; i < 40; i++)
		CHECK(mine[i] == (n << 32 | i));
	return r;
}

static uint64_t serve(uint64_t op, uint64_t a, uint64_t b)
{
	switch (op) {
	case FILL:
		for (unsigned i = 0; i < NPAGES; i++) {
			if (a == i || a == NPAGES)
				fill(i, b);
		}
		return 0;
	case LOOK:
		for (unsigned i = 0; i < NPAGES; i++)
			RESULT[PAGES + i] = seed_of(i);
		return NPAGES;
	case TOUCH: /* so many pages of the RAM window, for benchmarks */
		for (uint64_t i = 0; i < a; i++)
			touch(CONTROL->ram_va + (100 + i) * PAGE, b);
		return a;
	case PROTECTIONS:
		return protections();
	case EXIT:
		finish((unsigned)a);
	case PEEK:
		return peek(a);
	}
	return ~0UL;
}

static void do_fork(void)
{
	handlers();
	if (arg(2)[0] && machine_frames())
		flags = KX_FORK_MARKED;
	if ((arg(2)[0] == 's' || arg(2)[0] == 'l') && machine_frames()) {
		flags |= KX_FORK_SHARED | (arg(2)[0] == 'l' ? KX_FORK_LAZY : 0);
		/* Where the stacks are; and what makes no sense. */
		CONTROL->ranges[0] = (struct kx_range){0, 20, KX_RANGE_COPY, 0};
		CONTROL->ranges[1] = (struct kx_range){10, 2, KX_RANGE_DROP, 0};
		CONTROL->ranges[2] = (struct kx_range){(uint32_t)CONTROL->ram_pages, 1U << 31, 77, 0};
		CONTROL->ranges[3] = (struct kx_range){~0U, ~0U, KX_RANGE_DROP, 0};
		CONTROL->ranges_count = 4;
	}
	for (unsigned i = 0; i < NPAGES; i++) {
		grow((uint64_t)page(i));
		fill(i, i + 1);
	}
	RESULT[BORN] = 1;
	ring();
	for (;;) {
		uint64_t seen = engine_events, r;

		if (RESULT[DONE] == RESULT[ASKED]) {
			wait_past(&engine_events, seen);
			continue;
		}
		if (RESULT[OP] != FORK) {
			r = serve(RESULT[OP], RESULT[ARG0], RESULT[ARG1]);
		} else if (!(r = deep_fork(RESULT[ARG0]))) {
			RESULT[BORN] = 1;
			ring();
			continue;
		}
		RESULT[ANSWER] = r;
		RESULT[DONE] = RESULT[ASKED];
		ring();
	}
}

const struct program fork_programs[] = {{"fork", do_fork}, {0}};

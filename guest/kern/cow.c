/*
 * cow.c: copy on write. After a fork on a hypervisor with machine frames, parent and child have the same frames
 * without write permission (KX_FORK_SHARED); whoever writes first copies. Nobody counts who else has a frame but the
 * hypervisor: a frame that is given back is free once the last one has let go.
 */
#include "hyper.h"
#include "mem.h"
#include "process.h"

#define FRAMES 32 /* that are got at a time */
#define GIVEN 256 /* and given back: Xen erases them at once, and each more frame waits for that */
#define STACK_ROOM 16 /* pages below a stack pointer that a child has from the start */
#define STACK_MOST 64 /* pages around a stack pointer, where nothing is known of its stack */

static uint64_t spare[FRAMES], given[GIVEN];
static unsigned spares, givens;

/* ---- what a fork has left for later ---- */

static int lazy(uint64_t page)
{
	uint64_t r = page / REGION_PAGES;

	return r < KX_LAZY_REGIONS && control->lazy[r / 64] >> r % 64 & 1;
}

int cow_settle(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; mfn_list && i < first + n; i = (i / REGION_PAGES + 1) * REGION_PAGES)
		if (lazy(i) && engine_call(KX_CALL_SETTLE, 0, (uint64_t)page_va(i), 0, 0))
			return -ENOMEM;
	return 0;
}

/* ---- frames ---- */

static int64_t reservation(int op, uint64_t *list, unsigned n)
{
	struct xen_memory_reservation r = {(uint64_t)list, n, 0, 0, DOMID_SELF, {0}};

	return n ? HYPERCALL(__HYPERVISOR_memory_op, op, &r, 0) : 0;
}

static void give_back(void)
{
	reservation(XENMEM_decrease_reservation, given, givens);
	givens = 0;
}

/* A frame of any content, or 0. One at a time where memory is short. */
static uint64_t frame_get(uint64_t pfn)
{
	for (unsigned want = FRAMES; !spares && want; want /= FRAMES) {
		if (want == 1)
			give_back();
		for (unsigned i = 0; i < want; i++)
			spare[i] = pfn;
		spares = (unsigned)MAX(reservation(XENMEM_populate_physmap, spare, want), 0);
	}
	return spares ? spare[--spares] : 0;
}

static void frame_give(uint64_t mfn)
{
	given[givens++] = mfn;
	if (givens == GIVEN)
		give_back();
}

/* ---- pages ---- */

/* In words: not every CPU has a fast way for bytes. */
static void copy_page(void *to, const void *from)
{
	uint64_t n = PAGE_SIZE / sizeof(uint64_t);

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static uint64_t owner_of(uint64_t entry)
{
	return entry >> KX_MFN_OWNER_SHIFT & KX_MFN_OWNER;
}

/* What libraries share has not been counted: so there may be nothing to take away. */
static void count_off(uint64_t entry)
{
	volatile uint32_t *n = owner_of(entry) ? &control->frames_borrowed : &control->frames_lent;

	if (*n)
		__atomic_fetch_sub(n, 1, __ATOMIC_RELAXED); /* the engine may add meanwhile */
}

char cow_content[PAGE_SIZE] __attribute__((aligned(64)));

int cow_copy(uint64_t pfn, uint64_t va)
{
	uint64_t entry = mfn_list[pfn], own = entry & KX_MFN_FRAME;
	uint64_t frame = owner_of(entry) && own ? own : frame_get(pfn);

	if (!frame)
		return -ENOMEM;
	/* By way of a buffer, so that no frame has an alias: one hypercall instead of two. */
	copy_page(cow_content, (const void *)va);
	if (HYPERCALL(__HYPERVISOR_update_va_mapping, va, frame << PAGE_SHIFT | PTE_FLAGS | PTE_DIRTY | PTE_RW | PTE_NX,
		      UVMF_INVLPG | UVMF_LOCAL))
		panic("the hypervisor refused a page of its own to %#lx", va);
	copy_page((void *)va, cow_content);
	mfn_list[pfn] = frame;
	count_off(entry);
	if (!owner_of(entry))
		frame_give(own);
	return 0;
}

int cow_own(uint64_t first, uint64_t n)
{
	if (cow_settle(first, n))
		return -ENOMEM;
	for (uint64_t i = first; mfn_list && i < first + n; i++)
		if (cow_shared(mem.image_pages + i) && cow_copy(mem.image_pages + i, (uint64_t)page_va(i)))
			return -ENOMEM;
	return 0;
}

void cow_drop(uint64_t pfn)
{
	uint64_t entry = mfn_list[pfn];

	mfn_list[pfn] = owner_of(entry) ? entry & KX_MFN_FRAME : 0;
	count_off(entry);
	if (!owner_of(entry))
		frame_give(entry & KX_MFN_FRAME);
}

/* ---- what is not shared ---- */

static int add(uint32_t kind, uint64_t first, uint64_t end)
{
	uint32_t n = control->ranges_count;
	volatile struct kx_range *r = &control->ranges[n];

	if (first >= end)
		return 0;
	if (n == KX_RANGES)
		return -1;
	r->first = (uint32_t)first;
	r->pages = (uint32_t)(end - first);
	r->kind = kind;
	control->ranges_count = n + 1;
	return 0;
}

/* The stack that a stack pointer is in, of which at most the top is known: end, or 0. */
static int add_stack(uint64_t rsp, uint64_t end)
{
	uint64_t page = page_of(rsp), low = page;

	if (rsp < mem.ram_va || page >= mem.ram_pages)
		return 0; /* the image: its pages are not shared */
	if (page >= mem.stack && page < mem.stack_end) {
		low = MAX(mem.stack, page - MIN(page, STACK_ROOM));
		return add(KX_RANGE_COPY, low, mem.stack_end) || add(KX_RANGE_DROP, mem.stack, low);
	}
	while (low && page - low < STACK_ROOM && (mem.state[low - 1] & (PG_TYPE | PG_NOREAD)) == PG_USER)
		low--;
	return add(KX_RANGE_COPY, low, end > page && end <= mem.ram_pages ? end : MIN(page + STACK_MOST, mem.ram_pages));
}

/* Where all threads may have their stack pointers next; 0, or -1: there are too many. */
static int add_stacks(void)
{
	int err = 0;

	for (struct list_node *n = threads.next; n != &threads && !err; n = n->next) {
		struct thread *t = CONTAINER_OF(n, struct thread, all);

		err = add_stack(thread_frame(t)->rsp, page_of(PAGE_UP(t->stack_top)));
		if (!err && t->altstack.ss_size)
			err = add_stack((uint64_t)t->altstack.ss_sp + t->altstack.ss_size - 1,
					page_of((uint64_t)t->altstack.ss_sp + t->altstack.ss_size - 1) + 1);
	}
	return err;
}

uint32_t cow_promise(void)
{
	control->ranges_count = 0;
	return mfn_list && !add(KX_RANGE_COPY, 0, mem.kernel_end) && !add_stacks() ? KX_FORK_SHARED | KX_FORK_LAZY : 0;
}

void cow_forked(void)
{
	spares = givens = 0;
	cow_promise(); /* says where absent pages of the stack are */
}

/*
 * mem.c: pages. The RAM window is one linear map: the page at ram_va + N * 4096 is pseudo-physical
 * frame image_pages + N for ever, so giving memory out means only marking it, and a page table
 * entry changes only with its protection.
 */
#include "mem.h"

#include <elf.h>
#include <sys/mman.h>

#include "family.h"
#include "hyper.h"
#include "process.h"

struct mem mem;

#define BATCH 64
uint64_t *mfn_list;

static uint8_t fresh = PG_NOREAD | PG_NOWRITE; /* the state of a page that we just got */

static struct {
	struct multicall_entry call[BATCH];
	uint8_t *state[BATCH]; /* what to note once the call has worked, NULL for a page of the image */
	uint8_t prot[BATCH];
	unsigned n;
	int err;
} batch;

/* ---- page table entries ---- */

static uint8_t prot_bits(int prot)
{
	if (!(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
		return PG_NOREAD | PG_NOWRITE;
	return (prot & PROT_WRITE ? 0 : PG_NOWRITE) | (prot & PROT_EXEC ? PG_EXEC : 0);
}

static int bits_prot(uint8_t st)
{
	if (st & PG_NOREAD)
		return PROT_NONE;
	return PROT_READ | (st & PG_NOWRITE ? 0 : PROT_WRITE) | (st & PG_EXEC ? PROT_EXEC : 0);
}

/* content: the page may hold something else than zeroes that is still wanted; the entry tells a fork (KX_FORK_MARKED). */
static uint64_t pte_of(uint64_t pfn, uint8_t bits, int content)
{
	uint64_t mfn = mfn_list ? mfn_list[pfn] : pfn;

	if (bits & PG_NOREAD)
		return mfn_list && content ? KX_PTE_KEPT : 0;
	return mfn << PAGE_SHIFT | PTE_FLAGS | (content ? PTE_DIRTY : 0) | (bits & PG_NOWRITE ? 0 : PTE_RW) |
	       (bits & PG_EXEC ? 0 : PTE_NX);
}

static void batch_flush(void)
{
	int refused;

	if (!batch.n)
		return;
	refused = hyper_multicall(batch.call, batch.n) != 0;
	for (unsigned i = 0; i < batch.n; i++) {
		if (refused || batch.call[i].result)
			batch.err = -ENOMEM;
		else if (batch.state[i])
			*batch.state[i] = (*batch.state[i] & ~PG_PROT) | batch.prot[i];
		batch.call[i].args[0] = 0; /* an address that stays here would be looked at: update.c */
	}
	batch.n = 0;
}

static void batch_entry(uint64_t va, uint64_t entry, uint8_t bits, uint8_t *state)
{
	struct multicall_entry *c = &batch.call[batch.n];

	*c = (struct multicall_entry){.op = __HYPERVISOR_update_va_mapping};
	c->args[0] = va;
	c->args[1] = entry;
	c->args[2] = UVMF_INVLPG | UVMF_LOCAL;
	batch.state[batch.n] = state;
	batch.prot[batch.n] = bits;
	if (++batch.n == BATCH)
		batch_flush();
}

static void batch_add(uint64_t va, uint64_t pfn, uint8_t bits, uint8_t *state)
{
	batch_entry(va, pte_of(pfn, bits, !state || (*state & PG_DIRTY && *state & PG_TYPE)), bits, state);
}

static int batch_end(void)
{
	int err;

	batch_flush();
	err = batch.err;
	batch.err = 0;
	return err;
}

/* Before a change of protection, where a page is shared; whether its entry has to change. */
static int own_frame(uint64_t i, uint8_t bits)
{
	uint64_t pfn = mem.image_pages + i;
	uint8_t *state = &mem.state[i];

	if (!cow_shared(pfn))
		return 1;
	if (((*state ^ bits) & PG_PROT) == PG_NOWRITE) {
		*state ^= PG_NOWRITE; /* it is not writable in any case */
		return 0;
	}
	if (bits & PG_NOREAD && !(*state & PG_TYPE)) {
		cow_drop(pfn);
		return 1;
	}
	if (!cow_copy(pfn, (uint64_t)page_va(i)))
		return 1;
	batch.err = -ENOMEM;
	return 0;
}

static int set_bits(uint64_t first, uint64_t n, uint8_t bits)
{
	if (cow_settle(first, n))
		return -ENOMEM;
	for (uint64_t i = first; i < first + n; i++)
		if ((mem.state[i] & PG_PROT) != bits && own_frame(i, bits))
			batch_add((uint64_t)page_va(i), mem.image_pages + i, bits, &mem.state[i]);
	return batch_end();
}

/* What image_protect has changed, page by page: PG_PROT bits, and PG_USER; NULL: nothing. */
static uint8_t *image_changes;

/* The address of one of the image's frames, or the dynamic segment's. */
static uint64_t image_va(uint64_t pfn)
{
	uint64_t image = mem.image_pages - mem.dynamic_pages;

	return pfn < image ? KX_IMAGE_VA + (pfn << PAGE_SHIFT) : mem.dynamic_va + ((pfn - image) << PAGE_SHIFT);
}

static int covers(uint64_t start, uint64_t pages, uint64_t va, uint64_t n)
{
	uint64_t first = (va - start) >> PAGE_SHIFT;

	return va >= start && first <= pages && n <= pages - first;
}

uint64_t image_frame(uint64_t va, uint64_t n)
{
	uint64_t image = mem.image_pages - mem.dynamic_pages;

	if (covers(KX_IMAGE_VA, image, va, n))
		return (va - KX_IMAGE_VA) >> PAGE_SHIFT;
	if (covers(mem.dynamic_va, mem.dynamic_pages, va, n))
		return image + ((va - mem.dynamic_va) >> PAGE_SHIFT);
	return NO_RUN;
}

int image_protect(uint64_t va, uint64_t n, int prot)
{
	uint64_t first = image_frame(va, n);

	if (!image_changes && !(image_changes = kzalloc(mem.image_pages)))
		return -ENOMEM;
	for (uint64_t i = first; i < first + n; i++)
		if (cow_shared(i) && cow_copy(i, image_va(i)))
			return -ENOMEM;
	memset(image_changes + first, prot_bits(prot) | PG_USER, n);
	for (uint64_t i = 0; i < n; i++)
		batch_add(va + (i << PAGE_SHIFT), first + i, prot_bits(prot), NULL);
	return batch_end();
}

void image_unmap(uint64_t va, uint64_t n)
{
	if (image_changes || (image_changes = kzalloc(mem.image_pages)))
		memset(image_changes + image_frame(va, n), PG_NOREAD | PG_NOWRITE | PG_USER, n);
	for (; n; n--, va += PAGE_SIZE)
		batch_entry(va, 0, PG_NOREAD | PG_NOWRITE, NULL);
	batch_end();
}

void image_forget(uint64_t va, uint64_t n)
{
	if (image_changes && n)
		memset(image_changes + image_frame(va, n), 0, n);
}

/*
 * A domain that a fork made, or moved, may have its pages as at boot (kx_abi.h): they get the protection that they
 * had. Machine frames keep their page table entries. Eight pages at a look.
 */
void mem_moved(void)
{
	const uint64_t changed = 0x0101010101010101UL * PG_PROT;

	if (mfn_list)
		return;
	for (uint64_t i = 0; i < mem.ram_pages; i++) {
		if (i % 8 == 0 && i + 8 <= mem.ram_pages && !(*(uint64_t *)(mem.state + i) & changed))
			i += 7;
		else if (mem.state[i] & PG_PROT)
			batch_add((uint64_t)page_va(i), mem.image_pages + i, mem.state[i] & PG_PROT, &mem.state[i]);
	}
	for (uint64_t i = 0; image_changes && i < mem.image_pages; i++)
		if (image_changes[i])
			batch_add(image_va(i), i, image_changes[i] & PG_PROT, NULL);
	batch_end();
	shm_moved();
}

/* Xen lets nobody but dom0 change an entry that names another domain's frame, and flushes no TLB when that does. */
static int area_protect_foreign(uint64_t va, uint64_t n, int prot)
{
	struct mmuext_op flush = {.cmd = MMUEXT_TLB_FLUSH_LOCAL};
	struct multicall_entry call = {.op = __HYPERVISOR_mmuext_op, .args = {(uint64_t)&flush, 1, 0, DOMID_SELF}};

	if (engine_call(KX_CALL_GUARD, 0, (va - KX_FAMILY_VA) >> PAGE_SHIFT, n, !(prot & PROT_WRITE)))
		return -ENOMEM;
	return hyper_multicall(&call, 1) || call.result ? -ENOMEM : 0;
}

int area_protect(uint64_t va, uint64_t n, int prot)
{
	if (mfn_list)
		return area_protect_foreign(va, n, prot);
	for (uint64_t end = va + (n << PAGE_SHIFT); va < end; va += PAGE_SIZE)
		batch_entry(va, va | PTE_FLAGS | PTE_NX | (prot & PROT_WRITE ? PTE_RW : 0), 0, NULL);
	return batch_end();
}

/* ---- frames ---- */

#define SUPER_ORDER 9

uint64_t populate(uint64_t pfn, uint64_t end, uint32_t order)
{
	static uint64_t list[BATCH];
	struct xen_memory_reservation r = {(uint64_t)list, 0, order, 0, DOMID_SELF, {0}};
	uint64_t size = 1UL << order;
	int64_t got;

	do {
		r.nr_extents = MIN((end - pfn) >> order, BATCH);
		for (uint64_t i = 0; i < r.nr_extents; i++)
			list[i] = pfn + (i << order);
		got = r.nr_extents ? HYPERCALL(__HYPERVISOR_memory_op, XENMEM_populate_physmap, &r, 0) : 0;
		for (int64_t i = 0; i < got; i++)
			for (uint64_t k = 0; k < size; k++, pfn++)
				mfn_list[pfn] = list[i] + k;
	} while (got > 0 && (uint64_t)got == r.nr_extents);
	return pfn;
}

/*
 * Makes sure that there is a frame behind every page of a run; those that come are not mapped. Some are not there since
 * boot, in a child of fork also pages of which the parent had no use for the content.
 */
static int populate_run(uint64_t first, uint64_t n)
{
	uint64_t end = first + n, base = mem.image_pages, start;

	if (cow_settle(first, n))
		return -ENOMEM;
	for (uint64_t i = first; mfn_list && i < end; i++) {
		for (start = i; i < end && !mfn_list[base + i]; i++)
			;
		if (start < i && populate(populate(base + start, base + i, SUPER_ORDER), base + i, 0) < base + i)
			return -ENOMEM;
		for (; start < i; start++) {
			mem.state[start] = (mem.state[start] & ~PG_PROT) | fresh;
			if (fresh & PG_DIRTY && (mem.state[start] & PG_TYPE) == PG_USER)
				mem.state[start] |= PG_STALE;
		}
	}
	for (uint64_t i = first; i < end; i++)
		if (mem.state[i] & PG_ABSENT)
			mem.state[i] = fresh;
	return 0;
}

/* Zeroes the stale pages of a run, which may not be mapped. */
static int freshen(uint64_t first, uint64_t n)
{
	uint64_t end = first + n, start;

	for (uint64_t i = first; i < end; i++) {
		for (start = i; i < end && mem.state[i] & PG_STALE; i++)
			;
		if (start == i)
			continue;
		if (set_bits(start, i - start, 0))
			return -ENOMEM;
		memset(page_va(start), 0, (i - start) << PAGE_SHIFT);
		for (; start < i; start++)
			mem.state[start] &= ~(PG_STALE | PG_DIRTY);
	}
	return 0;
}

/* Maps a page that is absent, as it is to be. */
static int zero_fill(uint64_t page)
{
	uint8_t *state = &mem.state[page], bits = *state & PG_PROT, dirty = *state & PG_DIRTY;
	int err = 0;

	if (!mfn_list[mem.image_pages + page])
		err = populate_run(page, 1) || freshen(page, 1);
	*state |= dirty;
	if (!err)
		batch_add((uint64_t)page_va(page), mem.image_pages + page, bits, state);
	return batch_end() || err ? -ENOMEM : 0;
}

int run_protect(uint64_t first, uint64_t n, int prot)
{
	uint8_t bits = prot_bits(prot);
	int err = 0;

	if (!(bits & PG_NOREAD))
		err = populate_run(first, n) ? -ENOMEM : freshen(first, n);
	if (!err)
		err = set_bits(first, n, bits);
	if (!err && prot & PROT_WRITE)
		for (uint64_t i = first; i < first + n; i++)
			mem.state[i] |= PG_DIRTY;
	return err;
}

/*
 * A fault at a page that the program may use so, but that is shared, or of which nobody had a use yet since a fork, or that a fork
 * has left for later. The frame that an absent page has, if it has one, is zero.
 */
int mem_fault(uint64_t va, uint64_t error)
{
	uint64_t page = page_of(va), pfn = mem.image_pages + page;
	uint8_t *state = &mem.state[page];

	if (!mfn_list || va < mem.ram_va || page >= mem.ram_pages || !(*state & PG_TYPE) || *state & (PG_NOREAD | PG_STALE) ||
	    (error & PF_WRITE && *state & PG_NOWRITE) || (error & PF_FETCH && !(*state & PG_EXEC)))
		return 0;
	if (cow_settle(page, 1))
		return -ENOMEM;
	if (cow_shared(pfn)) /* one that is read has come since the fault */
		return error & PF_WRITE && cow_copy(pfn, PAGE_DOWN(va)) ? -ENOMEM : 1;
	/* It may be there: Xen delivers a fault of a stack late, when the engine has served it (kx_control.masked). */
	return zero_fill(page) ? -ENOMEM : 1;
}

/* ---- runs of pages ---- */

static int is_free(uint64_t i)
{
	return (mem.state[i] & PG_TYPE) == PG_FREE;
}

/* Eight pages at a look where the table allows it. */
static uint64_t skip(uint64_t i, uint64_t hi, int wanted_free)
{
	const uint64_t types = 0x0101010101010101UL * PG_TYPE;

	while (i < hi && is_free(i) == wanted_free) {
		if (wanted_free && i % 8 == 0 && i + 8 <= hi && !(*(uint64_t *)(mem.state + i) & types))
			i += 8;
		else
			i++;
	}
	return i;
}

uint64_t run_find(uint64_t n, uint64_t lo, uint64_t hi)
{
	while (lo < hi && hi - lo >= n) {
		uint64_t start = skip(lo, hi, 0);
		uint64_t end = skip(start, MIN(hi, start + n), 1);

		if (start < hi && end - start == n)
			return start;
		lo = end;
	}
	return NO_RUN;
}

int run_free(uint64_t first, uint64_t n)
{
	return n <= mem.ram_pages && first <= mem.ram_pages - n && skip(first, first + n, 1) == first + n;
}

static void mark(uint64_t first, uint64_t n, int type)
{
	for (uint64_t i = first; i < first + n; i++)
		mem.state[i] = (mem.state[i] & ~PG_TYPE) | type;
	if (type == PG_USER)
		mem.user += n;
	else
		mem.kernel += n;
}

int run_take(uint64_t first, uint64_t n, int prot)
{
	if (populate_run(first, n) || cow_own(first, n))
		return -ENOMEM;
	for (uint64_t i = first; i < first + n; i++)
		if (mem.state[i] & PG_DIRTY)
			mem.state[i] |= PG_STALE;
	if (run_protect(first, n, prot)) {
		set_bits(first, n, prot_bits(PROT_NONE));
		return -ENOMEM;
	}
	mark(first, n, PG_USER);
	return 0;
}

int run_reserve(uint64_t first, uint64_t n)
{
	/* At boot what is absent is the end of the window. */
	if (mem.state[first + n - 1] & PG_ABSENT && (populate_run(first, n) || set_bits(first, n, 0)))
		return -ENOMEM;
	memset(mem.state + first, PG_USER | PG_DIRTY, n);
	mem.user += n;
	return 0;
}

void run_release(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++) {
		if ((mem.state[i] & PG_TYPE) == PG_USER)
			mem.user--;
		else if ((mem.state[i] & PG_TYPE) == PG_KERNEL)
			mem.kernel--;
		mem.state[i] &= ~PG_TYPE;
	}
	/* If the hypervisor cannot (Linux limits the number of maps), the pages just stay reachable. */
	set_bits(first, n, prot_bits(PROT_NONE));
}

/* A run for the kernel: not where brk will grow, as long as there is another place. */
static uint64_t kernel_run(size_t n)
{
	uint64_t first = run_find(n, 0, mem.brk_base ? mem.brk_base : mem.ram_pages);

	if (first == NO_RUN && mem.brk_base)
		first = run_find(n, mem.mmap_base, mem.ram_pages);
	return first != NO_RUN ? first : run_find(n, 0, mem.ram_pages);
}

void *page_alloc(size_t n)
{
	uint64_t first = kernel_run(n);

	if (!n || first == NO_RUN || populate_run(first, n) || cow_own(first, n) || set_bits(first, n, 0))
		return NULL;
	mark(first, n, PG_KERNEL);
	mem.kernel_end = MAX(mem.kernel_end, first + n);
	for (uint64_t i = first; i < first + n; i++)
		mem.state[i] |= PG_DIRTY;
	return page_va(first);
}

/* Kernel pages stay mapped: they are likely to be used again soon, by the kernel. */
void page_free(void *p, size_t n)
{
	uint64_t first = page_of((uint64_t)p);

	for (uint64_t i = first; i < first + n; i++)
		mem.state[i] &= ~PG_TYPE;
	mem.kernel -= n;
}

void mem_info(struct mem_info *mi)
{
	*mi = (struct mem_info){mem.ram_pages, mem.ram_pages - mem.user - mem.kernel, mem.kernel};
}

/* The protection that the image's program headers gave an address, or -1. */
static int image_prot(uint64_t va)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)KX_IMAGE_VA;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(KX_IMAGE_VA + eh->e_phoff);

	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && va >= PAGE_DOWN(ph[i].p_vaddr) && va < PAGE_UP(ph[i].p_vaddr + ph[i].p_memsz))
			return (ph[i].p_flags & PF_R ? PROT_READ : 0) | (ph[i].p_flags & PF_W ? PROT_WRITE : 0) |
			       (ph[i].p_flags & PF_X ? PROT_EXEC : 0);
	return -1;
}

int mem_prot_at(uint64_t va)
{
	uint64_t page = page_of(va), frame = image_frame(va, 1);

	if (frame != NO_RUN && image_changes && image_changes[frame])
		return bits_prot(image_changes[frame]);
	if (frame != NO_RUN)
		return image_prot(va);
	if (va < mem.ram_va || page >= mem.ram_pages || (mem.state[page] & PG_TYPE) != PG_USER)
		return -1;
	return bits_prot(mem.state[page]);
}

/* ---- start of day ---- */

static void reserve_kernel(uint64_t first, uint64_t n)
{
	memset(mem.state + first, PG_KERNEL | PG_DIRTY, n);
	mem.kernel += n;
}

void mem_init(void)
{
	const struct start_info *start = (const struct start_info *)KX_START_VA;
	struct xen_feature_info feat = {0};
	uint64_t first, there, root, root_pages;

	mem.image_pages = control->image_pages;
	mem.ram_va = control->ram_va;
	mem.ram_pages = control->ram_pages;
	mem.dynamic_pages = control->dynamic_pages;
	mem.dynamic_va = mem.ram_va - (mem.dynamic_pages << PAGE_SHIFT);
	if (HYPERCALL(__HYPERVISOR_xen_version, XENVER_get_features, &feat, 0) ||
	    !(feat.submap & 1u << XENFEAT_auto_translated_physmap))
		mfn_list = (uint64_t *)start->mfn_list;
	there = start->nr_pages - mem.image_pages;
	/* First the main thread's kernel stack (entry.S), then the table of states. */
	first = KSTACK_SIZE / PAGE_SIZE;
	mem.state = page_va(first);
	first += PAGE_UP(mem.ram_pages) >> PAGE_SHIFT;
	reserve_kernel(0, first);
	mem.kernel_end = first;
	if (there < mem.ram_pages)
		memset(mem.state + there, PG_ABSENT | fresh, mem.ram_pages - there);
	if (control->flags & KX_F_DIRTY)
		fresh |= PG_DIRTY;
	if (!control->root_va)
		return;
	root = page_of(control->root_va);
	root_pages = PAGE_UP(control->root_len) >> PAGE_SHIFT;
	if (root < first || root > mem.ram_pages || root_pages > mem.ram_pages - root)
		panic("the root archive does not fit: run it with more memory");
	reserve_kernel(root, root_pages);
}

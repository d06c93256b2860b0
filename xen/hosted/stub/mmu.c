/*
 * mmu.c: update_va_mapping changes what a page allows, nothing else: a frame has one address, and
 * no page is ever both writable and executable.
 */
#include "stub.h"
#include "sys.h"

#include <linux/mman.h>

#define PTE_FRAME(pte) ((pte) >> 12 & 0xffffffffff)
#define NO_FRAME UINT64_MAX

static int in_family(uint64_t va)
{
	return va - KX_FAMILY_VA < KX_FAMILY_PAGES * KX_PAGE_SIZE;
}

/* frame_at returns the frame that belongs to a page of the guest, or NO_FRAME. A page of the family area has the number of its address. */
static uint64_t frame_at(uint64_t va)
{
	uint64_t image = (va - KX_IMAGE_VA) / KX_PAGE_SIZE;
	uint64_t first = guest.image_pages - guest.dynamic_pages; /* behind the image */
	uint64_t start = guest.ram_va - guest.dynamic_pages * KX_PAGE_SIZE;
	uint64_t other = (va - start) / KX_PAGE_SIZE;

	if (va >= KX_IMAGE_VA && image < first)
		return image;
	if (va >= start && other < guest.dynamic_pages + guest.ram_pages)
		return first + other;
	return in_family(va) ? va / KX_PAGE_SIZE : NO_FRAME;
}

/* prot_of checks a page-table entry for a page and translates it to PROT_*, or -errno. */
static long prot_of(uint64_t va, uint64_t pte)
{
	uint64_t frame = frame_at(va);

	if (va % KX_PAGE_SIZE || frame == NO_FRAME)
		return -XEN_EINVAL;
	if (!(pte & PTE_PRESENT))
		return PROT_NONE;
	if (PTE_FRAME(pte) != frame)
		return -XEN_EPERM;
	if (pte & PTE_RW)
		return pte & PTE_NX ? PROT_READ | PROT_WRITE : -XEN_EINVAL;
	if (in_family(va) && !(pte & PTE_NX))
		return -XEN_EINVAL; /* a relative may write there */
	return pte & PTE_NX ? PROT_READ : PROT_READ | PROT_EXEC;
}

/* protect fails with -EPERM where the mapping is of a sealed image. */
static long protect(uint64_t va, uint64_t len, long prot)
{
	long r = sys(__NR_mprotect, va, len, prot);

	return r == -13 /* EACCES */ ? -XEN_EPERM : r;
}

long do_update_va_mapping(uint64_t va, uint64_t pte)
{
	long prot = prot_of(va, pte);

	return prot < 0 ? prot : protect(va, KX_PAGE_SIZE, prot);
}

/* A run of neighbouring pages that a multicall gives the same protection: one mprotect. */
struct run {
	uint64_t va, len;
	long prot;
	uint64_t first; /* address of the first entry of the run */
	uint64_t n;
};

/* run_end changes the protection of the run and writes the result to its entries. */
static long run_end(struct run *r)
{
	int64_t result;

	if (!r->n)
		return 0;
	result = protect(r->va, r->len, r->prot);
	for (uint64_t i = 0; i < r->n; i++) {
		uint64_t e = r->first + i * sizeof(struct multicall_entry);

		if (copy_guest((void *)(e + offsetof(struct multicall_entry, result)), &result, sizeof result))
			return -XEN_EFAULT;
	}
	r->n = 0;
	return 0;
}

static int run_add(struct run *r, uint64_t entry, uint64_t va, long prot)
{
	if (r->n && (prot != r->prot || va != r->va + r->len))
		return 0;
	if (!r->n)
		*r = (struct run){.va = va, .prot = prot, .first = entry};
	r->len += KX_PAGE_SIZE;
	r->n++;
	return 1;
}

static long multicall_one(struct run *r, uint64_t at)
{
	struct multicall_entry e;
	long prot;

	if (copy_guest(&e, (const void *)at, sizeof e))
		return -XEN_EFAULT;
	if (e.op == __HYPERVISOR_update_va_mapping) {
		prot = prot_of(e.args[0], e.args[1]);
		if (prot >= 0 && run_add(r, at, e.args[0], prot))
			return 0;
		if (run_end(r))
			return -XEN_EFAULT;
		if (prot >= 0) {
			run_add(r, at, e.args[0], prot);
			return 0;
		}
		e.result = prot;
	} else {
		if (run_end(r))
			return -XEN_EFAULT;
		/* As Xen: neither multicall nor iret inside a multicall. */
		e.result = do_hypercall(e.op, e.args);
	}
	return copy_guest((void *)(at + offsetof(struct multicall_entry, result)), &e.result, sizeof e.result);
}

long do_multicall(uint64_t list, uint64_t n)
{
	struct run r = {0};

	if (n > (KX_RAM_END / sizeof(struct multicall_entry)) ||
	    !is_guest_va(list, n * sizeof(struct multicall_entry)))
		return -XEN_EFAULT;
	for (uint64_t i = 0; i < n; i++) {
		if (multicall_one(&r, list + i * sizeof(struct multicall_entry)))
			return -XEN_EFAULT;
	}
	return run_end(&r);
}

/* mem.h: the RAM window, page by page; shared by mem.c and mmap.c. */
#ifndef MEM_H
#define MEM_H

#include "kern.h"

/*
 * The state of a page of the window, one byte. 0 is a page as the domain builder left it: free,
 * zero, readable and writable.
 */
#define PG_TYPE 3
#define PG_FREE 0
#define PG_KERNEL 1
#define PG_USER 2
#define PG_DIRTY 4   /* may hold something else than zeroes */
#define PG_NOREAD 8  /* not mapped at all */
#define PG_NOWRITE 16
#define PG_EXEC 32
#define PG_STALE 64  /* the program's, but with old content, to be zeroed before it may look */
#define PG_ABSENT 128 /* not got from the hypervisor yet; not mapped */
#define PG_PROT (PG_NOREAD | PG_NOWRITE | PG_EXEC)

/* What the domain builder said, copied and checked once. */
extern struct mem {
	uint64_t image_pages; /* frames of image and dynamic segment */
	uint64_t dynamic_pages, dynamic_va;
	uint64_t ram_va, ram_pages;
	uint8_t *state;     /* of each page of the window */
	uint64_t user;      /* pages in use, by type */
	uint64_t kernel;
	uint64_t brk_base;  /* page at which brk starts */
	uint64_t mmap_base; /* page from which mmap searches */
	uint64_t kernel_end; /* page after the last that the kernel has had, but for the root archive */
	uint64_t stack, stack_end; /* the main thread's stack */
} mem;

#define NO_RUN UINT64_MAX

/* Of the hypervisor, by frame (kx_abi.h); NULL: frame numbers are machine frame numbers. */
extern uint64_t *mfn_list;

#define PTE_FLAGS (PTE_PRESENT | PTE_USER | PTE_ACCESSED) /* so that the CPU need not set it */

/* Of a region of the window: kx_control.lazy. */
#define REGION_PAGES (1UL << (KX_LAZY_SHIFT - PAGE_SHIFT))

/* Pages of the family area, readable, or writable, too; 0 or -ENOMEM. */
int area_protect(uint64_t va, uint64_t n, int prot);

/* ---- cow.c: pages that are shared with a parent or a child ---- */

static inline int cow_shared(uint64_t pfn)
{
	return mfn_list && mfn_list[pfn] & KX_MFN_SHARED;
}

/*
 * Has a run of the window be as page table entries and mfn_list say, and writable where they say so; 0 or -ENOMEM. To be called before either is changed
 * or believed (kx_control.lazy).
 */
int cow_settle(uint64_t first, uint64_t n);
/* Gives a shared page a frame of its own, writable, with the content; 0 or -ENOMEM. */
int cow_copy(uint64_t pfn, uint64_t va);
extern char cow_content[PAGE_SIZE]; /* of the page that was copied last */
/* The same for those of a run of the window that are shared, and whose content is not wanted. */
int cow_own(uint64_t first, uint64_t n);
/* Forgets the frame of a page that is shared, or not mapped: the domain's own is given back. */
void cow_drop(uint64_t pfn);
/* Gets frames for [pfn, end), which have none, in extents of 1 << order; the first for which none was to be had. */
uint64_t populate(uint64_t pfn, uint64_t end, uint32_t order);

static inline void *page_va(uint64_t page)
{
	return (void *)(mem.ram_va + (page << PAGE_SHIFT));
}

/* The page of an address of the window; >= mem.ram_pages for any other. */
static inline uint64_t page_of(uint64_t va)
{
	return (va - mem.ram_va) >> PAGE_SHIFT;
}

/* The first run of n free pages in [lo, hi), or NO_RUN. */
uint64_t run_find(uint64_t n, uint64_t lo, uint64_t hi);
/* Whether n pages from first are all free. */
int run_free(uint64_t first, uint64_t n);
/*
 * Takes n free pages for the program, with prot (PROT_*); 0 or -ENOMEM with nothing taken. They are
 * zero, at the latest when a later run_protect lets the program look.
 */
int run_take(uint64_t first, uint64_t n, int prot);
/* The same, readable and writable, for pages that nobody had since boot. */
int run_reserve(uint64_t first, uint64_t n);
/* Gives pages back, whatever they were; the program can no longer reach them. */
void run_release(uint64_t first, uint64_t n);
/* Changes the protection of n pages that are in use; 0 or -ENOMEM. */
int run_protect(uint64_t first, uint64_t n, int prot);
/* The frame of a page of image or dynamic segment, if all n pages from there are in the same one; or NO_RUN. */
uint64_t image_frame(uint64_t va, uint64_t n);
/* Changes their protection, by address. */
int image_protect(uint64_t va, uint64_t n, int prot);
/* Forgets that they were changed: the engine has mapped other pages there. */
void image_forget(uint64_t va, uint64_t n);
/* Nobody wants what is there any more. */
void image_unmap(uint64_t va, uint64_t n);

/* ---- dynamic.c: pages of libraries that come and go while the program runs; all are to be of the dynamic segment ---- */

/* Gives n pages, where nothing is, frames of the pVM's own: zero, readable and writable; 0 or -ENOMEM with nothing taken. */
int dynamic_take(uint64_t va, uint64_t n);
/* Unmaps what is there, and gives frames of the pVM's own back. */
void dynamic_drop(uint64_t va, uint64_t n);

#endif

/* mmap.c: the system calls of memory. */
#include <sys/mman.h>

#include "family.h"
#include "file.h"
#include "mem.h"
#include "process.h"

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)
#define MAP_KINDS (MAP_SHARED | MAP_PRIVATE)

/* No page is writable and executable at once. */
static int prot_check(long prot)
{
	if (prot & ~(long)(PROT_ALL | PROT_GROWSDOWN | PROT_GROWSUP))
		return -EINVAL;
	return (prot & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC) ? -EACCES : 0;
}

/* Whether [va, va + n pages) lies in the window. */
static int in_window(uint64_t va, uint64_t n)
{
	uint64_t first = page_of(va);

	return va >= mem.ram_va && n <= mem.ram_pages && first <= mem.ram_pages - n;
}

static int all_user(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		if ((mem.state[i] & PG_TYPE) != PG_USER)
			return 0;
	return 1;
}

static int any_kernel(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		if ((mem.state[i] & PG_TYPE) == PG_KERNEL)
			return 1;
	return 0;
}

static void release_user(uint64_t first, uint64_t n)
{
	uint64_t start;

	for (uint64_t i = first, end = first + n; i < end;) {
		for (start = i; i < end && (mem.state[i] & PG_TYPE) == PG_USER; i++)
			;
		if (i > start)
			run_release(start, i - start);
		else
			i++;
	}
}

/* A place for n pages: at the hint if it is free, else the first that fits from the random base on. */
static uint64_t place(uint64_t hint, uint64_t n)
{
	uint64_t first;

	if (in_window(hint, n) && run_free(page_of(hint), n))
		return page_of(hint);
	first = run_find(n, mem.mmap_base, mem.ram_pages);
	return first != NO_RUN ? first : run_find(n, 0, mem.ram_pages);
}

/* Fills a private file mapping: the pages are writable until then. */
static long fill(uint64_t first, uint64_t n, int prot, int fd, off_t off)
{
	long got = file_pread(fd, page_va(first), n << PAGE_SHIFT, off);

	if (got >= 0 && !(prot & PROT_WRITE))
		got = run_protect(first, n, prot);
	return got < 0 ? got : 0;
}

/* Memory that is to be shared over fork is in the family area, where protections cannot change. */
static int may_share(long prot, long flags)
{
	return flags & MAP_ANONYMOUS && (flags & MAP_TYPE) != MAP_PRIVATE && !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) &&
	       (prot & PROT_ALL) == (PROT_READ | PROT_WRITE);
}

/* As Linux has it: a shared mapping of /dev/zero is one of nothing. */
static bool maps_zeroes(long fd)
{
	struct file *f;
	bool zeroes;

	if (file_of(fd, &f))
		return false;
	zeroes = dev_maps_zeroes(f);
	file_put(f);
	return zeroes;
}

/* A shared file mapping would have to write back. Told once. */
static long no_writing_back(void)
{
	static int told;

	if (!told)
		klog("kx: a shared mapping of a file that may be written is not supported: the program gets ENODEV");
	told = 1;
	return -ENODEV;
}

long sys_mmap(long addr, long len, long prot, long flags, long fd, long off)
{
	uint64_t n = PAGE_UP(len) >> PAGE_SHIFT, first;
	long err = prot_check(prot);
	int file;

	if (err)
		return err;
	if (!len || off & (PAGE_SIZE - 1) || !(flags & MAP_KINDS))
		return -EINVAL;
	if (!n || n > mem.ram_pages)
		return -ENOMEM;
	if (!(flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) != MAP_PRIVATE && maps_zeroes(fd))
		flags |= MAP_ANONYMOUS;
	file = !(flags & MAP_ANONYMOUS);
	if (may_share(prot, flags)) {
		err = shm_map((size_t)len);
		if (err != -ENOSPC)
			return err;
		klog("kx: no room in the family area: %ld bytes of shared memory are not shared over fork", len);
		err = 0;
	}
	if (file && (flags & MAP_SHARED) && (prot & PROT_WRITE))
		return no_writing_back();
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (addr & (PAGE_SIZE - 1))
			return -EINVAL;
		if (!in_window(addr, n) || any_kernel(page_of(addr), n))
			return -ENOMEM;
		first = page_of(addr);
		if (flags & MAP_FIXED_NOREPLACE && !run_free(first, n))
			return -EEXIST;
		release_user(first, n);
	} else {
		first = place(PAGE_DOWN(addr), n);
	}
	if (first == NO_RUN || run_take(first, n, file ? PROT_READ | PROT_WRITE : (int)prot))
		return -ENOMEM;
	if (file) {
		err = fill(first, n, (int)prot, (int)fd, off);
		if (err) {
			run_release(first, n);
			return err;
		}
	}
	return (long)page_va(first);
}

long sys_munmap(long addr, long len)
{
	uint64_t n = PAGE_UP(len) >> PAGE_SHIFT;

	if (addr & (PAGE_SIZE - 1) || !len)
		return -EINVAL;
	if (n && shm_unmap((uint64_t)addr, n << PAGE_SHIFT))
		return 0;
	if (!n || !in_window(addr, n) || any_kernel(page_of(addr), n))
		return -EINVAL;
	release_user(page_of(addr), n);
	return 0;
}

long sys_mprotect(long addr, long len, long prot)
{
	uint64_t n = PAGE_UP(len) >> PAGE_SHIFT;
	int err = prot_check(prot);

	if (err)
		return err;
	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	if (!len)
		return 0;
	if (n && shm_covers((uint64_t)addr, n << PAGE_SHIFT))
		return (prot & PROT_ALL) == (shm_read_only((uint64_t)addr) ? PROT_READ : PROT_READ | PROT_WRITE) ? 0 : -EACCES;
	if (n && in_window(addr, n))
		return all_user(page_of(addr), n) ? run_protect(page_of(addr), n, (int)prot) : -ENOMEM;
	if (n && image_frame(addr, n) != NO_RUN)
		return image_protect(addr, n, (int)prot);
	return -ENOMEM;
}

/* Where the pages of a mapping that cannot grow in place go. */
static long move(uint64_t first, uint64_t n, uint64_t new_n, long flags, long new_addr)
{
	int prot = mem_prot_at((uint64_t)page_va(first));
	uint64_t to, keep = MIN(n, new_n);

	if (flags & MREMAP_FIXED) {
		if (new_addr & (PAGE_SIZE - 1) || !in_window(new_addr, new_n) || any_kernel(page_of(new_addr), new_n))
			return -EINVAL;
		to = page_of(new_addr);
		if (to < first + n && first < to + new_n)
			return -EINVAL;
		release_user(to, new_n);
	} else {
		to = place(0, new_n);
	}
	if (to == NO_RUN || run_take(to, new_n, PROT_READ | PROT_WRITE))
		return -ENOMEM;
	run_protect(first, keep, PROT_READ);
	memcpy(page_va(to), page_va(first), keep << PAGE_SHIFT);
	run_release(first, n);
	if (!(prot & PROT_WRITE))
		run_protect(to, new_n, prot);
	return (long)page_va(to);
}

long sys_mremap(long addr, long old_len, long new_len, long flags, long new_addr)
{
	uint64_t n = PAGE_UP(old_len) >> PAGE_SHIFT, new_n = PAGE_UP(new_len) >> PAGE_SHIFT, first;

	if (addr & (PAGE_SIZE - 1) || !new_len || flags & ~(long)(MREMAP_MAYMOVE | MREMAP_FIXED) ||
	    (flags & MREMAP_FIXED && !(flags & MREMAP_MAYMOVE)))
		return -EINVAL;
	if (!new_n || new_n > mem.ram_pages)
		return -ENOMEM;
	if (n && shm_covers((uint64_t)addr, n << PAGE_SHIFT)) {
		if (new_n > n || flags & MREMAP_FIXED)
			return -ENOMEM;
		shm_unmap((uint64_t)addr + (new_n << PAGE_SHIFT), (n - new_n) << PAGE_SHIFT);
		return addr;
	}
	if (!n || !in_window(addr, n) || !all_user(page_of(addr), n))
		return -EFAULT;
	first = page_of(addr);
	if (flags & MREMAP_FIXED)
		return move(first, n, new_n, flags, new_addr);
	if (new_n <= n) {
		if (new_n < n)
			run_release(first + new_n, n - new_n);
		return addr;
	}
	if (run_free(first + n, new_n - n))
		return run_take(first + n, new_n - n, mem_prot_at(addr)) ? -ENOMEM : addr;
	return flags & MREMAP_MAYMOVE ? move(first, n, new_n, flags, 0) : -ENOMEM;
}

/* ---- brk ---- */

static uint64_t brk_start, brk_end; /* brk_end: the break, to the byte */

long sys_brk(long want)
{
	uint64_t have, need;

	if (!brk_start)
		brk_start = brk_end = (uint64_t)page_va(mem.brk_base);
	if ((uint64_t)want < brk_start || (uint64_t)want > mem.ram_va + (mem.ram_pages << PAGE_SHIFT))
		return brk_end;
	have = page_of(PAGE_UP(brk_end));
	need = page_of(PAGE_UP(want));
	if (need > have) {
		if (!run_free(have, need - have) || run_take(have, need - have, PROT_READ | PROT_WRITE))
			return brk_end;
	} else if (need < have) {
		run_release(need, have - need);
	}
	brk_end = want;
	return brk_end;
}

/* ---- advice and locks: memory here is always resident ---- */

static long check_mapped(long addr, long len)
{
	uint64_t n = PAGE_UP(len) >> PAGE_SHIFT;

	if (addr & (PAGE_SIZE - 1) || len < 0)
		return -EINVAL;
	if (image_frame(addr, n) != NO_RUN)
		return 0;
	if (shm_covers((uint64_t)addr, n << PAGE_SHIFT))
		return 0;
	return in_window(addr, n) && all_user(page_of(addr), n) ? 0 : -ENOMEM;
}

long sys_madvise(long addr, long len, long advice)
{
	long err = check_mapped(addr, len);
	uint64_t first = page_of(addr), n = PAGE_UP(len) >> PAGE_SHIFT;

	if (err || advice != MADV_DONTNEED || !in_window(addr, n))
		return err;
	/* The next look must find zeroes. */
	for (uint64_t i = first; i < first + n; i++) {
		int prot = mem_prot_at((uint64_t)page_va(i));

		run_release(i, 1);
		if (run_take(i, 1, prot))
			return -ENOMEM;
	}
	return 0;
}

long sys_mincore(long addr, long len, long vec)
{
	uint64_t n = PAGE_UP(len) >> PAGE_SHIFT;
	static const char resident = 1;
	long err = check_mapped(addr, len);

	for (uint64_t i = 0; !err && i < n; i++)
		err = copy_out((char *)vec + i, &resident, 1);
	return err;
}

long sys_msync(long addr, long len, long flags)
{
	if (flags & ~(long)(MS_ASYNC | MS_SYNC | MS_INVALIDATE) || (flags & MS_ASYNC && flags & MS_SYNC))
		return -EINVAL;
	return check_mapped(addr, len);
}

long sys_mlock(long addr, long len)
{
	return check_mapped(PAGE_DOWN(addr), len + (addr & (PAGE_SIZE - 1)));
}

long sys_munlock(long addr, long len)
{
	return sys_mlock(addr, len);
}

long sys_mlockall(long flags)
{
	return flags & ~(long)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) || !flags ? -EINVAL : 0;
}

long sys_munlockall(void)
{
	return 0;
}

/* ---- start of day ---- */

/*
 * Reserves size bytes for the main thread's stack at a random place above a page that is not mapped, and
 * chooses at random where brk and mmap begin above it. Everything is kept together at the window's
 * low end, so that one page of the table of states serves a small program.
 */
uint64_t stack_alloc(uint64_t size)
{
	uint64_t n = PAGE_UP(size) >> PAGE_SHIFT, some = mem.ram_pages / 64 + 1;
	uint64_t first = run_find(n + 1, 2 * (KSTACK_SIZE / PAGE_SIZE) + random_below(some), mem.ram_pages);

	if (first == NO_RUN)
		first = run_find(n + 1, 0, mem.ram_pages);
	if (first == NO_RUN)
		panic("no room for a stack of %lu bytes: run it with more memory", size);
	if (run_reserve(first, n + 1))
		panic("the host has no memory for a stack of %lu bytes", size);
	if (run_protect(first, 1, PROT_NONE))
		panic("the hypervisor refused to unmap a page");
	mem.stack = first + 1;
	mem.stack_end = first + n + 1;
	mem.brk_base = first + n + 1 + random_below(some);
	/* A fork has the region of a stack at once, the heap's need not be in it; a small window has no room for that. */
	if (mfn_list && mem.ram_pages >= 16 * REGION_PAGES)
		mem.brk_base = (mem.brk_base + REGION_PAGES - 1) / REGION_PAGES * REGION_PAGES;
	mem.mmap_base = mem.brk_base + 4 * some + random_below(some);
	return (uint64_t)page_va(first + n + 1);
}

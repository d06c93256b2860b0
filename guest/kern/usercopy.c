/* usercopy.c: the only way to the program's memory. A wild pointer gives EFAULT, never a crash. */
#include "family.h"
#include "mem.h"

/* entry.S; faults inside them return -EFAULT */
int user_copy(void *dst, const void *src, size_t n);
int user_clear(void *dst, size_t n);
long user_copy_str(char *dst, const char *src, size_t max);

static int within(uint64_t p, size_t n, uint64_t start, uint64_t pages)
{
	uint64_t off = p - start, size = pages << PAGE_SHIFT;

	return off <= size && n <= size - off;
}

/*
 * Bytes at p are the program's to pass: the image, its libraries and the RAM window, not the control area and not
 * what the hypervisor keeps above them. And so are a task's, which are passed in its place.
 */
static int user_range(const void *p, size_t n)
{
	return !n || within((uint64_t)p, n, KX_IMAGE_VA, mem.image_pages - mem.dynamic_pages) ||
	       within((uint64_t)p, n, mem.dynamic_va, mem.dynamic_pages + mem.ram_pages) || shm_covers((uint64_t)p, n) ||
	       within((uint64_t)p, n, KX_TASK_VA, KX_TASK_SIZE >> PAGE_SHIFT);
}

int copy_in(void *dst, const void *src, size_t n)
{
	return user_range(src, n) ? user_copy(dst, src, n) : -EFAULT;
}

int copy_out(void *dst, const void *src, size_t n)
{
	return user_range(dst, n) ? user_copy(dst, src, n) : -EFAULT;
}

int clear_out(void *dst, size_t n)
{
	return user_range(dst, n) ? user_clear(dst, n) : -EFAULT;
}

long copy_in_str(char *dst, const char *src, size_t max)
{
	uint64_t end = shm_end((uint64_t)src), most = end ? MIN(max, end - (uint64_t)src) : max;
	long n;

	/* The page after the window is not mapped, so the string's end needs no check of its own. */
	if (!user_range(src, 1))
		return -EFAULT;
	n = user_copy_str(dst, src, most);
	if (n == (long)most && most < max)
		return -EFAULT;
	return n == (long)max ? -ENAMETOOLONG : n;
}

/* dynamic.c: pages of libraries that come and go while the program runs. The read-only ones are the engine's to map. */
#include <sys/mman.h>

#include "mem.h"

int dynamic_take(uint64_t va, uint64_t n)
{
	uint64_t first = image_frame(va, n);

	for (uint64_t i = first; mfn_list && i < first + n; i++)
		if (!mfn_list[i] && populate(i, i + 1, 0) == i)
			goto none;
	if (!image_protect(va, n, PROT_READ | PROT_WRITE)) {
		memset((void *)va, 0, n << PAGE_SHIFT);
		return 0;
	}
none:
	dynamic_drop(va, n);
	return -ENOMEM;
}

void dynamic_drop(uint64_t va, uint64_t n)
{
	uint64_t first = image_frame(va, n);

	image_unmap(va, n);
	for (uint64_t i = first; mfn_list && i < first + n; i++)
		if (mfn_list[i])
			cow_drop(i);
}

/* library.c: shared libraries, of which the engine has done all but this: calls are bound when they are made first. */
#include <elf.h>

#include "kern.h"
#include "process.h"

#define NOT_LINKED 127 /* exit status, as of a program that Linux cannot link */

long sys_exit_group(long status);

/* What the program says of its libraries is its own affair, but no reason to fault in here. */
long sys_bind(long library, long call)
{
	struct kx_library l;
	Elf64_Rela r;
	long to;

	if (copy_in(&l, (const void *)library, sizeof(l)) ||
	    copy_in(&r, (const void *)(l.calls + (uint64_t)call * sizeof(r)), sizeof(r)))
		to = -EFAULT;
	else
		to = engine_call(KX_CALL_BIND, 0, l.module, (uint64_t)call, 0);
	if (to > 0 && !copy_out((void *)(l.base + r.r_offset), &to, sizeof(to)))
		return to;
	klog("kx: a function of a shared library cannot be bound: kxsh events tells why");
	return sys_exit_group(NOT_LINKED);
}

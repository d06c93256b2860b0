/* limit.c: resource limits and usage. */
#include <sys/resource.h>

#include "limit.h"
#include "process.h"

#define UNLIMITED {RLIM_INFINITY, RLIM_INFINITY}
#define OPEN_FILES 1024
#define OPEN_FILES_MAX 4096
#define PENDING_SIGNALS 4096

struct limit {
	uint64_t cur, max;
};

static struct limit limits[RLIM_NLIMITS] = {
	[RLIMIT_CPU] = UNLIMITED,
	[RLIMIT_FSIZE] = UNLIMITED,
	[RLIMIT_DATA] = UNLIMITED,
	[RLIMIT_STACK] = UNLIMITED,
	[RLIMIT_CORE] = {0, RLIM_INFINITY},
	[RLIMIT_RSS] = UNLIMITED,
	[RLIMIT_NPROC] = UNLIMITED,
	[RLIMIT_NOFILE] = {OPEN_FILES, OPEN_FILES_MAX},
	[RLIMIT_MEMLOCK] = UNLIMITED,
	[RLIMIT_AS] = UNLIMITED,
	[RLIMIT_LOCKS] = UNLIMITED,
	[RLIMIT_SIGPENDING] = {PENDING_SIGNALS, PENDING_SIGNALS},
	[RLIMIT_MSGQUEUE] = UNLIMITED,
	[RLIMIT_NICE] = {0, 0},
	[RLIMIT_RTPRIO] = {0, 0},
	[RLIMIT_RTTIME] = UNLIMITED,
};

uint64_t rlimit_get(int resource)
{
	return limits[resource].cur;
}

void limit_stack(uint64_t size)
{
	limits[RLIMIT_STACK].cur = size;
}

long sys_prlimit64(long pid, long resource, long in, long out)
{
	struct limit new, old;

	if (resource < 0 || resource >= RLIM_NLIMITS)
		return -EINVAL;
	if (pid && !thread_find((int)pid))
		return -ESRCH;
	old = limits[resource];
	if (in) {
		if (copy_in(&new, (void *)in, sizeof(new)))
			return -EFAULT;
		if (new.cur > new.max)
			return -EINVAL;
		/* The table of files has a fixed top. */
		if (resource == RLIMIT_NOFILE && new.max > OPEN_FILES_MAX)
			return -EPERM;
		limits[resource] = new;
	}
	return out ? copy_out((void *)out, &old, sizeof(old)) : 0;
}

long sys_getrlimit(long resource, long out)
{
	return sys_prlimit64(0, resource, 0, out);
}

long sys_setrlimit(long resource, long in)
{
	return sys_prlimit64(0, resource, in, 0);
}

long sys_getrusage(long who, long out)
{
	struct rusage ru = {0};
	struct mem_info mi;
	int64_t ns = 0;

	if (who == RUSAGE_SELF)
		ns = process_cpu_ns();
	else if (who == RUSAGE_THREAD)
		ns = thread_cpu_ns(cur);
	else if (who == RUSAGE_CHILDREN)
		ns = children_cpu_ns();
	else
		return -EINVAL;
	mem_info(&mi);
	ru.ru_utime.tv_sec = ns / NSEC;
	ru.ru_utime.tv_usec = ns % NSEC / 1000;
	if (who != RUSAGE_CHILDREN)
		ru.ru_maxrss = (long)((mi.total - mi.free) * PAGE_SIZE / 1024);
	/* The kernel's struct ends before the room that musl keeps for later. */
	return copy_out((void *)out, &ru, offsetof(struct rusage, __reserved));
}

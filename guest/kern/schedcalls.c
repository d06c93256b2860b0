/* schedcalls.c: the system calls of scheduling, true for one CPU and one policy. */
#include <sched.h>
#include <sys/resource.h>

#include "process.h"

static const uint64_t cpu_mask = 1;

static struct thread *named(long tid)
{
	return tid ? thread_find((int)tid) : cur;
}

long sys_sched_yield(void)
{
	yield();
	return 0;
}

long sys_sched_getaffinity(long tid, long size, long out)
{
	if (size < (long)sizeof(cpu_mask) || size & (sizeof(cpu_mask) - 1))
		return -EINVAL;
	if (!named(tid))
		return -ESRCH;
	return copy_out((void *)out, &cpu_mask, sizeof(cpu_mask)) ? -EFAULT : (long)sizeof(cpu_mask);
}

long sys_sched_setaffinity(long tid, long size, long in)
{
	uint8_t first = 0;

	if (!named(tid))
		return -ESRCH;
	if (size > 0 && copy_in(&first, (void *)in, 1))
		return -EFAULT;
	return first & cpu_mask ? 0 : -EINVAL;
}

long sys_getcpu(long cpu, long node)
{
	static const unsigned zero;

	if (cpu && copy_out((void *)cpu, &zero, sizeof(zero)))
		return -EFAULT;
	return node ? copy_out((void *)node, &zero, sizeof(zero)) : 0;
}

long sys_sched_getparam(long tid, long out)
{
	static const int priority; /* of SCHED_OTHER */

	if (!named(tid))
		return -ESRCH;
	return copy_out((void *)out, &priority, sizeof(priority));
}

static long check_param(long in)
{
	int priority;

	if (!in)
		return -EINVAL;
	if (copy_in(&priority, (void *)in, sizeof(priority)))
		return -EFAULT;
	return priority ? -EINVAL : 0;
}

long sys_sched_setparam(long tid, long in)
{
	return named(tid) ? check_param(in) : -ESRCH;
}

long sys_sched_getscheduler(long tid)
{
	return named(tid) ? SCHED_OTHER : -ESRCH;
}

long sys_sched_setscheduler(long tid, long policy, long in)
{
	if (!named(tid))
		return -ESRCH;
	switch (policy) {
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return check_param(in);
	case SCHED_FIFO:
	case SCHED_RR:
		return -EPERM;
	default:
		return -EINVAL;
	}
}

static long priority_range(long policy, long realtime, long other)
{
	switch (policy) {
	case SCHED_FIFO:
	case SCHED_RR:
		return realtime;
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return other;
	default:
		return -EINVAL;
	}
}

long sys_sched_get_priority_max(long policy)
{
	return priority_range(policy, 99, 0);
}

long sys_sched_get_priority_min(long policy)
{
	return priority_range(policy, 1, 0);
}

long sys_sched_rr_get_interval(long tid, long out)
{
	static const struct timespec slice = {0, 10000000};

	if (!named(tid))
		return -ESRCH;
	return copy_out((void *)out, &slice, sizeof(slice));
}

/* The weight of the pVM among others is the engine's business (renice); in here there is one level. */
static int nice_value;

static int is_us(long which, long who)
{
	switch (which) {
	case PRIO_PROCESS:
		return !who || thread_find((int)who);
	case PRIO_PGRP:
		return !who || who == own_pid;
	default:
		return !who;
	}
}

long sys_getpriority(long which, long who)
{
	if (which < PRIO_PROCESS || which > PRIO_USER)
		return -EINVAL;
	return is_us(which, who) ? 20 - nice_value : -ESRCH;
}

long sys_setpriority(long which, long who, long value)
{
	if (which < PRIO_PROCESS || which > PRIO_USER)
		return -EINVAL;
	if (!is_us(which, who))
		return -ESRCH;
	nice_value = (int)MAX(MIN(value, 19), -20);
	return 0;
}

/* With one CPU every thread switch is a barrier. */
#define MEMBARRIER_QUERY 0
#define MEMBARRIER_GLOBAL 1
#define MEMBARRIER_PRIVATE_EXPEDITED 8
#define MEMBARRIER_REGISTER_PRIVATE_EXPEDITED 16

long sys_membarrier(long cmd, long flags)
{
	const long known = MEMBARRIER_GLOBAL | MEMBARRIER_PRIVATE_EXPEDITED | MEMBARRIER_REGISTER_PRIVATE_EXPEDITED;

	if (flags || cmd & ~known)
		return -EINVAL;
	return cmd == MEMBARRIER_QUERY ? known : 0;
}

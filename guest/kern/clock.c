/* clock.c: what time it is, from the hypervisor's time page and the CPU's counter. */
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>

#include "hyper.h"
#include "process.h"

#define CLK_TCK 100

/*
 * Programs read clocks by a plain call (kx_clock_gettime), so all of this may be interrupted, by a fork from outside, too: the child goes on
 * with another page, whose versions may be the same. Then own_pid is not.
 */
#define UNCHANGED(version, seen, pid) ((version) == (seen) && !((seen)&1) && own_pid == (pid))

/* Time does not run backwards, though the counter of another CPU may be a little behind. One vcpu: an instruction is enough, without lock. */
static int64_t not_before(int64_t now)
{
	static int64_t last;
	int64_t seen = __atomic_load_n(&last, __ATOMIC_RELAXED);
	char done = 0;

	while (seen < now && !done)
		__asm__ volatile("cmpxchgq %3, %1" : "=@ccz"(done), "+m"(last), "+a"(seen) : "r"(now) : "memory");
	return done ? now : seen;
}

int64_t now_ns(void)
{
	const volatile struct vcpu_time_info *t = &shared->vcpu_info[0].time;
	uint32_t version, mul;
	uint64_t delta, base;
	int shift, pid;

	do {
		pid = own_pid;
		version = t->version;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		delta = rdtsc() - t->tsc_timestamp;
		base = t->system_time;
		mul = t->tsc_to_system_mul;
		shift = t->tsc_shift;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (!UNCHANGED(t->version, version, pid));
	/* The counter of another CPU may be a little behind tsc_timestamp. */
	if ((int64_t)delta < 0)
		delta = 0;
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return not_before((int64_t)(base + (uint64_t)((unsigned __int128)delta * mul >> 32)));
}

int64_t real_ns(void)
{
	uint32_t version;
	int64_t wall;
	int pid;

	do {
		pid = own_pid;
		version = shared->wc_version;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		wall = (int64_t)((uint64_t)shared->wc_sec_hi << 32 | shared->wc_sec) * NSEC + shared->wc_nsec;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (!UNCHANGED(shared->wc_version, version, pid));
	return wall + now_ns();
}

/* ---- conversion ---- */

int timespec_to_ns(const struct timespec *ts, int64_t *ns)
{
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= NSEC)
		return -EINVAL;
	*ns = ts->tv_sec >= FOREVER / NSEC ? FOREVER - 1 : ts->tv_sec * NSEC + ts->tv_nsec;
	return 0;
}

void ns_to_timespec(int64_t ns, struct timespec *ts)
{
	ts->tv_sec = ns / NSEC;
	ts->tv_nsec = ns % NSEC;
}

int64_t deadline_after(int64_t ns)
{
	int64_t now = now_ns();

	if (ns == FOREVER)
		return FOREVER;
	return ns > FOREVER - 1 - now ? FOREVER - 1 : now + MAX(ns, 0);
}

/* ---- clocks ---- */

/* Dynamic clock IDs: ~(process or thread) << 3 | 4 for a thread's | 2 (scheduler time), as Linux has them. */
static int cpu_clock(clockid_t id, int64_t *ns)
{
	int who = ~(id >> 3);
	struct thread *t;

	if ((id & 3) == 3)
		return -EINVAL;
	if (id & 4) {
		t = who ? thread_find(who) : cur;
		if (!t)
			return -EINVAL;
		*ns = thread_cpu_ns(t);
		return 0;
	}
	if (who && who != own_pid)
		return -EINVAL;
	*ns = process_cpu_ns();
	return 0;
}

/* The clocks that are the same for everybody: 0, or -EINVAL for another one. */
static int common_clock(clockid_t id, int64_t *ns)
{
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI: /* the kernel is not told of leap seconds; Linux says 0 too until it is */
		*ns = real_ns();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*ns = now_ns();
		return 0;
	default:
		return -EINVAL;
	}
}

int clock_read(clockid_t id, int64_t *ns)
{
	switch (id) {
	case CLOCK_PROCESS_CPUTIME_ID:
		*ns = process_cpu_ns();
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		*ns = thread_cpu_ns(cur);
		return 0;
	default:
		return id < 0 ? cpu_clock(id, ns) : common_clock(id, ns);
	}
}

/*
 * libc's clock_gettime, called on the program's stack with events on, as Linux has it in its vDSO: a bad pointer is SIGSEGV. The clocks of threads
 * and of the process are the LibOS's state, for which it is entered. 0 or -errno.
 */
long kx_clock_gettime(long id, struct timespec *out)
{
	int64_t ns;

	if (common_clock((clockid_t)id, &ns))
		return kx_syscall(SYS_clock_gettime, id, (long)out, 0, 0, 0, 0);
	ns_to_timespec(ns, out);
	return 0;
}

long sys_clock_gettime(long id, long out)
{
	struct timespec ts;
	int64_t ns;
	int err = clock_read((clockid_t)id, &ns);

	if (err)
		return err;
	ns_to_timespec(ns, &ts);
	return copy_out((void *)out, &ts, sizeof(ts));
}

long sys_clock_getres(long id, long out)
{
	static const struct timespec res = {0, 1};
	int64_t ns;
	int err = clock_read((clockid_t)id, &ns);

	if (err || !out)
		return err;
	return copy_out((void *)out, &res, sizeof(res));
}

/* The host's clock is not the program's to set. */
long sys_clock_settime(long id)
{
	return id == CLOCK_REALTIME ? -EPERM : -EINVAL;
}

long sys_settimeofday(void)
{
	return -EPERM;
}

long sys_gettimeofday(long tv, long tz)
{
	static const int zone[2]; /* struct timezone: UTC */
	int64_t ns = real_ns();
	struct timeval t = {ns / NSEC, ns % NSEC / 1000};

	if (tv && copy_out((void *)tv, &t, sizeof(t)))
		return -EFAULT;
	return tz ? copy_out((void *)tz, zone, sizeof(zone)) : 0;
}

long sys_time(long out)
{
	time_t t = real_ns() / NSEC;

	return out && copy_out((void *)out, &t, sizeof(t)) ? -EFAULT : t;
}

/* All of a pVM's time is user time: the LibOS is part of the program. */
long sys_times(long out)
{
	struct tms t = {
		.tms_utime = process_cpu_ns() / (NSEC / CLK_TCK), .tms_cutime = children_cpu_ns() / (NSEC / CLK_TCK)};

	if (out && copy_out((void *)out, &t, sizeof(t)))
		return -EFAULT;
	return now_ns() / (NSEC / CLK_TCK);
}

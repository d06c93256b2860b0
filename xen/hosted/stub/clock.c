/*
 * clock.c: vcpu_time_info. System time is CLOCK_MONOTONIC; between two stamps the guest
 * extrapolates with the TSC. The engine measures the TSC's rate for the first stamp; later ones
 * refine it, so that a domain keeps good time without the engine.
 */
#include "stub.h"
#include "sys.h"

#include <linux/time.h>

#define REFRESH NSEC        /* age at which a stamp is renewed, ns */
#define REBASE (64 * NSEC)  /* age at which the rate is measured afresh: NTP slews, hosts suspend */
#define AT_ONCE 2000        /* ns that are one moment */
#define RATE_BAND 1000      /* a measured rate this fraction off the engine's is not believed */

static struct {
	uint32_t mul, first_mul;
	int32_t shift;
	uint64_t base_tsc, base_ns; /* from where the rate is measured */
	uint64_t tsc, ns;           /* the last stamp */
} clock;

static uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static uint64_t read_clock(int id)
{
	struct sys_timespec t = {0};

	sys(__NR_clock_gettime, id, &t);
	return t.sec * NSEC + t.nsec;
}

static uint64_t scaled(uint64_t ticks)
{
	return clock.shift >= 0 ? ticks << clock.shift : ticks >> -clock.shift;
}

static uint64_t to_ns(uint64_t ticks)
{
	return (unsigned __int128)scaled(ticks) * clock.mul >> 32;
}

/* rate returns the multiplier that makes ns of ticks, or 0 if they make no sense. */
static uint32_t rate(uint64_t ticks, uint64_t ns)
{
	uint64_t divisor = scaled(ticks), hi = ns >> 32, lo = ns << 32, q, rem;

	if (hi >= divisor)
		return 0;
	__asm__("divq %4" : "=a"(q), "=d"(rem) : "0"(lo), "1"(hi), "r"(divisor) : "cc");
	if (q > clock.first_mul + clock.first_mul / RATE_BAND || q < clock.first_mul - clock.first_mul / RATE_BAND)
		return 0;
	return q;
}

static void publish_time(void)
{
	volatile struct vcpu_time_info *t = &VCPU->time;

	t->version |= 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	t->tsc_timestamp = clock.tsc;
	t->system_time = clock.ns;
	t->tsc_to_system_mul = clock.mul;
	t->tsc_shift = clock.shift;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	t->version++;
}

/* The wall clock at system time 0, so that it follows when the host's clock is set. */
static void publish_wall(uint64_t mono)
{
	uint64_t wall = read_clock(CLOCK_REALTIME) - mono;

	SHARED->wc_version |= 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	SHARED->wc_sec = wall / NSEC;
	SHARED->wc_sec_hi = (wall / NSEC) >> 32;
	SHARED->wc_nsec = wall % NSEC;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	SHARED->wc_version++;
}

/* TSC and clock of one moment: the best of a few tries, since the host may take its CPU away in between. */
static uint64_t read_both(uint64_t *tsc)
{
	uint64_t least = -1ull, mono = 0;

	for (int i = 0; i < 5 && to_ns(least) > AT_ONCE; i++) {
		uint64_t before = rdtsc(), now = read_clock(CLOCK_MONOTONIC), took = rdtsc() - before;

		if (took < least) {
			least = took;
			mono = now;
			*tsc = before + took / 2;
		}
	}
	return mono;
}

static void stamp(void)
{
	uint64_t tsc = 0, mono = read_both(&tsc), now = mono, ahead;

	publish_wall(mono);
	if (clock.ns) {
		uint32_t mul = rate(tsc - clock.base_tsc, mono - clock.base_ns);

		/* The guest may have been told a later time already: never step back. */
		ahead = clock.ns + to_ns(tsc - clock.tsc);
		if (ahead > now && ahead - now < NSEC)
			now = ahead;
		if (mul)
			clock.mul = mul;
	}
	if (!clock.ns || mono - clock.base_ns > REBASE) {
		clock.base_tsc = tsc;
		clock.base_ns = mono;
	}
	clock.tsc = tsc;
	clock.ns = now;
	publish_time();
}

uint64_t clock_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

void clock_init(uint32_t mul, int32_t shift)
{
	clock.ns = 0;
	clock.mul = clock.first_mul = mul;
	clock.shift = shift;
	stamp();
}

void clock_refresh(void)
{
	if (to_ns(rdtsc() - clock.tsc) >= REFRESH)
		stamp();
}

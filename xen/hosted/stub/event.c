/* event.c: event channels as the vcpu sees them, its timer, and its sleep. */
#include "stub.h"
#include "sys.h"

#include <linux/time.h>

#define LOOK_NS 1000000 /* how often a family is looked at, where the kernel cannot wait for two words */

struct guest guest;

/* event_raise is Xen's evtchn_set_pending; the engine does the same from its side. */
void event_raise(uint32_t port)
{
	uint64_t bit = 1UL << port;

	if (__atomic_fetch_or(&SHARED->evtchn_pending[0], bit, __ATOMIC_SEQ_CST) & bit)
		return;
	if (SHARED->evtchn_mask[0] & bit)
		return;
	if (__atomic_fetch_or(&VCPU->evtchn_pending_sel, 1, __ATOMIC_SEQ_CST) & 1)
		return;
	__atomic_store_n(&VCPU->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST);
}

int event_due(void)
{
	return VCPU->evtchn_upcall_pending && !VCPU->evtchn_upcall_mask;
}

/*
 * do_set_timer_op: deadline in ns of system time, which is CLOCK_MONOTONIC; 0 disarms. A deadline
 * in the past fires at once, as on Xen. SIGALRM becomes VIRQ_TIMER.
 */
long do_set_timer_op(uint64_t deadline)
{
	uint64_t now = clock_now(), left = !deadline ? 0 : deadline > now ? deadline - now : 1;
	uint64_t us = left / 1000 + !!(left % 1000);
	struct {
		int64_t interval_sec, interval_us, sec, us;
	} t = {0, 0, us / 1000000, us % 1000000};

	/* The process's own timer: a POSIX timer would have to be made, also by the child of a fork. */
	return sys(__NR_setitimer, 0 /* ITIMER_REAL */, &t, 0);
}

/* The vcpu's place in the family area, if its relatives may have to wake it. */
static volatile struct kx_member *member(void)
{
	const volatile struct kx_control *c = (const volatile struct kx_control *)KX_CONTROL_VA;
	uint32_t place = c->family_place;
	volatile struct kx_member *m = (volatile struct kx_member *)KX_FAMILY_VA + (place - 1) % KX_MEMBERS;

	return place && m->asleep ? m : 0;
}

void ring_member(uint32_t place)
{
	futex_wake_all(&((volatile struct kx_member *)KX_FAMILY_VA)[place % KX_MEMBERS].rung);
}

/* Sleeps until seq moves, which only the engine makes it do, or a relative has rung. */
static void sleep_till(uint32_t seq, volatile struct kx_member *m)
{
	if (!m)
		futex_wait(&STATE->seq, seq);
	else if (futex_wait_either(&STATE->seq, seq, &m->rung, 0) == -XEN_ENOSYS)
		futex_wait_for(&STATE->seq, seq, LOOK_NS);
	if (m && m->rung)
		event_raise(STUB_PORT_FAMILY);
}

/*
 * block sleeps until an event is due. The engine moves seq before it looks whether the vcpu
 * sleeps, and this side says that it sleeps before the kernel compares seq: an event that comes
 * in between is never slept through. SIGALRM interrupts the wait. how may be KX_BLOCK_MASKED.
 */
static long block(uint64_t how)
{
	volatile struct kx_member *m = member();
	uint32_t seq, order;

	__atomic_store_n(&VCPU->evtchn_upcall_mask, 0, __ATOMIC_SEQ_CST);
	for (;;) {
		seq = __atomic_load_n(&STATE->seq, __ATOMIC_SEQ_CST);
		__atomic_store_n(&STATE->sleeping, 1, __ATOMIC_SEQ_CST);
		if (event_due())
			break;
		remap_if_ordered();
		order = STATE->fork;
		if (order) {
			fork_here(order);
			continue;
		}
		sleep_till(seq, m);
		if (event_due())
			break;
	}
	__atomic_store_n(&STATE->sleeping, 0, __ATOMIC_SEQ_CST);
	remap_if_ordered(); /* who has ordered it and then seen that the vcpu slept relies on this */
	clock_refresh();
	VCPU->evtchn_upcall_mask = how == KX_BLOCK_MASKED;
	return 0;
}

static _Noreturn void shutdown(uint32_t reason)
{
	STATE->reason = reason;
	end(STUB_END_SHUTDOWN);
}

long do_sched_op(uint64_t cmd, uint64_t arg)
{
	struct sched_shutdown s;

	switch (cmd) {
	case SCHEDOP_yield:
		sys(__NR_sched_yield);
		return 0;
	case SCHEDOP_block:
		return block(arg);
	case SCHEDOP_shutdown:
		if (!is_guest_va(arg, sizeof s) || copy_guest(&s, (const void *)arg, sizeof s))
			return -XEN_EFAULT;
		shutdown(s.reason);
	default:
		return -XEN_ENOSYS;
	}
}

/* side.c: what the sources of a side call. */
#include "common.h"
#include "futex.h"
#include "ipc.h"
#include "process.h"

struct kx_control own_control;
struct shared_info own_info;

/* ---- memory ---- */

static char arena[4096] __attribute__((aligned(16)));
static size_t arena_used;

void *kzalloc(size_t n)
{
	void *p = arena + arena_used;

	arena_used += (n + 15) & ~15UL;
	if (arena_used > sizeof(arena))
		return NULL;
	memset(p, 0, n);
	return p;
}

void *kmalloc(size_t n)
{
	return kzalloc(n);
}

void kfree(void *p)
{
	(void)p;
}

void *page_alloc(size_t n)
{
	(void)n;
	return NULL;
}

void page_free(void *p, size_t n)
{
	(void)p, (void)n;
}

/* ---- time ---- */

static int64_t clock_ns = 1000;

int64_t now_ns(void)
{
	return clock_ns += 10000;
}

int64_t deadline_after(int64_t ns)
{
	return now_ns() + ns;
}

static struct ktimer *timer;

void ktimer_set(struct ktimer *t, int64_t when)
{
	(void)when;
	timer = t;
}

/* ---- sleeping, as sched.c and event.c have it ---- */

struct thread main_thread;
struct thread *cur = &main_thread;

static struct waitq *waits_on;
static bool woken;
static uint32_t pid_gone;
bool interruptible;

void wake_all(struct waitq *q)
{
	woken = woken || q == waits_on;
}

static bool upcall_due(bool asleep)
{
	return __atomic_load_n(&own_info.vcpu_info[0].evtchn_upcall_pending, __ATOMIC_SEQ_CST) || bell_rung(asleep);
}

void model_gone(uint32_t pid)
{
	pid_gone = pid;
}

static void events(void)
{
	uint64_t sel;

	__atomic_exchange_n(&own_info.vcpu_info[0].evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
	sel = __atomic_exchange_n(&own_info.vcpu_info[0].evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
	for (; sel; sel &= sel - 1) {
		int w = __builtin_ctzl(sel);

		__atomic_fetch_and(&own_info.evtchn_pending[w], own_info.evtchn_mask[w], __ATOMIC_SEQ_CST);
	}
	if (pid_gone)
		family_gone((int)pid_gone, 0, 0);
	pid_gone = 0;
	family_events();
}

int runnable_others(void)
{
	return 0;
}

/* What would end when it is interrupted is, if nothing else can happen and the other side is dead. */
int wait_on(struct waitq *q, int64_t deadline)
{
	bool late = false;

	waits_on = q;
	woken = false;
	while (!woken && !late) {
		struct ktimer *t = timer;

		if (family_sleeps())
			late = !model_sleep(upcall_due, deadline != FOREVER || t || (interruptible && other_dead()));
		family_awake();
		if (late && t) {
			timer = NULL;
			t->fn(t);
			late = deadline != FOREVER;
		}
		events();
	}
	waits_on = NULL;
	return woken ? 0 : deadline == FOREVER ? -EINTR : -ETIMEDOUT;
}

int wait_on_killable(struct waitq *q, int64_t deadline)
{
	return wait_on(q, deadline);
}

void inode_event(struct inode *n)
{
	(void)n;
}

void doorbell(void) /* the engine, in the middle of which others run as well, but which does not die with us */
{
	for (int i = 0; i < KX_RINGS; i++) {
		uint32_t pid = __atomic_exchange_n((uint32_t *)&own_control.rings[i], 0, __ATOMIC_SEQ_CST);

		in_hypervisor[side_running()] = true;
		for (unsigned s = 0; pid && s < SIDES; s++)
			if (side_at(s)->ctl->domid == pid)
				raise_event(side_at(s), side_at(s)->ctl->evtchn);
		in_hypervisor[side_running()] = false;
	}
}

int signal_thread(struct thread *t, int sig, const siginfo_t *info)
{
	(void)t, (void)info;
	say(sig == SIGPIPE, "a signal that is not SIGPIPE");
	return 1;
}

int copy_in(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

int copy_out(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

uint32_t effective_uid(void)
{
	return 0;
}

uint32_t effective_gid(void)
{
	return 0;
}

int64_t real_ns(void)
{
	return now_ns();
}

/* ---- the rest of the family layer: there are no files, no segments and no engine that wants anything ---- */

void common_news(void)
{
	pipes_news();
}

void common_drop_all(void)
{
	pipes_drop_all();
}

void robust_gone(uint32_t place)
{
	(void)place;
}

void robust_drop(void)
{
}

void futex_news(void)
{
}

bool out_drained(void)
{
	return true;
}

int64_t process_cpu_ns(void)
{
	return 0;
}

void shm_drop_all(void)
{
}

/* side.c: what the sources of a side call, and what it does. */
#include "common.h"
#include "futex.h"
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

void wake_all(struct waitq *q)
{
	woken = woken || q == waits_on;
}

static bool upcall_due(bool asleep)
{
	return __atomic_load_n(&own_info.vcpu_info[0].evtchn_upcall_pending, __ATOMIC_SEQ_CST) || bell_rung(asleep);
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

int wait_on(struct waitq *q, int64_t deadline)
{
	bool late = false;

	waits_on = q;
	woken = false;
	while (!woken && !late) {
		struct ktimer *t = timer;

		if (family_sleeps())
			late = !model_sleep(upcall_due, deadline != FOREVER || t);
		family_awake();
		if (late && t) {
			timer = NULL;
			t->fn(t);
			late = deadline != FOREVER;
		}
		events();
	}
	waits_on = NULL;
	return woken ? 0 : -ETIMEDOUT;
}

int wait_on_killable(struct waitq *q, int64_t deadline)
{
	return wait_on(q, deadline);
}

void inode_event(struct inode *n)
{
	(void)n;
}

void doorbell(void) /* the engine, in the middle of which others run as well */
{
	for (int i = 0; i < KX_RINGS; i++) {
		uint32_t pid = __atomic_exchange_n((uint32_t *)&own_control.rings[i], 0, __ATOMIC_SEQ_CST);

		for (unsigned s = 0; pid && s < SIDES; s++)
			if (side_at(s)->ctl->domid == pid)
				raise_event(side_at(s), side_at(s)->ctl->evtchn);
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


/* ---- the rest of the family layer: there are but pipes ---- */

void common_news(void)
{
	pipes_news();
}

void common_drop_all(void)
{
	pipes_drop_all();
}

bool ipc_used(void)
{
	return false;
}

void ipc_gone(uint32_t place)
{
	(void)place;
}

void robust_gone(uint32_t place)
{
	(void)place;
}

void ipc_news(void)
{
}

void ipc_drop_all(void)
{
}

void robust_drop(void)
{
}

void futex_news(void)
{
}

/* ---- what it does ---- */

static struct pipe *common_pipe;

static void enter(uint32_t pid, uint32_t flags)
{
	own_control.domid = pid;
	own_control.flags = flags;
	own_control.family_pages = AREA_PAGES;
	own_control.evtchn = 1;
	say(!family_enter(), "family_enter");
}

static uint32_t make_pipe(void)
{
	common_pipe = pipe_new();
	common_pipe->readers = common_pipe->writers = 1;
	say(!pipe_share(common_pipe, NULL, NULL), "pipe_share");
	return common_pipe->common;
}

static void take_end(uint32_t number, bool writes)
{
	if (common_pipe->common != number) { /* the one that it has made is not the one that they share */
		object_drop(common_pipe->common, END_READ);
		object_drop(common_pipe->common, END_WRITE);
		common_pipe->common = number;
		object_hold(number, writes ? END_WRITE : END_READ);
	} else {
		object_drop(number, writes ? END_READ : END_WRITE);
	}
	common_pipe->readers = !writes;
	common_pipe->writers = writes;
}

static void close_pipe(void)
{
	pipe_ends(common_pipe, NULL, -(int)common_pipe->readers, -(int)common_pipe->writers);
}

static void writer(void)
{
	for (size_t i = 0; i < RECORDS; i++) {
		struct uio u;
		long n;

		uio_single(&u, model_text + i * RECORD, RECORD);
		n = pipe_put(common_pipe, NULL, &u, false, false);
		say(n == RECORD || (n == -EPIPE && other_dead()), "what was written");
		if (n < 0)
			break;
	}
	close_pipe();
	family_exit();
}

static void reader(void)
{
	size_t got = 0;

	for (;;) {
		struct uio u;
		char piece[PIECE];
		long n;

		uio_single(&u, piece, PIECE);
		n = pipe_get(common_pipe, NULL, &u, false, false);
		say(n >= 0 && n <= PIECE && got + (size_t)n <= RECORDS * RECORD, "what was read");
		if (!n)
			break;
		say(!memcmp(piece, model_text + got, (size_t)n), "bytes");
		got += (size_t)n;
	}
	say(got == RECORDS * RECORD || (got % RECORD == 0 && other_dead()), "the end");
	close_pipe();
	family_exit();
}

static void gone(uint32_t pid)
{
	pid_gone = pid;
}

const struct side side = {&own_control, &own_info, enter, make_pipe, take_end, writer, reader, gone};

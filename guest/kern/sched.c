/* sched.c: who runs. One CPU, round robin, turns of 10 ms while several threads want it. */
#include "family.h"
#include "hyper.h"
#include "process.h"

#define SLICE_NS 10000000

int own_pid;
struct thread main_thread = {.all = {&threads, &threads}};
struct thread *cur = &main_thread;
struct list_node threads = {&main_thread.all, &main_thread.all};
int thread_count = 1;
struct waitq poll_q = WAITQ_INIT(poll_q);

int stopped, resched;

static struct list_node runq = {&runq, &runq};
static struct thread *dead; /* exited; its stack can be freed once another thread runs */
static int64_t slice_end;
static int64_t cpu_total; /* of all threads, up to cur->switched_in */
static int idling;        /* since then nobody ran */

int runnable_others(void)
{
	return !list_empty(&runq);
}

void thread_runnable(struct thread *t)
{
	t->state = THREAD_RUNNABLE;
	if (list_empty(&runq)) {
		slice_end = now_ns() + SLICE_NS;
		timer_new = 1;
	}
	list_add_tail(&runq, &t->run_node);
}

/* When the running thread's turn ends, for the hypervisor's timer. */
int64_t sched_deadline(void)
{
	if (runnable_others())
		return slice_end;
	return !idling && family_ticks() ? now_ns() + SLICE_NS : FOREVER;
}

void sched_tick(int64_t now)
{
	if (runnable_others() && now >= slice_end)
		resched = 1;
}

/* ---- accounting ---- */

static void charge(struct thread *t, int64_t now)
{
	t->cpu_ns += now - t->switched_in;
	cpu_total += now - t->switched_in;
	t->switched_in = now;
}

static int64_t running_ns(void)
{
	return idling ? 0 : now_ns() - cur->switched_in;
}

int64_t thread_cpu_ns(const struct thread *t)
{
	return t->cpu_ns + (t == cur ? running_ns() : 0);
}

int64_t process_cpu_ns(void)
{
	return cpu_total + running_ns();
}

void cpu_time_forked(void)
{
	cpu_total = 0;
	for (struct list_node *n = threads.next; n != &threads; n = n->next)
		CONTAINER_OF(n, struct thread, all)->cpu_ns = 0;
	cur->switched_in = now_ns();
}

/* ---- switching ---- */

/* Nothing to run: wait in the hypervisor for an event, and handle it. */
static void idle(void)
{
	idling = 1;
	timer_arm();
	if (family_sleeps())
		event_block();
	family_awake();
	events_handle(0);
	idling = 0;
}

/* What the thread that now runs does for the one before it. */
static void finish_switch(void)
{
	struct thread *t = dead;

	dead = NULL;
	if (t)
		thread_free(t);
	set_fs_base(cur->fs_base);
}

/*
 * The engine stops the domain, and tells the parent; not while commands wait, of which one may be SIGCONT. That may also come a moment after the domain
 * goes on.
 */
static void stay_stopped(void)
{
	if (engine_call(KX_CALL_KILL, 0, control->domid, (uint64_t)stopped, 0) == -EAGAIN) {
		events_handle(0);
		return;
	}
	while (stopped)
		idle();
}

void schedule(void)
{
	struct thread *prev = cur, *next;
	int64_t now = now_ns();

	charge(prev, now);
	resched = 0;
	while (stopped || list_empty(&runq)) {
		if (stopped)
			stay_stopped();
		else
			idle();
		now = now_ns();
	}
	next = CONTAINER_OF(runq.next, struct thread, run_node);
	list_del(&next->run_node);
	next->switched_in = now;
	slice_end = now + SLICE_NS;
	timer_new = 1;
	if (next == prev)
		return;
	if (prev->state == THREAD_DEAD)
		dead = prev;
	cur = next;
	switch_to(prev, next);
	finish_switch();
}

/* Called by entry.S on a new thread's stack. */
void thread_first_run(struct frame *f)
{
	finish_switch();
	leave_work(f);
}

void yield(void)
{
	if (!runnable_others() && !stopped)
		return;
	thread_runnable(cur);
	schedule();
}

void *fpu_area(struct thread *t)
{
	if (!t->xsave_mem)
		t->xsave_mem = kmalloc(fpu_size() + FPU_ALIGN);
	if (!t->xsave_mem)
		return NULL;
	return (void *)(((uintptr_t)t->xsave_mem + FPU_ALIGN - 1) & ~(uintptr_t)(FPU_ALIGN - 1));
}

/*
 * The end of a turn of a thread that was interrupted anywhere: its vector state has to be kept. Where
 * memory for that is short it simply goes on.
 */
void preempt(void)
{
	void *area = fpu_area(cur);

	resched = 0;
	if (!area)
		return;
	fpu_save(area);
	thread_runnable(cur);
	schedule();
	fpu_restore(area);
}

/* ---- waiting ---- */

void thread_wake(struct thread *t, int result)
{
	if (t->state != THREAD_WAITING)
		return;
	if (t->wait_node.next)
		list_del(&t->wait_node);
	t->wait_result = result;
	thread_runnable(t);
}

static void wait_timeout(struct ktimer *timer)
{
	thread_wake(CONTAINER_OF(timer, struct thread, wait_timer), -ETIMEDOUT);
}

static int sleep_on(struct waitq *q, int64_t deadline, int interruptible)
{
	struct thread *t = cur;

	if (interruptible && signal_pending())
		return -EINTR;
	if (deadline != FOREVER && deadline <= now_ns())
		return -ETIMEDOUT;
	t->state = THREAD_WAITING;
	t->interruptible = interruptible;
	if (q)
		list_add_tail(&q->waiters, &t->wait_node);
	if (deadline != FOREVER) {
		t->wait_timer.fn = wait_timeout;
		ktimer_set(&t->wait_timer, deadline);
	}
	schedule();
	ktimer_cancel(&t->wait_timer);
	/* Another thread may have taken the signal that woke us: a spurious wake then. */
	return t->wait_result == -EINTR && !signal_pending() ? 0 : t->wait_result;
}

int wait_on(struct waitq *q, int64_t deadline)
{
	return sleep_on(q, deadline, 1);
}

int wait_on_killable(struct waitq *q, int64_t deadline)
{
	return sleep_on(q, deadline, 0);
}

void wake_one(struct waitq *q)
{
	if (!list_empty(&q->waiters))
		thread_wake(CONTAINER_OF(q->waiters.next, struct thread, wait_node), 0);
}

void wake_all(struct waitq *q)
{
	while (!list_empty(&q->waiters))
		wake_one(q);
}

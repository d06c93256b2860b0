/* event.c: events from the hypervisor: the timer, and the engine's commands and bytes. */
#include "family.h"
#include "hyper.h"
#include "mem.h"
#include "network.h"
#include "process.h"

int timer_new;

static int64_t armed = FOREVER; /* what the hypervisor's timer is set to; it goes off once */
static int timer_bound;
static uint32_t timer_port;
static uint32_t engine_port;    /* our end of the channel */
static uint32_t cmds_taken;     /* our own copy of cmds.cons */

void events_init(void)
{
	engine_port = control->evtchn;
	cmds_taken = control->cmds.cons;
	control->cmds.cons_waits = 1;
	control->conin.cons_waits = 1;
}

void doorbell(void)
{
	struct evtchn_send send = {engine_port};

	hyper_event_channel(EVTCHNOP_send, &send);
}

/* ---- timer ---- */

static void bind_timer(void)
{
	struct evtchn_bind_virq bind = {.virq = VIRQ_TIMER};

	if (timer_bound)
		return;
	/* Xen starts every vcpu with a tick of 100 Hz, on the same VIRQ. */
	HYPERCALL(__HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, bind.vcpu, 0);
	if (hyper_event_channel(EVTCHNOP_bind_virq, &bind))
		panic("the hypervisor gives no timer");
	timer_port = bind.port;
	timer_bound = 1;
}

void timer_arm(void)
{
	int64_t want = MIN(timer_next, sched_deadline());

	timer_new = 0;
	if (want >= armed)
		return; /* an early event does no harm */
	bind_timer();
	armed = want;
	HYPERCALL(__HYPERVISOR_set_timer_op, want, 0, 0);
}

void timer_lost(void)
{
	timer_bound = 0;
	armed = FOREVER;
	timer_new = 1;
}

/* ---- commands ---- */

static void run_command(const struct kx_cmd *c)
{
	siginfo_t info = {.si_signo = (int)c->arg0, .si_code = SI_USER};

	switch (c->op) {
	case KX_CMD_SIGNAL:
		info.si_pid = (pid_t)c->a[0];
		if (c->arg0 && c->arg0 < KX_NSIG)
			signal_process((int)c->arg0, &info);
		break;
	case KX_CMD_WINSIZE:
		tty_winsize((unsigned)c->a[0], (unsigned)c->a[1]);
		break;
	case KX_CMD_EOF:
		tty_hangup();
		break;
	case KX_CMD_CHILD:
		child_news((int)c->arg0, (uint32_t)c->a[0], (int64_t)c->a[1]);
		break;
	case KX_CMD_GONE:
		family_gone((int)c->arg0, (int)c->a[0], (int)c->a[1]);
		break;
	case KX_CMD_TASK:
		task_command();
		break;
	case KX_CMD_FORK:
		fork_command(c->a[0]);
		break;
	}
}

static void commands(void)
{
	const volatile struct kx_cmd *ring = (const volatile struct kx_cmd *)KX_CMDS_VA;
	struct kx_cmd c;

	control->cmds.cons_waits = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (control->cmds.prod - cmds_taken > KX_CMDS)
		cmds_taken = control->cmds.prod; /* the program wrote over the ring */
	while (cmds_taken != control->cmds.prod) {
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		c = *(const struct kx_cmd *)&ring[cmds_taken % KX_CMDS];
		control->cmds.cons = ++cmds_taken;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (control->cmds.prod_waits)
			doorbell();
		run_command(&c);
	}
}

/* ---- upcalls ---- */

/*
 * Every port is looked after on every event, so all that is to be done is to clear them, and to note
 * that the timer has gone off. That it has is not told by the clock: the hypervisor's may be ahead of ours.
 */
void events_clear(void)
{
	struct shared_info *s = (struct shared_info *)KX_SHARED_VA;
	uint64_t sel, came;

	__atomic_exchange_n(&s->vcpu_info[0].evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
	sel = __atomic_exchange_n(&s->vcpu_info[0].evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
	for (; sel; sel &= sel - 1) {
		int w = __builtin_ctzl(sel);

		came = __atomic_fetch_and(&s->evtchn_pending[w], s->evtchn_mask[w], __ATOMIC_SEQ_CST);
		if (timer_port / 64 == (unsigned)w && came >> timer_port % 64 & 1)
			armed = FOREVER;
	}
}

void event_block(void)
{
	hyper_sched(SCHEDOP_block, (void *)KX_BLOCK_MASKED);
	shared->vcpu_info[0].evtchn_upcall_mask = 1;
}

void event_wait_here(void)
{
	event_block();
	events_clear();
}

void event_wait_until(int64_t end)
{
	struct sched_poll poll = {(uint64_t)&engine_port, 1, (uint64_t)end};

	hyper_sched(SCHEDOP_poll, &poll);
	events_clear();
}

void events_owed(void)
{
	shared->vcpu_info[0].evtchn_upcall_pending = 1;
}

void events_lost(void)
{
	__atomic_fetch_or(&shared->vcpu_info[0].evtchn_pending_sel, 1, __ATOMIC_SEQ_CST);
	events_owed();
}

void events_handle(int in_upcall)
{
	int idle = !runnable_others();
	int64_t now;

	events_clear();
	now = now_ns();
	ktimers_run(now);
	commands();
	console_events();
	family_events();
	if (&kx_network)
		kx_network.events();
	sched_tick(now);
	timer_new = 1;
	/* Who waited for this event runs before a thread that only computes. */
	if (in_upcall && idle && runnable_others())
		resched = 1;
	tasks_if_wanted();
	fork_if_wanted();
}

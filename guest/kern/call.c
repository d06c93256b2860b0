/* call.c: calls to the engine: kx_control.call. The whole pVM stops for one, but for those that task.c makes. */
#include "hyper.h"
#include "mem.h"
#include "process.h"

/*
 * On Xen the engine gets this long to answer what is not waited for: dom0 may have its turn on this CPU, and answers in less as a rule. On the hosted
 * hypervisor a sleep and a wake-up would cost more than an event.
 */
#define GLANCE_NS 100000

#define call (&control->call)

bool engine_answered(void)
{
	return call->done == call->asked;
}

long engine_answer(void)
{
	int slept = 0;

	while (!engine_answered()) {
		event_wait_here();
		slept = 1;
	}
	if (slept)
		events_owed();
	return call->result;
}

static void ask(uint32_t op, uint32_t flags, uint64_t a, uint64_t b, uint64_t c)
{
	call->op = op;
	call->flags = flags;
	call->a[0] = a;
	call->a[1] = b;
	call->a[2] = c;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	call->asked++;
	doorbell();
}

void engine_post(uint32_t op, uint64_t a, uint64_t b, uint64_t c)
{
	int64_t end = now_ns() + GLANCE_NS;

	ask(op, 0, a, b, c);
	while (mfn_list && !engine_answered() && now_ns() < end) {
		event_wait_until(end);
		events_owed();
	}
}

long engine_call(uint32_t op, uint32_t flags, uint64_t a, uint64_t b, uint64_t c)
{
	tasks_settle();
	ask(op, flags, a, b, c);
	return engine_answer();
}

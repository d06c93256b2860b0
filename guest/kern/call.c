/* call.c: calls to the engine. The whole pVM stops for one: kx_control.call. */
#include "hyper.h"
#include "process.h"

#define call (&control->call)

long engine_answer(void)
{
	int slept = 0;

	while (call->done != call->asked) {
		event_wait_here();
		slept = 1;
	}
	if (slept)
		events_owed();
	return call->result;
}

long engine_call(uint32_t op, uint32_t flags, uint64_t a, uint64_t b, uint64_t c)
{
	call->op = op;
	call->flags = flags;
	call->a[0] = a;
	call->a[1] = b;
	call->a[2] = c;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	call->asked++;
	doorbell();
	return engine_answer();
}

/* exit.c: the end of a pVM. What it printed is in the console ring, which outlives it. */
#include "family.h"
#include "hyper.h"
#include "network.h"
#include "process.h"

/* From here on that is how it ended, also if it is killed before it has. */
static void conclude(int status)
{
	control->status = (uint32_t)status;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	control->state = KX_STATE_EXITED;
}

static void shut_down(unsigned reason) __attribute__((noreturn));

static void shut_down(unsigned reason)
{
	struct sched_shutdown how = {reason};

	for (;;)
		hyper_sched(SCHEDOP_shutdown, &how);
}

void exit_process(int status)
{
	if (&kx_network)
		kx_network.exited();
	robust_exit_all();
	conclude(status);
	family_exit(status);
	shut_down(SHUTDOWN_poweroff);
}

void exit_crashed(const struct kx_crash *c)
{
	*(struct kx_crash *)&control->crash = *c;
	robust_exit_all();
	family_exit(-1); /* the engine's report is to be on the console before the parent goes on */
	conclude((int)c->signo);
	shut_down(SHUTDOWN_crash);
}

void exit_out_of_memory(void)
{
	control->reason = KX_REASON_MEMORY;
	conclude(SIGKILL);
	shut_down(SHUTDOWN_poweroff);
}

void panic(const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	klog("kx: %s", line);
	conclude(SIGABRT);
	shut_down(SHUTDOWN_crash);
}

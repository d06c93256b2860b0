/* exit.c: the end of a pVM. What it printed is in the console ring, which outlives it. */
#include "family.h"
#include "hyper.h"
#include "network.h"
#include "process.h"

static void shut_down(int status, unsigned reason) __attribute__((noreturn));

static void shut_down(int status, unsigned reason)
{
	struct sched_shutdown how = {reason};

	control->status = (uint32_t)status;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	control->state = KX_STATE_EXITED;
	for (;;)
		hyper_sched(SCHEDOP_shutdown, &how);
}

void exit_process(int status)
{
	if (&kx_network)
		kx_network.exited();
	robust_exit_all();
	family_exit();
	shut_down(status, SHUTDOWN_poweroff);
}

void exit_crashed(const struct kx_crash *c)
{
	*(struct kx_crash *)&control->crash = *c;
	robust_exit_all();
	family_exit();
	shut_down((int)c->signo, SHUTDOWN_crash);
}

void exit_out_of_memory(void)
{
	control->reason = KX_REASON_MEMORY;
	shut_down(SIGKILL, SHUTDOWN_poweroff);
}

void panic(const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	klog("kx: %s", line);
	shut_down(SIGABRT, SHUTDOWN_crash);
}

/*
 * fork.c: one pVM becomes two. The engine copies or shares what is in memory (engine/fork.go); what is not, this file
 * keeps and restores: registers by fork_split in entry.S, vector state and FS base here. The rest is what makes
 * the copy a process of its own.
 */
#include "family.h"
#include "frame.h"
#include "futex.h"
#include "hyper.h"
#include "mem.h"
#include "network.h"
#include "p9.h"
#include "process.h"

#define ENDING 8 /* children may be ending while another one is made */

static uint64_t wanted; /* token of a fork from outside that is due; 0: none */

/* ---- both sides ---- */

/* Called by entry.S, with where a child goes on. */
long fork_ask(uint64_t rip, uint64_t rsp, uint64_t token)
{
	uint32_t patient = !token && children_ending() ? KX_FORK_PATIENT : 0;

	return engine_call(KX_CALL_FORK, KX_FORK_MARKED | cow_promise() | patient, rip, rsp, token);
}

/* Called by entry.S where a child, or a parent that was moved, goes on: 0 for the child. */
long fork_woken(void)
{
	cpu_init();
	timer_lost();
	events_lost();
	mem_moved();
	return control->domid == (uint32_t)own_pid ? engine_answer() : 0;
}

/* ---- the child ---- */

static void become_child(void)
{
	cow_forked();
	own_pid = (int)control->domid;
	random_init();
	console_init();
	events_init();
	p9_forked();
	robust_forked();
	family_child();
	if (mfn_list)
		shm_moved(); /* else mem_moved has seen to it */
	offer_forked();
	tty_forked();
	signals_discard(~0UL);
	children_forked();
	tasks_forked();
	cpu_time_forked();
	proc_forked();
	addresses_write();
	boot_ns = now_ns();
	if (&kx_network)
		kx_network.forked();
}

/* What POSIX takes from a child that its program asked for: the other threads, and timers. */
static void leave_behind(void)
{
	for (struct list_node *n = threads.next, *next; n != &threads; n = next) {
		next = n->next;
		if (n != &cur->all)
			thread_drop(CONTAINER_OF(n, struct thread, all));
	}
	cur->tid = own_pid;
	cur->clear_child_tid = cur->robust_list = 0;
	futexes_forked();
	itimers_forked();
	posix_timers_forked();
}

/* ---- the fork ---- */

/* As fork(2); with a token, how many children there are now. */
static long fork_now(uint64_t token)
{
	void *fpu = fpu_area(cur);
	int parent = own_pid;
	long r;

	if (!fpu)
		return -ENOMEM;
	common_share();
	fpu_save(fpu);
	r = fork_split(token);
	if (r > 0) {
		family_born(token ? r : 1);
		if (&kx_network)
			kx_network.born();
	}
	if (!r && control->domid != (uint32_t)parent) {
		become_child();
		if (token)
			signal_clone();
		else
			leave_behind();
		control->main_ns = boot_ns;
		control->state = KX_STATE_MAIN;
	}
	set_fs_base(cur->fs_base);
	fpu_restore(fpu);
	return r;
}

long sys_fork(void)
{
	struct child *c = child_new();
	long pid;

	if (!c)
		return -ENOMEM;
	children_settle(ENDING);
	pid = fork_now(0);
	if (pid == -EAGAIN && children_ending()) { /* they counted as members of the family */
		children_settle(0);
		pid = fork_now(0);
	}
	if (pid > 0)
		child_born(c, (int)pid);
	else
		kfree(c); /* the child's copy, too */
	return pid;
}

/* The child may do whatever a child of fork may. */
long sys_vfork(void)
{
	return sys_fork();
}

/* ---- from outside ---- */

void fork_command(uint64_t token)
{
	wanted = token;
}

/* At the end of an upcall everything is at rest: all threads go on in the children too. */
void fork_if_wanted(void)
{
	uint64_t token = wanted;

	wanted = 0;
	if (token)
		fork_now(token);
}

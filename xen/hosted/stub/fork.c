/*
 * fork.c: a stub whose guest memory is private forks where it is, and Linux copies on write. The first
 * fork of a domain does not need this: its memory is a file until then, which the engine freezes.
 */
#include "stub.h"
#include "sys.h"

#include <linux/sched.h>

enum { NEW_CTL, NEW_BELL, NEW_SOCK, NEW_ENGINE, NEW_TAG, NEW_FILES };

static struct stub_fork order;

/* The files that came take the places of the parent's, which are not the child's. */
static long take_files(void)
{
	static const int places[NEW_FILES] = {STUB_FD_CTL, STUB_FD_BELL, STUB_FD_SOCK, STUB_FD_ENGINE, STUB_FD_TAG};

	for (int i = 0; i < NEW_FILES; i++) {
		long r = sys(__NR_dup2, received_files[i], places[i]);

		if (r < 0)
			return r;
		sys(__NR_close, received_files[i]);
	}
	return sys(__NR_dup2, STUB_FD_CTL, STUB_FD_CONTROL) < 0 ? -XEN_EINVAL : 0;
}

static _Noreturn void child(void)
{
	long r = take_files();

	if (!r)
		r = map_own_pages();
	if (r)
		die(r); /* nobody can be told: the engine sees the process end */
	guest.timer_bound = 0;
	say_built(1);
	title_set(order.title);
	await_go(order.rip, order.rsp);
}

static long receive_order(uint32_t number)
{
	for (;;) {
		long r = receive(STUB_FD_SOCK, &order, sizeof order);

		if (r <= 0)
			return r ? r : -XEN_EINVAL;
		if (r == sizeof order && received_count == NEW_FILES && order.number == number)
			return 0;
		close_received();
	}
}

void fork_here(uint32_t number)
{
	uint64_t all = ~0UL, none = 0;
	uint32_t expected = number;
	long r = receive_order(number);

	/* Another engine may have given another order meanwhile. */
	__atomic_compare_exchange_n(&STATE->fork, &expected, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	if (!r) {
		/* A signal would make the engine be asked again. */
		sys(__NR_rt_sigprocmask, SIG_SETMASK, &all, &none, sizeof all);
		r = sys(__NR_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
		sys(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
		if (r == 0)
			child();
	}
	close_received();
	STATE->forked_number = number;
	__atomic_store_n(&STATE->forked, r, __ATOMIC_SEQ_CST);
	futex_wake(&STATE->forked);
}

/* exit.c: the end of a pVM that has connections. What it has written is sent first, as a kernel that lives on would, as far as somebody takes it. */
#include "net.h"
#include "process.h"
#include "sock.h"

#define LINGER_NS (5 * NSEC)

/* Who is in this pVM ends with it. */
static bool outside(const struct tcp_pcb *p)
{
	return !ip4_addr_isloopback(&p->remote_ip) && !ip_addr_cmp(&p->remote_ip, &p->local_ip);
}

static bool unsent(void)
{
	for (const struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		if ((p->unsent || p->unacked) && outside(p))
			return true;
	return false;
}

static void wake(struct ktimer *t)
{
	(void)t;
}

void net_wait(void)
{
	timer_arm();
	event_wait_here();
	ktimers_run(now_ns());
	vif_events();
}

/* No thread runs any more. */
void net_exited(void)
{
	static struct ktimer late = {.fn = wake};
	int64_t end = now_ns() + LINGER_NS;

	for (struct list_node *n = socks.next; n != &socks; n = n->next) {
		struct sock *s = CONTAINER_OF(n, struct sock, all);

		if (s->type == SOCK_STREAM)
			tcp_end(s);
	}
	net_settle();
	ktimer_set(&late, end);
	while (unsent() && now_ns() < end)
		net_wait();
	lease_exit();
}

/* hypervisor.c: how the two sides wake each other: Xen's event channels, and the hosted hypervisor's bells. */
#include "step.h"

#define PORTS 32
#define FIRST 2 /* below: the engine's */

static struct {
	struct port {
		bool open, bound;
		uint32_t remote_port;
	} ports[SIDES][PORTS];
	bool bell[SIDES];
} hv __attribute__((section("side_data")));

/* ---- events ---- */

void raise_event(const struct side *s, uint32_t port)
{
	uint64_t bit = 1UL << port;

	if (__atomic_fetch_or(&s->info->evtchn_pending[0], bit, __ATOMIC_SEQ_CST) & bit)
		return;
	if (__atomic_load_n(&s->info->evtchn_mask[0], __ATOMIC_SEQ_CST) & bit)
		return;
	if (!(__atomic_fetch_or(&s->info->vcpu_info[0].evtchn_pending_sel, 1, __ATOMIC_SEQ_CST) & 1))
		__atomic_store_n(&s->info->vcpu_info[0].evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST);
}

static struct port *port_at(unsigned side, uint32_t port)
{
	return port < PORTS ? &hv.ports[side][port] : NULL;
}

static struct port *free_port(unsigned side, uint32_t *port)
{
	for (*port = FIRST; *port < PORTS; ++*port)
		if (!hv.ports[side][*port].open)
			return &hv.ports[side][*port];
	say(false, "ports run out");
	return NULL;
}

/* Both sides are given as the other one's: there are but two. */
static long bind(struct evtchn_bind_interdomain *b)
{
	unsigned me = side_running();
	struct port *theirs = port_at(!me, b->remote_port), *mine;

	if (b->remote_dom != side_at(!me)->ctl->domid || !theirs || !theirs->open || theirs->bound)
		return -EINVAL;
	mine = free_port(me, &b->local_port);
	*mine = (struct port){true, true, b->remote_port};
	*theirs = (struct port){true, true, b->local_port};
	raise_event(side_at(me), b->local_port); /* what was sent before may have been lost */
	return 0;
}

static long send(uint32_t port)
{
	unsigned me = side_running();
	struct port *p = port_at(me, port);

	if (p && p->open) {
		if (p->bound)
			raise_event(side_at(!me), p->remote_port);
		return 0;
	}
	port -= KX_PORT_MEMBER;
	if (!(side_at(me)->ctl->flags & KX_F_BELLS) || port >= KX_MEMBERS)
		return -EINVAL;
	for (unsigned s = 0; s < SIDES; s++)
		if (side_at(s)->ctl->family_place == port + 1)
			hv.bell[s] = true;
	return 0;
}

static long close_port(uint32_t port)
{
	unsigned me = side_running();
	struct port *p = port_at(me, port);

	if (!p || !p->open)
		return -EINVAL;
	if (p->bound)
		hv.ports[!me][p->remote_port].bound = false;
	*p = (struct port){0};
	return 0;
}

static long status(struct evtchn_status *s)
{
	struct port *p = port_at(side_running(), s->port);

	if (!p)
		return -EINVAL;
	s->status = p->bound ? EVTCHNSTAT_interdomain : 0;
	return 0;
}

void engine_opens(void)
{
	const struct side *elder = side_at(0), *younger = side_at(1);
	uint32_t port;

	*free_port(0, &port) = (struct port){.open = true};
	elder->ctl->lines[0] = port << KX_LINE_SHIFT | younger->ctl->domid;
	elder->ctl->lines_news = 1;
	younger->ctl->reach[0] = port << KX_LINE_SHIFT | elder->ctl->domid;
}

static long event_channel(int op, void *arg)
{
	struct evtchn_alloc_unbound *a = arg;

	switch (op) {
	case EVTCHNOP_send:
		return send(((struct evtchn_send *)arg)->port);
	case EVTCHNOP_close:
		return close_port(((struct evtchn_send *)arg)->port);
	case EVTCHNOP_alloc_unbound:
		*free_port(side_running(), &a->port) = (struct port){.open = true};
		return 0;
	case EVTCHNOP_bind_interdomain:
		return bind(arg);
	case EVTCHNOP_status:
		return status(arg);
	}
	return -ENOSYS;
}

long model_event_channel(int op, void *arg)
{
	long r;

	in_hypervisor[side_running()] = true;
	r = event_channel(op, arg);
	in_hypervisor[side_running()] = false;
	return r;
}

long model_sched(int op)
{
	say(op == SCHEDOP_yield, "a hypercall that is not of this model");
	give_way();
	return 0;
}

/* ---- bells: the vcpu waits for its member's rung, as a futex ---- */

bool bell_rung(bool asleep)
{
	unsigned me = side_running();
	const struct kx_control *c = side_at(me)->ctl;

	if (!(c->flags & KX_F_BELLS) || !c->family_place)
		return false;
	if (!asleep) {
		hv.bell[me] = false;
		return ((struct kx_member *)KX_FAMILY_VA)[c->family_place - 1].rung;
	}
	return hv.bell[me];
}

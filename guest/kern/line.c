/*
 * line.c: event channels between members of a family, on Xen. Who is about to sleep opens a port for each member that has the
 * object which it waits for, and says so in the area; who has to wake it binds to that port. From then on both ends can
 * ring without the engine, which has no part in it. A line ends with either domain: Xen closes its end, and the other one finds
 * that the place has somebody else.
 *
 * For who is born while it sleeps it can open none: at a fork the engine has opened some for the child (kx_control.lines).
 *
 * Nobody can be kept busy by rings of his relatives: the ports are masked but for the time that he sleeps.
 */
#include "bell.h"
#include "hyper.h"
#include "process.h"

#define PORTS 1024 /* the engine lets a domain have no more */

/* line_offer.to: the one whom it is for has it. */
#define LINE_TAKING 0x40000000
#define LINE_TAKEN 0x80000000U

struct line {
	uint32_t turn;  /* kx_member.turns of whom it is with */
	uint16_t owner; /* whose these ports are: a child has its parent's lines, which are none */
	uint16_t own;   /* the port that we have opened; 0: none */
	uint16_t bound; /* the port that we have bound to theirs; 0: none */
	uint8_t offer;  /* where own is offered */
	bool taken;     /* own is bound by the other side */
};

static struct line lines[KX_MEMBERS];
static uint64_t ports[PORTS / 64]; /* of all lines */

static struct line_offer *my_offers(void)
{
	return family_bells()->offers[family_place() - 1];
}

static const struct kx_member *member(uint32_t place)
{
	return &((const struct kx_member *)KX_FAMILY_VA)[place];
}

/* ---- ports ---- */

/* A port that is new. Xen has it unmasked. */
static void port_add(uint32_t port)
{
	__atomic_fetch_or(&((struct shared_info *)KX_SHARED_VA)->evtchn_mask[port / 64], 1UL << port % 64, __ATOMIC_SEQ_CST);
	ports[port / 64] |= 1UL << port % 64;
}

/* The number may be that of the engine's next port for us, which has to be heard if we sleep then. */
static void port_close(uint32_t port)
{
	struct evtchn_send close = {port};

	if (!port)
		return;
	ports[port / 64] &= ~(1UL << port % 64);
	__atomic_fetch_and(&((struct shared_info *)KX_SHARED_VA)->evtchn_mask[port / 64], ~(1UL << port % 64), __ATOMIC_SEQ_CST);
	hyper_event_channel(EVTCHNOP_close, &close);
}

static uint32_t port_open(uint32_t pid)
{
	struct evtchn_alloc_unbound a = {.dom = DOMID_SELF, .remote_dom = (uint16_t)pid};

	if (hyper_event_channel(EVTCHNOP_alloc_unbound, &a))
		return 0;
	if (a.port && a.port < PORTS) {
		port_add(a.port);
		return a.port;
	}
	return 0;
}

static uint32_t port_bind(uint32_t pid, uint32_t port)
{
	struct evtchn_bind_interdomain b = {.remote_dom = (uint16_t)pid, .remote_port = port};

	if (hyper_event_channel(EVTCHNOP_bind_interdomain, &b))
		return 0;
	if (b.local_port && b.local_port < PORTS) {
		port_add(b.local_port);
		return b.local_port;
	}
	return 0;
}

/* Whether somebody has bound to a port of ours. */
static bool port_bound(uint32_t port)
{
	struct evtchn_status s = {.dom = DOMID_SELF, .port = port};

	return !hyper_event_channel(EVTCHNOP_status, &s) && s.status == EVTCHNSTAT_interdomain;
}

/*
 * An event that came while its port was masked would hide the next one: it is forgotten, and rung is looked at after this. Only
 * once the port is unmasked, or one that comes in between would hide it as well.
 */
void lines_listen(bool on)
{
	struct shared_info *s = (struct shared_info *)KX_SHARED_VA;

	for (size_t w = 0; w < PORTS / 64; w++) {
		if (!ports[w])
			continue;
		if (!on) {
			__atomic_fetch_or(&s->evtchn_mask[w], ports[w], __ATOMIC_SEQ_CST);
			continue;
		}
		__atomic_fetch_and(&s->evtchn_mask[w], ~ports[w], __ATOMIC_SEQ_CST);
		__atomic_fetch_and(&s->evtchn_pending[w], ~ports[w], __ATOMIC_SEQ_CST);
	}
}

/* ---- lines ---- */

/* The line to who is in a place now; one to who was there before is closed. */
static struct line *line_to(uint32_t place)
{
	struct line *l = &lines[place];
	uint32_t turn = RELAXED(member(place)->turns);

	if (l->owner == control->domid && l->turn == turn)
		return l;
	if (l->owner == control->domid) {
		if (l->own && !l->taken)
			__atomic_store_n(&my_offers()[l->offer].to, 0, __ATOMIC_SEQ_CST);
		port_close(l->own);
		port_close(l->bound);
	}
	*l = (struct line){.turn = turn, .owner = (uint16_t)control->domid};
	return l;
}

/* Whether the other side has bound to what we have offered it: then the offer is over. */
static bool taken(struct line *l, uint32_t place)
{
	struct line_offer *o = &my_offers()[l->offer];

	if (l->own && !l->taken && __atomic_load_n(&o->to, __ATOMIC_SEQ_CST) == ((place + 1) | LINE_TAKEN)) {
		l->taken = true;
		__atomic_store_n(&o->to, 0, __ATOMIC_SEQ_CST);
	}
	return l->taken;
}

/* Binds to a port that the other side has offered. Each step is seen by it, so that it closes nothing that we rely on. */
static void take_up(struct line *l, uint32_t place)
{
	for (int i = 0; i < OFFERS; i++) {
		struct line_offer *o = &family_bells()->offers[place][i];
		uint32_t to = family_place();

		if (!__atomic_compare_exchange_n(&o->to, &to, to | LINE_TAKING, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		l->bound = (uint16_t)port_bind(RELAXED(member(place)->pid), RELAXED(o->port));
		if (l->bound) {
			to |= LINE_TAKING;
			__atomic_compare_exchange_n(&o->to, &to, family_place() | LINE_TAKEN, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		}
		return;
	}
}

/* ---- offers ---- */

/* A free place for an offer; -1: there is none. */
static int free_offer(void)
{
	for (int i = 0; i < OFFERS; i++) {
		uint32_t to = RELAXED(my_offers()[i].to), place = (to & ~LINE_TAKEN) - 1;

		if (to & LINE_TAKEN && place < KX_MEMBERS)
			taken(line_to(place), place);
		if (!RELAXED(my_offers()[i].to))
			return i;
	}
	return -1;
}

/* The place of one that nobody has taken up, which is over; -1: there is none. */
static int clear_offer(void)
{
	static uint32_t next;

	for (int i = 0; i < OFFERS; i++) {
		int at = (int)(next++ % OFFERS);
		uint32_t to = RELAXED(my_offers()[at].to);
		struct line *l = to && to <= KX_MEMBERS ? &lines[to - 1] : NULL;

		if (!l || l->owner != control->domid || l->taken || !l->own || l->offer != at ||
		    !__atomic_compare_exchange_n(&my_offers()[at].to, &to, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		port_close(l->own);
		l->own = 0;
		return at;
	}
	return -1;
}

static void offer(struct line *l, uint32_t place, int at)
{
	l->own = (uint16_t)port_open(RELAXED(member(place)->pid));
	if (!l->own)
		return;
	l->offer = (uint8_t)at;
	__atomic_store_n(&my_offers()[at].port, l->own, __ATOMIC_SEQ_CST);
	__atomic_store_n(&my_offers()[at].to, place + 1, __ATOMIC_SEQ_CST);
}

/* The other side is to open a line: it will take up our offer. */
static void ask(struct line *l, uint32_t place)
{
	uint32_t nobody = 0;
	int at;

	if (!l->own) {
		at = free_offer();
		if (at < 0)
			at = clear_offer();
		if (at < 0)
			return;
		offer(l, place, at);
	}
	__atomic_compare_exchange_n(&family_bells()->asks[place], &nobody, family_place(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void answer(void)
{
	uint32_t *asks = &family_bells()->asks[family_place() - 1];
	uint32_t from = RELAXED(*asks) ? __atomic_exchange_n(asks, 0, __ATOMIC_SEQ_CST) - 1 : KX_MEMBERS;

	if (from < KX_MEMBERS && from != family_place() - 1 && !line_to(from)->bound)
		take_up(line_to(from), from);
}

/* ---- ports that the engine has opened ---- */

static uint32_t news_seen; /* of lines_news */

void lines_look(void)
{
	uint32_t news = __atomic_load_n(&control->lines_news, __ATOMIC_SEQ_CST);

	if (news == news_seen)
		return;
	news_seen = news;
	for (int i = 0; i < KX_LINES; i++) {
		uint32_t word = __atomic_load_n(&control->lines[i], __ATOMIC_SEQ_CST), port = word >> KX_LINE_SHIFT;

		if (!port || port >= PORTS)
			continue;
		if (!(word & KX_LINE_GONE)) {
			port_add(port);
			continue;
		}
		port_close(port);
		__atomic_store_n(&control->lines[i], 0, __ATOMIC_SEQ_CST);
	}
}

/* A port to somebody, opened by the engine when the younger one of us was born; 0: there is none, or the younger one has not bound to it. */
static uint32_t opened(uint32_t pid)
{
	for (int i = 0; i < KX_REACH; i++) {
		uint32_t word = control->reach[i];

		if (!word || (word & KX_LINE_PID) != pid)
			continue;
		control->reach[i] = 0;
		return port_bind(pid, word >> KX_LINE_SHIFT);
	}
	lines_look();
	for (int i = 0; i < KX_LINES; i++) {
		uint32_t word = __atomic_load_n(&control->lines[i], __ATOMIC_SEQ_CST), port = word >> KX_LINE_SHIFT;

		if (!port || port >= PORTS || (word & KX_LINE_PID) != pid || !port_bound(port))
			continue;
		if (__atomic_compare_exchange_n(&control->lines[i], &word, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return port; /* the line's now, which closes it */
	}
	return 0;
}

/* ---- what bell.c needs ---- */

bool line_send(uint32_t place)
{
	struct line *l = line_to(place);
	struct evtchn_send s;

	if (!l->bound && !taken(l, place))
		take_up(l, place);
	if (!l->bound && !l->taken)
		l->bound = (uint16_t)opened(RELAXED(member(place)->pid));
	if (!l->bound && !l->taken) {
		ask(l, place);
		return false;
	}
	s.port = l->bound ? l->bound : l->own;
	return !hyper_event_channel(EVTCHNOP_send, &s);
}

/* Offers to members, as long as there are free places: who gets none asks. */
static void offer_to(uint32_t first, uint64_t set)
{
	for (; set; set &= set - 1) {
		uint32_t place = first + (uint32_t)__builtin_ctzl(set);
		struct line *l;
		int at;

		if (place == family_place() - 1 || !RELAXED(member(place)->pid))
			continue;
		l = line_to(place);
		if (l->own || l->bound)
			continue;
		at = free_offer();
		if (at < 0)
			return;
		offer(l, place, at);
	}
}

void lines_offer(const struct object *o)
{
	if (control->flags & KX_F_BELLS)
		return;
	answer();
	if (RELAXED(o->kept)) /* anybody may use it: those that came first are likely to */
		offer_to(0, (1 << OFFERS) - 1);
	for (uint32_t w = 0; w < HOLDERS; w++)
		offer_to(w * 64, RELAXED(o->members[w].holders[END_READ]) | RELAXED(o->members[w].holders[END_WRITE]));
}

void lines_offer_to(uint32_t place)
{
	if (!(control->flags & KX_F_BELLS))
		offer_to(place, 1);
}

void lines_begin(void)
{
	memset(ports, 0, sizeof(ports));
	news_seen = 0;
	memset(my_offers(), 0, sizeof(family_bells()->offers[0]));
}

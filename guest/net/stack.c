/* stack.c: lwIP's surroundings: memory, time, randomness, the loopback, and what a fork does to it all. */
#include "kern.h"
#include "net.h"
#include "sock.h"

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/ip4_frag.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/tcp.h"
#include "lwip/prot/udp.h"
#include "netif/ethernet.h"

#define KEY_WORDS 8

void chacha20_block(const uint32_t k[KEY_WORDS], uint64_t n, uint8_t out[64]); /* random.c */

/* ---- memory: no more than a quarter of the RAM ---- */

/* Before each block; of 16 bytes, the kernel's alignment. */
struct size {
	size_t n, unused;
};

static size_t used, most;

void *net_malloc(size_t n)
{
	struct size *s;

	if (n > most || used > most - n)
		return NULL;
	s = kmalloc(n + sizeof(*s));
	if (!s)
		return NULL;
	s->n = n;
	used += n;
	return s + 1;
}

void *net_calloc(size_t n, size_t size)
{
	void *p = net_malloc(n * size); /* lwIP's own sizes: small */

	return p ? memset(p, 0, n * size) : NULL;
}

void net_free(void *p)
{
	struct size *s = p;

	if (!p)
		return;
	used -= s[-1].n;
	kfree(s - 1);
}

/* ---- time ---- */

#define TICK_NS (TCP_TMR_INTERVAL * (NSEC / 1000))
#define TICKS_A_SECOND (1000 / TCP_TMR_INTERVAL)
#define HEARD_NS (20 * NSEC) /* so long after a frame parts of a datagram may be waiting for others: IP_REASS_MAXAGE and some more */
#define TIME_WAITS 1024      /* connections in TIME_WAIT; the oldest are forgotten */

static struct ktimer timer;
static int64_t heard = INT64_MIN / 2; /* the last frame of a device */
static uint32_t ticks;

/* Whether time has anything to do with a connection: one that is established and at rest may stay so for ever. */
static bool pcb_ticks(const struct tcp_pcb *p)
{
	return (p->state != ESTABLISHED && p->state != CLOSE_WAIT) || p->unsent || p->unacked || p->ooseq || p->refused_data ||
		p->persist_backoff || p->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND) || p->so_options & SOF_KEEPALIVE;
}

static bool ticking(void)
{
	if (tcp_tw_pcbs || now_ns() - heard < HEARD_NS)
		return true;
	for (const struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		if (pcb_ticks(p))
			return true;
	return false;
}

/* New ones are at the head of lwIP's list. */
static void forget_time_waits(void)
{
	struct tcp_pcb *p = tcp_tw_pcbs;

	for (int n = 1; p && n < TIME_WAITS; n++)
		p = p->next;
	while (p && p->next)
		tcp_abandon(p->next, 0);
}

static void tick(struct ktimer *t)
{
	tcp_tmr();
	forget_time_waits();
	if (++ticks % TICKS_A_SECOND == 0) {
		etharp_tmr();
		ip_reass_tmr();
	}
	netif_poll_all();
	vif_settle();
	if (ticking())
		ktimer_set(t, now_ns() + TICK_NS);
}

/* lwIP says so when there is a connection. */
void tcp_timer_needed(void)
{
	if (!timer.node.next)
		ktimer_set(&timer, now_ns() + TICK_NS);
}

/* lwIP's list of timers, which is not used. */
void sys_timeouts_init(void)
{
}

u32_t sys_now(void)
{
	return (u32_t)(now_ns() / (NSEC / 1000));
}

void net_settle(void)
{
	netif_poll_all();
	if (tcp_active_pcbs || tcp_tw_pcbs)
		tcp_timer_needed();
	vif_settle();
}

/* ---- randomness ---- */

static uint32_t secret[KEY_WORDS];

uint32_t net_random(void)
{
	uint32_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

/* RFC 6528: as hard to guess as the secret, and for the same two ends later connections begin higher. */
u32_t net_isn(const ip4_addr_t *local_ip, u16_t local_port, const ip4_addr_t *remote_ip, u16_t remote_port)
{
	uint32_t k[KEY_WORDS], out[16];

	memcpy(k, secret, sizeof(k));
	k[0] ^= local_ip->addr;
	k[1] ^= remote_ip->addr;
	k[2] ^= (uint32_t)local_port << 16 | remote_port;
	chacha20_block(k, 0, (uint8_t *)out);
	return out[0] + (uint32_t)(now_ns() >> 6);
}

/* ---- looking at what comes, before lwIP does ---- */

static void *header(struct pbuf *p, size_t at, size_t n)
{
	return p->len >= at + n ? (char *)p->payload + at : NULL;
}

static bool is_new(const struct tcp_hdr *tcp)
{
	return (TCPH_FLAGS(tcp) & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* A new connection between two ends of which the last one is in TIME_WAIT here: it ends that (RFC 1122, 4.2.2.13), which lwIP does not know. */
static void renew(const struct ip_hdr *ip, const struct tcp_hdr *tcp)
{
	struct tcp_pcb *p;

	if (!is_new(tcp))
		return;
	for (p = tcp_tw_pcbs; p; p = p->next)
		if (p->local_port == lwip_ntohs(tcp->dest) && p->remote_port == lwip_ntohs(tcp->src) &&
		    p->local_ip.addr == ip->dest.addr && p->remote_ip.addr == ip->src.addr)
			break;
	if (p)
		tcp_abandon(p, 0);
}

/* As a port is that nobody has. */
static void refuse(const struct ip_hdr *ip, const struct tcp_hdr *tcp)
{
	ip_addr_t from = {.addr = ip->src.addr}, to = {.addr = ip->dest.addr};

	tcp_rst(NULL, 0, lwip_ntohl(tcp->seqno) + 1, &to, &from, lwip_ntohs(tcp->dest), lwip_ntohs(tcp->src));
}

/* Nobody has the port that a datagram went to: the socket that is connected to it is told. */
static void refused(struct pbuf *p, size_t at)
{
	const struct icmp_echo_hdr *icmp = header(p, at, sizeof(*icmp));
	const struct ip_hdr *ip;
	const struct udp_hdr *udp;

	if (!icmp || icmp->type != ICMP_DUR || icmp->code != ICMP_DUR_PORT)
		return;
	at += sizeof(*icmp);
	ip = header(p, at, sizeof(*ip));
	if (!ip || IPH_PROTO(ip) != IP_PROTO_UDP)
		return;
	udp = header(p, at + IPH_HL_BYTES(ip), sizeof(*udp));
	if (udp)
		udp_refused(ip->src.addr, lwip_ntohs(udp->src), ip->dest.addr, lwip_ntohs(udp->dest));
}

static bool is_loopback(const ip4_addr_p_t *a)
{
	return (lwip_ntohl(a->addr) >> 24) == 127;
}

/* lwIP's hook: 1 if the packet has been dealt with. */
int net_inspect(struct pbuf *p, struct netif *in)
{
	const struct ip_hdr *ip = header(p, 0, sizeof(*ip));
	const struct tcp_hdr *tcp;
	bool whole;

	if (!ip) {
		pbuf_free(p);
		return 1;
	}
	if (in != loopback() && (is_loopback(&ip->src) || is_loopback(&ip->dest))) {
		pbuf_free(p); /* from outside, and only we have such addresses */
		return 1;
	}
	whole = !(IPH_OFFSET(ip) & PP_HTONS(IP_OFFMASK | IP_MF));
	if (IPH_PROTO(ip) == IP_PROTO_TCP && whole) {
		tcp = header(p, IPH_HL_BYTES(ip), sizeof(*tcp));
		if (tcp && in != loopback() && is_new(tcp) && tcp_asleep(lwip_ntohs(tcp->dest))) {
			refuse(ip, tcp);
			pbuf_free(p);
			return 1;
		}
		if (tcp)
			renew(ip, tcp);
	} else if (IPH_PROTO(ip) == IP_PROTO_ICMP && whole)
		refused(p, IPH_HL_BYTES(ip));
	return 0;
}

/* ---- interfaces ---- */

struct netif *loopback(void)
{
	static struct netif *loop;

	if (!loop)
		NETIF_FOREACH(loop)
			if (loop->name[0] == 'l' && loop->name[1] == 'o')
				break;
	return loop;
}

void net_init(void)
{
	struct mem_info mi;

	if (most)
		return;
	mem_info(&mi);
	most = mi.total / 4 * PAGE_SIZE;
	timer.fn = tick;
	random_bytes(secret, sizeof(secret));
	lwip_init();
	NETIF_SET_CHECKSUM_CTRL(loopback(), NETIF_CHECKSUM_DISABLE_ALL);
	vif_init();
}

/* lwIP reads the headers of IP and ARP before it looks whether they are there. */
err_t net_ethernet(struct pbuf *p, struct netif *n)
{
	const struct eth_hdr *eth = header(p, 0, sizeof(*eth));

	if (!eth || !header(p, sizeof(*eth), eth->type == PP_HTONS(ETHTYPE_ARP) ? SIZEOF_ETHARP_HDR : IP_HLEN))
		return ERR_BUF;
	return ethernet_input(p, n);
}

void net_input(struct netif *n, struct pbuf *p)
{
	heard = now_ns();
	tcp_timer_needed();
	if (n->input(p, n) != ERR_OK)
		pbuf_free(p);
	net_settle();
}

/* ---- fork ---- */

/* In the child: connections and devices are its parent's. Nothing of this is sent: the other ends talk to the parent. */
void net_forked(void)
{
	struct netif *n = netif_list, *next;

	if (!most)
		return;
	vif_down();
	while (tcp_active_pcbs)
		tcp_abandon(tcp_active_pcbs, 0);
	while (tcp_tw_pcbs)
		tcp_abandon(tcp_tw_pcbs, 0);
	/* Not before: that would reset connections of theirs. */
	lease_end();
	for (; n; n = next) {
		next = n->next;
		if (n != loopback())
			netif_remove(n);
	}
	random_bytes(secret, sizeof(secret));
	socks_forked();
	vif_init(); /* which takes what has come already: listeners are asleep by now */
	net_settle();
}

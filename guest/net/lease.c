/*
 * lease.c: an address from DHCP, for a device that was given none (kx_control.nic). lwIP's client does it; here is when it is called. A pVM whose lease is
 * kept wakes once a minute for it, and otherwise not.
 */
#include "net.h"
#include "process.h"

#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"

#define FINE_NS (DHCP_FINE_TIMER_MSECS * (NSEC / 1000))
#define COARSE_NS (DHCP_COARSE_TIMER_SECS * NSEC)
#define PATIENCE_NS (8 * NSEC) /* how long a program waits for an address: for three questions, at 0, 2 and 6 s */

#define RELEASE_NS (NSEC / 10) /* how long a lease that is given back may take: nobody answers to it */

static struct netif *leased; /* the device; NULL: it needs no lease */
static struct ktimer fine, coarse;
static int64_t patience; /* until when programs wait */
static struct waitq waiters = WAITQ_INIT(waiters);
static char hostname[sizeof(control->name)];

static bool waits(void)
{
	return leased && !dhcp_supplied_address(leased) && now_ns() < patience;
}

/* lwIP counts its questions' time in half seconds. */
static void rearm(void)
{
	if (leased && netif_dhcp_data(leased)->request_timeout && !fine.node.next)
		ktimer_set(&fine, now_ns() + FINE_NS);
}

static void tick_fine(struct ktimer *t)
{
	(void)t;
	dhcp_fine_tmr();
	rearm();
	vif_settle();
}

static void tick_coarse(struct ktimer *t)
{
	dhcp_coarse_tmr();
	rearm();
	vif_settle();
	ktimer_set(t, now_ns() + COARSE_NS);
}

/* lwIP's: the address is another one. */
static void changed(struct netif *n)
{
	control->nic.leased = netif_ip4_addr(n)->addr;
	addresses_write();
	wake_all(&waiters);
}

/* lwIP's resolver, which is not used: the name servers of a lease. */
void dns_init(void)
{
}

void dns_setserver(u8_t n, const ip_addr_t *server)
{
	if (!n)
		name_server_set(server->addr);
}

void lease_begin(struct netif *n)
{
	strcpy_max(hostname, (const char *)control->name, sizeof(hostname));
	fine.fn = tick_fine;
	coarse.fn = tick_coarse;
	patience = now_ns() + PATIENCE_NS;
	netif_set_hostname(n, hostname);
	netif_set_status_callback(n, changed);
	if (dhcp_start(n) != ERR_OK) {
		klog("kx: network: no memory for DHCP");
		return;
	}
	leased = n;
	rearm();
	ktimer_set(&coarse, now_ns() + COARSE_NS);
}

void lease_end(void)
{
	if (!leased)
		return;
	ktimer_cancel(&fine);
	ktimer_cancel(&coarse);
	dhcp_release_and_stop(leased);
	netif_set_status_callback(leased, NULL);
	dhcp_cleanup(leased);
	leased = NULL;
}

void lease_wait(void)
{
	while (waits())
		if (wait_on_killable(&waiters, patience))
			return;
}

/* Before the program begins there is no thread that could sleep. */
void lease_boot(void)
{
	net_init();
	while (waits())
		net_wait();
	if (leased && !dhcp_supplied_address(leased))
		klog("kx: network: no DHCP server has answered for %d s: going on without an address, and asking on", (int)(PATIENCE_NS / NSEC));
}

static void nothing(struct ktimer *t)
{
	(void)t;
}

/* Gives the lease back: others may need the address. The server's own is asked for first, since what waits for that would be left behind. */
void lease_exit(void)
{
	static struct ktimer late = {.fn = nothing};
	int64_t end = now_ns() + RELEASE_NS;
	const ip4_addr_t *found;
	struct eth_addr *mac;
	ip4_addr_t server;

	if (!leased || !dhcp_supplied_address(leased))
		return;
	server = *ip_2_ip4(&netif_dhcp_data(leased)->server_ip_addr);
	etharp_query(leased, &server, NULL);
	net_settle();
	ktimer_set(&late, end);
	while (etharp_find_addr(leased, &server, &mac, &found) < 0 && now_ns() < end)
		net_wait();
	lease_end();
	net_settle();
	while (!vif_idle() && now_ns() < end)
		net_wait();
}

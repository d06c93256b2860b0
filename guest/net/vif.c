/*
 * vif.c: the front end of a network device (kx_control.nic): Xen's rings, whoever is at the other end. All buffers are the device's own pages: what is sent is
 * copied there, and what came is copied out of the other end's reach before it is looked at.
 */
#include "hyper.h"
#include "kern.h"
#include "net.h"

#include "lwip/etharp.h"

#define FIRST_BUFFER 2 /* page; those before are the rings */
#define RX_BUFFERS 128
#define TX_BUFFERS 64
#define QUEUE 256 /* frames that wait for a buffer; more are lost, as on any wire */
#define FRAME_MOST (14 + 1500)

_Static_assert(FIRST_BUFFER + RX_BUFFERS + TX_BUFFERS <= KX_NET_PAGES, "buffers");
_Static_assert(RX_BUFFERS <= NETIF_ENTRIES && TX_BUFFERS <= NETIF_ENTRIES, "rings");

#define tx ((volatile struct netif_ring *)KX_NET_VA)
#define rx ((volatile struct netif_ring *)(KX_NET_VA + PAGE_SIZE))
#define TX_REQUEST(i) (&((volatile struct netif_tx_request *)(tx + 1))[(i) % NETIF_ENTRIES])
#define TX_RESPONSE(i) (&((volatile struct netif_tx_response *)(tx + 1))[(i) % NETIF_ENTRIES])
#define RX_REQUEST(i) (&((volatile struct netif_rx_request *)(rx + 1))[(i) % NETIF_ENTRIES])
#define RX_RESPONSE(i) (&((volatile struct netif_rx_response *)(rx + 1))[(i) % NETIF_ENTRIES])

static struct netif vif;
static bool up, owed; /* owed: the other end may have to be rung */
static uint32_t rx_prod, rx_cons, rx_told, tx_prod, tx_cons, tx_told;
static uint8_t free_tx[TX_BUFFERS];
static unsigned free_count;
static bool busy[TX_BUFFERS]; /* the other end has it */
static struct pbuf *queue[QUEUE];
static unsigned queue_first, queue_count;

static char *page(unsigned n)
{
	return (char *)KX_NET_VA + n * PAGE_SIZE;
}

/* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY: whether the other end wants to be told. */
static bool publish(volatile struct netif_ring *r, uint32_t *told, uint32_t prod)
{
	uint32_t old = *told;

	if (old == prod)
		return false;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	r->req_prod = *told = prod;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return prod - r->req_event < prod - old;
}

static void offer(unsigned buffer)
{
	volatile struct netif_rx_request *q = RX_REQUEST(rx_prod++);

	q->id = (uint16_t)buffer;
	q->gref = control->nic.ref + FIRST_BUFFER + buffer;
}

/* ---- sending ---- */

static void put(struct pbuf *p)
{
	unsigned b = free_tx[--free_count];
	volatile struct netif_tx_request *q = TX_REQUEST(tx_prod++);

	busy[b] = true;
	pbuf_copy_partial(p, page(FIRST_BUFFER + RX_BUFFERS + b), p->tot_len, 0);
	q->gref = control->nic.ref + FIRST_BUFFER + RX_BUFFERS + b;
	q->offset = 0;
	q->flags = 0;
	q->id = (uint16_t)b;
	q->size = p->tot_len;
	owed = true;
}

/* What has been sent leaves room for what waits. */
static void reclaim(void)
{
	uint32_t prod = tx->rsp_prod;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	for (; tx_cons != prod && tx_cons != tx_told; tx_cons++) {
		unsigned b = TX_RESPONSE(tx_cons)->id;

		if (b < TX_BUFFERS && busy[b]) {
			busy[b] = false;
			free_tx[free_count++] = (uint8_t)b;
		}
	}
	for (; queue_count && free_count; queue_count--) {
		struct pbuf *p = queue[queue_first++ % QUEUE];

		put(p);
		pbuf_free(p);
	}
}

static err_t output(struct netif *n, struct pbuf *p)
{
	(void)n;
	if (!up || p->tot_len > FRAME_MOST)
		return ERR_IF;
	if (!free_count)
		reclaim();
	if (free_count && !queue_count) {
		put(p);
		return ERR_OK;
	}
	if (queue_count == QUEUE)
		return ERR_MEM;
	pbuf_ref(p);
	queue[(queue_first + queue_count++) % QUEUE] = p;
	return ERR_OK;
}

/* ---- receiving ---- */

static void take(uint32_t i)
{
	volatile struct netif_rx_response *r = RX_RESPONSE(i);
	unsigned b = r->id % RX_BUFFERS, offset = r->offset;
	int size = r->status;
	struct pbuf *p = NULL;

	if (size > 0 && size <= FRAME_MOST && offset + (unsigned)size <= PAGE_SIZE)
		p = pbuf_alloc(PBUF_RAW, (uint16_t)size, PBUF_RAM);
	if (p)
		pbuf_take(p, page(FIRST_BUFFER + b) + offset, (uint16_t)size);
	offer(b);
	if (p)
		net_input(&vif, p);
}

/* Asks for an event at the next response; false: one has come by now. RING_FINAL_CHECK_FOR_RESPONSES. */
static bool quiet(volatile struct netif_ring *r, uint32_t cons)
{
	r->rsp_event = cons + 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return r->rsp_prod == cons;
}

/* Looks for frames, and for room; at every event. */
void vif_events(void)
{
	if (!up)
		return;
	do {
		uint32_t prod = rx->rsp_prod;

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		while (rx_cons != prod && rx_cons != rx_told)
			take(rx_cons++);
		if (rx_prod != rx_told)
			owed = true;
		reclaim();
		vif_settle();
	} while (!quiet(rx, rx_cons) || (queue_count && !quiet(tx, tx_cons)));
}

/* Tells the other end once of what was sent since. */
void vif_settle(void)
{
	struct evtchn_send send = {control->nic.port};
	bool ring;

	if (!owed)
		return;
	owed = false;
	ring = publish(tx, &tx_told, tx_prod);
	if (publish(rx, &rx_told, rx_prod) || ring)
		hyper_event_channel(EVTCHNOP_send, &send);
}

/* ---- coming and going ---- */

static err_t init(struct netif *n)
{
	n->name[0] = 'e';
	n->name[1] = 'n';
	n->hwaddr_len = 6;
	for (int i = 0; i < 6; i++)
		n->hwaddr[i] = control->nic.mac[i];
	n->mtu = 1500;
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
	n->output = etharp_output;
	n->linkoutput = output;
	return ERR_OK;
}

/* The device that the pVM, or this child, was given, if it was given one. */
void vif_init(void)
{
	ip4_addr_t ip = {control->nic.ip}, mask = {control->nic.mask}, gateway = {control->nic.gateway};

	if (control->nic.pages < KX_NET_PAGES)
		return;
	rx_prod = rx_cons = rx_told = rx->rsp_prod;
	tx_prod = tx_cons = tx_told = tx->rsp_prod;
	for (free_count = 0; free_count < TX_BUFFERS; free_count++)
		free_tx[free_count] = (uint8_t)free_count;
	for (unsigned b = 0; b < RX_BUFFERS; b++)
		offer(b);
	up = owed = true;
	netif_add(&vif, &ip, &mask, &gateway, NULL, init, net_ethernet);
	netif_set_default(&vif);
	netif_set_up(&vif);
	netif_set_link_up(&vif);
	if (!control->nic.ip)
		lease_begin(&vif);
	vif_events();
}

bool vif_idle(void)
{
	return !up || (tx->rsp_prod == tx_prod && !queue_count);
}

/* In the child of a fork: the device was its parent's, and so are the frames that wait. */
void vif_down(void)
{
	for (; queue_count; queue_count--)
		pbuf_free(queue[queue_first++ % QUEUE]);
	memset(busy, 0, sizeof(busy));
	up = owed = false;
}

/* net.c: network devices. */
#include "guest.h"

#define PAGE_OF(n) ((volatile uint8_t *)KX_NET_VA + (n) * PAGE)
#define BUFFERS 64 /* in each direction */
#define RX_PAGE 2
#define TX_PAGE (RX_PAGE + BUFFERS)

static volatile struct netif_ring *const tx = (volatile struct netif_ring *)KX_NET_VA;
static volatile struct netif_ring *const rx = (volatile struct netif_ring *)(KX_NET_VA + PAGE);

#define TX_REQUESTS ((volatile struct netif_tx_request *)(tx + 1))
#define RX_REQUESTS ((volatile struct netif_rx_request *)(rx + 1))
#define RX_RESPONSES ((volatile struct netif_rx_response *)(rx + 1))

static void ring_host(void)
{
	struct evtchn_send s = {CONTROL->nic.port};

	HC(event_channel_op, EVTCHNOP_send, &s);
}

/* Tells of requests up to prod, and the other end if it wants to know. */
static void push(volatile struct netif_ring *r, uint32_t prod)
{
	uint32_t old = r->req_prod;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	r->req_prod = prod;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (prod - r->req_event < prod - old)
		ring_host();
}

static void offer(uint32_t prod, unsigned buffer)
{
	volatile struct netif_rx_request *q = &RX_REQUESTS[prod % NETIF_ENTRIES];

	q->id = (uint16_t)buffer;
	q->gref = CONTROL->nic.ref + RX_PAGE + buffer;
}

/* echo: sends each frame back to where it came from. */
static void do_echo(void)
{
	uint32_t rx_prod = BUFFERS, rx_cons = 0, tx_prod = 0;

	CHECK(CONTROL->nic.pages == KX_NET_PAGES);
	CHECK(rx->req_event == 1 && tx->req_event == 1);
	events_on(event_entry);
	for (unsigned i = 0; i < BUFFERS; i++)
		offer(i, i);
	push(rx, rx_prod);
	ring();
	for (;;) {
		rx->rsp_event = rx_cons + 1;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		VCPU->evtchn_upcall_mask = 1;
		if (rx->rsp_prod == rx_cons)
			block();
		VCPU->evtchn_upcall_mask = 0;
		for (; rx_cons != rx->rsp_prod; rx_cons++) {
			struct netif_rx_response r = RX_RESPONSES[rx_cons % NETIF_ENTRIES];
			volatile struct netif_tx_request *q = &TX_REQUESTS[tx_prod % NETIF_ENTRIES];
			volatile uint8_t *from = PAGE_OF(RX_PAGE + r.id % BUFFERS) + r.offset, *to = PAGE_OF(TX_PAGE + tx_prod % BUFFERS);

			CHECK(r.status > 0);
			while (tx_prod - tx->rsp_prod >= BUFFERS)
				HC(sched_op, SCHEDOP_yield);
			for (int i = 0; i < r.status; i++)
				to[i < 6 ? i + 6 : i < 12 ? i - 6 : i] = from[i];
			q->gref = CONTROL->nic.ref + TX_PAGE + tx_prod % BUFFERS;
			q->offset = 0;
			q->flags = 0;
			q->id = (uint16_t)(tx_prod % BUFFERS);
			q->size = (uint16_t)r.status;
			push(tx, ++tx_prod);
			offer(rx_prod, r.id);
			push(rx, ++rx_prod);
			RESULT[1]++;
		}
	}
}

const struct program net_programs[] = {{"echo", do_echo}, {0}};

/*
 * remap.c: libraries that come and go while the guest runs. The engine orders it, whenever it likes: the guest is interrupted for it, or
 * wakes from its sleep and goes on sleeping.
 */
#include "stub.h"
#include "sys.h"

static struct stub_remap order;

/* Orders of an engine that has died may come first. */
static long receive_remap(uint32_t number)
{
	for (;;) {
		long r = receive(STUB_FD_SOCK, &order, sizeof order);

		if (r <= 0)
			return r ? r : -XEN_EINVAL;
		if (r >= (long)offsetof(struct stub_remap, maps) && order.number == number)
			return 0;
		close_received();
	}
}

void remap_if_ordered(void)
{
	uint32_t number = __atomic_load_n(&STATE->map, __ATOMIC_SEQ_CST), expected = number;
	long r;

	if (!number)
		return;
	r = receive_remap(number);
	__atomic_compare_exchange_n(&STATE->map, &expected, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	libraries_came();
	for (uint32_t i = 0; !r && i < order.nmaps && i < STUB_MAPS; i++)
		r = map(order.maps[i].va, order.maps[i].len, order.maps[i].prot, order.maps[i].fd, order.maps[i].off);
	if (r)
		close_received();
	for (uint32_t i = 0; !r && i < order.ncloses && i <= KX_LIBRARIES; i++)
		sys(__NR_close, order.closes[i]);
	STATE->mapped_number = number;
	__atomic_store_n(&STATE->mapped, r ? r : 1, __ATOMIC_SEQ_CST);
	futex_wake(&STATE->mapped);
}

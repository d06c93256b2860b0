/* calls.c: what the kernel knows of the network. */
#include "net.h"
#include "network.h"
#include "sock.h"

#include <sys/syscall.h>

#define NET_CALLS(X)                                                                          \
	X(socket) X(bind) X(connect) X(listen) X(accept) X(accept4) X(getsockname) X(getpeername)

#define DECLARE(name) long net_##name();
NET_CALLS(DECLARE)

#define ROW(name) [SYS_##name] = (network_call)net_##name,
static const network_call table[] = {NET_CALLS(ROW)};

static network_call call(long nr)
{
	return nr >= 0 && (size_t)nr < ARRAY_LEN(table) ? table[nr] : NULL;
}

const struct network kx_network = {
	.call = call, .forked = net_forked, .born = socks_born, .events = vif_events, .exited = net_exited, .boot = lease_boot,
};

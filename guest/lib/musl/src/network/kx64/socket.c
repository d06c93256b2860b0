/* socket.c: as musl's, and it makes the linker take in the network. */
#include <sys/socket.h>

#include "syscall.h"

extern const char kx_network;
static const char *const needed __attribute__((used)) = &kx_network;

int socket(int domain, int type, int protocol)
{
	return syscall(SYS_socket, domain, type, protocol);
}

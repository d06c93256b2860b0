/* lwipopts.h: lwIP as the LibOS uses it: its raw interface, called from one thread of control (kern.h). */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_ERRNO_STDINCLUDE 1
#define LWIP_TIMEVAL_PRIVATE 0
#define LWIP_NO_CTYPE_H 1 /* its functions are libc's */

/* stack.c: an idle pVM must not tick. */
#define LWIP_TIMERS 1
#define LWIP_TIMERS_CUSTOM 1

/* stack.c: the kernel's heap, within bounds. */
void *net_malloc(size_t n);
void *net_calloc(size_t n, size_t size);
void net_free(void *p);
#define MEM_LIBC_MALLOC 1
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 16
#define mem_clib_malloc net_malloc
#define mem_clib_calloc net_calloc
#define mem_clib_free net_free

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_RAW 0
#define LWIP_ICMP 1
#define LWIP_UDP 1
#define LWIP_DHCP 1
#define DHCP_DOES_ARP_CHECK 0 /* it takes a second; servers look themselves whether an address is free */
#define LWIP_DNS 1            /* of it only what tells of name servers (lease.c); names are libc's */
#define DNS_MAX_SERVERS 1     /* and LWIP_DHCP_MAX_DNS_SERVERS with it: were that less, a lease with more of them would break an assertion of dhcp.c */
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_TCP 1
#define LWIP_ARP 1
#define LWIP_ETHERNET 1
#define IP_REASSEMBLY 1
#define IP_DEFAULT_TTL 64
#define LWIP_HAVE_LOOPIF 1
#define LWIP_NETIF_LOOPBACK 1
/* Who sends over the loopback has the same memory as who receives. */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1

#define TCP_MSS 1460
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 2
#define TCP_WND (128 * 1024)
#define TCP_SND_BUF (128 * 1024)
#define TCP_SND_QUEUELEN 1024
#define TCP_SNDLOWAT (TCP_SND_BUF / 4) /* lwIP wants it below 64 KiB */
#define TCP_OOSEQ_MAX_PBUFS 256
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_KEEPALIVE 1
#define TCP_LISTEN_BACKLOG 1
#define TCP_MSL 15000 /* ms; how many connections may be in TIME_WAIT is bounded besides (stack.c) */
#define SO_REUSE 1
#define IP_SOF_BROADCAST 1

#define LWIP_STATS 0

/* checksum.c: lwIP's own takes two bytes at a time. */
uint16_t net_checksum(const void *data, int n);
#define LWIP_CHKSUM net_checksum
/* Else calls, since what is built freestanding has no functions that the compiler knows: of sizes that are constants, mostly, and less than a header's. */
#define SMEMCPY(to, from, n) __builtin_memcpy(to, from, n)
#define lwip_htons(v) __builtin_bswap16(v)
#define lwip_htonl(v) __builtin_bswap32(v)

uint32_t net_random(void);
#define LWIP_RAND() net_random()

struct ip4_addr;
struct netif;
struct pbuf;
uint32_t net_isn(const struct ip4_addr *local_ip, uint16_t local_port, const struct ip4_addr *remote_ip, uint16_t remote_port);
int net_inspect(struct pbuf *p, struct netif *in);
#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) net_isn(local_ip, local_port, remote_ip, remote_port)
#define LWIP_HOOK_IP4_INPUT(p, in) net_inspect(p, in)

#endif

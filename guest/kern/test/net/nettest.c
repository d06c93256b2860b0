/*
 * nettest.c: unit tests and a fuzzer of the network's sockets, with lwIP, sanitizers and a failing allocator. What they do for
 * programs is tested by guest/test; here are a device that is not there, and what must not happen.
 */
#include "net.h"
#include "network.h"
#include "process.h"
#include "shim.h"
#include "sock.h"

#include "lwip/etharp.h"
#include "lwip/inet_chksum.h"
#include "netif/ethernet.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define FAR 0x0a000001u  /* who is behind the device */
#define NEAR 0x0a000002u /* us, on it */
#define FRAME_MOST 1514
#define SEGMENT 1460 /* TCP_MSS; of that name netinet/tcp.h has another one */

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                   \
		}                                                                  \
	} while (0)

#define DO(name) long sys_##name();
DO(read) DO(write) DO(close) DO(shutdown) DO(sendto) DO(recvfrom) DO(open) DO(setsockopt) DO(getsockopt)

/* What the kernel has besides, and the file layer's shim has not. */
void timer_arm(void)
{
}

void ktimers_run(int64_t now)
{
	(void)now;
}

void strcpy_max(char *dst, const char *src, size_t size)
{
	snprintf(dst, size, "%s", src);
}

void chacha20_block(const uint32_t k[8], uint64_t n, uint8_t out[64])
{
	for (int i = 0; i < 64; i++)
		out[i] = (uint8_t)(((const uint8_t *)k)[i % 32] * 31 + n);
}

static unsigned seed;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static long call(long nr, long a, long b, long c, long d, long e)
{
	return kx_network.call(nr)(a, b, c, d, e, 0);
}

static struct sockaddr_in at(uint32_t ip, int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(ip)};
}

static long make(int type)
{
	return call(SYS_socket, AF_INET, type | SOCK_NONBLOCK, 0, 0, 0);
}

static long to(long nr, long fd, uint32_t ip, int port)
{
	struct sockaddr_in name = at(ip, port);

	return call(nr, fd, (long)&name, sizeof(name), 0, 0);
}

static long listens_on(int port)
{
	long fd = make(SOCK_STREAM);

	CHECK(fd >= 0);
	CHECK(to(SYS_bind, fd, 0, port) == 0);
	CHECK(call(SYS_listen, fd, 5, 0, 0, 0) == 0);
	return fd;
}

/* Time goes by until nothing more is to be done: how often the timer went off. */
static int settle(int most)
{
	int n = 0;

	while (n < most && shim_timers())
		n++;
	return n;
}

/* ---- a pVM at rest does not tick ---- */

static void test_rest(void)
{
	long l = listens_on(80), s = make(SOCK_STREAM), a;
	char buf[10];

	settle(100000);
	CHECK(!shim_timers());
	CHECK(to(SYS_connect, s, INADDR_LOOPBACK, 80) == 0);
	a = call(SYS_accept, l, 0, 0, 0, 0);
	CHECK(a >= 0);
	CHECK(settle(10) < 10); /* nothing is on its way between them */
	CHECK(sys_write(s, (long)"hello", 5L) == 5);
	CHECK(sys_read(a, (long)buf, 10L) == 5);
	CHECK(settle(10) < 10);
	sys_close(s);
	sys_close(a);
	CHECK(settle(1000) < 1000); /* TIME_WAIT ends */
	sys_close(l);
	CHECK(!shim_timers());
}

/* ---- what is corked, or followed by more, waits until it is a segment ---- */

static long read_all(long fd)
{
	static char buf[3 * SEGMENT];
	long n, all = 0;

	while ((n = sys_read(fd, (long)buf, (long)sizeof(buf))) > 0)
		all += n;
	return all;
}

static void test_cork(void)
{
	static char buf[3 * SEGMENT];
	long l = listens_on(80), s = make(SOCK_STREAM), a, came;
	int on = 1, off = 0, now = 0;
	socklen_t n = sizeof(now);

	CHECK(to(SYS_connect, s, INADDR_LOOPBACK, 80) == 0);
	a = call(SYS_accept4, l, 0, 0, SOCK_NONBLOCK, 0);
	CHECK(sys_setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (long)&on, sizeof(on)) == 0);
	CHECK(sys_setsockopt(s, IPPROTO_TCP, TCP_CORK, (long)&on, sizeof(on)) == 0);
	CHECK(sys_getsockopt(s, IPPROTO_TCP, TCP_CORK, (long)&now, (long)&n) == 0 && now == 1);
	CHECK(sys_write(s, (long)buf, 100L) == 100 && sys_write(s, (long)buf, 50L) == 50);
	CHECK(sys_read(a, (long)buf, (long)sizeof(buf)) == -EAGAIN);
	CHECK(sys_write(s, (long)buf, (long)SEGMENT) == SEGMENT);
	came = read_all(a);
	CHECK(came >= SEGMENT);
	CHECK(sys_write(s, (long)buf, 60L) == 60 && sys_read(a, (long)buf, (long)sizeof(buf)) == -EAGAIN);
	CHECK(sys_setsockopt(s, IPPROTO_TCP, TCP_CORK, (long)&off, sizeof(off)) == 0);
	CHECK(came + read_all(a) == 150 + SEGMENT + 60);
	CHECK(sys_sendto(s, (long)buf, 70L, (long)MSG_MORE, 0L, 0L) == 70 && sys_read(a, (long)buf, (long)sizeof(buf)) == -EAGAIN);
	CHECK(sys_write(s, (long)buf, 5L) == 5 && sys_read(a, (long)buf, (long)sizeof(buf)) == 75);
	CHECK(sys_sendto(s, (long)buf, 80L, (long)MSG_MORE, 0L, 0L) == 80 && sys_read(a, (long)buf, (long)sizeof(buf)) == -EAGAIN);
	CHECK(settle(10) > 0 && sys_read(a, (long)buf, (long)sizeof(buf)) == 80); /* nothing follows */
	CHECK(sys_sendto(s, (long)buf, 90L, (long)MSG_MORE, 0L, 0L) == 90);
	sys_close(s);
	CHECK(sys_read(a, (long)buf, (long)sizeof(buf)) == 90 && !sys_read(a, (long)buf, (long)sizeof(buf)));
	sys_close(a);
	sys_close(l);
	settle(1000);
}

/* ---- no more than so many wait in TIME_WAIT ---- */

static void test_time_waits(void)
{
	long l = listens_on(80), s, a;
	int n = 0;

	for (int i = 0; i < 3000; i++) {
		s = make(SOCK_STREAM);
		CHECK(to(SYS_connect, s, INADDR_LOOPBACK, 80) == 0);
		a = call(SYS_accept, l, 0, 0, 0, 0);
		sys_close(s);
		sys_close(a);
		if (i % 100 == 0)
			shim_timers();
	}
	shim_timers();
	for (const struct tcp_pcb *p = tcp_tw_pcbs; p; p = p->next)
		n++;
	CHECK(n > 500 && n <= 1024);
	sys_close(l);
	settle(1000);
	CHECK(!tcp_tw_pcbs);
}

/* ---- connections that are reset before anybody accepts them leave nothing ---- */

static void test_unaccepted(void)
{
	struct linger reset = {1, 0};
	long l = listens_on(80), s, before = shim_allocations;

	for (int i = 0; i < 300; i++) {
		s = make(SOCK_STREAM);
		CHECK(to(SYS_connect, s, INADDR_LOOPBACK, 80) == 0);
		CHECK(sys_setsockopt(s, SOL_SOCKET, SO_LINGER, (long)&reset, sizeof(reset)) == 0);
		sys_close(s);
	}
	CHECK(call(SYS_accept, l, 0, 0, 0, 0) == -EAGAIN);
	CHECK(shim_allocations == before);
	sys_close(l);
}

/* ---- memory that ends anywhere leaves nothing behind ---- */

static void exchange(void)
{
	static char buf[40000];
	long l = make(SOCK_STREAM), s = make(SOCK_STREAM), a = -1, u = make(SOCK_DGRAM);

	to(SYS_bind, l, 0, 80);
	call(SYS_listen, l, 5, 0, 0, 0);
	to(SYS_connect, s, INADDR_LOOPBACK, 80);
	a = call(SYS_accept, l, 0, 0, 0, 0);
	sys_write(s, (long)buf, (long)sizeof(buf));
	sys_read(a, (long)buf, 7000L);
	to(SYS_bind, u, 0, 53);
	to(SYS_connect, u, INADDR_LOOPBACK, 53);
	sys_write(u, (long)buf, 3000L);
	sys_read(u, (long)buf, 3000L);
	sys_write(u, (long)buf, 3000L);
	sys_shutdown(s, (long)SHUT_WR);
	settle(3);
	for (long fd = 0; fd < 4; fd++)
		sys_close((long[]){l, s, a, u}[fd]);
}

static void test_failures(void)
{
	long before;

	exchange();
	settle(2000);
	before = shim_allocations;
	for (long n = 0; n < 150; n++) {
		shim_fail_after = n;
		exchange();
		shim_fail_after = -1;
		settle(2000);
		CHECK(!tcp_active_pcbs && !tcp_tw_pcbs);
		CHECK(shim_allocations == before);
	}
}

/* ---- a device ---- */

static uint8_t last[FRAME_MOST]; /* the last frame sent */
static size_t last_len;
static int frames_sent;

static err_t device_output(struct netif *n, struct pbuf *p)
{
	(void)n;
	last_len = pbuf_copy_partial(p, last, sizeof(last), 0);
	frames_sent++;
	return ERR_OK;
}

static err_t device_init(struct netif *n)
{
	memcpy(n->hwaddr, "\2\0\0\0\0\2", 6);
	n->hwaddr_len = 6;
	n->mtu = 1500;
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP;
	n->output = etharp_output;
	n->linkoutput = device_output;
	n->name[0] = 'e';
	return ERR_OK;
}

static err_t no_output(struct netif *n, struct pbuf *p)
{
	(void)n;
	(void)p;
	return ERR_IF;
}

static struct netif device;

static void device_add(void)
{
	ip4_addr_t ip = {htonl(NEAR)}, mask = {htonl(0xffffff00)}, gateway = {htonl(FAR)};

	CHECK(netif_add(&device, &ip, &mask, &gateway, NULL, device_init, net_ethernet));
	netif_set_default(&device);
	netif_set_up(&device);
	netif_set_link_up(&device);
}

static void frame(const uint8_t *bytes, size_t n)
{
	struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)n, PBUF_RAM);

	CHECK(p);
	memcpy(p->payload, bytes, n);
	net_input(&device, p);
}

/* A frame of IP for us, with sums that are right; the result is its length. */
static size_t build(uint8_t *f, int protocol, uint32_t from, uint32_t dest, const void *data, size_t n)
{
	struct ip_hdr *ip = (struct ip_hdr *)(f + 14);

	memcpy(f, "\2\0\0\0\0\2\2\0\0\0\0\1\x08\0", 14);
	memset(ip, 0, sizeof(*ip));
	IPH_VHL_SET(ip, 4, 5);
	IPH_LEN_SET(ip, htons((uint16_t)(20 + n)));
	IPH_TTL_SET(ip, 64);
	IPH_PROTO_SET(ip, (u8_t)protocol);
	ip->src.addr = htonl(from);
	ip->dest.addr = htonl(dest);
	IPH_CHKSUM_SET(ip, inet_chksum(ip, 20));
	memcpy(f + 34, data, n);
	return 34 + n;
}

static size_t build_tcp(uint8_t *f, uint32_t from, uint32_t dest, int port, int flags, uint32_t seq, uint32_t ack)
{
	struct tcp_hdr h = {.src = htons(999), .dest = htons((uint16_t)port), .seqno = htonl(seq), .ackno = htonl(ack), .wnd = htons(60000)};
	ip4_addr_t a = {htonl(from)}, b = {htonl(dest)};
	struct pbuf *p = pbuf_alloc(PBUF_RAW, sizeof(h), PBUF_RAM);

	TCPH_HDRLEN_FLAGS_SET(&h, 5, flags);
	memcpy(p->payload, &h, sizeof(h));
	h.chksum = inet_chksum_pseudo(p, IP_PROTO_TCP, sizeof(h), &a, &b);
	pbuf_free(p);
	return build(f, IP_PROTO_TCP, from, dest, &h, sizeof(h));
}

static void arp_reply(void)
{
	uint8_t f[60] = "\2\0\0\0\0\2\2\0\0\0\0\1\x08\x06\0\1\x08\0\6\4\0\2\2\0\0\0\0\1\x0a\0\0\1\2\0\0\0\0\2\x0a\0\0\2";

	frame(f, sizeof(f));
}

static const struct tcp_hdr *last_tcp(void)
{
	CHECK(last_len >= 54 && last[23] == IP_PROTO_TCP);
	return (const struct tcp_hdr *)(last + 34);
}

/* A connection from outside, with all that is sent seen; and addresses of the loopback are not to come from there. */
static void test_device(void)
{
	long l = listens_on(80), a;
	uint8_t f[FRAME_MOST];
	uint32_t theirs;
	int before;

	device_add();
	arp_reply();
	frame(f, build_tcp(f, FAR, NEAR, 80, TCP_SYN, 1000, 0));
	CHECK(TCPH_FLAGS(last_tcp()) == (TCP_SYN | TCP_ACK));
	theirs = ntohl(last_tcp()->seqno) + 1;
	frame(f, build_tcp(f, FAR, NEAR, 80, TCP_ACK, 1001, theirs));
	a = call(SYS_accept4, l, 0, 0, SOCK_NONBLOCK, 0);
	CHECK(a >= 0);
	CHECK(sys_write(a, (long)"hello", 5L) == 5);
	CHECK(last_len == 59 && !memcmp(last + 54, "hello", 5));
	before = frames_sent;
	frame(f, build_tcp(f, 0x7f000001, 0x7f000001, 80, TCP_SYN, 1, 0));
	frame(f, build_tcp(f, 0x7f000001, NEAR, 80, TCP_SYN, 1, 0));
	frame(f, build_tcp(f, FAR, 0x7f000001, 80, TCP_SYN, 1, 0));
	CHECK(frames_sent == before);
	/* In a child the device is its parent's, and nobody outside hears of what the child drops. */
	kx_network.forked();
	CHECK(frames_sent == before);
	CHECK(sys_read(a, (long)f, 10L) == -ECONNRESET);
	sys_close(a);
	a = make(SOCK_STREAM);
	CHECK(to(SYS_connect, a, FAR, 80) == -ENETUNREACH);
	sys_close(a);
	sys_close(l);
	settle(1000);
}

/* ---- an address from DHCP ---- */

static size_t build_udp(uint8_t *f, uint32_t from, uint32_t dest, int from_port, int to_port, const void *data, size_t n)
{
	struct udp_hdr h = {.src = htons((uint16_t)from_port), .dest = htons((uint16_t)to_port), .len = htons((uint16_t)(8 + n))};
	uint8_t all[FRAME_MOST];

	memcpy(all, &h, 8); /* without a sum, as is allowed */
	memcpy(all + 8, data, n);
	return build(f, IP_PROTO_UDP, from, dest, all, 8 + n);
}

/* What the device has sent to a DHCP server last: its kind; 0: something else. */
static int asked(void)
{
	const struct udp_hdr *udp = (const struct udp_hdr *)(last + 34);

	if (last_len < 42 + 243 || last[23] != IP_PROTO_UDP || udp->dest != htons(67) || memcmp(last + 42 + 236, "\x63\x82\x53\x63\x35\1", 6))
		return 0;
	return last[42 + 242];
}

/* A server's answer to that, with options. */
static void answer(int kind, const void *options, size_t n)
{
	uint8_t f[FRAME_MOST], m[400] = {0};

	memcpy(m, last + 42, 236);
	m[0] = 2;
	memcpy(m + 16, "\x0a\0\0\2", 4);
	memcpy(m + 236, "\x63\x82\x53\x63\x35\1", 6);
	m[242] = (uint8_t)kind;
	memcpy(m + 243, options, n);
	frame(f, build_udp(f, FAR, 0xffffffff, 67, 68, m, sizeof(m)));
}

#define TWO_NAMES "\x36\4\x0a\0\0\1\x33\4\0\0\0\x78\6\x08\x0a\0\0\x35\x0a\0\0\x36\xff"
#define LEASE "\x36\4\x0a\0\0\1\x33\4\0\0\0\x78\1\4\xff\xff\xff\0\3\4\x0a\0\0\1\6\4\x0a\0\0\x35\xff"

static void device_without_address(void)
{
	CHECK(netif_add(&device, NULL, NULL, NULL, NULL, device_init, net_ethernet));
	netif_set_default(&device);
	netif_set_up(&device);
	netif_set_link_up(&device);
	last_len = 0;
	lease_begin(&device);
}

/* The address is asked for until somebody answers, is the pVM's with the name server that came with it, and is kept; a child has none, and says nothing. */
static void test_lease(void)
{
	char text[64];
	int before;
	long fd;

	control->nic.dns = 0;
	device_without_address();
	CHECK(asked() == 1);
	last_len = 0;
	CHECK(settle(5) == 5 && asked() == 1);
	answer(2, TWO_NAMES, sizeof(TWO_NAMES) - 1);
	CHECK(asked() == 3);
	answer(5, LEASE, sizeof(LEASE) - 1);
	CHECK(control->nic.leased == htonl(NEAR) && device.gw.addr == htonl(FAR));
	fd = sys_open((long)"/etc/resolv.conf", (long)O_RDONLY, 0L);
	CHECK(fd >= 0);
	CHECK(sys_read(fd, (long)text, 26L) == 26 && !memcmp(text, "nameserver 10.0.0.53      ", 26));
	sys_close(fd);
	arp_reply();
	last_len = 0;
	for (int i = 0; i < 5 && !asked(); i++)
		shim_timers();
	CHECK(asked() == 3); /* renewed after half of its two minutes */
	answer(5, LEASE, sizeof(LEASE) - 1);
	before = frames_sent;
	control->nic.leased = 0;
	device.linkoutput = no_output; /* as vif.c's in a child */
	kx_network.forked();
	CHECK(frames_sent == before);
	settle(1000);
}

/* Answers that no server gives. */
static void fuzz_lease(int rounds)
{
	uint8_t options[150];

	for (int i = 0; i < rounds; i++) {
		device_without_address();
		for (int j = 0; j < 4; j++) {
			size_t n = sizeof(LEASE) - 1;

			memcpy(options, LEASE, n);
			if (rnd(2))
				for (n = 0; n < sizeof(options); n++)
					options[n] = (uint8_t)(rnd(4) ? rnd(60) : rnd(256));
			for (unsigned k = rnd(3); k; k--)
				options[rnd((unsigned)n)] = (uint8_t)rnd(256);
			if (asked())
				answer((int[]){2, 5, 6, (int)rnd(10)}[rnd(4)], options, n);
			if (!rnd(3))
				shim_timers();
		}
		kx_network.forked();
		settle(1000);
	}
}

/* Frames that are nearly right, and some that are not at all. */
static void fuzz(int rounds)
{
	uint8_t f[FRAME_MOST], data[200];
	long l = listens_on(80), u = make(SOCK_DGRAM), a;
	size_t n;

	CHECK(to(SYS_bind, u, 0, 53) == 0);
	device_add();
	arp_reply();
	for (int i = 0; i < rounds; i++) {
		switch (rnd(4)) {
		case 0:
			n = build_tcp(f, FAR + rnd(2), NEAR, rnd(8) ? 80 : (int)rnd(65536), (int)rnd(64), rnd(2) ? 1000 + rnd(3) : rnd(1u << 31),
				rnd(2) && last_len >= 54 ? ntohl(((struct tcp_hdr *)(last + 34))->seqno) + rnd(3) : rnd(1u << 31));
			break;
		case 1:
			for (size_t j = 0; j < sizeof(data); j++)
				data[j] = (uint8_t)rnd(256);
			n = build(f, (int[]){IP_PROTO_UDP, IP_PROTO_TCP, IP_PROTO_ICMP}[rnd(3)], FAR, NEAR, data, rnd(sizeof(data)));
			break;
		case 2: /* what it sent itself, back */
			memcpy(f, last, last_len);
			memcpy(f, "\2\0\0\0\0\2", 6);
			n = last_len;
			break;
		default:
			n = 14 + rnd(100);
			for (size_t j = 0; j < n; j++)
				f[j] = (uint8_t)rnd(256);
			if (rnd(2))
				memcpy(f, "\2\0\0\0\0\2\2\0\0\0\0\1\x08\6", 14);
			break;
		}
		for (unsigned j = rnd(4); j > 1 && n; j--)
			f[rnd((unsigned)n)] ^= (uint8_t)(1 << rnd(8));
		if (!rnd(8))
			n = rnd((unsigned)n + 1);
		if (n)
			frame(f, n);
		while (!rnd(4) && (a = call(SYS_accept4, l, 0, 0, SOCK_NONBLOCK, 0)) >= 0) {
			sys_read(a, (long)data, (long)sizeof(data));
			sys_write(a, (long)data, (long)rnd(sizeof(data)));
			sys_close(a);
		}
		sys_read(u, (long)data, (long)sizeof(data));
		if (!rnd(20))
			shim_timers();
	}
	sys_close(l);
	sys_close(u);
	kx_network.forked();
	settle(5000);
}

/* Against the sum by its definition, at each alignment and of many lengths. */
static void test_checksum(void)
{
	static uint8_t data[1600];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(rnd(3) ? rnd(256) : 0xff);
	for (int n = 0; n < 1520; n += n < 80 ? 1 : 47)
		for (int at = 0; at < 16; at++) {
			uint32_t sum = 0;
			uint16_t got = net_checksum(data + at, n);

			for (int i = 0; i < n; i++)
				sum += (uint32_t)data[at + i] << 8 * (i & 1);
			sum = (sum >> 16) + (sum & 0xffff);
			CHECK(got == (sum >> 16) + (sum & 0xffff));
		}
	memset(data, 0xff, sizeof(data));
	CHECK(net_checksum(data, 1500) == 0xffff && net_checksum(data, 0) == 0);
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 3000;
	long before;

	seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	shim_init();
	vfs_init();
	CHECK(fd_init_stdio() == 0);
	control->nic.dns = htonl(FAR); /* a device is to have a name server */
	sys_close(make(SOCK_STREAM));
	sys_close(sys_open((long)"/etc/resolv.conf", (long)O_RDONLY, 0L)); /* which makes the root */
	before = shim_allocations;
	test_checksum();
	test_rest();
	test_cork();
	test_time_waits();
	test_unaccepted();
	test_failures();
	test_device();
	test_lease();
	fuzz(rounds * 10);
	fuzz_lease(rounds);
	CHECK(!tcp_active_pcbs && !tcp_tw_pcbs);
	CHECK(shim_allocations == before);
	printf("network: ok (seed %s, %d rounds)\n", argc > 1 ? argv[1] : "1", rounds);
	return 0;
}

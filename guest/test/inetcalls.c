/* inetcalls.c: tests of datagrams over the loopback, and of what the calls of sockets refuse, say and set. */
#include "inet.h"

#include <sys/time.h>

/* ---- datagrams ---- */

void test_net_datagrams(void)
{
	struct sockaddr_in at, mine, from;
	struct iovec in = {page, 4};
	struct msghdr m = {.msg_iov = &in, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof(from)};
	int a = udp_socket(&at), b = udp_socket(&mine), n;
	socklen_t len = sizeof(from);
	static char big[60000], back[60000];

	EQ(state_of(a), POLLOUT);
	EQ(sendto(b, "hello", 5, 0, (struct sockaddr *)&at, sizeof(at)), 5);
	EQ(sendto(b, "", 0, 0, (struct sockaddr *)&at, sizeof(at)), 0);
	EQ(sendto(b, "abcdef", 6, 0, (struct sockaddr *)&at, sizeof(at)), 6);
	await_state(a, POLLIN);
	EQ(ioctl(a, FIONREAD, &n), 0);
	EQ(n, 5);
	EQ(recvfrom(a, page, 100, MSG_PEEK, (struct sockaddr *)&from, &len), 5);
	EQ(len, sizeof(from));
	EQ(from.sin_port, mine.sin_port);
	EQ(recv(a, page, 100, 0), 5);
	EQ(memcmp(page, "hello", 5), 0);
	EQ(recv(a, page, 100, 0), 0);
	EQ(recvmsg(a, &m, 0), 4);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(m.msg_namelen, sizeof(from));
	FAILS(recv(a, page, 1, MSG_DONTWAIT), EAGAIN);
	EQ(sendto(b, "abcdef", 6, 0, (struct sockaddr *)&at, sizeof(at)), 6);
	EQ(recv(a, page, 2, MSG_TRUNC), 6);
	/* Large ones, and too large. */
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7);
	EQ(sendto(b, big, sizeof(big), 0, (struct sockaddr *)&at, sizeof(at)), sizeof(big));
	EQ(recv(a, back, sizeof(back), 0), sizeof(back));
	EQ(memcmp(big, back, sizeof(big)), 0);
	FAILS(sendto(b, page, 65508, 0, (struct sockaddr *)&at, sizeof(at)), EMSGSIZE);
	FAILS(send(b, "x", 1, 0), EDESTADDRREQ);
	FAILS(sendto(b, "x", 1, 0, (struct sockaddr *)&at, 3), EINVAL);
}

void test_net_datagrams_several(void)
{
	struct sockaddr_in at, mine, from[4] = {0};
	int a = udp_socket(&at), b = udp_socket(&mine);
	struct iovec v[4];
	struct mmsghdr m[4];
	struct timespec none = {0}, wrong = {0, 1000000000};

	for (int i = 0; i < 4; i++) {
		v[i] = (struct iovec){page + 100 * i, 10};
		m[i] = (struct mmsghdr){{.msg_iov = &v[i], .msg_iovlen = 1, .msg_name = &at, .msg_namelen = sizeof(at)}, 0};
		memset(page + 100 * i, 'a' + i, 10);
		v[i].iov_len = (size_t)i + 1;
	}
	EQ(sendmmsg(b, m, 3, 0), 3);
	EQ(m[2].msg_len, 3);
	memset(page, 0, 400);
	for (int i = 0; i < 4; i++) {
		v[i].iov_len = 2;
		m[i].msg_hdr.msg_name = &from[i];
		m[i].msg_len = 77;
	}
	await_state(a, POLLIN);
	EQ(recvmmsg(a, m, 4, MSG_WAITFORONE, NULL), 3);
	EQ(m[0].msg_len, 1);
	EQ(m[1].msg_len, 2);
	EQ(m[2].msg_len, 2);
	EQ(m[2].msg_hdr.msg_flags, MSG_TRUNC);
	EQ(m[3].msg_len, 77);
	EQ(page[0], 'a');
	EQ(page[201], 'c');
	EQ(from[1].sin_port, mine.sin_port);
	FAILS(recvmmsg(a, m, 4, MSG_DONTWAIT, NULL), EAGAIN);
	/* The time is over after the first. */
	EQ(sendto(b, "x", 1, 0, (struct sockaddr *)&at, sizeof(at)), 1);
	EQ(sendto(b, "y", 1, 0, (struct sockaddr *)&at, sizeof(at)), 1);
	EQ(recvmmsg(a, m, 4, 0, &none), 1);
	EQ(recvmmsg(a, m, 1, 0, NULL), 1);
	EQ(page[0], 'y');
	FAILS(recvmmsg(a, m, 4, 0, &wrong), EINVAL);
	FAILS(recvmmsg(-1, m, 4, 0, NULL), EBADF);
	/* What came before one that fails is told of. */
	EQ(sendto(b, "x", 1, 0, (struct sockaddr *)&at, sizeof(at)), 1);
	EQ(sendto(b, "y", 1, 0, (struct sockaddr *)&at, sizeof(at)), 1);
	v[1].iov_base = (void *)8;
	EQ(recvmmsg(a, m, 2, 0, NULL), 1);
}

/* Whoever does not read loses what there is no room for, and nothing else. */
void test_net_datagrams_full(void)
{
	struct sockaddr_in at;
	int a = udp_socket(&at), b = udp_socket(NULL), sent, got = 0;

	set_option(a, SOL_SOCKET, SO_RCVBUF, 20000);
	for (sent = 0; sent < 1000; sent++)
		EQ(sendto(b, page, 1000, 0, (struct sockaddr *)&at, sizeof(at)), 1000);
	while (recv(a, page, 1000, MSG_DONTWAIT) == 1000)
		got++;
	EQ(errno, EAGAIN);
	CHECK(got > 5 && got < 900);
	EQ(sendto(b, "again", 5, 0, (struct sockaddr *)&at, sizeof(at)), 5);
	EQ(recv(a, page, 100, 0), 5);
}

void test_net_datagrams_connected(void)
{
	struct sockaddr_in at, mine, name;
	int a = udp_socket(&at), b = udp_socket(&mine), c = udp_socket(NULL);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(name);

	FAILS(getpeername(b, (struct sockaddr *)&name, &len), ENOTCONN);
	EQ(connect(b, (struct sockaddr *)&at, sizeof(at)), 0);
	EQ(getpeername(b, (struct sockaddr *)&name, &len), 0);
	EQ(name.sin_port, at.sin_port);
	EQ(send(b, "x", 1, 0), 1);
	EQ(write(b, "yz", 2), 2);
	EQ(recv(a, page, 10, 0), 1);
	EQ(read(a, page, 10), 2);
	/* It hears its peer alone. */
	EQ(sendto(c, "no", 2, 0, (struct sockaddr *)&mine, sizeof(mine)), 2);
	EQ(sendto(a, "yes", 3, 0, (struct sockaddr *)&mine, sizeof(mine)), 3);
	EQ(recv(b, page, 10, 0), 3);
	/* And that its peer has gone. */
	close(a);
	EQ(send(b, "x", 1, 0), 1);
	await_state(b, POLLERR);
	FAILS(recv(b, page, 10, 0), ECONNREFUSED);
	FAILS(recv(b, page, 10, MSG_DONTWAIT), EAGAIN);
	EQ(connect(b, &none, sizeof(none)), 0);
	FAILS(send(b, "x", 1, 0), EDESTADDRREQ);
}

/* ---- what is refused ---- */

void test_net_errors(void)
{
	struct sockaddr_in at, other = local(9), far = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xc0000201)};
	int l = listener(1, &at), u = udp_socket(NULL), s = tcp_socket(0), file = open("f", O_RDWR | O_CREAT, 0600), p[2], v = 0;
	socklen_t len = sizeof(at), none = 0;
	int pair[2];

	if (in_pvm())
		FAILS(socket(AF_INET6, SOCK_STREAM, 0), EAFNOSUPPORT);
	FAILS(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	FAILS(socket(AF_INET, SOCK_STREAM | 0x100000, 0), EINVAL);
	FAILS(bind(file, (struct sockaddr *)&other, sizeof(other)), ENOTSOCK);
	FAILS(listen(file, 1), ENOTSOCK);
	FAILS(accept(99, NULL, NULL), EBADF);
	FAILS(accept(s, NULL, NULL), EINVAL);
	FAILS(accept(u, NULL, NULL), EOPNOTSUPP);
	FAILS(listen(u, 1), EOPNOTSUPP);
	FAILS(bind(s, (struct sockaddr *)&at, sizeof(at)), EADDRINUSE);
	FAILS(bind(s, (struct sockaddr *)&at, 4), EINVAL);
	FAILS(bind(s, (struct sockaddr *)&far, sizeof(far)), EADDRNOTAVAIL);
	FAILS(bind(s, (struct sockaddr *)8, sizeof(at)), EFAULT);
	FAILS(bind(l, (struct sockaddr *)&other, sizeof(other)), EINVAL);
	FAILS(connect(s, (struct sockaddr *)8, sizeof(at)), EFAULT);
	FAILS(connect(l, (struct sockaddr *)&other, sizeof(other)), EISCONN);
	FAILS(recv(s, page, 1, 0), ENOTCONN);
	FAILS(recv(l, page, 1, 0), ENOTCONN);
	FAILS(send(s, "x", 1, MSG_NOSIGNAL), EPIPE);
	FAILS(shutdown(s, SHUT_WR), ENOTCONN);
	FAILS(shutdown(s, 7), EINVAL);
	FAILS(getpeername(s, (struct sockaddr *)&at, &len), ENOTCONN);
	FAILS(getsockname(s, (struct sockaddr *)8, &len), EFAULT);
	FAILS(getsockname(s, (struct sockaddr *)&at, (socklen_t *)8), EFAULT);
	EQ(getsockname(s, (struct sockaddr *)&at, &none), 0);
	EQ(none, sizeof(at));
	FAILS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 2), EINVAL);
	FAILS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, (int *)8, sizeof(v)), EFAULT);
	FAILS(setsockopt(s, SOL_SOCKET, 9999, &v, sizeof(v)), ENOPROTOOPT);
	FAILS(setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v)), ENOTSOCK);
	FAILS(lseek(s, 0, SEEK_SET), ESPIPE);
	EQ(pipe(p), 0);
	FAILS(send(p[1], "x", 1, 0), ENOTSOCK);
	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	/* Wild pointers of a connection. */
	tcp_pair(pair);
	FAILS(send(pair[0], (char *)8, 5, 0), EFAULT);
	EQ(write(pair[0], "x", 1), 1);
	await_state(pair[1], POLLIN);
	FAILS(recv(pair[1], (char *)8, 1, 0), EFAULT);
	EQ(recv(pair[1], page, 1, 0), 1);
}

/* ---- what is said and set ---- */

void test_net_names(void)
{
	struct sockaddr_in at, a, b;
	socklen_t len = sizeof(a);
	struct stat st;
	int l = listener(5, &at), s = tcp_socket(0), c, d;

	EQ(getsockname(s, (struct sockaddr *)&a, &len), 0);
	EQ(a.sin_port, 0);
	EQ(a.sin_family, AF_INET);
	EQ(connect(s, (struct sockaddr *)&at, sizeof(at)), 0);
	EQ(getsockname(s, (struct sockaddr *)&a, &len), 0);
	EQ(a.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	CHECK(ntohs(a.sin_port) >= 1024);
	c = accept(l, (struct sockaddr *)&b, &len);
	EQ(memcmp(&a, &b, sizeof(a)), 0);
	EQ(getpeername(s, (struct sockaddr *)&b, &len), 0);
	EQ(memcmp(&at, &b, sizeof(at)), 0);
	EQ(getsockname(c, (struct sockaddr *)&b, &len), 0);
	EQ(memcmp(&at, &b, sizeof(at)), 0);
	EQ(fstat(s, &st), 0);
	CHECK(S_ISSOCK(st.st_mode));
	/* A second descriptor is the same socket, which ends with the last one. */
	d = dup(s);
	close(s);
	EQ(write(d, "x", 1), 1);
	get_all(c, page, 1);
	close(d);
	EQ(read(c, page, 1), 0);
	/* The port of a listener that has gone is not free while one of its connections is in TIME_WAIT, unless both say so. */
	close(c);
	set_option(l, SOL_SOCKET, SO_REUSEADDR, 1);
	s = connected_to(&at);
	d = accept(l, NULL, NULL);
	close(l);
	l = tcp_socket(0);
	set_option(l, SOL_SOCKET, SO_REUSEADDR, 1);
	close(d);
	EQ(read(s, page, 1), 0);
	close(s);
	EQ(bind(l, (struct sockaddr *)&at, sizeof(at)), 0);
	EQ(listen(l, 3), 0);
	close(connected_to(&at));
	at.sin_addr.s_addr = 0;
	close(connected_to(&at)); /* 0.0.0.0 is ourselves */
}

void test_net_options(void)
{
	struct linger g = {1, 7};
	struct timeval tv = {2, 500000};
	socklen_t len = sizeof(g);
	struct sockaddr_in at;
	int l = listener(5, &at), s = tcp_socket(0), u = udp_socket(NULL), a;

	EQ(int_option(s, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	EQ(int_option(u, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
	EQ(int_option(u, SOL_SOCKET, SO_DOMAIN), AF_INET);
	EQ(int_option(s, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	EQ(int_option(l, SOL_SOCKET, SO_ACCEPTCONN), 1);
	EQ(int_option(s, SOL_SOCKET, SO_ACCEPTCONN), 0);
	EQ(int_option(s, SOL_SOCKET, SO_ERROR), 0);
	for (int i = 1; i >= 0; i--) {
		set_option(s, SOL_SOCKET, SO_REUSEADDR, i);
		set_option(s, SOL_SOCKET, SO_KEEPALIVE, i);
		set_option(s, IPPROTO_TCP, TCP_NODELAY, i);
		set_option(s, IPPROTO_TCP, TCP_CORK, i);
		set_option(u, SOL_SOCKET, SO_BROADCAST, i);
		EQ(int_option(s, SOL_SOCKET, SO_REUSEADDR), i);
		EQ(int_option(s, SOL_SOCKET, SO_KEEPALIVE), i);
		EQ(int_option(s, IPPROTO_TCP, TCP_NODELAY), i);
		EQ(int_option(s, IPPROTO_TCP, TCP_CORK), i);
		EQ(int_option(u, SOL_SOCKET, SO_BROADCAST), i);
	}
	set_option(s, IPPROTO_TCP, TCP_KEEPIDLE, 100);
	set_option(s, IPPROTO_TCP, TCP_KEEPINTVL, 20);
	set_option(s, IPPROTO_TCP, TCP_KEEPCNT, 3);
	EQ(int_option(s, IPPROTO_TCP, TCP_KEEPIDLE), 100);
	EQ(int_option(s, IPPROTO_TCP, TCP_KEEPINTVL), 20);
	EQ(int_option(s, IPPROTO_TCP, TCP_KEEPCNT), 3);
	FAILS(setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &(int){0}, sizeof(int)), EINVAL);
	set_option(s, SOL_SOCKET, SO_SNDBUF, 20000);
	EQ(int_option(s, SOL_SOCKET, SO_SNDBUF), 40000);
	set_option(u, SOL_SOCKET, SO_RCVBUF, 20000);
	EQ(int_option(u, SOL_SOCKET, SO_RCVBUF), 40000);
	CHECK(int_option(s, SOL_SOCKET, SO_RCVBUF) > 0);
	EQ(setsockopt(s, SOL_SOCKET, SO_LINGER, &g, sizeof(g)), 0);
	memset(&g, 0, sizeof(g));
	EQ(getsockopt(s, SOL_SOCKET, SO_LINGER, &g, &len), 0);
	EQ(g.l_linger, 7);
	EQ(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	memset(&tv, 0, sizeof(tv));
	len = sizeof(tv);
	EQ(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &len), 0);
	EQ(tv.tv_sec, 2);
	set_option(s, IPPROTO_IP, IP_TTL, 33);
	EQ(int_option(s, IPPROTO_IP, IP_TTL), 33);
	/* Who is accepted has its listener's. */
	set_option(l, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(l, SOL_SOCKET, SO_KEEPALIVE, 1);
	connected_to(&at);
	a = accept(l, NULL, NULL);
	EQ(int_option(a, IPPROTO_TCP, TCP_NODELAY), 1);
	EQ(int_option(a, SOL_SOCKET, SO_KEEPALIVE), 1);
	CHECK(int_option(a, IPPROTO_TCP, TCP_MAXSEG) > 500);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Again and again, for the first may come before the call that it is to interrupt; 0: no more. */
static void alarm_ms(int ms)
{
	struct itimerval it = {.it_interval = {0, ms * 1000}, .it_value = {0, ms * 1000}};

	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
}

void test_net_timeouts(void)
{
	struct timeval tv = {0, 50000};
	struct sockaddr_in at;
	static char buf[100000];
	int l = listener(5, &at), s[2], u = udp_socket(NULL);
	int64_t before;
	ssize_t n;

	tcp_pair(s);
	EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	EQ(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), 0);
	EQ(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	EQ(setsockopt(u, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	before = now();
	FAILS(read(s[0], page, 1), EAGAIN);
	CHECK(now() - before >= 45000000);
	FAILS(accept(l, NULL, NULL), EAGAIN);
	FAILS(recv(u, page, 1, 0), EAGAIN);
	while ((n = write(s[0], buf, sizeof(buf))) > 0)
		;
	EQ(n, -1);
	EQ(errno, EAGAIN);
	/* Signals. */
	tv.tv_usec = 0;
	EQ(setsockopt(u, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	on_signal(SIGALRM, on_alarm, 0);
	alarm_ms(30);
	FAILS(recv(u, page, 1, 0), EINTR);
	alarm_ms(0);
	close(s[0]);
	close(s[1]);
	tcp_pair(s);
	alarm_ms(30);
	FAILS(read(s[1], page, 1), EINTR);
	EQ(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	FAILS(accept(l, NULL, NULL), EINTR);
	alarm_ms(0);
}

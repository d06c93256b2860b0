/* inet.c: tests of connections over the loopback. */
#include "inet.h"

#include <netdb.h>

/* ---- helpers ---- */

struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int tcp_socket(int flags)
{
	int s = socket(AF_INET, SOCK_STREAM | flags, 0);

	CHECK(s >= 0);
	return s;
}

static void bind_free(int s, struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);

	*at = local(0);
	EQ(bind(s, (struct sockaddr *)at, sizeof(*at)), 0);
	EQ(getsockname(s, (struct sockaddr *)at, &len), 0);
	EQ(len, sizeof(*at));
	CHECK(at->sin_port);
}

int listener(int backlog, struct sockaddr_in *at)
{
	int s = tcp_socket(0);

	bind_free(s, at);
	EQ(listen(s, backlog), 0);
	return s;
}

int connected_to(const struct sockaddr_in *at)
{
	int s = tcp_socket(0);

	EQ(connect(s, (const struct sockaddr *)at, sizeof(*at)), 0);
	return s;
}

void tcp_pair(int s[2])
{
	struct sockaddr_in at;
	int l = listener(5, &at);

	s[0] = connected_to(&at);
	s[1] = accept(l, NULL, NULL);
	CHECK(s[1] >= 0);
	close(l);
}

int udp_socket(struct sockaddr_in *at)
{
	struct sockaddr_in mine;
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(s >= 0);
	bind_free(s, at ? at : &mine);
	return s;
}

int state_of(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};

	CHECK(poll(&p, 1, 0) >= 0);
	return p.revents;
}

void await_state(int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};

	EQ(poll(&p, 1, 30000), 1);
	CHECK(p.revents & events);
}

void get_all(int fd, void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = read(fd, (char *)buf + done, n - done);

		CHECK(got > 0);
		done += (size_t)got;
	}
}

void put_all(int fd, const void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t put = write(fd, (const char *)buf + done, n - done);

		CHECK(put > 0);
		done += (size_t)put;
	}
}

int int_option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	EQ(getsockopt(fd, level, name, &value, &len), 0);
	EQ(len, sizeof(int));
	return value;
}

void set_option(int fd, int level, int name, int value)
{
	EQ(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

static volatile int broken;

static void on_broken(int sig)
{
	(void)sig;
	broken++;
}

/* ---- bytes ---- */

static void *echo_thread(void *arg)
{
	int l = *(int *)arg, s;
	char buf[1000];
	ssize_t n;

	s = accept(l, NULL, NULL);
	CHECK(s >= 0);
	while ((n = recv(s, buf, sizeof(buf), 0)) > 0)
		EQ(send(s, buf, (size_t)n, 0), n);
	EQ(n, 0);
	EQ(close(s), 0);
	return NULL;
}

void test_net_echo(void)
{
	struct sockaddr_in at;
	int l = listener(5, &at), s;
	char buf[300];
	pthread_t t;

	EQ(pthread_create(&t, NULL, echo_thread, &l), 0);
	s = connected_to(&at);
	for (int i = 0; i < 200; i++) {
		size_t n = (size_t)(1 + i * 37 % 300);

		memset(page, 'a' + i % 26, n);
		put_all(s, page, n);
		get_all(s, buf, n);
		EQ(memcmp(page, buf, n), 0);
	}
	EQ(shutdown(s, SHUT_WR), 0);
	EQ(read(s, buf, 1), 0);
	EQ(pthread_join(t, NULL), 0);
	close(s);
	close(l);
}

#define BULK (4 << 20)

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static void *bulk_sender(void *arg)
{
	int s = *(int *)arg;
	static uint8_t buf[50000];
	size_t done = 0, want = 1;

	while (done < BULK) {
		size_t n = want % sizeof(buf) + 1, half;
		struct iovec v[2];

		n = n < BULK - done ? n : BULK - done;
		half = n / 3;
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(done + i);
		v[0] = (struct iovec){buf, half};
		v[1] = (struct iovec){buf + half, n - half};
		EQ(writev(s, v, 2), n); /* blocks until it has them all */
		done += n;
		want = want * 7 + 13;
	}
	EQ(shutdown(s, SHUT_WR), 0);
	return NULL;
}

void test_net_bulk(void)
{
	static uint8_t buf[70000];
	size_t done = 0;
	int s[2];
	pthread_t t;
	ssize_t n;

	tcp_pair(s);
	EQ(pthread_create(&t, NULL, bulk_sender, &s[1]), 0);
	while (done < BULK) {
		struct iovec v[2] = {{buf, 1 + done % 333}, {buf + 40000, done % 30000}};

		n = readv(s[0], v, 2);
		CHECK(n > 0);
		for (ssize_t i = 0; i < n; i++) {
			size_t first = v[0].iov_len;

			EQ((size_t)i < first ? buf[i] : buf[40000 + (size_t)i - first], byte_at(done + (size_t)i));
		}
		done += (size_t)n;
	}
	EQ(read(s[0], buf, 1), 0);
	EQ(pthread_join(t, NULL), 0);
}

/* Who does not read stops who writes, and nothing is lost. */
void test_net_full(void)
{
	static char buf[10000];
	size_t sent = 0, got = 0;
	int s[2];
	ssize_t n;

	tcp_pair(s);
	EQ(fcntl(s[0], F_SETFL, O_NONBLOCK), 0);
	for (;;) {
		n = write(s[0], buf, sizeof(buf));
		if (n < 0)
			break;
		sent += (size_t)n;
		CHECK(sent < 64 << 20);
	}
	EQ(errno, EAGAIN);
	FAILS(send(s[0], "x", 1, 0), EAGAIN);
	EQ(state_of(s[0]), 0);
	while (got < sent) {
		n = read(s[1], buf, sizeof(buf));
		CHECK(n > 0);
		got += (size_t)n;
	}
	EQ(got, sent);
	await_state(s[0], POLLOUT);
	FAILS(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
	EQ(write(s[0], "end", 3), 3);
	get_all(s[1], buf, 3);
}

void test_net_peek(void)
{
	struct iovec v[2] = {{page, 3}, {page + 100, 3}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	int s[2], n;

	tcp_pair(s);
	EQ(send(s[0], "hello world", 11, 0), 11);
	await_state(s[1], POLLIN);
	EQ(recv(s[1], page, 5, MSG_PEEK), 5);
	EQ(memcmp(page, "hello", 5), 0);
	EQ(ioctl(s[1], FIONREAD, &n), 0);
	EQ(n, 11);
	EQ(recvmsg(s[1], &m, MSG_PEEK), 6);
	EQ(memcmp(page + 100, "lo ", 3), 0);
	EQ(recv(s[1], NULL, 2, MSG_TRUNC), 2);
	m.msg_namelen = 50;
	EQ(recvmsg(s[1], &m, 0), 6);
	EQ(memcmp(page, "llo", 3), 0);
	EQ(memcmp(page + 100, " wo", 3), 0);
	EQ(recv(s[1], page, 100, MSG_DONTWAIT), 3);
	FAILS(recv(s[1], page, 100, MSG_DONTWAIT), EAGAIN);
	EQ(ioctl(s[1], FIONREAD, &n), 0);
	EQ(n, 0);
	EQ(read(s[1], page, 0), 0);
	n = 1;
	EQ(ioctl(s[1], FIONBIO, &n), 0);
	FAILS(read(s[1], page, 1), EAGAIN);
	n = 0;
	EQ(ioctl(s[1], FIONBIO, &n), 0);
	/* All of it, or what came before the end. */
	EQ(write(s[0], "abcdef", 6), 6);
	EQ(recv(s[1], page, 6, MSG_WAITALL), 6);
	EQ(write(s[0], "xyz", 3), 3);
	close(s[0]);
	EQ(recv(s[1], page, 6, MSG_WAITALL), 3);
	EQ(recv(s[1], page, 6, MSG_WAITALL), 0);
}

/* ---- beginnings and ends ---- */

void test_net_half_close(void)
{
	int s[2];

	tcp_pair(s);
	EQ(state_of(s[0]), POLLOUT);
	EQ(write(s[0], "last", 4), 4);
	EQ(shutdown(s[0], SHUT_WR), 0);
	on_signal(SIGPIPE, on_broken, 0);
	broken = 0;
	FAILS(write(s[0], "x", 1), EPIPE);
	EQ(broken, 1);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(broken, 1);
	get_all(s[1], page, 4);
	EQ(read(s[1], page, 1), 0);
	EQ(read(s[1], page, 1), 0);
	EQ(state_of(s[1]), POLLIN | POLLOUT | POLLRDHUP);
	/* The other direction goes on. */
	EQ(state_of(s[0]), POLLOUT);
	EQ(write(s[1], "still", 5), 5);
	get_all(s[0], page, 5);
	EQ(shutdown(s[1], SHUT_WR), 0);
	await_state(s[0], POLLIN);
	EQ(read(s[0], page, 1), 0);
	EQ(state_of(s[0]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	EQ(state_of(s[1]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	close(s[0]);
	close(s[1]);
	/* Who will not read. */
	tcp_pair(s);
	EQ(shutdown(s[0], SHUT_RD), 0);
	EQ(read(s[0], page, 1), 0);
	CHECK(state_of(s[0]) & POLLIN);
	EQ(write(s[0], "x", 1), 1);
	get_all(s[1], page, 1);
}

static void set_linger(int fd, int on, int seconds)
{
	struct linger l = {on, seconds};

	EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
}

void test_net_reset(void)
{
	int s[2];

	on_signal(SIGPIPE, on_broken, 0);
	broken = 0;
	tcp_pair(s);
	set_linger(s[0], 1, 0);
	close(s[0]);
	await_state(s[1], POLLIN);
	EQ(state_of(s[1]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
	FAILS(read(s[1], page, 1), ECONNRESET);
	EQ(read(s[1], page, 1), 0);
	FAILS(write(s[1], "x", 1), EPIPE);
	EQ(broken, 1);
	close(s[1]);
	/* The error is told once, to whoever asks first. */
	tcp_pair(s);
	set_linger(s[0], 1, 0);
	close(s[0]);
	await_state(s[1], POLLERR);
	EQ(int_option(s[1], SOL_SOCKET, SO_ERROR), ECONNRESET);
	EQ(int_option(s[1], SOL_SOCKET, SO_ERROR), 0);
	EQ(read(s[1], page, 1), 0);
	close(s[1]);
	/* Bytes that nobody read. */
	tcp_pair(s);
	EQ(write(s[1], "unread", 6), 6);
	await_state(s[0], POLLIN);
	close(s[0]);
	await_state(s[1], POLLIN);
	FAILS(read(s[1], page, 1), ECONNRESET);
	close(s[1]);
	/* Bytes to who has gone. */
	tcp_pair(s);
	close(s[0]);
	EQ(write(s[1], "x", 1), 1);
	await_state(s[1], POLLERR | POLLHUP);
	broken = 0;
	errno = 0;
	EQ(write(s[1], "x", 1), -1);
	CHECK(errno == EPIPE || errno == ECONNRESET);
}

/* A listener that goes takes along whom nobody has accepted. */
void test_net_unaccepted(void)
{
	struct sockaddr_in at;
	int l = listener(5, &at), s = connected_to(&at);

	EQ(write(s, "x", 1), 1);
	await_state(l, POLLIN);
	EQ(close(l), 0);
	await_state(s, POLLIN);
	FAILS(read(s, page, 1), ECONNRESET);
	FAILS(connect(tcp_socket(0), (struct sockaddr *)&at, sizeof(at)), ECONNREFUSED);
}

void test_net_refused(void)
{
	struct sockaddr_in at;
	int l = listener(5, &at), s;

	close(l);
	s = tcp_socket(0);
	FAILS(connect(s, (struct sockaddr *)&at, sizeof(at)), ECONNREFUSED);
	FAILS(connect(s, (struct sockaddr *)&at, sizeof(at)), ECONNREFUSED);
	close(s);
	s = tcp_socket(SOCK_NONBLOCK);
	if (connect(s, (struct sockaddr *)&at, sizeof(at)) && errno == EINPROGRESS) {
		await_state(s, POLLOUT);
		EQ(int_option(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	} else
		EQ(errno, ECONNREFUSED);
}

void test_net_connect_nonblock(void)
{
	struct sockaddr_in at, peer;
	socklen_t len = sizeof(peer);
	int l = listener(5, &at), s = tcp_socket(SOCK_NONBLOCK | SOCK_CLOEXEC), a;
	struct timeval none = {0};
	fd_set w;

	EQ(fcntl(l, F_SETFL, O_NONBLOCK), 0);
	FAILS(accept(l, NULL, NULL), EAGAIN);
	EQ(state_of(l), 0);
	EQ(state_of(s), POLLOUT | POLLHUP);
	if (connect(s, (struct sockaddr *)&at, sizeof(at)))
		EQ(errno, EINPROGRESS);
	await_state(s, POLLOUT);
	EQ(int_option(s, SOL_SOCKET, SO_ERROR), 0);
	FD_ZERO(&w);
	FD_SET(s, &w);
	EQ(select(s + 1, NULL, &w, NULL, &none), 1);
	await_state(l, POLLIN);
	a = accept4(l, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(a >= 0);
	EQ(len, sizeof(peer));
	EQ(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	EQ(fcntl(a, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQ(fcntl(a, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	FAILS(read(a, page, 1), EAGAIN);
	EQ(connect(s, (struct sockaddr *)&at, sizeof(at)) && errno != EISCONN, 0);
	FAILS(connect(s, (struct sockaddr *)&at, sizeof(at)), EISCONN);
}

void test_net_resolve(void)
{
	struct addrinfo want = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;

	EQ(getaddrinfo("localhost", "80", &want, &found), 0);
	EQ(((struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	EQ(((struct sockaddr_in *)found->ai_addr)->sin_port, htons(80));
	freeaddrinfo(found);
	EQ(access("/etc/resolv.conf", R_OK), 0);
}

/* sockets.c: tests of socket pairs of each type, and of what a family shares of them and of eventfds. */
#include "test.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

#define EACH_TYPE(t) for (int i_ = 0, t; i_ < 3 && (t = types[i_], true); i_++)

static int state(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};

	CHECK(poll(&p, 1, 0) >= 0);
	return p.revents;
}

static volatile int broken;

static void on_broken(int sig)
{
	(void)sig;
	broken++;
}

/* ---- one process ---- */

void test_pair_messages(void)
{
	int s[2], n;

	EACH_TYPE(type) {
		if (type == SOCK_STREAM)
			continue;
		EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s), 0);
		EQ(send(s[0], "hello", 5, MSG_EOR), 5);
		EQ(send(s[0], "", 0, 0), 0);
		EQ(write(s[0], "", 0), 0);
		EQ(write(s[0], "world!", 6), 6);
		EQ(ioctl(s[1], FIONREAD, &n), 0);
		EQ(n, type == SOCK_DGRAM ? 5 : 11);
		EQ(recv(s[1], page, 2, 0), 2); /* the rest is lost */
		EQ(read(s[1], page, 0), 0);    /* takes nothing */
		EQ(recv(s[1], page, 0, 0), 0); /* takes a message */
		EQ(recv(s[1], page, 9, 0), 0);
		EQ(recv(s[1], page, 3, MSG_TRUNC), 6);
		EQ(memcmp(page, "wor", 3), 0);
		FAILS(recv(s[1], page, 9, 0), EAGAIN);
		FAILS(read(s[1], page, 9), EAGAIN);
		EQ(ioctl(s[1], FIONREAD, &n), 0);
		EQ(n, 0);
		close(s[0]);
		close(s[1]);
	}
}

void test_pair_vectors(void)
{
	struct iovec out[2] = {{"abc", 3}, {"defg", 4}}, in = {page, 5};
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 2}, r = {.msg_iov = &in, .msg_iovlen = 1};
	int s[2];

	EACH_TYPE(type) {
		bool bytes = type == SOCK_STREAM;

		EQ(socketpair(AF_UNIX, type, 0, s), 0);
		EQ(sendmsg(s[0], &m, 0), 7);
		EQ(writev(s[0], out, 2), 7);
		EQ(recvmsg(s[1], &r, 0), 5);
		EQ(memcmp(page, "abcde", 5), 0);
		EQ(r.msg_flags, bytes ? 0 : MSG_TRUNC);
		EQ(recvmsg(s[1], &r, 0), 5);
		EQ(memcmp(page, bytes ? "fgabc" : "abcde", 5), 0);
		EQ(recv(s[1], page, 9, MSG_DONTWAIT), bytes ? 4 : -1);
		FAILS(recvmsg(s[1], &r, MSG_DONTWAIT), EAGAIN);
		close(s[0]);
		close(s[1]);
	}
}

void test_pair_full(void)
{
	static char big[400000];
	long sent, got, n;
	int s[2];

	EACH_TYPE(type) {
		EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s), 0);
		if (type != SOCK_STREAM)
			FAILS(send(s[0], big, sizeof(big), 0), EMSGSIZE);
		for (sent = 0; (n = send(s[0], big, 1001, 0)) > 0; sent += n)
			big[0]++;
		EQ(errno, EAGAIN);
		CHECK(sent > 50000);
		CHECK(!(state(s[0]) & POLLOUT) && state(s[1]) & POLLIN);
		big[0] = 0;
		for (got = 0; (n = recv(s[1], page, 1001, 0)) > 0; got += n)
			if (type != SOCK_STREAM) {
				EQ(n, 1001);
				EQ((char)(got / 1001), page[0]);
			}
		EQ(got, sent);
		CHECK(state(s[0]) & POLLOUT);
		close(s[0]);
		close(s[1]);
	}
}

void test_pair_shutdown(void)
{
	int s[2];

	on_signal(SIGPIPE, on_broken, 0);
	EACH_TYPE(type) {
		bool datagrams = type == SOCK_DGRAM;
		int signals = type == SOCK_STREAM;

		EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s), 0);
		EQ(send(s[0], "x", 1, 0), 1);
		EQ(shutdown(s[0], SHUT_WR), 0);
		EQ(state(s[0]), POLLOUT);
		EQ(state(s[1]), POLLIN | POLLOUT | (datagrams ? 0 : POLLRDHUP));
		broken = 0;
		FAILS(send(s[0], "x", 1, 0), EPIPE);
		EQ(broken, signals);
		FAILS(write(s[0], "x", 1), EPIPE);
		EQ(broken, 2 * signals);
		FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
		EQ(broken, 2 * signals);
		EQ(read(s[1], page, 9), 1);
		EQ(read(s[1], page, 9), datagrams ? -1 : 0);
		EQ(write(s[1], "back", 4), 4);
		EQ(shutdown(s[0], SHUT_RD), 0);
		EQ(state(s[0]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		EQ(state(s[1]), datagrams ? POLLOUT : POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		EQ(read(s[0], page, 9), 4); /* what had come */
		if (!datagrams)
			EQ(read(s[0], page, 9), 0);
		FAILS(send(s[1], "x", 1, MSG_NOSIGNAL), EPIPE);
		FAILS(shutdown(s[0], 3), EINVAL);
		close(s[0]);
		close(s[1]);
	}
	FAILS(shutdown(0, SHUT_RD), ENOTSOCK);
	FAILS(shutdown(s[0], SHUT_RD), EBADF);
}

void test_pair_closed(void)
{
	int s[2];

	on_signal(SIGPIPE, on_broken, 0);
	EACH_TYPE(type) {
		bool datagrams = type == SOCK_DGRAM;

		EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s), 0);
		EQ(send(s[0], "last", 4, 0), 4);
		close(s[0]);
		EQ(read(s[1], page, 9), 4);
		EQ(state(s[1]), datagrams ? POLLOUT : POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
		EQ(read(s[1], page, 9), datagrams ? -1 : 0);
		broken = 0;
		FAILS(send(s[1], "x", 1, 0), datagrams ? ECONNREFUSED : EPIPE);
		EQ(broken, type == SOCK_STREAM);
		close(s[1]);
	}
}

void test_pair_errors(void)
{
	int s[2];

	EQ(socketpair(AF_UNIX, SOCK_RAW, 0, s), 0); /* of datagrams */
	EQ(send(s[0], "a", 1, 0), 1);
	EQ(send(s[0], "b", 1, 0), 1);
	EQ(read(s[1], page, 9), 1);
	FAILS(lseek(s[0], 0, SEEK_SET), ESPIPE);
	FAILS(socketpair(AF_UNIX, SOCK_RDM, 0, s), ESOCKTNOSUPPORT);
	FAILS(socketpair(AF_UNIX, 99, 0, s), EINVAL);
	FAILS(socketpair(AF_UNIX, SOCK_STREAM, 5, s), EPROTONOSUPPORT);
	FAILS(socketpair(99, SOCK_STREAM, 0, s), EAFNOSUPPORT);
	FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, NULL), EFAULT);
}

/* ---- a family ---- */

/* Both directions, with what was there at the fork. */
void test_share_pair(void)
{
	int s[2];
	pid_t pid;

	EACH_TYPE(type) {
		EQ(socketpair(AF_UNIX, type, 0, s), 0);
		EQ(write(s[0], "before", 6), 6);
		IN_CHILD(pid) {
			close(s[0]);
			EQ(read(s[1], page, 100), 6);
			EQ(write(s[1], "up", 2), 2);
			EQ(write(s[1], "per", 3), 3);
			EQ(recv(s[1], page, 100, 0), 4);
			EQ(memcmp(page, "down", 4), 0);
		}
		close(s[1]);
		EQ(recv(s[0], page, 2, MSG_WAITALL), 2);
		EQ(memcmp(page, "up", 2), 0);
		EQ(recv(s[0], page, 3, MSG_WAITALL), 3);
		EQ(memcmp(page, "per", 3), 0);
		FAILS(recv(s[0], page, 1, MSG_DONTWAIT), EAGAIN);
		EQ(send(s[0], "down", 4, 0), 4);
		EQ(ended(pid), 0);
		if (type != SOCK_DGRAM)
			EQ(read(s[0], page, 9), 0);
		FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), type == SOCK_DGRAM ? ECONNREFUSED : EPIPE);
		close(s[0]);
	}
}

/* Messages of several members come whole, in each one's order. */
void test_share_pair_whole(void)
{
	enum { WRITERS = 3, MESSAGES = 40 };
	static int message[2000];
	int s[2], next[WRITERS];
	pid_t pids[WRITERS];

	EACH_TYPE(type) {
		if (type == SOCK_STREAM)
			continue;
		memset(next, 0, sizeof(next));
		EQ(socketpair(AF_UNIX, type, 0, s), 0);
		for (int w = 0; w < WRITERS; w++)
			IN_CHILD(pids[w])
				for (int i = 0; i < MESSAGES; i++) {
					size_t n = 2 + (size_t)(i * 97 + w * 31) % (COUNT(message) - 2);

					for (size_t k = 0; k < n; k++)
						message[k] = w << 16 | i;
					EQ(send(s[0], message, n * 4, 0), n * 4);
				}
		for (int i = 0; i < WRITERS * MESSAGES; i++) {
			long n = recv(s[1], message, sizeof(message), 0) / 4;
			int w = message[0] >> 16;

			CHECK(n >= 2 && w >= 0 && w < WRITERS);
			EQ(message[0] & 0xffff, next[w]);
			EQ(n, 2 + (next[w] * 97 + w * 31) % (int)(COUNT(message) - 2));
			for (long k = 1; k < n; k++)
				EQ(message[k], message[0]);
			next[w]++;
		}
		for (int w = 0; w < WRITERS; w++)
			EQ(ended(pids[w]), 0);
		close(s[0]);
		close(s[1]);
	}
}

/* More than fits: who sends waits for who receives. */
void test_share_pair_bulk(void)
{
	static char buf[30000];
	int s[2];
	pid_t pid;

	EACH_TYPE(type) {
		long done = 0, n;

		EQ(socketpair(AF_UNIX, type, 0, s), 0);
		IN_CHILD(pid)
			for (int i = 0; i < 30; i++) {
				memset(buf, 'a' + i, sizeof(buf));
				EQ(send(s[1], buf, sizeof(buf), 0), sizeof(buf));
			}
		while (done < 30 * (long)sizeof(buf) && (n = recv(s[0], buf, sizeof(buf), 0)) > 0) {
			if (type != SOCK_STREAM)
				EQ(n, sizeof(buf));
			for (long i = 0; i < n; i++)
				EQ(buf[i], 'a' + (done + i) / (long)sizeof(buf));
			done += n;
		}
		EQ(done, 30 * sizeof(buf));
		EQ(ended(pid), 0);
		close(s[0]);
		close(s[1]);
	}
}

/* What one member shuts, or leaves by being killed, the others hear of. */
void test_share_pair_ends(void)
{
	int s[2];
	pid_t pid;

	for (int killed = 0; killed < 2; killed++)
		EACH_TYPE(type) {
			if (type == SOCK_DGRAM)
				continue;
			EQ(socketpair(AF_UNIX, type, 0, s), 0);
			IN_CHILD(pid) {
				close(s[0]);
				EQ(send(s[1], "x", 1, 0), 1);
				if (killed)
					pause();
			}
			close(s[1]);
			EQ(recv(s[0], page, 9, 0), 1);
			if (killed)
				EQ(kill(pid, SIGKILL), 0);
			EQ(recv(s[0], page, 9, 0), 0);
			FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
			EQ(ended(pid), killed ? SIGKILL : 0);
			close(s[0]);
		}
}

void test_share_pair_shutdown(void)
{
	int s[2];
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	EACH_TYPE(type) {
		EQ(socketpair(AF_UNIX, type, 0, s), 0);
		IN_CHILD(pid) {
			sleep_ms(10);
			EQ(send(s[1], "x", 1, 0), 1);
			EQ(shutdown(s[1], SHUT_WR), 0);
			EQ(shutdown(s[0], SHUT_RD), 0);
		}
		EQ(recv(s[0], page, 9, 0), 1);
		EQ(recv(s[0], page, 9, 0), 0);
		EQ(ended(pid), 0);
		FAILS(write(s[1], "x", 1), EPIPE); /* it is the same socket */
		EQ(write(s[0], "y", 1), 1);
		EQ(recv(s[1], page, 9, 0), 1);
		close(s[0]);
		close(s[1]);
	}
}

void test_share_pair_poll(void)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int s[2], go[2], full[2], ep = epoll_create1(0);
	struct pollfd p;
	pid_t pid;
	int status;

	CHECK(ep >= 0);
	EACH_TYPE(type) {
		EQ(socketpair(AF_UNIX, type, 0, s), 0);
		EQ(pipe(go), 0);
		EQ(pipe(full), 0);
		EQ(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev), 0);
		IN_CHILD(pid) {
			for (int i = 0; i < 3; i++) {
				EQ(write(s[1], "x", 1), 1);
				EQ(read(go[0], page, 1), 1);
			}
			while (send(s[1], page, 1000, MSG_DONTWAIT) > 0)
				;
			p = (struct pollfd){.fd = s[1], .events = POLLOUT};
			EQ(poll(&p, 1, 0), 0);
			EQ(write(full[1], "f", 1), 1);
			EQ(poll(&p, 1, 60000), 1);
			EQ(p.revents, POLLOUT);
		}
		for (int i = 0; i < 3; i++) {
			EQ(epoll_wait(ep, &ev, 1, 60000), 1);
			EQ(ev.events, EPOLLIN);
			EQ(epoll_wait(ep, &ev, 1, 0), 0);
			EQ(read(s[0], page, 1), 1);
			EQ(write(go[1], "g", 1), 1);
		}
		p = (struct pollfd){.fd = s[0], .events = POLLIN};
		EQ(poll(&p, 1, 60000), 1);
		EQ(read(full[0], page, 1), 1);
		sleep_ms(20); /* it sleeps */
		while (waitpid(pid, &status, WNOHANG) == 0 && poll(&p, 1, 10) >= 0)
			while (recv(s[0], page, sizeof(page), MSG_DONTWAIT) > 0)
				;
		EQ(status, 0);
		close(s[0]);
		close(s[1]);
		close(go[0]);
		close(go[1]);
		close(full[0]);
		close(full[1]);
		ev.events = EPOLLIN | EPOLLET;
	}
}

void test_share_pair_cycles(void)
{
	int s[2];
	pid_t pid;

	for (int i = 0; i < children; i++) {
		EQ(socketpair(AF_UNIX, types[i % 3], 0, s), 0);
		IN_CHILD(pid) {
			for (int k = 0; k < 10; k++)
				EQ(send(s[1], page, sizeof(page), 0), sizeof(page));
			if (i % 2)
				raise(SIGKILL);
		}
		EQ(recv(s[0], page, sizeof(page), MSG_WAITALL), sizeof(page));
		EQ(ended(pid), i % 2 ? SIGKILL : 0);
		close(s[0]);
		close(s[1]);
	}
}

/* ---- eventfds of a family ---- */

void test_share_eventfd(void)
{
	int fd = eventfd(3, 0), turns = eventfd(0, EFD_SEMAPHORE);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	uint64_t v, sum = 0;
	pid_t pids[3];

	for (int m = 0; m < 3; m++)
		IN_CHILD(pids[m])
			for (v = 1; v <= 20; v++)
				EQ(write(fd, &v, 8), 8);
	while (sum < 3 + 3 * 210) {
		EQ(read(fd, &v, 8), 8);
		sum += v;
	}
	EQ(sum, 3 + 3 * 210);
	for (int m = 0; m < 3; m++)
		EQ(ended(pids[m]), 0);
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLOUT);
	/* Each takes its turns, and waits for them. */
	for (int m = 0; m < 3; m++)
		IN_CHILD(pids[m])
			for (int i = 0; i < 5; i++) {
				EQ(read(turns, &v, 8), 8);
				EQ(v, 1);
			}
	for (int i = 0; i < 3; i++) {
		v = 5;
		EQ(write(turns, &v, 8), 8);
	}
	for (int m = 0; m < 3; m++)
		EQ(ended(pids[m]), 0);
	EQ(fcntl(turns, F_SETFL, O_NONBLOCK), 0);
	FAILS(read(turns, &v, 8), EAGAIN);
	/* Full: who adds waits for who takes; and a poll hears of it. */
	IN_CHILD(pids[0]) {
		v = UINT64_MAX - 1;
		EQ(write(fd, &v, 8), 8);
		v = 7;
		EQ(write(fd, &v, 8), 8);
		EQ(read(fd, &v, 8), 8);
		EQ(v, 7);
	}
	p.events = POLLIN;
	EQ(poll(&p, 1, 60000), 1);
	EQ(p.revents, POLLIN);
	EQ(read(fd, &v, 8), 8);
	EQ(v, UINT64_MAX - 1);
	EQ(ended(pids[0]), 0);
}

/* pairopts.c: what getsockopt says of socket pairs, and what setsockopt changes. */
#include "test.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

static int option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int n = -1;

	EQ(getsockopt(fd, SOL_SOCKET, name, &n, &len), 0);
	EQ(len, sizeof(int));
	return n;
}

static int set(int fd, int name, int n)
{
	return setsockopt(fd, SOL_SOCKET, name, &n, sizeof(n));
}

static void end(int *s)
{
	close(s[0]);
	close(s[1]);
}

void test_pair_options(void)
{
	int s[2];

	for (size_t i = 0; i < COUNT(types); i++) {
		struct linger l = {9, 9};
		struct timeval tv = {9, 9};
		socklen_t len = sizeof(l);

		EQ(socketpair(AF_UNIX, types[i], 0, s), 0);
		EQ(option(s[0], SO_TYPE), types[i]);
		EQ(option(s[0], SO_DOMAIN), AF_UNIX);
		EQ(option(s[0], SO_PROTOCOL), 0);
		EQ(option(s[1], SO_ERROR), 0);
		EQ(option(s[1], SO_ACCEPTCONN), 0);
		EQ(option(s[1], SO_RCVLOWAT), 1);
		EQ(option(s[1], SO_SNDLOWAT), 1);
		EQ(option(s[1], SO_PASSCRED), 0);
		EQ(option(s[1], SO_KEEPALIVE), 0);
		CHECK(option(s[0], SO_SNDBUF) >= 4608 && option(s[0], SO_RCVBUF) >= 2304);
		EQ(getsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, &len), 0);
		CHECK(len == sizeof(l) && !l.l_onoff && !l.l_linger);
		len = sizeof(tv);
		EQ(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len), 0);
		CHECK(len == sizeof(tv) && !tv.tv_sec && !tv.tv_usec);
		end(s);
	}
}

void test_pair_set(void)
{
	static const int switches[] = {SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE};
	struct linger l = {5, 7};
	socklen_t len = sizeof(l);
	int s[2], most;

	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	for (size_t i = 0; i < COUNT(switches); i++) {
		EQ(set(s[0], switches[i], 17), 0);
		EQ(option(s[0], switches[i]), 1);
		EQ(option(s[1], switches[i]), 0);
		EQ(set(s[0], switches[i], 0), 0);
		EQ(option(s[0], switches[i]), 0);
	}
	EQ(set(s[0], SO_SNDBUF, 10000), 0);
	EQ(option(s[0], SO_SNDBUF), 20000);
	EQ(set(s[0], SO_RCVBUF, 10000), 0);
	EQ(option(s[0], SO_RCVBUF), 20000);
	EQ(set(s[0], SO_RCVBUF, 1), 0);
	CHECK(option(s[0], SO_RCVBUF) > 2000);
	EQ(set(s[0], SO_SNDBUF, 1 << 30), 0);
	most = option(s[0], SO_SNDBUF);
	EQ(set(s[0], SO_SNDBUF, -1), 0);
	EQ(option(s[0], SO_SNDBUF), most);
	EQ(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	EQ(getsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, &len), 0);
	CHECK(l.l_onoff == 1 && l.l_linger == 7);
	EQ(set(s[0], SO_PASSCRED, 0), 0);
	EQ(send(s[0], "still", 5, 0), 5);
	EQ(recv(s[1], page, 9, 0), 5);
	end(s);
}

void test_pair_option_errors(void)
{
	struct timeval tv = {0, 1000000};
	socklen_t len = sizeof(int);
	int s[2], p[2], n = 0;
	char part[4] = {9, 9, 9, 9};

	EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
	EQ(pipe(p), 0);
	FAILS(getsockopt(99, SOL_SOCKET, SO_TYPE, &n, &len), EBADF);
	FAILS(setsockopt(99, SOL_SOCKET, SO_KEEPALIVE, &n, len), EBADF);
	FAILS(getsockopt(p[0], SOL_SOCKET, SO_TYPE, &n, &len), ENOTSOCK);
	FAILS(setsockopt(p[1], SOL_SOCKET, SO_KEEPALIVE, &n, len), ENOTSOCK);
	FAILS(getsockopt(s[0], SOL_SOCKET, 9999, &n, &len), ENOPROTOOPT);
	FAILS(setsockopt(s[0], SOL_SOCKET, 9999, &n, len), ENOPROTOOPT);
	FAILS(getsockopt(s[0], 6, 1, &n, &len), EOPNOTSUPP);
	FAILS(setsockopt(s[0], 6, 1, &n, len), EOPNOTSUPP);
	FAILS(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &n, NULL), EFAULT);
	FAILS(getsockopt(s[0], SOL_SOCKET, SO_TYPE, (void *)8, &len), EFAULT);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, (void *)8, sizeof(n)), EFAULT);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &n, 3), EINVAL);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &n, sizeof(n)), EINVAL);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &n, sizeof(n)), EINVAL);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), EDOM);
	for (int name = SO_TYPE; name <= SO_ERROR; name++)
		FAILS(setsockopt(s[0], SOL_SOCKET, name, &n, sizeof(n)), ENOPROTOOPT);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &n, sizeof(n)), ENOPROTOOPT);
	FAILS(setsockopt(s[0], SOL_SOCKET, SO_SNDLOWAT, &n, sizeof(n)), ENOPROTOOPT);
	len = -1;
	FAILS(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &n, &len), EINVAL);
	len = 2; /* as much as there is room for */
	EQ(getsockopt(s[0], SOL_SOCKET, SO_TYPE, part, &len), 0);
	CHECK(len == 2 && part[0] == SOCK_DGRAM && !part[1] && part[2] == 9);
	end(s);
	end(p);
}

/* Who waits too long gets EAGAIN, also in the middle of a write; MSG_DONTWAIT does not wait for that. */
void test_pair_times(void)
{
	static char big[300000];

	for (size_t i = 0; i < COUNT(types); i++) {
		struct timeval tv = {0, 100000}, got;
		socklen_t len = sizeof(got);
		int64_t begin;
		int s[2];
		long sent;

		EQ(socketpair(AF_UNIX, types[i], 0, s), 0);
		EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
		EQ(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), 0);
		EQ(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len), 0);
		CHECK(!got.tv_sec && got.tv_usec == 100000);
		begin = now();
		FAILS(read(s[0], page, 9), EAGAIN);
		CHECK(now() - begin > 90000000);
		FAILS(recv(s[0], page, 9, MSG_PEEK), EAGAIN);
		FAILS(recv(s[0], page, 9, MSG_DONTWAIT), EAGAIN);
		if (types[i] == SOCK_STREAM) {
			sent = send(s[0], big, sizeof(big), 0);
			CHECK(sent > 0);
			if (sent < (long)sizeof(big))
				FAILS(write(s[0], big, 1 << 17), EAGAIN);
		} else {
			while (send(s[0], big, 10000, 0) == 10000)
				;
			EQ(errno, EAGAIN);
		}
		EQ(send(s[1], "x", 1, 0), 1);
		EQ(read(s[0], page, 9), 1);
		tv.tv_usec = 0;
		EQ(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
		EQ(send(s[1], "x", 1, 0), 1);
		EQ(read(s[0], page, 9), 1);
		end(s);
	}
}

/* That is who called socketpair, also for a child. */
void test_pair_made_by(void)
{
	int s[2], maker = getpid();
	pid_t pid;

	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	IN_CHILD(pid) {
		struct ucred c;
		socklen_t len = sizeof(c);

		EQ(getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &c, &len), 0);
		CHECK(len == sizeof(c) && c.pid == maker && c.uid == geteuid() && c.gid == getegid());
		len = 4;
		EQ(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &c, &len), 0);
		CHECK(len == 4 && c.pid == maker);
	}
	EQ(ended(pid), 0);
	end(s);
}

/* A descriptor that is sent arrives, or the call says that it cannot. */
void test_pair_rights(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec v = {"x", 1};
	struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	struct stat had, got;
	char x;
	int s[2], fd = open("/dev/null", O_RDONLY);

	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = sizeof(control) + 1;
	FAILS(sendmsg(s[0], &h, 0), EINVAL);
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(s[0], &h, 0) < 0) {
		EQ(errno, EOPNOTSUPP);
		FAILS(recv(s[1], &x, 1, MSG_DONTWAIT), EAGAIN);
	} else {
		v.iov_base = &x;
		h.msg_controllen = sizeof(control);
		EQ(recvmsg(s[1], &h, 0), 1);
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
		EQ(stat("/dev/null", &had), 0);
		EQ(fstat(fd, &got), 0);
		EQ(got.st_rdev, had.st_rdev);
		close(fd);
	}
	end(s);
}

/* O_ASYNC by its other name. */
void test_pair_async(void)
{
	int s[2], on = 1;

	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	EQ(ioctl(s[0], FIOASYNC, &on), 0);
	CHECK(fcntl(s[0], F_GETFL) & O_ASYNC);
	EQ(fcntl(s[0], F_SETOWN, getpid()), 0);
	EQ(fcntl(s[0], F_GETOWN), getpid());
	on = 0;
	EQ(ioctl(s[0], FIOASYNC, &on), 0);
	CHECK(!(fcntl(s[0], F_GETFL) & O_ASYNC));
	end(s);
}

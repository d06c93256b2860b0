/* pipes.c: tests of pipes, socket pairs, eventfd and timerfd. */
#include "test.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

void test_pipe_basics(void)
{
	struct stat st;
	int p[2], n;

	EQ(pipe(p), 0);
	EQ(write(p[1], "hello", 5), 5);
	EQ(ioctl(p[0], FIONREAD, &n), 0);
	EQ(n, 5);
	EQ(read(p[0], page, 2), 2);
	EQ(read(p[0], page + 2, 100), 3);
	CHECK(!memcmp(page, "hello", 5));
	FAILS(read(p[1], page, 1), EBADF);
	FAILS(write(p[0], page, 1), EBADF);
	FAILS(lseek(p[0], 0, SEEK_SET), ESPIPE);
	FAILS(pread(p[0], page, 1, 0), ESPIPE);
	EQ(fstat(p[0], &st), 0);
	CHECK(S_ISFIFO(st.st_mode));
	close(p[1]);
	EQ(read(p[0], page, 1), 0);
	FAILS(pipe2(p, 1), EINVAL);
	EQ(pipe2(p, O_NONBLOCK), 0);
	FAILS(read(p[0], page, 1), EAGAIN);
}

void test_pipe_full(void)
{
	int p[2], total = 0, n;

	EQ(pipe2(p, O_NONBLOCK), 0);
	while ((n = (int)write(p[1], page, 1000)) > 0)
		total += n;
	EQ(errno, EAGAIN);
	CHECK(total >= 60000 && total <= 65536);
	EQ(read(p[0], page, 4096), 4096);
	EQ(write(p[1], page, 1000), 1000);
	while ((n = (int)read(p[0], page, 4096)) > 0)
		total -= n;
	EQ(total, 4096 - 1000);
	EQ(fcntl(p[0], F_GETPIPE_SZ), 65536);
}

/* The oldest and the newest bytes of a full pipe. */
void test_pipe_wraps(void)
{
	static char in[70000], out[70000];
	int p[2];

	EQ(pipe(p), 0);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 2654435761U >> 24);
	EQ(write(p[1], in, 65536), 65536);
	EQ(read(p[0], out, 1000), 1000);
	EQ(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
	if (in_pvm()) /* Linux has room for whole pages only */
		EQ(write(p[1], in + 65536, 1000), 1000);
	EQ(read(p[0], out + 1000, 3096), 3096);
	if (!in_pvm())
		EQ(write(p[1], in + 65536, 1000), 1000);
	for (size_t n = 4096; n < 66536;) {
		long got = read(p[0], out + n, sizeof(out) - n);

		CHECK(got > 0);
		n += (size_t)got;
	}
	EQ(memcmp(in, out, 66536), 0);
}

struct letters {
	int fd;
	char c;
};

static void *write_letters(void *arg)
{
	const struct letters *l = arg;
	char buf[1000];

	memset(buf, l->c, sizeof(buf));
	for (int i = 0; i < 200; i++)
		EQ(write(l->fd, buf, sizeof(buf)), sizeof(buf));
	return NULL;
}

/* What is written in one piece of up to PIPE_BUF arrives in one piece. */
void test_pipe_atomic(void)
{
	pthread_t t[3];
	struct letters l[3];
	char buf[1000];
	int p[2];

	EQ(pipe(p), 0);
	for (int i = 0; i < 3; i++) {
		l[i] = (struct letters){p[1], (char)('a' + i)};
		EQ(pthread_create(&t[i], NULL, write_letters, &l[i]), 0);
	}
	for (int i = 0; i < 600; i++) {
		for (size_t n = 0; n < sizeof(buf);) {
			long got = read(p[0], buf + n, sizeof(buf) - n);

			CHECK(got > 0);
			n += (size_t)got;
		}
		for (size_t j = 1; j < sizeof(buf); j++)
			EQ(buf[j], buf[0]);
	}
	for (int i = 0; i < 3; i++)
		EQ(pthread_join(t[i], NULL), 0);
}

static volatile sig_atomic_t got_signal;

static void note(int sig)
{
	got_signal = sig;
}

void test_pipe_broken(void)
{
	int p[2];

	EQ(pipe(p), 0);
	close(p[0]);
	on_signal(SIGPIPE, note, 0);
	got_signal = 0;
	FAILS(write(p[1], "x", 1), EPIPE);
	EQ(got_signal, SIGPIPE);
	on_signal(SIGPIPE, SIG_IGN, 0);
	FAILS(write(p[1], "x", 1), EPIPE);
	EQ(write(p[1], "", 0), 0);
}

static void *pump(void *arg)
{
	const int *p = arg;
	uint8_t b[777];
	uint32_t n = 0;

	while (n < 1000000) {
		for (size_t i = 0; i < sizeof(b); i++)
			b[i] = (uint8_t)((n + i) * 31 >> 3);
		EQ(write(p[1], b, sizeof(b)), sizeof(b));
		n += sizeof(b);
	}
	close(p[1]);
	return NULL;
}

/* Of one that has 64 KiB, as all have here. */
void test_pipe_size(void)
{
	int p[2], file;

	EQ(pipe(p), 0);
	EQ(fcntl(p[0], F_GETPIPE_SZ), 65536);
	EQ(fcntl(p[1], F_SETPIPE_SZ, 65536), 65536);
	CHECK(fcntl(p[1], F_SETPIPE_SZ, 1) >= 4096);
	FAILS(fcntl(p[1], F_SETPIPE_SZ, -1), EINVAL);
	file = open(".", O_RDONLY);
	CHECK(file >= 0);
	FAILS(fcntl(file, F_GETPIPE_SZ), EBADF);
	FAILS(fcntl(file, F_SETPIPE_SZ, 65536), EBADF);
	close(file);
	close(p[0]);
	close(p[1]);
}

void test_pipe_threads(void)
{
	pthread_t t;
	uint8_t b[1234];
	uint32_t n = 0;
	long got;
	int p[2];

	EQ(pipe(p), 0);
	EQ(pthread_create(&t, NULL, pump, p), 0);
	while ((got = read(p[0], b, sizeof(b))) > 0)
		for (long i = 0; i < got; i++, n++)
			EQ(b[i], (uint8_t)(n * 31 >> 3));
	EQ(got, 0);
	CHECK(n >= 1000000);
	EQ(pthread_join(t, NULL), 0);
}

void test_pipe_vectors(void)
{
	struct iovec v[2] = {{"abc", 3}, {"defg", 4}};
	char a[2], b[10];
	struct iovec r[2] = {{a, 2}, {b, 10}};
	int p[2];

	EQ(pipe(p), 0);
	EQ(writev(p[1], v, 2), 7);
	EQ(readv(p[0], r, 2), 7);
	CHECK(!memcmp(a, "ab", 2) && !memcmp(b, "cdefg", 5));
}

void test_socket_pair(void)
{
	int s[2];

	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	EQ(write(s[0], "to one", 6), 6);
	EQ(write(s[1], "to zero", 7), 7);
	EQ(read(s[1], page, 100), 6);
	EQ(recv(s[0], page, 100, 0), 7);
	CHECK(!memcmp(page, "to zero", 7));
	FAILS(recv(s[0], page, 1, MSG_DONTWAIT), EAGAIN);
	EQ(send(s[0], "x", 1, MSG_NOSIGNAL), 1);
	EQ(shutdown(s[0], SHUT_WR), 0);
	FAILS(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(read(s[1], page, 10), 1);
	EQ(read(s[1], page, 10), 0);
	EQ(write(s[1], "back", 4), 4);
	EQ(read(s[0], page, 10), 4);
	close(s[1]);
	EQ(read(s[0], page, 10), 0);
	FAILS(socketpair(AF_UNIX, 99, 0, s), EINVAL);
	FAILS(lseek(s[0], 0, SEEK_SET), ESPIPE);
}

void test_eventfd_counts(void)
{
	uint64_t v;
	int fd = eventfd(3, EFD_NONBLOCK);

	EQ(read(fd, &v, 8), 8);
	EQ(v, 3);
	FAILS(read(fd, &v, 8), EAGAIN);
	v = 5;
	EQ(write(fd, &v, 8), 8);
	EQ(write(fd, &v, 8), 8);
	EQ(read(fd, &v, 8), 8);
	EQ(v, 10);
	v = UINT64_MAX;
	FAILS(write(fd, &v, 8), EINVAL);
	v = UINT64_MAX - 1;
	EQ(write(fd, &v, 8), 8);
	v = 1;
	FAILS(write(fd, &v, 8), EAGAIN);
	FAILS(read(fd, &v, 4), EINVAL);
	CHECK((fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK)) >= 0);
	EQ(read(fd, &v, 8), 8);
	EQ(v, 1);
	EQ(read(fd, &v, 8), 8);
	FAILS(read(fd, &v, 8), EAGAIN);
}

void test_timerfd_ticks(void)
{
	struct itimerspec its = {{0, 10000000}, {0, 10000000}}, got;
	uint64_t n;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	int64_t begin = now();

	CHECK(fd >= 0);
	FAILS(read(fd, &n, 8), EAGAIN);
	EQ(timerfd_settime(fd, 0, &its, NULL), 0);
	EQ(timerfd_gettime(fd, &got), 0);
	CHECK(got.it_value.tv_nsec > 0 && got.it_interval.tv_nsec == 10000000);
	sleep_ms(55);
	EQ(read(fd, &n, 8), 8);
	CHECK(n >= 5 && (int64_t)n <= (now() - begin) / 10000000);
	its = (struct itimerspec){{0, 0}, {0, 0}};
	EQ(timerfd_settime(fd, 0, &its, NULL), 0);
	sleep_ms(20);
	FAILS(read(fd, &n, 8), EAGAIN);
	EQ(fcntl(fd, F_SETFL, 0), 0);
	its.it_value.tv_nsec = 20000000;
	int64_t before = now();

	EQ(timerfd_settime(fd, 0, &its, NULL), 0);
	EQ(read(fd, &n, 8), 8);
	EQ(n, 1);
	CHECK(now() - before >= 20000000);
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	its.it_value = ts; /* now, absolutely: due at once */
	EQ(timerfd_settime(timerfd_create(CLOCK_REALTIME, 0), TFD_TIMER_ABSTIME, &its, NULL), 0);
	its.it_value.tv_nsec = 1000000000;
	FAILS(timerfd_settime(fd, 0, &its, NULL), EINVAL);
	FAILS(timerfd_create(99, 0), EINVAL);
}

/* polls.c: tests of poll, select and epoll. */
#include "test.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/syscall.h>

static volatile sig_atomic_t got_signal;

static void note(int sig)
{
	got_signal = sig;
}

void test_poll_pipe(void)
{
	struct pollfd p[4];
	int fd[2];

	EQ(pipe(fd), 0);
	p[0] = (struct pollfd){fd[0], POLLIN, 99};
	p[1] = (struct pollfd){fd[1], POLLOUT, 99};
	p[2] = (struct pollfd){-1, POLLIN, 99};
	p[3] = (struct pollfd){200, POLLIN, 99};
	EQ(poll(p, 4, 0), 2);
	EQ(p[0].revents, 0);
	EQ(p[1].revents, POLLOUT);
	EQ(p[2].revents, 0);
	EQ(p[3].revents, POLLNVAL);
	EQ(write(fd[1], "x", 1), 1);
	EQ(poll(p, 1, -1), 1);
	EQ(p[0].revents, POLLIN);
	close(fd[1]);
	EQ(poll(p, 1, 0), 1);
	EQ(p[0].revents, POLLIN | POLLHUP);
	EQ(read(fd[0], page, 1), 1);
	EQ(poll(p, 1, 0), 1);
	EQ(p[0].revents, POLLHUP);
	EQ(pipe(fd), 0);
	close(fd[0]);
	p[1].fd = fd[1];
	EQ(poll(p + 1, 1, 0), 1);
	CHECK(p[1].revents & POLLERR);
	int f = open("f", O_RDWR | O_CREAT, 0600);

	p[0] = (struct pollfd){f, POLLIN | POLLOUT, 0};
	EQ(poll(p, 1, 0), 1);
	EQ(p[0].revents, POLLIN | POLLOUT);
}

void test_poll_timeout(void)
{
	struct pollfd p;
	int fd[2];
	int64_t before = now();

	EQ(pipe(fd), 0);
	p = (struct pollfd){fd[0], POLLIN, 0};
	EQ(poll(&p, 1, 30), 0);
	CHECK(now() - before >= 30000000);
	EQ(poll(NULL, 0, 10), 0);
	struct timespec ts = {0, -1};

	FAILS(ppoll(&p, 1, &ts, NULL), EINVAL);
}

static void *write_later(void *arg)
{
	sleep_ms(30);
	EQ(write(*(int *)arg, "x", 1), 1);
	return NULL;
}

void test_poll_wakes(void)
{
	pthread_t t;
	struct pollfd p;
	int fd[2];

	EQ(pipe(fd), 0);
	p = (struct pollfd){fd[0], POLLIN, 0};
	EQ(pthread_create(&t, NULL, write_later, &fd[1]), 0);
	EQ(poll(&p, 1, 60000), 1);
	EQ(p.revents, POLLIN);
	EQ(pthread_join(t, NULL), 0);
}

static void *signal_later(void *arg)
{
	sleep_ms(30);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

void test_ppoll_mask(void)
{
	pthread_t t, self = pthread_self();
	struct pollfd p;
	sigset_t block, none;
	int fd[2];

	EQ(pipe(fd), 0);
	p = (struct pollfd){fd[0], POLLIN, 0};
	on_signal(SIGUSR1, note, 0);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	EQ(sigprocmask(SIG_BLOCK, &block, NULL), 0);
	got_signal = 0;
	EQ(raise(SIGUSR1), 0);
	EQ(got_signal, 0);
	FAILS(ppoll(&p, 1, NULL, &none), EINTR);
	EQ(got_signal, SIGUSR1);
	sigset_t is;

	EQ(sigprocmask(SIG_BLOCK, NULL, &is), 0);
	EQ(sigismember(&is, SIGUSR1), 1);
	got_signal = 0;
	EQ(pthread_create(&t, NULL, signal_later, &self), 0);
	FAILS(ppoll(&p, 1, NULL, &none), EINTR);
	EQ(got_signal, SIGUSR1);
	EQ(pthread_join(t, NULL), 0);
}

void test_select_sets(void)
{
	struct timeval tv = {0, 20000};
	fd_set r, w;
	int a[2], b[2];

	EQ(pipe(a), 0);
	EQ(pipe(b), 0);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(a[0], &r);
	FD_SET(b[0], &r);
	FD_SET(b[1], &w);
	EQ(write(a[1], "x", 1), 1);
	EQ(select(b[1] + 1, &r, &w, NULL, NULL), 2);
	CHECK(FD_ISSET(a[0], &r) && !FD_ISSET(b[0], &r) && FD_ISSET(b[1], &w));
	FD_ZERO(&r);
	FD_SET(b[0], &r);
	int64_t before = now();

	EQ(select(b[0] + 1, &r, NULL, NULL, &tv), 0);
	CHECK(now() - before >= 20000000);
	CHECK(!FD_ISSET(b[0], &r));
	close(b[1]);
	FD_SET(b[0], &r);
	EQ(select(b[0] + 1, &r, NULL, NULL, NULL), 1); /* end of file can be read */
	FD_ZERO(&r);
	FD_SET(200, &r);
	FAILS(select(201, &r, NULL, NULL, NULL), EBADF);
	FAILS(select(-1, NULL, NULL, NULL, NULL), EINVAL);
	tv = (struct timeval){0, 5000};
	EQ(select(0, NULL, NULL, NULL, &tv), 0);
}

void test_pselect_mask(void)
{
	sigset_t block, none;
	struct timespec ts = {0, 10000000};
	fd_set r;
	int fd[2];

	EQ(pipe(fd), 0);
	on_signal(SIGUSR1, note, 0);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	EQ(sigprocmask(SIG_BLOCK, &block, NULL), 0);
	got_signal = 0;
	EQ(raise(SIGUSR1), 0);
	FD_ZERO(&r);
	FD_SET(fd[0], &r);
	EQ(pselect(fd[0] + 1, &r, NULL, NULL, &ts, NULL), 0);
	FD_SET(fd[0], &r);
	FAILS(pselect(fd[0] + 1, &r, NULL, NULL, NULL, &none), EINTR);
	EQ(got_signal, SIGUSR1);
}

/* ---- epoll ---- */

static int watch(int ep, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

void test_epoll_level(void)
{
	struct epoll_event ev[8];
	int ep = epoll_create1(EPOLL_CLOEXEC), a[2], b[2];

	CHECK(ep >= 0);
	EQ(pipe(a), 0);
	EQ(pipe(b), 0);
	EQ(watch(ep, a[0], EPOLLIN), 0);
	EQ(watch(ep, b[0], EPOLLIN), 0);
	EQ(epoll_wait(ep, ev, 8, 0), 0);
	EQ(write(a[1], "xy", 2), 2);
	for (int i = 0; i < 3; i++) {
		EQ(epoll_wait(ep, ev, 8, -1), 1);
		EQ(ev[0].data.fd, a[0]);
		EQ(ev[0].events, EPOLLIN);
	}
	EQ(write(b[1], "x", 1), 1);
	EQ(epoll_wait(ep, ev, 8, -1), 2);
	EQ(epoll_wait(ep, ev, 1, -1), 1);
	int first = ev[0].data.fd;

	EQ(epoll_wait(ep, ev, 1, -1), 1); /* each gets its turn */
	CHECK(ev[0].data.fd != first);
	EQ(read(a[0], page, 10), 2);
	EQ(epoll_wait(ep, ev, 8, -1), 1);
	EQ(ev[0].data.fd, b[0]);
	close(b[1]);
	EQ(read(b[0], page, 10), 1);
	EQ(epoll_wait(ep, ev, 8, -1), 1);
	EQ(ev[0].events, EPOLLHUP);
	EQ(epoll_ctl(ep, EPOLL_CTL_DEL, b[0], NULL), 0);
	EQ(epoll_wait(ep, ev, 8, 10), 0);
}

void test_epoll_edge(void)
{
	struct epoll_event ev[8];
	int ep = epoll_create1(0), p[2];

	EQ(pipe(p), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(watch(ep, p[0], EPOLLIN | EPOLLET), 0);
	EQ(epoll_wait(ep, ev, 8, 0), 1);
	EQ(epoll_wait(ep, ev, 8, 0), 0);
	EQ(write(p[1], "y", 1), 1);
	EQ(epoll_wait(ep, ev, 8, 0), 1);
	EQ(epoll_wait(ep, ev, 8, 0), 0);
	EQ(read(p[0], page, 10), 2);
	EQ(epoll_wait(ep, ev, 8, 0), 0);
	EQ(write(p[1], "z", 1), 1);
	EQ(epoll_wait(ep, ev, 8, 0), 1);
}

void test_epoll_oneshot(void)
{
	struct epoll_event ev;
	int ep = epoll_create1(0), p[2];

	EQ(pipe(p), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(watch(ep, p[0], EPOLLIN | EPOLLONESHOT), 0);
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	EQ(write(p[1], "y", 1), 1);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	ev = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.fd = 7};
	EQ(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev), 0);
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	EQ(ev.data.fd, 7);
}

void test_epoll_errors(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = epoll_create1(0), p[2], f = open("f", O_RDWR | O_CREAT, 0600);

	EQ(pipe(p), 0);
	EQ(watch(ep, p[0], EPOLLIN), 0);
	FAILS(watch(ep, p[0], EPOLLIN), EEXIST);
	FAILS(watch(ep, f, EPOLLIN), EPERM);
	FAILS(watch(ep, ep, EPOLLIN), EINVAL);
	FAILS(watch(ep, 200, EPOLLIN), EBADF);
	FAILS(watch(200, p[0], EPOLLIN), EBADF);
	FAILS(watch(p[0], p[1], EPOLLIN), EINVAL);
	FAILS(epoll_ctl(ep, EPOLL_CTL_MOD, p[1], &ev), ENOENT);
	FAILS(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], &ev), ENOENT);
	FAILS(epoll_ctl(ep, 99, p[1], &ev), EINVAL);
	FAILS(epoll_wait(ep, &ev, 0, 0), EINVAL);
	FAILS(epoll_wait(f, &ev, 1, 0), EINVAL);
	FAILS(epoll_create1(1), EINVAL);
	FAILS(syscall(SYS_epoll_create, 0), EINVAL);
}

void test_epoll_nested(void)
{
	struct epoll_event ev;
	int inner = epoll_create1(0), outer = epoll_create1(0), p[2];

	EQ(pipe(p), 0);
	EQ(watch(inner, p[0], EPOLLIN), 0);
	EQ(watch(outer, inner, EPOLLIN), 0);
	FAILS(watch(inner, outer, EPOLLIN), ELOOP);
	EQ(epoll_wait(outer, &ev, 1, 0), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(epoll_wait(outer, &ev, 1, 100), 1);
	EQ(ev.data.fd, inner);
}

void test_epoll_closed(void)
{
	struct epoll_event ev;
	int ep = epoll_create1(0), p[2], d;
	uint64_t one = 1;

	EQ(pipe(p), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(watch(ep, p[0], EPOLLIN), 0);
	CHECK((d = dup(p[0])) >= 0);
	close(p[0]);
	EQ(epoll_wait(ep, &ev, 1, 0), 1); /* the file is still open */
	close(d);
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	CHECK((d = eventfd(0, 0)) >= 0);
	EQ(watch(ep, d, EPOLLIN | EPOLLOUT), 0);
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	EQ(ev.events, EPOLLOUT);
	EQ(write(d, &one, 8), 8);
	EQ(epoll_wait(ep, &ev, 1, 0), 1);
	EQ(ev.events, EPOLLIN | EPOLLOUT);
}

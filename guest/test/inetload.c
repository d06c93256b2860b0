/* inetload.c: many connections at once and one after the other, and what a fork does to them. */
#include "inet.h"

#define RECONNECTS 10000
#define CONNECTIONS 300

/* ---- many at once ---- */

static void *thread_server(void *arg)
{
	int s = (int)(intptr_t)arg;
	char buf[100];
	ssize_t n;

	while ((n = read(s, buf, sizeof(buf))) > 0)
		put_all(s, buf, (size_t)n);
	close(s);
	return NULL;
}

/* A thread for each connection, as the simplest servers have it. */
void test_net_threads(void)
{
	struct sockaddr_in at;
	int l = listener(20, &at), s[20];
	pthread_t t[20];

	for (int i = 0; i < 20; i++) {
		s[i] = connected_to(&at);
		EQ(pthread_create(&t[i], NULL, thread_server, (void *)(intptr_t)accept(l, NULL, NULL)), 0);
	}
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 20; i++)
			EQ(write(s[i], &i, sizeof(i)), sizeof(i));
		for (int i = 0; i < 20; i++) {
			int got;

			get_all(s[i], &got, sizeof(got));
			EQ(got, i);
		}
	}
	for (int i = 0; i < 20; i++) {
		close(s[i]);
		EQ(pthread_join(t[i], NULL), 0);
	}
}

static void watch(int ep, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), 0);
}

/* One thread serves all, until its listener has heard a certain connection: one that says nothing. */
static void *epoll_server(void *arg)
{
	int l = *(int *)arg, ep = epoll_create1(EPOLL_CLOEXEC), n, silent = 0;
	struct epoll_event e[16];
	char buf[100];

	watch(ep, l, EPOLLIN);
	while (!silent) {
		n = epoll_wait(ep, e, 16, 30000);
		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd, heard = 0;
			ssize_t got;

			if (fd == l) {
				while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
				EQ(errno, EAGAIN);
				continue;
			}
			/* Edges: all there is has to be read. */
			while ((got = read(fd, buf, sizeof(buf))) > 0) {
				put_all(fd, buf, (size_t)got);
				heard = 1;
			}
			if (got < 0) {
				EQ(errno, EAGAIN);
				continue;
			}
			silent = !heard && e[i].events & EPOLLIN && buf[0] == 'q';
			close(fd);
		}
	}
	close(ep);
	return NULL;
}

void test_net_epoll(void)
{
	static int s[CONNECTIONS];
	struct sockaddr_in at;
	struct epoll_event e;
	int l = listener(200, &at), ep = epoll_create1(0), got;
	pthread_t t;

	EQ(fcntl(l, F_SETFL, O_NONBLOCK), 0);
	EQ(pthread_create(&t, NULL, epoll_server, &l), 0);
	for (int i = 0; i < CONNECTIONS; i++)
		s[i] = connected_to(&at);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CONNECTIONS; i++)
			EQ(write(s[i], &i, sizeof(i)), sizeof(i));
		for (int i = 0; i < CONNECTIONS; i++) {
			get_all(s[i], &got, sizeof(got));
			EQ(got, i);
		}
	}
	/* Level: told again while bytes are there. */
	watch(ep, s[0], EPOLLIN);
	EQ(epoll_wait(ep, &e, 1, 0), 0);
	EQ(write(s[0], "ab", 2), 2);
	for (int i = 0; i < 2; i++) {
		EQ(epoll_wait(ep, &e, 1, 30000), 1);
		EQ(e.events, EPOLLIN);
		get_all(s[0], page, 1);
	}
	EQ(epoll_wait(ep, &e, 1, 0), 0);
	for (int i = 1; i < CONNECTIONS; i++)
		close(s[i]);
	EQ(write(s[0], "q", 1), 1);
	get_all(s[0], page, 1);
	close(s[0]);
	EQ(pthread_join(t, NULL), 0);
	close(ep);
	close(l);
}

/* Who spoke first is told of first; who is told of again goes behind the others. */
void test_net_epoll_order(void)
{
	static const int order[] = {3, 0, 4, 1}, later[] = {4, 1, 3, 0};
	struct epoll_event e[8];
	int ep = epoll_create1(0), s[5][2], full;

	for (int i = 0; i < 5; i++) {
		tcp_pair(s[i]);
		watch(ep, s[i][1], EPOLLIN);
	}
	EQ(epoll_wait(ep, e, 8, 0), 0);
	for (size_t i = 0; i < COUNT(order); i++) {
		EQ(write(s[order[i]][0], "x", 1), 1);
		await_state(s[order[i]][1], POLLIN);
	}
	EQ(epoll_wait(ep, e, 8, 0), 4);
	for (int i = 0; i < 4; i++)
		EQ(e[i].data.fd, s[order[i]][1]);
	EQ(epoll_wait(ep, e, 2, 0), 2);
	EQ(epoll_wait(ep, e, 8, 0), 4);
	for (int i = 0; i < 4; i++) {
		EQ(e[i].data.fd, s[later[i]][1]);
		get_all(s[later[i]][1], page, 1);
	}
	EQ(epoll_wait(ep, e, 8, 0), 0);

	/* Room that an option makes is news, too. */
	EQ(fcntl(s[2][0], F_SETFL, O_NONBLOCK), 0);
	set_option(s[2][0], SOL_SOCKET, SO_SNDBUF, 4096);
	while (write(s[2][0], page, sizeof(page)) > 0) {
	}
	full = epoll_create1(0);
	watch(full, s[2][0], EPOLLOUT | EPOLLET);
	EQ(epoll_wait(full, e, 8, 0), 0);
	set_option(s[2][0], SOL_SOCKET, SO_SNDBUF, 65536);
	EQ(epoll_wait(full, e, 8, 30000), 1);
	EQ(e[0].events, EPOLLOUT);
	close(full);
	for (int i = 0; i < 5; i++) {
		close(s[i][0]);
		close(s[i][1]);
	}
	close(ep);
}

#define CROWD 4

struct crowd {
	int ep, end;
};

/* Each event is one thread's, until that asks for more. */
static void *crowd_server(void *arg)
{
	struct crowd *c = arg;
	struct epoll_event e;
	char byte;

	for (;;) {
		EQ(epoll_wait(c->ep, &e, 1, 30000), 1);
		if (e.data.fd == c->end)
			return NULL;
		get_all(e.data.fd, &byte, 1);
		put_all(e.data.fd, &byte, 1);
		e.events = EPOLLIN | EPOLLONESHOT;
		EQ(epoll_ctl(c->ep, EPOLL_CTL_MOD, e.data.fd, &e), 0);
	}
}

/* Some threads wait for the same set, as in servers with a pool of them: nobody's word is lost, and all hear of the end. */
void test_net_epoll_crowd(void)
{
	int s[20][2], end[2];
	struct crowd c = {.ep = epoll_create1(0)};
	pthread_t t[CROWD];
	char byte;

	for (int i = 0; i < 20; i++) {
		tcp_pair(s[i]);
		watch(c.ep, s[i][1], EPOLLIN | EPOLLONESHOT);
	}
	for (int i = 0; i < CROWD; i++)
		EQ(pthread_create(&t[i], NULL, crowd_server, &c), 0);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 20; i++)
			put_all(s[i][0], &round, 1);
		for (int i = 0; i < 20; i++) {
			get_all(s[i][0], &byte, 1);
			EQ(byte, (char)round);
		}
	}
	EQ(pipe(end), 0);
	c.end = end[0];
	watch(c.ep, end[0], EPOLLIN); /* while they wait for sockets alone */
	EQ(write(end[1], "", 1), 1);
	for (int i = 0; i < CROWD; i++)
		EQ(pthread_join(t[i], NULL), 0);
	for (int i = 0; i < 20; i++) {
		close(s[i][0]);
		close(s[i][1]);
	}
	close(c.ep);
	close(end[0]);
	close(end[1]);
}

struct polling {
	int kind, fd, other; /* other: nothing comes */
};

/* One of the ways to wait for a connection with a limit. */
static void *poll_server(void *arg)
{
	struct polling *p = arg;
	struct pollfd few[] = {{.fd = p->fd, .events = POLLIN}, {.fd = p->other, .events = POLLIN}}, many[7];
	struct timeval tv;
	char byte;
	fd_set set;

	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = few[0];
	for (;;) {
		switch (p->kind) {
		case 0: EQ(poll(few, 1, 30000), 1); break;
		case 1: EQ(poll(few, 2, 30000), 1); break;
		case 2: EQ(poll(many, 7, 30000), 7); break;
		default:
			tv = (struct timeval){.tv_sec = 30};
			FD_ZERO(&set);
			FD_SET(p->fd, &set);
			FD_SET(p->other, &set);
			EQ(select(1024, &set, NULL, NULL, &tv), 1);
			CHECK(FD_ISSET(p->fd, &set));
		}
		if (read(p->fd, &byte, 1) <= 0)
			return NULL;
		put_all(p->fd, &byte, 1);
	}
}

#define POLLERS 16

struct pollers {
	struct polling p[POLLERS];
	pthread_t t[POLLERS];
	int s[POLLERS], silent[2], end[2]; /* s: our ends */
};

static void pollers_begin(struct pollers *a)
{
	tcp_pair(a->silent);
	EQ(pipe(a->end), 0);
	for (int i = 0; i < POLLERS; i++) {
		int s[2];

		tcp_pair(s);
		a->s[i] = s[0];
		a->p[i] = (struct polling){.kind = i % 4, .fd = s[1], .other = i & 4 ? a->end[0] : a->silent[1]};
		EQ(pthread_create(&a->t[i], NULL, poll_server, &a->p[i]), 0);
	}
}

static void pollers_ask(struct pollers *a, char what)
{
	char byte;

	for (int i = 0; i < POLLERS; i++)
		put_all(a->s[i], &what, 1);
	for (int i = 0; i < POLLERS; i++) {
		get_all(a->s[i], &byte, 1);
		EQ(byte, what);
	}
}

/* Where the threads were that have not come along are others, when something happens to the connections. */
static void pollers_child(struct pollers *a)
{
	struct pollers *mine = malloc(sizeof(*mine));

	pollers_begin(mine);
	pollers_ask(mine, 'a');
	for (int i = 0; i < POLLERS; i++) {
		set_option(a->p[i].fd, SOL_SOCKET, SO_SNDBUF, 8192);
		close(a->p[i].fd);
		close(a->s[i]);
	}
	pollers_ask(mine, 'b');
	_exit(0);
}

/* A thread for each connection, which waits for it alone, or also for a socket or a pipe. */
void test_net_polls(void)
{
	struct pollers *a = malloc(sizeof(*a));
	int status;
	pid_t pid;

	pollers_begin(a);
	for (int round = 0; round < 40; round++) {
		pollers_ask(a, (char)round);
		if (round % 10 != 5)
			continue;
		pid = fork();
		if (!pid)
			pollers_child(a);
		EQ(waitpid(pid, &status, 0), pid);
		EQ(status, 0);
	}
	for (int i = 0; i < POLLERS; i++) {
		close(a->s[i]);
		EQ(pthread_join(a->t[i], NULL), 0);
		close(a->p[i].fd);
	}
	for (int i = 0; i < 2; i++) {
		close(a->silent[i]);
		close(a->end[i]);
	}
	free(a);
}

/* ---- one after the other ---- */

/* A client that uses few ports over and over, of a server that closes first and so has the last connection in TIME_WAIT. */
void test_net_reconnect(void)
{
	static int port[20];
	struct sockaddr_in at, mine;
	socklen_t len = sizeof(mine);
	int l = listener(5, &at);

	for (int i = 0; i < RECONNECTS; i++) {
		int *p = &port[i % (int)COUNT(port)], s = tcp_socket(0), a;

		set_option(s, SOL_SOCKET, SO_REUSEADDR, 1);
		mine = local(*p);
		EQ(bind(s, (struct sockaddr *)&mine, sizeof(mine)), 0);
		EQ(connect(s, (struct sockaddr *)&at, sizeof(at)), 0);
		EQ(getsockname(s, (struct sockaddr *)&mine, &len), 0);
		*p = ntohs(mine.sin_port);
		a = accept(l, NULL, NULL);
		CHECK(a >= 0);
		EQ(write(a, &i, sizeof(i)), sizeof(i));
		close(a);
		get_all(s, page, sizeof(i));
		EQ(memcmp(page, &i, sizeof(i)), 0);
		EQ(read(s, page, 1), 0);
		close(s);
	}
	/* Clients of any port, who close first. */
	for (int i = 0; i < RECONNECTS / 10; i++) {
		int s = connected_to(&at), a = accept(l, NULL, NULL);

		close(s);
		EQ(read(a, page, 1), 0);
		close(a);
	}
}

void test_net_ports(void)
{
	enum { N = 50 };
	struct sockaddr_in name;
	socklen_t len = sizeof(name);
	int port[N], fd[N], rising = 0;

	for (int i = 0; i < N; i++) {
		fd[i] = tcp_socket(0);
		name = local(0);
		EQ(bind(fd[i], (struct sockaddr *)&name, sizeof(name)), 0);
		EQ(getsockname(fd[i], (struct sockaddr *)&name, &len), 0);
		port[i] = ntohs(name.sin_port);
		for (int j = 0; j < i; j++)
			CHECK(port[i] != port[j]);
		rising += i && port[i] == port[i - 1] + 1;
	}
	CHECK(rising < 5); /* nobody can tell the next */
	for (int i = 0; i < N; i++)
		close(fd[i]);
}

/* ---- fork ---- */

/* Connections stay with the parent; in the child they are reset, and listeners listen on a loopback of its own. */
void test_net_fork(void)
{
	struct sockaddr_in at, dat;
	int l = listener(5, &at), s[2], u = udp_socket(&dat), waits, a;
	pid_t pid;

	tcp_pair(s);
	waits = connected_to(&at); /* nobody has accepted it yet */
	EQ(write(s[0], "before", 6), 6);
	IN_CHILD(pid) {
		int c;

		signal(SIGPIPE, SIG_IGN);
		EQ(state_of(s[0]), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
		FAILS(read(s[0], page, 1), ECONNRESET);
		EQ(read(s[0], page, 1), 0);
		FAILS(write(s[0], "x", 1), EPIPE);
		FAILS(write(waits, "x", 1), ECONNRESET);
		/* Bytes that had come are its own. */
		EQ(read(s[1], page, 100), 6);
		FAILS(read(s[1], page, 1), ECONNRESET);
		close(s[0]);
		close(s[1]);
		EQ(state_of(l), 0);
		c = connected_to(&at);
		a = accept(l, NULL, NULL);
		EQ(write(c, "child", 5), 5);
		get_all(a, page, 5);
		EQ(sendto(u, "x", 1, 0, (struct sockaddr *)&dat, sizeof(dat)), 1);
		EQ(recv(u, page, 10, 0), 1);
	}
	EQ(ended(pid), 0);
	/* The parent has noticed nothing. */
	get_all(s[1], page, 6);
	EQ(memcmp(page, "before", 6), 0);
	EQ(write(s[1], "after", 5), 5);
	get_all(s[0], page, 5);
	a = accept(l, NULL, NULL);
	EQ(write(waits, "x", 1), 1);
	get_all(a, page, 1);
	EQ(state_of(l), 0);
	FAILS(recv(u, page, 10, MSG_DONTWAIT), EAGAIN);
}

static void *blocked_reader(void *arg)
{
	EQ(read(*(int *)arg, page, 1), 1);
	return NULL;
}

/* A fork while another thread waits for bytes. */
void test_net_fork_reading(void)
{
	int s[2];
	pthread_t t;
	pid_t pid;

	tcp_pair(s);
	EQ(pthread_create(&t, NULL, blocked_reader, &s[0]), 0);
	sleep_ms(20);
	IN_CHILD(pid)
		FAILS(read(s[0], page, 1), ECONNRESET);
	EQ(ended(pid), 0);
	EQ(write(s[1], "x", 1), 1);
	EQ(pthread_join(t, NULL), 0);
}

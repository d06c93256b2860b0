/* net.c: servers and clients of the tests of the network. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECTIONS 600

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

static int listening(const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 128))
		exit(fail("listen"));
	return fd;
}

static int send_all(int fd, const char *p, ssize_t n)
{
	for (ssize_t sent; n > 0; p += sent, n -= sent)
		if ((sent = write(fd, p, (size_t)n)) < 0)
			return -1;
	return 0;
}

/* Sends back what comes, on all connections at once. */
static int echo(const char *port)
{
	static struct pollfd fds[CONNECTIONS];
	static char buf[65536];
	nfds_t n = 1;

	fds[0] = (struct pollfd){listening(port), POLLIN, 0};
	puts("ready");
	for (;;) {
		if (poll(fds, n, -1) < 0)
			return fail("poll");
		for (nfds_t i = n - 1; i > 0; i--) {
			ssize_t got;

			if (!fds[i].revents)
				continue;
			got = read(fds[i].fd, buf, sizeof(buf));
			if (got > 0 && !send_all(fds[i].fd, buf, got))
				continue;
			close(fds[i].fd);
			fds[i] = fds[--n];
		}
		if (fds[0].revents && n < CONNECTIONS) {
			int fd = accept(fds[0].fd, NULL, NULL);

			if (fd < 0)
				return fail("accept");
			fds[n++] = (struct pollfd){fd, POLLIN, 0};
		}
	}
}

/* Tells a connection who has taken it. */
static void tell(int c)
{
	char who[32];

	send_all(c, who, snprintf(who, sizeof(who), "%d\n", (int)getpid()));
	close(c);
}

/* Tells each connection. */
static int tells(int fd)
{
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			return fail("accept");
		tell(c);
	}
}

/* A family that shares a port. */
static int family(const char *port, int children)
{
	int fd = listening(port);

	while (children-- > 0 && fork())
		;
	printf("%d ready\n", (int)getpid());
	return tells(fd);
}

/* The parent has the port alone: its child does something else, as one that saves what a server has. It looks for connections only some microseconds later. */
static int alone(const char *port, useconds_t later)
{
	int fd = listening(port);

	if (!fork())
		for (;;)
			pause();
	puts("ready");
	usleep(later);
	return tells(fd);
}

/* As servers do whose workers take all connections: the parent waits for their end. */
static int prefork(const char *port, int workers)
{
	int fd = listening(port);

	for (; workers > 0; workers--)
		if (!fork())
			return tells(fd);
	puts("ready");
	while (wait(NULL) > 0)
		;
	return 0;
}

/* Each connection has it fork a child that closes its listener, as one that saves what a server has, and lives for a moment. */
static int saver(const char *port)
{
	int fd = listening(port);

	signal(SIGCHLD, SIG_IGN);
	puts("ready");
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			return fail("accept");
		if (!fork()) {
			close(fd);
			usleep(2000);
			_exit(0);
		}
		tell(c);
	}
}

/* A family that shares a port of datagrams: each is sent back behind the number of who has got it. */
static int datagrams(const char *port, int children)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))}, from;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	static char buf[65536], text[65536 + 32];

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		return fail("bind");
	while (children-- > 0 && fork())
		;
	printf("%d ready\n", (int)getpid());
	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		int head;

		if (n < 0)
			return fail("recvfrom");
		head = sprintf(text, "%d ", (int)getpid());
		memcpy(text + head, buf, (size_t)n);
		sendto(fd, text, (size_t)(head + n), 0, (struct sockaddr *)&from, len);
	}
}

/* Says a word to a server, and prints what it answers. */
static int say(const char *host, const char *port, const char *word)
{
	const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	struct addrinfo *to;
	char buf[256];
	ssize_t n;
	int fd, err = getaddrinfo(host, port, &hints, &to);

	if (err) {
		printf("%s: %s\n", host, gai_strerror(err));
		return 1;
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, to->ai_addr, to->ai_addrlen))
		return fail("connect");
	send_all(fd, word, (ssize_t)strlen(word));
	shutdown(fd, SHUT_WR);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, stdout);
	putchar('\n');
	return n < 0 ? fail("read") : 0;
}

/* Answers once with so many bytes, and exits at once. */
static int once(const char *port, int bytes)
{
	int c = accept(listening(port), NULL, NULL);
	char *all = malloc((size_t)bytes);

	if (c < 0 || !all)
		return fail("accept");
	memset(all, 'x', (size_t)bytes);
	return send_all(c, all, bytes) ? fail("write") : 0;
}

/* The address that a name has; 0: it has none. */
static in_addr_t address(const char *name)
{
	const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	in_addr_t a;

	if (getaddrinfo(name, NULL, &hints, &found))
		return 0;
	a = ((struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr;
	freeaddrinfo(found);
	return a;
}

/* What this pVM finds itself called, and under that name; a child, too. */
static int self(void)
{
	pid_t child = fork();
	struct in_addr own, loop = {address("localhost")};
	char name[128];

	if (child < 0 || gethostname(name, sizeof(name)))
		return fail("self");
	close(socket(AF_INET, SOCK_STREAM, 0)); /* waits for the address, if that is on its way to a child */
	own.s_addr = address(name);
	printf("%d %s %s", (int)getpid(), name, inet_ntoa(own));
	printf(" %s\n", inet_ntoa(loop));
	return pause();
}

/* Two that are each other's peer: each says its name to the other, and prints who called. */
static int peer(const char *port, const char *other)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int l = listening(port), fd = socket(AF_INET, SOCK_STREAM, 0), c;
	char name[128], heard[128];
	ssize_t n;

	while (!(to.sin_addr.s_addr = address(other)) || connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		usleep(50000);
		fd = socket(AF_INET, SOCK_STREAM, 0);
	}
	gethostname(name, sizeof(name));
	send_all(fd, name, (ssize_t)strlen(name));
	close(fd);
	c = accept(l, NULL, NULL);
	n = read(c, heard, sizeof(heard) - 1);
	if (n < 0)
		return fail("peer");
	printf("%s heard %.*s\n", name, (int)n, heard);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "echo"))
		return echo(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "self"))
		return self();
	if (argc == 4 && !strcmp(argv[1], "peer"))
		return peer(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "family"))
		return family(argv[2], atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "alone"))
		return alone(argv[2], 0);
	if (argc == 4 && !strcmp(argv[1], "prefork"))
		return prefork(argv[2], atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "late"))
		return alone(argv[2], 100000);
	if (argc == 3 && !strcmp(argv[1], "saver"))
		return saver(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "datagrams"))
		return datagrams(argv[2], atoi(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "once"))
		return once(argv[2], atoi(argv[3]));
	if (argc == 5 && !strcmp(argv[1], "say"))
		return say(argv[2], argv[3], argv[4]);
	return 2;
}

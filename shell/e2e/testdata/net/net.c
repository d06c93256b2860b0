/* net.c: servers and clients of the tests of the network. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
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

/* Tells each connection who has taken it. */
static int tells(int fd)
{
	char who[32];

	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			return fail("accept");
		send_all(c, who, snprintf(who, sizeof(who), "%d\n", (int)getpid()));
		close(c);
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

/* The parent has the port alone: its child does something else, as one that saves what a server has. */
static int alone(const char *port)
{
	int fd = listening(port);

	if (!fork())
		for (;;)
			pause();
	puts("ready");
	return tells(fd);
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

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "echo"))
		return echo(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "family"))
		return family(argv[2], atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "alone"))
		return alone(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "once"))
		return once(argv[2], atoi(argv[3]));
	if (argc == 5 && !strcmp(argv[1], "say"))
		return say(argv[2], argv[3], argv[4]);
	return 2;
}

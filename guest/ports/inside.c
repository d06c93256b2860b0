/*
 * inside.c: for tests, linked into a server: a thread that is its client over loopback, since nobody else is in a pVM. What standard
 * input says is done, what comes back goes to standard output, and the program ends with it. Lines:
 *
 *	!open PORT   connect, as soon as somebody listens
 *	!end         send no more, print what comes until the server closes
 *	!quiet MS    print what comes until it closes, or nothing has come for so long (-1: it closes)
 *	!until WORD REQUEST  send this again and again until what comes has the word
 *	!dump        print what comes until a mark of 40 bytes comes again that has come after "$EOF:"
 *	!file FILE   print it, two digits a byte, and a newline
 *
 * Any other line is sent, with CR LF.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES 3000 /* of 10 ms */

static int fd = -1;
static FILE *in, *out; /* its own: servers turn theirs to /dev/null */

static void die(const char *what)
{
	if (out)
		fflush(out);
	perror(what);
	_exit(3);
}

static void open_port(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (fd >= 0)
		close(fd);
	for (int i = 0; i < TRIES; i++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0)
			die("inside: socket");
		if (!connect(fd, (struct sockaddr *)&to, sizeof(to)))
			return;
		close(fd);
		usleep(10000);
	}
	die("inside: connect");
}

/* Prints what comes: until the server closes, or nothing comes for ms milliseconds (-1: forever). */
static void print_rest(int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char buf[4096];
	ssize_t got = 0;

	while (poll(&p, 1, ms) > 0 && (got = recv(fd, buf, sizeof(buf), 0)) > 0)
		fwrite(buf, 1, (size_t)got, out);
	if (got < 0)
		die("inside: recv");
	fflush(out);
}

static char *said; /* what came since a command began */
static size_t length;

/* Takes some of what comes and prints it, unless nothing comes for ms milliseconds (-1: forever). */
static int take(int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t got;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	said = realloc(said, length + 4096);
	if (!said)
		die("inside: realloc");
	got = recv(fd, said + length, 4096, 0);
	if (got <= 0)
		die("inside: recv");
	fwrite(said + length, 1, (size_t)got, out);
	length += (size_t)got;
	return 1;
}

static void say(const char *line)
{
	size_t n = strlen(line);

	if (send(fd, line, n, MSG_NOSIGNAL) != (ssize_t)n || send(fd, "\r\n", 2, MSG_NOSIGNAL) != 2)
		die("inside: send");
}

static void until(char *word)
{
	char *request = word + strcspn(word, " ");

	if (*request)
		*request++ = 0;
	do {
		length = 0;
		say(request);
		while (take(500))
			;
	} while (!memmem(said, length, word, strlen(word)));
	fflush(out);
}

static void dump(void)
{
	const size_t intro = 5, mark = 40;
	size_t begin, looked;
	char *at = NULL;

	length = 0;
	while (!at) {
		take(-1);
		at = memmem(said, length, "$EOF:", intro);
	}
	begin = (size_t)(at - said) + intro;
	while (length < begin + mark)
		take(-1);
	for (looked = begin + mark; !memmem(said + looked, length - looked, said + begin, mark); take(-1))
		if (length - looked >= mark)
			looked = length - mark + 1;
	fflush(out);
}

static void end(void)
{
	if (shutdown(fd, SHUT_WR))
		die("inside: shutdown");
	print_rest(-1);
}

static void print_file(const char *name)
{
	FILE *f = fopen(name, "rb");
	int c;

	if (!f)
		die(name);
	while ((c = getc(f)) != EOF)
		fprintf(out, "%02x", c);
	putc('\n', out);
	fclose(f);
}

static void *client(void *arg)
{
	char *line = NULL;
	size_t max = 0;
	ssize_t n;

	while ((n = getline(&line, &max, in)) > 0) {
		line[n - 1] = 0;
		if (!strncmp(line, "!open ", 6))
			open_port(atoi(line + 6));
		else if (!strcmp(line, "!end"))
			end();
		else if (!strncmp(line, "!quiet ", 7))
			print_rest(atoi(line + 7));
		else if (!strncmp(line, "!until ", 7))
			until(line + 7);
		else if (!strcmp(line, "!dump"))
			dump();
		else if (!strncmp(line, "!file ", 6))
			print_file(line + 6);
		else
			say(line);
	}
	fflush(out);
	_exit(0);
	return arg;
}

__attribute__((constructor)) static void start(void)
{
	pthread_t t;

	in = fdopen(dup(STDIN_FILENO), "r");
	out = fdopen(dup(STDOUT_FILENO), "w");
	if (!in || !out)
		die("inside: fdopen");
	if (pthread_create(&t, NULL, client, NULL))
		die("inside: pthread_create");
}

/*
 * httpd [-p PORT] [FOLDER]: a web server with a thread for each connection, as the paper's (section 4.6): the main thread
 * accepts, the connection's reads requests and answers with the files below FOLDER (the root, if it is not given). GET and HEAD of HTTP/1.0
 * and 1.1 (RFC 9112), kept connections, and requests that are sent ahead. A request's body is not read: the connection ends with the answer.
 */
#define _GNU_SOURCE /* memmem, strcasestr */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192  /* bytes of a request's head */
#define PIECE 8192     /* bytes of a file at a time */
#define PATH_MAX_SENT 1024
#define PATIENCE 15000 /* ms for a request's head to come, and for some of an answer to go */
#define STACK 65536

struct connection {
	int fd;
	size_t have;            /* bytes in in: a request, and what was sent ahead of the next */
	char in[HEAD_MAX + 1];
	char out[PIECE];
};

struct request {
	char *path;          /* below the folder, decoded, without the first slash */
	int head_only, keep; /* keep: the connection goes on after the answer */
};

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{200, "OK"}, {301, "Moved Permanently"}, {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"},
	{405, "Method Not Allowed"}, {408, "Request Timeout"}, {414, "URI Too Long"},
	{431, "Request Header Fields Too Large"}, {503, "Service Unavailable"}, {505, "HTTP Version Not Supported"},
};

static const char *reason(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Error";
}

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{"html", "text/html; charset=utf-8"}, {"txt", "text/plain; charset=utf-8"}, {"css", "text/css"}, {"js", "text/javascript"},
		{"json", "application/json"}, {"svg", "image/svg+xml"}, {"png", "image/png"}, {"jpg", "image/jpeg"}, {"gif", "image/gif"},
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(*types); i++)
		if (!strcasecmp(dot + 1, types[i][0]))
			return types[i][1];
	return "application/octet-stream";
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Whether the socket is ready for that before the time is over. */
static int ready(int fd, short events, long until)
{
	struct pollfd p = {.fd = fd, .events = events};
	long left;

	do {
		left = until - now_ms();
		if (left <= 0)
			return 0;
	} while (poll(&p, 1, (int)left) < 0 && errno == EINTR);
	return p.revents != 0;
}

/* All of it, or -1: the client has gone, or takes nothing. */
static int send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t did = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (did < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		if (did < 0 && errno == EAGAIN && !ready(fd, POLLOUT, now_ms() + PATIENCE))
			return -1;
		if (did > 0) {
			p += did;
			n -= (size_t)did;
		}
	}
	return 0;
}

/* Puts the head of an answer at the beginning of out: its length. more: header fields, each with its line's end. */
static size_t head(struct connection *c, int status, const char *type, off_t length, int keep, const char *more)
{
	char date[40];
	time_t t = time(NULL);
	struct tm tm;

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
	return (size_t)snprintf(c->out, sizeof(c->out),
				"HTTP/1.1 %d %s\r\nServer: httpd\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %lld\r\nConnection: %s\r\n%s\r\n", status,
				reason(status), date, type, (long long)length, keep ? "keep-alive" : "close", more);
}

/* An answer that is no file: its status is its text, too. Whether the connection goes on. */
static int answer(struct connection *c, const struct request *r, int status, const char *more)
{
	char text[64];
	int length = snprintf(text, sizeof(text), "%d %s\n", status, reason(status));
	size_t n = head(c, status, "text/plain", length, r->keep, more);

	if (!r->head_only) {
		memcpy(c->out + n, text, (size_t)length);
		n += (size_t)length;
	}
	return !send_all(c->fd, c->out, n) && r->keep;
}

/* %XX in place; -1: not two digits, or a byte that ends strings. */
static int decode(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		char hex[3] = {0};

		*to = *s;
		if (*s != '%')
			continue;
		if (!isxdigit((unsigned char)s[1]) || !isxdigit((unsigned char)s[2]))
			return -1;
		memcpy(hex, s + 1, 2);
		*to = (char)strtol(hex, NULL, 16);
		if (!*to)
			return -1;
		s += 2;
	}
	*to = 0;
	return 0;
}

/* Whether a component of the path is "..": wherever that leads, nobody needs it. */
static int goes_up(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2)
		if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
			return 1;
	return 0;
}

/* Whether a comma-separated list has the word. */
static int lists(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strcasestr(p, word)); p += n)
		if ((p == list || strchr(", \t", p[-1])) && strchr(", \t", p[n]))
			return 1;
	return 0;
}

/* Reads header fields, each a line; the status of what is wrong with them, or 0. minor: of the version of HTTP. */
static int fields(char *line, struct request *r, int minor)
{
	int hosts = 0, body = 0;

	for (char *end; *line; line = end + 2) {
		char *colon = strchr(line, ':'), *value;

		end = strstr(line, "\r\n");
		*end = 0;
		/* No name, a blank within it, or a line that goes on from the last (RFC 9112, 5). */
		if (!colon || colon > end || colon == line || strcspn(line, " \t") < (size_t)(colon - line))
			return 400;
		*colon = 0;
		value = colon + 1 + strspn(colon + 1, " \t");
		if (!strcasecmp(line, "host"))
			hosts++;
		else if (!strcasecmp(line, "connection"))
			r->keep = minor ? r->keep && !lists(value, "close") : lists(value, "keep-alive");
		else if (!strcasecmp(line, "transfer-encoding") || (!strcasecmp(line, "content-length") && strcmp(value, "0")))
			body = 1;
	}
	if (body || hosts > 1 || (minor && !hosts))
		r->keep = 0;
	return hosts > 1 || (minor && !hosts) ? 400 : 0;
}

/* Takes a request's head apart, which ends with its last line, and changes it; the status of what is wrong with it, or 0. */
static int parse(char *in, struct request *r)
{
	char *rest = strstr(in, "\r\n"), *target, *version;
	int status, minor;

	*rest = 0;
	target = strchr(in, ' ');
	version = target ? strchr(target + 1, ' ') : NULL;
	if (!version || strchr(version + 1, ' ') || strncmp(version + 1, "HTTP/", 5))
		return 400;
	*target++ = *version++ = 0;
	if (strncmp(version, "HTTP/1.", 7) || !isdigit((unsigned char)version[7]) || version[8])
		return 505;
	minor = version[7] > '0';
	r->keep = minor;
	r->head_only = !strcmp(in, "HEAD");
	status = fields(rest + 2, r, minor);
	if (status)
		return status;
	if (!r->head_only && strcmp(in, "GET"))
		return 405;
	if (!strncasecmp(target, "http://", 7)) { /* as a proxy is asked */
		target = strchr(target + 7, '/');
		if (!target)
			return 400;
	}
	if (*target != '/')
		return 400;
	target[strcspn(target, "?#")] = 0;
	if (strlen(target) > PATH_MAX_SENT)
		return 414;
	r->path = target + strspn(target, "/");
	if (decode(r->path))
		return 400;
	return goes_up(r->path) ? 403 : 0;
}

/* A folder's name is to end with a slash, or what its page refers to is looked for beside it. */
static int redirect(struct connection *c, const struct request *r)
{
	char more[3 * PATH_MAX_SENT + 32], *to = stpcpy(more, "Location: /");

	for (const unsigned char *p = (const unsigned char *)r->path; *p; p++)
		to += sprintf(to, isalnum(*p) || strchr("-._~/", *p) ? "%c" : "%%%02X", *p);
	strcpy(to, "/\r\n");
	return answer(c, r, 301, more);
}

/* Sends size bytes of a file; whether the connection goes on. */
static int send_file(struct connection *c, const struct request *r, int file, off_t size)
{
	size_t n = head(c, 200, type_of(r->path), size, r->keep, "");

	if (r->head_only)
		return !send_all(c->fd, c->out, n) && r->keep;
	/* The first piece goes with the head. Who has been promised more than the file has by now sees the connection end. */
	for (off_t left = size; n || left; n = 0) {
		ssize_t got = left ? read(file, c->out + n, sizeof(c->out) - n) : 0;

		if (got < 0 || (!got && left))
			return 0;
		got = got < left ? got : left;
		left -= got;
		if (send_all(c->fd, c->out, n + (size_t)got))
			return 0;
	}
	return r->keep;
}

static int status_of(int err)
{
	return err == ENOENT || err == ENOTDIR || err == ENAMETOOLONG ? 404 : err == EACCES || err == EPERM || err == ELOOP ? 403 : 503;
}

/* Answers with a file, or with the index.html of a folder; whether the connection goes on. */
static int serve(struct connection *c, struct request *r)
{
	char index[PATH_MAX_SENT + 16];
	size_t n = strlen(r->path);
	struct stat st;
	int file, more;

	if (!n || r->path[n - 1] == '/') {
		memcpy(index, r->path, n);
		strcpy(index + n, "index.html");
		r->path = index;
	}
	/* It must not wait for a FIFO's other end. */
	file = open(r->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (file < 0 || fstat(file, &st)) {
		more = answer(c, r, status_of(errno), "");
	} else if (S_ISDIR(st.st_mode)) {
		more = redirect(c, r);
	} else if (!S_ISREG(st.st_mode)) {
		more = answer(c, r, 403, "");
	} else {
		more = send_file(c, r, file, st.st_size);
	}
	if (file >= 0)
		close(file);
	return more;
}

/* Reads until a request's head is there: its length, 0 when the client has gone, or minus the status of what is wrong. */
static int read_head(struct connection *c)
{
	long until = now_ms() + PATIENCE;

	for (;;) {
		const char *end;
		ssize_t got;

		/* An empty line before a request is allowed (RFC 9112, 2.2). */
		while (c->have >= 2 && !memcmp(c->in, "\r\n", 2))
			memmove(c->in, c->in + 2, c->have -= 2);
		end = memmem(c->in, c->have, "\r\n\r\n", 4);
		if (end && memchr(c->in, 0, (size_t)(end - c->in)))
			return -400;
		if (end)
			return (int)(end - c->in) + 4;
		if (c->have == HEAD_MAX)
			return -431;
		if (!ready(c->fd, POLLIN, until))
			return c->have ? -408 : 0;
		got = recv(c->fd, c->in + c->have, HEAD_MAX - c->have, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return 0;
		c->have += (size_t)got;
	}
}

/* Reads what a client still sends, so that closing does not take the answer from it again (RFC 9112, 9.6). */
static void linger(struct connection *c)
{
	long until = now_ms() + 1000;

	shutdown(c->fd, SHUT_WR);
	while (ready(c->fd, POLLIN, until) && recv(c->fd, c->in, HEAD_MAX, MSG_DONTWAIT) > 0)
		;
}

static void *connection(void *arg)
{
	struct connection c = {.fd = (int)(long)arg};
	int one = 1, more = 1;

	setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while (more) {
		struct request r = {0};
		int n = read_head(&c), status = n < 0 ? -n : 0;

		if (!n)
			break;
		if (n > 0) {
			c.in[n - 2] = 0; /* the empty line */
			status = parse(c.in, &r);
		}
		/* After these nobody knows where the next request begins. */
		if (n < 0 || status == 400 || status == 505 || status == 405)
			r.keep = 0;
		more = status ? answer(&c, &r, status, status == 405 ? "Allow: GET, HEAD\r\n" : "") : serve(&c, &r);
		if (n > 0)
			memmove(c.in, c.in + n, c.have -= (size_t)n);
		if (!more)
			linger(&c);
	}
	close(c.fd);
	return NULL;
}

static int usage(FILE *to, int status)
{
	fputs("usage: httpd [-p PORT] [FOLDER]\n", to);
	return status;
}

static int fail(const char *what)
{
	fprintf(stderr, "httpd: %s: %s\n", what, strerror(errno));
	return 1;
}

/* A connection has two descriptors while it is sent a file. */
static void many_descriptors(void)
{
	struct rlimit l;

	if (!getrlimit(RLIMIT_NOFILE, &l)) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	long port = 80;
	int one = 1, opt, listener;
	pthread_attr_t attr;
	char *end;

	while ((opt = getopt(argc, argv, "hp:")) >= 0) {
		if (opt == 'h')
			return usage(stdout, 0);
		port = opt == 'p' ? strtol(optarg, &end, 10) : 0;
		if (port < 1 || port > 65535 || *end)
			return usage(stderr, 2);
	}
	if (argc - optind > 1)
		return usage(stderr, 2);
	if (chdir(optind < argc ? argv[optind] : "/"))
		return fail(argv[optind]);
	many_descriptors();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		return fail("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	addr.sin_port = htons((uint16_t)port);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 128)) {
		fprintf(stderr, "httpd: port %ld: %s\n", port, strerror(errno));
		return 1;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	printf("httpd: port %ld\n", port);
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
			usleep(10000); /* until a connection has ended */
		else if (fd < 0 && errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
			return fail("accept");
		if (fd < 0)
			continue;
		if (pthread_create(&thread, &attr, connection, (void *)(long)fd)) {
			static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

			send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
			close(fd);
		}
	}
}

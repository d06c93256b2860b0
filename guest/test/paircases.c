/*
 * paircases.c: a table of what becomes of socket pairs: unread bytes when an end is closed, and looking without taking. The results are what
 * Linux gives; each row is tried with a pair of this process alone, and with one that was there at a fork.
 */
#include "test.h"

#include <poll.h>
#include <sys/socket.h>

#define STREAM 1
#define DGRAM 2
#define PACKET 4

/*
 * Ends are a and b, their sockets never wait. wa5: a sends 5 bytes, rb9: b receives at most 9, pb9: only looks, tb9: looks, with MSG_TRUNC; ca: a is
 * closed; da, ua: shutdown for reading, for writing; ea: what poll says of a, of IOERH (readable, writable, error, hung up, peer has shut down); oa: SO_ERROR of a.
 */
static const struct {
	int types;
	const char *does, *gives;
} cases[] = {
	/* Closed, and nothing was unread. */
	{STREAM | PACKET, "wa5 ca rb9 rb9 wb1", "5 0 5 0 EPIPE"},
	{DGRAM, "wa5 ca rb9 rb9 wb1", "5 0 5 EAGAIN ECONNREFUSED"},
	{STREAM | PACKET, "wa5 rb9 wb3 ra9 ca eb rb9", "5 5 3 3 0 IOHR 0"},
	{DGRAM, "wa5 rb9 wb3 ra9 ca eb rb9", "5 5 3 3 0 O EAGAIN"},
	/* Something was: said once, behind the bytes that are there, but before messages. */
	{STREAM | PACKET, "wb3 ca eb rb9 rb9 eb wb1", "3 0 IOEHR ECONNRESET 0 IOHR EPIPE"},
	{DGRAM, "wb3 ca eb rb9 rb9 eb wb1", "3 0 O EAGAIN EAGAIN O ECONNREFUSED"},
	{STREAM, "wb3 ca wb1 rb9 rb9", "3 0 EPIPE ECONNRESET 0"},
	{PACKET, "wb3 ca wb1 rb9 wb1", "3 0 ECONNRESET 0 EPIPE"},
	{STREAM, "wa5 wb3 ca eb rb2 eb rb9 rb9 rb9", "5 3 0 IOEHR 2 IOEHR 3 ECONNRESET 0"},
	{PACKET, "wa5 wb3 ca eb rb9 eb rb9 rb9", "5 3 0 IOEHR ECONNRESET IOHR 5 0"},
	{DGRAM, "wa5 wb3 ca eb rb9 rb9", "5 3 0 IO 5 EAGAIN"},
	{STREAM | PACKET, "wb3 wb4 ra3 ca rb9 rb9", "3 4 3 0 ECONNRESET 0"},
	{STREAM, "wb5 ra3 ca rb9 rb9", "5 3 0 ECONNRESET 0"},
	{PACKET, "wb5 ra3 ca rb9 rb9", "5 3 0 0 0"}, /* a message is taken whole */
	{STREAM | PACKET, "wb3 ca rb0 rb9 rb9", "3 0 ECONNRESET 0 0"},
	/* The same after shutdown. */
	{STREAM | PACKET, "wb3 ub ca eb rb9 rb9", "3 0 0 IOEHR ECONNRESET 0"},
	{STREAM | PACKET, "wb3 da ca eb rb9 rb9", "3 0 0 IOEHR ECONNRESET 0"},
	{STREAM | PACKET, "wb3 db ca eb rb9 rb9", "3 0 0 IOEHR ECONNRESET 0"},
	{STREAM, "wb3 wa4 db ca eb rb9 rb9 rb9", "3 4 0 0 IOEHR 4 ECONNRESET 0"},
	{PACKET, "wb3 wa4 db ca eb rb9 rb9 rb9", "3 4 0 0 IOEHR ECONNRESET 4 0"},
	/* MSG_PEEK takes nothing. */
	{STREAM | DGRAM | PACKET, "wa5 eb pb3 pb9 eb rb9 eb pb9", "5 IO 3 5 IO 5 O EAGAIN"},
	{STREAM, "wa5 wa4 pb9 pb20 tb2 rb2 pb20 rb9 rb9", "5 4 9 9 2 2 7 7 EAGAIN"},
	{DGRAM | PACKET, "wa5 wa4 pb9 pb20 tb2 rb2 pb20 rb9 rb9", "5 4 5 5 5 2 4 4 EAGAIN"},
	{DGRAM | PACKET, "wa0 pb9 tb9 rb9 rb9", "0 0 0 0 EAGAIN"},
	{STREAM | PACKET, "wa5 ua pb9 rb9 pb9 rb9", "5 0 5 5 0 0"},
	{DGRAM, "wa5 ua pb9 rb9 pb9 rb9", "5 0 5 5 EAGAIN EAGAIN"},
	{STREAM | PACKET, "wa5 ca pb9 rb9 pb9 rb9", "5 0 5 5 0 0"},
	{STREAM | PACKET, "wa5 db pb9 rb9 pb9 rb9", "5 0 5 5 0 0"},
	/* It is told of a reset, though, and then that is over. */
	{STREAM | PACKET, "wb3 ca pb9 rb9", "3 0 ECONNRESET 0"},
	{STREAM | PACKET, "wb3 pa2 ca tb9 rb9", "3 2 0 ECONNRESET 0"},
	{STREAM, "wa5 wb3 ca pb9 pb9 rb9 pb9 rb9", "5 3 0 5 5 5 ECONNRESET 0"},
	{PACKET, "wa5 wb3 ca pb9 pb9 rb9 pb9 rb9", "5 3 0 ECONNRESET 5 5 0 0"},
	/* So is SO_ERROR, whatever is there. */
	{STREAM | PACKET, "ob wb3 ca ob ob eb rb9", "0 3 0 ECONNRESET 0 IOHR 0"},
	{DGRAM, "ob wb3 ca ob ob eb rb9", "0 3 0 0 0 O EAGAIN"},
	{STREAM | PACKET, "wa5 wb3 ca ob rb9 rb9 ob", "5 3 0 ECONNRESET 5 0 0"},
	{STREAM | PACKET, "wb3 ca rb9 ob", "3 0 ECONNRESET 0"},
	{STREAM | PACKET, "wa5 ca ob rb9 wb1 ob", "5 0 0 5 EPIPE 0"},
};

static char buf[100];

static const char *result(ssize_t n)
{
	static char text[20];

	if (n < 0)
		return errno == EAGAIN ? "EAGAIN" : errno == ECONNRESET ? "ECONNRESET" : errno == EPIPE ? "EPIPE" :
			errno == ECONNREFUSED ? "ECONNREFUSED" : errno == ENOTCONN ? "ENOTCONN" : errno == EOPNOTSUPP ? "EOPNOTSUPP" : strerror(errno);
	snprintf(text, sizeof(text), "%zd", n);
	return text;
}

static const char *polled(int fd)
{
	static const struct {
		short bit;
		char letter;
	} letters[] = {{POLLIN, 'I'}, {POLLOUT, 'O'}, {POLLERR, 'E'}, {POLLHUP, 'H'}, {POLLRDHUP, 'R'}};
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
	static char text[8];
	size_t n = 0;

	CHECK(poll(&p, 1, 0) >= 0);
	for (size_t i = 0; i < COUNT(letters); i++)
		if (p.revents & letters[i].bit)
			text[n++] = letters[i].letter;
	text[n] = 0;
	return n ? text : "-";
}

static const char *error_of(int fd)
{
	socklen_t len = sizeof(int);
	int error = -1;

	EQ(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	errno = error;
	return error ? result(-1) : "0";
}

static const char *one(const char *op, int *s)
{
	int fd = s[op[1] == 'b'], n = atoi(op + 2);

	switch (op[0]) {
	case 'w': return result(send(fd, page, (size_t)n, MSG_NOSIGNAL));
	case 'r': return result(recv(fd, buf, (size_t)n, 0));
	case 'p': return result(recv(fd, buf, (size_t)n, MSG_PEEK));
	case 't': return result(recv(fd, buf, (size_t)n, MSG_PEEK | MSG_TRUNC));
	case 'd': return result(shutdown(fd, SHUT_RD));
	case 'u': return result(shutdown(fd, SHUT_WR));
	case 'e': return polled(fd);
	case 'o': return error_of(fd);
	default:
		s[op[1] == 'b'] = -1;
		return result(close(fd));
	}
}

static void row(size_t i, int *s, const char *setting)
{
	char did[300] = "", ops[200], *rest = ops;

	strcpy(ops, cases[i].does);
	for (char *op; (op = strtok_r(rest, " ", &rest));) {
		if (*did)
			strcat(did, " ");
		strcat(did, one(op, s));
	}
	if (strcmp(did, cases[i].gives))
		fail(__FILE__, __LINE__, "%s: %s: gives %s, not %s", setting, cases[i].does, did, cases[i].gives);
	for (int k = 0; k < 2; k++)
		if (s[k] >= 0)
			close(s[k]);
}

/* All rows of a type; forked: the pairs were there at a fork. */
static void rows(int bit, int type, bool forked)
{
	int pairs[COUNT(cases)][2];
	char setting[40];
	pid_t pid;

	snprintf(setting, sizeof(setting), "type %d%s", type, forked ? ", forked" : "");
	for (size_t i = 0; i < COUNT(cases); i++)
		EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pairs[i]), 0);
	if (forked) {
		IN_CHILD(pid)
			;
		EQ(ended(pid), 0);
	}
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (cases[i].types & bit)
			row(i, pairs[i], setting);
		else
			close(pairs[i][0]), close(pairs[i][1]);
	}
}

void test_pair_cases(void)
{
	for (int forked = 0; forked < 2; forked++) {
		rows(STREAM, SOCK_STREAM, forked);
		rows(DGRAM, SOCK_DGRAM, forked);
		rows(PACKET, SOCK_SEQPACKET, forked);
	}
}

/* Who sleeps in a read when a relative is killed that had bytes to read hears of it; of two, one. */
void test_pair_killed(void)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	for (size_t i = 0; i < COUNT(types); i++) {
		pid_t holder, readers[2];
		int s[2], sum = 0;

		EQ(socketpair(AF_UNIX, types[i], 0, s), 0);
		IN_CHILD(holder) {
			close(s[1]);
			EQ(read(s[0], buf, 1), 1);
			EQ(write(s[0], "y", 1), 1);
			pause();
		}
		close(s[0]);
		EQ(send(s[1], "x", 1, 0), 1);
		EQ(recv(s[1], buf, 9, 0), 1);
		EQ(send(s[1], "unread", 6, 0), 6);
		for (int k = 0; k < 2; k++) {
			IN_CHILD(readers[k]) {
				ssize_t n = recv(s[1], buf, sizeof(buf), 0);

				_exit(n == 0 ? 1 : n < 0 && errno == ECONNRESET ? 2 : 9);
			}
		}
		sleep_ms(20);
		EQ(kill(holder, SIGKILL), 0);
		EQ(ended(holder), SIGKILL);
		for (int k = 0; k < 2; k++)
			sum += ended(readers[k]);
		EQ(sum, 3 << 8);
		EQ(recv(s[1], buf, 9, 0), 0);
		close(s[1]);
	}
}

/* A look waits as a read does, but not for all that was asked for, and takes bytes and messages of several pages from where they are. */
void test_pair_peek(void)
{
	static char big[30000], got[sizeof(big)];
	int s[2];

	for (size_t k = 0; k < sizeof(big); k++)
		big[k] = (char)(k / 11);
	for (int type = 1; type <= PACKET; type *= 2) {
		pid_t pid;

		EQ(socketpair(AF_UNIX, type == STREAM ? SOCK_STREAM : type == DGRAM ? SOCK_DGRAM : SOCK_SEQPACKET, 0, s), 0);
		IN_CHILD(pid) {
			sleep_ms(20);
			EQ(send(s[0], big, sizeof(big), 0), sizeof(big));
		}
		CHECK(recv(s[1], got, sizeof(got), MSG_PEEK) > 0);
		EQ(ended(pid), 0);
		for (int k = 0; k < 3; k++) {
			memset(got, 0, sizeof(got));
			EQ(recv(s[1], got, sizeof(got), k < 2 ? MSG_PEEK : 0), sizeof(got));
			EQ(memcmp(got, big, sizeof(got)), 0);
		}
		EQ(send(s[0], "abc", 3, 0), 3);
		EQ(recv(s[1], got, 9, MSG_PEEK | MSG_WAITALL), 3);
		EQ(recv(s[1], got, 9, MSG_DONTWAIT), 3);
		close(s[0]);
		close(s[1]);
	}
}

/* forkshare.c: tests of what parent and child have in common after a fork: open files, their content, and pipes. */
#include "test.h"

#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>

/* ---- files ---- */

static void reads(int fd, const char *want)
{
	char buf[64] = "";

	EQ(read(fd, buf, strlen(want)), strlen(want));
	STR(buf, want);
}

void test_share_offset(void)
{
	pid_t pid;
	int fd;

	put_file("f", "0123456789abcdef");
	fd = open("f", O_RDWR);
	CHECK(fd >= 0);
	reads(fd, "012");
	IN_CHILD(pid) {
		reads(fd, "345");
		EQ(lseek(fd, 2, SEEK_CUR), 8);
	}
	EQ(ended(pid), 0);
	EQ(lseek(fd, 0, SEEK_CUR), 8);
	reads(fd, "89");
	IN_CHILD(pid) {
		IN_CHILD(pid)
			EQ(lseek(fd, -2, SEEK_END), 14);
		EQ(ended(pid), 0);
		reads(fd, "e");
		EQ(pread(fd, page, 2, 0), 2);
	}
	EQ(ended(pid), 0);
	reads(fd, "f");
	/* What is opened after the fork is the opener's. */
	IN_CHILD(pid) {
		int own = open("f", O_RDONLY);

		reads(own, "01");
		EQ(dup2(own, fd), fd);
		reads(fd, "23");
	}
	EQ(ended(pid), 0);
	EQ(lseek(fd, 0, SEEK_CUR), 16);
}

/* Every line of every member is there, whole. */
void test_share_append(void)
{
	enum { MEMBERS = 4, LINES = 50, LINE = 16 };
	int fd = open("log", O_RDWR | O_CREAT | O_APPEND, 0644), seen[MEMBERS] = {0};
	int plain = open("plain", O_RDWR | O_CREAT, 0644);
	pid_t pids[MEMBERS];
	char line[LINE + 1];

	CHECK(fd >= 0 && plain >= 0);
	for (int m = 0; m < MEMBERS; m++)
		IN_CHILD(pids[m])
			for (int i = 0; i < LINES; i++) {
				snprintf(line, sizeof(line), "%d:%-13d\n", m, i);
				EQ(write(fd, line, LINE), LINE);
				EQ(write(plain, line, LINE), LINE);
			}
	for (int m = 0; m < MEMBERS; m++)
		EQ(ended(pids[m]), 0);
	for (int f = 0; f < 2; f++, fd = plain) {
		memset(seen, 0, sizeof(seen));
		EQ(lseek(fd, 0, SEEK_END), MEMBERS * LINES * LINE);
		EQ(lseek(fd, 0, SEEK_SET), 0);
		while (read(fd, line, LINE) == LINE) {
			int m = line[0] - '0';

			CHECK(m >= 0 && m < MEMBERS && line[LINE - 1] == '\n');
			EQ(atoi(line + 2), seen[m]);
			seen[m]++;
		}
		for (int m = 0; m < MEMBERS; m++)
			EQ(seen[m], LINES);
	}
}

void test_share_flags(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644), p[2], on = 0;
	pid_t pid;

	EQ(pipe(p), 0);
	IN_CHILD(pid) {
		EQ(fcntl(fd, F_SETFL, O_APPEND), 0);
		EQ(fcntl(p[0], F_SETFL, O_NONBLOCK), 0);
		EQ(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	}
	EQ(ended(pid), 0);
	EQ(fcntl(fd, F_GETFL) & O_APPEND, O_APPEND);
	EQ(fcntl(fd, F_GETFD), 0);
	EQ(fcntl(p[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQ(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
	FAILS(read(p[0], page, 1), EAGAIN);
	IN_CHILD(pid)
		EQ(ioctl(p[0], FIONBIO, &on), 0);
	EQ(ended(pid), 0);
	EQ(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
}

void test_share_content(void)
{
	int fd, again;
	struct stat st;
	pid_t pid;

	put_file("f", "before");
	fd = open("f", O_RDWR);
	IN_CHILD(pid) {
		EQ(pwrite(fd, "BEF", 3, 0), 3);
		EQ(pwrite(fd, "far", 3, 100000), 3);
	}
	EQ(ended(pid), 0);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 100003);
	EQ(pread(fd, page, 8, 0), 8);
	EQ(memcmp(page, "BEFore\0\0", 8), 0);
	EQ(pread(fd, page, 8, 100000), 3);
	EQ(memcmp(page, "far", 3), 0);
	/* By its name it is the same file, as long as it is open. */
	again = open("f", O_RDONLY);
	EQ(pread(again, page, 3, 0), 3);
	EQ(memcmp(page, "BEF", 3), 0);
	IN_CHILD(pid) {
		EQ(ftruncate(fd, 3), 0);
		EQ(close(fd), 0);
	}
	EQ(ended(pid), 0);
	EQ(lseek(again, 0, SEEK_END), 3);
	EQ(read(fd, page, 10), 3);
	EQ(pwrite(fd, "x", 1, 3), 1);
	EQ(fstat(again, &st), 0);
	EQ(st.st_size, 4);
}

void test_share_holes(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	const off_t far = 3 << 20;
	pid_t pid;

	EQ(pwrite(fd, "end", 3, far), 3);
	IN_CHILD(pid) {
		memset(page, 'c', sizeof(page));
		for (int i = 0; i < 64; i++)
			EQ(pwrite(fd, page, sizeof(page), i * 8192), sizeof(page));
		EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 16384), 0);
	}
	EQ(ended(pid), 0);
	EQ(pread(fd, page, 1, 0), 1);
	EQ(page[0], 'c');
	EQ(pread(fd, page, 4096, 8192), 4096);
	for (int i = 0; i < 4096; i++)
		EQ(page[i], 0);
	EQ(pread(fd, page, 1, 24576), 1);
	EQ(page[0], 'c');
	EQ(lseek(fd, 1 << 20, SEEK_DATA), far);
	EQ(ftruncate(fd, 0), 0);
	EQ(lseek(fd, 0, SEEK_END), 0);
}

void test_share_unlinked(void)
{
	int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
	pid_t pid;

	EQ(unlink("f"), 0);
	EQ(write(fd, "here is\nthe document\n", 21), 21);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	IN_CHILD(pid)
		reads(fd, "here is\n");
	EQ(ended(pid), 0);
	reads(fd, "the document\n");
}

/* What the area has no room for stays a copy, or does not fit; nothing else suffers. */
void test_share_full(void)
{
	const off_t size = 40 << 20;
	int fd = open("f", O_RDWR | O_CREAT, 0644), p[2];
	pid_t pid;
	long n = 0;

	EQ(pipe(p), 0);
	memset(page, 'p', sizeof(page));
	IN_CHILD(pid) {
		while (n < size && write(fd, page, sizeof(page)) == sizeof(page))
			n += sizeof(page);
		CHECK(n < size && errno == ENOSPC);
		EQ(write(p[1], page, 4096), -1);
	}
	EQ(ended(pid), 0);
	EQ(ftruncate(fd, 0), 0);
	IN_CHILD(pid)
		EQ(write(p[1], page, 4096), 4096);
	EQ(ended(pid), 0);
}

/* ---- pipes ---- */

static void fill_in(char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (char)((seed + i) * 2654435761U >> 24);
}

void test_share_pipe(void)
{
	int down[2], up[2];
	pid_t pid;

	EQ(pipe(down), 0);
	EQ(pipe(up), 0);
	IN_CHILD(pid) {
		close(down[1]);
		close(up[0]);
		reads(down[0], "ping");
		EQ(write(up[1], "pong", 4), 4);
		EQ(read(down[0], page, 1), 0);
		EQ(write(up[1], "bye", 3), 3);
	}
	close(down[0]);
	close(up[1]);
	EQ(write(down[1], "ping", 4), 4);
	reads(up[0], "pong");
	EQ(close(down[1]), 0);
	reads(up[0], "bye");
	EQ(read(up[0], page, 1), 0);
	EQ(ended(pid), 0);
}

/* What was in it at the fork is there once. */
void test_share_pipe_filled(void)
{
	static char all[70000];
	int p[2], n;
	pid_t pid;

	EQ(pipe(p), 0);
	fill_in(all, sizeof(all), 1);
	EQ(write(p[1], all, 40000), 40000);
	EQ(read(p[0], page, 100), 100);
	IN_CHILD(pid) {
		EQ(read(p[0], page, 1000), 1000);
		EQ(memcmp(page, all + 100, 1000), 0);
		EQ(write(p[1], all + 40000, 20000), 20000);
	}
	EQ(ended(pid), 0);
	EQ(ioctl(p[0], FIONREAD, &n), 0);
	EQ(n, 58900);
	for (size_t at = 1100; at < 60000; at += (size_t)n) {
		n = (int)read(p[0], page, sizeof(page));
		CHECK(n > 0);
		EQ(memcmp(page, all + at, (size_t)n), 0);
	}
}

/* The end comes when the last writer has gone, whoever that is. */
void test_share_pipe_ends(void)
{
	pid_t a, b;
	int p[2];

	for (int round = 0; round < 20; round++) {
		EQ(pipe(p), 0);
		IN_CHILD(a) {
			close(p[0]);
			IN_CHILD(b) {
				sleep_ms(round);
				EQ(write(p[1], "b", 1), 1);
			}
		}
		close(p[1]);
		EQ(ended(a), 0);
		EQ(read(p[0], page, 10), 1);
		EQ(read(p[0], page, 10), 0);
		close(p[0]);
	}
}

void test_share_pipe_broken(void)
{
	int p[2], go[2];
	pid_t pid;

	EQ(pipe(p), 0);
	EQ(pipe(go), 0);
	IN_CHILD(pid) {
		signal(SIGPIPE, SIG_IGN);
		close(p[0]);
		reads(go[0], "g");
		FAILS(write(p[1], "x", 1), EPIPE);
		signal(SIGPIPE, SIG_DFL);
		write(p[1], "x", 1);
	}
	close(p[0]);
	EQ(write(go[1], "g", 1), 1);
	EQ(ended(pid), SIGPIPE);
	/* Blocked in a write when the last reader goes. */
	close(p[1]);
	EQ(pipe(p), 0);
	IN_CHILD(pid) {
		signal(SIGPIPE, SIG_IGN);
		close(p[0]);
		while (write(p[1], page, sizeof(page)) > 0)
			;
		EQ(errno, EPIPE);
	}
	close(p[1]);
	sleep_ms(20);
	close(p[0]);
	EQ(ended(pid), 0);
}

void test_share_pipe_killed(void)
{
	int p[2], ready[2];
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	for (int round = 0; round < 10; round++) {
		EQ(pipe(p), 0);
		EQ(pipe(ready), 0);
		IN_CHILD(pid) {
			EQ(write(ready[1], "r", 1), 1);
			if (round % 2)
				while (write(p[1], page, sizeof(page)) > 0)
					;
			pause();
		}
		close(p[1]);
		close(ready[1]);
		reads(ready[0], "r");
		EQ(kill(pid, SIGKILL), 0);
		while (read(p[0], page, sizeof(page)) > 0)
			;
		EQ(read(p[0], page, 1), 0);
		EQ(read(ready[0], page, 1), 0);
		EQ(ended(pid), SIGKILL);
		close(p[0]);
		close(ready[0]);
		EQ(pipe(p), 0);
		IN_CHILD(pid)
			pause();
		close(p[0]);
		EQ(kill(pid, SIGKILL), 0);
		while (write(p[1], page, sizeof(page)) > 0)
			;
		EQ(errno, EPIPE);
		EQ(ended(pid), SIGKILL);
		close(p[1]);
	}
}

void test_share_pipe_atomic(void)
{
	enum { WRITERS = 4, RECORDS = 60 };
	static char record[PIPE_BUF];
	int p[2], seen[WRITERS] = {0};
	pid_t pids[WRITERS];

	EQ(pipe(p), 0);
	for (int w = 0; w < WRITERS; w++)
		IN_CHILD(pids[w]) {
			close(p[0]);
			memset(record, 'a' + w, sizeof(record));
			for (int i = 0; i < RECORDS; i++)
				EQ(write(p[1], record, sizeof(record)), sizeof(record));
		}
	close(p[1]);
	for (;;) {
		size_t n = 0;
		ssize_t got;

		while (n < sizeof(record) && (got = read(p[0], record + n, sizeof(record) - n)) > 0)
			n += (size_t)got;
		if (!n)
			break;
		EQ(n, sizeof(record));
		for (size_t i = 1; i < sizeof(record); i++)
			EQ(record[i], record[0]);
		CHECK(record[0] >= 'a' && record[0] < 'a' + WRITERS);
		seen[record[0] - 'a']++;
	}
	for (int w = 0; w < WRITERS; w++) {
		EQ(ended(pids[w]), 0);
		EQ(seen[w], RECORDS);
	}
}

/* Much more than fits, in pieces of every size on both sides. */
void test_share_pipe_bulk(void)
{
	enum { TOTAL = 3 << 20 };
	static char buf[100000];
	unsigned seed = 1;
	size_t done = 0;
	int p[2];
	pid_t pid;

	EQ(pipe(p), 0);
	IN_CHILD(pid) {
		close(p[0]);
		for (size_t at = 0; at < TOTAL;) {
			size_t n = (seed = seed * 1103515245 + 12345) >> 8;

			n = n % (at % 3 ? 300 : sizeof(buf)) + 1;
			n = n < TOTAL - at ? n : TOTAL - at;
			fill_in(buf, n, (unsigned)at);
			EQ(write(p[1], buf, n), n);
			at += n;
		}
	}
	close(p[1]);
	for (;;) {
		static char want[sizeof(buf)];
		ssize_t n = read(p[0], buf, (seed = seed * 69069 + 1) % sizeof(buf) + 1);

		CHECK(n >= 0);
		if (!n)
			break;
		fill_in(want, (size_t)n, (unsigned)done);
		EQ(memcmp(buf, want, (size_t)n), 0);
		done += (size_t)n;
	}
	EQ(done, TOTAL);
	EQ(ended(pid), 0);
}

void test_share_pipe_full(void)
{
	int p[2], go[2];
	pid_t pid;

	EQ(pipe(p), 0);
	EQ(pipe(go), 0);
	IN_CHILD(pid) {
		EQ(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
		for (int i = 0; i < 16; i++)
			EQ(write(p[1], page, sizeof(page)), sizeof(page));
		FAILS(write(p[1], page, 1), EAGAIN);
		EQ(fcntl(p[1], F_SETFL, 0), 0);
		EQ(write(go[1], "g", 1), 1);
		EQ(write(p[1], "last", 4), 4); /* waits for room */
	}
	reads(go[0], "g");
	sleep_ms(20);
	for (int i = 0; i < 16; i++)
		EQ(read(p[0], page, sizeof(page)), sizeof(page));
	reads(p[0], "last");
	EQ(ended(pid), 0);
}

void test_share_pipe_poll(void)
{
	int p[2], back[2], go[2];
	struct timeval tv = {60, 0};
	struct pollfd pf;
	fd_set set;
	pid_t pid;

	EQ(pipe(p), 0);
	EQ(pipe(back), 0);
	EQ(pipe(go), 0);
	pf = (struct pollfd){.fd = p[0], .events = POLLIN};
	IN_CHILD(pid) {
		struct pollfd room = {.fd = back[1], .events = POLLOUT};

		close(p[0]);
		reads(go[0], "g");
		sleep_ms(20);
		EQ(write(p[1], "a", 1), 1);
		while (write(back[1], page, sizeof(page)) == sizeof(page) && poll(&room, 1, 0) == 1)
			;
		EQ(write(p[1], "f", 1), 1);
		EQ(poll(&room, 1, 60000), 1);
		EQ(room.revents, POLLOUT);
	}
	close(p[1]);
	EQ(poll(&pf, 1, 0), 0);
	EQ(write(go[1], "g", 1), 1);
	EQ(poll(&pf, 1, 60000), 1);
	EQ(pf.revents, POLLIN);
	reads(p[0], "a");
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	EQ(select(p[0] + 1, &set, NULL, NULL, &tv), 1);
	CHECK(FD_ISSET(p[0], &set));
	reads(p[0], "f");
	EQ(read(back[0], page, sizeof(page)), sizeof(page));
	EQ(read(back[0], page, sizeof(page)), sizeof(page));
	EQ(poll(&pf, 1, 60000), 1);
	EQ(pf.revents, POLLHUP);
	EQ(ended(pid), 0);
}

void test_share_pipe_epoll(void)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int p[2], go[2], ep = epoll_create1(0);
	pid_t pid;

	EQ(pipe(p), 0);
	EQ(pipe(go), 0);
	EQ(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev), 0);
	IN_CHILD(pid)
		for (int i = 0; i < 5; i++) {
			EQ(write(p[1], "x", 1), 1);
			EQ(read(go[0], page, 1), 1);
		}
	for (int i = 0; i < 5; i++) {
		EQ(epoll_wait(ep, &ev, 1, 60000), 1);
		EQ(ev.events, EPOLLIN);
		EQ(epoll_wait(ep, &ev, 1, 0), 0);
		EQ(write(go[1], "g", 1), 1);
	}
	EQ(ended(pid), 0);
}

static int pipe_of_threads[2];

static void *reader(void *got)
{
	*(char *)got = 0;
	EQ(read(pipe_of_threads[0], got, 1), 1);
	return NULL;
}

/* One thread waits for a relative while another computes. */
void test_share_pipe_threads(void)
{
	volatile char got = 0;
	pthread_t t;
	pid_t pid;

	EQ(pipe(pipe_of_threads), 0);
	IN_CHILD(pid) {
		sleep_ms(50);
		EQ(write(pipe_of_threads[1], "t", 1), 1);
	}
	EQ(pthread_create(&t, NULL, reader, (void *)&got), 0);
	for (int64_t end = now() + 60 * 1000000000LL; !got && now() < end;)
		;
	EQ(got, 't');
	EQ(pthread_join(t, NULL), 0);
	EQ(ended(pid), 0);
}

/* A line of members: each adds one to what it reads and passes it on. */
void test_share_pipe_line(void)
{
	enum { MEMBERS = 8, NUMBERS = 100 };
	int in[2], out[2], first;
	pid_t pids[MEMBERS];

	EQ(pipe(in), 0);
	first = in[1];
	for (int m = 0; m < MEMBERS; m++) {
		EQ(pipe(out), 0);
		IN_CHILD(pids[m]) {
			int n;

			close(first);
			close(out[0]);
			while (read(in[0], &n, sizeof(n)) == sizeof(n)) {
				n++;
				EQ(write(out[1], &n, sizeof(n)), sizeof(n));
			}
		}
		close(in[0]);
		close(out[1]);
		in[0] = out[0];
	}
	for (int i = 0; i < NUMBERS; i++)
		EQ(write(first, &i, sizeof(i)), sizeof(i));
	close(first);
	for (int i = 0, n; i < NUMBERS; i++) {
		EQ(read(in[0], &n, sizeof(n)), sizeof(n));
		EQ(n, i + MEMBERS);
	}
	EQ(read(in[0], page, 1), 0);
	for (int m = 0; m < MEMBERS; m++)
		EQ(ended(pids[m]), 0);
}

void test_share_pipe_reopen(void)
{
	char path[32];
	int p[2];
	pid_t pid;

	EQ(pipe(p), 0);
	IN_CHILD(pid) {
		int again;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", p[1]);
		again = open(path, O_WRONLY);
		CHECK(again >= 0);
		EQ(close(p[1]), 0);
		EQ(write(again, "again", 5), 5);
	}
	close(p[1]);
	reads(p[0], "again");
	EQ(read(p[0], page, 1), 0);
	EQ(ended(pid), 0);
}

static volatile int alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

void test_share_pipe_signal(void)
{
	int p[2];
	pid_t pid;

	EQ(pipe(p), 0);
	IN_CHILD(pid)
		pause();
	on_signal(SIGALRM, on_alarm, 0);
	alarms = 0;
	ualarm(100000, 100000); /* again: the first may come before the call */
	FAILS(read(p[0], page, 1), EINTR);
	ualarm(0, 0);
	CHECK(alarms > 0);
	EQ(kill(pid, SIGTERM), 0);
	EQ(ended(pid), SIGTERM);
}

void test_share_fifo(void)
{
	pid_t pid;
	int fd;

	EQ(mkfifo("fifo", 0600), 0);
	fd = open("fifo", O_RDWR);
	CHECK(fd >= 0);
	IN_CHILD(pid) {
		int w = open("fifo", O_WRONLY);

		CHECK(w >= 0);
		EQ(write(w, "named", 5), 5);
	}
	reads(fd, "named");
	EQ(ended(pid), 0);
}

/* Nothing is used up. */
void test_share_cycles(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);

	for (int i = 0; i < 2 * children; i++) {
		pid_t pid;
		int p[2];

		EQ(pipe(p), 0);
		IN_CHILD(pid) {
			EQ(pwrite(fd, page, sizeof(page), 0), sizeof(page));
			for (int k = 0; k < 16; k++)
				EQ(write(p[1], page, sizeof(page)), sizeof(page));
			if (i % 2)
				raise(SIGKILL);
		}
		close(p[1]);
		while (read(p[0], page, sizeof(page)) > 0)
			;
		EQ(ended(pid), i % 2 ? SIGKILL : 0);
		close(p[0]);
	}
}

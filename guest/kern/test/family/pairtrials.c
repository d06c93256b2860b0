/*
 * pairtrials.c: socket pairs and eventfds between processes that are killed at any instruction: messages come whole and in order, the
 * end comes, and no count is lost.
 */
#include "family.h"
#include "process.h"
#include "trials.h"

#include <sys/mman.h>
#include <sys/socket.h>

long sys_socketpair(long domain, long type, long protocol, long user), sys_close(long fd), sys_read(long fd, long buf, long n);
long sys_sendto(long fd, long buf, long n, long flags, long addr, long len), sys_recvfrom(long fd, long buf, long n, long flags, long addr, long len);
long sys_eventfd(long initial), sys_write(long fd, long buf, long n);

enum { WRITERS = 3, LONGEST = 2000 };

static void send_messages(int fd, uint32_t writer, uint32_t count)
{
	uint32_t m[LONGEST + 1];

	for (uint32_t i = 0; i < count; i++) {
		uint32_t n = 1 + random_below_(LONGEST);

		for (uint32_t k = 0; k <= n; k++)
			m[k] = writer << 24 | i;
		CHECK(sys_sendto(fd, (long)m, n * 4 + random_below_(4), 0, 0, 0) > 0);
	}
}

static void messages(void)
{
	uint32_t m[LONGEST + 1], next[WRITERS] = {0}, count = 50 + random_below_(200);
	int s[2], pids[WRITERS], left = 150;
	long n;

	CHECK(!sys_socketpair(AF_UNIX, SOCK_SEQPACKET, 0, (long)s));
	for (uint32_t w = 0; w < WRITERS; w++) {
		pids[w] = fork_member();
		if (!pids[w]) {
			seed += w * 7919;
			sys_close(s[0]);
			send_messages(s[1], w, count);
			if (random_below_(2))
				family_exit(-1);
			_exit(0);
		}
	}
	sys_close(s[1]);
	while ((n = sys_recvfrom(s[0], (long)m, sizeof(m), 0, 0, 0)) > 0) {
		uint32_t w = m[0] >> 24;

		CHECK(n >= 4 && w < WRITERS && (m[0] & 0xffffff) == next[w]++);
		for (long k = 1; k < n / 4; k++)
			CHECK(m[k] == m[0]);
		if (left-- % 40 == 0)
			kill(pids[random_below_(WRITERS)], SIGKILL);
	}
	CHECK(!n);
	sys_close(s[0]);
	reap(0);
}

/* Whoever is killed has added a one and said so, or has added it only. */
static void counts(void)
{
	uint64_t *said = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const uint64_t one = 1;
	int fd = (int)sys_eventfd(0), pids[WRITERS];
	uint64_t sum = 0, added;

	CHECK(fd >= 0 && said != MAP_FAILED);
	for (int w = 0; w < WRITERS; w++) {
		pids[w] = fork_member();
		for (int i = 0; !pids[w] && i < 500; i++) {
			CHECK(sys_write(fd, (long)&one, 8) == 8);
			__atomic_fetch_add(said, 1, __ATOMIC_SEQ_CST);
		}
		if (!pids[w])
			_exit(0);
	}
	usleep(random_below_(2000));
	kill(pids[random_below_(WRITERS)], SIGKILL);
	reap(0);
	CHECK(sys_read(fd, (long)&sum, 8) == 8);
	added = *said;
	CHECK(sum >= added && sum <= added + WRITERS);
	sys_close(fd);
	munmap(said, PAGE_SIZE);
}

void trial_pairs(void)
{
	messages();
	counts();
}

/*
 * A child writes nonsense all over what its family shares, while its parent uses it: whatever the calls say, each returns, and the
 * parent goes on. Prints how many of its calls worked, and "alive".
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AREA ((volatile uint32_t *)0x11000000)
#define WORDS (64 * 1024) /* what is there on every hypervisor */

static void scribble(uint32_t seed)
{
	static const uint32_t words[] = {0, 1, 2, 3, 17, 18, 63, 1024, 0xffffffff, 0x80000000, 8191, 0x7fffffff};

	for (;;) {
		seed = seed * 1103515245 + 12345;
		AREA[(seed >> 8) % WORDS] = seed & 64 ? words[seed >> 20 & 7] : seed >> 12 & 0x3ff;
	}
}

int main(int argc, char **argv)
{
	static char buf[9000];
	struct timespec begin, now;
	int p[2], q[2], fd = open("/f", O_RDWR | O_CREAT, 0600), worked = 0, pid, status;
	struct stat st;

	signal(SIGPIPE, SIG_IGN);
	if (argc != 2 || pipe2(p, O_NONBLOCK) || pipe2(q, O_NONBLOCK))
		return 1;
	pid = fork();
	if (!pid)
		scribble((uint32_t)atoi(argv[1]));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0;; i++) {
		struct pollfd both[2] = {{.fd = p[0], .events = POLLIN}, {.fd = q[1], .events = POLLOUT}};

		worked += write(p[1], buf, (size_t)(i * 37 % 9000)) > 0;
		worked += read(p[0], buf, (size_t)(i * 53 % 9000)) > 0;
		worked += poll(both, 2, i % 3) >= 0;
		worked += pwrite(fd, buf, 5000, i * 100L % 100000) > 0;
		worked += read(fd, buf, 100) >= 0;
		worked += lseek(fd, 0, SEEK_END) >= 0;
		worked += !fstat(fd, &st) && !ftruncate(fd, i % 60000);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > begin.tv_sec + 3)
			break;
	}
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || status != SIGKILL)
		return 2;
	printf("%d\nalive\n", worked);
	return 0;
}

/* receive.c: messages from the engine. */
#include "stub.h"
#include "sys.h"

#define FILES_MAX (6 + KX_LIBRARIES)

int received_files[FILES_MAX], received_count;

void close_received(void)
{
	for (int i = 0; i < received_count; i++)
		sys(__NR_close, received_files[i]);
}

/*
 * receive waits for a message and returns its size; 0 when the engine is gone, or a negative
 * errno. Files that come with it get the lowest free numbers.
 */
long receive(int fd, void *buf, size_t size)
{
	struct {
		void *base;
		size_t len;
	} iov = {buf, size};
	struct {
		size_t len;
		int32_t level, type, fds[FILES_MAX];
	} control;
	struct {
		void *name;
		uint32_t namelen;
		void *iov;
		size_t iovlen;
		void *control;
		size_t controllen;
		int32_t flags;
	} msg = {.iov = &iov, .iovlen = 1, .control = &control, .controllen = sizeof control};
	long r;

	do {
		msg.controllen = sizeof control;
		r = sys(__NR_recvmsg, fd, &msg, 0);
	} while (r == -4 /* EINTR */);
	received_count = 0;
	if (r > 0 && msg.controllen > sizeof control.len + 8)
		received_count = (control.len - offsetof(__typeof__(control), fds)) / sizeof control.fds[0];
	for (int i = 0; i < received_count && i < FILES_MAX; i++)
		received_files[i] = control.fds[i];
	return r;
}

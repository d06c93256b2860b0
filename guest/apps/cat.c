/* cat.c: copies files, or standard input when none is named or the name is "-", to standard output. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int complain(const char *name)
{
	fprintf(stderr, "cat: %s: %s\n", name, strerror(errno));
	return 1;
}

static int write_all(const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(STDOUT_FILENO, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		p += w;
		n -= w;
	}
	return 0;
}

static int copy(int fd, const char *name)
{
	static char buf[65536];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);

		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return complain(name);
		if (write_all(buf, n) < 0)
			return complain("standard output");
	}
}

int main(int argc, char **argv)
{
	int status = 0;

	if (argc == 1)
		return copy(STDIN_FILENO, "standard input");
	for (int i = 1; i < argc; i++) {
		int fd = strcmp(argv[i], "-") ? open(argv[i], O_RDONLY) : STDIN_FILENO;

		if (fd < 0) {
			status = complain(argv[i]);
			continue;
		}
		status |= copy(fd, argv[i]);
		if (fd != STDIN_FILENO)
			close(fd);
	}
	return status;
}

/*
 * web.c [PORT]: what the examples of the commands' help call web.kx: says what it finds in the folders /data and /srv, if it has
 * them. With a port, which it only names, it stays, and prints lines that come in.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void look(const char *path)
{
	char text[64];
	FILE *f = fopen(path, "r");

	if (f && fgets(text, sizeof(text), f))
		printf("%s: %s", path, text);
	if (f)
		fclose(f);
}

static void put(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0644);

	if (fd < 0 && errno == ENOENT) /* no such folder */
		return;
	printf("%s: %s\n", path, fd < 0 ? strerror(errno) : write(fd, "put\n", 4) == 4 ? "written" : "not written");
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	look("/data/in");
	look("/srv/in");
	put("/data/out");
	put("/srv/out");
	printf("web on %s\n", argc > 1 ? argv[1] : "no port");
	while (argc > 1)
		if (fgets(line, sizeof(line), stdin))
			fputs(line, stdout);
		else
			pause();
	return 0;
}

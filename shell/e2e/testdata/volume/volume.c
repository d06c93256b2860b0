/* Does what its standard input says with files, a command a line, and prints a line for each: a result, or the name of an error. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 8
#define MOST (1 << 20)

static int slots[SLOTS] = {-1, -1, -1, -1, -1, -1, -1, -1};
static char data[MOST];

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void result(long r)
{
	if (r < 0)
		printf("error %d\n", errno);
	else
		printf("%ld\n", r);
}

static unsigned long sum(const char *p, long n)
{
	unsigned long h = 5381;

	while (n-- > 0)
		h = h * 33 + (unsigned char)*p++;
	return h & 0xffffffff;
}

static void bytes(long n)
{
	if (n < 0)
		result(n);
	else
		printf("%ld %lu\n", n, sum(data, n));
}

static void about(int err, const struct stat *s)
{
	if (err)
		result(err);
	else if (S_ISDIR(s->st_mode))
		printf("folder %o\n", s->st_mode & 07777);
	else
		printf("%o %ld links %ld at %ld.%09ld\n", s->st_mode, (long)s->st_size, (long)s->st_nlink,
			S_ISREG(s->st_mode) && s->st_mtim.tv_sec < 1000000 ? (long)s->st_mtim.tv_sec : 0L,
			S_ISREG(s->st_mode) && s->st_mtim.tv_sec < 1000000 ? s->st_mtim.tv_nsec : 0L);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *path)
{
	struct dirent **all;
	int n = scandir(path, &all, NULL, by_name);

	if (n < 0) {
		result(-1);
		return;
	}
	printf("%d:", n);
	for (int i = 0; i < n; i++)
		printf(" %s/%d", all[i]->d_name, all[i]->d_type);
	printf("\n");
}

static void perform(char *line)
{
	char op[16] = "", a[256] = "", b[256] = "";
	long x = 0, y = 0, z = 0, w = 0;
	struct timespec ts[2];
	struct statvfs v;
	struct stat s;
	int fd;

	sscanf(line, "%15s", op);
	if (!strcmp(op, "open") && sscanf(line, "%*s %ld %255s %ld %lo", &x, a, &y, &z) == 4) {
		if (slots[x] >= 0)
			close(slots[x]);
		slots[x] = open(a, y, z);
		result(slots[x] < 0 ? -1 : 0);
	} else if (!strcmp(op, "close") && sscanf(line, "%*s %ld", &x) == 1) {
		result(close(slots[x]));
		slots[x] = -1;
	} else if (!strcmp(op, "pwrite") && sscanf(line, "%*s %ld %ld %ld %ld", &x, &y, &z, &w) == 4) {
		memset(data, (int)w, z);
		result(pwrite(slots[x], data, z, y));
	} else if (!strcmp(op, "write") && sscanf(line, "%*s %ld %ld %ld", &x, &z, &w) == 3) {
		memset(data, (int)w, z);
		result(write(slots[x], data, z));
	} else if (!strcmp(op, "pread") && sscanf(line, "%*s %ld %ld %ld", &x, &y, &z) == 3) {
		bytes(pread(slots[x], data, z, y));
	} else if (!strcmp(op, "read") && sscanf(line, "%*s %ld %ld", &x, &z) == 2) {
		bytes(read(slots[x], data, z));
	} else if (!strcmp(op, "seek") && sscanf(line, "%*s %ld %ld %ld", &x, &y, &z) == 3) {
		if (!fstat(slots[x], &s) && S_ISDIR(s.st_mode)) /* each file system has its own positions */
			printf("folder\n");
		else
			result(lseek(slots[x], y, (int)z));
	} else if (!strcmp(op, "ftruncate") && sscanf(line, "%*s %ld %ld", &x, &y) == 2) {
		result(ftruncate(slots[x], y));
	} else if (!strcmp(op, "fsync") && sscanf(line, "%*s %ld", &x) == 1) {
		result(fsync(slots[x]) ? -1 : fdatasync(slots[x]));
	} else if (!strcmp(op, "append") && sscanf(line, "%*s %ld %ld", &x, &y) == 2) {
		result(fcntl(slots[x], F_SETFL, y ? O_APPEND : 0));
	} else if (!strcmp(op, "fstat") && sscanf(line, "%*s %ld", &x) == 1) {
		about(fstat(slots[x], &s), &s);
	} else if (!strcmp(op, "map") && sscanf(line, "%*s %ld %ld", &x, &y) == 2) {
		char *p = mmap(NULL, y, PROT_READ | PROT_WRITE, MAP_PRIVATE, slots[x], 0);

		if (p == MAP_FAILED) {
			result(-1);
		} else {
			printf("%lu\n", sum(p, y));
			munmap(p, y);
		}
	} else if (!strcmp(op, "stat") && sscanf(line, "%*s %255s", a) == 1) {
		about(stat(a, &s), &s);
	} else if (!strcmp(op, "lstat") && sscanf(line, "%*s %255s", a) == 1) {
		about(lstat(a, &s), &s);
	} else if (!strcmp(op, "ls") && sscanf(line, "%*s %255s", a) == 1) {
		list(a);
	} else if (!strcmp(op, "chmod") && sscanf(line, "%*s %255s %lo", a, &x) == 2) {
		result(chmod(a, x));
	} else if (!strcmp(op, "truncate") && sscanf(line, "%*s %255s %ld", a, &x) == 2) {
		result(truncate(a, x));
	} else if (!strcmp(op, "times") && sscanf(line, "%*s %255s %ld %ld", a, &x, &y) == 3) {
		ts[0] = ts[1] = (struct timespec){x, y};
		result(utimensat(AT_FDCWD, a, ts, 0));
	} else if (!strcmp(op, "mkdir") && sscanf(line, "%*s %255s %lo", a, &x) == 2) {
		result(mkdir(a, x));
	} else if (!strcmp(op, "mkfifo") && sscanf(line, "%*s %255s", a) == 1) {
		result(mkfifo(a, 0600));
	} else if (!strcmp(op, "rmdir") && sscanf(line, "%*s %255s", a) == 1) {
		result(rmdir(a));
	} else if (!strcmp(op, "unlink") && sscanf(line, "%*s %255s", a) == 1) {
		result(unlink(a));
	} else if (!strcmp(op, "rename") && sscanf(line, "%*s %255s %255s", a, b) == 2) {
		result(lstat(a, &s) ? -1 : rename(a, b)); /* of two errors, which comes first is nobody's promise */
	} else if (!strcmp(op, "link") && sscanf(line, "%*s %255s %255s", a, b) == 2) {
		result(lstat(a, &s) ? -1 : link(a, b));
	} else if (!strcmp(op, "symlink") && sscanf(line, "%*s %255s %255s", a, b) == 2) {
		result(symlink(a, b));
	} else if (!strcmp(op, "readlink") && sscanf(line, "%*s %255s", a) == 1) {
		long n = readlink(a, b, sizeof(b) - 1);

		b[n > 0 ? n : 0] = 0;
		if (n < 0)
			result(n);
		else
			printf("%s\n", b);
	} else if (!strcmp(op, "chdir") && sscanf(line, "%*s %255s", a) == 1) {
		result(chdir(a));
	} else if (!strcmp(op, "cwd")) {
		printf("%s\n", getcwd(a, sizeof(a)) ? a : "?");
	} else if (!strcmp(op, "room") && sscanf(line, "%*s %255s", a) == 1) {
		result(statvfs(a, &v) ? -1 : v.f_bsize > 0 && v.f_blocks > 0);
	} else if (!strcmp(op, "cat") && sscanf(line, "%*s %255s", a) == 1) {
		fd = open(a, O_RDONLY);
		x = fd < 0 ? -1 : read(fd, data, MOST);
		if (x < 0)
			result(-1);
		else
			printf("%.*s\n", (int)x, data);
		close(fd);
	} else if (!strcmp(op, "churn") && sscanf(line, "%*s %255s %ld", a, &x) == 2) {
		/* Numbered records, each on disk before it is told. */
		fd = open(a, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		for (long i = 0; i < x; i++) {
			for (int k = 0; k < 64; k++)
				((uint64_t *)data)[k] = (uint64_t)i;
			if (pwrite(fd, data, 512, i * 512) != 512 || fdatasync(fd))
				break;
			printf("told %ld\n", i);
		}
		close(fd);
	} else if (!strcmp(op, "halting") && sscanf(line, "%*s %255s %ld", a, &x) == 2) {
		/* Reads, each some time after the one before: up to three times as long as either side looks for the other before it sleeps. */
		fd = open(a, O_RDONLY);
		for (long i = 0; i < x; i++) {
			for (int64_t until = now() + rand() % 150000; now() < until;)
				;
			y += pread(fd, data, 1, 0);
		}
		close(fd);
		result(y);
	} else if (!strcmp(op, "speed") && sscanf(line, "%*s %255s %ld", a, &x) == 2) {
		/* Bytes a second written and read in pieces of 1 MiB, nanoseconds of a small read and of a stat. */
		int64_t from[4];

		fd = open(a, O_RDWR | O_CREAT | O_TRUNC, 0644);
		from[0] = now();
		for (long i = 0; i < x; i++)
			y += write(fd, data, MOST);
		from[0] = now() - from[0];
		lseek(fd, 0, SEEK_SET);
		from[1] = now();
		for (long i = 0; i < x; i++)
			z += read(fd, data, MOST);
		from[1] = now() - from[1];
		from[2] = now();
		for (long i = 0; i < 100; i++)
			w += pread(fd, data, 1, 0);
		from[2] = now() - from[2];
		from[3] = now();
		for (long i = 0; i < 100; i++)
			w += stat(a, &s);
		from[3] = now() - from[3];
		close(fd);
		if (y != x * MOST || z != y || w != 100)
			result(-1);
		else
			printf("%ld %ld %ld %ld\n", y * 1000 / (from[0] / 1000000 + 1), z * 1000 / (from[1] / 1000000 + 1),
				(long)from[2] / 100, (long)from[3] / 100);
	} else if (!strcmp(op, "fork")) {
		int status = 0, pid = fork();

		if (!pid) {
			perform(strchr(line, ' ') + 1);
			fflush(stdout);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		result(status);
	} else {
		printf("what? %s\n", line);
	}
}

int main(void)
{
	char line[600];

	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(0);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		perform(line);
	}
	return 0;
}

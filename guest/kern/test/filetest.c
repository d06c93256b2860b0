/*
 * filetest.c: unit tests and fuzzers of the file layer. What it does with threads and a real kernel
 * below is tested by guest/test; here are the things that need a sanitizer or a failing allocator.
 */
#include "shim.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define DO(name) long sys_##name();
DO(openat) DO(close) DO(read) DO(write) DO(pread64) DO(pwrite64) DO(lseek) DO(ftruncate) DO(fallocate) DO(mkdirat)
DO(unlinkat) DO(linkat) DO(symlinkat) DO(readlinkat) DO(renameat2) DO(getdents64) DO(newfstatat) DO(pipe2) DO(poll)
DO(epoll_create1) DO(epoll_ctl) DO(epoll_wait) DO(eventfd2) DO(socketpair) DO(getcwd) DO(memfd_create) DO(dup)

#define CHECK(cond)                                                                  \
	do {                                                                         \
		if (!(cond)) {                                                       \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);   \
			exit(1);                                                     \
		}                                                                    \
	} while (0)

static unsigned seed;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static long open_at(const char *path, long flags)
{
	return sys_openat((long)AT_FDCWD, (long)path, flags, 0644L);
}

/* ---- regular files against a plain array ---- */

#define MODEL (100 * 1024)

static void model_step(long fd, struct inode *n, uint8_t *model, size_t *size)
{
	static uint8_t buf[MODEL];
	size_t at = rnd(MODEL - 10000), len = 1 + rnd(9999);

	switch (rnd(5)) {
	case 0:
		memset(buf, (int)rnd(255) + 1, len);
		CHECK(sys_pwrite64(fd, (long)buf, len, at) == (long)len);
		memcpy(model + at, buf, len);
		*size = MAX(*size, at + len);
		break;
	case 1:
		CHECK(sys_ftruncate(fd, (long)at) == 0);
		if (at < *size)
			memset(model + at, 0, MODEL - at);
		*size = at;
		break;
	case 2:
		CHECK(sys_fallocate(fd, 3L, (long)at, (long)len) == 0);
		memset(model + at, 0, len);
		break;
	case 3:
		CHECK(sys_pread64(fd, (long)buf, len, at) == (long)(at < *size ? MIN(len, *size - at) : 0));
		CHECK(at >= *size || !memcmp(buf, model + at, MIN(len, *size - at)));
		break;
	case 4:
		if (at < *size) { /* between data and the next hole there is something, before it nothing */
			long data = ramfs_seek(n, at, true);

			for (size_t i = at; i < (data < 0 ? *size : (size_t)data); i++)
				CHECK(model[i] == 0);
		}
		break;
	}
}

static void test_model(const uint8_t *base, size_t base_len, int steps)
{
	uint8_t *model = calloc(1, MODEL);
	static uint8_t buf[MODEL];
	long fd = open_at("/tmp/model", O_RDWR | O_CREAT | O_TRUNC);
	struct file *f;
	size_t size = base_len;

	CHECK(fd >= 0 && !file_of(fd, &f));
	f->node->pages.base = base;
	f->node->pages.base_len = f->node->size = base_len;
	memcpy(model, base, base_len);
	for (int i = 0; i < steps; i++)
		model_step(fd, f->node, model, &size);
	CHECK(sys_pread64(fd, (long)buf, (long)MODEL, 0L) == (long)size);
	CHECK(!memcmp(buf, model, size));
	file_put(f);
	CHECK(sys_close(fd) == 0);
	CHECK(sys_unlinkat((long)AT_FDCWD, (long)"/tmp/model", 0L) == 0);
	free(model);
}

/* ---- the archive ---- */

static size_t tar_entry(uint8_t *to, const char *name, char type, const char *link, const char *data, size_t len)
{
	unsigned sum = 0;

	memset(to, 0, 512);
	snprintf((char *)to, 100, "%s", name);
	memcpy(to + 100, "0000755", 8);
	memcpy(to + 108, "0000000", 8);
	memcpy(to + 116, "0000000", 8);
	snprintf((char *)to + 124, 12, "%011o", (unsigned)len);
	memcpy(to + 136, "14000000000", 12);
	to[156] = (uint8_t)type;
	snprintf((char *)to + 157, 100, "%s", link);
	memcpy(to + 257, "ustar\00000", 8);
	memset(to + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += to[i];
	snprintf((char *)to + 148, 8, "%06o", sum);
	memset(to + 512, 0, (len + 511) / 512 * 512);
	memcpy(to + 512, data, len);
	return 512 + (len + 511) / 512 * 512;
}

static size_t make_tar(uint8_t *tar)
{
	char name[201], record[300];
	size_t n = 0;
	int len;

	memset(name, 'L', 200);
	name[200] = 0;
	n += tar_entry(tar + n, "./", '5', "", "", 0);
	n += tar_entry(tar + n, "./usr/share/text", '0', "", "in place", 8);
	n += tar_entry(tar + n, "usr/link", '2', "share/text", "", 0);
	n += tar_entry(tar + n, "hard", '1', "usr/share/text", "", 0);
	n += tar_entry(tar + n, "etc/passwd", '0', "", "mine\n", 5);
	n += tar_entry(tar + n, "././@LongLink", 'L', "", name, 201);
	n += tar_entry(tar + n, "short", '0', "", "long", 4);
	len = snprintf(record, sizeof(record), "28 path=pax/a-name-of-a-file\n");
	CHECK(len == 29);
	record[1] = '9';
	n += tar_entry(tar + n, "PaxHeaders", 'x', "", record, (size_t)len);
	n += tar_entry(tar + n, "x", '0', "", "pax", 3);
	n += tar_entry(tar + n, "../escape", '0', "", "no", 2);
	n += tar_entry(tar + n, "usr", '0', "", "not over a folder", 17);
	memset(tar + n, 0, 1024);
	return n + 1024;
}

static void expect(const char *path, const char *text)
{
	char buf[100] = "";
	long fd = open_at(path, O_RDONLY);

	CHECK(fd >= 0);
	CHECK(sys_read(fd, (long)buf, 99L) >= 0);
	if (strcmp(buf, text)) {
		fprintf(stderr, "%s: \"%s\", not \"%s\"\n", path, buf, text);
		exit(1);
	}
	CHECK(sys_close(fd) == 0);
}

static void test_mount(void)
{
	char name[203] = "/";
	char buf[300];
	long fd;

	memset(name + 1, 'L', 200);
	expect("/usr/share/text", "in place");
	expect("/usr/link", "in place");
	expect("/hard", "in place");
	expect("/etc/passwd", "mine\n");
	expect(name, "long");
	expect("/pax/a-name-of-a-file", "pax");
	expect("/etc/hostname", "filetest\n");
	expect("/etc/hosts", "127.0.0.1       localhost\n127.0.0.1       filetest\n");
	control->nic.ip = 0x0c22580a;
	addresses_write();
	expect("/etc/hosts", "127.0.0.1       localhost\n10.88.34.12     filetest\n");
	CHECK(open_at("/escape", O_RDONLY) == -ENOENT);
	CHECK(open_at("/usr/share/text/x", O_RDONLY) == -ENOTDIR);
	fd = open_at("/hard", O_RDWR); /* copied when it is written */
	CHECK(sys_write(fd, (long)"IN", 2L) == 2);
	CHECK(sys_close(fd) == 0);
	expect("/usr/share/text", "IN place");
	expect("/proc/self/cmdline", "prog");
	CHECK(sys_readlinkat((long)AT_FDCWD, (long)"/proc/self", (long)buf, 300L) == 1 && buf[0] == '7');
}

/* Takes a tree apart, reading all that it holds. */
static void consume(struct dent *dir)
{
	struct list_node *head = &dir->node->dir.entries;

	while (!list_empty(head)) {
		struct dent *d = CONTAINER_OF(head->next, struct dent, sibling);
		char buf[5000], path[PATH_MAX];

		dent_path(d, path, sizeof(path));
		if (S_ISDIR(d->node->mode)) {
			consume(d);
		} else if (d->node->ops == &ramfs_ops) {
			struct file *f = file_new(inode_get(d->node), NULL, &ramfs_ops, O_RDWR);
			uint64_t pos = 0;
			struct uio u;
			long got;

			do {
				uio_single(&u, buf, sizeof(buf));
				got = ramfs_ops.read(f, &u, &pos);
				CHECK(got >= 0);
			} while (got && pos < 1 << 20);
			file_put(f);
		}
		dir_remove(d);
	}
}

static struct dent *new_tree(void)
{
	struct inode *n = inode_new(S_IFDIR | 0755, FS_ROOT);
	struct dent *d = dent_new(NULL, n, "t", 1);

	inode_put(n);
	return d;
}

static void fix_checksums(uint8_t *tar, size_t len)
{
	for (size_t at = 0; at + 512 <= len; at += 512) {
		unsigned sum = 8 * ' ';

		if (memcmp(tar + at + 257, "ustar", 5))
			continue;
		for (size_t i = 0; i < 512; i++)
			sum += i >= 148 && i < 156 ? 0 : tar[at + i];
		snprintf((char *)tar + at + 148, 8, "%06o", sum & 0777777);
	}
}

static void fuzz_tar(const uint8_t *good, size_t good_len, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		size_t len = rnd(4) ? good_len : rnd((unsigned)good_len + 1);
		uint8_t *tar = malloc(len ? len : 1); /* exactly as long, for the sanitizer */
		struct dent *tree;
		long before = shim_allocations;

		memcpy(tar, good, len);
		for (unsigned k = rnd(8); k && len; k--)
			tar[rnd((unsigned)len)] = (uint8_t)(rnd(3) ? rnd(256) : (unsigned)"0 7/.L"[rnd(6)]);
		if (rnd(4))
			fix_checksums(tar, len);
		tree = new_tree();
		shim_fail_after = rnd(10) ? -1 : (long)rnd(100);
		tar_unpack(tree, tar, len);
		shim_fail_after = -1;
		consume(tree);
		dent_put(tree);
		CHECK(shim_allocations == before);
		free(tar);
	}
}

/* ---- every allocation fails once ---- */

static void scenario(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	char buf[9000];
	int p[2] = {-1, -1};
	long fd, ep;

	sys_mkdirat((long)AT_FDCWD, (long)"/tmp/s", 0755L);
	fd = open_at("/tmp/s/f", O_RDWR | O_CREAT);
	memset(buf, 1, sizeof(buf));
	sys_write(fd, (long)buf, (long)sizeof(buf));
	sys_pwrite64(fd, (long)buf, 10L, 1L << 40);
	sys_close(fd);
	sys_linkat((long)AT_FDCWD, (long)"/tmp/s/f", (long)AT_FDCWD, (long)"/tmp/s/g", 0L);
	sys_symlinkat((long)"f", (long)AT_FDCWD, (long)"/tmp/s/l");
	sys_renameat2((long)AT_FDCWD, (long)"/tmp/s/l", (long)AT_FDCWD, (long)"/tmp/s/m", 0L);
	fd = open_at("/tmp/s/m", O_RDONLY);
	sys_readlinkat((long)AT_FDCWD, (long)"/proc/self/fd/0", (long)buf, 100L);
	sys_close(fd);
	fd = open_at("/proc/self/maps", O_RDONLY);
	sys_close(fd);
	sys_close(sys_memfd_create((long)"m", 0L));
	ep = sys_epoll_create1(0L);
	if (sys_pipe2((long)p, 0L) == 0) {
		sys_write((long)p[1], (long)buf, 5000L);
		sys_epoll_ctl(ep, 1L, (long)p[0], (long)&ev);
		sys_epoll_wait(ep, (long)&ev, 1L, 0L);
		sys_close((long)p[0]);
		sys_close((long)p[1]);
	}
	if (sys_socketpair(1L, 1L, 0L, (long)p) == 0) {
		sys_write((long)p[0], (long)buf, 100L);
		sys_close((long)p[0]);
		sys_close((long)p[1]);
	}
	sys_close(ep);
	sys_close(sys_eventfd2(0L, 0L));
	for (const char *const *name = (const char *const[]){"/tmp/s/f", "/tmp/s/g", "/tmp/s/l", "/tmp/s/m", NULL}; *name; name++) {
		shim_fail_after = -1;
		sys_unlinkat((long)AT_FDCWD, (long)*name, 0L);
	}
	sys_unlinkat((long)AT_FDCWD, (long)"/tmp/s", (long)AT_REMOVEDIR);
}

static void test_failures(void)
{
	scenario(); /* fills what is filled once */
	for (long n = 0; n < 150; n++) {
		long before = shim_allocations;

		shim_fail_after = n;
		scenario();
		CHECK(shim_allocations == before);
	}
}

/* ---- random paths ---- */

static void random_path(char *p, size_t max)
{
	static const char *const parts[] = {"a", "b", ".", "..", "/", "//", "c/", "l", "/tmp/", "dd", "proc/self/fd/0"};
	size_t n = 0;

	*p = 0;
	for (unsigned k = 1 + rnd(6); k && n + 20 < max; k--)
		n += (size_t)snprintf(p + n, max - n, "%s%s", n && rnd(2) ? "/" : "", parts[rnd(ARRAY_LEN(parts))]);
}

static void fuzz_paths(int rounds)
{
	char a[200], b[200], buf[4096];

	for (int i = 0; i < rounds; i++) {
		random_path(a, sizeof(a));
		random_path(b, sizeof(b));
		switch (rnd(9)) {
		case 0: sys_mkdirat((long)AT_FDCWD, (long)a, 0755L); break;
		case 1: sys_unlinkat((long)AT_FDCWD, (long)a, (long)(rnd(2) * AT_REMOVEDIR)); break;
		case 2: sys_linkat((long)AT_FDCWD, (long)a, (long)AT_FDCWD, (long)b, 0L); break;
		case 3: sys_symlinkat((long)a, (long)AT_FDCWD, (long)b); break;
		case 4: case 5:
			sys_renameat2((long)AT_FDCWD, (long)a, (long)AT_FDCWD, (long)b, (long)rnd(3)); break;
		case 6: sys_newfstatat((long)AT_FDCWD, (long)a, (long)buf, 0L); break;
		case 7: {
			long fd = open_at(a, (long)(rnd(2) * O_CREAT) | O_RDWR);

			if (fd >= 0) {
				sys_write(fd, (long)b, 50L);
				if (rnd(3) == 0)
					sys_dup(fd);
				sys_close((long)rnd(60));
				sys_close(fd);
			}
			break;
		}
		case 8: {
			long fd = open_at(a, O_RDONLY | O_DIRECTORY);

			while (fd >= 0 && sys_getdents64(fd, (long)buf, (long)(64 + rnd(1000))) > 0)
				;
			sys_close(fd);
			break;
		}
		}
	}
}

int main(int argc, char **argv)
{
	static uint8_t tar[64 * 1024] __attribute__((aligned(4096))), base[9000];
	int rounds = argc > 2 ? atoi(argv[2]) : 3000;
	size_t len = make_tar(tar);

	seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	shim_init();
	shim_root(tar, sizeof(tar));
	vfs_init();
	CHECK(fd_init_stdio() == 0);
	memset(base, 'b', sizeof(base));
	test_mount();
	test_model(base, 0, 2000);
	for (int i = 0; i < 20; i++)
		test_model(base, rnd(sizeof(base)), 300);
	test_failures();
	fuzz_tar(tar, len, rounds);
	fuzz_paths(rounds * 10);
	printf("file layer: ok (seed %s, %d rounds)\n", argc > 1 ? argv[1] : "1", rounds);
	return 0;
}

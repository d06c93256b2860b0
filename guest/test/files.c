/* files.c: tests of regular files and descriptors. */
#include "test.h"

#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static int rw(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0);
	return fd;
}

void test_open_flags(void)
{
	struct stat st;
	int fd;

	FAILS(open("f", O_RDONLY), ENOENT);
	CHECK((fd = open("f", O_CREAT | O_EXCL | O_WRONLY, 0640)) >= 0);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_mode, S_IFREG | 0640);
	EQ(write(fd, "hello", 5), 5);
	FAILS(read(fd, page, 1), EBADF);
	close(fd);
	FAILS(open("f", O_CREAT | O_EXCL | O_WRONLY, 0640), EEXIST);
	CHECK((fd = open("f", O_RDONLY | O_CREAT, 0600)) >= 0);
	FAILS(write(fd, "x", 1), EBADF);
	EQ(read(fd, page, 10), 5);
	EQ(read(fd, page, 10), 0);
	close(fd);
	CHECK((fd = open("f", O_WRONLY | O_TRUNC)) >= 0);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 0);
	close(fd);
}

void test_open_errors(void)
{
	put_file("f", "x");
	EQ(mkdir("d", 0755), 0);
	EQ(symlink("f", "l"), 0);
	FAILS(open("", O_RDONLY), ENOENT);
	FAILS(open("d", O_WRONLY), EISDIR);
	FAILS(open("d", O_RDWR), EISDIR);
	FAILS(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
	FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open("f/", O_RDONLY), ENOTDIR);
	FAILS(open("f/x", O_RDONLY), ENOTDIR);
	FAILS(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
	FAILS(open("no/new", O_RDWR | O_CREAT, 0600), ENOENT);
	FAILS(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(open("l", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	FAILS(read(99, page, 1), EBADF);
	FAILS(read(-1, page, 1), EBADF);
	FAILS(close(99), EBADF);
	int fd = open("d", O_RDONLY);

	CHECK(fd >= 0);
	FAILS(read(fd, page, 10), EISDIR);
	close(fd);
}

void test_read_write(void)
{
	int fd = rw("f");

	for (int i = 0; i < 1000; i++)
		EQ(write(fd, "0123456789", 10), 10);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	for (int i = 0; i < 10000 / 16; i++) {
		EQ(read(fd, page, 16), 16);
		for (int j = 0; j < 16; j++)
			EQ(page[j], '0' + (i * 16 + j) % 10);
	}
	EQ(read(fd, page, 16), 0);
	EQ(read(fd, page, 0), 0);
	EQ(write(fd, page, 0), 0);
	EQ(lseek(fd, 4090, SEEK_SET), 4090);
	EQ(write(fd, "abcdefghijkl", 12), 12);
	EQ(pread(fd, page, 14, 4089), 14);
	CHECK(!memcmp(page, "9abcdefghijkl2", 14));
}

void test_append(void)
{
	int a = open("f", O_WRONLY | O_CREAT | O_APPEND, 0644), b = open("f", O_WRONLY);

	CHECK(a >= 0 && b >= 0);
	EQ(write(a, "one", 3), 3);
	EQ(write(b, "TWO!", 4), 4);
	EQ(write(a, "three", 5), 5);
	EQ(lseek(a, 0, SEEK_CUR), 9);
	a = open("f", O_RDONLY);
	EQ(read(a, page, 100), 9);
	CHECK(!memcmp(page, "TWO!three", 9));
}

void test_positions(void)
{
	int fd = rw("f");

	EQ(write(fd, "abcdef", 6), 6);
	EQ(lseek(fd, -2, SEEK_END), 4);
	EQ(lseek(fd, -1, SEEK_CUR), 3);
	EQ(read(fd, page, 1), 1);
	EQ(page[0], 'd');
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	FAILS(lseek(fd, 0, 99), EINVAL);
	EQ(pread(fd, page, 2, 1), 2);
	CHECK(!memcmp(page, "bc", 2));
	EQ(lseek(fd, 0, SEEK_CUR), 4);
	EQ(pwrite(fd, "XY", 2, 0), 2);
	EQ(lseek(fd, 0, SEEK_CUR), 4);
	FAILS(pread(fd, page, 1, -1), EINVAL);
	EQ(pread(fd, page, 10, 100), 0);
	EQ(lseek(fd, 1L << 40, SEEK_SET), 1L << 40);
	EQ(read(fd, page, 1), 0);
}

void test_vectors(void)
{
	int fd = rw("f");
	char a[3], b[5], c[10];
	struct iovec out[] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
	struct iovec in[] = {{a, 3}, {b, 5}, {c, 10}};

	EQ(writev(fd, out, 3), 8);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(readv(fd, in, 3), 8);
	CHECK(!memcmp(a, "abc", 3) && !memcmp(b, "defgh", 5));
	EQ(pwritev(fd, out, 3, 4), 8);
	EQ(preadv(fd, in, 1, 4), 3);
	CHECK(!memcmp(a, "abc", 3));
	FAILS(syscall(SYS_readv, fd, in, -1), EINVAL);
	FAILS(syscall(SYS_readv, fd, in, 2000), EINVAL);
	EQ(readv(fd, in, 0), 0);
	in[0].iov_len = (size_t)-1;
	FAILS(readv(fd, in, 2), EINVAL);
}

void test_sparse(void)
{
	int fd = rw("f");
	struct stat st;

	EQ(pwrite(fd, "end", 3, 10L << 30), 3);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, (10L << 30) + 3);
	CHECK(st.st_blocks < 1000);
	memset(page, 1, sizeof(page));
	EQ(pread(fd, page, sizeof(page), 5L << 30), sizeof(page));
	for (size_t i = 0; i < sizeof(page); i++)
		EQ(page[i], 0);
	EQ(pread(fd, page, 100, 10L << 30), 3);
}

void test_truncate_file(void)
{
	int fd = rw("f");
	struct stat st;

	EQ(write(fd, "abcdef", 6), 6);
	EQ(ftruncate(fd, 3), 0);
	EQ(ftruncate(fd, 5000), 0);
	EQ(pread(fd, page, 6, 0), 6);
	CHECK(!memcmp(page, "abc\0\0\0", 6));
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 5000);
	FAILS(ftruncate(fd, -1), EINVAL);
	EQ(truncate("f", 1), 0);
	EQ(stat("f", &st), 0);
	EQ(st.st_size, 1);
	FAILS(truncate("none", 1), ENOENT);
	FAILS(truncate(".", 1), EISDIR);
	fd = open("f", O_RDONLY);
	FAILS(ftruncate(fd, 1), EINVAL);
}

void test_holes(void)
{
	int fd = rw("f");

	EQ(ftruncate(fd, 1 << 20), 0);
	EQ(pwrite(fd, "x", 1, 500000), 1);
	EQ(lseek(fd, 0, SEEK_DATA), 500000 / 4096 * 4096);
	EQ(lseek(fd, 0, SEEK_HOLE), 0);
	EQ(lseek(fd, 500000, SEEK_HOLE), (500000 / 4096 + 1) * 4096);
	FAILS(lseek(fd, 600000, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, 1 << 20, SEEK_HOLE), ENXIO);
	EQ(fallocate(fd, 0, 0, 2 << 20), 0);
	EQ(lseek(fd, 0, SEEK_END), 2 << 20);
	EQ(pwrite(fd, "abc", 3, 8190), 3);
	EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8191, 4097), 0);
	EQ(pread(fd, page, 4, 8189), 4);
	CHECK(!memcmp(page, "\0a\0\0", 4));
	EQ(lseek(fd, 8192, SEEK_HOLE), 8192);
	FAILS(fallocate(fd, 0, -1, 10), EINVAL);
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	EQ(posix_fallocate(fd, 0, 10), 0);
	EQ(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE), 0);
	EQ(sync_file_range(fd, 4096, 8192, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER), 0);
	FAILS(sync_file_range(fd, 0, 0, 8), EINVAL);
	FAILS(sync_file_range(fd, -1, 0, SYNC_FILE_RANGE_WRITE), EINVAL);
	FAILS(sync_file_range(fd, 1, INT64_MAX, SYNC_FILE_RANGE_WRITE), EINVAL);
}

void test_big_file(void)
{
	int fd = rw("f");
	uint32_t words[1024];

	for (uint32_t i = 0; i < 2000; i++) {
		for (uint32_t j = 0; j < 1024; j++)
			words[j] = i * 7919 + j;
		EQ(write(fd, words, sizeof(words)), sizeof(words));
	}
	for (uint32_t i = 0; i < 2000; i += 37) {
		EQ(pread(fd, words, sizeof(words), (off_t)i * 4096), sizeof(words));
		for (uint32_t j = 0; j < 1024; j++)
			EQ(words[j], i * 7919 + j);
	}
}

void test_dup_shares(void)
{
	int a = rw("f"), b = dup(a), c = open("f", O_RDONLY);

	EQ(write(a, "abc", 3), 3);
	EQ(write(b, "def", 3), 3);
	EQ(lseek(a, 0, SEEK_CUR), 6);
	EQ(lseek(c, 0, SEEK_CUR), 0);
	EQ(dup2(a, 77), 77);
	EQ(lseek(77, 0, SEEK_CUR), 6);
	EQ(dup2(77, 77), 77);
	FAILS(dup2(78, 78), EBADF);
	FAILS(dup2(78, 5), EBADF);
	FAILS(dup2(a, -1), EBADF);
	FAILS(syscall(SYS_dup3, a, a, 0), EINVAL);
	FAILS(syscall(SYS_dup3, a, 9, 1), EINVAL);
	EQ(close(a), 0);
	EQ(write(b, "g", 1), 1);
	EQ(read(c, page, 100), 7);
	EQ(dup(c), a); /* the lowest */
}

void test_fd_limit(void)
{
	struct rlimit rl, low;
	int n = 0, fd, last = -1;

	EQ(getrlimit(RLIMIT_NOFILE, &rl), 0);
	low = rl;
	low.rlim_cur = 100;
	EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	while ((fd = open("/dev/null", O_RDONLY)) >= 0 && n++ < 200)
		last = fd;
	EQ(errno, EMFILE);
	EQ(last, 99);
	FAILS(dup(last), EMFILE);
	FAILS(fcntl(last, F_DUPFD, 100), EINVAL);
	FAILS(dup2(last, 100), EBADF);
	EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
	for (fd = 100; fd < 200; fd++)
		EQ(dup(last), fd);
	for (fd = 3; fd < 200; fd++)
		close(fd);
}

void test_fcntl_calls(void)
{
	int fd = rw("f"), d;

	EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR);
	EQ(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK), 0);
	EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND | O_NONBLOCK);
	CHECK((d = fcntl(fd, F_DUPFD, 50)) >= 50);
	EQ(fcntl(d, F_GETFD), 0);
	CHECK((d = fcntl(fd, F_DUPFD_CLOEXEC, 50)) > 50);
	EQ(fcntl(d, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(d, F_SETFD, 0), 0);
	EQ(fcntl(d, F_GETFD), 0);
	FAILS(fcntl(fd, 9999), EINVAL);
	FAILS(fcntl(200, F_GETFD), EBADF);
	FAILS(fcntl(fd, F_DUPFD, -1), EINVAL);
	int on = 1, n = -1;

	EQ(fcntl(fd, F_SETFL, 0), 0);
	EQ(ioctl(fd, FIONBIO, &on), 0);
	EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQ(write(fd, "hello", 5), 5);
	EQ(lseek(fd, 1, SEEK_SET), 1);
	EQ(ioctl(fd, FIONREAD, &n), 0);
	EQ(n, 4);
	EQ(ioctl(fd, FIOCLEX), 0);
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	FAILS(ioctl(fd, TIOCGWINSZ, page), ENOTTY);
}

void test_locks(void)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	int fd = rw("f");

	EQ(fcntl(fd, F_SETLK, &fl), 0);
	EQ(fcntl(fd, F_GETLK, &fl), 0);
	EQ(fl.l_type, F_UNLCK);
	fl.l_type = 99;
	FAILS(fcntl(fd, F_SETLK, &fl), EINVAL);
	EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
	EQ(flock(fd, LOCK_UN), 0);
	FAILS(flock(fd, LOCK_NB), EINVAL);
	EQ(lockf(fd, F_LOCK, 0), 0);
}

void test_cloexec(void)
{
	int fd = open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644), p[2];

	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(dup(fd), F_GETFD), 0);
	EQ(dup3(fd, 60, O_CLOEXEC), 60);
	EQ(fcntl(60, F_GETFD), FD_CLOEXEC);
	EQ(dup2(fd, 60), 60);
	EQ(fcntl(60, F_GETFD), 0);
	EQ(pipe2(p, O_CLOEXEC), 0);
	EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	EQ(fcntl(p[1], F_GETFD), FD_CLOEXEC);
}

void test_stat_fields(void)
{
	struct stat a, b;
	int fd = rw("f");

	EQ(write(fd, "12345", 5), 5);
	EQ(fstat(fd, &a), 0);
	EQ(stat("f", &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_dev, b.st_dev);
	EQ(a.st_size, 5);
	EQ(a.st_nlink, 1);
	EQ(a.st_mode, S_IFREG | 0644);
	EQ(a.st_uid, getuid());
	CHECK(a.st_blksize > 0);
	CHECK(labs((long)(a.st_mtime - time(NULL))) < 5);
	EQ(stat(".", &b), 0);
	CHECK(S_ISDIR(b.st_mode));
	CHECK(a.st_ino != b.st_ino);
	FAILS(stat("none", &b), ENOENT);
	FAILS(fstat(99, &b), EBADF);
	EQ(fstatat(fd, "", &b, AT_EMPTY_PATH), 0);
	EQ(b.st_ino, a.st_ino);
	FAILS(fstatat(AT_FDCWD, "f", &b, 0x40000000), EINVAL);
	EQ(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x7ff, page), 0);
	EQ(*(uint64_t *)(page + 40), 5); /* stx_size */
	FAILS(syscall(SYS_statx, AT_FDCWD, "g", 0, 0x7ff, page), ENOENT);
}

void test_chmod_chown(void)
{
	struct stat st;
	int fd = rw("f");

	EQ(chmod("f", 0751), 0);
	EQ(stat("f", &st), 0);
	EQ(st.st_mode, S_IFREG | 0751);
	EQ(fchmod(fd, 04600), 0);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_mode, S_IFREG | 04600);
	EQ(fchmodat(AT_FDCWD, "f", 0644, 0), 0);
	FAILS(chmod("none", 0644), ENOENT);
	FAILS(fchmod(99, 0644), EBADF);
	EQ(chown("f", -1, -1), 0);
	if (getuid() == 0) {
		EQ(symlink("f", "l"), 0);
		EQ(lchown("l", 5, 6), 0);
		EQ(chown("l", 1000, 1001), 0);
		EQ(stat("f", &st), 0);
		EQ(st.st_uid, 1000);
		EQ(st.st_gid, 1001);
		EQ(lstat("l", &st), 0);
		EQ(st.st_uid, 5);
		EQ(fchown(fd, 0, -1), 0);
		EQ(fstat(fd, &st), 0);
		EQ(st.st_uid, 0);
		EQ(st.st_gid, 1001);
	}
}

void test_times_of_files(void)
{
	struct timespec ts[2] = {{1000, 5}, {2000, 6}};
	struct stat st, st2;
	int fd = rw("f");

	EQ(futimens(fd, ts), 0);
	EQ(stat("f", &st), 0);
	EQ(st.st_atim.tv_sec, 1000);
	EQ(st.st_mtim.tv_sec, 2000);
	EQ(st.st_mtim.tv_nsec, 6);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_nsec = UTIME_NOW;
	EQ(utimensat(AT_FDCWD, "f", ts, 0), 0);
	EQ(stat("f", &st), 0);
	EQ(st.st_atim.tv_sec, 1000);
	CHECK(labs((long)(st.st_mtime - time(NULL))) < 5);
	ts[0].tv_nsec = 1000000000;
	FAILS(utimensat(AT_FDCWD, "f", ts, 0), EINVAL);
	FAILS(utimensat(AT_FDCWD, "none", NULL, 0), ENOENT);
	sleep_ms(20);
	EQ(write(fd, "x", 1), 1);
	EQ(stat("f", &st2), 0);
	CHECK(st2.st_mtim.tv_sec > st.st_mtim.tv_sec || st2.st_mtim.tv_nsec > st.st_mtim.tv_nsec);
}

void test_access_calls(void)
{
	put_file("f", "");
	EQ(chmod("f", 0600), 0);
	EQ(access("f", F_OK), 0);
	EQ(access("f", R_OK | W_OK), 0);
	FAILS(access("f", X_OK), EACCES);
	EQ(chmod("f", 0700), 0);
	EQ(access("f", X_OK), 0);
	EQ(access(".", X_OK), 0);
	FAILS(access("g", F_OK), ENOENT);
	FAILS(access("f/g", F_OK), ENOTDIR);
	FAILS(access("f", 99), EINVAL);
	EQ(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS), 0);
}

void test_send_and_copy(void)
{
	int a = rw("a"), b = rw("b"), p[2];
	off_t off = 2, to = 100;

	EQ(write(a, "0123456789", 10), 10);
	EQ(sendfile(b, a, &off, 5), 5);
	EQ(off, 7);
	EQ(pread(b, page, 10, 0), 5);
	CHECK(!memcmp(page, "23456", 5));
	EQ(lseek(a, 0, SEEK_SET), 0);
	EQ(pipe(p), 0);
	EQ(sendfile(p[1], a, NULL, 100), 10);
	EQ(read(p[0], page, 100), 10);
	FAILS(sendfile(b, p[0], NULL, 1), EINVAL);
	off = 0;
	EQ(copy_file_range(a, &off, b, &to, 10, 0), 10);
	EQ(off, 10);
	EQ(to, 110);
	EQ(pread(b, page, 10, 100), 10);
	CHECK(!memcmp(page, "0123456789", 10));
	off = 0, to = 5;
	FAILS(copy_file_range(a, &off, a, &to, 8, 0), EINVAL);
	FAILS(copy_file_range(a, NULL, b, NULL, 1, 1), EINVAL);
}

void test_unlinked_file(void)
{
	int fd = rw("f");
	struct stat st;

	EQ(write(fd, "still here", 10), 10);
	EQ(unlink("f"), 0);
	FAILS(open("f", O_RDONLY), ENOENT);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_nlink, 0);
	EQ(pread(fd, page, 20, 0), 10);
	put_file("f", "other");
	EQ(pread(fd, page, 20, 0), 10);
	CHECK(!memcmp(page, "still here", 10));
}

void test_memfd(void)
{
	int fd = (int)syscall(SYS_memfd_create, "name", 3 /* CLOEXEC | ALLOW_SEALING */);

	CHECK(fd >= 0);
	EQ(ftruncate(fd, 10), 0);
	EQ(pwrite(fd, "abc", 3, 0), 3);
	EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	FAILS(ftruncate(fd, 5), EPERM);
	FAILS(ftruncate(fd, 50), EPERM);
	EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
	EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0);
	FAILS(write(fd, "x", 1), EPERM);
	FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	FAILS(syscall(SYS_memfd_create, "name", 0x100), EINVAL);
}

void test_file_mapping(void)
{
	int fd = rw("f");
	char *p;

	EQ(write(fd, "0123456789", 10), 10);
	EQ(pwrite(fd, "page two", 8, 4096), 8);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK(!memcmp(p, "0123456789\0", 11) && !memcmp(p + 4096, "page two\0", 9));
	p[0] = 'x';
	EQ(pread(fd, page, 1, 0), 1);
	EQ(page[0], '0');
	EQ(munmap(p, 8192), 0);
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
	CHECK(p != MAP_FAILED && !memcmp(p, "page two", 8));
	EQ(munmap(p, 4096), 0);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 100) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
	fd = open("f", O_WRONLY);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EACCES);
}

void test_disk_full(void)
{
	static char block[65536];
	int fd = rw("f"), fd2;
	long n;
	void *p;

	while ((n = write(fd, block, sizeof(block))) == sizeof(block))
		;
	EQ(n < 0 ? errno : ENOSPC, ENOSPC);
	FAILS(write(fd, block, sizeof(block)), ENOSPC);
	CHECK((p = malloc(100000))); /* the program still has memory */
	memset(p, 1, 100000);
	free(p);
	EQ(unlink("f"), 0);
	close(fd);
	fd2 = rw("g");
	EQ(write(fd2, block, sizeof(block)), sizeof(block));
	FAILS(fallocate(fd2, 0, 0, 1L << 40), ENOSPC);
}

void test_file_size_limit(void)
{
	struct rlimit rl, low;
	int fd = rw("f");

	on_signal(SIGXFSZ, SIG_IGN, 0);
	EQ(getrlimit(RLIMIT_FSIZE, &rl), 0);
	low = rl;
	low.rlim_cur = 100;
	EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
	EQ(write(fd, page, 150), 100);
	long got = write(fd, page, 1);
	int err = errno;

	EQ(setrlimit(RLIMIT_FSIZE, &rl), 0);
	EQ(got, -1);
	EQ(err, EFBIG);
	EQ(write(fd, page, 10), 10);
}

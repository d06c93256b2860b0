/* folders.c: tests of names, links and folders. */
#include "test.h"

#include <dirent.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static bool there(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

void test_mkdir_rmdir(void)
{
	struct stat st;

	EQ(mkdir("d", 0750), 0);
	EQ(stat("d", &st), 0);
	EQ(st.st_mode, S_IFDIR | 0750);
	FAILS(mkdir("d", 0755), EEXIST);
	EQ(mkdir("e/", 0755), 0);
	FAILS(mkdir("no/x", 0755), ENOENT);
	FAILS(mkdir(".", 0755), EEXIST);
	FAILS(mkdir("/", 0755), EEXIST);
	FAILS(mkdir("", 0755), ENOENT);
	put_file("f", "");
	FAILS(mkdir("f/x", 0755), ENOTDIR);
	FAILS(mkdir("f", 0755), EEXIST);
	put_file("d/f", "");
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(rmdir("f"), ENOTDIR);
	FAILS(rmdir("none"), ENOENT);
	FAILS(rmdir("d/."), EINVAL);
	FAILS(rmdir("d/.."), ENOTEMPTY);
	FAILS(unlink("d"), EISDIR);
	EQ(unlink("d/f"), 0);
	EQ(rmdir("d/"), 0);
	CHECK(!there("d"));
}

void test_paths(void)
{
	struct stat a, b;

	EQ(mkdir("d", 0755), 0);
	EQ(mkdir("d/e", 0755), 0);
	put_file("d/e/f", "x");
	EQ(stat("d/e/f", &a), 0);
	EQ(stat(".//d/./e/../e///f", &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(stat("d/e/../../d/e/f", &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(stat("/", &a), 0);
	EQ(stat("/..", &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(stat("/../../.", &b), 0);
	FAILS(stat("d/e/f/", &a), ENOTDIR);
	FAILS(stat("d/e/f/.", &a), ENOTDIR);
	FAILS(stat("d/e/f/..", &a), ENOTDIR);
	FAILS(stat("d/none/..", &a), ENOENT);
	FAILS(unlink("d/e/f/"), ENOTDIR);
	EQ(stat("d/", &a), 0);
}

void test_long_names(void)
{
	char name[300], path[5000];

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	put_file(name, "x");
	EQ(access(name, F_OK), 0);
	name[255] = 'n';
	name[256] = 0;
	FAILS(open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
	FAILS(mkdir(name, 0700), ENAMETOOLONG);
	for (size_t i = 0; i < sizeof(path) - 2; i += 2)
		memcpy(path + i, "./", 2);
	path[4998] = 0;
	FAILS(access(path, F_OK), ENAMETOOLONG);
	path[4094] = 0;
	EQ(access(path, F_OK), 0);
	path[4094] = '.';
	path[4096] = 0;
	FAILS(access(path, F_OK), ENAMETOOLONG);
}

void test_symlinks(void)
{
	struct stat st;
	int fd;

	put_file("f", "target");
	EQ(symlink("f", "l"), 0);
	EQ(readlink("l", page, sizeof(page)), 1);
	EQ(lstat("l", &st), 0);
	CHECK(S_ISLNK(st.st_mode));
	EQ(st.st_size, 1);
	EQ(stat("l", &st), 0);
	CHECK(S_ISREG(st.st_mode));
	FAILS(symlink("x", "l"), EEXIST);
	FAILS(symlink("", "m"), ENOENT);
	FAILS(readlink("f", page, 10), EINVAL);
	FAILS(readlink("none", page, 10), ENOENT);
	EQ(symlink("0123456789", "long"), 0);
	EQ(readlink("long", page, 4), 4);
	FAILS(open("long", O_RDONLY), ENOENT);
	CHECK((fd = open("long", O_CREAT | O_WRONLY, 0644)) >= 0); /* makes what it points to */
	CHECK(there("0123456789"));
	close(fd);
	EQ(mkdir("d", 0755), 0);
	EQ(symlink("d", "ld"), 0);
	put_file("ld/x", "y");
	CHECK(there("d/x"));
	EQ(symlink("../f", "d/up"), 0);
	EQ(stat("ld/up", &st), 0);
	EQ(st.st_size, 6);
	FAILS(rmdir("ld"), ENOTDIR);
	FAILS(rmdir("ld/"), ENOTDIR);
	EQ(lstat("ld/", &st), 0);
	CHECK(S_ISDIR(st.st_mode));
	EQ(unlink("ld"), 0);
	CHECK(there("d"));
}

void test_link_loop(void)
{
	char a[20], b[20];

	EQ(symlink("b", "a"), 0);
	EQ(symlink("a", "b"), 0);
	FAILS(open("a", O_RDONLY), ELOOP);
	FAILS(access("a/x", F_OK), ELOOP);
	EQ(unlink("a"), 0);
	put_file("c0", "x");
	for (int i = 1; i <= 45; i++) {
		snprintf(a, sizeof(a), "c%d", i - 1);
		snprintf(b, sizeof(b), "c%d", i);
		EQ(symlink(a, b), 0);
	}
	EQ(access("c40", F_OK), 0);
	FAILS(access("c41", F_OK), ELOOP);
}

void test_hard_links(void)
{
	struct stat a, b;

	put_file("f", "one");
	EQ(link("f", "g"), 0);
	EQ(stat("f", &a), 0);
	EQ(stat("g", &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_nlink, 2);
	put_file("g", "two!");
	EQ(stat("f", &a), 0);
	EQ(a.st_size, 4);
	EQ(unlink("f"), 0);
	EQ(stat("g", &b), 0);
	EQ(b.st_nlink, 1);
	FAILS(link("f", "h"), ENOENT);
	put_file("h", "");
	FAILS(link("g", "h"), EEXIST);
	EQ(mkdir("d", 0755), 0);
	FAILS(link("d", "e"), EPERM);
	EQ(symlink("g", "l"), 0);
	EQ(link("l", "m"), 0);
	EQ(lstat("m", &a), 0);
	CHECK(S_ISLNK(a.st_mode));
	EQ(linkat(AT_FDCWD, "l", AT_FDCWD, "n", AT_SYMLINK_FOLLOW), 0);
	EQ(lstat("n", &a), 0);
	CHECK(S_ISREG(a.st_mode));
}

void test_rename_files(void)
{
	struct stat a, b;

	put_file("f", "one");
	EQ(stat("f", &a), 0);
	EQ(rename("f", "g"), 0);
	CHECK(!there("f"));
	EQ(stat("g", &b), 0);
	EQ(a.st_ino, b.st_ino);
	put_file("h", "two");
	EQ(rename("g", "h"), 0);
	EQ(stat("h", &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(rename("h", "h"), 0);
	EQ(link("h", "i"), 0);
	EQ(rename("h", "i"), 0); /* two names of one file: nothing happens */
	CHECK(there("h"));
	FAILS(rename("none", "x"), ENOENT);
	FAILS(rename("h", "none/x"), ENOENT);
	FAILS(rename("h", "x/"), ENOTDIR);
	FAILS(rename("h/", "x"), ENOTDIR);
	EQ(mkdir("d", 0755), 0);
	FAILS(rename("h", "d"), EISDIR);
	EQ(rename("h", "d/h"), 0);
	CHECK(there("d/h"));
	EQ(symlink("d", "l"), 0);
	EQ(rename("l", "m"), 0);
	EQ(lstat("m", &a), 0);
	CHECK(S_ISLNK(a.st_mode));
}

void test_rename_folders(void)
{
	struct stat st;

	EQ(mkdir("a", 0755), 0);
	EQ(mkdir("a/b", 0755), 0);
	put_file("a/b/f", "x");
	FAILS(rename("a", "a/b/c"), EINVAL);
	FAILS(rename("a/b", "a"), ENOTEMPTY);
	EQ(mkdir("e", 0755), 0);
	EQ(rename("a", "e"), 0); /* an empty folder is replaced */
	CHECK(there("e/b/f"));
	EQ(mkdir("full", 0755), 0);
	put_file("full/x", "");
	FAILS(rename("e", "full"), ENOTEMPTY);
	put_file("file", "");
	FAILS(rename("e", "file"), ENOTDIR);
	EQ(rename("e/b", "b/"), 0);
	EQ(stat("b/..", &st), 0);
	FAILS(rename("b/.", "c"), EBUSY);
	FAILS(rename("b/..", "c"), EBUSY);
	EQ(chdir("b"), 0);
	EQ(rename("../b", "../moved"), 0);
	CHECK(getcwd(page, sizeof(page)));
	STR(strrchr(page, '/'), "/moved");
}

void test_rename_flags(void)
{
	struct stat a, b, c;

	put_file("f", "1");
	EQ(mkdir("d", 0755), 0);
	put_file("d/g", "22");
	FAILS(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "d/g", RENAME_NOREPLACE), EEXIST);
	EQ(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "h", RENAME_NOREPLACE), 0);
	EQ(stat("h", &a), 0);
	EQ(stat("d/g", &b), 0);
	EQ(syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "d/g", RENAME_EXCHANGE), 0);
	EQ(stat("h", &c), 0);
	EQ(c.st_ino, b.st_ino);
	EQ(stat("d/g", &c), 0);
	EQ(c.st_ino, a.st_ino);
	FAILS(syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	FAILS(syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "x", 99), EINVAL);
}

static int count(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	CHECK(d);
	while ((e = readdir(d)))
		n++;
	closedir(d);
	return n;
}

void test_read_folder(void)
{
	int dots = 0, files = 0, folders = 0, links = 0, fd;
	struct dirent *e;
	DIR *d;

	put_file("f", "");
	EQ(mkdir("d", 0755), 0);
	EQ(symlink("f", "l"), 0);
	CHECK((d = opendir(".")));
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			dots++;
		else if (e->d_type == DT_REG)
			files += !strcmp(e->d_name, "f");
		else if (e->d_type == DT_DIR)
			folders += !strcmp(e->d_name, "d");
		else if (e->d_type == DT_LNK)
			links += !strcmp(e->d_name, "l");
	}
	EQ(dots * 1000 + files * 100 + folders * 10 + links, 2111);
	rewinddir(d);
	CHECK(readdir(d));
	closedir(d);
	CHECK(!opendir("f") && errno == ENOTDIR);
	CHECK(!opendir("none") && errno == ENOENT);
	fd = open("f", O_RDONLY);
	FAILS(syscall(SYS_getdents64, fd, page, sizeof(page)), ENOTDIR);
	fd = open(".", O_RDONLY);
	FAILS(syscall(SYS_getdents64, fd, page, 5), EINVAL);
}

void test_folder_changes(void)
{
	char name[20], seen[200] = {0};
	struct dirent *e;
	DIR *d;
	int n = 0;

	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put_file(name, "");
	}
	CHECK((d = opendir(".")));
	while ((e = readdir(d))) { /* what is deleted meanwhile disturbs nothing */
		if (e->d_name[0] != 'f')
			continue;
		EQ(seen[atoi(e->d_name + 1)]++, 0);
		EQ(unlink(e->d_name), 0);
		n++;
	}
	closedir(d);
	EQ(n, 200);
	EQ(count("."), 2);
}

void test_many_files(void)
{
	char name[40];

	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "file-number-%d", i);
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);

		CHECK(fd >= 0);
		close(fd);
	}
	EQ(count("."), 2002);
	for (int i = 0; i < 2000; i += 2) {
		snprintf(name, sizeof(name), "file-number-%d", i);
		EQ(unlink(name), 0);
	}
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "file-number-%d", i);
		EQ(access(name, F_OK), i % 2 - 1);
	}
}

void test_working_folder(void)
{
	char here[4096];
	int fd;

	CHECK(getcwd(here, sizeof(here)));
	EQ(mkdir("d", 0755), 0);
	fd = open("d", O_RDONLY | O_DIRECTORY);
	EQ(chdir("d"), 0);
	CHECK(getcwd(page, sizeof(page)));
	strcat(here, "/d");
	STR(page, here);
	EQ(chdir(".."), 0);
	EQ(fchdir(fd), 0);
	CHECK(getcwd(page, sizeof(page)));
	STR(page, here);
	CHECK(!getcwd(page, 3) && errno == ERANGE);
	FAILS(chdir("none"), ENOENT);
	put_file("f", "");
	FAILS(chdir("f"), ENOTDIR);
	FAILS(fchdir(99), EBADF);
	EQ(chdir("/"), 0);
	CHECK(getcwd(page, sizeof(page)));
	STR(page, "/");
}

void test_removed_folder(void)
{
	struct stat st;

	EQ(mkdir("d", 0755), 0);
	EQ(chdir("d"), 0);
	EQ(rmdir("../d"), 0);
	FAILS(open("f", O_CREAT | O_RDWR, 0600), ENOENT);
	FAILS(mkdir("e", 0700), ENOENT);
	CHECK(!getcwd(page, sizeof(page)) && errno == ENOENT);
	EQ(stat(".", &st), 0);
	EQ(chdir(".."), 0);
	CHECK(getcwd(page, sizeof(page)));
}

void test_at_calls(void)
{
	struct stat st;
	int d, fd;

	EQ(mkdir("d", 0755), 0);
	CHECK((d = open("d", O_RDONLY | O_DIRECTORY)) >= 0);
	EQ(mkdirat(d, "e", 0700), 0);
	CHECK((fd = openat(d, "e/f", O_CREAT | O_WRONLY, 0600)) >= 0);
	EQ(write(fd, "abc", 3), 3);
	EQ(fstatat(d, "e/f", &st, 0), 0);
	EQ(st.st_size, 3);
	EQ(symlinkat("e/f", d, "l"), 0);
	EQ(readlinkat(d, "l", page, 100), 3);
	EQ(linkat(d, "e/f", d, "g", 0), 0);
	EQ(renameat(d, "g", AT_FDCWD, "h"), 0);
	CHECK(there("h"));
	EQ(faccessat(d, "e/f", R_OK, 0), 0);
	EQ(unlinkat(d, "e/f", 0), 0);
	FAILS(unlinkat(d, "e", 0), EISDIR);
	EQ(unlinkat(d, "e", AT_REMOVEDIR), 0);
	FAILS(openat(99, "x", O_RDONLY), EBADF);
	FAILS(openat(fd, "x", O_RDONLY), ENOTDIR);
	FAILS(unlinkat(d, "l", 12345), EINVAL);
	CHECK(openat(99, "/", O_RDONLY) >= 0); /* an absolute path needs no folder */
}

void test_umask_call(void)
{
	struct stat st;

	EQ(umask(077), 022);
	put_file("f", "");
	EQ(stat("f", &st), 0);
	EQ(st.st_mode & 0777, 0600);
	EQ(mkdir("d", 0777), 0);
	EQ(stat("d", &st), 0);
	EQ(st.st_mode & 0777, 0700);
	EQ(umask(022), 077);
}

void test_o_path(void)
{
	struct stat st;
	int fd, l;

	put_file("f", "abc");
	EQ(symlink("f", "l"), 0);
	CHECK((fd = open("f", O_PATH)) >= 0);
	FAILS(read(fd, page, 1), EBADF);
	FAILS(write(fd, page, 1), EBADF);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 3);
	EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
	CHECK((l = open("l", O_PATH | O_NOFOLLOW)) >= 0);
	EQ(fstat(l, &st), 0);
	CHECK(S_ISLNK(st.st_mode));
	FAILS(syscall(SYS_fchmod, fd, 0600), EBADF);
	CHECK((fd = open(".", O_PATH | O_DIRECTORY)) >= 0);
	EQ(fstatat(fd, "f", &st, 0), 0);
	EQ(fchdir(fd), 0);
}

static void *fifo_writer(void *arg)
{
	int fd = open("p", O_WRONLY);

	CHECK(fd >= 0);
	EQ(write(fd, "through", 7), 7);
	close(fd);
	return arg;
}

void test_fifo(void)
{
	struct stat st;
	pthread_t t;
	int fd;

	EQ(mkfifo("p", 0600), 0);
	EQ(stat("p", &st), 0);
	CHECK(S_ISFIFO(st.st_mode));
	FAILS(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
	EQ(pthread_create(&t, NULL, fifo_writer, NULL), 0);
	CHECK((fd = open("p", O_RDONLY)) >= 0);
	EQ(read(fd, page, 100), 7);
	EQ(read(fd, page, 100), 0);
	EQ(pthread_join(t, NULL), 0);
	close(fd);
	CHECK((fd = open("p", O_RDWR)) >= 0);
	EQ(write(fd, "x", 1), 1);
	EQ(read(fd, page, 100), 1);
	FAILS(mkfifo("p", 0600), EEXIST);
}

void test_tmp_files(void)
{
	char name[] = "/tmp/kxXXXXXX";
	int fd = mkstemp(name);
	FILE *f;

	CHECK(fd >= 0);
	EQ(unlink(name), 0);
	CHECK((f = tmpfile()));
	fputs("text", f);
	rewind(f);
	CHECK(fgets(page, 10, f));
	STR(page, "text");
	fclose(f);
	CHECK((fd = open("/tmp", O_TMPFILE | O_RDWR, 0600)) >= 0);
	EQ(write(fd, "x", 1), 1);
	EQ(pread(fd, page, 5, 0), 1);
}

void test_statfs_calls(void)
{
	struct statfs s;
	int fd = open(".", O_RDONLY);

	EQ(statfs("/tmp", &s), 0);
	CHECK(s.f_bsize > 0 && s.f_blocks > 0 && s.f_bfree <= s.f_blocks);
	EQ(fstatfs(fd, &s), 0);
	FAILS(statfs("none", &s), ENOENT);
	EQ(fsync(fd), 0);
	EQ(fdatasync(fd), 0);
	sync();
}

/* Thousands of random changes, against a plain model of what must be there. */
void test_random_tree(void)
{
	bool model[30] = {0};
	unsigned seed = 12345;
	char a[20], b[20];

	for (int i = 0; i < 5000; i++) {
		int x = rand_r(&seed) % 30, y = rand_r(&seed) % 30;

		snprintf(a, sizeof(a), "n%d", x);
		snprintf(b, sizeof(b), "n%d", y);
		switch (rand_r(&seed) % 3) {
		case 0:
			put_file(a, "x");
			model[x] = true;
			break;
		case 1:
			EQ(unlink(a), model[x] ? 0 : -1);
			model[x] = false;
			break;
		case 2:
			EQ(rename(a, b), model[x] ? 0 : -1);
			if (model[x] && x != y) {
				model[x] = false;
				model[y] = true;
			}
			break;
		}
		EQ(access(a, F_OK), model[x] ? 0 : -1);
		EQ(access(b, F_OK), model[y] ? 0 : -1);
	}
}

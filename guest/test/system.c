/* system.c: tests of stdio on files, identity, limits, /proc, /dev, the terminal. */
#include "test.h"

#include <poll.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <termios.h>

void test_stdio_files(void)
{
	FILE *f = fopen("f", "w+");
	char line[100];
	int a;

	CHECK(f);
	for (int i = 0; i < 1000; i++)
		CHECK(fprintf(f, "line %d\n", i) > 0);
	rewind(f);
	for (int i = 0; i < 1000; i++) {
		EQ(fscanf(f, "line %d\n", &a), 1);
		EQ(a, i);
	}
	EQ(fseek(f, 5, SEEK_SET), 0);
	CHECK(fgets(line, sizeof(line), f));
	STR(line, "0\n");
	EQ(ftell(f), 7);
	EQ(ungetc('x', f), 'x');
	EQ(fgetc(f), 'x');
	EQ(fclose(f), 0);
	CHECK(!fopen("none/f", "w") && errno == ENOENT);
	CHECK((f = fopen("f", "a")));
	fputs("end\n", f);
	fclose(f);
	CHECK((f = fopen("f", "r")));
	EQ(fseek(f, -4, SEEK_END), 0);
	CHECK(fgets(line, sizeof(line), f));
	STR(line, "end\n");
	EQ(fgetc(f), EOF);
	CHECK(feof(f));
	fclose(f);
	EQ(rename("f", "g"), 0);
	EQ(remove("g"), 0);
}

void test_stdio_big(void)
{
	FILE *f = fopen("f", "w+");
	uint32_t v;

	CHECK(f);
	for (uint32_t i = 0; i < 200000; i++)
		EQ(fwrite(&i, 4, 1, f), 1);
	rewind(f);
	for (uint32_t i = 0; i < 200000; i++) {
		EQ(fread(&v, 4, 1, f), 1);
		EQ(v, i);
	}
	EQ(fread(&v, 4, 1, f), 0);
	fclose(f);
}

void test_identity(void)
{
	EQ(getpid(), syscall(SYS_getpid));
	CHECK(getpid() > 0);
	CHECK(getppid() >= 0);
	EQ(syscall(SYS_gettid), getpid());
	EQ(getuid(), geteuid());
	EQ(getgid(), getegid());
	CHECK(getpgrp() > 0);
}

void test_limits(void)
{
	struct rlimit rl;

	for (int i = 0; i < RLIM_NLIMITS; i++)
		EQ(getrlimit(i, &rl), 0);
	FAILS(getrlimit(999, &rl), EINVAL);
	EQ(getrlimit(RLIMIT_NOFILE, &rl), 0);
	CHECK(rl.rlim_cur >= 256);
	rl.rlim_cur = rl.rlim_max + 1;
	if (rl.rlim_max != RLIM_INFINITY)
		FAILS(setrlimit(RLIMIT_NOFILE, &rl), EINVAL);
}

void test_uname_sysinfo(void)
{
	struct utsname u;
	struct sysinfo si;

	EQ(uname(&u), 0);
	STR(u.machine, "x86_64");
	EQ(sysinfo(&si), 0);
	CHECK(si.totalram > 0 && si.freeram <= si.totalram);
	CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	EQ(sysconf(_SC_PAGESIZE), 4096);
}

/* The file's text, at most 4095 bytes of it, in page. */
static char *text_of(const char *path)
{
	int fd = open(path, O_RDONLY);
	long n, all = 0;

	if (fd < 0)
		fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	while (all < 4095 && (n = read(fd, page + all, 4095 - (size_t)all)) > 0)
		all += n;
	page[all] = 0;
	close(fd);
	return page;
}

void test_proc_self(void)
{
	char pid[20], link[20];
	struct stat st;
	long n;

	snprintf(pid, sizeof(pid), "%d", getpid());
	n = readlink("/proc/self", link, sizeof(link) - 1);
	CHECK(n > 0);
	link[n] = 0;
	STR(link, pid);
	CHECK(strlen(text_of("/proc/self/cmdline")) > 0);
	CHECK(strstr(text_of("/proc/self/status"), "Threads:\t"));
	EQ(atoi(text_of("/proc/self/stat")), getpid());
	CHECK(strstr(text_of("/proc/self/maps"), "r-xp"));
	CHECK(strchr(text_of("/proc/self/comm"), '\n'));
	CHECK(readlink("/proc/self/exe", page, sizeof(page)) > 0);
	EQ(page[0], '/');
	EQ(stat("/proc/self/cwd", &st), 0);
	CHECK(S_ISDIR(st.st_mode));
	CHECK(strchr(text_of("/proc/self/statm"), ' '));
	FAILS(open("/proc/self/nothing", O_RDONLY), ENOENT);
	FAILS(mkdir("/proc/new", 0700), ENOENT);
	CHECK(unlink("/proc/version") == -1);
}

void test_proc_fd(void)
{
	char here[4200], link[4200], name[40];
	int fd, again, p[2];
	struct stat a, b;
	long n;

	put_file("f", "0123");
	CHECK(getcwd(here, 4096));
	strcat(here, "/f");
	CHECK((fd = open("f", O_RDONLY)) >= 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, link, sizeof(link) - 1);
	CHECK(n > 0);
	link[n] = 0;
	STR(link, here);
	EQ(read(fd, page, 2), 2);
	CHECK((again = open(name, O_RDONLY)) >= 0);
	EQ(read(again, page, 10), 4); /* a new file: its own position */
	EQ(fstat(fd, &a), 0);
	EQ(stat(name, &b), 0);
	EQ(a.st_ino, b.st_ino);
	EQ(unlink("f"), 0);
	n = readlink(name, link, sizeof(link) - 1);
	link[n] = 0;
	CHECK(strstr(link, " (deleted)"));
	EQ(pipe(p), 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", p[0]);
	n = readlink(name, link, sizeof(link));
	CHECK(n > 6 && !memcmp(link, "pipe:[", 6));
	FAILS(readlink("/proc/self/fd/250", link, sizeof(link)), ENOENT);
	CHECK(access("/dev/fd/0", F_OK) == 0 || errno == ENOENT);
}

/* Programs are told to write to files of these names. */
void test_std_again(void)
{
	int fd = open("/dev/stdout", O_WRONLY | O_APPEND | O_CREAT, 0644);

	CHECK(fd > 2);
	EQ(write(fd, "", 0), 0);
	EQ(close(fd), 0);
	fd = open("/dev/stderr", O_WRONLY);
	CHECK(fd > 2);
	EQ(close(fd), 0);
	fd = open("/dev/fd/0", O_RDONLY);
	CHECK(fd > 2);
	EQ(close(fd), 0);
}

void test_proc_files(void)
{
	CHECK(strstr(text_of("/proc/cpuinfo"), "processor\t: 0"));
	CHECK(strstr(text_of("/proc/meminfo"), "MemTotal:"));
	CHECK(strtod(text_of("/proc/uptime"), NULL) > 0);
	CHECK(!strncmp(text_of("/proc/version"), "Linux version ", 14));
	CHECK(!strncmp(text_of("/proc/stat"), "cpu ", 4));
	CHECK(strchr(text_of("/proc/loadavg"), '/'));
	FAILS(open("/proc/version", O_WRONLY | O_CREAT | O_EXCL, 0600), EEXIST);
}

void test_proc_pvm(void)
{
	int fd = open("/proc/self/comm", O_WRONLY);

	CHECK(fd >= 0);
	EQ(write(fd, "renamed\n", 8), 8);
	STR(text_of("/proc/self/comm"), "renamed\n");
	FAILS(open("/proc/version", O_WRONLY), EACCES);
	FAILS(open("/proc/new", O_WRONLY | O_CREAT, 0600), ENOENT);
	STR(text_of("/proc/sys/kernel/ostype"), "Linux\n");
}

void test_devices(void)
{
	struct stat st;
	int fd;
	bool some = false;

	CHECK((fd = open("/dev/null", O_RDWR)) >= 0);
	EQ(write(fd, "abc", 3), 3);
	EQ(read(fd, page, 3), 0);
	EQ(fstat(fd, &st), 0);
	CHECK(S_ISCHR(st.st_mode));
	EQ(lseek(fd, 100, SEEK_SET), 0);
	CHECK((fd = open("/dev/zero", O_RDWR)) >= 0);
	memset(page, 1, sizeof(page));
	EQ(read(fd, page, sizeof(page)), sizeof(page));
	for (size_t i = 0; i < sizeof(page); i++)
		EQ(page[i], 0);
	CHECK((fd = open("/dev/full", O_RDWR)) >= 0);
	FAILS(write(fd, "x", 1), ENOSPC);
	CHECK((fd = open("/dev/urandom", O_RDONLY)) >= 0);
	EQ(read(fd, page, 1000), 1000);
	for (int i = 0; i < 1000; i++)
		some |= page[i] != 0;
	CHECK(some);
	CHECK(access("/dev/random", R_OK) == 0);
	FAILS(open("/dev/none", O_RDONLY), ENOENT);
}

void test_tty_calls(void)
{
	struct termios t;
	struct winsize w;
	struct pollfd p = {1, POLLOUT, 0};
	int fds[2], f = open("f", O_RDWR | O_CREAT, 0600);

	EQ(pipe(fds), 0);
	FAILS(tcgetattr(f, &t), ENOTTY);
	FAILS(tcgetattr(fds[0], &t), ENOTTY);
	EQ(isatty(f), 0);
	EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLOUT);
	if (!isatty(1))
		return;
	EQ(tcgetattr(1, &t), 0);
	EQ(tcsetattr(1, TCSANOW, &t), 0);
	EQ(ioctl(1, TIOCGWINSZ, &w), 0);
	FAILS(lseek(1, 0, SEEK_SET), ESPIPE);
}

void test_random_call(void)
{
	uint64_t a[8] = {0}, b[8] = {0};

	EQ(getrandom(a, sizeof(a), 0), sizeof(a));
	EQ(getrandom(b, sizeof(b), GRND_NONBLOCK), sizeof(b));
	CHECK(memcmp(a, b, sizeof(a)));
	FAILS(syscall(SYS_getrandom, a, 1, 0x1000), EINVAL);
	EQ(getentropy(a, sizeof(a)), 0);
}

void test_etc_files(void)
{
	struct passwd *pw = getpwuid(0);

	CHECK(pw);
	STR(pw->pw_name, "root");
	CHECK(getpwnam("root"));
	CHECK(!getpwnam("no-such-user"));
}

void test_environment(void)
{
	EQ(setenv("KX_TEST", "value", 1), 0);
	STR(getenv("KX_TEST"), "value");
	EQ(setenv("KX_TEST", "other", 0), 0);
	STR(getenv("KX_TEST"), "value");
	EQ(unsetenv("KX_TEST"), 0);
	CHECK(!getenv("KX_TEST"));
	FAILS(setenv("A=B", "x", 1), EINVAL);
}

static int at_exit_calls;

static void at_exit_handler(void)
{
	at_exit_calls++;
}

void test_atexit_order(void)
{
	EQ(atexit(at_exit_handler), 0);
	EQ(at_exit_calls, 0); /* not before the end */
}

void test_root_writable(void)
{
	EQ(mkdir("/newdir", 0755), 0);
	put_file("/newdir/f", "x");
	EQ(unlink("/newdir/f"), 0);
	EQ(rmdir("/newdir"), 0);
	FAILS(rmdir("/"), EBUSY);
	FAILS(rename("/tmp", "/proc/x"), EXDEV);
}

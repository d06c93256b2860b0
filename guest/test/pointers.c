/* pointers.c: system calls given pointers that lead nowhere. */
#include "test.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

/* Stand-ins for arguments that are made when the test runs. */
enum { BAD = 1000000, FD, READ_END, WRITE_END, EP, TFD, NAME, GOOD };

static const struct {
	const char *name;
	long nr;
	long arg[6];
} calls[] = {
	{"read", SYS_read, {FD, BAD, 10}},
	{"read pipe", SYS_read, {READ_END, BAD, 10}},
	{"write", SYS_write, {FD, BAD, 10}},
	{"write pipe", SYS_write, {WRITE_END, BAD, 10}},
	{"pread64", SYS_pread64, {FD, BAD, 10, 0}},
	{"pwrite64", SYS_pwrite64, {FD, BAD, 10, 0}},
	{"readv", SYS_readv, {FD, BAD, 2}},
	{"writev", SYS_writev, {FD, BAD, 2}},
	{"preadv", SYS_preadv, {FD, BAD, 2, 0}},
	{"pwritev", SYS_pwritev, {FD, BAD, 2, 0}},
	{"open", SYS_open, {BAD, O_RDONLY}},
	{"openat", SYS_openat, {AT_FDCWD, BAD, O_RDONLY}},
	{"creat", SYS_creat, {BAD, 0600}},
	{"stat path", SYS_stat, {BAD, GOOD}},
	{"stat", SYS_stat, {NAME, BAD}},
	{"lstat", SYS_lstat, {NAME, BAD}},
	{"fstat", SYS_fstat, {FD, BAD}},
	{"newfstatat", SYS_newfstatat, {AT_FDCWD, NAME, BAD, 0}},
	{"statx", SYS_statx, {AT_FDCWD, NAME, 0, 0x7ff, BAD}},
	{"statfs", SYS_statfs, {NAME, BAD}},
	{"fstatfs", SYS_fstatfs, {FD, BAD}},
	{"access", SYS_access, {BAD, 0}},
	{"faccessat", SYS_faccessat, {AT_FDCWD, BAD, 0}},
	{"chmod", SYS_chmod, {BAD, 0600}},
	{"fchmodat", SYS_fchmodat, {AT_FDCWD, BAD, 0600}},
	{"chown", SYS_chown, {BAD, 0, 0}},
	{"lchown", SYS_lchown, {BAD, 0, 0}},
	{"fchownat", SYS_fchownat, {AT_FDCWD, BAD, 0, 0, 0}},
	{"utimensat path", SYS_utimensat, {AT_FDCWD, BAD, 0, 0}},
	{"utimensat", SYS_utimensat, {AT_FDCWD, NAME, BAD, 0}},
	{"truncate", SYS_truncate, {BAD, 0}},
	{"mkdir", SYS_mkdir, {BAD, 0700}},
	{"mkdirat", SYS_mkdirat, {AT_FDCWD, BAD, 0700}},
	{"rmdir", SYS_rmdir, {BAD}},
	{"unlink", SYS_unlink, {BAD}},
	{"unlinkat", SYS_unlinkat, {AT_FDCWD, BAD, 0}},
	{"link", SYS_link, {BAD, NAME}},
	{"link to", SYS_link, {NAME, BAD}},
	{"symlink", SYS_symlink, {BAD, NAME}},
	{"symlink to", SYS_symlink, {NAME, BAD}},
	{"readlink", SYS_readlink, {BAD, GOOD, 10}},
	{"rename", SYS_rename, {BAD, NAME}},
	{"rename to", SYS_rename, {NAME, BAD}},
	{"chdir", SYS_chdir, {BAD}},
	{"getcwd", SYS_getcwd, {BAD, 4096}},
	{"getdents64", SYS_getdents64, {EP + 100, BAD, 4096}}, /* replaced below */
	{"pipe", SYS_pipe, {BAD}},
	{"pipe2", SYS_pipe2, {BAD, 0}},
	{"poll", SYS_poll, {BAD, 1, 0}},
	{"ppoll", SYS_ppoll, {BAD, 1, 0, 0, 8}},
	{"ppoll time", SYS_ppoll, {0, 0, BAD, 0, 8}},
	{"ppoll mask", SYS_ppoll, {0, 0, 0, BAD, 8}},
	{"select", SYS_select, {10, BAD, 0, 0, 0}},
	{"select time", SYS_select, {0, 0, 0, 0, BAD}},
	{"pselect6", SYS_pselect6, {10, BAD, 0, 0, 0, 0}},
	{"epoll_ctl", SYS_epoll_ctl, {EP, EPOLL_CTL_ADD, WRITE_END, BAD}},
	{"epoll_wait", SYS_epoll_wait, {EP, BAD, 1, 0}},
	{"timerfd_settime", SYS_timerfd_settime, {TFD, 0, BAD, 0}},
	{"timerfd_gettime", SYS_timerfd_gettime, {TFD, BAD}},
	{"memfd_create", SYS_memfd_create, {BAD, 0}},
	{"fcntl", SYS_fcntl, {FD, F_GETLK, BAD}},
	{"sendfile", SYS_sendfile, {FD, FD, BAD, 1}},
	{"socketpair", SYS_socketpair, {1, 1, 0, BAD}},
	{"nanosleep", SYS_nanosleep, {BAD, 0}},
	{"clock_gettime", SYS_clock_gettime, {CLOCK_MONOTONIC, BAD}},
	{"clock_getres", SYS_clock_getres, {CLOCK_MONOTONIC, BAD}},
	{"clock_nanosleep", SYS_clock_nanosleep, {CLOCK_MONOTONIC, 0, BAD, 0}},
	{"gettimeofday", SYS_gettimeofday, {BAD, 0}},
	{"time", SYS_time, {BAD}},
	{"times", SYS_times, {BAD}},
	{"setitimer", SYS_setitimer, {0, BAD, 0}},
	{"getitimer", SYS_getitimer, {0, BAD}},
	{"timer_create", SYS_timer_create, {CLOCK_MONOTONIC, 0, BAD}},
	{"getrusage", SYS_getrusage, {RUSAGE_SELF, BAD}},
	{"getrlimit", SYS_getrlimit, {RLIMIT_NOFILE, BAD}},
	{"prlimit64", SYS_prlimit64, {0, RLIMIT_NOFILE, 0, BAD}},
	{"uname", SYS_uname, {BAD}},
	{"sysinfo", SYS_sysinfo, {BAD}},
	{"getrandom", SYS_getrandom, {BAD, 10, 0}},
	{"rt_sigaction", SYS_rt_sigaction, {SIGUSR1, BAD, 0, 8}},
	{"rt_sigaction old", SYS_rt_sigaction, {SIGUSR1, 0, BAD, 8}},
	{"rt_sigprocmask", SYS_rt_sigprocmask, {SIG_BLOCK, BAD, 0, 8}},
	{"rt_sigprocmask old", SYS_rt_sigprocmask, {SIG_BLOCK, 0, BAD, 8}},
	{"rt_sigpending", SYS_rt_sigpending, {BAD, 8}},
	{"rt_sigtimedwait", SYS_rt_sigtimedwait, {BAD, 0, 0, 8}},
	{"rt_sigsuspend", SYS_rt_sigsuspend, {BAD, 8}},
	{"sigaltstack", SYS_sigaltstack, {BAD, 0}},
	{"sigaltstack old", SYS_sigaltstack, {0, BAD}},
	{"futex", SYS_futex, {BAD + 1000000, 0, 0, 0, 0, 0}},
	{"getresuid", SYS_getresuid, {BAD, BAD, BAD}},
	{"sched_getaffinity", SYS_sched_getaffinity, {0, 128, BAD}},
};

static long made[GOOD - BAD + 1];

static long resolve(long a)
{
	return a >= BAD && a <= GOOD ? made[a - BAD] : a;
}

static void with_pointer(long bad)
{
	int p[2], dir = open(".", O_RDONLY);
	static char good[4096];

	put_file("exists", "0123456789");
	EQ(pipe(p), 0);
	EQ(write(p[1], "x", 1), 1);
	made[0] = bad;
	made[FD - BAD] = open("exists", O_RDWR);
	made[READ_END - BAD] = p[0];
	made[WRITE_END - BAD] = p[1];
	made[EP - BAD] = epoll_create1(0);
	made[TFD - BAD] = timerfd_create(CLOCK_MONOTONIC, 0);
	made[NAME - BAD] = (long)"exists";
	made[GOOD - BAD] = (long)good;
	struct epoll_event ev = {.events = EPOLLIN};

	EQ(epoll_ctl((int)made[EP - BAD], EPOLL_CTL_ADD, p[0], &ev), 0);
	for (size_t i = 0; i < COUNT(calls); i++) {
		long a[6];

		for (int k = 0; k < 6; k++)
			a[k] = resolve(calls[i].arg[k]);
		if (calls[i].nr == SYS_getdents64)
			a[0] = dir;
		if (calls[i].nr == SYS_futex)
			a[0] = bad & ~3L;
		errno = 0;
		long got = syscall(calls[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]);

		if (got != -1 || errno != EFAULT)
			fail(__FILE__, __LINE__, "%s with pointer %#lx gives %ld, errno %d", calls[i].name, bad, got, errno);
	}
	for (int fd = 3; fd < 40; fd++)
		close(fd);
}

void test_bad_pointers(void)
{
	with_pointer(8);
	with_pointer(0x123000000000);
	with_pointer((long)0xdead000000000000);
	with_pointer(-4096);
}

/* The first page can be used, the next cannot: what fits is done. */
void test_bad_pointer_edge(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	CHECK(p != MAP_FAILED);
	EQ(mprotect(p + 4096, 4096, PROT_NONE), 0);
	memset(p, 'x', 4096);
	EQ(write(fd, p, 4096), 4096);
	EQ(write(fd, p, 4096), 4096);
	EQ(pread(fd, p + 4000, 96, 0), 96);
	EQ(pread(fd, p, 8192, 0), 4096);
	EQ(pwrite(fd, p, 8192, 0), 4096);
	FAILS(pread(fd, p + 4096, 10, 0), EFAULT);
	memcpy(p + 4094, "f", 2);
	EQ(access(p + 4094, F_OK), 0);
	p[4095] = 'x';
	FAILS(access(p + 4094, F_OK), EFAULT);
	EQ(mprotect(p, 4096, PROT_READ), 0);
	FAILS(pread(fd, p, 10, 0), EFAULT);
	EQ(munmap(p, 8192), 0);
}

void test_control_area(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	FAILS(write(fd, (void *)0x10002000, 10), EFAULT);
	EQ(write(fd, "text", 4), 4);
	FAILS(pread(fd, (void *)0x10003000, 4, 0), EFAULT);
	FAILS(access((void *)0x10002000, F_OK), EFAULT);
	FAILS(write(fd, (void *)0x7ff000000000, 10), EFAULT);
}

void test_no_such_call(void)
{
	FAILS(syscall(9999), ENOSYS);
	FAILS(syscall(-5), ENOSYS);
}

/* syscall.c: the table of system calls, and the way from kx_syscall to their functions. */
#include <sys/syscall.h>

#include "kern.h"
#include "network.h"
#include "process.h"

typedef long (*syscall_fn)(long, long, long, long, long, long);

/* Memory, threads, time, signals, identity: the files beside this one. */
#define CORE_CALLS(X)                                                                               \
	X(mmap) X(munmap) X(mprotect) X(mremap) X(brk) X(madvise) X(mincore) X(msync)               \
	X(mlock) X(munlock) X(mlockall) X(munlockall) X(membarrier)                                 \
	X(clone) X(fork) X(vfork) X(exit) X(exit_group) X(set_tid_address) X(gettid) X(arch_prctl) X(prctl)          \
	X(set_robust_list) X(get_robust_list) X(futex)                                              \
	X(sched_yield) X(sched_getaffinity) X(sched_setaffinity) X(sched_getparam)                  \
	X(sched_setparam) X(sched_getscheduler) X(sched_setscheduler) X(sched_get_priority_max)     \
	X(sched_get_priority_min) X(sched_rr_get_interval) X(getpriority) X(setpriority) X(getcpu)  \
	X(nanosleep) X(clock_nanosleep) X(getitimer) X(setitimer) X(alarm)                          \
	X(timer_create) X(timer_settime) X(timer_gettime) X(timer_getoverrun) X(timer_delete)       \
	X(clock_gettime) X(clock_getres) X(clock_settime) X(gettimeofday) X(settimeofday) X(time)   \
	X(times) X(getrusage)                                                                       \
	X(rt_sigaction) X(rt_sigprocmask) X(rt_sigpending) X(rt_sigtimedwait) X(rt_sigsuspend)      \
	X(rt_sigqueueinfo) X(rt_tgsigqueueinfo) X(sigaltstack) X(pause) X(kill) X(tkill) X(tgkill)  \
	X(getpid) X(getppid) X(getpgrp) X(getpgid) X(setpgid) X(getsid) X(setsid)                   \
	X(getuid) X(geteuid) X(getgid) X(getegid) X(getresuid) X(getresgid) X(getgroups)            \
	X(setuid) X(setgid) X(setreuid) X(setregid) X(setresuid) X(setresgid) X(setgroups)          \
	X(uname) X(sysinfo) X(getrlimit) X(setrlimit) X(prlimit64) X(getrandom) X(wait4) X(waitid)

/* Files, pipes, polling: the file layer's. */
#define FILE_CALLS(X)                                                                               \
	X(open) X(openat) X(creat) X(close) X(close_range) X(dup) X(dup2) X(dup3) X(fcntl) X(flock) \
	X(read) X(write) X(readv) X(writev) X(pread64) X(pwrite64) X(preadv) X(pwritev) X(preadv2)  \
	X(pwritev2) X(lseek) X(sendfile) X(copy_file_range) X(ioctl) X(getdents64)                  \
	X(stat) X(lstat) X(fstat) X(newfstatat) X(statx) X(statfs) X(fstatfs)                       \
	X(access) X(faccessat) X(faccessat2) X(chmod) X(fchmod) X(fchmodat)                         \
	X(chown) X(fchown) X(lchown) X(fchownat) X(utimensat) X(futimesat) X(utimes) X(utime)       \
	X(truncate) X(ftruncate) X(fallocate) X(fadvise64) X(sync) X(syncfs) X(fsync) X(fdatasync)  \
	X(sync_file_range)                                                                          \
	X(mkdir) X(mkdirat) X(rmdir) X(mknod) X(mknodat) X(unlink) X(unlinkat) X(link) X(linkat)    \
	X(symlink) X(symlinkat) X(readlink) X(readlinkat) X(rename) X(renameat) X(renameat2)        \
	X(chdir) X(fchdir) X(getcwd) X(umask) X(memfd_create) X(pipe) X(pipe2)                      \
	X(poll) X(ppoll) X(select) X(pselect6) X(epoll_create) X(epoll_create1) X(epoll_ctl)        \
	X(epoll_wait) X(epoll_pwait) X(eventfd) X(eventfd2)                                         \
	X(timerfd_create) X(timerfd_settime) X(timerfd_gettime)                                     \
	X(socketpair) X(shutdown) X(sendto) X(recvfrom) X(sendmsg) X(recvmsg) X(recvmmsg)           \
	X(setsockopt) X(getsockopt)

/* System V: msg.c, sem.c, shm.c. */
#define IPC_CALLS(X)                                                                                \
	X(msgget) X(msgsnd) X(msgrcv) X(msgctl) X(semget) X(semop) X(semtimedop) X(semctl)           \
	X(shmget) X(shmat) X(shmdt) X(shmctl)

#define DECLARE(name) long sys_##name();
CORE_CALLS(DECLARE)
IPC_CALLS(DECLARE)
FILE_CALLS(DECLARE)
long sys_rt_sigreturn(void);
long user_word(const long *src); /* entry.S */
long sys_unmapself(long base, long size);
/* library.c, load.c */
long sys_bind(long library, long call), sys_symbol(long library, long name, long needed);
long sys_load(long name, long flags, long why, long room);
long sys_update(long file, long library, long ms);

#define ROW(name) [SYS_##name] = (syscall_fn)sys_##name,
static const syscall_fn table[] = {
	CORE_CALLS(ROW)
	IPC_CALLS(ROW)
	FILE_CALLS(ROW)
};

/* What Linux starts again after a handler with SA_RESTART; everything else fails with EINTR. */
#define RESTARTABLE(X)                                                                              \
	X(read) X(write) X(readv) X(writev) X(pread64) X(pwrite64) X(preadv) X(pwritev)             \
	X(open) X(openat) X(accept) X(accept4) X(connect) X(recvfrom) X(recvmsg) X(recvmmsg)        \
	X(sendto) X(sendmsg) X(wait4) X(waitid) X(fcntl) X(flock) X(futex) X(ioctl) X(sendfile)     \
	X(splice) X(tee) X(getrandom) X(copy_file_range)
#define RESTARTABLE_ROW(name) [SYS_##name] = 1,
static const char restartable[] = {RESTARTABLE(RESTARTABLE_ROW)};

int syscall_restartable(long nr)
{
	return nr >= 0 && (size_t)nr < sizeof(restartable) && restartable[nr];
}

/* Made from musl's <bits/syscall.h> when the LibOS is built: [number] = "name". */
static const char *const names[] = {
#include "sysnames.inc"
};

static const char *name_of(long nr)
{
	return nr >= 0 && (size_t)nr < ARRAY_LEN(names) && names[nr] ? names[nr] : "unknown";
}

/* Tells of each unsupported call once, and of numbers beyond the table once for all of them. */
static long unsupported(long nr)
{
	static uint64_t told[ARRAY_LEN(names) / 64 + 1];
	size_t n = nr >= 0 && (size_t)nr < ARRAY_LEN(names) ? (size_t)nr : ARRAY_LEN(names);

	if (!(told[n / 64] & 1UL << n % 64))
		klog("kx: system call %ld (%s) is not supported: the program gets ENOSYS", nr, name_of(nr));
	told[n / 64] |= 1UL << n % 64;
	return -ENOSYS;
}

/* Calls that Linux does not have. */
static long own_call(const struct frame *f)
{
	switch (f->nr) {
	case KX_SYS_unmapself: return sys_unmapself(f->rsi, f->rdx);
	case KX_SYS_bind: return sys_bind(f->rsi, f->rdx);
	case KX_SYS_load: return sys_load(f->rsi, f->rdx, f->rcx, f->r8);
	case KX_SYS_update: return sys_update(f->rsi, f->rdx, f->rcx);
	case KX_SYS_symbol: return sys_symbol(f->rsi, f->rdx, f->rcx);
	default: return unsupported(f->nr);
	}
}

static long dispatch(const struct frame *f)
{
	long nr = f->nr;
	syscall_fn fn = nr >= 0 && (size_t)nr < ARRAY_LEN(table) ? table[nr] : NULL;
	long r;

	if (!fn && &kx_network)
		fn = kx_network.call(nr);
	if (!fn)
		return own_call(f);
	/* The seventh argument of kx_syscall is on the program's stack. Who passes fewer may have nothing there. */
	do
		r = fn(f->rsi, f->rdx, f->rcx, f->r8, f->r9, user_word((const long *)f->rsp));
	while (r == -ERESTART); /* readers_look_again */
	return r;
}

/* Called by entry.S. Returns 0 if only the callee-saved registers and rax need to be loaded. */
int syscall_enter(struct frame *f)
{
	if (f->nr == SYS_rt_sigreturn)
		sys_rt_sigreturn();
	else
		f->rax = dispatch(f);
	if (f->nr >= 0 && !leave_pending()) {
		if (timer_new)
			timer_arm();
		return 0;
	}
	leave_work(f);
	return 1;
}

/* sys.h: system calls, and the kernel's structs that come without a libc. */
#ifndef SYS_H
#define SYS_H

#include <asm/unistd.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>

/* syscall6 is one instruction in entry.S, so that the filter can tell where calls come from. */
long syscall6(long n, long a, long b, long c, long d, long e, long f);

#define SYSCALL_(n, a, b, c, d, e, f, ...) \
	syscall6((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) SYSCALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGFPE 8
#define SIGUSR1 10
#define SIGSEGV 11
#define SIGPIPE 13
#define SIGALRM 14
#define SIGCHLD 17
#define SIGSYS 31

#define SIG_SETMASK 2

static inline int sys_failed(long r)
{
	return r < 0 && r > -4096;
}

struct sys_timespec {
	int64_t sec, nsec;
};

/* futex_wait sleeps while *word is val, until woken or a signal comes. */
static inline void futex_wait(volatile void *word, uint32_t val)
{
	sys(__NR_futex, word, FUTEX_WAIT, val);
}

static inline void futex_wake(volatile void *word)
{
	sys(__NR_futex, word, FUTEX_WAKE, 1);
}

#endif

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

#define NR_FUTEX_WAITV 449 /* newer than the headers of some hosts */

/* The same for two words. -ENOSYS before Linux 5.16. */
static inline long futex_wait_either(const volatile void *a, uint32_t a_val, const volatile void *b, uint32_t b_val)
{
	const struct {
		uint64_t val, word;
		uint32_t flags, reserved;
	} both[2] = {{a_val, (uint64_t)a, 2 /* FUTEX_32 */, 0}, {b_val, (uint64_t)b, 2, 0}};

	return sys(NR_FUTEX_WAITV, both, 2);
}

/* The same for one word, and at most some ns. */
static inline void futex_wait_for(volatile void *word, uint32_t val, int64_t ns)
{
	const struct sys_timespec most = {0, ns};

	sys(__NR_futex, word, FUTEX_WAIT, val, &most);
}

static inline void futex_wake_all(volatile void *word)
{
	sys(__NR_futex, word, FUTEX_WAKE, 0x7fffffff);
}

static inline void futex_wake(volatile void *word)
{
	sys(__NR_futex, word, FUTEX_WAKE, 1);
}

#endif

/*
 * kern.h: the LibOS's internal interface, what its files say to each other.
 *
 * The kernel is one non-preemptible thread of control: event upcalls are masked from the first
 * instruction of a system call, trap or upcall to the last, and only wait_on() and the end of an
 * upcall switch threads. So nothing here takes a lock; state is consistent whenever a function
 * that may sleep is called. Functions that may sleep say so.
 *
 * System calls are `long sys_NAME(long, ...)` and return a result or -errno. User pointers are
 * plain addresses of the same address space; only copy_in, copy_out and copy_in_str follow them.
 * The kernel uses no vector registers, so those of the interrupted program survive in the CPU.
 */
#ifndef KERN_H
#define KERN_H

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <time.h>

#include "kx_abi.h"
#include "xen_abi.h"

#undef PAGE_SIZE
#define PAGE_SIZE ((size_t)KX_PAGE_SIZE)
#define PAGE_SHIFT 12
#define PAGE_UP(n) (((uint64_t)(n) + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1))
#define PAGE_DOWN(n) ((uint64_t)(n) & ~(uint64_t)(PAGE_SIZE - 1))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
/* Each argument is evaluated once: one may be an index that the engine moves, or a va_list's end. */
#define MIN(a, b) ({ __typeof__((a) + (b)) min_a = (a), min_b = (b); min_a < min_b ? min_a : min_b; })
#define MAX(a, b) ({ __typeof__((a) + (b)) max_a = (a), max_b = (b); max_a > max_b ? max_a : max_b; })
#define NSEC 1000000000LL

#define control ((volatile struct kx_control *)KX_CONTROL_VA)
#define shared ((volatile struct shared_info *)KX_SHARED_VA)

/* Doubly linked lists with a head; a list_node that is on no list has next == NULL. */
struct list_node {
	struct list_node *next, *prev;
};

static inline void list_init(struct list_node *head)
{
	head->next = head->prev = head;
}

static inline int list_empty(const struct list_node *head)
{
	return head->next == head;
}

static inline void list_add_tail(struct list_node *head, struct list_node *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

static inline void list_del(struct list_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = NULL;
}

/* ---- memory: mem.c, kmalloc.c ---- */

/*
 * page_alloc gives n contiguous kernel pages (readable, writable, of any content), or NULL.
 * page_free takes back any part of such a run, in whole pages.
 */
void *page_alloc(size_t n);
void page_free(void *p, size_t n);

/* kmalloc and friends: 16-byte aligned, NULL when memory is short; kfree(NULL) is fine. */
void *kmalloc(size_t n);
void *kzalloc(size_t n);
void *krealloc(void *p, size_t n);
void kfree(void *p);

/* What /proc/meminfo, sysinfo and ps want to know, in pages. */
struct mem_info {
	uint64_t total, free, kernel;
};
void mem_info(struct mem_info *mi);

/* mem_prot_at tells the protection (PROT_*) of a page of the program, or -1 where nothing is mapped. */
int mem_prot_at(uint64_t va);

/* ---- user memory: arch/x86_64/entry.S and usercopy.c ---- */

/* 0 or -EFAULT; a fault part way leaves what was already copied. */
int copy_in(void *dst, const void *user_src, size_t n);
int copy_out(void *user_dst, const void *src, size_t n);
int clear_out(void *user_dst, size_t n);
/* The string's length without its NUL; -EFAULT; -ENAMETOOLONG if no NUL is among the first max bytes. */
long copy_in_str(char *dst, const char *user_src, size_t max);

/* ---- threads and waiting: sched.c, thread.c ---- */

struct waitq {
	struct list_node waiters; /* of struct thread, by wait_node */
};
/* A static wait queue: struct waitq q = WAITQ_INIT(q); */
#define WAITQ_INIT(q) {{&(q).waiters, &(q).waiters}}

static inline void waitq_init(struct waitq *q)
{
	list_init(&q->waiters);
}

#define FOREVER INT64_MAX

/*
 * wait_on sleeps until the queue is woken (0), a signal with a handler or a deadly one is pending
 * for the caller (-EINTR, also when it was pending before), or now_ns() reaches deadline_ns
 * (-ETIMEDOUT; FOREVER: never). Wakes may be spurious: call it in a loop around the condition.
 * wait_on_killable is the same but no signal ends it (a deadly one ends the pVM at once anyway). q may
 * be NULL: only time or a signal ends the wait then.
 */
int wait_on(struct waitq *q, int64_t deadline_ns);
int wait_on_killable(struct waitq *q, int64_t deadline_ns);
void wake_one(struct waitq *q);
void wake_all(struct waitq *q);
/* Lets other runnable threads go first; may return at once. */
void yield(void);

/* Everything that can change what poll() would say wakes this queue. */
extern struct waitq poll_q;
struct thread;
/* A thread that sleeps in poll or select wakes up, or is going. */
void poll_forget(struct thread *t);

static inline void poll_wake(void)
{
	wake_all(&poll_q);
}

/* ---- time: clock.c, timer.c ---- */

int64_t now_ns(void);  /* CLOCK_MONOTONIC: the hypervisor's system time, never runs backwards */
int64_t real_ns(void); /* CLOCK_REALTIME: ns since 1970 */
/* Any clock of clock_gettime(2) in ns into *ns; 0 or -EINVAL. */
int clock_read(clockid_t clock, int64_t *ns);
/* Checks and converts; -EINVAL for negative or denormal values. Saturates at FOREVER - 1. */
int timespec_to_ns(const struct timespec *ts, int64_t *ns);
void ns_to_timespec(int64_t ns, struct timespec *ts);
/* now_ns() + ns without overflow; FOREVER stays FOREVER. */
int64_t deadline_after(int64_t ns);
long deadline_in(long user, int64_t *deadline); /* from a struct timespec of the program's, NULL for ever: 0 or -errno (poll.c) */

/* One-shot timer. fn runs in the kernel with events masked and must not sleep; it may set the timer anew. */
struct ktimer {
	struct list_node node; /* next == NULL: not set */
	int64_t when;          /* now_ns() scale */
	void (*fn)(struct ktimer *);
};
void ktimer_set(struct ktimer *t, int64_t when);
void ktimer_cancel(struct ktimer *t); /* of a timer that may be unset */

/* ---- signals: signal.c ---- */

typedef uint64_t sigmask_t; /* bit n - 1 is signal n */
#define SIGBIT(n) (1UL << ((n)-1))
#define KX_NSIG 65
/* What sigsetsize arguments must be. */
#define SIGSET_BYTES 8

struct thread;
/* Both tell whether the signal is now pending (not ignored, not there already). info NULL: SI_KERNEL. */
int signal_thread(struct thread *t, int sig, const siginfo_t *info);
int signal_process(int sig, const siginfo_t *info);
void signal_group(int group, int sig); /* child.c: what the terminal does to its foreground group */
/* True if a signal that would end wait_on is pending for cur. */
int signal_pending(void);
/*
 * For ppoll, pselect, epoll_pwait: installs the user's mask for the rest of the system call; the old
 * one comes back at its end, after handlers have run. uset NULL: nothing to do. 0, -EFAULT or -EINVAL.
 */
int sigmask_borrow(const void *uset, size_t size);
/* Takes the first signal of set that is pending for cur (signalfd, sigtimedwait): its number or 0. */
int signal_take(sigmask_t set, siginfo_t *info);

/* ---- console and terminal: console.c, tty.c ---- */

/*
 * Standard streams. user buffers are the program's. Both may sleep unless nonblock (-EAGAIN then)
 * and return the bytes done, -EINTR if a signal came before the first, or -EFAULT.
 * stream is KX_STDOUT or KX_STDERR.
 */
long tty_read(void *user, size_t n, int nonblock);
long tty_write(int stream, const void *user, size_t n, int nonblock);
/* The ioctls of a terminal, and FIONREAD of any standard input; -ENOTTY without KX_F_TTY. */
long tty_ioctl(unsigned long request, void *user);
int tty_poll(void); /* POLLIN | POLLOUT | POLLHUP as of now */
int tty_is_terminal(void);

/* Prints one line on the console's KX_KERNEL stream; the newline is added. %d %i %u %x %c %s %p with l, z, width, 0. */
void klog(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int ksnprintf(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int kvsnprintf(char *buf, size_t n, const char *fmt, va_list ap);
/* Ends the pVM for a bug of the LibOS itself. */
void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* ---- others ---- */

/* string.c: copies what fits of src and ends it with a NUL. */
void strcpy_max(char *dst, const char *src, size_t size);
extern const struct utsname system_name; /* identity.c: of uname(2) and /proc, without the node's name */
void random_bytes(void *p, size_t n); /* random.c; never fails, never repeats */
uint64_t rlimit_get(int resource);    /* limit.c: the soft limit */

/* ---- the file layer: called by boot.c and mmap.c, defined by vfs.c and fd.c ---- */

void vfs_init(void);     /* mounts the root archive (control->root_va), if any; must be cheap */
/* /etc/hosts and /etc/resolv.conf say the addresses that the pVM has now; and the name server that it was given with one. */
void addresses_write(void);
void name_server_set(uint32_t ip);
int fd_init_stdio(void); /* opens 0, 1, 2 on the console; 0 or -errno */
/* For private file mappings: bytes read (short at end of file) or -errno (-EBADF, -EACCES, -ENODEV). dst is mapped and writable. */
long file_pread(int fd, void *dst, size_t n, off_t off);

/* ---- threads ---- */

enum thread_state { THREAD_RUNNABLE, THREAD_WAITING, THREAD_DEAD };

struct sigqueue {
	sigmask_t set;
	struct list_node infos; /* of struct siginfo_node */
};

struct thread {
	/* entry.S knows the place of these two. */
	uint64_t ksp;      /* kernel stack pointer while another thread runs */
	uint64_t kstack;   /* top of the kernel stack */

	int tid;
	enum thread_state state;
	struct list_node all;       /* threads */
	struct list_node run_node;  /* run queue */
	struct list_node wait_node; /* waitq.waiters */
	struct ktimer wait_timer;
	int wait_result;
	int interruptible; /* a signal may end the wait */

	uint64_t fs_base;
	uint64_t stack_top; /* of the program's stack, if it said so; 0 */
	void *xsave_mem; /* of the vector state while preempted; NULL until that happens */

	struct poll_sleep *polls;  /* poll.c: what it sleeps for there; NULL */
	const struct file *moving; /* what it is in a read or write of; NULL */

	uint64_t futex_addr;
	uint32_t futex_bits;
	uint32_t futex_seen;   /* changes of the segment that the word is in, when the wait began */
	uint64_t clear_child_tid; /* set to 0 and woken at exit */
	uint64_t robust_list;

	sigmask_t sigmask;
	sigmask_t saved_sigmask; /* of sigmask_borrow, valid if mask_borrowed */
	int mask_borrowed;
	sigmask_t sigwait; /* signals that rt_sigtimedwait waits for */
	struct sigqueue pending;
	stack_t altstack;

	int64_t cpu_ns; /* CPU time up to switched_in */
	int64_t switched_in;
	char name[16];
};

extern struct thread *cur;
extern struct list_node threads; /* of struct thread, by all; the first is the main thread */
extern int thread_count;

#endif

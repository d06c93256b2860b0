/* process.h: what the core files of the kernel (boot, sched, signal, exit, ...) share among themselves. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>

#include "frame.h"
#include "kern.h"

/* ---- sched.c ---- */

extern int stopped;   /* the signal that stopped the program: no thread runs until SIGCONT; 0: it goes on */
extern int resched;   /* the current thread's turn is over */

void thread_runnable(struct thread *t); /* appends to the run queue */
void schedule(void);                    /* gives the CPU away; cur must be waiting, dead or on the run queue */
void thread_wake(struct thread *t, int result);
int runnable_others(void);
void preempt(void);         /* the end of a turn of a thread that was interrupted anywhere */
int64_t sched_deadline(void);
void sched_tick(int64_t now);
int64_t process_cpu_ns(void);
int64_t thread_cpu_ns(const struct thread *t);

void cpu_time_forked(void); /* the clocks begin anew */
void *fpu_area(struct thread *t); /* where its vector state is kept; NULL: memory is short */

/* ---- thread.c ---- */

extern int own_pid;

/* entry.S: a system call, from what the LibOS has the program run: with events on, on the program's stack. A result or -errno. */
long kx_syscall(long nr, long a, long b, long c, long d, long e, long f);
extern struct thread main_thread;
/*
 * The first thread has the PID, the others that and a multiple of this: so no two in a family have the same. But in a child that was
 * forked from outside each has the number that it has in the parent: its C library knows it by that, and has locks that name it.
 */
#define TID_STEP 0x10000
struct thread *thread_find(int tid); /* the PID is the first thread, also where that has another number */
void thread_free(struct thread *t);
void thread_drop(struct thread *t); /* another one: it never was */
void set_fs_base(uint64_t base);

static inline struct frame *thread_frame(const struct thread *t)
{
	return (struct frame *)t->kstack - 1;
}

/* ---- robust.c ---- */

void robust_exit(struct thread *t); /* it is going: its mutexes are handed on */
void robust_exit_all(void);
void robust_forget(const struct thread *t); /* it has gone */
void robust_forked(void); /* this is a child: it has no list yet */

/* ---- futex.c ---- */

int futex_wake(uint64_t addr, int n, uint32_t bits);

/* ---- timer.c ---- */

extern int64_t timer_next; /* when the first ktimer is due; FOREVER: none */
void ktimers_run(int64_t now);
void timer_delivered(siginfo_t *info); /* posixtimer.c: fills in si_overrun */

void itimers_forked(void); /* itimer.c: none runs */
void posix_timers_forked(void); /* posixtimer.c: there are none */

/* ---- fork.c, entry.S ---- */

long fork_split(uint64_t token);
void fork_command(uint64_t token); /* the engine wants a fork */
void fork_if_wanted(void);

/* ---- task.c ---- */

#define task_area ((struct kx_task *)KX_TASK_VA)
#define task_data ((char *)(task_area + 1))
#define TASK_ROOM (KX_TASK_SIZE - sizeof(struct kx_task))

void task_command(void); /* the engine has a task */
void task_news(void);    /* what a task waited for may have come */
void tasks_if_wanted(void);
void tasks_settle(void); /* no KX_CALL_TASK is under way any more: before another call, or another use of task_area */
void tasks_forked(void); /* what the engine wants is the parent's to do */

/* ---- update.c, entry.S ---- */

/* What KX_TASK_UPDATE does, with the plan at an address: 0 or -errno. try: as with KX_UPDATE_TRY. */
long update_library(uint64_t plan, struct kx_updated *result, bool try);

/* ---- offer.c: what the tasks KX_TASK_OFFER and its neighbours do ---- */

long offer_make(uint32_t secret, bool lends);
long offer_take(uint32_t secret, uint32_t page, bool borrows);
long offer_settle(uint32_t secret);
long offer_return(uint32_t secret);
void offer_forked(void); /* this is a child: the offer is its parent's */

/* ---- child.c ---- */

struct child;
struct child *child_new(void);
void child_born(struct child *c, int pid); /* takes over c */
void child_news(int pid, uint32_t status, int64_t cpu_ns);  /* by the engine */
void child_ended(int pid, uint32_t status, int64_t cpu_ns); /* by itself: the engine will, too */
bool child_waited(int pid); /* its end has been told to the program; the engine's word is still to come */
int children_ending(void); /* how many have told their ends of which the engine has not */
void children_settle(int most); /* waits, a second at most, until there are no more than so many */
int64_t children_cpu_ns(void); /* of those that were waited for */
void children_forked(void);    /* there are none */

/* ---- identity.c ---- */

int process_group(int pid); /* of a member of the family, 0: of ours; -ESRCH */
int process_session(void);
int group_check(int group); /* 0, or -ESRCH: nobody of the family is in it */
uint32_t effective_uid(void);
uint32_t effective_gid(void);
bool in_group(uint32_t gid); /* its effective group, or a supplementary one */

/* ---- call.c ---- */

/* The result of KX_CALL_*, or -errno; nothing else happens meanwhile. */
long engine_call(uint32_t op, uint32_t flags, uint64_t a, uint64_t b, uint64_t c);
void engine_post(uint32_t op, uint64_t a, uint64_t b, uint64_t c); /* the same without waiting */
bool engine_answered(void); /* the call that was made last */
long engine_answer(void);   /* to that, when it has come */

/* ---- event.c ---- */

extern int timer_new; /* the hypervisor's timer may have to be set earlier */
void events_init(void);
/* Handles pending events; in_upcall: the program was interrupted, so who wakes may run at once. */
void events_handle(int in_upcall);
void events_clear(void); /* only takes note that events came; what they were about is for events_handle */
void event_block(void);  /* sleeps until an event comes; what it was about is for events_handle */
/*
 * Sleeps until an event comes without letting another thread run. What it was about is looked after when the kernel is left:
 * events_owed() must follow.
 */
void event_wait_here(void);
void event_wait_until(int64_t end); /* the same on Xen, until the engine rings or then */
void events_owed(void);
void events_lost(void); /* this goes on elsewhere: what it was before may have taken events, or have been ended as it did */
void timer_arm(void);
void timer_lost(void); /* the hypervisor has forgotten the timer, and that it was bound */
void doorbell(void); /* raises the engine's end of the event channel */

/* ---- signal.c ---- */

struct sigact {
	uint64_t handler;
	unsigned long flags;
	uint64_t restorer;
	sigmask_t mask;
};

struct fault {
	int vector;
	siginfo_t info;
	struct kx_crash crash;
};

extern struct sigact sigacts[KX_NSIG];
int signal_ignored(int sig);
void signal_clone(void); /* this is a child that was made from outside: its handler is due */
void signals_discard(sigmask_t set); /* pending ones, everywhere */
sigmask_t signals_pending_set(void); /* for cur, blocked or not */
int signals_queue_full(void);
void signal_fault(const struct fault *fault); /* the program faulted: handler or death */
/* Everything to be done before the program goes on: turns, stops, signals, timers. */
void leave_work(struct frame *f);
int leave_pending(void); /* whether leave_work would find anything but a timer to set */
void signals_thread_exit(struct thread *t);

/* ---- sigframe.c ---- */

int sigframe_push(struct frame *f, int sig, const struct sigact *act, const siginfo_t *info, sigmask_t mask);
int sigframe_pop(struct frame *f, sigmask_t *mask);
int on_altstack(uint64_t rsp);

/* ---- exit.c ---- */

#define NOT_LINKED 127 /* exit status, as of a program that Linux cannot link */

void exit_process(int status) __attribute__((noreturn)); /* wait(2) status word */
void exit_out_of_memory(void) __attribute__((noreturn)); /* SIGKILL, for want of a frame */
void exit_crashed(const struct kx_crash *c) __attribute__((noreturn));

/* ---- syscall.c ---- */

int syscall_restartable(long nr);

/* ---- console.c, tty.c ---- */

void console_init(void);
void console_events(void); /* the engine may have given input or room */
void tty_init(void);
void tty_input(void);
void tty_hangup(void); /* no more input will come */
void tty_winsize(unsigned rows, unsigned cols);
void tty_forked(void); /* what was typed is the parent's */
void proc_forked(void); /* proc.c: /proc/PID has another name */

/* ---- mem.c, mmap.c, boot.c ---- */

extern int64_t boot_ns; /* now_ns() at the first instruction */
void mem_init(void);
/*
 * A page fault, with its error code: 1 if the page is there now, as the program may use it, 0 if it may not, -ENOMEM if
 * there is no frame for it.
 */
int mem_fault(uint64_t va, uint64_t error);
void cow_forked(void); /* cow.c: the frames kept for copies are the parent's */
uint32_t cow_promise(void); /* cow.c: what a fork is promised: KX_FORK_SHARED and KX_FORK_LAZY, or 0 */
void mem_moved(void); /* page protections are those of boot */
uint64_t stack_alloc(uint64_t size); /* the main thread's: its top */
void random_init(void);
void load_program(uint64_t stack);
uint64_t random_below(uint64_t n);

/* ---- library.c ---- */

/* Only a program with libraries has it. */
extern struct kx_libraries kx_libraries __attribute__((weak));
/* Clears what is left on the kernel stack of what has returned: an update would find addresses of libraries there, and take them for used. */
void library_forget(void);

#endif

/* thread.c: threads come and go. */
#include <sched.h>
#include <sys/prctl.h>

#include "hyper.h"
#include "futex.h"
#include "mem.h"
#include "process.h"

/* What musl's pthread_create asks for, and what a thread of ours cannot be without. */
#define CLONE_THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define CLONE_KNOWN                                                                                   \
	(CLONE_THREAD_FLAGS | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | \
	 CLONE_CHILD_CLEARTID | CLONE_DETACHED)
#define KSTACK_PAGES (KSTACK_SIZE / PAGE_SIZE + 1) /* with the page below that is not mapped */
#define STACK_CACHE 16
#define TID_MAX (1 << 29) /* see TID_STEP; the C library keeps other things in the bits above */

/* ---- kernel stacks ---- */

/* Stacks of ended threads, guard page in place: making one costs a hypercall. */
static char *stack_cache[STACK_CACHE];
static int stacks_cached;

static char *kstack_alloc(void)
{
	char *p;

	if (stacks_cached)
		return stack_cache[--stacks_cached];
	p = page_alloc(KSTACK_PAGES);
	if (p && run_protect(page_of((uint64_t)p), 1, 0)) {
		page_free(p, KSTACK_PAGES);
		return NULL;
	}
	return p;
}

static void kstack_free(char *p)
{
	if (stacks_cached < STACK_CACHE)
		stack_cache[stacks_cached++] = p;
	else
		page_free(p, KSTACK_PAGES);
}

/* ---- identity ---- */

struct thread *thread_find(int tid)
{
	for (struct list_node *n = threads.next; n != &threads; n = n->next) {
		struct thread *t = CONTAINER_OF(n, struct thread, all);

		if (t->tid == tid || (tid == own_pid && t == &main_thread))
			return t;
	}
	return NULL;
}

static int new_tid(void)
{
	static int last;

	if (!last || last % TID_STEP != own_pid) /* the first, or the first since a fork */
		last = own_pid;
	do
		last = last < TID_MAX ? last + TID_STEP : own_pid + TID_STEP;
	while (thread_find(last));
	return last;
}

long sys_gettid(void)
{
	return cur->tid;
}

long sys_set_tid_address(long addr)
{
	cur->clear_child_tid = addr;
	return cur->tid;
}

/* ---- birth ---- */

static struct thread *thread_new(void)
{
	struct thread *t = kzalloc(sizeof(*t));
	char *stack = t ? kstack_alloc() : NULL;

	if (!stack) {
		kfree(t);
		return NULL;
	}
	t->kstack = (uint64_t)stack + KSTACK_PAGES * PAGE_SIZE;
	t->tid = new_tid();
	t->sigmask = cur->sigmask;
	list_init(&t->pending.infos);
	memcpy(t->name, cur->name, sizeof(t->name));
	return t;
}

/* What switch_to finds on a new thread's stack: floating-point controls of the parent, and thread_first. */
static void first_stack(struct thread *t, const struct frame *f)
{
	struct frame *top = thread_frame(t);
	uint64_t *sp = (uint64_t *)top;

	*top = *f;
	*--sp = (uint64_t)thread_first;
	sp -= 6; /* callee-saved registers: the frame has the program's */
	sp -= SWITCH_FPU / sizeof(*sp);
	__asm__ volatile("fnstenv %0; fldenv %0; stmxcsr %1" : "=m"(*(char(*)[28])sp), "=m"(*(uint32_t *)(sp + 4)));
	t->ksp = (uint64_t)sp;
}

long sys_fork(void);

long sys_clone(long flags, long stack, long ptid, long ctid, long tls)
{
	struct frame child = *thread_frame(cur);
	struct thread *t;

	if (flags == SIGCHLD && !stack)
		return sys_fork();
	if ((flags & CLONE_THREAD_FLAGS) != CLONE_THREAD_FLAGS || flags & ~(long)CLONE_KNOWN || !stack) {
		klog("kx: clone with flags %#lx (posix_spawn) is not supported: the program gets ENOSYS", flags);
		return -ENOSYS;
	}
	t = thread_new();
	if (!t)
		return -EAGAIN;
	if ((flags & CLONE_PARENT_SETTID && copy_out((void *)ptid, &t->tid, sizeof(t->tid))) ||
	    (flags & CLONE_CHILD_SETTID && copy_out((void *)ctid, &t->tid, sizeof(t->tid)))) {
		thread_free(t);
		return -EFAULT;
	}
	child.rax = 0;
	child.rsp = stack;
	t->stack_top = (uint64_t)stack;
	first_stack(t, &child);
	t->fs_base = flags & CLONE_SETTLS ? (uint64_t)tls : cur->fs_base;
	if (flags & CLONE_CHILD_CLEARTID)
		t->clear_child_tid = ctid;
	list_add_tail(&threads, &t->all);
	thread_count++;
	thread_runnable(t);
	return t->tid;
}

/* ---- death ---- */

void thread_free(struct thread *t)
{
	kfree(t->xsave_mem);
	if (t == &main_thread)
		return; /* not ours to free; a program may well end its first thread */
	kstack_free((char *)t->kstack - KSTACK_PAGES * PAGE_SIZE);
	kfree(t);
}

void thread_drop(struct thread *t)
{
	if (t->run_node.next)
		list_del(&t->run_node);
	if (t->wait_node.next)
		list_del(&t->wait_node);
	ktimer_cancel(&t->wait_timer);
	if (t->polls)
		poll_forget(t);
	signals_thread_exit(t);
	list_del(&t->all);
	thread_count--;
	thread_free(t);
}

long sys_exit(long code)
{
	struct thread *t = cur;
	static const int zero;

	if (thread_count == 1)
		exit_process((code & 0xff) << 8);
	robust_exit(t);
	robust_forget(t);
	/* musl waits here for its thread list lock, and pthread_join for the thread. */
	if (t->clear_child_tid && !copy_out((void *)t->clear_child_tid, &zero, sizeof(zero)))
		futex_wake(t->clear_child_tid, 1, FUTEX_BITSET_ANY);
	signals_thread_exit(t);
	list_del(&t->all);
	thread_count--;
	t->state = THREAD_DEAD;
	schedule();
	panic("a dead thread runs");
}

long sys_exit_group(long code)
{
	exit_process((code & 0xff) << 8);
}

long sys_unmapself(long base, long size)
{
	long sys_munmap(long addr, long len);

	sys_munmap(base, size);
	return sys_exit(0);
}

/* ---- thread pointer and name ---- */

void set_fs_base(uint64_t base)
{
	HYPERCALL(__HYPERVISOR_set_segment_base, SEGBASE_FS, base, 0);
}

/* <asm/prctl.h>, which musl does not have */
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

long sys_arch_prctl(long op, long addr)
{
	switch (op) {
	case ARCH_SET_FS:
		if ((uint64_t)addr >> 47)
			return -EPERM;
		cur->fs_base = addr;
		set_fs_base(addr);
		return 0;
	case ARCH_GET_FS:
		return copy_out((void *)addr, &cur->fs_base, sizeof(cur->fs_base));
	default:
		return -EINVAL;
	}
}

long sys_prctl(long op, long a)
{
	char name[16] = "";
	static int dumpable = 1;

	switch (op) {
	case PR_SET_NAME:
		if (copy_in_str(name, (const char *)a, sizeof(name)) == -EFAULT)
			return -EFAULT;
		name[sizeof(name) - 1] = 0;
		memcpy(cur->name, name, sizeof(name));
		return 0;
	case PR_GET_NAME:
		return copy_out((void *)a, cur->name, sizeof(cur->name));
	case PR_GET_DUMPABLE:
		return dumpable;
	case PR_SET_DUMPABLE:
		if (a != 0 && a != 1)
			return -EINVAL;
		dumpable = (int)a;
		return 0;
	default:
		return -EINVAL;
	}
}

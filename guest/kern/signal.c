/* signal.c: sending signals, and delivering them when a thread leaves the kernel. */
#include <sys/syscall.h>

#include "kx.h"
#include "process.h"

#define UNBLOCKABLE (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define STOPS (SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))
#define IGNORED (SIGBIT(SIGCHLD) | SIGBIT(SIGCONT) | SIGBIT(SIGURG) | SIGBIT(SIGWINCH))
#define SYNCHRONOUS                                                                                    \
	(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGFPE) | SIGBIT(SIGSYS))
#define FIRST_QUEUED 32 /* signals from here on are kept as often as they are sent */
#define QUEUE_MAX 4096

struct siginfo_node {
	struct list_node node;
	siginfo_t info;
};

struct sigact sigacts[KX_NSIG];

static struct sigqueue process_pending = {.infos = {&process_pending.infos, &process_pending.infos}};
static int queued;

static void (*clone_handler)(void); /* kx_on_clone's */
static struct thread *clone_taker;  /* who is to call it, when it is due */

/* musl's cancellation point: a call of kx_syscall between these, that its handler wants to see interrupted. */
extern const char __cp_begin[] __attribute__((weak)), __cp_end[] __attribute__((weak));

/* ---- pending sets ---- */

static void discard(struct sigqueue *q, sigmask_t set)
{
	for (struct list_node *n = q->infos.next, *next; n != &q->infos; n = next) {
		struct siginfo_node *s = CONTAINER_OF(n, struct siginfo_node, node);

		next = n->next;
		if (!(set & SIGBIT(s->info.si_signo)))
			continue;
		list_del(n);
		kfree(s);
		queued--;
	}
	q->set &= ~set;
}

void signals_discard(sigmask_t set)
{
	discard(&process_pending, set);
	for (struct list_node *n = threads.next; n != &threads; n = n->next)
		discard(&CONTAINER_OF(n, struct thread, all)->pending, set);
}

void signals_thread_exit(struct thread *t)
{
	discard(&t->pending, ~0UL);
}

/* 1 if added; 0 if it was there and counts once, or there is no room. */
static int enqueue(struct sigqueue *q, int sig, const siginfo_t *info)
{
	struct siginfo_node *s;

	if (sig < FIRST_QUEUED && q->set & SIGBIT(sig))
		return 0;
	s = queued < QUEUE_MAX ? kmalloc(sizeof(*s)) : NULL;
	if (!s && sig >= FIRST_QUEUED)
		return 0;
	if (s) {
		s->info = info ? *info : (siginfo_t){.si_code = SI_KERNEL};
		s->info.si_signo = sig;
		list_add_tail(&q->infos, &s->node);
		queued++;
	}
	q->set |= SIGBIT(sig);
	return 1;
}

/* Takes one pending sig out of q. */
static void dequeue(struct sigqueue *q, int sig, siginfo_t *info)
{
	struct siginfo_node *found = NULL;
	int more = 0;

	*info = (siginfo_t){.si_signo = sig, .si_code = SI_USER};
	for (struct list_node *n = q->infos.next; n != &q->infos; n = n->next) {
		struct siginfo_node *s = CONTAINER_OF(n, struct siginfo_node, node);

		if (s->info.si_signo != sig)
			continue;
		if (found)
			more = 1;
		else
			found = s;
	}
	if (!more)
		q->set &= ~SIGBIT(sig);
	if (!found)
		return;
	*info = found->info;
	list_del(&found->node);
	kfree(found);
	queued--;
	if (info->si_code == SI_TIMER)
		timer_delivered(info);
}

sigmask_t signals_pending_set(void)
{
	return cur->pending.set | process_pending.set;
}

int signal_pending(void)
{
	return clone_taker == cur || signals_pending_set() & ~cur->sigmask;
}

int signal_take(sigmask_t set, siginfo_t *info)
{
	sigmask_t mine = cur->pending.set & set, all = signals_pending_set() & set;
	int sig;

	if (!all)
		return 0;
	/* Faults first, then by number, as Linux does. */
	sig = __builtin_ctzl(all & SYNCHRONOUS ? all & SYNCHRONOUS : all) + 1;
	dequeue(mine & SIGBIT(sig) ? &cur->pending : &process_pending, sig, info);
	return sig;
}

int signals_queue_full(void)
{
	return queued >= QUEUE_MAX;
}

/* ---- sending ---- */

static int default_ignores(int sig)
{
	return !!(IGNORED & SIGBIT(sig));
}

int signal_ignored(int sig)
{
	return sigacts[sig].handler == (uint64_t)SIG_IGN || (sigacts[sig].handler == (uint64_t)SIG_DFL && default_ignores(sig));
}

static int takes(const struct thread *t, int sig)
{
	return !(t->sigmask & SIGBIT(sig)) || t->sigwait & SIGBIT(sig);
}

/* The thread that is to take a signal sent to the process, or NULL if all of them block it. */
static struct thread *taker(int sig)
{
	if (takes(cur, sig))
		return cur;
	for (struct list_node *n = threads.next; n != &threads; n = n->next) {
		struct thread *t = CONTAINER_OF(n, struct thread, all);

		if (takes(t, sig))
			return t;
	}
	return NULL;
}

/* The default action, taken at once where nobody blocks the signal. */
static void default_action(int sig)
{
	if (STOPS & SIGBIT(sig)) {
		stopped = sig;
		resched = 1;
	} else if (!default_ignores(sig))
		exit_process(sig);
}

static int send(struct thread *t, struct sigqueue *q, int sig, const siginfo_t *info)
{
	int added;

	if (sig == SIGKILL)
		exit_process(SIGKILL);
	if (sig == SIGCONT) {
		stopped = 0;
		signals_discard(STOPS);
	} else if (STOPS & SIGBIT(sig)) {
		signals_discard(SIGBIT(SIGCONT));
	}
	if (t && !(t->sigwait & SIGBIT(sig))) {
		if (signal_ignored(sig))
			return 0;
		if (sigacts[sig].handler == (uint64_t)SIG_DFL) {
			default_action(sig);
			return 0;
		}
	}
	added = enqueue(q, sig, info);
	if (t && t->state == THREAD_WAITING && t->interruptible)
		thread_wake(t, -EINTR);
	poll_wake(); /* signalfd */
	return added;
}

int signal_thread(struct thread *t, int sig, const siginfo_t *info)
{
	return send(takes(t, sig) ? t : NULL, &t->pending, sig, info);
}

int signal_process(int sig, const siginfo_t *info)
{
	return send(taker(sig), &process_pending, sig, info);
}

void signal_fault(const struct fault *fault)
{
	int sig = fault->info.si_signo;
	uint64_t handler = sigacts[sig].handler;

	/* A fault that cannot be handled cannot be ignored or put off either. */
	if (handler == (uint64_t)SIG_DFL || handler == (uint64_t)SIG_IGN || cur->sigmask & SIGBIT(sig))
		exit_crashed(&fault->crash);
	discard(&cur->pending, SIGBIT(sig));
	if (!enqueue(&cur->pending, sig, &fault->info))
		exit_crashed(&fault->crash);
}

void kx_on_clone(void (*handler)(void))
{
	clone_handler = handler;
}

/* Whoever was interrupted calls the handler; if everybody waits, the first who can be woken. */
void signal_clone(void)
{
	clone_taker = NULL;
	if (!clone_handler)
		return;
	clone_taker = cur;
	if (cur->state == THREAD_RUNNABLE)
		return;
	for (struct list_node *n = threads.next; n != &threads; n = n->next) {
		struct thread *t = CONTAINER_OF(n, struct thread, all);

		clone_taker = t;
		if (t->state == THREAD_WAITING && t->interruptible) {
			thread_wake(t, -EINTR);
			return;
		}
	}
}

/* ---- delivery ---- */

int sigmask_borrow(const void *uset, size_t size)
{
	sigmask_t set;

	if (!uset)
		return 0;
	if (size != SIGSET_BYTES)
		return -EINVAL;
	if (copy_in(&set, uset, sizeof(set)))
		return -EFAULT;
	cur->saved_sigmask = cur->sigmask;
	cur->mask_borrowed = 1;
	cur->sigmask = set & ~UNBLOCKABLE;
	return 0;
}

static void give_mask_back(void)
{
	if (cur->mask_borrowed)
		cur->sigmask = cur->saved_sigmask;
	cur->mask_borrowed = 0;
}

static int restarts(const struct frame *f)
{
	/* A futex wait with a timeout would start its time anew. */
	if (f->nr == SYS_futex && f->r8)
		return 0;
	return syscall_restartable(f->nr);
}

/* Makes f call kx_syscall again. */
static void rewind_call(struct frame *f)
{
	const uint8_t *call = (const uint8_t *)f->rip - 5;

	/* At its cancellation point musl looks for the call itself, and cancels instead. */
	if (f->rip > (uint64_t)__cp_begin && f->rip <= (uint64_t)__cp_end && *call == 0xe8) {
		f->rip = (uint64_t)call;
		return;
	}
	f->rip = (uint64_t)kx_syscall;
	f->rsp -= sizeof(uint64_t); /* its return address is still there */
}

static void call_handler(struct frame *f, int sig, struct sigact *act, const siginfo_t *info)
{
	struct sigact a = *act;
	sigmask_t mask = cur->mask_borrowed ? cur->saved_sigmask : cur->sigmask;

	cur->mask_borrowed = 0;
	if (f->nr >= 0 && (int64_t)f->rax == -EINTR && a.flags & SA_RESTART && restarts(f))
		rewind_call(f);
	f->nr = FRAME_UPCALL;
	if (a.flags & SA_RESETHAND)
		act->handler = (uint64_t)SIG_DFL;
	if (sigframe_push(f, sig, &a, info, mask)) {
		klog("kx: no stack for the handler of signal %d", sig);
		exit_process(SIGSEGV);
	}
	cur->sigmask |= a.mask | (a.flags & SA_NODEFER ? 0 : SIGBIT(sig));
	cur->sigmask &= ~UNBLOCKABLE;
}

static void call_clone_handler(struct frame *f)
{
	struct sigact act = {.handler = (uint64_t)clone_handler, .flags = SA_RESTART | SA_NODEFER};
	const siginfo_t none = {0};

	clone_taker = NULL;
	call_handler(f, 0, &act, &none);
}

/* Delivers one signal; 0 if none is due. */
static int deliver(struct frame *f)
{
	siginfo_t info;
	int sig;

	if (clone_taker == cur) {
		call_clone_handler(f);
		return 1;
	}
	sig = signal_take(~cur->sigmask, &info);
	if (!sig)
		return 0;
	if (sigacts[sig].handler == (uint64_t)SIG_DFL)
		default_action(sig);
	else if (sigacts[sig].handler != (uint64_t)SIG_IGN)
		call_handler(f, sig, &sigacts[sig], &info);
	return 1;
}

int leave_pending(void)
{
	return stopped || resched || cur->mask_borrowed || signal_pending();
}

void leave_work(struct frame *f)
{
	int interrupted = f->nr < 0; /* the CPU holds vector state that the program will miss */

	do {
		while (stopped || resched || deliver(f)) {
			if (!stopped && !resched)
				continue;
			if (interrupted)
				preempt();
			else
				yield();
			resched = 0;
		}
		give_mask_back();
	} while (signal_pending());
	if (timer_new)
		timer_arm();
}

long sys_rt_sigreturn(void)
{
	struct frame *f = thread_frame(cur);
	sigmask_t mask;

	if (sigframe_pop(f, &mask)) {
		klog("kx: a signal handler left no valid context to return to");
		exit_process(SIGSEGV);
	}
	cur->sigmask = mask & ~UNBLOCKABLE;
	f->nr = FRAME_UPCALL;
	return 0;
}

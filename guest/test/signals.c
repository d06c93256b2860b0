/* signals.c: tests of signals. */
#include "test.h"

#include <setjmp.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile sig_atomic_t got, times, depth, max_depth;
static volatile siginfo_t info;
static sigjmp_buf back;

static void note(int sig)
{
	got = sig;
	times++;
}

static void note_info(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	got = sig;
	info = *si;
	times++;
}

static void on_info(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};

	got = times = 0;
	EQ(sigaction(sig, &sa, NULL), 0);
}

static void block(int sig, int how)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, sig);
	EQ(sigprocmask(how, &s, NULL), 0);
}

static void tick(long us)
{
	struct itimerval it = {{0, us}, {0, us}};

	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
}

void test_signal_raise(void)
{
	for (int sig = 1; sig <= 31; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		got = 0;
		on_signal(sig, note, 0);
		EQ(raise(sig), 0);
		EQ(got, sig);
		signal(sig, SIG_DFL);
	}
	on_signal(SIGRTMIN + 3, note, 0);
	EQ(kill(getpid(), SIGRTMIN + 3), 0);
	EQ(got, SIGRTMIN + 3);
}

void test_signal_info(void)
{
	union sigval v = {.sival_int = 1234};

	on_info(SIGUSR1, note_info, 0);
	EQ(kill(getpid(), SIGUSR1), 0);
	EQ(info.si_signo, SIGUSR1);
	EQ(info.si_code, SI_USER);
	EQ(info.si_pid, getpid());
	EQ(sigqueue(getpid(), SIGUSR1, v), 0);
	EQ(info.si_code, SI_QUEUE);
	EQ(info.si_value.sival_int, 1234);
	EQ(raise(SIGUSR1), 0);
	EQ(info.si_code, SI_TKILL);
	EQ(times, 3);
}

void test_signal_mask(void)
{
	sigset_t s, old;

	on_signal(SIGUSR1, note, 0);
	got = 0;
	block(SIGUSR1, SIG_BLOCK);
	EQ(raise(SIGUSR1), 0);
	EQ(got, 0);
	block(SIGUSR1, SIG_UNBLOCK);
	EQ(got, SIGUSR1);
	sigfillset(&s);
	EQ(sigprocmask(SIG_SETMASK, &s, &old), 0);
	EQ(sigismember(&old, SIGUSR1), 0);
	EQ(sigprocmask(SIG_SETMASK, &old, &s), 0);
	EQ(sigismember(&s, SIGUSR2), 1);
	EQ(sigismember(&s, SIGKILL), 0);
}

void test_signal_pending(void)
{
	sigset_t s;

	on_signal(SIGUSR1, note, 0);
	times = 0;
	block(SIGUSR1, SIG_BLOCK);
	EQ(raise(SIGUSR1), 0);
	EQ(raise(SIGUSR1), 0);
	EQ(sigpending(&s), 0);
	EQ(sigismember(&s, SIGUSR1), 1);
	EQ(sigismember(&s, SIGUSR2), 0);
	block(SIGUSR1, SIG_UNBLOCK);
	EQ(times, 1); /* twice is once */
	EQ(sigpending(&s), 0);
	EQ(sigismember(&s, SIGUSR1), 0);
}

static void nest(int sig)
{
	depth++;
	max_depth = depth > max_depth ? depth : max_depth;
	if (++times < 5)
		raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1);
	depth--;
}

void test_signal_nested(void)
{
	struct sigaction sa = {.sa_handler = nest};

	times = depth = max_depth = 0;
	on_signal(SIGUSR1, nest, 0);
	on_signal(SIGUSR2, nest, 0);
	raise(SIGUSR1);
	EQ(max_depth, 2);
	EQ(times, 5);
	times = max_depth = 0;
	sigaddset(&sa.sa_mask, SIGUSR1);
	sigaddset(&sa.sa_mask, SIGUSR2);
	EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	EQ(sigaction(SIGUSR2, &sa, NULL), 0);
	raise(SIGUSR1);
	EQ(max_depth, 1); /* sa_mask holds the other one back */
}

static void again(int sig)
{
	depth++;
	max_depth = depth > max_depth ? depth : max_depth;
	if (++times < 4)
		raise(sig);
	depth--;
}

void test_signal_nodefer(void)
{
	times = depth = max_depth = 0;
	on_signal(SIGUSR1, again, SA_NODEFER);
	raise(SIGUSR1);
	EQ(max_depth, 4);
	times = max_depth = 0;
	on_signal(SIGUSR1, again, 0);
	raise(SIGUSR1);
	EQ(max_depth, 1);
	EQ(times, 4);
}

void test_signal_resethand(void)
{
	struct sigaction sa;

	on_signal(SIGUSR1, note, SA_RESETHAND);
	raise(SIGUSR1);
	EQ(sigaction(SIGUSR1, NULL, &sa), 0);
	CHECK(sa.sa_handler == SIG_DFL);
}

void test_signal_ignored(void)
{
	on_signal(SIGTERM, SIG_IGN, 0);
	EQ(raise(SIGTERM), 0);
	EQ(raise(SIGCHLD), 0);  /* ignored by default */
	EQ(raise(SIGWINCH), 0);
	EQ(raise(SIGURG), 0);
	block(SIGUSR1, SIG_BLOCK);
	raise(SIGUSR1);
	on_signal(SIGUSR1, SIG_IGN, 0); /* discards what is pending */
	on_signal(SIGUSR1, note, 0);
	got = 0;
	block(SIGUSR1, SIG_UNBLOCK);
	EQ(got, 0);
	signal(SIGTERM, SIG_DFL);
}

static volatile int order[10], order_n;

static void note_order(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	if (order_n < 10)
		order[order_n++] = (sig - SIGRTMIN) * 100 + si->si_value.sival_int;
}

void test_signal_queue(void)
{
	union sigval v;

	order_n = 0;
	for (int i = 0; i < 3; i++) {
		on_info(SIGRTMIN + i, note_order, 0);
		block(SIGRTMIN + i, SIG_BLOCK);
	}
	for (int k = 0; k < 2; k++)
		for (int i = 2; i >= 0; i--) {
			v.sival_int = k;
			EQ(sigqueue(getpid(), SIGRTMIN + i, v), 0);
		}
	for (int i = 0; i < 3; i++)
		block(SIGRTMIN + i, SIG_UNBLOCK);
	EQ(order_n, 6);
	for (int i = 0; i < 6; i++)
		EQ(order[i], i / 2 * 100 + i % 2);
}

void test_signal_suspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	on_signal(SIGALRM, note, 0);
	block(SIGALRM, SIG_BLOCK);
	got = 0;
	struct itimerval it = {{0, 0}, {0, 20000}};

	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	FAILS(sigsuspend(&none), EINTR);
	EQ(got, SIGALRM);
	got = 0;
	raise(SIGALRM);
	EQ(got, 0); /* blocked again */
	FAILS(sigsuspend(&none), EINTR);
}

void test_signal_wait(void)
{
	struct timespec ts = {0, 10000000};
	siginfo_t si;
	sigset_t s;
	int sig;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	EQ(sigprocmask(SIG_BLOCK, &s, NULL), 0);
	FAILS(sigtimedwait(&s, &si, &ts), EAGAIN);
	raise(SIGUSR1);
	EQ(sigtimedwait(&s, &si, &ts), SIGUSR1);
	EQ(si.si_signo, SIGUSR1);
	raise(SIGUSR1);
	EQ(sigwait(&s, &sig), 0);
	EQ(sig, SIGUSR1);
	sigaddset(&s, SIGALRM);
	EQ(sigprocmask(SIG_BLOCK, &s, NULL), 0);
	struct itimerval it = {{0, 0}, {0, 10000}};

	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	EQ(sigwaitinfo(&s, &si), SIGALRM);
}

static char alt[65536];
static volatile bool on_alt;

static void where(int sig)
{
	char here;

	got = sig;
	on_alt = &here >= alt && &here < alt + sizeof(alt);
}

void test_signal_altstack(void)
{
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)}, old;

	EQ(sigaltstack(&ss, NULL), 0);
	on_signal(SIGUSR1, where, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(on_alt);
	on_signal(SIGUSR1, where, 0);
	raise(SIGUSR1);
	CHECK(!on_alt);
	EQ(sigaltstack(NULL, &old), 0);
	CHECK(old.ss_sp == alt && old.ss_size == sizeof(alt));
	ss.ss_size = 100;
	FAILS(sigaltstack(&ss, NULL), ENOMEM);
	ss.ss_flags = 99;
	FAILS(sigaltstack(&ss, NULL), EINVAL);
	ss.ss_flags = SS_DISABLE;
	EQ(sigaltstack(&ss, NULL), 0);
}

static void jump(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	got = sig;
	info = *si;
	siglongjmp(back, 1);
}

void test_signal_segv(void)
{
	for (int i = 0; i < 50; i++) {
		on_info(SIGSEGV, jump, 0);
		if (!sigsetjmp(back, 1)) {
			*(volatile int *)(uintptr_t)(8 * i) = 1;
			CHECK(!"survived");
		}
		EQ(got, SIGSEGV);
		EQ((uintptr_t)info.si_addr, 8 * i);
		EQ(info.si_code, SEGV_MAPERR);
	}
}

void test_signal_fpe(void)
{
	volatile int zero = 0, x = 5;

	on_info(SIGFPE, jump, 0);
	if (!sigsetjmp(back, 1)) {
		x = 1000 / zero;
		CHECK(!"survived");
	}
	EQ(got, SIGFPE);
	EQ(info.si_code, FPE_INTDIV);
	(void)x;
}

void test_signal_ill(void)
{
	on_info(SIGILL, jump, 0);
	if (!sigsetjmp(back, 1)) {
		__asm__ volatile("ud2");
		CHECK(!"survived");
	}
	EQ(got, SIGILL);
	on_info(SIGTRAP, note_info, 0);
	__asm__ volatile("int3");
	EQ(got, SIGTRAP);
}

static void jump_plain(int sig)
{
	got = sig;
	siglongjmp(back, 1);
}

void test_signal_jump(void)
{
	sigset_t s;

	for (int i = 0; i < 100; i++) {
		on_signal(SIGUSR1, jump_plain, 0);
		if (!sigsetjmp(back, 1))
			raise(SIGUSR1);
		EQ(sigprocmask(SIG_BLOCK, NULL, &s), 0);
		EQ(sigismember(&s, SIGUSR1), 0);
	}
}

/* Into a loop that never calls the kernel. */
void test_signal_spin(void)
{
	on_signal(SIGALRM, note, 0);
	times = 0;
	tick(2000);
	while (times < 20)
		;
	tick(0);
	got = 0;
}

static void clobber(int sig)
{
	volatile double x = sig;

	__asm__ volatile(
		"pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15"
		: : : "xmm0", "xmm1", "xmm7", "xmm15");
	times += x > 0;
}

/* Vector registers and flags are as they were, whenever the signal comes. */
void test_signal_vectors(void)
{
	uint64_t in[4] = {0x1122334455667788, 0x99aabbccddeeff00, 0x0f1e2d3c4b5a6978, 0x8796a5b4c3d2e1f0};
	uint64_t out[4];

	on_signal(SIGALRM, clobber, 0);
	times = 0;
	tick(1000);
	while (times < 30) {
		__asm__ volatile(
			"movdqu (%1), %%xmm0; movdqu 16(%1), %%xmm1; movdqa %%xmm0, %%xmm7; movdqa %%xmm1, %%xmm15\n"
			"mov $200000, %%ecx\n"
			"1: dec %%ecx; jnz 1b\n"
			"pand %%xmm7, %%xmm0; pand %%xmm15, %%xmm1\n"
			"movdqu %%xmm0, (%0); movdqu %%xmm1, 16(%0)"
			: : "r"(out), "r"(in) : "ecx", "memory", "xmm0", "xmm1", "xmm7", "xmm15");
		for (int i = 0; i < 4; i++)
			EQ(out[i], in[i]);
	}
	tick(0);
}

void test_signal_eintr(void)
{
	int p[2];
	char c;

	EQ(pipe(p), 0);
	on_signal(SIGALRM, note, 0);
	struct itimerval it = {{0, 20000}, {0, 20000}}, none = {{0, 0}, {0, 0}}; /* again: the first may come before the call */

	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	FAILS(read(p[0], &c, 1), EINTR);
	FAILS(pause(), EINTR);
	EQ(setitimer(ITIMER_REAL, &none, NULL), 0);
}

static int restart_fd;

static void feed(int sig)
{
	(void)sig;
	times++;
	if (write(restart_fd, "x", 1) != 1)
		times = 100;
}

void test_signal_restart(void)
{
	int p[2];
	char c = 0;

	EQ(pipe(p), 0);
	restart_fd = p[1];
	times = 0;
	on_signal(SIGALRM, feed, SA_RESTART);
	struct itimerval it = {{0, 0}, {0, 20000}};

	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	EQ(read(p[0], &c, 1), 1);
	EQ(c, 'x');
	EQ(times, 1);
}

static void step_over(int sig, siginfo_t *si, void *p)
{
	ucontext_t *uc = p;

	(void)si;
	got = sig;
	uc->uc_mcontext.gregs[REG_RIP] += 2; /* the length of ud2 */
	uc->uc_mcontext.gregs[REG_RAX] = 77;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

/* What the handler writes to the context is what the program goes on with. */
void test_signal_context(void)
{
	long rax = 1;
	sigset_t s;

	on_info(SIGILL, step_over, 0);
	__asm__ volatile("ud2" : "+a"(rax));
	EQ(rax, 77);
	EQ(sigprocmask(SIG_BLOCK, NULL, &s), 0);
	EQ(sigismember(&s, SIGUSR2), 1);
}

void test_signal_errors(void)
{
	struct sigaction sa = {.sa_handler = note};

	FAILS(sigaction(SIGKILL, &sa, NULL), EINVAL);
	FAILS(sigaction(SIGSTOP, &sa, NULL), EINVAL);
	FAILS(sigaction(100, &sa, NULL), EINVAL);
	FAILS(kill(getpid(), 100), EINVAL);
	EQ(kill(getpid(), 0), 0);
	FAILS(kill(0x3ffffff, SIGTERM), ESRCH);
	FAILS(syscall(SYS_rt_sigprocmask, 99, &sa, NULL, 8), EINVAL);
	FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &sa, NULL, 7), EINVAL);
	FAILS(syscall(SYS_tgkill, getpid(), 0x3ffffff, SIGTERM), ESRCH);
}

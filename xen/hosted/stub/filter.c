/*
 * filter.c: the boundary. What a domain's process may ask of the kernel, number and arguments,
 * whoever asks: the guest can reach the stub's system call instruction.
 *
 * A call from outside the stub never passes. It raises SIGSYS, so that the report tells where the
 * guest was; a call from inside with other arguments than the stub's own kills at once.
 */
#include "stub.h"
#include "sys.h"

#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/time.h>

#define LOAD(off) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off)
#define EQ(v, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, v, t, f)
#define GE(v, t, f) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, v, t, f)
#define AND(v) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, v)
#define SKIP(n) BPF_STMT(BPF_JMP | BPF_JA, n)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define TRAP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)

#define NR offsetof(struct seccomp_data, nr)
#define ARCH offsetof(struct seccomp_data, arch)
#define IP_LOW offsetof(struct seccomp_data, instruction_pointer)
#define IP_HIGH (IP_LOW + 4)
#define LOW(i) (offsetof(struct seccomp_data, args) + 8 * (i))
#define HIGH(i) (LOW(i) + 4)

/* A rule: n instructions, skipped for other numbers. They end in ALLOW or KILL. */
#define RULE(nr, n) EQ(nr, 0, n)
#define RULE_ANY(nr) EQ(nr, 0, 1), ALLOW

/* Checks of one argument, each 3 instructions (4 with a second value): go on or KILL. */
#define IS(i, v) LOAD(LOW(i)), EQ(v, 1, 0), KILL
#define IS_EITHER(i, v, w) LOAD(LOW(i)), EQ(v, 2, 0), EQ(w, 1, 0), KILL
#define HIGH_BELOW(i, v) LOAD(HIGH(i)), GE(v, 0, 1), KILL
#define HIGH_IS(i, v) LOAD(HIGH(i)), EQ(v, 1, 0), KILL

/* Nothing, r, rw or rx: never both writable and executable. 6 instructions. */
#define IS_PROT(i) \
	LOAD(LOW(i)), EQ(PROT_NONE, 4, 0), EQ(PROT_READ, 3, 0), EQ(PROT_READ | PROT_WRITE, 2, 0), \
		EQ(PROT_READ | PROT_EXEC, 1, 0), KILL

/* Address i and length i + 1 stay below the stub: 16 TiB above KX_RAM_END are free. 6 instructions. */
#define IS_BELOW_STUB(i) HIGH_BELOW(i, KX_RAM_END >> 32), HIGH_BELOW((i) + 1, 0x1000)
_Static_assert(KX_RAM_END + 0x100000000000 < STUB_BASE, "a mapping can reach the stub");

#define STATE_LOW (STUB_STATE_VA & 0xffffffff)

static const struct sock_filter program[] = {
	LOAD(ARCH), EQ(AUDIT_ARCH_X86_64, 1, 0), KILL,
	LOAD(IP_HIGH), EQ(STUB_BASE >> 32, 1, 0), TRAP,
	LOAD(IP_LOW), GE(STATE_LOW, 0, 1), TRAP,
	LOAD(NR),
	RULE_ANY(__NR_rt_sigreturn),
	RULE_ANY(__NR_exit_group),
	RULE_ANY(__NR_sched_yield),
	/* the words of the state page, of the control area and of the family area only; who waits for two may wait for any of its own */
	RULE(__NR_futex, 18), IS_EITHER(1, FUTEX_WAIT, FUTEX_WAKE),
	LOAD(HIGH(0)), EQ(STUB_STATE_VA >> 32, 0, 5),
	LOAD(LOW(0)), GE(STATE_LOW, 0, 2), GE(STATE_LOW + STUB_STATE_SIZE, 1, 0), ALLOW, KILL,
	EQ(0, 1, 0), KILL,
	LOAD(LOW(0)), GE(KX_CONTROL_VA, 0, 2), GE(KX_FAMILY_VA + KX_FAMILY_PAGES * KX_PAGE_SIZE, 1, 0), ALLOW, KILL,
	RULE(NR_FUTEX_WAITV, 7), IS(1, 2), IS(2, 0), ALLOW,
	RULE(__NR_setitimer, 4), IS(0, 0 /* ITIMER_REAL */), ALLOW,
	RULE(__NR_clock_gettime, 5), IS_EITHER(0, CLOCK_MONOTONIC, CLOCK_REALTIME), ALLOW,
	RULE(__NR_write, 10), IS(0, STUB_FD_BELL), IS(2, 1), HIGH_IS(2, 0), ALLOW,
	RULE(__NR_mprotect, 13), IS_BELOW_STUB(0), IS_PROT(2), ALLOW,
	RULE(__NR_arch_prctl, 4), IS(0, ARCH_SET_FS), ALLOW,
	RULE(__NR_recvmsg, 4), IS(0, STUB_FD_SOCK), ALLOW,
	/* its files, below the stub, touched at once or not; the state page only at its place */
	RULE(__NR_mmap, 37),
	IS_PROT(2), LOAD(LOW(3)), AND(~MAP_POPULATE), EQ(MAP_SHARED | MAP_FIXED, 2, 0), EQ(MAP_PRIVATE | MAP_FIXED, 1, 0), KILL,
	LOAD(HIGH(0)), EQ(STUB_STATE_VA >> 32, 0, 10),
	IS(0, STATE_LOW), IS(1, STUB_STATE_SIZE), HIGH_IS(1, 0), SKIP(6),
	IS_BELOW_STUB(0),
	LOAD(LOW(4)), EQ(STUB_FD_CTL, 5, 0), EQ(STUB_FD_RAM, 4, 0), EQ(STUB_FD_IMAGE, 3, 0), EQ(STUB_FD_CONTROL, 2, 0),
	GE(STUB_FD_FAMILY, 1, 0), /* or a library's: higher numbers have nothing else that can be mapped */
	KILL, ALLOW,
	/* all but what tells a later engine which domain it is */
	RULE(__NR_close, 5), LOAD(LOW(0)), EQ(STUB_FD_SOCK, 2, 0), GE(STUB_FD_CONTROL, 1, 0), KILL, ALLOW,
	/* fork.c; filter_listen asks the engine as well. The zygote's word in argument 4 is not for domains. */
	RULE(__NR_clone, 13), IS(0, CLONE_PARENT | SIGCHLD), HIGH_IS(0, 0), IS(1, 0), IS(4, 0), ALLOW,
	RULE_ANY(__NR_rt_sigprocmask), /* its own signals */
	RULE(__NR_prlimit64, 10), IS(0, 0), IS(1, RLIMIT_DATA), IS(3, 0), ALLOW, /* only downwards: it has no rights */
	RULE(__NR_dup2, 10),
	LOAD(LOW(1)), EQ(STUB_FD_SOCK, 7, 0), EQ(STUB_FD_CTL, 6, 0), EQ(STUB_FD_BELL, 5, 0), EQ(STUB_FD_TAG, 4, 0),
	EQ(STUB_FD_CONTROL, 3, 0), EQ(STUB_FD_ENGINE, 2, 0), EQ(STUB_FD_FAMILY, 1, 0), KILL, ALLOW,
	RULE(__NR_prctl, 4), IS(0, PR_SET_NAME), ALLOW,
	KILL,
};

static long install(const struct sock_filter *filter, uint16_t len, uint32_t flags)
{
	struct {
		uint16_t len;
		const struct sock_filter *filter;
	} p = {len, filter};

	return sys(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

/*
 * The zygote has this one beside; what it says is that a process may be made when the engine says so, each single one, or when
 * it is the zygote that makes it. Of two filters that have something against a call the stricter one counts.
 */
static const struct sock_filter listener[] = {
	LOAD(NR), EQ(__NR_clone, 1, 0), ALLOW,
	LOAD(LOW(4)), EQ(ZYGOTE_CLONES, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF), ALLOW,
};

long filter_listen(void)
{
	return install(listener, sizeof listener / sizeof listener[0], SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

long filter_install(void)
{
	return install(program, sizeof program / sizeof program[0], 0);
}

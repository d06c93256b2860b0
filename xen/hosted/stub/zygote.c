/*
 * zygote.c: the first process of an engine's stubs. It enters the sandbox once and then makes
 * blanks: copies of itself, children of the engine. It ends when the engine has gone.
 */
#include "stub.h"
#include "sys.h"

#include <linux/auxvec.h>
#include <linux/sched.h>

#define HWCAP2_FSGSBASE 2
#define USER_TOP 0x7ffffffff000 /* end of the user's half of the address space */

int has_fsgsbase;

static uint64_t auxv_get(const uint64_t *auxv, uint64_t key)
{
	for (; auxv[0]; auxv += 2) {
		if (auxv[0] == key)
			return auxv[1];
	}
	return 0;
}

/*
 * Everything but the stub goes: stack, vdso, vvar, heap. Only the pages of our one argument stay,
 * which ps reads.
 */
static void unmap_rest(const char *arg)
{
	const char *end = arg;
	uint64_t start = (uint64_t)arg & ~(KX_PAGE_SIZE - 1UL);

	while (*end)
		end++;
	sys(__NR_munmap, KX_PAGE_SIZE, STUB_BASE - KX_PAGE_SIZE);
	sys(__NR_munmap, STUB_END, start - STUB_END);
	start = ((uint64_t)end + KX_PAGE_SIZE) & ~(KX_PAGE_SIZE - 1UL);
	sys(__NR_munmap, start, USER_TOP - start);
}

/*
 * The files of a new stub arrive with the request, on the numbers they are to have: lower ones
 * are free, and the kernel gives the lowest.
 */
static long receive_request(void)
{
	uint32_t op = 0;

	return receive(STUB_FD_ZYGOTE, &op, sizeof op) == sizeof op ? (long)op : -1;
}

static void reply(int32_t pid, uint32_t namespaces, uint32_t identity)
{
	struct zygote_reply r = {pid, namespaces, identity, 0};

	sys(__NR_sendto, STUB_FD_ZYGOTE, &r, sizeof r, 0x4000 /* MSG_NOSIGNAL */);
}

/* The engine takes the descriptor from here. A kernel that has no such thing (before 5.5) forks domains once only. */
static void listen_for_clones(void)
{
	long fd = filter_listen();

	if (fd < 0)
		return;
	sys(__NR_dup2, fd, STUB_FD_LISTENER);
	sys(__NR_close, fd);
}

static void close_below(int end)
{
	sys(__NR_close_range, 0, end - 1, 0);
}

__attribute__((used)) _Noreturn void zygote_main(uint64_t *sp)
{
	char *arg = (char *)sp[1];
	const uint64_t *auxv = sp + 1 + sp[0] + 1;
	uint64_t none = 0;
	uint32_t namespaces, identity = 0;

	while (*auxv++) /* the environment */
		;
	has_fsgsbase = auxv_get(auxv, AT_HWCAP2) & HWCAP2_FSGSBASE;
	close_below(STUB_FD_ZYGOTE);
	sys(__NR_close_range, STUB_FD_ZYGOTE + 1, ~0U, 0);
	title_init(arg);
	unmap_rest(arg);
	sys(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
	signals_install();
	namespaces = sandbox_enter(&identity);
	listen_for_clones();
	title_set("kx-zygote");
	reply(0, namespaces, identity);
	while (receive_request() == ZYGOTE_SPAWN) {
		long pid = sys(__NR_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, ZYGOTE_CLONES);

		if (pid == 0) {
			sys(__NR_close, STUB_FD_ZYGOTE);
			blank_main();
		}
		close_below(STUB_FD_ZYGOTE);
		reply(pid, 0, 0);
	}
	die(0);
}

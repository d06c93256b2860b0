/* sandbox.c: what the zygote gives up once for all domains, and each blank for itself. */
#include "stub.h"
#include "sys.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>

static int has_capability(int cap)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {0};

	return sys(__NR_capget, &h, d) == 0 && d[cap / 32].effective & 1U << cap % 32;
}

static void capabilities_drop(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {0};

	sys(__NR_capset, &h, d);
}

/*
 * All namespaces but that of PIDs: a PID namespace dies with its first process, and domains
 * outlive engine and zygote.
 */
static uint32_t namespaces_enter(void)
{
	static const uint32_t each[] = {CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWCGROUP};
	uint32_t entered = 0;

	if (!has_capability(CAP_SYS_ADMIN) && sys(__NR_unshare, CLONE_NEWUSER) == 0)
		entered |= CLONE_NEWUSER;
	for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
		if (sys(__NR_unshare, each[i]) == 0)
			entered |= each[i];
	}
	return entered;
}

/*
 * Gives up root. Not where the engine could not look into /proc/PID/fd of another identity: it
 * could not take its domains over after a crash.
 */
static uint32_t identity_drop(void)
{
	static const uint32_t ids[] = {STUB_UID, STUB_NOBODY};

	if (sys(__NR_geteuid) != 0 || !has_capability(CAP_SYS_PTRACE) || !has_capability(CAP_SETUID))
		return 0;
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		if (sys(__NR_setgroups, 0, 0) == 0 && sys(__NR_setresgid, ids[i], ids[i], ids[i]) == 0 &&
		    sys(__NR_setresuid, ids[i], ids[i], ids[i]) == 0)
			return ids[i];
	}
	return 0;
}

static void limit(int what, uint64_t n)
{
	struct {
		uint64_t soft, hard;
	} l = {n, n};

	sys(__NR_prlimit64, 0, what, &l, 0);
}

/* What a domain's process may have of private memory: for good, it has no right to raise it. */
void limit_data(uint64_t bytes)
{
	limit(RLIMIT_DATA, bytes);
}

uint32_t sandbox_enter(uint32_t *identity)
{
	uint32_t entered = namespaces_enter();

	*identity = identity_drop();
	capabilities_drop();
	sys(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1);
	sys(__NR_prctl, PR_SET_DUMPABLE, 1); /* the engine reopens our files through /proc */
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_NOFILE, 24 + KX_LIBRARIES);
	limit(RLIMIT_MEMLOCK, 0);
	limit(RLIMIT_MSGQUEUE, 0);
	limit(RLIMIT_STACK, 65536); /* what is left of it holds the title */
	return entered;
}


/* identity.c: who the process is: a member of a group and a session, and root in its own machine. */
#include <sys/utsname.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "process.h"

#define OVERFLOW_ID ((uint32_t)-1) /* "leave it as it is" */
#define GROUPS_MAX 32

static uint32_t uids[3], gids[3]; /* real, effective, saved */
static uint32_t groups[GROUPS_MAX];
static size_t group_count;

long sys_getpid(void)
{
	return own_pid;
}

long sys_getppid(void)
{
	return control->ppid;
}

/* The engine knows who is in which group: it is who reaches them. */
static long group_call(long pid, uint64_t what, long group)
{
	pid = (int)pid;
	return pid < 0 || child_waited((int)pid) ? -ESRCH : engine_call(KX_CALL_GROUP, 0, (uint64_t)pid, what, (uint64_t)group);
}

int process_group(int pid)
{
	return (int)group_call(pid, KX_GROUP_OF, 0);
}

int process_session(void)
{
	return (int)group_call(0, KX_GROUP_SESSION, 0);
}

int group_check(int group)
{
	long r = engine_call(KX_CALL_KILL, 0, (uint64_t)group, 0, 1);

	return r < 0 ? (int)r : 0;
}

long sys_getpgrp(void)
{
	return process_group(0);
}

long sys_getpgid(long pid)
{
	return process_group((int)pid);
}

long sys_getsid(long pid)
{
	return group_call(pid, KX_GROUP_SESSION, 0);
}

long sys_setpgid(long pid, long pgid)
{
	pgid = (int)pgid;
	return pgid < 0 ? -EINVAL : group_call(pid, KX_GROUP_JOIN, pgid);
}

long sys_setsid(void)
{
	return group_call(0, KX_GROUP_LEAVE, 0);
}

/* ---- users and groups ---- */

long sys_getuid(void)
{
	return uids[0];
}

long sys_geteuid(void)
{
	return uids[1];
}

long sys_getgid(void)
{
	return gids[0];
}

long sys_getegid(void)
{
	return gids[1];
}

static long get_ids(const uint32_t *ids, long r, long e, long s)
{
	if (copy_out((void *)r, &ids[0], sizeof(*ids)) || copy_out((void *)e, &ids[1], sizeof(*ids)))
		return -EFAULT;
	return copy_out((void *)s, &ids[2], sizeof(*ids));
}

long sys_getresuid(long r, long e, long s)
{
	return get_ids(uids, r, e, s);
}

long sys_getresgid(long r, long e, long s)
{
	return get_ids(gids, r, e, s);
}

static int allowed(const uint32_t *ids, uint32_t id)
{
	return id == OVERFLOW_ID || !uids[1] || id == ids[0] || id == ids[1] || id == ids[2];
}

static long set_ids(uint32_t *ids, uint32_t r, uint32_t e, uint32_t s)
{
	const uint32_t want[3] = {r, e, s};

	for (int i = 0; i < 3; i++)
		if (!allowed(ids, want[i]))
			return -EPERM;
	for (int i = 0; i < 3; i++)
		if (want[i] != OVERFLOW_ID)
			ids[i] = want[i];
	return 0;
}

/* Root changes all three, others only the effective one. */
static long set_id(uint32_t *ids, uint32_t id)
{
	if (id == OVERFLOW_ID)
		return -EINVAL;
	return uids[1] ? set_ids(ids, OVERFLOW_ID, id, OVERFLOW_ID) : set_ids(ids, id, id, id);
}

static long set_re(uint32_t *ids, uint32_t r, uint32_t e)
{
	uint32_t saved = r != OVERFLOW_ID || (e != OVERFLOW_ID && e != ids[0]) ? (e != OVERFLOW_ID ? e : ids[1]) : OVERFLOW_ID;

	if (!allowed(ids, r) || !allowed(ids, e))
		return -EPERM;
	if (r != OVERFLOW_ID)
		ids[0] = r;
	if (e != OVERFLOW_ID)
		ids[1] = e;
	if (saved != OVERFLOW_ID)
		ids[2] = saved;
	return 0;
}

long sys_setuid(long id)
{
	return set_id(uids, (uint32_t)id);
}

long sys_setgid(long id)
{
	return set_id(gids, (uint32_t)id);
}

long sys_setreuid(long r, long e)
{
	return set_re(uids, (uint32_t)r, (uint32_t)e);
}

long sys_setregid(long r, long e)
{
	return set_re(gids, (uint32_t)r, (uint32_t)e);
}

long sys_setresuid(long r, long e, long s)
{
	return set_ids(uids, (uint32_t)r, (uint32_t)e, (uint32_t)s);
}

long sys_setresgid(long r, long e, long s)
{
	return set_ids(gids, (uint32_t)r, (uint32_t)e, (uint32_t)s);
}

long sys_getgroups(long n, long out)
{
	if (n < 0 || (n && (size_t)n < group_count))
		return -EINVAL;
	if (n && copy_out((void *)out, groups, group_count * sizeof(*groups)))
		return -EFAULT;
	return (long)group_count;
}

long sys_setgroups(long n, long in)
{
	uint32_t want[GROUPS_MAX];

	if (uids[1])
		return -EPERM;
	if (n < 0 || n > GROUPS_MAX)
		return -EINVAL;
	if (copy_in(want, (void *)in, n * sizeof(*want)))
		return -EFAULT;
	memcpy(groups, want, n * sizeof(*want));
	group_count = n;
	return 0;
}

uint32_t effective_uid(void)
{
	return uids[1];
}

uint32_t effective_gid(void)
{
	return gids[1];
}

bool in_group(uint32_t gid)
{
	for (size_t i = 0; i < group_count; i++)
		if (groups[i] == gid)
			return true;
	return gid == gids[1];
}

/* ---- the machine ---- */

const struct utsname system_name = {
	.sysname = "Linux", .release = "5.10.0-kxsh", .version = "kxsh LibOS", .machine = "x86_64"};

long sys_uname(long out)
{
	struct utsname u = system_name;

	strcpy_max(u.nodename, (const char *)control->name, sizeof(u.nodename));
	strcpy_max(u.domainname, "(none)", sizeof(u.domainname));
	return copy_out((void *)out, &u, sizeof(u));
}

#define SYSINFO_SIZE 112 /* of the kernel's struct; musl's has reserved room behind it */

long sys_sysinfo(long out)
{
	struct sysinfo si = {.mem_unit = 1};
	struct mem_info mi;

	mem_info(&mi);
	si.uptime = (now_ns() - boot_ns) / NSEC;
	si.totalram = mi.total * PAGE_SIZE;
	si.freeram = mi.free * PAGE_SIZE;
	si.procs = (unsigned short)thread_count;
	return copy_out((void *)out, &si, SYSINFO_SIZE);
}

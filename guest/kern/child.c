/* child.c: the children of this pVM: what became of them, and waiting for it. */
#include <sys/resource.h>
#include <sys/wait.h>

#include "bell.h"
#include "process.h"

#define STOPPED 0x7f      /* low byte of a status word */
#define CONTINUED 0xffff  /* a status word */
#define KNOWN_OPTIONS (WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | 0xe0000000L /* __WALL and the like */)

struct child {
	struct list_node node;
	int pid;
	int dead;
	int news;  /* status is worth a report */
	int early; /* it has told its end itself, and the engine has not */
	int over;  /* nobody wants to know any more */
	uint32_t status;
	int64_t cpu_ns;
};

static struct list_node children = {&children, &children};
static struct waitq child_q = WAITQ_INIT(child_q);
static int parent_once;   /* there may be relatives */
static int64_t reaped_ns; /* CPU time of those that were waited for */
static int ending;        /* so many are early */

static struct child *find(int pid)
{
	for (struct list_node *n = children.next; n != &children; n = n->next) {
		struct child *c = CONTAINER_OF(n, struct child, node);

		if (c->pid == pid)
			return c;
	}
	return NULL;
}

struct child *child_new(void)
{
	return kzalloc(sizeof(struct child));
}

void child_born(struct child *c, int pid)
{
	parent_once = 1;
	c->pid = pid;
	list_add_tail(&children, &c->node);
}

int64_t children_cpu_ns(void)
{
	return reaped_ns;
}

static void forget(struct child *c)
{
	list_del(&c->node);
	kfree(c);
}

void children_forked(void)
{
	while (!list_empty(&children))
		forget(CONTAINER_OF(children.next, struct child, node));
	reaped_ns = 0;
	ending = 0;
}

/* ---- news ---- */

static int is_end(uint32_t status)
{
	return status != CONTINUED && (status & 0xff) != STOPPED;
}

static void info_of(const struct child *c, siginfo_t *info)
{
	*info = (siginfo_t){.si_signo = SIGCHLD};
	info->si_pid = c->pid;
	info->si_utime = c->cpu_ns / (NSEC / 100);
	if (c->status == CONTINUED) {
		info->si_code = CLD_CONTINUED;
		info->si_status = SIGCONT;
	} else if ((c->status & 0xff) == STOPPED) {
		info->si_code = CLD_STOPPED;
		info->si_status = c->status >> 8 & 0xff;
	} else if (c->status & 0x7f) {
		info->si_code = CLD_KILLED;
		info->si_status = c->status & 0x7f;
	} else {
		info->si_code = CLD_EXITED;
		info->si_status = c->status >> 8 & 0xff;
	}
}

/* The engine keeps the child's status for us no longer: its PID can be another one's. */
static void bury(struct child *c)
{
	int pid = c->pid;

	forget(c);
	engine_call(KX_CALL_REAP, 0, (uint64_t)pid, 0, 0);
}

/* Nobody needs the child's status any more. */
static void reap(struct child *c)
{
	reaped_ns += c->cpu_ns;
	c->over = 1;
	if (!c->early)
		bury(c);
}

static void news(struct child *c, uint32_t status, int64_t cpu_ns)
{
	const struct sigact *act = &sigacts[SIGCHLD];
	siginfo_t info;

	c->status = status;
	c->cpu_ns = cpu_ns;
	c->news = 1;
	c->dead = is_end(status);
	info_of(c, &info);
	if (c->dead && (act->handler == (uint64_t)SIG_IGN || act->flags & SA_NOCLDWAIT))
		reap(c);
	if (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || !(act->flags & SA_NOCLDSTOP))
		signal_process(SIGCHLD, &info);
	wake_all(&child_q);
}

void child_news(int pid, uint32_t status, int64_t cpu_ns)
{
	struct child *c = find(pid);

	if (!c)
		return;
	if (!c->dead) {
		news(c, status, cpu_ns);
	} else if (c->early && is_end(status)) {
		c->early = 0;
		ending--;
		if (c->over)
			bury(c);
		wake_all(&child_q);
	}
}

void child_ended(int pid, uint32_t status, int64_t cpu_ns)
{
	struct child *c = find(pid);

	if (!c || c->dead)
		return;
	c->early = 1;
	ending++;
	news(c, status, cpu_ns);
}

bool child_waited(int pid)
{
	const struct child *c = find(pid);

	return c && c->over;
}

int children_ending(void)
{
	return ending;
}

void children_settle(int most)
{
	int64_t end = now_ns() + NSEC;

	while (ending > most && !wait_on_killable(&child_q, end))
		;
}

void signal_group(int group, int sig)
{
	long r = parent_once ? engine_call(KX_CALL_KILL, 0, (uint64_t)group, (uint64_t)sig, 1) : 1;

	if (r) /* we are of it, or it has gone, and somebody should hear what is typed */
		signal_process(sig, NULL);
}

/* ---- waiting ---- */

/* One child, or those of a group, or with neither all. */
static int matches(const struct child *c, int pid, int group)
{
	return !c->over && (!pid || c->pid == pid) && (!group || process_group(c->pid) == group);
}

static int wanted_news(const struct child *c, long options)
{
	if (!c->news)
		return 0;
	if (c->dead)
		return !!(options & WEXITED);
	return !!(options & (c->status == CONTINUED ? WCONTINUED : WUNTRACED));
}

/* Those that are waited for will be able to wake us, as many as find room. */
static void offer_lines(int pid, int group)
{
	int left = OFFERS;

	for (struct list_node *n = children.next; family_in() && n != &children && left; n = n->next) {
		const struct child *c = CONTAINER_OF(n, struct child, node);
		uint32_t place = c->dead || !matches(c, pid, group) ? 0 : family_find(c->pid);

		if (!place)
			continue;
		lines_offer_to(place - 1);
		left--;
	}
}

/* The child that there is news of: 0 and *found; *found is NULL with WNOHANG if there is none. */
static long await(int pid, int group, long options, struct child **found)
{
	long err = 0;

	for (;;) {
		int any = 0;

		for (struct list_node *n = children.next; n != &children; n = n->next) {
			*found = CONTAINER_OF(n, struct child, node);
			if (!matches(*found, pid, group))
				continue;
			if (wanted_news(*found, options))
				return 0;
			any = 1;
		}
		*found = NULL;
		if (!any)
			return -ECHILD;
		if (options & WNOHANG || err)
			return err;
		offer_lines(pid, group);
		err = wait_on(&child_q, FOREVER);
	}
}

static int group_or_ours(long group)
{
	return group ? (int)group : process_group(0);
}

/* The news has been told. */
static void told(struct child *c, long options)
{
	if (options & WNOWAIT)
		return;
	c->news = 0;
	if (c->dead)
		reap(c);
}

static int usage_out(const struct child *c, long user)
{
	struct rusage ru = {.ru_utime = {c->cpu_ns / NSEC, c->cpu_ns % NSEC / 1000}};

	return user ? copy_out((void *)user, &ru, offsetof(struct rusage, __reserved)) : 0;
}

long sys_wait4(long pid, long status, long options, long usage)
{
	struct child *c;
	long r;

	pid = (int)pid;
	if (options & ~KNOWN_OPTIONS || options & (WEXITED | WNOWAIT))
		return -EINVAL;
	if (pid == INT_MIN) /* as Linux: no group has that number */
		return -ESRCH;
	r = await(pid > 0 ? (int)pid : 0, pid > 0 || pid == -1 ? 0 : group_or_ours(-pid), options | WEXITED, &c);
	if (r || !c)
		return r;
	if ((status && copy_out((void *)status, &c->status, sizeof(c->status))) || usage_out(c, usage))
		return -EFAULT;
	r = c->pid;
	told(c, options);
	return r;
}

long sys_waitid(long type, long id, long uinfo, long options, long usage)
{
	siginfo_t info = {0};
	struct child *c;
	long r;

	if (options & ~KNOWN_OPTIONS || !(options & (WEXITED | WUNTRACED | WCONTINUED)) || type < P_ALL || type > P_PGID ||
	    (type == P_PID && id <= 0) || (type == P_PGID && id < 0))
		return -EINVAL;
	r = await(type == P_PID ? (int)id : 0, type == P_PGID ? group_or_ours(id) : 0, options, &c);
	if (r)
		return r;
	if (c)
		info_of(c, &info);
	if ((uinfo && copy_out((void *)uinfo, &info, sizeof(info))) || (c && usage_out(c, usage)))
		return -EFAULT;
	if (c)
		told(c, options);
	return 0;
}

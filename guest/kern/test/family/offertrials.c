/*
 * offertrials.c: a pipe from one member's standard output to another's standard input, by tasks: what is offered is taken once or not at
 * all, whichever side is killed, and nothing of it is left.
 */
#include "family.h"
#include "process.h"
#include "trials.h"

#include <sys/mman.h>
#include <sys/wait.h>

long sys_close(long fd), sys_read(long fd, long buf, long n), sys_write(long fd, long buf, long n), sys_fstat(long fd, long st), sys_dup(long fd);
long sys_pipe2(long user, long flags);

static long offer(uint32_t secret)
{
	return one_task(KX_TASK_OFFER, secret, 0, 0, 0, 0);
}

static long take(uint32_t secret, long page)
{
	return one_task(KX_TASK_TAKE, secret, (uint64_t)page, 0, 0, 0);
}

static long settle(uint32_t secret)
{
	return one_task(KX_TASK_SETTLE, secret, 0, 0, 0, 0);
}

static long lend(uint32_t secret)
{
	return one_task(KX_TASK_LEND, secret, 0, 0, 0, 0);
}

static long borrow(uint32_t secret, long page)
{
	return one_task(KX_TASK_BORROW, secret, (uint64_t)page, 0, 0, 0);
}

static long give_back(uint32_t secret)
{
	return one_task(KX_TASK_RETURN, secret, 0, 0, 0, 0);
}

static bool is_pipe(long fd)
{
	struct stat st;

	CHECK(!sys_fstat(fd, (long)&st));
	return st.st_ino < UINT32_MAX - 3; /* the console's have the last numbers */
}

/* A child that does f and goes. */
static int relative(void (*f)(long), long page)
{
	int pid = fork_member();

	if (pid)
		return pid;
	offer_forked();
	f(page);
	family_exit(-1);
	_exit(0);
}

/* ---- what happens to one offer ---- */

static void refuse(long page)
{
	CHECK(take(8, page) == -EINVAL && take(0, page) == -EINVAL && take(7, page + 1) == -EINVAL && take(7, 0) == -EINVAL);
	CHECK(take(7, KX_FAMILY_PAGES) == -EINVAL && settle(7) == -EINVAL && !is_pipe(1));
}

static void hello(long page)
{
	long copy = sys_dup(1);

	CHECK(!take(7, page) && take(7, page) == -EINVAL);
	CHECK(is_pipe(1) && !is_pipe(copy) && !is_pipe(2));
	CHECK(sys_write(1, (long)"hello", 5) == 5);
}

static uint32_t pages(long page)
{
	struct object *o = object_at((uint32_t)page, KIND_PIPE);

	return o && (object_held(o, END_READ) || object_held(o, END_WRITE));
}

/* Nobody takes it: it is as if it had not been. */
static void taken_back(void)
{
	long page = offer(7);

	CHECK(page > 0 && pages(page) && !is_pipe(0) && offer(9) == -EBUSY);
	relative(refuse, page);
	reap(0);
	CHECK(settle(9) == -EINVAL && settle(0) == -EINVAL && !settle(7) && settle(7) == -EINVAL);
	CHECK(!is_pipe(0) && !pages(page) && offer(0) == -EINVAL);
	CHECK(take(7, page) == -EINVAL && !is_pipe(1));
	page = offer(7);
	CHECK(page > 0 && shim_timers() && !pages(page) && settle(7) == -EINVAL && !is_pipe(0)); /* it has waited too long */
}

/* A relative takes it, and its bytes come, and then the end. */
static void taken(bool in_time)
{
	long page = offer(7), copy = sys_dup(0);
	char buf[8];

	CHECK(page > 0);
	relative(hello, page);
	reap(0);
	CHECK(in_time ? settle(7) == 1 : shim_timers());
	CHECK(is_pipe(0) && !is_pipe(copy) && !is_pipe(1));
	CHECK(sys_read(0, (long)buf, 8) == 5 && !memcmp(buf, "hello", 5) && !sys_read(0, (long)buf, 8));
	sys_close(0);
	CHECK(!pages(page) && !sys_dup(copy) && !is_pipe(0));
	sys_close(copy);
}

/* ---- for a while ---- */

static void hello_and_back(long page)
{
	CHECK(borrow(7, page + 1) == -EINVAL && !control->lent[1]);
	CHECK(!borrow(7, page) && borrow(7, page) == -EBUSY && is_pipe(1) && control->lent[1] == 7);
	CHECK(sys_write(1, (long)"hello", 5) == 5);
	CHECK(!give_back(8) && is_pipe(1) && !give_back(0) && is_pipe(1));
	CHECK(!give_back(7) && !is_pipe(1) && !control->lent[1] && !give_back(7));
}

/* It has made something else of its descriptor, which stays. */
static void hello_and_other(long page)
{
	long p[2];

	CHECK(!borrow(7, page) && sys_write(1, (long)"hello", 5) == 5);
	sys_close(1);
	CHECK(!sys_pipe2((long)p, 0) && is_pipe(1));
	CHECK(!give_back(7) && is_pipe(1) && !control->lent[1] && borrow(7, page) == -ENOTTY);
}

static void hello_and_end(long page)
{
	CHECK(!borrow(7, page) && sys_write(1, (long)"hello", 5) == 5);
}

static long lent_to(void (*f)(long))
{
	long page = lend(7);

	CHECK(page > 0 && !is_pipe(0));
	relative(f, page);
	reap(0);
	CHECK(settle(7) == 1 && is_pipe(0) && control->lent[0] == 7 && lend(7) == -EBUSY);
	return page;
}

static void is_as_before(long page)
{
	CHECK(!is_pipe(0) && !control->lent[0] && !pages(page) && !give_back(7) && !is_pipe(0));
}

/* What was written comes, and behind it the console, whether the end is met by read or is there when it is given back; but a writer's own end is the end. */
static void lent_and_returned(void)
{
	char buf[8];
	long page = lent_to(hello_and_back);

	CHECK(give_back(7) == 1 && is_pipe(0));
	CHECK(sys_read(0, (long)buf, 8) == 5 && sys_read(0, (long)buf, 8) == -ERESTART);
	is_as_before(page);
	page = lent_to(hello_and_back);
	CHECK(sys_read(0, (long)buf, 8) == 5 && sys_read(0, (long)buf, 8) == -ERESTART); /* the writer has said so */
	is_as_before(page);
	for (int ends = 0; ends < 2; ends++) {
		page = lent_to(ends ? hello_and_end : hello_and_other);
		CHECK(sys_read(0, (long)buf, 8) == 5 && !sys_read(0, (long)buf, 8) && !sys_read(0, (long)buf, 8) && is_pipe(0));
		CHECK(!give_back(7));
		is_as_before(page);
	}
	page = lend(7);
	CHECK(page > 0 && !settle(7));
	is_as_before(page);
}

/* A child has what its parent was lent, and hears by the pipe alone that it was returned before it came to life. */
static void fork_of_reader(long page)
{
	(void)page;
	CHECK(control->lent[0] == 7 && is_pipe(0) && !give_back(7) && !is_pipe(0) && !control->lent[0]);
}

static void lent_and_forked(void)
{
	long page = lent_to(hello_and_end);
	char buf[8];

	CHECK(sys_read(0, (long)buf, 8) == 5);
	relative(fork_of_reader, page);
	reap(0);
	CHECK(is_pipe(0) && !give_back(7));
	is_as_before(page);
}

void trial_offers(void)
{
	CHECK(!family_enter());
	taken_back();
	taken(true);
	taken(false);
	lent_and_returned();
	lent_and_forked();
}

/* ---- somebody is killed in the middle of it ---- */

static volatile uint32_t *said; /* bytes written */

static void pour(long page)
{
	char buf[100] = {0};

	if (take(7, page))
		return;
	for (;;) {
		long n = sys_write(1, (long)buf, 1 + random_below_(sizeof(buf)));

		CHECK(n > 0 || n == -EPIPE);
		if (n < 0)
			return;
		*said += (uint32_t)n;
	}
}

/* The writer is killed: what it has written comes, and the end, if it took the offer. */
static void writer_killed(void)
{
	long page = offer(7), copy = sys_dup(0), got = 0, n;
	char buf[500];
	int pid = relative(pour, page);

	usleep(random_below_(3000));
	kill(pid, SIGKILL);
	reap(0);
	if (settle(7) == 1) {
		while ((n = sys_read(0, (long)buf, sizeof(buf))) > 0)
			got += n;
		CHECK(!n && got >= *said && got <= *said + 100);
		sys_close(0);
		CHECK(!sys_dup(copy));
	} else {
		CHECK(!*said);
	}
	sys_close(copy);
	CHECK(!is_pipe(0) && !pages(page));
}

/* The reader is killed: the writer's calls fail, or it never was one. */
static void drain(long from)
{
	static char buf[500];
	long page = offer(7);

	CHECK(sys_write(from, (long)&page, sizeof(page)) == sizeof(page));
	for (int i = 0; i < 100; i++)
		usleep(10);
	settle(7);
	while (sys_read(0, (long)buf, sizeof(buf)) > 0)
		;
}

static void reader_killed(void)
{
	long page = 0, copy = sys_dup(1);
	int p[2], pid;

	CHECK(!sys_pipe2((long)p, 0));
	pid = relative(drain, p[1]);
	CHECK(sys_read(p[0], (long)&page, sizeof(page)) == sizeof(page) && page > 0);
	usleep(random_below_(1500));
	if (random_below_(2))
		kill(pid, SIGKILL);
	if (!take(7, page)) {
		kill(pid, SIGKILL);
		while (sys_write(1, (long)&page, sizeof(page)) != -EPIPE)
			reap(WNOHANG);
		sys_close(1);
		CHECK(sys_dup(copy) == 1);
	}
	kill(pid, SIGKILL);
	reap(0);
	sys_close(copy);
	sys_close(p[0]);
	sys_close(p[1]);
	CHECK(!is_pipe(1) && !pages(page));
}

void trial_offers_of_killed(void)
{
	said = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(said != MAP_FAILED);
	writer_killed();
	reader_killed();
	munmap((void *)said, PAGE_SIZE);
}

/*
 * agree.c: the LibOS's console.c and call.c as a Linux process, so that package ipc meets the other side that
 * it will meet in a pVM. TestAgree compiles it together with both.
 *
 * usage: agree CONTROL-AREA
 * The engine moves its indices as fast as it can, and no call may do more than it was asked for.
 *
 * usage: agree CONTROL-AREA SEED ROUNDS INPUT-BYTES
 * Descriptor 0 brings events, 1 takes them; 3 is the journal of what was done, for the test to
 * compare: stream (0: read), length, bytes.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "console.h"
#include "hyper.h"
#include "process.h"

#define STR_(x) #x
#define STR(x) STR_(x)
#define JOURNAL 3
#define MAX_WRITE 40000

static uint64_t seed;
static int copies_left = -1; /* copy_in calls until one fails; negative: none does */

/* The hypercall page: an entry for sched_op, which may only block. Registers are kept, as Xen keeps them. */
__asm__(".pushsection .text\n"
	".balign 4096\n"
	".globl kx_hypercall_page\n"
	"kx_hypercall_page:\n"
	".skip " STR(HYPERVISOR_SIZE) " * " STR(__HYPERVISOR_sched_op) ", 0xcc\n"
	"push %rbp; push %rcx; push %r9; push %r11\n"
	"mov %rsp, %rbp; and $-16, %rsp; call wait_event; mov %rbp, %rsp\n"
	"pop %r11; pop %r9; pop %rcx; pop %rbp\n"
	"xor %eax, %eax; ret\n"
	".balign 4096, 0xcc\n"
	".popsection\n");

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s (errno %d)\n", what, errno);
	_exit(2);
}

/* ---- what console.c calls ---- */

struct waitq poll_q = WAITQ_INIT(poll_q);

void wait_event(void)
{
	char events[64];

	check(read(0, events, sizeof(events)) > 0, "no events any more");
}

void doorbell(void)
{
	check(write(1, "", 1) == 1, "doorbell");
}

int wait_on(struct waitq *q, int64_t deadline)
{
	(void)q;
	(void)deadline;
	if (!shared->vcpu_info[0].evtchn_upcall_pending)
		wait_event();
	shared->vcpu_info[0].evtchn_upcall_pending = 0;
	console_events();
	return 0;
}

void wake_all(struct waitq *q)
{
	(void)q;
}

void event_wait_here(void)
{
	hyper_sched(SCHEDOP_block, NULL);
}

uint64_t *mfn_list; /* NULL: not on Xen */

void event_wait_until(int64_t end)
{
	(void)end;
	event_wait_here();
}

int64_t now_ns(void)
{
	return 0;
}

void events_owed(void)
{
	shared->vcpu_info[0].evtchn_upcall_pending = 1;
}

void tty_input(void)
{
}

int copy_in(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return n && copies_left >= 0 && copies_left-- == 0 ? -EFAULT : 0;
}

int copy_out(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

int kvsnprintf(char *buf, size_t n, const char *fmt, va_list ap)
{
	return vsnprintf(buf, n, fmt, ap);
}

/* ---- the program ---- */

static uint32_t random32(void)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(seed >> 33);
}

static void journal(int stream, const void *p, size_t n)
{
	uint32_t head[2] = {(uint32_t)stream, (uint32_t)n};

	check(write(JOURNAL, head, sizeof(head)) == sizeof(head), "journal");
	check(write(JOURNAL, p, n) == (ssize_t)n, "journal");
}

static void print(void)
{
	static char buf[MAX_WRITE];
	int stream = random32() % 2 ? KX_STDOUT : KX_STDERR, nonblock = random32() % 4 == 0;
	size_t n = random32() % (random32() % 8 ? 200 : MAX_WRITE);

	for (size_t i = 0; i < n; i++)
		buf[i] = (char)random32();
	copies_left = random32() % 10 ? -1 : (int)(random32() % 4);
	long done = out_write(stream, buf, n, nonblock);
	check(done <= (long)n && (done >= 0 || done == -EAGAIN || done == -EFAULT), "out_write");
	copies_left = -1;
	if (done > 0)
		journal(stream, buf, (size_t)done);
}

static void say(unsigned round)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "round %u\n", round);

	klog("round %u", round);
	journal(KX_KERNEL, line, (size_t)n);
}

static bool posted;
static long expected; /* from the call that was posted */

void tasks_settle(void)
{
	check(!posted || engine_answer() == expected, "engine_post: another call's result");
	posted = false;
}

/* The test answers with what it was asked, so that an answer to another call would show. */
static void ask(void)
{
	uint32_t op = random32() % 8;
	uint64_t a = random32(), b = random32(), c = random32();
	long answer = (long)(op + a - 2 * b + 3 * c);

	if (random32() % 2) {
		check(engine_call(op, 0, a, b, c) == answer, "engine_call: another call's result");
		return;
	}
	tasks_settle();
	engine_post(op, a, b, c);
	posted = true;
	expected = answer;
}

static size_t take(int wait)
{
	static char buf[2 * KX_CONIN_SIZE];
	size_t room = 1 + random32() % (random32() % 2 ? 200 : sizeof(buf));
	long n = in_copy(buf, room);

	check(n >= 0 && n <= (long)room, "in_copy");
	if (n)
		journal(0, buf, (size_t)n);
	else if (wait)
		wait_on(NULL, FOREVER);
	return (size_t)n;
}

/* ---- indices that move at any instruction ---- */

static void *restless_engine(void *unused)
{
	for (;;) {
		uint32_t in = control->conin.cons, out = control->conout.prod;

		control->conin.prod = in + 1;
		control->conout.cons = out - KX_CONOUT_SIZE + 5;
		for (volatile int i = 0; i < 20; i++)
			;
		control->conin.prod = in + KX_CONIN_SIZE;
		control->conout.cons = out;
		for (volatile int i = 0; i < 20; i++)
			;
	}
	return unused;
}

static void race(void)
{
	static char buf[2 * KX_CONOUT_SIZE];
	pthread_t engine;

	check(!pthread_create(&engine, NULL, restless_engine, NULL), "pthread_create");
	for (int i = 0; i < 3000000; i++) {
		check(in_copy(buf, 3) <= 3, "in_copy: more than asked for");
		control->conout.cons_waits = 0;
		check(out_write(KX_STDOUT, buf, 3, 1) <= 3, "out_write: more than asked for");
	}
	_exit(0);
}

static void map_area(const char *path)
{
	int fd = open(path, O_RDWR);

	check(fd >= 0 && mmap((void *)KX_CTL_VA, KX_CTL_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) == (void *)KX_CTL_VA, path);
}

int main(int argc, char **argv)
{
	size_t input, got = 0;

	check(argc == 2 || argc == 5, "usage");
	map_area(argv[1]);
	console_init();
	console_events();
	if (argc == 2)
		race();
	seed = strtoull(argv[2], NULL, 10);
	input = strtoull(argv[4], NULL, 10);
	for (unsigned i = 0, n = (unsigned)atoi(argv[3]); i < n; i++) {
		print();
		if (random32() % 20 == 0)
			say(i);
		if (random32() % 4 == 0)
			ask();
		if (random32() % 4 == 0)
			got += take(got < input && random32() % 2);
		if (shared->vcpu_info[0].evtchn_upcall_pending) { /* klog or a call slept */
			shared->vcpu_info[0].evtchn_upcall_pending = 0;
			console_events();
		}
	}
	while (got < input)
		got += take(1);
	return 0;
}

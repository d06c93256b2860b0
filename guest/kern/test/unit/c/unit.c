/*
 * unit.c: the parts of the LibOS that are pure logic, compiled for the host and run there. The control
 * area is mapped where a pVM has it; hypercalls do nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>

#include "console.h"
#include "process.h"
#include "family.h"
#include "tty.h"

static int failures;

#define CHECK(cond)                                                                  \
	do {                                                                         \
		if (!(cond)) {                                                       \
			printf("%s:%d: %s\n", __func__, __LINE__, #cond);            \
			failures++;                                                  \
		}                                                                    \
	} while (0)

/* ---- what the tested files call ---- */

int own_pid;
struct thread main_thread, *cur = &main_thread;
struct list_node threads = {&threads, &threads};
struct waitq poll_q = WAITQ_INIT(poll_q);
static int last_signal, last_group, sleeps;
static struct waitq *sleeping_on;
static void (*on_sleep)(void); /* what the engine does while the pVM waits */

/* Every hypercall returns 0; set_timer_op keeps its deadline. */
int64_t timer_set;
__asm__(".balign 4096\n.globl kx_hypercall_page\nkx_hypercall_page:\n.set nr, 0\n.rept 128\n"
	".if nr == 15\nmov %rdi, timer_set\n.endif\nxor %eax, %eax\nret\n.balign 32\n.set nr, nr + 1\n.endr");
_Static_assert(__HYPERVISOR_set_timer_op == 15, "kx_hypercall_page");

void *page_alloc(size_t n)
{
	return aligned_alloc(PAGE_SIZE, n * PAGE_SIZE);
}

void page_free(void *p, size_t n)
{
	(void)n;
	free(p);
}

int copy_in(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

int copy_out(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

int wait_on(struct waitq *q, int64_t deadline)
{
	(void)deadline;
	sleeping_on = q;
	sleeps++;
	if (on_sleep)
		on_sleep();
	return sleeps > 100000 ? -EINTR : 0;
}

void wake_all(struct waitq *q)
{
	(void)q;
}

int64_t deadline_after(int64_t ns)
{
	return ns;
}

int signal_process(int sig, const siginfo_t *info);

int process_session(void)
{
	return 1;
}

int group_check(int group)
{
	return group == 7 ? 0 : -ESRCH;
}

void signal_group(int group, int sig)
{
	last_group = group;
	signal_process(sig, NULL);
}

int signal_process(int sig, const siginfo_t *info)
{
	(void)info;
	last_signal = sig;
	return 1;
}

int64_t timer_next = FOREVER;
static int64_t clock_ns;

int64_t now_ns(void)
{
	return clock_ns;
}

void ktimers_run(int64_t now)
{
	(void)now;
}

void child_news(int pid, uint32_t status, int64_t cpu_ns)
{
	(void)pid, (void)status, (void)cpu_ns;
}

void family_gone(int pid, int unborn_of, int unforked_of)
{
	(void)pid, (void)unborn_of, (void)unforked_of;
}

void task_command(void)
{
}

void tasks_if_wanted(void)
{
}

void family_events(void)
{
}

bool family_sleeps(void)
{
	return true;
}

void family_awake(void)
{
}

void fork_command(uint64_t token)
{
	(void)token;
}

void fork_if_wanted(void)
{
}

int runnable_others(void)
{
	return 0;
}

int64_t sched_deadline(void)
{
	return FOREVER;
}

void sched_tick(int64_t now)
{
	(void)now;
}

int resched;

void panic(const char *fmt, ...)
{
	puts(fmt);
	exit(1);
}

/* ---- string.c, under other names ---- */

#define memcpy k_memcpy
#define memset k_memset
#define memmove k_memmove
#define memcmp k_memcmp
#define memchr k_memchr
#define strlen k_strlen
#define strnlen k_strnlen
#define strcmp k_strcmp
#define strncmp k_strncmp
#define strchr k_strchr
#define strrchr k_strrchr
#include "string.c"
#undef memcpy
#undef memset
#undef memmove
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr
#undef strrchr

static void test_string(void)
{
	char a[64], b[64];

	for (int from = 0; from < 20; from++)
		for (int to = 0; to < 20; to++)
			for (int n = 0; n < 40; n += 3) {
				for (int i = 0; i < 64; i++)
					a[i] = b[i] = (char)i;
				k_memmove(a + to, a + from, n);
				memmove(b + to, b + from, n);
				CHECK(!memcmp(a, b, sizeof(a)));
			}
	CHECK(k_strlen("") == 0 && k_strlen("abc") == 3 && k_strnlen("abc", 2) == 2);
	CHECK(k_strcmp("a", "b") < 0 && k_strcmp("b", "a") > 0 && !k_strcmp("ab", "ab") && k_strcmp("\xff", "a") > 0);
	CHECK(!k_strncmp("abx", "aby", 2) && k_strncmp("abx", "aby", 3) < 0);
	CHECK(k_memcmp("a\0b", "a\0c", 3) < 0 && !k_memcmp("x", "y", 0));
	CHECK(*k_strrchr("a/b/c", '/') == '/' && !k_strcmp(k_strrchr("a/b/c", '/'), "/c") && !k_strchr("abc", 'x'));
	CHECK(k_strchr("abc", 0) != NULL && k_memchr("abc", 'c', 2) == NULL);
	strcpy_max(a, "abcdef", 4);
	CHECK(!strcmp(a, "abc"));
}

/* ---- print.c ---- */

static void test_print(void)
{
	char got[100], want[100];

#define SAME(...)                                                                    \
	do {                                                                         \
		CHECK(ksnprintf(got, sizeof(got), __VA_ARGS__) == snprintf(want, sizeof(want), __VA_ARGS__)); \
		CHECK(!strcmp(got, want));                                           \
	} while (0)
	SAME("%d %5d %-5d| %05d", 42, 42, 42, -42);
	SAME("%u %lu %x %#lx %o %p", 7u, 1UL << 63, 0xabcu, 0x1234UL, 8u, (void *)0x1000);
	SAME("%ld %zu %c %s %8s %-8s|", INT64_MIN, (size_t)9, 'x', "str", "right", "left");
	SAME("100%% %016lx", 0xdeadbeefUL);
	CHECK(ksnprintf(got, 4, "abcdef") == 6 && !strcmp(got, "abc"));
	CHECK(ksnprintf(NULL, 0, "%d", 12345) == 5);
}

/* ---- random.c ---- */

void chacha20_block(const uint32_t k[8], uint64_t n, uint8_t out[64]);

static void test_random(void)
{
	/* RFC 8439, appendix A.1, test vectors 1 and 2: key and nonce 0 */
	static const uint8_t first[] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28};
	static const uint8_t second[] = {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d};
	static const uint32_t key[8];
	uint8_t out[64], seen[64][16];

	chacha20_block(key, 0, out);
	CHECK(!memcmp(out, first, sizeof(first)));
	chacha20_block(key, 1, out);
	CHECK(!memcmp(out, second, sizeof(second)));

	memset((void *)control->seed, 7, sizeof(control->seed));
	random_init();
	CHECK(control->seed[0] == 0 && control->seed[31] == 0);
	for (int i = 0; i < 64; i++) {
		random_bytes(seen[i], 16);
		for (int j = 0; j < i; j++)
			CHECK(memcmp(seen[i], seen[j], 16));
	}
}

/* ---- kmalloc.c ---- */

static void test_kmalloc(void)
{
	static struct {
		unsigned char *p;
		size_t n;
	} b[200];

	srand(1);
	for (int round = 0; round < 50000; round++) {
		int i = rand() % 200;
		size_t n = rand() % (rand() % 20 ? 600 : 20000);

		for (size_t k = 0; k < b[i].n; k++)
			if (b[i].p[k] != (unsigned char)i) {
				CHECK(!"block was overwritten");
				return;
			}
		if (rand() % 3) {
			kfree(b[i].p);
			b[i].p = kmalloc(n);
		} else {
			b[i].p = krealloc(b[i].p, n);
			for (size_t k = 0; k < (n < b[i].n ? n : b[i].n); k++)
				CHECK(b[i].p[k] == (unsigned char)i);
		}
		CHECK(b[i].p && (uintptr_t)b[i].p % 16 == 0);
		b[i].n = n;
		memset(b[i].p, i, n);
	}
	CHECK(kmalloc(SIZE_MAX) == NULL);
	unsigned char *z = kzalloc(100);
	for (int i = 0; i < 100; i++)
		CHECK(z[i] == 0);
}

/* ---- console.c: the other end of the output ring ---- */

static char out[1 << 20];
static size_t out_len;

/* Takes whole records, as the engine does. */
static void drain(void)
{
	const uint8_t *ring = (const uint8_t *)KX_CONOUT_VA;
	uint32_t cons = control->conout.cons, head;

	while (cons != control->conout.prod) {
		for (int i = 0; i < 4; i++)
			((uint8_t *)&head)[i] = ring[(cons + i) % KX_CONOUT_SIZE];
		CHECK(head >> 24 >= KX_STDOUT && head >> 24 <= KX_KERNEL && (head & 0xffffff) <= KX_RECORD_MAX);
		for (uint32_t i = 0; i < (head & 0xffffff); i++)
			out[out_len++ % sizeof(out)] = (char)ring[(cons + 4 + i) % KX_CONOUT_SIZE];
		cons += 4 + (head & 0xffffff);
	}
	control->conout.cons = cons;
}

static void test_output(void)
{
	static char src[200000];

	on_sleep = drain;
	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = (char)(i * 7 + i / 251);
	for (int round = 0; round < 30; round++) {
		size_t n = rand() % sizeof(src);

		out_len = 0;
		CHECK(tty_write(KX_STDOUT, src, n, 0) == (long)n);
		drain();
		CHECK(out_len == n && !memcmp(out, src, n));
	}
	/* Without waiting, what fits is written, and then nothing. */
	CHECK(tty_write(KX_STDERR, src, sizeof(src), 1) < KX_CONOUT_SIZE);
	CHECK(tty_write(KX_STDERR, src, 100, 1) == -EAGAIN && control->conout.prod_waits);
	drain();
	out_len = 0;
	klog("%s %d", "said", 1);
	drain();
	CHECK(out_len == 7 && !memcmp(out, "said 1\n", 7));
}

/*
 * An event that brought no room: the engine took the wait flag for room that the pVM had used up
 * before it slept. The next wait must be announced anew, or nobody ever ends it.
 */
static void event_without_room(void)
{
	struct thread waiter;

	control->conout.prod_waits = 0;
	list_add_tail(&sleeping_on->waiters, &waiter.wait_node);
	console_events();
	list_del(&waiter.wait_node);
	CHECK(control->conout.prod_waits);
	drain();
}

static void test_flag_set_anew(void)
{
	static char src[2 * KX_CONOUT_SIZE];

	on_sleep = event_without_room;
	CHECK(tty_write(KX_STDOUT, src, sizeof(src), 0) == (long)sizeof(src));
	drain();
	on_sleep = drain;
}

/* ---- ldisc.c, tty.c ---- */

static void type(const char *s, size_t n)
{
	uint8_t *ring = (uint8_t *)KX_CONIN_VA;

	for (size_t i = 0; i < n; i++)
		ring[control->conin.prod++ % KX_CONIN_SIZE] = (uint8_t)s[i];
	tty_input();
}

/* Types s; what is then read at once must be want, and what is shown must be shown. */
#define TYPED(s, want, shown)                                                        \
	do {                                                                         \
		char got_[8192];                                                     \
		drain();                                                             \
		out_len = 0;                                                         \
		type(s, sizeof(s) - 1);                                              \
		drain();                                                             \
		CHECK(out_len == sizeof(shown) - 1 && !memcmp(out, shown, out_len)); \
		long n_ = tty_read(got_, sizeof(got_), 1);                           \
		CHECK(n_ == (long)sizeof(want) - 1 && !memcmp(got_, want, n_));      \
	} while (0)

static void test_lines(void)
{
	char buf[100];
	int group;

	control->flags = KX_F_TTY | KX_F_STDIN;
	tty_init();
	TYPED("hello\r", "hello\n", "hello\r\n");
	TYPED("helXX\177\177lo\n", "hello\n", "helXX\b \b\b \blo\r\n");
	TYPED("junk\025ok\n", "ok\n", "junk\b \b\b \b\b \b\b \bok\r\n");
	TYPED("one two \027x\n", "one x\n", "one two \b \b\b \b\b \b\b \bx\r\n");
	TYPED("\t\177x\n", "x\n", "\t\b\b\b\b\b\b\b\bx\r\n");
	TYPED("\xc3\xa9\177e\n", "e\n", "\xc3\xa9\b \be\r\n");
	TYPED("abc\004", "abc", "abc");
	TYPED("\004", "", "");
	TYPED("\026\003\n", "\003\n", "^\b^C\r\n");
	TYPED("gone\003kept\n", "kept\n", "gone^Ckept\r\n");
	CHECK(last_signal == SIGINT);
	type("\034", 1);
	CHECK(last_signal == SIGQUIT);
	CHECK(!tty_ioctl(TIOCGPGRP, &group) && group == (int)control->domid && last_group == group);
	group = 8;
	CHECK(tty_ioctl(TIOCSPGRP, &group) == -ESRCH);
	group = -7;
	CHECK(tty_ioctl(TIOCSPGRP, &group) == -EINVAL);
	group = 7;
	CHECK(!tty_ioctl(TIOCSPGRP, &group));
	type("\003", 1);
	CHECK(last_signal == SIGINT && last_group == 7);
	CHECK(tty_read(buf, sizeof(buf), 1) == -EAGAIN);
	/* Two lines typed are two reads; a short read leaves the rest of its line. */
	type("ab\ncd\n", 6);
	CHECK(tty_read(buf, 2, 1) == 2 && tty_read(buf, sizeof(buf), 1) == 1 && tty_read(buf, sizeof(buf), 1) == 3);
}

/* What was typed and nobody has read is counted as it was typed; of an edited part that is read by halves nobody can tell. */
static void test_unread(void)
{
	char buf[100];

	type("abX\177c", 5);
	CHECK(control->input_unread == 5);
	type("\nde\n", 4);
	CHECK(control->input_unread == 9);
	CHECK(tty_read(buf, sizeof(buf), 1) == 4 && !control->input_unread);
	type("f\n", 2);
	CHECK(!control->input_unread);
	CHECK(tty_read(buf, sizeof(buf), 1) == 3 && tty_read(buf, sizeof(buf), 1) == 2 && !control->input_unread);
	type("a\nbc\nd", 6);
	CHECK(tty_read(buf, sizeof(buf), 1) == 2 && control->input_unread == 4);
	CHECK(tty_read(buf, 1, 1) == 1 && control->input_unread == 3);
	type("\003", 1);
	CHECK(!control->input_unread);
	type("x\177", 2);
	CHECK(!control->input_unread);
	type("ab\n", 3);
	CHECK(control->input_unread == 3 && !tty_ioctl(TCFLSH, (void *)TCIFLUSH) && !control->input_unread);
}

static void test_raw(void)
{
	struct ktermios t;
	char buf[100];

	CHECK(!tty_ioctl(TCGETS, &t));
	t.iflag = t.oflag = t.lflag = 0;
	CHECK(!tty_ioctl(TCSETS, &t));
	TYPED("\003\r\004x", "\003\r\004x", "");
	CHECK(tty_read(buf, sizeof(buf), 1) == -EAGAIN);
	t.cc[VMIN] = 0;
	CHECK(!tty_ioctl(TCSETS, &t));
	CHECK(tty_read(buf, sizeof(buf), 0) == 0);
}

/* A full buffer: nothing is lost but what a line cannot hold, and Ctrl-C still gets through. */
static void test_full(void)
{
	static char line[KX_CONIN_SIZE];
	struct ktermios t;
	char buf[5000];
	size_t n = 0;

	tty_init();
	CHECK(!tty_ioctl(TCGETS, &t));
	t.lflag &= ~(uint32_t)ECHO;
	t.iflag &= ~(uint32_t)IMAXBEL;
	CHECK(!tty_ioctl(TCSETS, &t));
	memset(line, 'x', sizeof(line));
	type(line, 4000);
	type(line, 4000);
	type("\n", 1);
	CHECK(tty_read(buf, sizeof(buf), 1) == TTY_BUF && buf[TTY_BUF - 1] == '\n');
	for (int i = 0; i < 600; i++)
		type("1234567890\n", 11); /* 6600 bytes: more than the buffer, less than buffer and ring */
	last_signal = 0;
	while (tty_read(buf, sizeof(buf), 1) == 11)
		n++;
	CHECK(n == 600);
	for (int i = 0; i < 500; i++)
		type("1234567890\n", 11);
	type("\003", 1);
	CHECK(last_signal == SIGINT);
	CHECK(tty_read(buf, sizeof(buf), 1) == -EAGAIN);
}

static void event(unsigned port)
{
	shared->evtchn_pending[0] = 1UL << port;
	shared->vcpu_info[0].evtchn_pending_sel = 1;
	events_handle(0);
	timer_arm();
}

/* The hypervisor's clock may be ahead of ours: its timer goes off once, before the deadline has come here. */
static void test_early_timer(void)
{
	timer_next = 1000;
	timer_arm();
	CHECK(timer_set == 1000);
	timer_set = 0;
	clock_ns = 999;
	event(5);
	CHECK(!timer_set);
	event(0); /* its port, by what bind_virq says here */
	CHECK(timer_set == 1000);
	timer_set = 0;
	shared->evtchn_pending[0] = 1;
	shared->vcpu_info[0].evtchn_pending_sel = 1;
	events_clear(); /* only noted, as klog does */
	timer_arm();
	CHECK(timer_set == 1000);
}

int main(void)
{
	if (mmap((void *)KX_CTL_VA, KX_CTL_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)KX_CTL_VA) {
		perror("mmap of the control area");
		return 1;
	}
	test_string();
	test_print();
	test_random();
	test_kmalloc();
	test_output();
	test_flag_set_anew();
	test_lines();
	test_unread();
	test_raw();
	test_full();
	test_early_timer();
	return failures != 0;
}

/* shim.c: what the file layer calls, over the C library. */
#include "shim.h"

#include "futex.h"
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

long shim_fail_after = -1, shim_allocations;

static bool refused(void)
{
	if (shim_fail_after < 0)
		return false;
	if (shim_fail_after == 0)
		return true;
	shim_fail_after--;
	return false;
}

static void *counted(void *p)
{
	shim_allocations += p != NULL;
	return p;
}

void *kmalloc(size_t n)
{
	return refused() ? NULL : counted(malloc(n ? n : 1));
}

void *kzalloc(size_t n)
{
	return refused() ? NULL : counted(calloc(1, n ? n : 1));
}

void *krealloc(void *p, size_t n)
{
	if (refused())
		return NULL;
	shim_allocations += !p;
	return realloc(p, n);
}

void kfree(void *p)
{
	shim_allocations -= p != NULL;
	free(p);
}

void *page_alloc(size_t n)
{
	return refused() ? NULL : counted(aligned_alloc(PAGE_SIZE, n * PAGE_SIZE));
}

void page_free(void *p, size_t n)
{
	(void)n;
	kfree(p);
}

void mem_info(struct mem_info *mi)
{
	*mi = (struct mem_info){.total = 1 << 16, .free = 1 << 15, .kernel = 100};
}

int mem_prot_at(uint64_t va)
{
	return va >> 14 & 1 ? PROT_READ : -1;
}

/* The first page and the last addresses are the program's wild pointers. */
static bool wild(const void *p, size_t n)
{
	return n && ((uintptr_t)p < PAGE_SIZE || (uintptr_t)p > UINT64_MAX / 2);
}

int copy_in(void *dst, const void *src, size_t n)
{
	if (wild(src, n))
		return -EFAULT;
	memcpy(dst, src, n);
	return 0;
}

int copy_out(void *dst, const void *src, size_t n)
{
	if (wild(dst, n))
		return -EFAULT;
	memcpy(dst, src, n);
	return 0;
}

int clear_out(void *dst, size_t n)
{
	if (wild(dst, n))
		return -EFAULT;
	memset(dst, 0, n);
	return 0;
}

long copy_in_str(char *dst, const char *src, size_t max)
{
	size_t n;

	if (wild(src, 1))
		return -EFAULT;
	n = strnlen(src, max);
	memcpy(dst, src, MIN(n + 1, max));
	return n == max ? -ENAMETOOLONG : (long)n;
}

/* There is one thread: who would sleep is told that a signal came. */
struct waitq poll_q = WAITQ_INIT(poll_q);

int (*shim_waits)(void);

int wait_on(struct waitq *q, int64_t deadline)
{
	(void)q;
	if (shim_waits)
		return shim_waits();
	return deadline == FOREVER ? -EINTR : -ETIMEDOUT;
}

int wait_on_killable(struct waitq *q, int64_t deadline)
{
	return wait_on(q, deadline);
}

/* The hypervisor: every hypercall gives 0; of those for event channels (32), opening and binding give some port. */
__asm__(".globl kx_hypercall_page\n.balign 32\nkx_hypercall_page:\n"
	".rept 32\n.balign 32\nxor %eax, %eax\nret\n.endr\n"
	".balign 32\njmp event_channel\n"
	".rept 31\n.balign 32\nxor %eax, %eax\nret\n.endr\n"
	"event_channel: mov last_port(%rip), %eax\nadd $37, %eax\nand $1023, %eax\nmov %eax, last_port(%rip)\n"
	"cmp $6, %edi\nje 1f\ntest %edi, %edi\nje 2f\njmp 3f\n"
	"1: mov %eax, 4(%rsi)\njmp 3f\n"
	"2: mov %eax, 8(%rsi)\n"
	"3: xor %eax, %eax\nret\n"
	".local last_port\n.comm last_port, 4, 4");

void doorbell(void)
{
}

int runnable_others(void)
{
	return 0;
}

/* There is no engine, and no folder of the host. */
void event_wait_here(void)
{
	abort();
}

void panic(const char *fmt, ...)
{
	fprintf(stderr, "panic: %s\n", fmt);
	abort();
}

long update_library(uint64_t plan, struct kx_updated *result, bool try)
{
	(void)plan, (void)result, (void)try;
	return -ENOSYS;
}

int area_protect(uint64_t va, uint64_t n, int prot)
{
	return mprotect((void *)va, n << PAGE_SHIFT, prot) ? -ENOMEM : 0;
}

void events_owed(void)
{
}

void futex_news(void)
{
}

int futex_wake(uint64_t addr, int n, uint32_t bits)
{
	(void)addr, (void)n, (void)bits;
	return 0;
}

struct thread *thread_find(int tid)
{
	return tid == main_thread.tid ? &main_thread : NULL;
}

void thread_wake(struct thread *t, int result)
{
	(void)t, (void)result;
}

#define TIMERS 16
static struct ktimer *timers_set[TIMERS];

void ktimer_set(struct ktimer *t, int64_t when)
{
	int i = 0;

	(void)when;
	while (timers_set[i] && timers_set[i] != t)
		if (++i == TIMERS)
			abort();
	timers_set[i] = t;
}

bool shim_timers(void)
{
	bool any = false;

	for (int i = 0; i < TIMERS; i++) {
		struct ktimer *t = timers_set[i];

		timers_set[i] = NULL;
		if (!t)
			continue;
		any = true;
		t->fn(t);
	}
	return any;
}

void ktimer_cancel(struct ktimer *t)
{
	for (int i = 0; i < TIMERS; i++)
		if (timers_set[i] == t)
			timers_set[i] = NULL;
}

uint32_t effective_uid(void)
{
	return 0;
}

uint32_t effective_gid(void)
{
	return 0;
}

bool in_group(uint32_t gid)
{
	return !gid;
}

long (*shim_call)(uint32_t op, uint64_t a, uint64_t b);

long engine_call(uint32_t op, uint32_t flags, uint64_t a, uint64_t b, uint64_t c)
{
	(void)flags, (void)c;
	return shim_call ? shim_call(op, a, b) : -ENOSYS;
}

bool shim_late;
static long posted;

void engine_post(uint32_t op, uint64_t a, uint64_t b, uint64_t c)
{
	posted = engine_call(op, 0, a, b, c);
}

bool engine_answered(void)
{
	return !shim_late;
}

long engine_answer(void)
{
	return posted;
}

void wake_all(struct waitq *q)
{
	(void)q;
}

void wake_one(struct waitq *q)
{
	(void)q;
}

static int64_t clock_ns = 1000;

int64_t now_ns(void)
{
	return clock_ns += 1000;
}

int64_t real_ns(void)
{
	return 1700000000 * NSEC + now_ns();
}

int clock_read(clockid_t clock, int64_t *ns)
{
	(void)clock;
	*ns = now_ns();
	return 0;
}

int timespec_to_ns(const struct timespec *ts, int64_t *ns)
{
	*ns = ts->tv_sec * NSEC + ts->tv_nsec;
	return 0;
}

void ns_to_timespec(int64_t ns, struct timespec *ts)
{
	*ts = (struct timespec){.tv_sec = ns / NSEC, .tv_nsec = ns % NSEC};
}

int64_t deadline_after(int64_t ns)
{
	return ns == FOREVER ? FOREVER : now_ns() + ns;
}

int own_pid;
struct thread main_thread = {.name = "main", .all = {&threads, &threads}};
struct thread *cur = &main_thread;
struct list_node threads = {&main_thread.all, &main_thread.all};
int thread_count = 1;

int signal_thread(struct thread *t, int sig, const siginfo_t *info)
{
	(void)t, (void)sig, (void)info;
	return 1;
}

int signal_process(int sig, const siginfo_t *info)
{
	(void)sig, (void)info;
	return 1;
}

int sigmask_borrow(const void *set, size_t size)
{
	(void)set, (void)size;
	return 0;
}

long tty_read(void *user, size_t n, int nonblock)
{
	(void)user, (void)n, (void)nonblock;
	return 0;
}

long tty_write(int stream, const void *user, size_t n, int nonblock)
{
	(void)stream, (void)user, (void)nonblock;
	return (long)n;
}

long tty_ioctl(unsigned long request, void *user)
{
	(void)request, (void)user;
	return -ENOTTY;
}

int tty_poll(void)
{
	return POLLOUT;
}

int tty_is_terminal(void)
{
	return 0;
}

void klog(const char *fmt, ...)
{
	(void)fmt;
}

const struct utsname system_name = {.sysname = "Linux"};

void random_bytes(void *p, size_t n)
{
	memset(p, 4, n);
}

uint64_t rlimit_get(int resource)
{
	return resource == RLIMIT_NOFILE ? 64 : UINT64_MAX;
}

void shim_root(const void *tar, size_t len)
{
	control->ram_va = control->root_va = (uint64_t)tar;
	control->root_len = len;
	control->ram_pages = PAGE_UP(len) >> PAGE_SHIFT;
}

void shim_init(void)
{
	void *p = mmap((void *)KX_CTL_VA, KX_CTL_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)KX_CTL_VA) {
		perror("filetest: control area");
		exit(1);
	}
	strcpy((char *)control->name, "filetest");
	control->domid = 7;
	control->argc = 1;
	control->envc = 1;
	memcpy((char *)KX_ARGS_VA, "prog\0A=1", 9);
	control->args_len = 9;
}

/* ---- children ---- */

void (*shim_ended)(int pid, uint32_t status);

void child_ended(int pid, uint32_t status, int64_t cpu_ns)
{
	(void)cpu_ns;
	if (shim_ended)
		shim_ended(pid, status);
}

bool out_drained(void)
{
	return true;
}

int64_t process_cpu_ns(void)
{
	return 0;
}

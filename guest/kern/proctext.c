/* proctext.c: what the files of /proc say. */
#include "family.h"
#include "proc.h"

#define CLK_TCK 100

/* ---- texts ---- */

static bool text_room(struct text *t, size_t n)
{
	size_t max = MAX(t->max * 2, PAGE_UP(t->n + n));
	char *p;

	if (t->failed || t->max - t->n >= n)
		return !t->failed;
	p = krealloc(t->p, max);
	if (!p) {
		t->failed = true;
		return false;
	}
	t->p = p;
	t->max = max;
	return true;
}

void text_bytes(struct text *t, const void *p, size_t n)
{
	if (!text_room(t, n))
		return;
	memcpy(t->p + t->n, p, n);
	t->n += n;
}

/* Up to 255 bytes at a time. */
void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!text_room(t, 256))
		return;
	va_start(ap, fmt);
	n = kvsnprintf(t->p + t->n, 256, fmt, ap);
	va_end(ap);
	t->n += MIN(n, 255);
}

static unsigned long cpu_ticks(clockid_t clock)
{
	int64_t ns = 0;

	clock_read(clock, &ns);
	return (unsigned long)(ns / (NSEC / CLK_TCK));
}

/* ---- /proc ---- */

static void cpuid(uint32_t leaf, uint32_t r[4])
{
	__asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

static void show_cpuinfo(struct text *t)
{
	uint32_t r[4], max, model[13] = {0};
	char vendor[13] = "";

	cpuid(0, r);
	memcpy(vendor, &r[1], 4);
	memcpy(vendor + 4, &r[3], 4);
	memcpy(vendor + 8, &r[2], 4);
	text_add(t, "processor\t: 0\nvendor_id\t: %s\n", vendor);
	cpuid(0x80000000, r);
	max = r[0];
	for (uint32_t i = 0; i < 3 && max >= 0x80000004; i++)
		cpuid(0x80000002 + i, model + 4 * i);
	text_add(t, "model name\t: %s\ncpu cores\t: 1\nsiblings\t: 1\n\n", (char *)model);
}

static void show_meminfo(struct text *t)
{
	struct mem_info mi;

	mem_info(&mi);
	text_add(t, "MemTotal:       %8lu kB\n", (unsigned long)mi.total * 4);
	text_add(t, "MemFree:        %8lu kB\n", (unsigned long)mi.free * 4);
	text_add(t, "MemAvailable:   %8lu kB\n", (unsigned long)mi.free * 4);
	text_add(t, "Buffers:        %8u kB\nCached:         %8u kB\n", 0, 0);
	text_add(t, "SwapTotal:      %8u kB\nSwapFree:       %8u kB\n", 0, 0);
	text_add(t, "Shmem:          %8lu kB\n", family_used() * PAGE_SIZE / 1024);
	text_add(t, "Slab:           %8lu kB\n", (unsigned long)mi.kernel * 4);
}

static void show_uptime(struct text *t)
{
	unsigned long up = cpu_ticks(CLOCK_BOOTTIME), busy = cpu_ticks(CLOCK_PROCESS_CPUTIME_ID);
	unsigned long idle = up > busy ? up - busy : 0;

	text_add(t, "%lu.%02lu %lu.%02lu\n", up / CLK_TCK, up % CLK_TCK, idle / CLK_TCK, idle % CLK_TCK);
}

static void show_stat(struct text *t)
{
	unsigned long up = cpu_ticks(CLOCK_BOOTTIME), busy = cpu_ticks(CLOCK_PROCESS_CPUTIME_ID);
	unsigned long idle = up > busy ? up - busy : 0;

	text_add(t, "cpu  %lu 0 0 %lu 0 0 0 0 0 0\ncpu0 %lu 0 0 %lu 0 0 0 0 0 0\n", busy, idle, busy, idle);
	text_add(t, "btime %ld\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n",
		(long)((real_ns() - (int64_t)up * (NSEC / CLK_TCK)) / NSEC));
}

static void show_loadavg(struct text *t)
{
	text_add(t, "0.00 0.00 0.00 1/%d %u\n", thread_count, control->domid);
}

static void show_version(struct text *t)
{
	text_add(t, "%s version %s %s\n", system_name.sysname, system_name.release, system_name.version);
}

static void show_filesystems(struct text *t)
{
	text_add(t, "nodev\ttmpfs\nnodev\tproc\n");
}

const struct proc_file proc_files[] = {
	{"cpuinfo", show_cpuinfo, NULL}, {"meminfo", show_meminfo, NULL}, {"uptime", show_uptime, NULL},
	{"stat", show_stat, NULL},       {"loadavg", show_loadavg, NULL}, {"version", show_version, NULL},
	{"filesystems", show_filesystems, NULL},
	{"sysvipc/msg", show_queues, NULL}, {"sysvipc/sem", show_semaphores, NULL}, {"sysvipc/shm", show_segments, NULL},
	{NULL, NULL, NULL},
};

/* ---- /proc/self ---- */

/* Bytes of the argument area: the first argc strings, or those behind them. */
static void show_strings(struct text *t, bool env)
{
	const char *args = (const char *)KX_ARGS_VA;
	uint32_t len = MIN(control->args_len, (uint32_t)KX_ARGS_SIZE), argc = control->argc, at = 0;

	for (; at < len && argc; at++)
		argc -= !args[at];
	if (env)
		text_bytes(t, args + at, len - at);
	else
		text_bytes(t, args, at);
}

static void show_cmdline(struct text *t)
{
	show_strings(t, false);
}

static void show_environ(struct text *t)
{
	show_strings(t, true);
}

static struct thread *main_of_process(void)
{
	return CONTAINER_OF(threads.next, struct thread, all);
}

static void show_comm(struct text *t)
{
	text_add(t, "%s\n", main_of_process()->name);
}

static long store_comm(const char *s, size_t n)
{
	struct thread *main = main_of_process();

	if (n && s[n - 1] == '\n')
		n--;
	n = MIN(n, sizeof(main->name) - 1);
	memcpy(main->name, s, n);
	main->name[n] = 0;
	return 0;
}

/* Without the libraries: nobody counts which of their pages are there. */
static unsigned long image_pages(void)
{
	return control->image_pages - control->dynamic_pages;
}

static uint64_t pages_used(void)
{
	struct mem_info mi;

	mem_info(&mi);
	return mi.total - mi.free + image_pages();
}

static void show_self_stat(struct text *t)
{
	unsigned pid = control->domid;

	text_add(t, "%u (%s) R %u %u %u 0 -1 0 0 0 0 0 %lu 0 0 0 20 0 %d 0 0 %lu %lu 18446744073709551615", pid,
		main_of_process()->name, control->ppid, pid, pid, cpu_ticks(CLOCK_PROCESS_CPUTIME_ID), thread_count,
		(unsigned long)(pages_used() << PAGE_SHIFT), (unsigned long)pages_used());
	/* startcode to exit_code, fields 26 to 52 */
	text_add(t, " %u", KX_IMAGE_VA);
	for (int i = 27; i <= 52; i++)
		text_add(t, " 0");
	text_add(t, "\n");
}

static void show_statm(struct text *t)
{
	unsigned long used = pages_used();

	text_add(t, "%lu %lu 0 %lu 0 %lu 0\n", used, used, image_pages(),
		used - image_pages());
}

static void show_status(struct text *t)
{
	unsigned long kib = pages_used() * 4;

	text_add(t, "Name:\t%s\nUmask:\t0%u%u%u\nState:\tR (running)\n", main_of_process()->name,
		file_mask >> 6 & 7, file_mask >> 3 & 7, file_mask & 7);
	text_add(t, "Tgid:\t%u\nPid:\t%u\nPPid:\t%u\nTracerPid:\t0\n", control->domid, control->domid, control->ppid);
	text_add(t, "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n");
	text_add(t, "VmSize:\t%8lu kB\nVmRSS:\t%8lu kB\nThreads:\t%d\n", kib, kib, thread_count);
}

static void show_mounts(struct text *t)
{
	text_add(t, "tmpfs / tmpfs rw 0 0\nproc /proc proc rw 0 0\n");
}

const struct proc_file proc_self_files[] = {
	{"cmdline", show_cmdline, NULL},  {"environ", show_environ, NULL}, {"comm", show_comm, store_comm},
	{"stat", show_self_stat, NULL},   {"statm", show_statm, NULL},     {"status", show_status, NULL},
	{"maps", show_maps, NULL},        {"mounts", show_mounts, NULL},   {NULL, NULL, NULL},
};

/* ---- /proc/sys ---- */

static void show_ostype(struct text *t)
{
	text_add(t, "%s\n", system_name.sysname);
}

static void show_osrelease(struct text *t)
{
	text_add(t, "%s\n", system_name.release);
}

static void show_zero(struct text *t)
{
	text_add(t, "0\n");
}

static void show_pid_max(struct text *t)
{
	text_add(t, "32752\n"); /* DOMID_FIRST_RESERVED: no domain has a higher number */
}

const struct proc_file proc_sys_files[] = {
	{"kernel/ostype", show_ostype, NULL},     {"kernel/osrelease", show_osrelease, NULL},
	{"kernel/pid_max", show_pid_max, NULL},   {"vm/overcommit_memory", show_zero, NULL},
	{NULL, NULL, NULL},
};

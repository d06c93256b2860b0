/* boot.c: from the first instruction to the program's _start. */
#include <elf.h>

#include "hyper.h"
#include "limit.h"
#include "mem.h"
#include "network.h"

#define STACK_DEFAULT (8UL << 20)
#define STACK_MIN (64UL << 10)
#define AUX_WORDS 40
#define CLK_TCK 100

extern const struct kx_note kx_note;
void _start(void); /* musl's crt1.o */

int64_t boot_ns;

/* Started by something else than our domain builder (entry.S), there is no console to say so on. */
void boot_refused(void)
{
	struct sched_shutdown how = {SHUTDOWN_crash};

	for (;;)
		hyper_sched(SCHEDOP_shutdown, &how);
}

/* ---- the program's first stack ---- */

struct stack {
	uint64_t sp, low;
};

static uint64_t push(struct stack *s, const void *src, size_t n)
{
	if (s->sp - s->low < n + PAGE_SIZE)
		panic("arguments and environment do not fit on the stack of %lu bytes", rlimit_get(3));
	s->sp -= n;
	memcpy((void *)s->sp, src, n);
	return s->sp;
}

/* Copies the strings; they come as the builder left them, so their number is counted, not believed. */
static uint64_t push_strings(struct stack *s, uint32_t *argc, uint32_t *envc)
{
	uint32_t len = MIN(control->args_len, KX_ARGS_SIZE), found = 0;
	char *strings = (char *)push(s, (const void *)KX_ARGS_VA, len);

	for (uint32_t i = 0; i < len; i++)
		found += !strings[i];
	if (len && strings[len - 1])
		strings[len - 1] = 0, found++;
	*argc = MIN(control->argc, found);
	*envc = MIN(control->envc, found - *argc);
	return (uint64_t)strings;
}

static uint64_t *put_pointers(uint64_t *vec, uint64_t *string, uint32_t n)
{
	while (n--) {
		*vec++ = *string;
		*string += strlen((const char *)*string) + 1;
	}
	*vec++ = 0;
	return vec;
}

static size_t aux(uint64_t *a, uint64_t random, uint64_t execfn)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)KX_IMAGE_VA;
	const uint64_t vec[] = {
		AT_PHDR, KX_IMAGE_VA + eh->e_phoff,
		AT_PHENT, eh->e_phentsize,
		AT_PHNUM, eh->e_phnum,
		AT_PAGESZ, PAGE_SIZE,
		AT_ENTRY, (uint64_t)_start,
		AT_RANDOM, random,
		AT_EXECFN, execfn,
		AT_CLKTCK, CLK_TCK,
		AT_UID, 0, AT_EUID, 0, AT_GID, 0, AT_EGID, 0,
		AT_SECURE, 0,
		AT_BASE, 0,
		AT_FLAGS, 0,
		AT_NULL, 0,
	};

	_Static_assert(ARRAY_LEN(vec) <= AUX_WORDS, "AUX_WORDS");
	memcpy(a, vec, sizeof(vec));
	return ARRAY_LEN(vec);
}

/* argc, argv, environment and auxiliary vector, as System V's ABI lays them out; the stack pointer. */
static uint64_t first_stack(uint64_t top, uint64_t size)
{
	struct stack s = {top - random_below(PAGE_SIZE) / 16 * 16, top - size};
	uint64_t auxv[AUX_WORDS], string, random, *vec;
	uint32_t argc, envc;
	uint8_t seed[16];
	size_t n, words;

	random_bytes(seed, sizeof(seed));
	string = push_strings(&s, &argc, &envc);
	s.sp &= ~15UL;
	random = push(&s, seed, sizeof(seed));
	n = aux(auxv, random, string);
	words = 1 + argc + 1 + envc + 1 + n;
	if (s.sp - s.low < words * sizeof(*vec) + PAGE_SIZE)
		panic("arguments and environment do not fit on the stack of %lu bytes", size);
	s.sp = (s.sp - words * sizeof(*vec)) & ~15UL;
	vec = (uint64_t *)s.sp;
	*vec++ = argc;
	vec = put_pointers(vec, &string, argc);
	vec = put_pointers(vec, &string, envc);
	memcpy(vec, auxv, n * sizeof(*auxv));
	return s.sp;
}

static uint64_t stack_size(void)
{
	uint64_t most = mem.ram_pages / 4 * PAGE_SIZE, want = kx_note.stack_size;

	if (!want)
		return MAX(MIN(STACK_DEFAULT, PAGE_DOWN(most)), STACK_MIN);
	return PAGE_UP(MAX(want, STACK_MIN));
}

/* ---- start of day ---- */

static void name_main_thread(void)
{
	main_thread.tid = own_pid = (int)control->domid;
	list_init(&main_thread.pending.infos);
	strcpy_max(main_thread.name, (const char *)control->name, sizeof(main_thread.name));
}

/* A pVM that was started without a program gets one: from here on it is as if it began now. */
static void await_program(uint64_t stack)
{
	load_program(stack);
	random_init();
	cpu_time_forked();
	boot_ns = now_ns();
	name_main_thread();
	tty_init();
}

/* Called by entry.S on the main thread's kernel stack, events masked. */
void boot(void)
{
	struct frame *f;
	uint64_t size, top;

	if (control->magic != KX_CONTROL_MAGIC || control->abi != KX_ABI_VERSION)
		boot_refused();
	main_thread.kstack = control->ram_va + KSTACK_SIZE;
	control->state = KX_STATE_BOOT;
	boot_ns = main_thread.switched_in = now_ns();
	console_init();
	cpu_init();
	random_init();
	mem_init();
	name_main_thread();
	events_init();
	tty_init();
	vfs_init();
	if (fd_init_stdio())
		panic("cannot open the console");
	f = thread_frame(&main_thread);
	size = stack_size();
	limit_stack(size);
	top = stack_alloc(size);
	if (control->flags & KX_F_WAITS)
		await_program(top);
	frame_init(f, (uint64_t)_start, first_stack(top, size));
	if (control->flags & KX_F_TTY || control->cmds.prod != control->cmds.cons)
		events_handle(0); /* what was sent before we looked */
	if (&kx_network && control->nic.pages && !control->nic.ip)
		kx_network.boot();
	control->main_ns = now_ns();
	control->state = KX_STATE_MAIN;
	leave_kernel(f);
}

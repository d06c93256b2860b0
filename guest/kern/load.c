/*
 * load.c: a library comes while the program runs, and those that it needs. The engine finds and links them and maps what nobody can write to; the rest is done
 * here, in one go: no thread runs, and nothing is forked, before the engine knows how it went.
 */
#include <elf.h>

#include "kx.h"
#include "mem.h"
#include "process.h"
#include "update.h"

#define NAP_NS 10000000
#define STACK_TOUCHED (4 * PAGE_SIZE)

static int open_words(struct scan *s, const struct plan *p)
{
	int err = 0;

	for (uint32_t i = 0; i < p->head->words && !err; i++)
		err = scan_open(s, p->word[i].va);
	return err;
}

static int take(uint64_t at)
{
	struct scan s = {0};
	struct plan p;
	int err = plan_read(&p, at);

	if (!err && (p.head->old_end || p.head->parts || p.head->moves || p.head->literals))
		err = -EINVAL;
	if (!err)
		err = open_words(&s, &p);
	if (!err)
		err = plan_take(&p);
	if (!err)
		plan_words(&p);
	scan_end(&s);
	return err;
}

/* Bytes of a name in the task's data; none: an application. */
static long put_name(uint64_t name)
{
	long n = name ? copy_in_str(task_data, (const char *)name, TASK_ROOM) : 0;

	return name && !n ? -ENOENT : n;
}

/* Why, in words, is in the task's data. */
static long load(uint64_t name, uint64_t flags)
{
	long n, r, place;

	tasks_settle();
	n = put_name(name);
	task_area->op = task_area->size = 0;
	if (n < 0)
		return n;
	task_area->size = (uint32_t)n;
	r = engine_call(KX_CALL_LOAD, 0, (uint64_t)n, flags, 0);
	place = (long)task_area->a[0];
	if (r <= 0)
		return r ? r : place;
	r = take((uint64_t)r);
	engine_call(KX_CALL_LOADED, 0, (uint64_t)r, 0, 0);
	task_area->size = 0;
	return r ? r : place;
}

/* The place of a library in kx_libraries, or -errno, and why in so many bytes of text. */
long sys_load(long name, long flags, long why, long room)
{
	long r = &kx_libraries ? load((uint64_t)name, (uint64_t)flags) : -ENOSYS;
	uint64_t n;

	while (r == -EBUSY && !task_area->size) {
		wait_on_killable(NULL, deadline_after(NAP_NS));
		r = load((uint64_t)name, (uint64_t)flags);
	}
	n = r < 0 && room > 0 ? MIN(MIN((uint64_t)task_area->size, TASK_ROOM), (uint64_t)room - 1) : 0;
	if (room > 0 && (copy_out((void *)why, task_data, n) || clear_out((char *)why + n, 1)))
		r = r < 0 ? r : -EFAULT;
	library_forget();
	return r;
}

/* ---- kx_update ---- */

int kx_update(const char *file, const char *library, unsigned timeout_ms)
{
	return (int)kx_syscall(KX_SYS_update, (long)file, (long)library, timeout_ms, 0, 0, 0);
}

/* The engine has it done when this has returned, as an update from outside. */
long sys_update(long file, long library, long ms)
{
	long n, m;

	tasks_settle();
	n = copy_in_str(task_data, (const char *)file, TASK_ROOM - 1);
	if (n < 0)
		return n;
	m = copy_in_str(task_data + n + 1, (const char *)library, TASK_ROOM - 1 - (size_t)n);
	if (m < 0)
		return m;
	task_data[n] = task_data[n + 1 + m] = 0;
	task_area->op = 0;
	task_area->size = (uint32_t)(n + m + 2);
	n = engine_call(KX_CALL_UPDATE, 0, task_area->size, (uint32_t)ms, 0);
	task_area->size = 0;
	library_forget();
	return n;
}

/* ---- without a program ---- */

/* What a program that begins will use is there before it comes: later each page would cost the time of a fault. */
static void touch(uint64_t from, uint64_t end, bool write)
{
	for (uint64_t page = PAGE_DOWN(from); page < end; page += PAGE_SIZE) {
		volatile uint8_t *p = (volatile uint8_t *)page;
		uint8_t v = *p;

		if (write)
			*p = v;
	}
}

static void touch_all(uint64_t stack)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)KX_IMAGE_VA;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(KX_IMAGE_VA + eh->e_phoff);

	for (uint32_t i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			touch(ph[i].p_vaddr, ph[i].p_vaddr + ph[i].p_memsz, ph[i].p_flags & PF_W);
	touch(stack - STACK_TOUCHED, stack, true);
	touch(KX_TASK_VA, KX_TASK_VA + KX_TASK_SIZE, false); /* the plan comes there, if there is room for it */
}

/* A pVM that has no program yet asks for one, and waits. There is nobody to say to how it went. */
void load_program(uint64_t stack)
{
	long r;

	touch_all(stack);
	r = engine_call(KX_CALL_LOAD, 0, 0, 0, 0);
	if (r > 0)
		r = take((uint64_t)r);
	if (!r)
		return;
	klog("kx: no memory for what the application can write to: run it with more (-m)");
	exit_process(NOT_LINKED << 8);
}

/*
 * procmaps.c: /proc/self/maps. Where libraries are says the program's own table, and what is in them their headers; of the rest of the dynamic segment a
 * touch tells whether it is there, as constants of libraries that an update has replaced may be.
 */
#include "family.h"
#include "proc.h"
#include "process.h"

#include <elf.h>
#include <sys/mman.h>

/* Pages that are one line. prot: -1: nothing is there. */
struct run {
	uint64_t start, offset; /* offset: of the first in its file */
	int prot;
	const char *name;
};

static void show_run(struct text *t, const struct run *r, uint64_t end)
{
	if (r->prot < 0 || r->start == end)
		return;
	text_add(t, "%08lx-%08lx %c%c%cp %08lx 00:00 0", (unsigned long)r->start, (unsigned long)end, r->prot & PROT_READ ? 'r' : '-',
		r->prot & PROT_WRITE ? 'w' : '-', r->prot & PROT_EXEC ? 'x' : '-', (unsigned long)r->offset);
	text_add(t, "%s%s\n", *r->name ? "                          /" : "", r->name);
}

/* A line for each run of pages of one protection. */
static void show_runs(struct text *t, uint64_t from, uint64_t pages, const char *name)
{
	struct run r = {from, 0, -1, name};
	uint64_t end = from + (pages << PAGE_SHIFT);

	for (; from < end; from += PAGE_SIZE) {
		int now = mem_prot_at(from);

		if (now == r.prot)
			continue;
		show_run(t, &r, from);
		r.start = from;
		r.prot = now;
	}
	show_run(t, &r, end);
}

/* ---- libraries ---- */

/* The one that begins at an address or, of those behind it, first. */
static bool next_library(uint64_t from, struct kx_library *next)
{
	uint64_t count = 0;
	bool found = false;
	struct kx_library l;

	if (&kx_libraries && copy_in(&count, &kx_libraries.count, sizeof(count)))
		return false;
	for (uint64_t i = 0; i < MIN(count, (uint64_t)KX_LIBRARIES); i++) {
		if (copy_in(&l, &kx_libraries.library[i], sizeof(l)))
			return false;
		if (l.base < from || l.base >= control->ram_va || (l.base & (PAGE_SIZE - 1)) || (found && l.base >= next->base))
			continue;
		*next = l;
		found = true;
	}
	return found;
}

/* The segments of a library, from end on, which then is where the last one ends. */
static void show_segments_of(struct text *t, const struct kx_library *l, const char *name, uint64_t *end)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (copy_in(&eh, (const void *)l->base, sizeof(eh)) || memcmp(eh.e_ident, ELFMAG, SELFMAG))
		return;
	for (int i = 0; i < eh.e_phnum; i++) {
		struct run r = {.name = name};
		uint64_t va, to;

		if (copy_in(&ph, (const void *)(l->base + eh.e_phoff + i * sizeof(ph)), sizeof(ph)))
			return;
		va = PAGE_DOWN(l->base + ph.p_vaddr);
		to = PAGE_UP(l->base + ph.p_vaddr + ph.p_memsz);
		if (ph.p_type != PT_LOAD || va < *end || to < va || to > control->ram_va)
			continue;
		r.prot = -1;
		for (; va < to; va += PAGE_SIZE) {
			int changed = mem_prot_at(va), now = changed;

			if (now < 0)
				now = (ph.p_flags & PF_R ? PROT_READ : 0) | (ph.p_flags & PF_W ? PROT_WRITE : 0) | (ph.p_flags & PF_X ? PROT_EXEC : 0);
			if (now == r.prot)
				continue;
			show_run(t, &r, va);
			r = (struct run){va, PAGE_DOWN(ph.p_offset) + va - PAGE_DOWN(l->base + ph.p_vaddr), now, name};
		}
		show_run(t, &r, to);
		*end = to;
	}
}

/* What is there from one address to another one, and is of no library. */
static void show_rest(struct text *t, uint64_t from, uint64_t end)
{
	struct run r = {from, 0, -1, ""};

	for (; from < end; from += PAGE_SIZE) {
		char byte;
		int now = copy_in(&byte, (const void *)from, 1) ? -1 : PROT_READ;

		if (now == r.prot)
			continue;
		show_run(t, &r, from);
		r.start = from;
		r.prot = now;
	}
	show_run(t, &r, end);
}

static void show_libraries(struct text *t)
{
	uint64_t at = control->ram_va - (control->dynamic_pages << PAGE_SHIFT);
	struct kx_library l = {0};
	char name[256];

	while (next_library(at, &l)) {
		if (!l.name || copy_in_str(name, (const char *)l.name, sizeof(name)) < 0)
			*name = 0;
		show_rest(t, at, l.base);
		at = l.base;
		show_segments_of(t, &l, name, &at);
		if (at == l.base)
			at += PAGE_SIZE;
	}
	show_rest(t, at, control->ram_va);
}

void show_maps(struct text *t)
{
	char name[sizeof(control->name) + 1] = "";

	for (size_t i = 0; i < sizeof(control->name) && control->name[i]; i++)
		name[i] = control->name[i];
	show_runs(t, KX_IMAGE_VA, control->image_pages - control->dynamic_pages, name);
	show_libraries(t);
	show_runs(t, control->ram_va, control->ram_pages, "");
}

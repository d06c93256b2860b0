/*
 * scan.c: all that may hold an address that the program uses: registers, stacks, writable segments of image and libraries, the program's
 * pages, and the LibOS's own. What nobody has written to is not read, nor what is dead: a stack below its stack pointer.
 */
#include <elf.h>
#include <sys/mman.h>

#include "family.h"
#include "mem.h"
#include "process.h"
#include "update.h"

#define GROUP 16 /* words that scan_words looks at together */
#define SKIPS_MORE 16 /* beside the threads' */
#define XSAVE_FIRST 32 /* bytes of a vector state before the first register */

int user_copy(void *dst, const void *src, size_t n); /* entry.S */
const uint64_t *scan_words(const uint64_t *p, const uint64_t *end, uint64_t low, uint64_t high); /* scan.S */

/* The beginning of struct pthread of musl 1.2.3, at FS base. */
struct pthread_start {
	uint64_t self, dtv, prev, next, sysinfo, canary;
	int32_t tid, errno_val, detach_state, cancel;
	uint64_t flags, map_base, map_size;
	uint64_t stack, stack_size; /* where it ends, bytes */
};
_Static_assert(offsetof(struct pthread_start, tid) == 48 && offsetof(struct pthread_start, stack) == 88, "struct pthread");

static const struct place memory = {0, true, false}, heap = {0, false, false}, shares = {0, true, true};

/* ---- ranges ---- */

int scan_range(struct scan *s, uint64_t from, uint64_t end, struct place where)
{
	const uint64_t *p = (const uint64_t *)((from + 7) & ~7UL), *to = (const uint64_t *)(end & ~7UL);
	int err;

	if (p >= to)
		return 0;
	s->bytes += (uint64_t)to - (uint64_t)p;
	while (p < to) {
		const uint64_t *stop;

		p = scan_words(p, to, s->low, s->high);
		for (stop = p + MIN(to - p, GROUP); p < stop; p++)
			if (*p - s->low <= s->high - s->low && (err = s->found(s, (uint64_t)p, where)))
				return err;
	}
	return 0;
}

/* A range but for what is skipped. */
static int rest_of(struct scan *s, uint64_t from, uint64_t end, struct place where)
{
	uint32_t i = 0, n = s->skips;
	int err = 0;

	while (i < n) { /* the first that ends later */
		uint32_t mid = (i + n) / 2;

		if (s->skip[mid].end <= from)
			i = mid + 1;
		else
			n = mid;
	}
	for (; from < end && !err; i++) {
		uint64_t stop = i < s->skips ? MIN(s->skip[i].from, end) : end;

		if (stop > from)
			err = scan_range(s, from, stop, where);
		from = i < s->skips ? MAX(from, s->skip[i].end) : end;
	}
	return err;
}

/* ---- pages that the program has protected ---- */

bool readable(uint64_t va, uint64_t n)
{
	char c;

	for (uint64_t p = va; p < va + n; p = PAGE_DOWN(p) + PAGE_SIZE)
		if (user_copy(&c, (const void *)p, 1))
			return false;
	return va + n >= va;
}

static int protect(uint64_t page, int prot)
{
	uint64_t va = page << PAGE_SHIFT;

	return va >= mem.ram_va ? run_protect(page_of(va), 1, prot) : image_protect(va, 1, prot);
}

static int open_page(struct scan *s, uint64_t va, int prot)
{
	struct opened *more;

	if (s->opens == s->open_room) {
		more = krealloc(s->opened, (2 * s->open_room + 16) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		s->opened = more;
		s->open_room = 2 * s->open_room + 16;
	}
	s->opened[s->opens++] = (struct opened){va >> PAGE_SHIFT, prot};
	return protect(va >> PAGE_SHIFT, PROT_READ | PROT_WRITE) ? -ENOMEM : 0;
}

int scan_open(struct scan *s, uint64_t at)
{
	uint64_t page = page_of(at), pfn = mem.image_pages + page;
	int prot = mem_prot_at(at);

	if (at >= mem.ram_va && page < mem.ram_pages && (mem.state[page] & PG_TYPE) == PG_KERNEL)
		return 0; /* it is never shared */
	if (prot < 0)
		return at >= mem.dynamic_va && at < mem.ram_va && readable(at, 8) ? 0 : -EINVAL;
	if (!(prot & PROT_WRITE) && open_page(s, at, prot))
		return -ENOMEM;
	if (at < mem.ram_va)
		return 0;
	return cow_settle(page, 1) || (cow_shared(pfn) && cow_copy(pfn, PAGE_DOWN(at))) ? -ENOMEM : 0;
}

/* ---- the RAM window ---- */

/* What a page of the window is to us: PG_USER, PG_KERNEL, 0: nothing, -ENOMEM. */
static int kind_of(struct scan *s, uint64_t page)
{
	uint8_t st = mem.state[page];

	if (!(st & PG_TYPE) || !(st & PG_DIRTY) || st & (PG_STALE | PG_ABSENT))
		return 0;
	if (cow_settle(page, 1))
		return -ENOMEM;
	if (mfn_list && !mfn_list[mem.image_pages + page])
		return 0; /* a fork has left it out: it is zero */
	if (!(st & PG_NOREAD))
		return st & PG_TYPE;
	if ((st & PG_TYPE) == PG_KERNEL)
		return 0;
	/* The program cannot look now, but may later. */
	return open_page(s, (uint64_t)page_va(page), PROT_NONE) ? -ENOMEM : PG_USER;
}

/* How many pages of a run are in use, eight at a look. */
static uint64_t in_use(uint64_t i, uint64_t end)
{
	const uint64_t ones = 0x0101010101010101UL;
	uint64_t n = 0, w;

	for (; i < end && (i % 8 || i + 8 > end); i++)
		n += !!(mem.state[i] & PG_TYPE);
	for (; i + 8 <= end; i += 8) {
		w = *(const uint64_t *)(mem.state + i);
		n += ((w | w >> 1) & ones) * ones >> 56;
	}
	return i < end ? n + in_use(i, end) : n;
}

/* where: NULL: all that is not skipped. */
static int window(struct scan *s, uint64_t from, uint64_t end, const struct place *where)
{
	const uint64_t types = 0x0101010101010101UL * PG_TYPE;
	uint64_t used = 0, stop = page_of(PAGE_UP(end));
	const struct span *k = s->skip, *last = where ? s->skip : s->skip + s->skips;
	int kind, err = 0;

	/* Behind the last page in use is nothing. */
	for (uint64_t i = page_of(from), run; i < stop && used < mem.user + mem.kernel && !err; i = run) {
		run = i + 1;
		if (i % 8 == 0 && !(*(const uint64_t *)(mem.state + i) & types)) {
			run = i + 8;
			continue;
		}
		for (; k < last && k->end < (uint64_t)page_va(i + 1); k++)
			;
		if (k < last && k->from <= (uint64_t)page_va(i)) { /* a stack is large */
			run = MIN(page_of(PAGE_DOWN(k->end)), stop);
			used += in_use(i, run);
			continue;
		}
		used += !!(mem.state[i] & PG_TYPE);
		kind = kind_of(s, i);
		for (; kind > 0 && run < stop && kind_of(s, run) == kind; run++)
			used++;
		if (kind < 0)
			return kind;
		if (!kind)
			continue;
		from = MAX(from, (uint64_t)page_va(i));
		if (where)
			err = scan_range(s, from, MIN(end, (uint64_t)page_va(run)), *where);
		else
			err = rest_of(s, from, MIN(end, (uint64_t)page_va(run)), kind == PG_KERNEL ? heap : memory);
	}
	return err;
}

/* ---- image and libraries ---- */

/* Writable segments of the file whose first page is at va, but those that [low, high] is in. */
static int segments(struct scan *s, uint64_t va, uint64_t base)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	int err = 0;

	if (user_copy(&eh, (const void *)va, sizeof(eh)) || memcmp(eh.e_ident, ELFMAG, SELFMAG))
		return -EINVAL;
	for (int i = 0; i < eh.e_phnum && !err; i++) {
		uint64_t from, end;

		if (user_copy(&ph, (const void *)(va + eh.e_phoff + i * sizeof(ph)), sizeof(ph)))
			return -EINVAL;
		if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_W))
			continue;
		from = base + ph.p_vaddr;
		end = from + ph.p_memsz;
		for (uint64_t p = PAGE_DOWN(from); p < end; p += PAGE_SIZE)
			if (!(mem_prot_at(p) & PROT_READ) && open_page(s, p, mem_prot_at(p)))
				return -ENOMEM;
		err = readable(from, end - from) ? rest_of(s, from, end, memory) : -EINVAL;
	}
	return err;
}

static uint64_t libraries(void)
{
	return &kx_libraries ? MIN(kx_libraries.count, (uint64_t)KX_LIBRARIES) : 0;
}

/* Those that are where libraries are: the table is in the program's hands. */
static int other_libraries(struct scan *s)
{
	int err = 0;

	for (uint64_t i = 0; i < libraries() && !err; i++) {
		uint64_t base = kx_libraries.library[i].base;

		if (base >= mem.dynamic_va && base < mem.ram_va && base - s->low > s->high - s->low)
			err = segments(s, base, base);
	}
	return err;
}

uint64_t library_item(uint64_t low, uint64_t high)
{
	for (uint64_t i = 0; i < libraries(); i++)
		if (kx_libraries.library[i].base - low <= high - low)
			return (uint64_t)&kx_libraries.library[i];
	return 0;
}

int scan_memory(struct scan *s)
{
	int err = segments(s, KX_IMAGE_VA, 0);

	if (!err)
		err = other_libraries(s);
	return err ? err : window(s, mem.ram_va, mem.ram_va + (mem.ram_pages << PAGE_SHIFT), NULL);
}

static int shared_page(void *s, uint64_t from, uint64_t end)
{
	return scan_range(s, from, end, shares);
}

int scan_shared(struct scan *s)
{
	return shm_each(shared_page, s);
}

/* ---- threads ---- */

/* The stack that the C library or the LibOS has made for a thread; none if the thread is on another one now, or nothing is known. */
static struct span stack_of(const struct thread *t)
{
	uint64_t rsp = thread_frame(t)->rsp, low = (uint64_t)page_va(mem.stack), end = (uint64_t)page_va(mem.stack_end);
	struct pthread_start p;

	if (rsp >= low && rsp < end)
		return (struct span){low, end};
	if (copy_in(&p, (const void *)t->fs_base, sizeof(p)) || p.self != t->fs_base || p.tid != t->tid)
		return (struct span){0, 0};
	low = p.stack - p.stack_size;
	if (low < mem.ram_va || low > rsp || rsp >= p.stack || page_of(p.stack) > mem.ram_pages)
		return (struct span){0, 0};
	return (struct span){low, p.stack};
}

static int thread(struct scan *s, struct thread *t)
{
	struct frame *f = thread_frame(t);
	const struct place live = {t->tid, true, false}, value = {t->tid, false, false};
	bool call = f->nr >= 0; /* of the system: all that it does not keep is dead, but its arguments may be used again */
	struct span stack = stack_of(t);
	int err;

	err = scan_range(s, (uint64_t)&f->rip, (uint64_t)(&f->rip + 1), live);
	if (!err)
		err = scan_range(s, (uint64_t)&f->rsp, (uint64_t)(&f->rsp + 1), live);
	if (!err)
		err = scan_range(s, (uint64_t)&f->r15, (uint64_t)(&f->rax + 1), live);
	if (!err)
		err = scan_range(s, (uint64_t)&f->r9, (uint64_t)(&f->rcx + 1), call ? value : live);
	if (!err && !call && t->xsave_mem)
		err = scan_range(s, (uint64_t)fpu_area(t) + XSAVE_FIRST, (uint64_t)fpu_area(t) + fpu_size(), value);
	/* Where nobody returns to the program's code. */
	if (!err)
		err = scan_range(s, t->ksp, (uint64_t)f, value);
	/* There is no red zone: Xen would write over it. */
	return !err && stack.end ? window(s, f->rsp, stack.end, &live) : err;
}

int scan_threads(struct scan *s)
{
	int err = 0;

	for (struct list_node *n = threads.next; n != &threads && !err; n = n->next)
		err = thread(s, CONTAINER_OF(n, struct thread, all));
	return err;
}

/* ---- what is skipped ---- */

static void skip(struct scan *s, uint64_t from, uint64_t end)
{
	if (s->skips < s->skip_room && from < end)
		s->skip[s->skips++] = (struct span){from, end};
}

/* Shell's way: short, and quick for some thousands that are nearly sorted. */
static void sort(struct span *a, uint32_t n)
{
	for (uint32_t gap = n / 2; gap; gap /= 2)
		for (uint32_t i = gap; i < n; i++) {
			struct span v = a[i];
			uint32_t k = i;

			for (; k >= gap && a[k - gap].from > v.from; k -= gap)
				a[k] = a[k - gap];
			a[k] = v;
		}
}

/* On its stack is what it had when it was last left; above it, the program's registers. */
static void skip_thread(struct scan *s, struct thread *t)
{
	struct span stack = stack_of(t);

	skip(s, t->kstack - KSTACK_SIZE, t->kstack);
	skip(s, stack.from, stack.end);
	skip(s, (uint64_t)t->xsave_mem, t->xsave_mem ? (uint64_t)t->xsave_mem + fpu_size() + FPU_ALIGN : 0);
}

int scan_begin(struct scan *s, const struct span *own, uint32_t n)
{
	uint64_t room = PAGE_UP((3UL * thread_count + SKIPS_MORE) * sizeof(*s->skip));

	s->skip = page_alloc(room >> PAGE_SHIFT);
	if (!s->skip)
		return -ENOMEM;
	s->skip_room = (uint32_t)(room / sizeof(*s->skip));
	skip(s, (uint64_t)s->skip, (uint64_t)s->skip + room);
	for (uint32_t i = 0; i < n; i++)
		skip(s, own[i].from, own[i].end);
	skip(s, (uint64_t)mem.state, PAGE_UP((uint64_t)mem.state + mem.ram_pages));
	skip(s, control->root_va, PAGE_UP(control->root_va + control->root_len));
	skip(s, (uint64_t)page_va(mem.stack - 1), (uint64_t)page_va(mem.stack)); /* it holds nothing, but has the look of it */
	skip(s, (uint64_t)cow_content, (uint64_t)cow_content + sizeof(cow_content));
	if (cur->state == THREAD_DEAD)
		skip_thread(s, cur); /* it is on no list any more */
	for (struct list_node *n = threads.next; n != &threads; n = n->next)
		skip_thread(s, CONTAINER_OF(n, struct thread, all));
	sort(s->skip, s->skips);
	return 0;
}

void scan_end(struct scan *s)
{
	for (uint32_t i = 0; i < s->opens; i++)
		protect(s->opened[i].page, s->opened[i].prot);
	kfree(s->opened);
	if (s->skip)
		page_free(s->skip, s->skip_room * sizeof(*s->skip) >> PAGE_SHIFT);
}

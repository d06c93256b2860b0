/*
 * update.c: how a library is replaced, in a pVM that is not there: image, dynamic segment, RAM window, control area and threads are where a pVM has
 * them, and hold words of every kind. What each should become is said by a model that knows nothing of lists, groups or pages.
 *
 * update [SEED [ROUNDS]]
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "family.h"
#include "hyper.h"
#include "mem.h"
#include "process.h"
#include "update.h"

#define IMAGE_PAGES 24
#define IMAGE_DATA 8 /* the first page of data */
#define DYNAMIC_PAGES 64
#define RAM_VA 0x200000400000UL
#define RAM_PAGES 2048
#define DYNAMIC_VA (RAM_VA - DYNAMIC_PAGES * PAGE_SIZE)

/* Pages of the dynamic segment. */
#define PLAN 1
#define PLAN_PAGES 8
#define CONTENT 9
#define OTHER 13 /* a library: head, code, 2 of data */
#define OLD 26 /* it lies across a multiple of 64 KiB */
#define NEW 40
#define LIBRARY_PAGES 10
#define AT(page) (DYNAMIC_VA + (page) * PAGE_SIZE)

#define MOST 96

long update_run(uint64_t plan, struct kx_updated *result, bool try, uint64_t sp);

static const char *doing = "";

#define CHECK(cond)                                                                                  \
	do {                                                                                         \
		if (!(cond)) {                                                                       \
			printf("%s:%d: %s (%s, round %d)\n", __func__, __LINE__, #cond, doing, round_no); \
			exit(1);                                                                     \
		}                                                                                    \
	} while (0)

static int round_no;

/* ---- random numbers ---- */

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

static uint64_t below(uint64_t n)
{
	return (rnd() >> 20) % n;
}

/* ---- what the tested files call ---- */

struct thread main_thread = {.all = {&threads, &threads}}, *cur = &main_thread;
struct list_node threads = {&main_thread.all, &main_thread.all};
int thread_count = 1;
struct kx_libraries kx_libraries;
static long fail_take = -1, takes, drops, fail_protect = -1;
static uint64_t frames = 1 << 20;
static int actual[RAM_PAGES]; /* protections of the window, as the hypervisor has them; -1: as at the start */

static int to_prot(uint64_t pte)
{
	return !(pte & PTE_PRESENT) ? PROT_NONE : PROT_READ | (pte & PTE_RW ? PROT_WRITE : 0);
}

/* The hypervisor's part in protections, and frames without end. */
int64_t hypercall(uint64_t a, uint64_t b, uint64_t c, uint64_t nr);
int64_t hypercall(uint64_t a, uint64_t b, uint64_t c, uint64_t nr)
{
	struct multicall_entry *m = (struct multicall_entry *)a;
	struct xen_memory_reservation *r = (struct xen_memory_reservation *)b;

	switch (nr) {
	case __HYPERVISOR_update_va_mapping:
		if (fail_protect >= 0 && !fail_protect--)
			return -ENOMEM;
		CHECK(!mprotect((void *)a, PAGE_SIZE, to_prot(b)));
		if (page_of(a) < RAM_PAGES)
			actual[page_of(a)] = to_prot(b);
		return 0;
	case __HYPERVISOR_multicall:
		for (uint64_t i = 0; i < b; i++)
			m[i].result = hypercall(m[i].args[0], m[i].args[1], m[i].args[2], m[i].op);
		return 0;
	case __HYPERVISOR_memory_op:
		for (uint64_t i = 0; i < r->nr_extents && a == XENMEM_populate_physmap; i++)
			((uint64_t *)r->extent_start)[i] = ++frames;
		return (int64_t)r->nr_extents;
	}
	(void)c;
	return 0;
}

__asm__(".text\n.balign 4096\n.globl kx_hypercall_page\nkx_hypercall_page:\n.set nr, 0\n.rept 64\n"
	"mov $nr, %eax\njmp hypercall_common\n.balign 32\n.set nr, nr + 1\n.endr\n"
	"hypercall_common: push %rbp\nmov %rsp, %rbp\npush %rcx\npush %r9\npush %r11\nand $-16, %rsp\n"
	"mov %rax, %rcx\ncall hypercall\nlea -24(%rbp), %rsp\npop %r11\npop %r9\npop %rcx\npop %rbp\nret\n");

int user_copy(void *dst, const void *src, size_t n);
int user_copy(void *dst, const void *src, size_t n)
{
	struct iovec to = {dst, n}, from = {(void *)src, n};

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)n ? 0 : -EFAULT;
}

int copy_in(void *dst, const void *src, size_t n)
{
	return user_copy(dst, src, n);
}

int dynamic_take(uint64_t va, uint64_t pages)
{
	if (fail_take >= 0 && !fail_take--)
		return -ENOMEM;
	takes += (long)pages;
	CHECK(!mprotect((void *)va, pages * PAGE_SIZE, PROT_READ | PROT_WRITE));
	memset((void *)va, 0, pages * PAGE_SIZE);
	return 0;
}

void dynamic_drop(uint64_t va, uint64_t pages)
{
	drops += (long)pages;
	CHECK(!mprotect((void *)va, pages * PAGE_SIZE, PROT_NONE));
}

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC + ts.tv_nsec;
}

static char shared_memory[2 * PAGE_SIZE] __attribute__((aligned(4096)));

void shm_moved(void)
{
}

int shm_each(int (*look)(void *arg, uint64_t from, uint64_t end), void *arg)
{
	return look(arg, (uint64_t)shared_memory, (uint64_t)(&shared_memory + 1));
}

long engine_call(uint32_t op, uint32_t flags, uint64_t a, uint64_t b, uint64_t c)
{
	(void)op, (void)flags, (void)a, (void)b, (void)c;
	return 0;
}

void *fpu_area(struct thread *t)
{
	if (!t->xsave_mem)
		t->xsave_mem = kmalloc(fpu_size() + FPU_ALIGN);
	return t->xsave_mem ? (void *)(((uintptr_t)t->xsave_mem + FPU_ALIGN - 1) & ~(uintptr_t)(FPU_ALIGN - 1)) : NULL;
}

uint32_t fpu_size(void)
{
	return 1088;
}

static uint64_t cpu_vectors[16]; /* what the CPU has in its vector registers */

void fpu_save(void *area)
{
	memset(area, 0, fpu_size());
	memcpy((char *)area + 160, cpu_vectors, sizeof(cpu_vectors));
}

void fpu_restore(const void *area)
{
	memcpy(cpu_vectors, (const char *)area + 160, sizeof(cpu_vectors));
}

void panic(const char *fmt, ...)
{
	puts(fmt);
	abort();
}

/* ---- the plan ---- */

static struct {
	struct kx_update head;
	struct kx_update_part part[4];
	struct kx_update_page page[8];
	struct kx_update_move move[MOST];
	struct kx_update_word literal[MOST], word[MOST];
} plan;

static void add_part(int page, int pages, int kind)
{
	plan.part[plan.head.parts++] = (struct kx_update_part){AT(page), AT(page + pages), kind, 0};
}

/* Moves of a part, to places from *to on. */
static void add_moves(const struct kx_update_part *p, uint64_t *to, unsigned most)
{
	uint64_t at = p->va + below(3) * 8, size;

	for (unsigned n = 0; n < most; n++) {
		size = p->kind == KX_UPDATE_CODE ? 1 + below(60) : below(5) ? 8 * (1 + below(20)) : below(30);
		if (at + size > p->end)
			break;
		plan.move[plan.head.moves++] = (struct kx_update_move){at, *to, size, p->kind, 0};
		*to += size + below(4) * 8;
		at += size + (below(3) ? 0 : below(9) * 8);
		if (p->kind == KX_UPDATE_CODE)
			at += below(2);
		else if (below(8) && at % 8)
			at += 8 - at % 8;
		if (!size)
			at += 8;
	}
	for (struct kx_update_move *m = plan.move; p->kind == KX_UPDATE_DATA && m < plan.move + plan.head.moves; m++)
		if (m->kind == KX_UPDATE_DATA && !below(5)) {
			m->kind = KX_UPDATE_CONST; /* with pointers in it, or the program has a copy */
			m->to = AT(NEW + 2) + below(PAGE_SIZE);
		}
	if (below(2)) /* the last one ends where the part does */
		plan.move[plan.head.moves++] = (struct kx_update_move){MAX(at, p->end - 16), *to, p->end - MAX(at, p->end - 16), p->kind, 0};
	*to += 32;
}

/* Where some moves end begins something else. */
static void add_gone(void)
{
	static struct kx_update_move list[MOST];
	unsigned n = 0;

	for (uint32_t i = 0; i < plan.head.moves; i++) {
		uint64_t end = plan.move[i].from + plan.move[i].size;

		list[n++] = plan.move[i];
		if (plan.move[i].kind != KX_UPDATE_CODE && plan.move[i].size && end % PAGE_SIZE && (i + 1 == plan.head.moves || end != plan.move[i + 1].from) &&
		    !below(3) && n + plan.head.moves - i < MOST)
			list[n++] = (struct kx_update_move){end, 0, 0, KX_UPDATE_GONE, 0};
	}
	memcpy(plan.move, list, sizeof(list));
	plan.head.moves = n;
}

static void store(uint64_t at, uint64_t value)
{
	memcpy((void *)at, &value, sizeof(value));
}

static uint64_t load(uint64_t at)
{
	uint64_t value;

	memcpy(&value, (const void *)at, sizeof(value));
	return value;
}

/* What the plan says goes to the pages where a pVM could not write. */
static void put_plan(void)
{
	char *p = (char *)AT(PLAN);
	size_t n;

#define PUT(what, count) (n = (count) * sizeof((what)[0]), memcpy(p, what, n), p += n)
	CHECK(!mprotect(p, PLAN_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE));
	PUT(&plan.head, 1);
	PUT(plan.part, plan.head.parts);
	PUT(plan.page, plan.head.pages);
	PUT(plan.move, plan.head.moves);
	PUT(plan.literal, plan.head.literals);
	PUT(plan.word, plan.head.words);
#undef PUT
	CHECK(!mprotect((void *)AT(PLAN), PLAN_PAGES * PAGE_SIZE, PROT_READ));
}

static void make_plan(void)
{
	uint64_t code = AT(NEW), constant = AT(NEW + 2), data = AT(NEW + 5);

	plan.head = (struct kx_update){.old_va = AT(OLD), .old_end = AT(OLD + 8), .new_va = AT(NEW), .new_end = AT(NEW + 9)};
	add_part(OLD, 2, KX_UPDATE_CODE);
	add_part(OLD + 3, 2, KX_UPDATE_CONST);
	add_part(OLD + 5, 3, KX_UPDATE_DATA);
	add_moves(&plan.part[0], &code, 30);
	add_moves(&plan.part[1], &constant, 20);
	data += below(2) ? 0 : 4; /* and odd places */
	add_moves(&plan.part[2], &data, 30);
	add_gone();
	if (below(2)) /* one apart from the others */
		plan.page[plan.head.pages++] = (struct kx_update_page){AT(NEW + 3), 0};
	for (int i = 0; i < 4; i++)
		plan.page[plan.head.pages++] = (struct kx_update_page){AT(NEW + 5 + i), below(3) ? AT(CONTENT + i) : 0};
}

/* ---- the model ---- */

/* What an address of the old library becomes; *kind: 0: nothing to do with it, else of the move; or minus that of the part where there is none. */
static uint64_t model_of(uint64_t value, int *kind)
{
	const struct kx_update_move *m;

	*kind = 0;
	if (value < AT(OLD) || value > AT(OLD + 8))
		return value;
	for (m = plan.move; m < plan.move + plan.head.moves; m++)
		if (m->kind == KX_UPDATE_GONE && value == m->from)
			goto gone;
	for (m = plan.move; m < plan.move + plan.head.moves; m++) {
		*kind = (int)m->kind;
		if (m->kind == KX_UPDATE_CODE ? value == m->from : value == m->from || (value > m->from && value < m->from + m->size))
			return m->to + (value - m->from);
	}
	for (m = plan.move; m < plan.move + plan.head.moves; m++) {
		*kind = (int)m->kind;
		if (m->kind != KX_UPDATE_CODE && value == m->from + m->size)
			return m->to + m->size;
	}
gone:
	*kind = 0;
	for (uint32_t i = 0; i < plan.head.parts; i++)
		if (value >= plan.part[i].va && value < plan.part[i].end)
			*kind = -(int)plan.part[i].kind;
	return value;
}

static bool is_word(uint64_t at)
{
	for (uint32_t i = 0; i < plan.head.words; i++)
		if (plan.word[i].va == at)
			return true;
	return false;
}

static const struct kx_update_word *literal_at(uint64_t at)
{
	for (uint32_t i = 0; i < plan.head.literals; i++)
		if (plan.literal[i].va == at)
			return &plan.literal[i];
	return NULL;
}

static const struct kx_update_move *variable_at(uint64_t at)
{
	const struct kx_update_move *m;

	for (m = plan.move; m < plan.move + plan.head.moves; m++)
		if (m->kind == KX_UPDATE_DATA && at >= m->from && at + 8 <= m->from + m->size)
			return m;
	return NULL;
}

/* ---- memory ---- */

enum rule {
	ANY,    /* memory of the program: a word may be anything */
	VALUES, /* no return address is here */
	DEAD,   /* not looked at */
};

struct area {
	const char *name;
	uint64_t from, end;
	enum rule rule;
	int tid;
	char *before;
} areas[64];
static int n_areas;

static void add_area(const char *name, uint64_t from, uint64_t end, enum rule rule, int tid)
{
	areas[n_areas++] = (struct area){name, from, end, rule, tid, malloc(end - from)};
}

static uint64_t some_move(uint32_t kind)
{
	for (;;) {
		const struct kx_update_move *m = &plan.move[below(plan.head.moves)];
		uint64_t v = m->from + (kind == KX_UPDATE_CODE ? 0 : below(m->size + 1));
		int k;

		model_of(v, &k);
		if (m->kind == kind && k > 0)
			return v;
	}
}

/* An address of a part that no move has; 0: there was none. */
static uint64_t unmoved(int kind)
{
	int k;

	for (int i = 0; i < 1000; i++) {
		uint64_t v = plan.part[kind - 1].va + below(plan.part[kind - 1].end - plan.part[kind - 1].va);

		model_of(v, &k);
		if (k == -kind)
			return v;
	}
	return 0;
}

/* A word that stands in nobody's way. */
static uint64_t harmless(bool pins)
{
	switch (below(pins ? 10 : 9)) {
	case 0: return below(1000);
	case 1: return rnd();
	case 2: return RAM_VA + below(RAM_PAGES * PAGE_SIZE);
	case 3: return below(2) ? AT(OLD) - 1 - below(100000) : AT(OLD + 8) + 1 + below(100000);
	case 4: return AT(OLD + 2) + 1 + below(PAGE_SIZE - 1); /* between parts; at its first byte something may end */
	case 5: return some_move(below(2) ? KX_UPDATE_DATA : KX_UPDATE_CODE) | 1UL << (48 + below(16));
	case 6: return some_move(KX_UPDATE_CODE);
	case 7: return some_move(KX_UPDATE_CONST);
	case 8: return some_move(KX_UPDATE_DATA);
	default: return unmoved(KX_UPDATE_CONST);
	}
}

static void fill(uint64_t from, uint64_t end, unsigned sparse, bool pins)
{
	for (uint64_t at = from; at < end; at += 8)
		store(at, below(sparse) ? 0 : harmless(pins));
}

/* ---- threads ---- */

static struct thread others[3];

static struct frame *frame_of(struct thread *t, int64_t nr, uint64_t rsp, bool pins)
{
	struct frame *f = thread_frame(t);

	fill((uint64_t)f, (uint64_t)(f + 1), 1, pins);
	f->nr = nr;
	f->rip = KX_IMAGE_VA + 0x1234;
	f->rsp = rsp;
	return f;
}

static void kernel_stack(struct thread *t, bool pins)
{
	struct frame *f = thread_frame(t);
	bool call = f->nr >= 0;

	t->ksp = (uint64_t)f - 8 * (10 + below(100));
	fill(t->kstack - KSTACK_SIZE, (uint64_t)f, 3, pins);
	add_area("dead kernel stack", t->kstack - KSTACK_SIZE, t->ksp, DEAD, 0);
	add_area("kernel stack", t->ksp, (uint64_t)f, VALUES, t->tid);
	add_area("kept registers", (uint64_t)&f->r15, (uint64_t)&f->r9, ANY, t->tid);
	add_area("other registers", (uint64_t)&f->r9, (uint64_t)&f->nr, call ? VALUES : ANY, t->tid);
	add_area("frame", (uint64_t)&f->nr, (uint64_t)&f->rip, DEAD, 0);
	add_area("rip", (uint64_t)&f->rip, (uint64_t)&f->cs, ANY, t->tid);
	if (t == cur || call || below(3) == 0)
		return;
	t->xsave_mem = kmalloc(fpu_size() + FPU_ALIGN);
	fill((uint64_t)fpu_area(t), (uint64_t)fpu_area(t) + fpu_size(), 2, pins);
	add_area("control of vectors", (uint64_t)fpu_area(t), (uint64_t)fpu_area(t) + 32, DEAD, 0);
	add_area("vectors", (uint64_t)fpu_area(t) + 32, (uint64_t)fpu_area(t) + fpu_size(), VALUES, t->tid);
}

/* As musl lays a stack out: guard page, stack, struct pthread at FS base. */
static void other_thread(struct thread *t, int tid, uint64_t page, bool pins)
{
	uint64_t low = (uint64_t)page_va(page + 1), pthread = low + 3 * PAGE_SIZE + 256, rsp = low + 8 * below(3 * PAGE_SIZE / 8);
	char *kstack = page_alloc(2);
	bool elsewhere = !below(4); /* on a stack of the program's own making */

	CHECK(!run_take(page, 5, PROT_NONE) && !run_protect(page + 1, 4, PROT_READ | PROT_WRITE));
	*t = (struct thread){.tid = tid, .kstack = (uint64_t)kstack + KSTACK_SIZE, .state = THREAD_WAITING, .fs_base = pthread};
	list_add_tail(&threads, &t->all);
	thread_count++;
	fill(low, low + 4 * PAGE_SIZE, 4, pins);
	store(pthread, pthread);
	*(int *)(pthread + 48) = tid;
	store(pthread + 88, pthread - 64);
	store(pthread + 96, pthread - 64 - low);
	frame_of(t, below(2) ? 0 : FRAME_UPCALL, elsewhere ? KX_IMAGE_VA + IMAGE_DATA * PAGE_SIZE + 64 : rsp, pins);
	kernel_stack(t, pins);
	add_area("other dead stack", low, rsp, elsewhere ? ANY : DEAD, 0);
	add_area("other stack", rsp, pthread - 64, ANY, elsewhere ? 0 : tid);
	add_area("behind other stack", pthread - 64, low + 4 * PAGE_SIZE, ANY, 0);
}

/* ---- a pVM ---- */

static void map_at(uint64_t va, uint64_t pages)
{
	CHECK(mmap((void *)va, pages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)va);
}

static void segment(uint64_t va, uint64_t base, uint64_t page, uint64_t size)
{
	Elf64_Ehdr *eh = (Elf64_Ehdr *)va;
	Elf64_Phdr *ph = (Elf64_Phdr *)(eh + 1);

	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_phoff = sizeof(*eh);
	eh->e_phnum = 2;
	ph[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = va - base, .p_memsz = page * PAGE_SIZE};
	ph[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_vaddr = va - base + page * PAGE_SIZE, .p_memsz = size};
}

#define USER 200   /* pages of the window: memory */
#define USERS 24
#define STACK 100
#define STACKS 8
#define THREADS 300

static char *block;
static uint64_t cow_list[IMAGE_PAGES + DYNAMIC_PAGES + RAM_PAGES];

static void make_pvm(bool machine_frames, bool pins, unsigned sparse)
{
	struct start_info *start = (struct start_info *)KX_START_VA;
	uint64_t data = KX_IMAGE_VA + IMAGE_DATA * PAGE_SIZE, rsp;
	char *stale;

	map_at(KX_CTL_VA, KX_CTL_SIZE / PAGE_SIZE);
	map_at(KX_IMAGE_VA, IMAGE_PAGES);
	map_at(DYNAMIC_VA, DYNAMIC_PAGES);
	map_at(RAM_VA, RAM_PAGES);
	control->image_pages = IMAGE_PAGES + DYNAMIC_PAGES;
	control->dynamic_pages = DYNAMIC_PAGES;
	control->ram_va = RAM_VA;
	control->ram_pages = RAM_PAGES;
	start->nr_pages = IMAGE_PAGES + DYNAMIC_PAGES + RAM_PAGES;
	mem_init();
	if (machine_frames) {
		mfn_list = cow_list;
		for (size_t i = 0; i < ARRAY_LEN(cow_list); i++)
			cow_list[i] = ++frames;
	}
	make_plan();
	segment(KX_IMAGE_VA, 0, IMAGE_DATA, (IMAGE_PAGES - IMAGE_DATA) * PAGE_SIZE - 4);
	segment(AT(OTHER), AT(OTHER), 2, 2 * PAGE_SIZE);
	kx_libraries.count = 2;
	kx_libraries.library[0].base = AT(OLD);
	kx_libraries.library[1].base = AT(OTHER);
	main_thread.tid = 7;
	main_thread.kstack = RAM_VA + KSTACK_SIZE;

	fill(data, KX_IMAGE_VA + IMAGE_PAGES * PAGE_SIZE, sparse, pins);
	add_area("image", data, KX_IMAGE_VA + IMAGE_PAGES * PAGE_SIZE - 8, ANY, 0);
	fill(AT(OTHER + 2), AT(OTHER + 4), 3, pins);
	add_area("other library", AT(OTHER + 2), AT(OTHER + 4), ANY, 0);
	for (int i = 0; i < 4; i++)
		fill(AT(CONTENT + i), AT(CONTENT + i + 1), 2, false);

	CHECK(!run_reserve(STACK, STACKS + 1) && !run_protect(STACK, 1, PROT_NONE));
	mem.stack = STACK + 1;
	mem.stack_end = STACK + 1 + STACKS;
	fill((uint64_t)page_va(mem.stack), (uint64_t)page_va(mem.stack_end), 3, pins);
	rsp = (uint64_t)page_va(mem.stack) + 8 * below(STACKS * PAGE_SIZE / 8);
	frame_of(&main_thread, FRAME_UPCALL, rsp, pins);
	kernel_stack(&main_thread, pins);
	add_area("dead stack", (uint64_t)page_va(mem.stack), rsp, DEAD, 0);
	add_area("stack", rsp, (uint64_t)page_va(mem.stack_end), ANY, main_thread.tid);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (below(3))
			other_thread(&others[i], 100 + (int)i, THREADS + 16 * i, pins);

	CHECK(!run_take(USER, USERS, PROT_READ | PROT_WRITE));
	fill((uint64_t)page_va(USER), (uint64_t)page_va(USER + USERS), sparse, pins);
	add_area("memory", (uint64_t)page_va(USER), (uint64_t)page_va(USER + USERS), ANY, 0);
	CHECK(!run_protect(USER + 3, 2, PROT_READ) && !run_protect(USER + 7, 3, PROT_NONE) && !run_protect(USER + 12, 1, PROT_READ | PROT_EXEC));
	CHECK(!run_take(USER + USERS, 4, PROT_NONE)); /* nothing is there */
	CHECK(!image_protect(data + 2 * PAGE_SIZE, 1, PROT_READ) && !image_protect(data + 5 * PAGE_SIZE, 1, PROT_NONE));
	block = kmalloc(1024);
	fill((uint64_t)block, (uint64_t)block + 1024, 2, pins);
	add_area("kernel heap", (uint64_t)block, (uint64_t)block + 1024, VALUES, 0);
	stale = page_alloc(32);
	for (uint64_t at = (uint64_t)stale; at < (uint64_t)stale + 32 * PAGE_SIZE; at += 8) /* what kernel pages had before they are got */
		store(at, unmoved(KX_UPDATE_DATA));
	page_free(stale, 32);
	for (int i = 0; machine_frames && i < USERS; i += 3) /* shared since a fork */
		if (!(mem.state[USER + i] & PG_NOREAD)) {
			cow_list[IMAGE_PAGES + DYNAMIC_PAGES + USER + i] |= KX_MFN_SHARED;
			CHECK(!mprotect(page_va(USER + i), PAGE_SIZE, PROT_READ));
		}
	for (int i = 0; i < 16; i++)
		cpu_vectors[i] = harmless(pins);

	/* The old library, its literals, and words that get values of their own. */
	fill(AT(OLD + 5), AT(OLD + 8), 2, pins);
	for (uint64_t at = AT(OLD + 5); at < AT(OLD + 8) && plan.head.literals < MOST; at += 8)
		if (variable_at(at) && !below(6)) {
			uint64_t value = unmoved(KX_UPDATE_CONST);

			plan.literal[plan.head.literals++] = (struct kx_update_word){at, value};
			if (below(3))
				store(at, value);
		}
	for (uint64_t at = data; at < data + PAGE_SIZE && plan.head.words < MOST / 4; at += 8 * (1 + below(40)))
		plan.word[plan.head.words++] = (struct kx_update_word){at, AT(NEW) + below(PAGE_SIZE)};
	for (uint64_t at = AT(OTHER + 2); plan.head.words < MOST / 2; at += 8 * (1 + below(10)))
		plan.word[plan.head.words++] = (struct kx_update_word){at, AT(NEW) + below(PAGE_SIZE)};
	for (uint64_t at = AT(NEW + 8) + 2048; plan.head.words < MOST / 2 + 10; at += 8 * (1 + below(10)))
		plan.word[plan.head.words++] = (struct kx_update_word){at, rnd()};
	for (int i = 0; i < 10; i++)
		plan.word[plan.head.words++] = (struct kx_update_word){(uint64_t)page_va(USER + 2 * i) + 8 * below(512), rnd() >> 20};
	CHECK(!image_protect(AT(NEW), 9, PROT_NONE)); /* another library has gone from there */
	CHECK(!mprotect((void *)AT(OLD), 5 * PAGE_SIZE, PROT_READ));
	put_plan();
}

/* ---- trials ---- */

/* Whatever its protection is. */
static void peek(void *to, uint64_t va, size_t n)
{
	static FILE *self;

	if (!self) {
		self = fopen("/proc/self/mem", "r");
		CHECK(self && !setvbuf(self, NULL, _IONBF, 0));
	}
	CHECK(!fseek(self, (long)va, SEEK_SET) && fread(to, 1, n, self) == n);
}

static void poke(uint64_t va, uint64_t value)
{
	static FILE *self;

	if (!self)
		self = fopen("/proc/self/mem", "r+");
	CHECK(self && !fseek(self, (long)va, SEEK_SET) && fwrite(&value, 1, 8, self) == 8 && !fflush(self));
}

static char old_data[3 * PAGE_SIZE], vectors[sizeof(cpu_vectors)];
static uint8_t states[RAM_PAGES];

static void remember(void)
{
	for (struct area *a = areas; a < areas + n_areas; a++)
		peek(a->before, a->from, a->end - a->from);
	peek(old_data, AT(OLD + 5), sizeof(old_data));
	memcpy(vectors, cpu_vectors, sizeof(vectors));
	memcpy(states, mem.state, RAM_PAGES);
}

static uint64_t functions, pointers, pinned;

/* What becomes of a word that is looked at; counted. */
static uint64_t become(uint64_t value)
{
	int kind;
	uint64_t to = model_of(value, &kind);

	functions += kind == KX_UPDATE_CODE;
	pointers += kind > KX_UPDATE_CODE;
	pinned += kind == -KX_UPDATE_CONST;
	return to;
}

/* The same again for all that the update should have found, or, with changed false, must have left alone. */
static void compare(bool changed)
{
	static char now[RAM_PAGES * PAGE_SIZE / 8];

	functions = pointers = pinned = 0;
	for (struct area *a = areas; a < areas + n_areas; a++) {
		doing = a->name;
		peek(now, a->from, a->end - a->from);
		for (uint64_t at = a->from; at < a->end; at += 8) {
			uint64_t was = *(uint64_t *)(a->before + (at - a->from)), is = *(uint64_t *)(now + (at - a->from));

			if (!is_word(at))
				CHECK(is == (a->rule == DEAD ? was : changed ? become(was) : (become(was), was)));
			else
				CHECK(changed || is == was);
		}
	}
	doing = "vectors of the running thread";
	for (int i = 0; i < 16; i++) {
		uint64_t was = ((uint64_t *)vectors)[i];

		CHECK(cpu_vectors[i] == (changed ? become(was) : was));
	}
	doing = "protections";
	for (int i = 0; i < RAM_PAGES; i++) {
		if ((states[i] & PG_TYPE) != PG_USER)
			continue;
		CHECK((mem.state[i] | PG_DIRTY) == (states[i] | PG_DIRTY));
		CHECK(actual[i] < 0 || !(mem.state[i] & PG_NOWRITE) || !(actual[i] & PROT_WRITE));
		CHECK(actual[i] < 0 || !(mem.state[i] & PG_NOREAD) || !actual[i]);
	}
	CHECK(mem_prot_at(KX_IMAGE_VA + (IMAGE_DATA + 2) * PAGE_SIZE) == PROT_READ);
	CHECK(mem_prot_at(KX_IMAGE_VA + (IMAGE_DATA + 5) * PAGE_SIZE) == PROT_NONE);
	doing = "";
}

/* The new library's own pages: their first content, the old one's variables, and words. */
static void compare_new(void)
{
	static char want[4 * PAGE_SIZE], is[4 * PAGE_SIZE];
	uint64_t variables = 0;

	for (uint32_t i = 0; i < plan.head.pages; i++)
		if (plan.page[i].content)
			memcpy(want + (plan.page[i].va - AT(NEW + 5)), (void *)plan.page[i].content, PAGE_SIZE);
	for (struct kx_update_move *m = plan.move; m < plan.move + plan.head.moves; m++) {
		for (uint64_t i = 0; m->kind == KX_UPDATE_DATA && i < m->size; i++) {
			uint64_t at = (m->from + i) & ~7UL, value;
			const struct kx_update_word *l = literal_at(at);

			memcpy(&value, old_data + (at - AT(OLD + 5)), 8);
			if (!variable_at(at) || variable_at(at) != m) {
				want[m->to + i - AT(NEW + 5)] = old_data[m->from + i - AT(OLD + 5)];
			} else if ((m->from + i) % 8 == 0 && !(l && l->value == value)) {
				value = become(value);
				memcpy(want + (m->to + i - AT(NEW + 5)), &value, 8);
			}
		}
		variables += m->kind == KX_UPDATE_DATA;
	}
	for (uint32_t i = 0; i < plan.head.words; i++)
		if (plan.word[i].va >= AT(NEW + 5) && plan.word[i].va < AT(NEW + 9))
			memcpy(want + (plan.word[i].va - AT(NEW + 5)), &plan.word[i].value, 8);
		else {
			uint64_t value;

			peek(&value, plan.word[i].va, 8);
			CHECK(value == plan.word[i].value);
		}
	peek(is, AT(NEW + 5), sizeof(is));
	CHECK(!memcmp(is, want, sizeof(is)));
	CHECK(variables);
}

static bool is_own(uint64_t va)
{
	for (uint32_t i = 0; i < plan.head.pages; i++)
		if (plan.page[i].va == va)
			return true;
	return false;
}

static struct kx_updated result;

static long update(bool try)
{
	takes = drops = 0;
	memset(actual, -1, sizeof(actual));
	return update_run(AT(PLAN), &result, try, main_thread.ksp);
}

static void succeeds(void)
{
	uint64_t variables = 0;

	doing = "try";
	CHECK(!update(true) && !takes && !drops && !result.variables);
	compare(false);
	doing = "update";
	CHECK(!update(false));
	compare(true);
	compare_new();
	CHECK(takes == plan.head.pages);
	for (int i = 0; i < 9; i++) /* what the engine has mapped there is not protected as what was there before */
		CHECK(mem_prot_at(AT(NEW + i)) == (is_own(AT(NEW + i)) ? PROT_NONE : -1));
	for (uint32_t i = 0; i < plan.head.moves; i++)
		variables += plan.move[i].kind == KX_UPDATE_DATA;
	CHECK(result.functions == functions + plan.head.words && result.pointers == pointers && result.variables == variables);
	CHECK(result.pinned == pinned && drops == (pinned ? 5 : 7));
}

/* One word that stands in the way, or seems to. */
static void refuses_one(void)
{
	struct area *a = &areas[below((uint64_t)n_areas + 1)];
	int kind = below(2) ? KX_UPDATE_CODE : KX_UPDATE_DATA, tid = 0;
	uint64_t at, was, value = unmoved(kind);
	bool dead;
	long want = kind == KX_UPDATE_CODE ? -EBUSY : -EXDEV;

	if (!value)
		return;
	if (a < areas + n_areas) {
		at = a->from + 8 * below((a->end - a->from) / 8);
		tid = a->tid;
		doing = a->name;
		dead = a->rule == DEAD || is_word(at) || (a->rule == VALUES && kind == KX_UPDATE_CODE);
	} else {
		at = AT(OLD + 5) + 8 * below(3 * PAGE_SIZE / 8);
		doing = "variable";
		dead = !variable_at(at);
		if (literal_at(at))
			return;
	}
	if (!strcmp(doing, "frame"))
		return; /* it is how a call is told from an interrupt */
	if (tid)
		want = -EBUSY;
	peek(&was, at, 8);
	poke(at, value);
	CHECK(update(true) == (dead ? 0 : want));
	if (!dead)
		CHECK(update(false) == want && !takes && !drops && result.at == at && result.value == value && (int)result.tid == tid);
	poke(at, was);
}

static void refuses(void)
{
	for (int i = 0; i < 30; i++)
		refuses_one();
	compare(false);
}

/* Relatives may read it. */
static void shares(void)
{
	uint64_t at = (uint64_t)shared_memory + 8 * below(sizeof(shared_memory) / 8), value;

	doing = "shared memory";
	value = below(3) ? some_move(1 + (uint32_t)below(3)) : unmoved(below(2) ? KX_UPDATE_CODE : KX_UPDATE_DATA);
	store(at, value);
	if (value < AT(OLD + 8) && value)
		CHECK(update(below(2)) == -EXDEV && result.at == at && result.value == value && !result.tid && !takes);
	CHECK(load(at) == value);
	compare(false);
	store(at, unmoved(KX_UPDATE_CONST));
	CHECK(!update(true) && result.pinned);
}

static void waits(void)
{
	static struct thread t = {.tid = 200};
	uint64_t rsp = thread_frame(&main_thread)->rsp;

	t.futex_addr = some_move(KX_UPDATE_DATA) & ~3UL;
	t.kstack = (uint64_t)page_alloc(2) + KSTACK_SIZE;
	t.ksp = (uint64_t)thread_frame(&t);
	memset(thread_frame(&t), 0, sizeof(struct frame));
	list_add_tail(&threads, &t.all);
	thread_count++;
	doing = "futex";
	if (t.futex_addr < AT(OLD + 8))
		CHECK(update(below(2)) == -EBUSY && result.tid == 200 && result.value == t.futex_addr && !takes);
	t.futex_addr = 0;
	compare(false);
	CHECK(!update(true));
	doing = "binding";
	if (rsp + 24 > (uint64_t)page_va(mem.stack_end))
		return;
	store(rsp + 16, (uint64_t)&kx_libraries.library[0]);
	remember();
	CHECK(update(below(2)) == -EBUSY && result.tid == 7 && result.at == rsp + 16 && !takes);
	compare(false);
}

static void runs_out(void)
{
	long r;

	doing = "no pages";
	for (fail_take = (long)below(plan.head.pages - 3); fail_take >= 0;) {
		CHECK(update(false) == -ENOMEM && takes == drops);
		compare(false);
	}
	doing = "protection refused";
	for (long n = 0; !mfn_list; n++) {
		fail_protect = n;
		r = update(false);
		if (!r)
			break;
		CHECK(r == -ENOMEM && takes == drops);
		compare(false);
	}
	doing = "no memory";
	fail_protect = -1;
}

/* A plan with a wrong number is refused, or does something else; it is never fallen over. */
static void wrong(void)
{
	uint64_t at = AT(PLAN) + 4 * below(sizeof(plan.head) / 4 + 200), value = load(at), bit = 1UL << below(47);
	long r;

	doing = "wrong plan";
	poke(at, below(3) ? value ^ bit : rnd());
	r = update(false);
	if (r)
		compare(false);
	CHECK(r == 0 || r == -EINVAL || r == -EBUSY || r == -EXDEV || r == -ENOMEM);
}

static void trial(void)
{
	int kind = (int)below(9);
	bool pins = below(2), dense = !below(6);

	make_pvm(below(2), pins, dense ? 1 : 20);
	remember();
	switch (kind) {
	case 0: case 1: succeeds(); break;
	case 2: case 3: case 4: refuses(); break;
	case 5: waits(); break;
	case 6: runs_out(); break;
	case 7: wrong(); break;
	case 8: shares(); break;
	}
}

/* Each round in a process of its own: it has the addresses for itself. */
int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	int rounds = argc > 2 ? atoi(argv[2]) : 150, status;

	for (round_no = 0; round_no < rounds; round_no++) {
		pid_t pid = fork();

		if (!pid) {
			seed = (first + (uint64_t)round_no) * 0x9e3779b97f4a7c15 | 1;
			trial();
			fflush(stdout);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status) {
			printf("round %d of seed %lu: status %#x\n", round_no, first, status);
			return 1;
		}
	}
	return 0;
}

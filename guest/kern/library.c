/*
 * library.c: symbols that are looked for while the program runs: of calls that are made first. All else the engine has done. A symbol is sought as the engine
 * seeks it, in the image first and then in the libraries, by the tables of their own. They cannot be written to, but what the program says of where they are is
 * its own affair: no reason to fault in here, or to look for ever.
 */
#include <elf.h>

#include "kern.h"
#include "process.h"

#define NAME_SIZE 1025 /* bytes of a symbol's name; the engine takes no longer ones */
#define CHAIN_MOST (1UL << 20)

struct name {
	uint32_t hash;
	size_t size; /* with its NUL */
	char s[NAME_SIZE];
};

long sys_exit_group(long status);

static int read_name(struct name *n, uint64_t at)
{
	long length = copy_in_str(n->s, (const char *)at, sizeof(n->s));

	if (length < 0)
		return (int)length;
	n->size = (size_t)length + 1;
	n->hash = 0;
	for (const char *c = n->s; *c; c++) {
		n->hash = (n->hash << 4) + (uint8_t)*c;
		n->hash = (n->hash ^ n->hash >> 28 << 4) & 0xfffffff;
	}
	return 0;
}

static bool is_named(const struct kx_library *l, const Elf64_Sym *s, const struct name *n)
{
	char other[NAME_SIZE];

	return !copy_in(other, (const char *)l->strings + s->st_name, n->size) && !memcmp(other, n->s, n->size);
}

static uint64_t address_of(const struct kx_library *l, const Elf64_Sym *s)
{
	return s->st_shndx == SHN_UNDEF || s->st_shndx == SHN_ABS ? s->st_value : l->base + s->st_value;
}

/* Whether others can mean a symbol; canonical: also an image's entry for a library's function, which stands for it where its address is taken. */
static bool is_meant(const Elf64_Sym *s, bool canonical)
{
	return ELF64_ST_BIND(s->st_info) != STB_LOCAL && ELF64_ST_TYPE(s->st_info) != STT_TLS && (s->st_shndx != SHN_UNDEF || (canonical && s->st_value));
}

/* The address of a symbol of the image or a library, or 0. Of two of one name the first is meant. */
static uint64_t find_in(const struct kx_library *l, const struct name *n, bool canonical)
{
	uint64_t table = l->hash + 2 * sizeof(uint32_t), found = 0;
	uint32_t head[2], i, first = UINT32_MAX; /* buckets, symbols */
	Elf64_Sym s;

	if (copy_in(head, (const void *)l->hash, sizeof(head)) || !head[0] || copy_in(&i, (const void *)(table + n->hash % head[0] * sizeof(i)), sizeof(i)))
		return 0;
	for (uint64_t most = MIN(head[1], CHAIN_MOST); i && most; most--) {
		if (copy_in(&s, (const Elf64_Sym *)l->symbols + i, sizeof(s)))
			break;
		if (i < first && is_meant(&s, canonical) && is_named(l, &s, n)) {
			found = address_of(l, &s);
			first = i;
		}
		if (copy_in(&i, (const void *)(table + ((uint64_t)head[0] + i) * sizeof(i)), sizeof(i)))
			break;
	}
	return found;
}

/* The same, of those from one on, in their order. */
static uint64_t find_from(uint64_t item, const struct name *n, bool canonical)
{
	struct kx_library l;
	uint64_t found = 0;

	for (int i = 0; item && i <= KX_LIBRARIES && !found; i++, item = l.next) {
		if (copy_in(&l, (const void *)item, sizeof(l)))
			break;
		found = find_in(&l, n, canonical && item == (uint64_t)&kx_libraries.image);
	}
	return found;
}

/* What a call means, and its name. */
static uint64_t meaning(const struct kx_library *l, const Elf64_Rela *r, struct name *n)
{
	Elf64_Sym s;

	if (copy_in(&s, (const Elf64_Sym *)l->symbols + ELF64_R_SYM(r->r_info), sizeof(s)) || read_name(n, l->strings + s.st_name))
		return 0;
	if (!*n->s || ELF64_ST_BIND(s.st_info) == STB_LOCAL)
		return address_of(l, &s);
	return find_from((uint64_t)&kx_libraries.image, n, false);
}

static __attribute__((noinline)) long bind(uint64_t library, uint64_t call)
{
	struct kx_library l;
	struct name n = {.s = "?"};
	Elf64_Rela r;
	uint64_t to;

	if (&kx_libraries && !copy_in(&l, (const void *)library, sizeof(l)) && !copy_in(&r, (const Elf64_Rela *)l.calls + call, sizeof(r)) &&
	    (to = meaning(&l, &r, &n)) && !copy_out((void *)(l.base + r.r_offset), &to, sizeof(to)))
		return (long)to;
	klog("kx: a call of %s: neither the image nor any of its libraries has it", n.s);
	return sys_exit_group(NOT_LINKED);
}

void library_forget(void)
{
	uint64_t low = cur->kstack - KSTACK_SIZE, words;

	__asm__ volatile("mov %%rsp, %%rcx\n\tsub %%rdi, %%rcx\n\tshr $3, %%rcx\n\trep stosq" : "+D"(low), "=&c"(words) : "a"(0) : "memory");
}

/* The du_resolve of the paper comes by here (resolve.S), and there is no d0_resolve. */
long sys_bind(long library, long call)
{
	long to = bind((uint64_t)library, (uint64_t)call);

	library_forget();
	return to;
}

/* A symbol of those that are asked by dlsym: of the image or a library and those that come after it, or of a library and those that it needs. */
static __attribute__((noinline)) long find(uint64_t item, uint64_t name, bool needed)
{
	uint64_t found = 0, at = (item - (uint64_t)kx_libraries.library) / sizeof(struct kx_library);
	uint32_t seen = 0, queue[KX_LIBRARIES], first = 0, last = 0;
	struct kx_library l;
	struct name n;
	int err = read_name(&n, name);

	if (err)
		return err;
	if (!needed)
		return (found = find_from(item, &n, true)) ? (long)found : -ENOENT;
	for (; at < KX_LIBRARIES && !found; at = queue[first++]) {
		if (copy_in(&l, &kx_libraries.library[at], sizeof(l)))
			break;
		found = find_in(&l, &n, false);
		for (uint32_t i = 0; i < KX_LIBRARIES; i++)
			if (l.needs & ~seen & 1U << i)
				queue[last++] = i;
		seen |= (uint32_t)l.needs;
		if (first == last)
			break;
	}
	return found ? (long)found : -ENOENT;
}

long sys_symbol(long library, long name, long needed)
{
	long r = &kx_libraries ? find((uint64_t)library, (uint64_t)name, needed) : -ENOENT;

	library_forget();
	return r;
}

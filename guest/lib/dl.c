/*
 * dl.c: dlopen and its like, of a program that kxsh cc -rdynamic has linked. The engine finds a library and links it, the LibOS looks symbols up (KX_SYS_load,
 * KX_SYS_symbol). Nothing is ever unloaded, so that dlclose has nothing to do, as in musl; and all symbols are there for all
 * libraries that come later, as with RTLD_GLOBAL.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kx_abi.h"
#include "layout.h"

#define REASON 512 /* bytes of dlerror's text */

/* A handle is the address of a part of kx_libraries, and this: an update takes the address itself for a call that is just being bound. */
#define HANDLE 1

extern struct kx_libraries kx_libraries;
long kx_syscall(long nr, long a, long b, long c, long d, long e, long f);
void __dl_seterr(const char *format, ...) __attribute__((visibility("hidden")));
int __dl_invalid_handle(void *handle) __attribute__((visibility("hidden")));
void *__dlsym(void *restrict handle, const char *restrict name, void *restrict caller) __attribute__((visibility("hidden")));
void __ldso_atfork(int who) __attribute__((visibility("hidden")));

/* Held while constructors run: who opens the same library at that time waits for them. */
static const pthread_mutex_t unlocked = {{{PTHREAD_MUTEX_RECURSIVE}}};
static pthread_mutex_t lock = {{{PTHREAD_MUTEX_RECURSIVE}}};

/* Called by fork(): -1 before it, and then 0 in the parent and 1 in the child, whose thread has another number. */
void __ldso_atfork(int who)
{
	if (who < 0)
		pthread_mutex_lock(&lock);
	else if (!who)
		pthread_mutex_unlock(&lock);
	else
		lock = unlocked;
}

static void construct(size_t from, size_t end)
{
	for (; from < end; from++) {
		struct kx_library l = kx_libraries.library[from];

		for (size_t i = 0; i < l.inits; i++)
			((void (**)(void))l.init)[i]();
	}
}

void *dlopen(const char *name, int mode)
{
	long flags = (mode & RTLD_NOW ? KX_LOAD_NOW : 0) | (mode & RTLD_NOLOAD ? KX_LOAD_PRESENT : 0), place;
	char why[REASON];
	size_t before;

	if (!name)
		return (char *)&kx_libraries.image + HANDLE;
	pthread_mutex_lock(&lock);
	before = kx_libraries.count;
	place = kx_syscall(KX_SYS_load, (long)name, flags, (long)why, sizeof(why), 0, 0);
	if (place >= 0)
		construct(before, kx_libraries.count);
	pthread_mutex_unlock(&lock);
	if (place < 0) {
		__dl_seterr("%s%s%s", *why ? why : name, *why ? "" : ": ", *why ? "" : strerror((int)-place));
		return NULL;
	}
	return (char *)&kx_libraries.library[place] + HANDLE;
}

/* What a handle means, or NULL. */
static const struct kx_library *library_of(const void *handle)
{
	size_t offset = (uintptr_t)handle - HANDLE - (uintptr_t)&kx_libraries.image; /* of the image, and of libraries right behind it */

	return offset % sizeof(struct kx_library) == 0 && offset / sizeof(struct kx_library) <= kx_libraries.count ? &kx_libraries.image + offset / sizeof(struct kx_library) : NULL;
}

int __dl_invalid_handle(void *handle)
{
	if (library_of(handle))
		return 0;
	__dl_seterr("invalid library handle %p", handle);
	return 1;
}

/* Where a module's addresses end; it begins with its ELF header. */
static uintptr_t end_of(uintptr_t start, uintptr_t base)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)start;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(start + eh->e_phoff);
	uintptr_t end = 0;

	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && base + ph[i].p_vaddr + ph[i].p_memsz > end)
			end = base + ph[i].p_vaddr + ph[i].p_memsz;
	return end;
}

static uintptr_t start_of(const struct kx_library *l)
{
	return l == &kx_libraries.image ? KX_IMAGE_VA : l->base;
}

/* The module that an address is in, or NULL. */
static const struct kx_library *module_of(uintptr_t address)
{
	for (const struct kx_library *l = &kx_libraries.image; l; l = (const struct kx_library *)l->next)
		if (address >= start_of(l) && address < end_of(start_of(l), l->base))
			return l;
	return NULL;
}

/* What dlsym jumps to. */
void *__dlsym(void *restrict handle, const char *restrict name, void *restrict caller)
{
	const struct kx_library *l, *in;
	long found = 0;

	if (handle == RTLD_DEFAULT) {
		l = &kx_libraries.image;
	} else if (handle == RTLD_NEXT) {
		in = module_of((uintptr_t)caller);
		l = in ? (const struct kx_library *)in->next : NULL;
	} else if (__dl_invalid_handle(handle)) {
		return NULL;
	} else {
		l = library_of(handle);
	}
	if (l)
		found = kx_syscall(KX_SYS_symbol, (long)l, (long)name, handle != RTLD_NEXT && l != &kx_libraries.image, 0, 0, 0);
	if (found > 0)
		return (void *)found;
	__dl_seterr("%s: symbol not found", name);
	return NULL;
}

int dladdr(const void *address, Dl_info *info)
{
	const struct kx_library *l = module_of((uintptr_t)address);
	const Elf64_Sym *s, *best = NULL;
	uint32_t n;

	if (!l)
		return 0;
	n = ((const uint32_t *)l->hash)[1];
	s = (const Elf64_Sym *)l->symbols;
	for (uint32_t i = 1; i < n; i++)
		if (s[i].st_shndx != SHN_UNDEF && s[i].st_shndx != SHN_ABS && ELF64_ST_TYPE(s[i].st_info) <= STT_FUNC &&
		    l->base + s[i].st_value <= (uintptr_t)address && (!best || s[i].st_value > best->st_value))
			best = &s[i];
	if (best && best->st_size && (uintptr_t)address - l->base - best->st_value >= best->st_size)
		best = NULL;
	*info = (Dl_info){
		.dli_fname = l == &kx_libraries.image ? program_invocation_name : l->name ? (const char *)l->name : "",
		.dli_fbase = (void *)start_of(l),
		.dli_sname = best ? (const char *)l->strings + best->st_name : NULL,
		.dli_saddr = best ? (void *)(l->base + best->st_value) : NULL,
	};
	return 1;
}

int dlinfo(void *handle, int request, void *result)
{
	(void)result;
	if (!__dl_invalid_handle(handle))
		__dl_seterr("dlinfo: request %d is not supported", request);
	return -1;
}

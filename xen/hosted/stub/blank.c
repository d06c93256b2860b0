/* blank.c: a blank waits for the engine to say what it becomes, then becomes it. */
#include "stub.h"
#include "sys.h"

#include <linux/mman.h>
#include <linux/time.h>

/*
 * Frames that whoever goes on after a fork is sure to write: the image's data, if it is not large, and the window's first,
 * where the LibOS has its stack. Copied at once they cost a third of as many faults.
 */
#define HOT_DATA (16 * KX_PAGE_SIZE)
#define HOT_RAM (6 * KX_PAGE_SIZE)

#define FORK_FAMILY 5 /* which file the family area's is in the order of a fork */

static struct stub_start start;

static uint32_t libraries; /* of the files that came last */

void libraries_came(void)
{
	libraries = (uint32_t)received_count;
}

/* The number of the file of a library. */
static uint32_t library_file(uint32_t i)
{
	int at = received_count - (int)libraries + (int)i;

	return i < libraries && at >= 0 ? (uint32_t)received_files[at] : ~0u;
}

static long map_now(uint64_t va, uint64_t len, uint32_t prot, uint32_t fd, uint64_t off, uint32_t how)
{
	/* Frozen frames are copied on write; everything else is what it is for all who map it. */
	uint32_t kind = start.frozen && fd == STUB_FD_RAM ? MAP_PRIVATE : MAP_SHARED;
	long r;

	if (fd >= STUB_LIBRARY)
		fd = library_file(fd - STUB_LIBRARY);
	r = sys(__NR_mmap, va, len, prot, kind | MAP_FIXED | how, fd, off);
	return sys_failed(r) ? r : 0;
}

long map(uint64_t va, uint64_t len, uint32_t prot, uint32_t fd, uint64_t off)
{
	return map_now(va, len, prot, fd, off, 0);
}

static long map_state(void)
{
	return map(STUB_STATE_VA, STUB_STATE_SIZE, PROT_READ | PROT_WRITE, STUB_FD_CTL, STUB_STATE_OFF);
}

static long map_control(uint32_t fd)
{
	long r = map(KX_CTL_VA, KX_CTL_SIZE, PROT_READ | PROT_WRITE, fd, 0);

	return r ? r : map(KX_NET_VA, STUB_NET_SIZE, PROT_READ | PROT_WRITE, fd, STUB_NET_OFF);
}

long map_own_pages(void)
{
	long r = map_state();

	return r ? r : map_control(STUB_FD_CTL);
}

/* A blank has one; one that a fork makes gets another instead. */
static long take_family(int from)
{
	long r = sys(__NR_dup2, from, STUB_FD_FAMILY);

	if (r < 0)
		return r;
	sys(__NR_close, from);
	return map(KX_FAMILY_VA, KX_FAMILY_PAGES * KX_PAGE_SIZE, PROT_READ | PROT_WRITE, STUB_FD_FAMILY, 0);
}

static long setup(void)
{
	long r = map_control(STUB_FD_CTL);

	if (!r)
		r = take_family(STUB_FD_RAM); /* the number that it came with */

	return r ? r : filter_install();
}

/* Maps what the first moments of every domain use, while there is time. */
static void touch(void)
{
	VCPU->evtchn_upcall_pending = 0;
	__atomic_fetch_or((uint32_t *)KX_START_VA, 0, __ATOMIC_SEQ_CST);
	/* The engine may be writing there already: nothing is changed. */
	__atomic_fetch_or(&((struct kx_control *)KX_CONTROL_VA)->state, 0, __ATOMIC_SEQ_CST);
}

/* The order to become a domain, with its RAM and its image; the engine's end means the end. */
static void receive_start(void)
{
	long r = receive(STUB_FD_SOCK, &start, sizeof start);

	if (r < (long)offsetof(struct stub_start, maps))
		die(r);
}

static long build(void)
{
	long r = start.moved ? map_control(STUB_FD_CONTROL) : 0;

	if (!r && start.frozen)
		r = received_count > FORK_FAMILY ? take_family(received_files[FORK_FAMILY]) : -XEN_EINVAL;

	limit_data(STUB_DATA + (start.frozen ? (start.image_pages + start.ram_pages) * KX_PAGE_SIZE : 0));
	libraries = start.libraries;
	guest.image_pages = start.image_pages;
	guest.dynamic_pages = start.dynamic_pages;
	guest.ram_va = start.ram_va;
	guest.ram_pages = start.ram_pages;
	for (uint32_t i = 0; !r && i < start.nmaps && i < STUB_MAPS; i++) {
		struct stub_map *m = &start.maps[i];
		int hot = start.frozen && m->prot & PROT_WRITE;

		r = map_now(m->va, m->len, m->prot, m->fd, m->off, hot && m->len <= HOT_DATA ? MAP_POPULATE : 0);
		if (!r && hot && m->va == start.ram_va && m->len > HOT_RAM)
			r = map_now(m->va, HOT_RAM, m->prot, m->fd, m->off, MAP_POPULATE);
	}
	return r;
}

/* The engine is told first: it goes on while the rest is done. */
void say_built(int32_t r)
{
	__atomic_store_n(&STATE->built, r, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&STATE->waits, __ATOMIC_SEQ_CST))
		futex_wake(&STATE->built);
}

/*
 * Waits for go, and becomes the guest. Looks for go for a moment before it sleeps. No pause instruction: a hypervisor under the host
 * takes a loop of them for a reason to run another virtual CPU first.
 */
_Noreturn void await_go(uint64_t rip, uint64_t rsp)
{
	uint64_t end = __builtin_ia32_rdtsc() + start.spin;

	clock_init(start.tsc_mul, start.tsc_shift);
	while (!STATE->go && __builtin_ia32_rdtsc() < end)
		;
	__atomic_store_n(&STATE->sleeping, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&STATE->go, __ATOMIC_SEQ_CST))
		futex_wait(&STATE->go, 0);
	__atomic_store_n(&STATE->sleeping, 0, __ATOMIC_SEQ_CST);
	clock_refresh();
	VCPU->evtchn_upcall_mask = 1;
	if (rsp)
		guest_resume(rip, rsp);
	guest_start(rip, KX_START_VA);
}

_Noreturn void blank_main(void)
{
	long r = map_state();

	if (r)
		die(r);
	title_set("kx-blank");
	r = setup();
	STATE->ready = r ? r : 1;
	if (r)
		die(r);
	touch();
	receive_start();
	r = build();
	say_built(r ? r : 1);
	if (r)
		die(r);
	if (!start.frozen && !start.dynamic_pages)
		sys(__NR_close, STUB_FD_SOCK);
	title_set(start.title);
	await_go(start.entry, start.rsp);
}

/* shmview.c: segments of shared memory as others see them: the shell, and /proc/sysvipc. */
#include "shm.h"

#include "proc.h"

void segment_describe(struct object *o, struct kx_object *e)
{
	struct segment *s = segment_of(o);

	e->kind = KX_OBJECT_SEGMENT;
	e->count = (uint32_t)segment_attachments(o);
	e->bytes = RELAXED(s->size);
	e->pids[0] = RELAXED(s->maker);
	e->pids[1] = RELAXED(s->last);
	e->held[END_READ] = object_holders(o, END_READ, e->readers);
}

static long copy(struct object *o, uint64_t offset, char *buf, uint64_t n, bool write)
{
	uint64_t size = MIN(RELAXED(segment_of(o)->size), PAGES_MAX * PAGE_SIZE);
	uint32_t first = RELAXED(segment_of(o)->first);
	char *at = family_page(first);

	if (offset > size)
		return -ERANGE;
	if (!size || !at || !family_page(first + (uint32_t)((size - 1) >> PAGE_SHIFT)))
		return -EIO;
	n = MIN(n, size - offset);
	if (write) {
		shm_unguard((uint64_t)at);
		memcpy(at + offset, buf, n);
		shm_guard((uint64_t)at);
	} else {
		memcpy(buf, at + offset, n);
	}
	return (long)n;
}

long shm_copy(long id, uint64_t offset, char *buf, uint64_t n, bool write)
{
	struct object *o;
	long r = ipc_begin();

	if (r)
		return r;
	o = ipc_find(id, KIND_SEGMENT);
	r = o ? copy(o, offset, buf, n, write) : -EINVAL;
	ipc_end();
	return r;
}

void show_segments(struct text *t)
{
	struct ipc_perm_user p;
	struct object *o;
	uint32_t page = 0;

	text_add(t, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n");
	if (!family_in() || ipc_begin())
		return;
	while ((o = ipc_next(&page, KIND_SEGMENT))) {
		struct segment *s = segment_of(o);

		ipc_perm_out(&s->head, &p);
		text_add(t, "%10d %10d  %4o %21lu %5u %5u  %5ld %5u %5u %5u %5u %10ld %10ld %10ld %21lu %21u\n", p.key,
			RELAXED(s->head.id), p.mode, s->size, RELAXED(s->maker), RELAXED(s->last), segment_attachments(o), p.uid, p.gid,
			p.cuid, p.cgid, s->attached, s->detached, s->head.ctime, RELAXED(s->pages) * PAGE_SIZE, 0);
	}
	ipc_end();
}

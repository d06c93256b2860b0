/* shm.h: a segment of shared memory, as shm.c and shmview.c know it. */
#ifndef SHM_H
#define SHM_H

#include "ipc.h"

#define PAGES_MAX (KX_FAMILY_PAGES / 2) /* of a segment */

struct segment {
	struct ipc_head head;
	uint64_t size;
	uint32_t first, pages;
	uint32_t maker, last; /* PIDs */
	int64_t attached, detached; /* s */
	struct parts parts;
};

static inline struct segment *segment_of(struct object *o)
{
	return (struct segment *)o->data;
}

long segment_attachments(struct object *o);
/*
 * Around a change that the LibOS makes itself at an address: it may be in a segment that this member has for reading only. Nobody else
 * runs meanwhile.
 */
void shm_unguard(uint64_t va);
void shm_guard(uint64_t va);

#endif

/* trials.h: what the trials of the family area share. */
#ifndef TRIALS_H
#define TRIALS_H

#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AREA ((uint32_t *)KX_FAMILY_VA)
#define AREA_SIZE (KX_FAMILY_PAGES * PAGE_SIZE)
#define HEADER 40 /* pages that the area's own tables have, at most */

extern unsigned seed;
unsigned random_below_(unsigned n);

#define CHECK(cond)                                                                                  \
	do {                                                                                         \
		if (!(cond)) {                                                                       \
			fprintf(stderr, "familytest: %s:%d: %s (seed %u)\n", __FILE__, __LINE__, #cond, seed); \
			abort();                                                                     \
		}                                                                                    \
	} while (0)

void reap(int options);  /* waits for children as waitpid, and tells of their ends */
int fork_member(void);   /* fork; the child has its place in the family */
void scribble(void);     /* somewhere in the area, and in objects */
int nap_once(void);      /* for shim_waits: every fourth sleep ends with -EINTR */

/* pairtrials.c */
void trial_pairs(void);

/* robusttrials.c */
void trial_robust(void);
void trial_robust_nonsense(long va, size_t n); /* in a segment of which that is memory */

/* tasktrials.c */
long one_task(uint32_t op, uint64_t a, uint64_t b, uint64_t c, int64_t type, uint32_t size); /* the data are where they belong; its result */
long random_task(void); /* of any kind, about an object of any number */
void trial_tasks(void);
void trial_tasks_of_killed(void);

/* deathtrials.c */
void trial_first_share(void); /* before this process is in the family */
void trial_signal_to_dead(void);
void trial_buried_by_another(void);
void trial_ends(void);

/* offertrials.c */
void trial_offers(void);
void trial_offers_of_killed(void);

/* ipctrials.c */
void trial_ipc(void);
void trial_ipc_scribble(void);

#endif

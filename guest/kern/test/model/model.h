/*
 * model.h: two members of a family, each a copy of the LibOS's own code, and all orders in which their steps can follow each other.
 * A step is an access to memory that they share, or a hypercall.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AREA_PAGES 10
#define SIDES 2

struct shared_info;
struct kx_control;

extern char model_area[];

#define PLAYS 4

/* What a side shows to the model: plays.c, once for each. */
struct side {
	struct kx_control *ctl;
	struct shared_info *info;
	void (*enter)(uint32_t pid, uint32_t flags);
	void (*offered)(void);      /* it has offered lines to others, as many as it may */
	void (*gone)(uint32_t pid); /* to be told when it looks after its events */
	struct play {
		const char *name;
		uint32_t (*make)(void);                     /* what they do it with: its number */
		void (*take)(uint32_t number, bool second); /* what they do it with is this one; what it had before is closed */
		void (*act[SIDES])(void);
	} plays[PLAYS];
};

extern const struct side side_a, side_b;

/* ---- explore.c ---- */

/* The side that runs is about to read a word that is shared, or to write it. */
void look_at(const char *file, int line, const volatile void *word);
void change(const char *file, int line, const volatile void *word);
void give_way(void); /* waits for something that the other side does */
/* Sleeps till `due` says yes; false: nothing else can happen, and it has a deadline. */
bool model_sleep(bool (*due)(bool asleep), bool deadline);
void say(bool ok, const char *what);
unsigned side_running(void);
extern bool in_hypervisor[SIDES]; /* where nobody can be killed */
bool other_dead(void); /* killed, not ended */
const struct side *side_at(unsigned n);

/* ---- hypervisor.c ---- */

long model_sched(int op);
long model_event_channel(int op, void *arg);
void raise_event(const struct side *s, uint32_t port); /* as Xen's evtchn_port_set_pending, and the hosted engine's */
void engine_opens(void); /* a port in the first side for the second, as at its fork */
bool bell_rung(bool asleep); /* the vcpu of the side that runs has a reason not to sleep, or not to go on sleeping */

/* What both sides write and read: so many records, in pieces of so many bytes. */
#define RECORDS 2
#define RECORD 3000
#define PIECE 1200
extern char model_text[RECORDS * RECORD];
#define MESSAGES 2
extern int model_inside; /* one of them works where only one may */

#endif

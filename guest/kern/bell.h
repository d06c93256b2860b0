/*
 * bell.h: how members of a family wake each other. Who has something for another sets its rung, and rings only if that one
 * sleeps.
 */
#ifndef BELL_H
#define BELL_H

#include "family.h"

/* ---- bell.c ---- */

#define LOOK_NS 50000 /* about what it takes to sleep and to be woken */

/* What it was like to look for something before sleeping. */
struct looks {
	uint32_t apart; /* so many sleeps from one try to the next */
	uint32_t left;  /* of them */
};

bool looks_due(struct looks *l); /* whether to look this time; then looks_were tells how it was */
void looks_were(struct looks *l, bool came);

void member_ring(uint32_t place); /* something happened that the member in that place may wait for */
void bells_begin(void); /* we have a place: what it was like for our parent to look for rings is nothing to us */
/* While it is on, nobody is woken: he would only wait for the lock that we hold. */
void bells_hold(bool on);
/* A signal for a relative, which the engine need not know of; false: it has to. */
bool member_signal(long pid, int sig);
/* Whoever is in that place has ended: no signal can be left for him, and what becomes of one is the engine's to say. */
void member_signal_none(uint32_t place, bool on);
void member_signals(void); /* what has come */

/* ---- ended.c: exits that a parent hears of from who exits ---- */

void ended_tell(uint32_t parent, int status); /* to the member in that place; we are going, and have dropped everything */
void ended_news(void);  /* what has come */
void ended_begin(void); /* we have a place: what was told to who had it before is nothing to us */

/* ---- line.c: event channels between members, where the hypervisor has no bells (KX_F_BELLS) ---- */

bool line_send(uint32_t place);            /* false: there is none yet, but it was asked for */
void lines_offer(const struct object *o);  /* who has the object will be able to wake us */
void lines_offer_to(uint32_t place);       /* ... and so for one member */
void lines_listen(bool on);                /* whether they interrupt: only while we sleep */
void lines_look(void);                     /* after ports that the engine has opened for relatives: they are like ours, and closed when those have ended */
void lines_begin(void);                    /* we have a place, and no line yet: those of a parent are its own */

/* ---- both, in the area ---- */

#define OFFERS 4 /* of a member, that nobody has taken up */
#define ENDS 3   /* that a member has been told of, and has not seen yet */

struct line_offer {
	uint32_t to;   /* the place that it is for, plus 1, and LINE_*; 0: nobody's */
	uint32_t port; /* that waits for a binding */
};

struct family_mail { /* looked at whenever it is rung, so it is in one place */
	uint64_t signal;      /* its PID | number << 16 | sender << 32; 0: none */
	uint64_t ended[ENDS]; /* of a child: its PID | status << 16 | CPU time in us << 32; 0: none */
};

struct family_bells {
	struct family_mail mail[KX_MEMBERS]; /* for the member in that place */
	uint32_t asks[KX_MEMBERS];   /* who wants a line to the member in that place, plus 1; 0: nobody */
	struct line_offer offers[KX_MEMBERS][OFFERS];
};

struct family_bells *family_bells(void);

#endif

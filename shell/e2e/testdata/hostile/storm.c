/* storm.c MODE [SEED]: hypercalls and events in masses, behind the LibOS's back. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hyper.h"

enum { SET_TIMER = 15, IRET = 23, SCHED_OP = 29, EVENT_CHANNEL_OP = 32 };
enum { EVTCHNOP_SEND = 4, EVTCHNOP_UNMASK = 9 };

static volatile uint8_t *const pending = (volatile uint8_t *)0x10001000;
static volatile uint8_t *const mask = (volatile uint8_t *)0x10001001;
static volatile uint64_t *const selector = (volatile uint64_t *)0x10001008;
static volatile uint64_t *const ports = (volatile uint64_t *)(0x10001000 + 32 * 64);

static uint64_t state;

static uint64_t next(void) /* xorshift64 */
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void bells(void) /* rings the engine for nothing */
{
	uint32_t port = 1;

	for (int i = 0; i < 300000; i++)
		hypercall(EVENT_CHANNEL_OP, EVTCHNOP_SEND, (uintptr_t)&port, 0);
}

static void unmask(void) /* masks and unmasks with everything pending */
{
	for (uint32_t i = 0; i < 300000; i++) {
		uint32_t port = 1 + i % 2;

		*mask = 1;
		ports[0] = 6;
		*selector = 1;
		*pending = 1;
		hypercall(EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, (uintptr_t)&port, 0);
		*mask = 0;
	}
}

static void timers(void) /* timers in the past */
{
	for (uint64_t i = 0; i < 100000; i++)
		hypercall(SET_TIMER, 1 + i, 0, 0);
}

static void fuzz(int iret) /* random calls with random arguments, iret or no iret among them */
{
	static uint64_t memory[4096];

	for (int i = 0; i < 200000; i++) {
		uint64_t a[3];
		unsigned nr = next() % 48;

		for (int k = 0; k < 3; k++)
			switch (next() % 4) {
			case 0: a[k] = next() % 32; break;
			case 1: a[k] = (uintptr_t)memory + next() % sizeof memory; break;
			case 2: a[k] = next(); break;
			default: a[k] = 0x400000 + next() % 0x100000000; break;
			}
		memory[next() % 4096] = next();
		if (nr == IRET && !iret)
			continue; /* it would be the last */
		if (nr == SCHED_OP && a[0] <= 2)
			a[0] = 0; /* neither sleep for ever nor shut down */
		hypercall(nr, a[0], a[1], a[2]);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	state = 88172645463325252 + (argc > 2 ? strtoull(argv[2], NULL, 0) : 0);
	puts("storming");
	fflush(stdout);
	if (!strcmp(mode, "bells"))
		bells();
	else if (!strcmp(mode, "unmask"))
		unmask();
	else if (!strcmp(mode, "timers"))
		timers();
	else if (!strcmp(mode, "fuzz"))
		fuzz(0);
	else if (!strcmp(mode, "iret"))
		fuzz(1);
	puts("calm");
	return 0;
}

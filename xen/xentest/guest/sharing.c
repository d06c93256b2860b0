/* sharing.c: guests that share frames with dom0 and with each other. For a real Xen. */
#include "guest.h"

/*
 * look PAGE MFN: tells what it finds in a page of its RAM, to which dom0 maps the frame of another: at the
 * start and at every event, RESULT[1] the first word, [2] whether it can write, [3] how many of its own
 * attempts to get more of that frame went well, [4] how often it has looked.
 */
static void do_look(void)
{
	uint64_t at = CONTROL->ram_va + number(arg(2)) * PAGE, mfn = number(arg(3));

	trap_set(X86_TRAP_PF, 0);
	events_on(event_entry);
	for (uint64_t seen = 0;;) {
		RESULT[1] = *(volatile uint64_t *)at;
		RESULT[2] = (uint64_t)writable(at);
		RESULT[3] = (uint64_t)((HC(update_va_mapping, at + PAGE, mfn << 12 | RO, UVMF_INVLPG) == 0) +
				       (HC(update_va_mapping, at + PAGE, mfn << 12 | RW, UVMF_INVLPG) == 0) +
				       (HC(update_va_mapping, at, mfn << 12 | RW, UVMF_INVLPG) == 0));
		RESULT[4]++;
		ring();
		wait_past(&engine_events, seen);
		seen = engine_events;
	}
}

/*
 * grant: lets dom0 map two pages, by the references 8 and 9, the second one only to read; RESULT[1] is the
 * first word of the first page, at the start and at every event.
 */
static void do_grant(void)
{
	static uint64_t frame, pages[2][PAGE / 8] __attribute__((aligned(4096)));
	struct {
		uint16_t dom;
		uint32_t nr;
		int16_t status;
		uint64_t list;
	} setup = {DOMID_SELF, 1, 0, (uint64_t)&frame};
	volatile uint64_t *entries = (uint64_t *)(CONTROL->ram_va + 64 * PAGE);

	CHECK(HC(grant_table_op, 2, &setup, 1) == 0 && setup.status == 0); /* setup_table */
	CHECK(HC(update_va_mapping, entries, frame << 12 | RW, UVMF_INVLPG) == 0);
	for (unsigned i = 0; i < 2; i++) {
		pages[i][0] = 100 + i;
		entries[8 + i] = mfn_of(pages[i]) << 32 | i << 2 | 1; /* to domain 0; permit_access, readonly */
	}
	events_on(event_entry);
	for (uint64_t seen = 0;;) {
		RESULT[1] = ((volatile uint64_t *)pages)[0];
		ring();
		wait_past(&engine_events, seen);
		seen = engine_events;
	}
}

const struct program sharing_programs[] = {{"look", do_look}, {"grant", do_grant}, {0}};

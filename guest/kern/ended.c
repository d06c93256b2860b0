/*
 * ended.c: a member that exits tells its parent so itself. The engine also does, when it has seen the end, but it first takes notice, has
 * the domain stopped and writes a record: until then a parent that waits would sleep. What is told here is a relative's word; what the
 * engine needs to hear of it, and the end of the zombie, waits for the engine's (child.c).
 */
#include "area.h"
#include "console.h"
#include "process.h"

#define CPU_UNIT 1000 /* ns */

/*
 * One word says all, so that who is killed on the way has told it or not. What it does not hold, or what would come before the child's
 * last words on the console, is left to the engine; so is it where the parent has not read what others have told it.
 */
void ended_tell(uint32_t parent, int status)
{
	uint64_t cpu = (uint64_t)process_cpu_ns() / CPU_UNIT, what = cpu << 32 | (uint64_t)status << 16 | control->domid;

	if (cpu > UINT32_MAX || !out_drained() || RELAXED(area->members[parent].pid) != control->ppid)
		return;
	for (int i = 0; i < ENDS; i++) {
		uint64_t was = 0;

		if (!__atomic_compare_exchange_n(&area->bells.mail[parent].ended[i], &was, what, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		member_ring(parent);
		return;
	}
}

/* As wait(2) has it of who has ended. */
static bool is_end(uint32_t status)
{
	return !(status & 0xff) || (status && status < KX_NSIG);
}

void ended_news(void)
{
	for (int i = 0; i < ENDS; i++) {
		uint64_t *at = &area->bells.mail[my_place - 1].ended[i];
		uint64_t what = RELAXED(*at) ? __atomic_exchange_n(at, 0, __ATOMIC_SEQ_CST) : 0;
		uint32_t status = what >> 16 & 0xffff;

		if (what && is_end(status))
			child_ended((int)(what & 0xffff), status, (int64_t)(what >> 32) * CPU_UNIT);
	}
}

void ended_begin(void)
{
	memset(area->bells.mail[my_place - 1].ended, 0, sizeof(area->bells.mail[0].ended));
}

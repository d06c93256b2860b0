/* deathtrials.c: what members do that hear of a relative's end: late, one after the other, or as the first thing that they have in the area. */
#include "bell.h"
#include "process.h"
#include "trials.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define DEAD 4242
#define OTHER 4243
#define BUSY 1000 /* place of a member that has the lock, plus 1 */

static struct kx_member *members(void)
{
	return (struct kx_member *)KX_FAMILY_VA;
}

/* Somebody takes a free place, and holds an object of ours. */
static uint32_t place_of(uint32_t pid, struct object *o)
{
	uint32_t place = 0;

	while (members()[place].pid)
		place++;
	members()[place].pid = pid;
	o->members[place / 64].holders[END_READ] |= 1UL << place % 64;
	return place;
}

/* Somebody is killed who alone had something in the area: who has nothing there yet sees to it. */
void trial_first_share(void)
{
	uint32_t page;
	int p[2], pid;

	CHECK(!family_in() && !pipe(p));
	pid = fork();
	if (!pid) {
		control->domid = (uint32_t)getpid();
		CHECK(!family_enter());
		page = object_new(KIND_OPEN);
		CHECK(write(p[1], &page, sizeof(page)) == sizeof(page));
		pause();
	}
	CHECK(read(p[0], &page, sizeof(page)) == sizeof(page));
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	family_gone(pid + 1, 0, 0);
	CHECK(!family_in());
	family_gone(pid, 0, 0);
	CHECK(family_in() && !object_at(page, KIND_OPEN));
	for (uint32_t i = 0; i < KX_MEMBERS; i++)
		CHECK(members()[i].pid != (uint32_t)pid);
	close(p[0]);
	close(p[1]);
}

/* Its place cannot be cleared yet: no signal is left there. */
void trial_signal_to_dead(void)
{
	uint32_t page = object_new(KIND_OPEN), place = place_of(DEAD, object_at(page, KIND_OPEN));

	CHECK(member_signal(DEAD, SIGTERM) && !member_signal(DEAD, SIGTERM)); /* one waits at a time */
	family_bells()->mail[place].signal = 0;
	family_ipc()->lock = BUSY;
	family_gone(DEAD, 0, 0);
	CHECK(members()[place].pid == DEAD && !member_signal(DEAD, SIGTERM));
	family_ipc()->lock = 0;
	CHECK(shim_timers() && !members()[place].pid && !family_bells()->mail[place].signal);
	object_drop(page, END_READ);
}

/* While we wait for the lock another member clears the place, and somebody new takes it: he keeps what he holds. */
void trial_buried_by_another(void)
{
	volatile uint32_t *round = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t page = object_new(KIND_OPEN), place;
	struct object *o = object_at(page, KIND_OPEN);
	int pid;

	CHECK(round != MAP_FAILED);
	place = place_of(OTHER, o);
	pid = fork();
	for (uint32_t n = 1; !pid; n++) {
		while (round[0] != n)
			if (getppid() == 1)
				_exit(0);
		for (unsigned i = random_below_(1000); i; i--)
			__builtin_ia32_pause();
		members()[place].pid = OTHER;
		__atomic_store_n(&family_ipc()->lock, 0, __ATOMIC_SEQ_CST);
		round[1] = n;
	}
	for (uint32_t n = 1; n < 1000; n++) {
		members()[place].pid = DEAD;
		__atomic_store_n(&family_ipc()->lock, BUSY, __ATOMIC_SEQ_CST);
		round[0] = n;
		family_gone(DEAD, 0, 0);
		while (round[1] != n)
			CHECK(!waitpid(pid, NULL, WNOHANG));
		while (shim_timers())
			;
		CHECK(members()[place].pid == OTHER && object_has(o, place) && !family_ipc()->lock);
	}
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	family_gone(OTHER, 0, 0);
	CHECK(!members()[place].pid && !object_has(o, place));
	object_drop(page, END_READ);
	munmap((void *)round, PAGE_SIZE);
}

/* ---- ends ---- */

#define CHILDREN 40
#define STATUS(i) ((uint32_t)(i) << 8)

static int children[CHILDREN], told;

static void ended(int pid, uint32_t status)
{
	int i = 0;

	while (i < CHILDREN && children[i] != pid)
		i++;
	CHECK(i < CHILDREN && status == STATUS(i));
	children[i] = 0; /* not twice */
	told++;
}

/* Children exit, many at once, and some are killed meanwhile: what is told is true, and told once; and where there is room all is. */
void trial_ends(void)
{
	CHECK(!family_enter());
	shim_ended = ended;
	for (int alone = 0; alone < 2; alone++) {
		told = 0;
		for (int i = 0; i < CHILDREN; i++) {
			control->ppid = control->domid;
			children[i] = fork_member();
			if (!children[i]) {
				if (!alone)
					usleep(1000);
				family_exit((int)STATUS(i));
				_exit(0);
			}
			if (!alone && i % 4 == 3) {
				usleep(random_below_(1000));
				if (children[i - 3]) /* else it has ended */
					kill(children[i - 3], SIGKILL);
			}
			if (alone)
				reap(0);
			family_events();
		}
		reap(0);
		family_events();
		CHECK(told && (!alone || told == CHILDREN));
	}
	family_bells()->mail[family_place() - 1].ended[0] = 0x7f << 16 | 1; /* stopped is no end */
	family_bells()->mail[family_place() - 1].ended[1] = ~0UL;
	((volatile struct kx_member *)KX_FAMILY_VA)[family_place() - 1].rung = 1;
	family_events();
	shim_ended = NULL;
}

/*
 * bell.c: ringing, and sleeping till it rings. Before it sleeps a member looks for a while whether it is rung, if that has lately
 * been worth it: to sleep and to be woken takes longer.
 */
#include "bell.h"

#include "hyper.h"
#include "process.h"

#define LOOKS_APART 256 /* most sleeps between two looks, where they are in vain */

/* kx_member.asleep */
#define AWAKE 0
#define ASLEEP 1
#define LOOKS 2 /* it sees rung without being woken */

static struct kx_member *member(uint32_t place)
{
	return &((struct kx_member *)KX_FAMILY_VA)[place];
}

static struct kx_member *self(void)
{
	return member(family_place() - 1);
}

/* ---- ringing ---- */

static bool holding, held_any;
static uint64_t held[HOLDERS];

/* By the engine, who also interrupts one that runs. */
static void ring_by_engine(uint32_t place)
{
	uint32_t pid = RELAXED(member(place)->pid);

	for (int i = 0; i <= KX_RINGS; i++) {
		uint32_t was = 0;

		if (i == KX_RINGS)
			control->rings[0] = KX_RING_ALL;
		else if (__atomic_compare_exchange_n((uint32_t *)&control->rings[i], &was, pid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) || was == pid)
			break;
	}
	doorbell();
}

static void wake(uint32_t place)
{
	struct evtchn_send s = {KX_PORT_MEMBER + place};

	if (__atomic_load_n(&member(place)->asleep, __ATOMIC_SEQ_CST) != ASLEEP)
		return;
	if (control->flags & KX_F_BELLS)
		hyper_event_channel(EVTCHNOP_send, &s);
	else if (!line_send(place))
		ring_by_engine(place);
}

void member_ring(uint32_t place)
{
	if (place == family_place() - 1) {
		__atomic_store_n(&self()->rung, 1, __ATOMIC_SEQ_CST);
		return;
	}
	__atomic_store_n(&member(place)->rung, 1, __ATOMIC_SEQ_CST);
	if (holding) {
		held[place / 64] |= 1UL << place % 64;
		held_any = true;
	} else {
		wake(place);
	}
}

void bells_hold(bool on)
{
	holding = on;
	if (on || !held_any)
		return;
	held_any = false;
	for (uint32_t w = 0; w < HOLDERS; w++)
		for (; held[w]; held[w] &= held[w] - 1)
			wake(w * 64 + (uint32_t)__builtin_ctzl(held[w]));
}

/* ---- sleeping ---- */

static struct looks looks; /* for rings */

bool looks_due(struct looks *l)
{
	return control->flags & KX_F_LOOK && !(l->left && l->left--);
}

void looks_were(struct looks *l, bool came)
{
	l->left = l->apart = came ? 0 : MIN(2 * l->apart + 1, (uint32_t)LOOKS_APART);
}

/* Whether something comes while we look for it. */
static bool look(void)
{
	int64_t end;
	bool came = false;

	if (!looks_due(&looks))
		return false;
	__atomic_store_n(&self()->asleep, LOOKS, __ATOMIC_SEQ_CST);
	for (end = now_ns() + LOOK_NS; !came && now_ns() < end; __builtin_ia32_pause())
		came = RELAXED(self()->rung) || shared->vcpu_info[0].evtchn_upcall_pending;
	looks_were(&looks, came);
	return came;
}

bool family_looks(void)
{
	return family_in() && control->flags & KX_F_LOOK && !looks.left;
}

void bells_begin(void)
{
	looks.left = looks.apart = 0;
}

bool family_sleeps(void)
{
	if (!family_in())
		return true;
	if (look())
		return false;
	lines_listen(true);
	__atomic_store_n(&self()->asleep, ASLEEP, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&self()->rung, __ATOMIC_SEQ_CST);
}

void family_awake(void)
{
	if (!family_in())
		return;
	__atomic_store_n(&self()->asleep, AWAKE, __ATOMIC_SEQ_CST);
	lines_listen(false);
}

/* ---- signals ---- */

#define NOBODYS (1UL << 16) /* for PID 0 */

/* One waits at a time; the next goes by the engine, and so does what acts on the domain itself. */
bool member_signal(long pid, int sig)
{
	uint64_t was = 0, what = (uint64_t)control->domid << 32 | (uint64_t)sig << 16 | (uint64_t)pid;

	if (!family_in() || pid <= 0 || pid > UINT16_MAX || !sig || sig == SIGKILL || sig == SIGSTOP || sig == SIGCONT)
		return false;
	for (uint32_t i = 0; i < KX_MEMBERS; i++) {
		if (RELAXED(member(i)->pid) != (uint32_t)pid)
			continue;
		if (!__atomic_compare_exchange_n(&family_bells()->mail[i].signal, &was, what, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return false;
		/* Who is woken may take our CPU, and answer before we are back: the engine need not interrupt us for that. */
		__atomic_store_n(&self()->asleep, LOOKS, __ATOMIC_SEQ_CST);
		member_ring(i);
		if (__atomic_load_n(&member(i)->asleep, __ATOMIC_SEQ_CST) == AWAKE)
			ring_by_engine(i);
		__atomic_store_n(&self()->asleep, AWAKE, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&self()->rung, __ATOMIC_SEQ_CST))
			family_events();
		return true;
	}
	return false;
}

void member_signal_none(uint32_t place, bool on)
{
	__atomic_store_n(&family_bells()->mail[place].signal, on ? NOBODYS : 0, __ATOMIC_SEQ_CST);
}

void member_signals(void)
{
	uint64_t *at = &family_bells()->mail[family_place() - 1].signal;
	uint64_t what = RELAXED(*at) ? __atomic_exchange_n(at, 0, __ATOMIC_SEQ_CST) : 0;
	siginfo_t info = {.si_signo = (int)(what >> 16 & 0xffff), .si_code = SI_USER};

	info.si_pid = (pid_t)(what >> 32 & 0xffff);
	if ((what & 0xffff) == control->domid && info.si_signo > 0 && info.si_signo < KX_NSIG && info.si_signo != SIGKILL && info.si_signo != SIGSTOP)
		signal_process(info.si_signo, &info);
}

/*
 * robusttrials.c: robust mutexes of members that are killed at any instruction: each is handed on, but for one that was not in the
 * list yet, and no other word is touched. And lists that make no sense.
 */
#include "ipc.h"
#include "futex.h"
#include "process.h"
#include "trials.h"

long sys_set_robust_list(long head, long len);
long sys_shmget(long key, long n, long flags), sys_shmat(long id, long va, long flags), sys_shmdt(long va), sys_shmctl(long id, long cmd, long user);

enum { MUTEXES = 60 };

/* As the C library has it. */
struct mutex {
	uint32_t type, word, pad[4];
	void *prev, *next;
};

#define ENTRY(m) ((void *)&(m)->next)
#define OFFSET ((long)offsetof(struct mutex, word) - (long)offsetof(struct mutex, next))

static struct {
	void *first;
	int64_t offset;
	void *pending;
} head;

static void lock(struct mutex *m)
{
	uint32_t free = 0;

	if (!__atomic_compare_exchange_n(&m->word, &free, (uint32_t)main_thread.tid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	m->next = head.first;
	m->prev = &head.first;
	if (head.first != &head.first)
		((void **)head.first)[-1] = ENTRY(m);
	__atomic_store_n(&head.first, ENTRY(m), __ATOMIC_SEQ_CST);
}

static void unlock(struct mutex *m)
{
	*(void **)m->prev = m->next;
	if (m->next != &head.first)
		((void **)m->next)[-1] = m->prev;
	__atomic_store_n(&m->word, 0, __ATOMIC_SEQ_CST);
}

static void work(struct mutex *m)
{
	head.first = &head.first;
	head.offset = OFFSET;
	CHECK(!sys_set_robust_list((long)&head, sizeof(head)));
	for (;;) {
		struct mutex *one = &m[random_below_(MUTEXES)];

		if (one->word == (uint32_t)main_thread.tid)
			unlock(one);
		else
			lock(one);
	}
}

void trial_robust(void)
{
	long segment = sys_shmget(IPC_PRIVATE, 5 * PAGE_SIZE, 0600);
	struct mutex *m = (struct mutex *)sys_shmat(segment, 0, 0), *decoy = m + MUTEXES;
	int pid, unlisted = 0, had = main_thread.tid;

	CHECK(segment >= 0 && (long)m > 0);
	pid = fork_member();
	main_thread.tid = (int)(family_pid(family_place() - 1) + TID_STEP * random_below_(3));
	if (!pid) {
		decoy->word = (uint32_t)main_thread.tid;
		work(m);
	}
	usleep(500 + random_below_(3000));
	kill(pid, SIGKILL);
	reap(0);
	main_thread.tid = had;
	for (int i = 0; i < MUTEXES; i++)
		if (m[i].word != FUTEX_OWNER_DIED && m[i].word)
			unlisted++;
	CHECK(unlisted <= 1);
	CHECK(!(decoy->word & FUTEX_OWNER_DIED));
	CHECK(!sys_shmdt((long)m) && !sys_shmctl(segment, IPC_RMID, 0));
}

/* A list as hostile as can be, in a segment of which everything is. */
void trial_robust_nonsense(long va, size_t n)
{
	uint64_t *words = (uint64_t *)va;
	uint32_t tid = family_pid(family_place() - 1);

	head.first = random_below_(2) ? &head.first : (void *)(va + random_below_((unsigned)n));
	head.offset = random_below_(3) ? OFFSET : (long)random_below_(9000) - 4500;
	sys_set_robust_list((long)&head, sizeof(head));
	main_thread.tid = (int)tid;
	for (size_t i = 0; i < n / 8; i++)
		switch (random_below_(4)) {
		case 0: words[i] = (uint64_t)(tid + TID_STEP * random_below_(3)) << 32 | tid; break;
		case 1: words[i] = (uint64_t)&head; break;
		case 2: words[i] = (uint64_t)va + random_below_((unsigned)n); break;
		default: words[i] = random_below_(2) ? (uint64_t)seed << 32 | seed : KX_FAMILY_VA + random_below_(1U << 31);
		}
	robust_gone(family_place() - 1);
}

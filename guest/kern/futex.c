/*
 * futex.c: sleeping on a word of the program's memory. A word in memory that is shared with relatives is theirs as well:
 * who wakes it rings all members that wait for anything in that segment, and their waiters look again.
 */
#include "futex.h"

#include "family.h"
#include "process.h"

#define BUCKETS 64

/* list.next is NULL until the bucket is first used. */
static struct waitq buckets[BUCKETS];
static int waiting; /* in all of them */

static struct waitq *bucket(uint64_t addr)
{
	struct waitq *q = &buckets[(addr >> 2 ^ addr >> 8 ^ addr >> 14) % BUCKETS];

	if (!q->waiters.next)
		waitq_init(q);
	return q;
}

static int futex_wait(uint64_t addr, uint32_t val, int64_t deadline, uint32_t bits)
{
	struct waitq *q = bucket(addr);
	struct object *o = shm_object(addr);
	uint32_t now;
	int r;

	if (o) { /* before the word is looked at, so that whoever changes it then sees us */
		cur->futex_seen = RELAXED(o->changes); /* before that, so that no ring for us is taken for an older one */
		object_await(o);
	}
	if (copy_in(&now, (void *)addr, sizeof(now)))
		return -EFAULT;
	if (now != val)
		return -EAGAIN;
	cur->futex_addr = addr;
	cur->futex_bits = bits;
	waiting++;
	r = wait_on(q, deadline);
	waiting--;
	cur->futex_addr = 0; /* it waits for nothing: update.c */
	return r;
}

static void wake_relatives(uint64_t addr)
{
	struct object *o = shm_object(addr);

	if (o)
		object_changed(o);
}

void futex_news(void)
{
	for (size_t i = 0; waiting && i < BUCKETS; i++) {
		struct list_node *head = &buckets[i].waiters;

		for (struct list_node *n = head->next, *next; n && n != head; n = next) {
			struct thread *t = CONTAINER_OF(n, struct thread, wait_node);
			struct object *o = shm_object(t->futex_addr);

			next = n->next;
			if (o && RELAXED(o->changes) != t->futex_seen)
				thread_wake(t, 0);
		}
	}
}

void futexes_forked(void)
{
	waiting = 0;
}

/* Walks the waiters of addr: the first `wake` that share a bit are woken, the next `move` go to `to`. */
static int walk(uint64_t addr, int wake, uint32_t bits, int move, uint64_t to)
{
	struct waitq *q = bucket(addr);
	int done = 0, moved = 0;

	for (struct list_node *n = q->waiters.next, *next; n != &q->waiters; n = next) {
		struct thread *t = CONTAINER_OF(n, struct thread, wait_node);

		next = n->next;
		if (t->futex_addr != addr || !(t->futex_bits & bits))
			continue;
		if (done < wake) {
			thread_wake(t, 0);
			done++;
		} else if (moved < move) {
			list_del(n);
			list_add_tail(&bucket(to)->waiters, n);
			t->futex_addr = to;
			moved++;
		} else {
			break;
		}
	}
	if (done < wake || moved < move)
		wake_relatives(addr);
	return done + moved;
}

int futex_wake(uint64_t addr, int n, uint32_t bits)
{
	return walk(addr, n, bits, 0, 0);
}

static int futex_requeue(uint64_t addr, int wake, int move, uint64_t to, const uint32_t *expected)
{
	uint32_t now;

	if (wake < 0 || move < 0)
		return -EINVAL;
	if (to & 3)
		return -EINVAL;
	if (expected) {
		if (copy_in(&now, (void *)addr, sizeof(now)))
			return -EFAULT;
		if (now != *expected)
			return -EAGAIN;
	}
	/* Moving within one bucket's list would visit a waiter again: it has the new address then. */
	return walk(addr, wake, FUTEX_BITSET_ANY, to == addr ? 0 : move, to);
}

/* The atomic operation and comparison of FUTEX_WAKE_OP, encoded in one word. */
static int futex_wake_op(uint64_t addr, int wake, int wake2, uint64_t addr2, uint32_t code)
{
	int32_t old, val, arg = (int32_t)(code << 8) >> 20, cmp = (int32_t)(code << 20) >> 20, hit;
	int op = code >> 28 & 7, n;

	if (code >> 28 & FUTEX_OP_OPARG_SHIFT)
		arg = (int32_t)(1u << (arg & 31));
	if (copy_in(&old, (void *)addr2, sizeof(old)))
		return -EFAULT;
	switch (op) {
	case FUTEX_OP_SET: val = arg; break;
	case FUTEX_OP_ADD: val = (int32_t)((uint32_t)old + (uint32_t)arg); break;
	case FUTEX_OP_OR: val = old | arg; break;
	case FUTEX_OP_ANDN: val = old & ~arg; break;
	case FUTEX_OP_XOR: val = old ^ arg; break;
	default: return -ENOSYS;
	}
	if (copy_out((void *)addr2, &val, sizeof(val)))
		return -EFAULT;
	switch (code >> 24 & 15) {
	case FUTEX_OP_CMP_EQ: hit = old == cmp; break;
	case FUTEX_OP_CMP_NE: hit = old != cmp; break;
	case FUTEX_OP_CMP_LT: hit = old < cmp; break;
	case FUTEX_OP_CMP_LE: hit = old <= cmp; break;
	case FUTEX_OP_CMP_GT: hit = old > cmp; break;
	case FUTEX_OP_CMP_GE: hit = old >= cmp; break;
	default: return -ENOSYS;
	}
	n = futex_wake(addr, wake, FUTEX_BITSET_ANY);
	return hit ? n + futex_wake(addr2, wake2, FUTEX_BITSET_ANY) : n;
}

/* The timeout of a wait as a deadline. WAIT's is relative, WAIT_BITSET's absolute. */
static int futex_deadline(int op, const void *user, int realtime, int64_t *deadline)
{
	struct timespec ts;
	int64_t ns;

	*deadline = FOREVER;
	if (!user)
		return 0;
	if (copy_in(&ts, user, sizeof(ts)))
		return -EFAULT;
	if (timespec_to_ns(&ts, &ns))
		return -EINVAL;
	if (op == FUTEX_WAIT)
		*deadline = deadline_after(ns);
	else
		*deadline = realtime ? deadline_after(ns - real_ns()) : ns;
	return 0;
}

long sys_futex(long addr, long op, long val, long timeout, long addr2, long val3)
{
	int cmd = op & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
	uint32_t expected = (uint32_t)val3;
	int64_t deadline;
	int err;

	if (addr & 3)
		return -EINVAL;
	switch (cmd) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		if (cmd == FUTEX_WAIT)
			expected = FUTEX_BITSET_ANY;
		if (!expected)
			return -EINVAL;
		err = futex_deadline(cmd, (void *)timeout, !!(op & FUTEX_CLOCK_REALTIME), &deadline);
		return err ? err : futex_wait(addr, (uint32_t)val, deadline, expected);
	case FUTEX_WAKE:
		return futex_wake(addr, (int)val, FUTEX_BITSET_ANY);
	case FUTEX_WAKE_BITSET:
		return expected ? futex_wake(addr, (int)val, expected) : -EINVAL;
	case FUTEX_REQUEUE:
		return futex_requeue(addr, (int)val, (int)timeout, addr2, NULL);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(addr, (int)val, (int)timeout, addr2, &expected);
	case FUTEX_WAKE_OP:
		return futex_wake_op(addr, (int)val, (int)timeout, addr2, expected);
	default: /* priority inheritance: musl reports it as not supported */
		return -ENOSYS;
	}
}

/* console.c: the rings of bytes to and from the engine. */
#include "console.h"

#include "hyper.h"
#include "process.h"

#define OUT ((uint8_t *)KX_CONOUT_VA)
#define IN ((const volatile uint8_t *)KX_CONIN_VA)
#define HEAD 4 /* bytes of a record's header */

static uint32_t out_prod, in_cons; /* our own copies of what we publish */
static struct waitq out_q = WAITQ_INIT(out_q);

static void fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Takes the other side's wish for an event. */
static int claim(volatile uint32_t *flag)
{
	fence();
	return *flag && __atomic_exchange_n(flag, 0, __ATOMIC_SEQ_CST);
}

/* ---- output ---- */

size_t out_room(void)
{
	uint32_t used = out_prod - control->conout.cons;
	size_t room = used > KX_CONOUT_SIZE ? 0 : KX_CONOUT_SIZE - used;

	fence();
	return room > HEAD ? room - HEAD : 0;
}

/* As out_room, but asks for an event if there are fewer than need bytes of room. */
static int out_has_room(size_t need)
{
	if (out_room() >= need)
		return 1;
	control->conout.prod_waits = 1;
	fence();
	return out_room() >= need;
}

int out_ready(void)
{
	return out_has_room(1);
}

bool out_drained(void)
{
	return control->conout.cons == out_prod;
}

/* Copies n bytes to ring position at; get is how: from the kernel or from the program. */
static int put_bytes(uint32_t at, const void *src, size_t n, int (*get)(void *, const void *, size_t))
{
	size_t off = at % KX_CONOUT_SIZE, first = MIN(n, KX_CONOUT_SIZE - off);

	if (get(OUT + off, src, first))
		return -EFAULT;
	return get(OUT, (const char *)src + first, n - first);
}

static int from_kernel(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return 0;
}

static int put_record(int stream, const void *src, size_t n, int (*get)(void *, const void *, size_t))
{
	uint32_t head = (uint32_t)stream << 24 | (uint32_t)n;

	if (put_bytes(out_prod + HEAD, src, n, get))
		return -EFAULT;
	put_bytes(out_prod, &head, HEAD, from_kernel);
	out_prod += HEAD + n;
	fence();
	control->conout.prod = out_prod;
	if (claim(&control->conout.cons_waits))
		doorbell();
	return 0;
}

void out_put(int stream, const void *src, size_t n)
{
	put_record(stream, src, n, from_kernel);
}

int out_wait(size_t need, int nonblock)
{
	int err = 0;

	while (!out_has_room(need) && !err)
		err = nonblock ? -EAGAIN : wait_on(&out_q, FOREVER);
	return err;
}

long out_write(int stream, const char *user, size_t n, int nonblock)
{
	size_t done = 0;
	int err = 0;

	while (done < n) {
		err = out_wait(1, nonblock);
		if (err)
			break;
		size_t part = MIN(MIN(n - done, out_room()), KX_RECORD_MAX);

		err = put_record(stream, user + done, part, copy_in);
		if (err)
			break;
		done += part;
	}
	return done ? (long)done : err;
}

/* Waits for room without letting another thread run: what the kernel says may come from anywhere. */
static void out_wait_here(size_t need)
{
	int slept = 0;

	while (!out_has_room(need)) {
		event_wait_here();
		slept = 1;
	}
	if (slept)
		events_owed();
}

void klog(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = MIN((size_t)kvsnprintf(line, sizeof(line) - 1, fmt, ap), sizeof(line) - 2);
	va_end(ap);
	line[n++] = '\n';
	out_wait_here(n);
	out_put(KX_KERNEL, line, n);
}

/* ---- input ---- */

size_t in_available(void)
{
	uint32_t prod = control->conin.prod;

	fence();
	if (prod - in_cons > KX_CONIN_SIZE)
		in_cons = prod; /* the program wrote over the ring */
	return prod - in_cons;
}

uint8_t in_peek(size_t i)
{
	return IN[(in_cons + i) % KX_CONIN_SIZE];
}

void in_consume(size_t n)
{
	in_cons += n;
	fence();
	control->conin.cons = in_cons;
	if (claim(&control->conin.prod_waits))
		doorbell();
}

/* Gives the program up to n bytes: how many, or -EFAULT. */
long in_copy(char *user, size_t n)
{
	size_t off = in_cons % KX_CONIN_SIZE, first;

	n = MIN(n, in_available());
	first = MIN(n, KX_CONIN_SIZE - off);
	if (copy_out(user, (const char *)KX_CONIN_VA + off, first) ||
	    copy_out(user + first, (const char *)KX_CONIN_VA, n - first))
		return -EFAULT;
	in_consume(n);
	return (long)n;
}

/* ---- events ---- */

void console_init(void)
{
	out_prod = control->conout.prod;
	in_cons = control->conin.cons;
}

void console_events(void)
{
	control->conin.cons_waits = 1;
	fence();
	tty_input();
	/* An event that brought no room has used up the wait flag: out_has_room sets it anew. */
	if (!list_empty(&out_q.waiters) && out_has_room(1))
		wake_all(&out_q);
	poll_wake();
}

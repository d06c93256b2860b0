/*
 * offer.c: a pipe from the standard output of one member to the standard input of another, which the engine asks both for (kx_abi.h,
 * KX_TASK_OFFER). Who is to read makes the pipe and keeps both ends aside, so that nothing has changed yet, and no writer finds a pipe that nobody
 * reads. Whether the other takes it up, or it is taken back, is one word in the area: whoever dies, and also without the engine, there is a whole pipe or none.
 */
#include "family.h"
#include "pipe.h"
#include "process.h"

#include <unistd.h>

static struct {
	uint32_t secret; /* 0: nothing is offered */
	struct file *reader, *writer;
} offered;

/* What was reading standard input finds the pipe there; what it has not read stays where it is. */
static void become_stdin(struct file *reader)
{
	struct file *was;
	long none = file_of_any(STDIN_FILENO, &was);

	fd_replace(STDIN_FILENO, file_get(reader), false);
	if (!none) {
		readers_look_again(was);
		file_put(was);
	}
	poll_wake();
}

static long settle(void)
{
	bool taken = !pipe_claim(offered.writer->node->pipe, offered.secret);

	if (taken)
		become_stdin(offered.reader);
	file_put(offered.reader);
	file_put(offered.writer);
	offered.secret = 0;
	return taken;
}

static void expired(struct ktimer *t)
{
	(void)t;
	settle();
}

static struct ktimer expiry = {.fn = expired};

long offer_make(uint32_t secret)
{
	struct inode *n;
	long err = !secret ? -EINVAL : offered.secret ? -EBUSY : family_enter();

	if (err)
		return err;
	n = pipe_node(pipe_new());
	if (!n)
		return -ENOMEM;
	offered.reader = pipe_end(n, O_RDONLY);
	offered.writer = pipe_end(n, O_WRONLY);
	err = offered.reader && offered.writer ? pipe_share(n->pipe, n, n) : -ENOMEM;
	inode_put(n);
	if (err) {
		file_put(offered.reader);
		file_put(offered.writer);
		return err;
	}
	pipe_offer(n->pipe, secret);
	offered.secret = secret;
	ktimer_set(&expiry, deadline_after(KX_OFFER_NS));
	return (long)n->pipe->common;
}

long offer_settle(uint32_t secret)
{
	if (!secret || secret != offered.secret)
		return -EINVAL;
	ktimer_cancel(&expiry);
	return settle();
}

long offer_take(uint32_t secret, uint32_t page)
{
	struct inode *n;
	struct file *writer;
	bool got;
	long err = family_enter();

	if (err)
		return err;
	if (!object_join(page, KIND_PIPE)) /* so that it stays while we look */
		return -EINVAL;
	n = pipe_node(pipe_of_family(page));
	writer = n ? pipe_end(n, O_WRONLY) : NULL;
	got = writer && pipe_claim(n->pipe, secret);
	object_drop(page, END_READ);
	inode_put(n);
	if (!got) {
		file_put(writer);
		return writer ? -EINVAL : -ENOMEM;
	}
	fd_replace(STDOUT_FILENO, writer, false);
	poll_wake();
	return 0;
}

void offer_forked(void)
{
	if (!offered.secret)
		return;
	ktimer_cancel(&expiry);
	file_put(offered.reader);
	file_put(offered.writer);
	offered.secret = 0;
}

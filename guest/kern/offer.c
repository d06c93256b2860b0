/*
 * offer.c: a pipe from the standard output of one member to the standard input of another, which the engine asks both for (kx_abi.h,
 * KX_TASK_OFFER). Who is to read makes the pipe and keeps both ends aside, so that nothing has changed yet, and no writer finds a pipe that nobody
 * reads. Whether the other takes it up, or it is taken back, is one word in the area: whoever dies, and also without the engine, there is a whole pipe or none.
 * A pipe that is lent (KX_TASK_LEND) is so for a while: both descriptors become the console again that they were.
 */
#include "family.h"
#include "pipe.h"
#include "process.h"

#include <unistd.h>

static struct {
	uint32_t secret; /* 0: nothing is offered */
	bool lends;
	struct file *reader, *writer;
} offered;

/* What descriptors 0 and 1 are for a while only, and the console that they were before. Whether they still are is to be seen at the pipe. */
static struct loan {
	uint32_t secret; /* 0: none */
	struct file *was; /* counted */
} loans[2];

/* What was reading or writing there finds that; what it has not read of the other stays where it is. Takes over f. */
static void become(int fd, struct file *f)
{
	struct file *was;
	long none = file_of_any(fd, &was);

	fd_replace(fd, f, false);
	if (!none) {
		movers_look_again(was);
		file_put(was);
	}
	poll_wake();
}

/* ---- for a while ---- */

/* An epoll set would forget the console, and not hear of the pipe. */
static long may_lend(int fd)
{
	struct file *f;
	long err = loans[fd].secret ? -EBUSY : file_of(fd, &f);

	if (err)
		return err == -EBUSY ? err : -ENOTTY;
	if (!dev_is_console(f) || epoll_watches(f))
		err = -ENOTTY;
	file_put(f);
	return err;
}

/* Descriptor fd becomes f, which is taken over, until it is given back. */
static void lend(int fd, struct file *f, uint32_t secret)
{
	if (may_lend(fd)) { /* the program has made something else of it meanwhile */
		file_put(f);
		return;
	}
	file_of(fd, &loans[fd].was);
	file_set_flags(f, loans[fd].was->flags & O_NONBLOCK, O_NONBLOCK);
	loans[fd].secret = control->lent[fd] = secret;
	become(fd, f);
}

/* NULL: the program has made something else of that descriptor. */
static struct pipe *lent(int fd)
{
	struct file *f;
	struct pipe *p = NULL;

	if (!loans[fd].secret || file_of_any(fd, &f))
		return NULL;
	if (f->ops == &pipe_ops && pipe_is_lent(f->node->pipe, loans[fd].secret))
		p = f->node->pipe;
	file_put(f);
	return p;
}

static void give_back(int fd)
{
	struct file *was = loans[fd].was, *now;

	if (lent(fd) && !file_of_any(fd, &now)) {
		file_set_flags(was, now->flags & O_NONBLOCK, O_NONBLOCK);
		file_put(now);
		become(fd, was);
	} else {
		file_put(was);
	}
	loans[fd] = (struct loan){0};
	control->lent[fd] = 0;
}

static bool ended(struct pipe *p)
{
	return (pipe_state(p, true, false) & (POLLIN | POLLHUP)) == POLLHUP;
}

/* What is in the pipe is read first. Whoever comes to its end, sees by the pipe's own word that it was not the end of the file. */
long offer_return(uint32_t secret)
{
	struct pipe *p;
	long later = 0;

	for (int fd = 0; secret && fd < 2; fd++) {
		if (loans[fd].secret != secret)
			continue;
		p = lent(fd);
		if (p)
			pipe_return(p);
		if (p && fd == STDIN_FILENO && !ended(p))
			later = 1;
		else
			give_back(fd);
	}
	return later;
}

bool offer_over(const struct file *f)
{
	struct pipe *p = lent(STDIN_FILENO);

	if (!p || f->ops != &pipe_ops || f->node->pipe != p || !pipe_is_returned(p) || !ended(p))
		return false;
	give_back(STDIN_FILENO);
	return true;
}

/* ---- the offer ---- */

static long settle(void)
{
	bool taken = !pipe_claim(offered.writer->node->pipe, offered.secret);

	if (taken && offered.lends)
		lend(STDIN_FILENO, file_get(offered.reader), offered.secret);
	else if (taken)
		become(STDIN_FILENO, file_get(offered.reader));
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

long offer_make(uint32_t secret, bool lends)
{
	struct inode *n;
	long err = !secret ? -EINVAL : offered.secret ? -EBUSY : lends ? may_lend(STDIN_FILENO) : 0;

	if (!err)
		err = family_enter();
	if (err)
		return err;
	n = pipe_node(pipe_new());
	if (!n)
		return -ENOMEM;
	offered.lends = lends;
	offered.reader = pipe_end(n, O_RDONLY);
	offered.writer = pipe_end(n, O_WRONLY);
	err = offered.reader && offered.writer ? pipe_share(n->pipe, n, n) : -ENOMEM;
	inode_put(n);
	if (err) {
		file_put(offered.reader);
		file_put(offered.writer);
		return err;
	}
	if (lends)
		pipe_lend(n->pipe, secret);
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

long offer_take(uint32_t secret, uint32_t page, bool borrows)
{
	struct inode *n;
	struct file *writer;
	bool got;
	long err = borrows ? may_lend(STDOUT_FILENO) : 0;

	if (!err)
		err = family_enter();
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
	if (borrows)
		lend(STDOUT_FILENO, writer, secret);
	else
		become(STDOUT_FILENO, writer);
	return 0;
}

/* What is returned while the fork is made reaches the child by the pipe's own word. */
static void loan_forked(int fd)
{
	struct pipe *p = lent(fd);

	control->lent[fd] = loans[fd].secret;
	if (p && pipe_is_returned(p))
		offer_return(loans[fd].secret);
}

void offer_forked(void)
{
	loan_forked(STDIN_FILENO);
	loan_forked(STDOUT_FILENO);
	if (!offered.secret)
		return;
	ktimer_cancel(&expiry);
	file_put(offered.reader);
	file_put(offered.writer);
	offered.secret = 0;
}

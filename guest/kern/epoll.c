/* epoll.c */
#include "file.h"

#include <sys/epoll.h>

#define MAX_DEPTH 5 /* of epolls that watch epolls, as Linux */
#define MAX_EVENTS (INT_MAX / (int)sizeof(struct epoll_event))
#define ALWAYS (EPOLLERR | EPOLLHUP)

struct epoll_item {
	struct list_node on_epoll; /* the one told of last is at the end */
	struct list_node on_file;
	struct file *epoll;        /* not counted: it owns this */
	struct file *file;         /* not counted: epoll_forget ends this */
	int fd;
	struct epoll_event event;
	bool spent;                /* EPOLLONESHOT has fired */
	uint32_t edges;            /* of the inode, as of the last look */
	int state;                 /* what was told last, for EPOLLET */
};

struct epoll {
	struct list_node items;
};

static struct epoll_item *item_of(struct list_node *p)
{
	return CONTAINER_OF(p, struct epoll_item, on_epoll);
}

static void item_free(struct epoll_item *it)
{
	list_del(&it->on_epoll);
	list_del(&it->on_file);
	kfree(it);
}

void epoll_forget(struct file *f)
{
	while (!list_empty(&f->watchers))
		item_free(CONTAINER_OF(f->watchers.next, struct epoll_item, on_file));
}

static void epoll_close(struct file *f)
{
	struct epoll *ep = f->priv;

	while (!list_empty(&ep->items))
		item_free(item_of(ep->items.next));
	kfree(ep);
}

/* What is to be told about an item now, 0 for nothing. */
static uint32_t item_ready(const struct epoll_item *it)
{
	uint32_t state = (uint32_t)file_poll(it->file) & (it->event.events | ALWAYS);

	if (it->spent)
		return 0;
	if (it->event.events & EPOLLET && it->edges == it->file->node->edges && !(state & ~(uint32_t)it->state))
		return 0;
	return state;
}

static int epoll_poll(struct file *f)
{
	struct epoll *ep = f->priv;

	for (struct list_node *p = ep->items.next; p != &ep->items; p = p->next)
		if (item_ready(item_of(p)))
			return POLLIN | POLLRDNORM;
	return 0;
}

const struct file_ops epoll_ops = {
	.name = "[eventpoll]", .poll = epoll_poll, .close = epoll_close, .stream = true};

/* ---- epoll_ctl ---- */

static struct epoll_item *item_find(struct epoll *ep, int fd, const struct file *f)
{
	for (struct list_node *p = ep->items.next; p != &ep->items; p = p->next)
		if (item_of(p)->fd == fd && item_of(p)->file == f)
			return item_of(p);
	return NULL;
}

/* Whether target can be reached from f, or the chain is too long. */
static bool loops(struct file *f, const struct file *target, int depth)
{
	struct epoll *ep = f->priv;

	if (f == target || depth > MAX_DEPTH)
		return true;
	for (struct list_node *p = ep->items.next; p != &ep->items; p = p->next)
		if (item_of(p)->file->ops == &epoll_ops && loops(item_of(p)->file, target, depth + 1))
			return true;
	return false;
}

static long item_add(struct file *epf, int fd, struct file *f, const struct epoll_event *ev)
{
	struct epoll *ep = epf->priv;
	struct epoll_item *it;

	if (f->ops == &epoll_ops && loops(f, epf, 0))
		return -ELOOP;
	if (!f->ops->poll)
		return -EPERM;
	it = kzalloc(sizeof(*it));
	if (!it)
		return -ENOMEM;
	it->epoll = epf;
	it->file = f;
	it->fd = fd;
	it->event = *ev;
	it->edges = f->node->edges - 1; /* what is there already is news */
	list_add_tail(&ep->items, &it->on_epoll);
	list_add_tail(&f->watchers, &it->on_file);
	return 0;
}

static long change(struct file *epf, long op, int fd, struct file *f, const struct epoll_event *ev)
{
	struct epoll_item *it;

	if (epf->ops != &epoll_ops || epf == f)
		return -EINVAL;
	if (!f->ops->poll)
		return -EPERM;
	it = item_find(epf->priv, fd, f);
	switch (op) {
	case EPOLL_CTL_ADD:
		return it ? -EEXIST : item_add(epf, fd, f, ev);
	case EPOLL_CTL_MOD:
		if (!it)
			return -ENOENT;
		it->event = *ev;
		it->spent = false;
		it->edges = f->node->edges - 1;
		return 0;
	case EPOLL_CTL_DEL:
		if (!it)
			return -ENOENT;
		item_free(it);
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_epoll_ctl(long epfd, long op, long fd, long user)
{
	struct epoll_event ev = {0};
	struct file *epf, *f;
	long err;

	if (op != EPOLL_CTL_DEL && copy_in(&ev, (void *)user, sizeof(ev)))
		return -EFAULT;
	err = file_of(epfd, &epf);
	if (err)
		return err;
	err = file_of(fd, &f);
	if (!err) {
		err = change(epf, op, (int)fd, f, &ev);
		file_put(f);
	}
	file_put(epf);
	poll_wake(); /* a waiter may have to look at more */
	return err;
}

/* ---- waiting ---- */

/* Events found, at most max, or -EFAULT. Items told of go to the end, so that all get their turn. */
static long collect(struct file *epf, struct epoll_event *user, int max)
{
	struct epoll *ep = epf->priv;
	struct list_node *p = ep->items.next, *last = ep->items.prev, *next;
	bool more = p != &ep->items;
	int n = 0;

	for (; more && n < max; p = next) {
		struct epoll_item *it = item_of(p);
		struct epoll_event ev = {.data = it->event.data};

		next = p->next;
		more = p != last;
		ev.events = item_ready(it);
		if (!ev.events)
			continue;
		if (copy_out(user + n, &ev, sizeof(ev)))
			return n ? n : -EFAULT;
		n++;
		it->state = (int)ev.events;
		it->edges = it->file->node->edges;
		it->spent = it->event.events & EPOLLONESHOT;
		list_del(p);
		list_add_tail(&ep->items, p);
	}
	return n;
}

static long do_epoll_wait(long epfd, long user, long max, int64_t deadline)
{
	struct file *f;
	long n;

	if ((int)max <= 0 || (int)max > MAX_EVENTS)
		return -EINVAL;
	n = file_of(epfd, &f);
	if (n)
		return n;
	if (f->ops != &epoll_ops) {
		file_put(f);
		return -EINVAL;
	}
	do {
		n = collect(f, (struct epoll_event *)user, (int)max);
		if (n || deadline <= now_ns())
			break;
		n = wait_on(&poll_q, deadline);
		if (n == -ETIMEDOUT)
			n = 0;
	} while (!n);
	file_put(f);
	return n;
}

static int64_t ms_deadline(long timeout_ms)
{
	int ms = (int)timeout_ms;

	return ms < 0 ? FOREVER : deadline_after(ms * (NSEC / 1000));
}

long sys_epoll_wait(long epfd, long user, long max, long timeout_ms)
{
	return do_epoll_wait(epfd, user, max, ms_deadline(timeout_ms));
}

long sys_epoll_pwait(long epfd, long user, long max, long timeout_ms, long mask, long size)
{
	long err = sigmask_borrow((void *)mask, size);

	return err ? err : do_epoll_wait(epfd, user, max, ms_deadline(timeout_ms));
}

long sys_epoll_create1(long flags)
{
	struct epoll *ep;
	struct file *f;

	if (flags & ~(long)EPOLL_CLOEXEC)
		return -EINVAL;
	ep = kzalloc(sizeof(*ep));
	if (!ep)
		return -ENOMEM;
	list_init(&ep->items);
	f = file_anonymous(&epoll_ops, ep, O_RDWR);
	if (!f) {
		kfree(ep);
		return -ENOMEM;
	}
	return fd_install(f, 0, flags & EPOLL_CLOEXEC);
}

long sys_epoll_create(long size)
{
	return (int)size <= 0 ? -EINVAL : sys_epoll_create1(0);
}

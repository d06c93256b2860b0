/*
 * epoll.c: a wait looks at what something has happened to since, in the order in which that was, and not at all that is watched. Of a file that does
 * not tell (file_ops.tells) it looks each time.
 */
#include "file.h"

#include <sys/epoll.h>

#define MAX_DEPTH 5 /* of epolls that watch epolls, as Linux */
#define MAX_EVENTS (INT_MAX / (int)sizeof(struct epoll_event))
#define ALWAYS (EPOLLERR | EPOLLHUP)

struct epoll_item {
	struct list_node on_epoll;
	struct watch watch;
	struct list_node on_news;
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
	struct list_node news;  /* items to look at, by on_news; what happened first is first */
	unsigned silent;        /* items whose files do not tell: they are always among the news */
	struct waitq q;         /* who waits and has none of these; others are on poll_q */
};

static struct epoll_item *item_of(struct list_node *p)
{
	return CONTAINER_OF(p, struct epoll_item, on_epoll);
}

static struct epoll_item *news_of(struct list_node *p)
{
	return CONTAINER_OF(p, struct epoll_item, on_news);
}

static void look_at(struct watch *w)
{
	struct epoll_item *it = CONTAINER_OF(w, struct epoll_item, watch);
	struct epoll *ep = it->epoll->priv;

	if (!it->on_news.next)
		list_add_tail(&ep->news, &it->on_news);
	wake_one(&ep->q);
}

static void item_free(struct epoll_item *it)
{
	struct epoll *ep = it->epoll->priv;

	ep->silent -= !it->file->ops->tells;
	list_del(&it->on_epoll);
	list_del(&it->watch.on_node);
	if (it->on_news.next)
		list_del(&it->on_news);
	kfree(it);
}

/* The next of those that watch f from *p on, which becomes the one behind it; NULL: no more. */
static struct epoll_item *next_of(const struct file *f, struct list_node **p)
{
	while (*p != &f->node->watches) {
		struct watch *w = CONTAINER_OF(*p, struct watch, on_node);
		struct epoll_item *it = CONTAINER_OF(w, struct epoll_item, watch);

		*p = (*p)->next;
		if (w->event == look_at && it->file == f)
			return it;
	}
	return NULL;
}

void epoll_forget(struct file *f)
{
	struct list_node *p = f->node->watches.next;
	struct epoll_item *it;

	while ((it = next_of(f, &p)))
		item_free(it);
}

bool epoll_watches(const struct file *f)
{
	struct list_node *p = f->node->watches.next;

	return next_of(f, &p);
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

	for (struct list_node *p = ep->news.next; p != &ep->news; p = p->next)
		if (item_ready(news_of(p)))
			return POLLIN | POLLRDNORM;
	return 0;
}

const struct file_ops epoll_ops = {
	.name = "[eventpoll]", .poll = epoll_poll, .close = epoll_close, .stream = true};

/* ---- epoll_ctl ---- */

static struct epoll_item *item_find(const struct file *epf, int fd, const struct file *f)
{
	struct list_node *p = f->node->watches.next;
	struct epoll_item *it;

	do {
		it = next_of(f, &p);
	} while (it && (it->epoll != epf || it->fd != fd));
	return it;
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
	ep->silent += !f->ops->tells;
	list_add_tail(&ep->items, &it->on_epoll);
	it->watch.event = look_at;
	list_add_tail(&f->node->watches, &it->watch.on_node);
	look_at(&it->watch);
	return 0;
}

static long change(struct file *epf, long op, int fd, struct file *f, const struct epoll_event *ev)
{
	struct epoll_item *it;

	if (epf->ops != &epoll_ops || epf == f)
		return -EINVAL;
	if (!f->ops->poll)
		return -EPERM;
	it = item_find(epf, fd, f);
	switch (op) {
	case EPOLL_CTL_ADD:
		return it ? -EEXIST : item_add(epf, fd, f, ev);
	case EPOLL_CTL_MOD:
		if (!it)
			return -ENOENT;
		it->event = *ev;
		it->spent = false;
		it->edges = f->node->edges - 1;
		look_at(&it->watch);
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

/* What is still true is to be told again, but after all others. */
static bool stays(const struct epoll_item *it, bool told)
{
	return !it->file->ops->tells || (told && !it->spent && !(it->event.events & EPOLLET));
}

/* Events found, at most max, or -EFAULT. */
static long collect(struct epoll *ep, struct epoll_event *user, int max)
{
	struct list_node *last = ep->news.prev;
	bool more = !list_empty(&ep->news);
	int n = 0;

	while (more && n < max) {
		struct epoll_item *it = news_of(ep->news.next);
		struct epoll_event ev = {.events = item_ready(it), .data = it->event.data};

		more = &it->on_news != last;
		if (ev.events && copy_out(user + n, &ev, sizeof(ev)))
			return n ? n : -EFAULT;
		if (ev.events) {
			n++;
			it->state = (int)ev.events;
			it->edges = it->file->node->edges;
			it->spent = it->event.events & EPOLLONESHOT;
		}
		list_del(&it->on_news);
		if (stays(it, ev.events))
			list_add_tail(&ep->news, &it->on_news);
	}
	return n;
}

static long do_epoll_wait(long epfd, long user, long max, int64_t deadline)
{
	struct epoll *ep;
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
	ep = f->priv;
	do {
		n = collect(ep, (struct epoll_event *)user, (int)max);
		if (n || deadline <= now_ns())
			break;
		n = wait_on(ep->silent ? &poll_q : &ep->q, deadline);
		if (n == -ETIMEDOUT)
			n = 0;
	} while (!n);
	if (!list_empty(&ep->news))
		wake_one(&ep->q); /* who was woken and leaves may leave something for others */
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
	list_init(&ep->news);
	waitq_init(&ep->q);
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

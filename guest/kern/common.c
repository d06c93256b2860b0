/*
 * common.c: what a family shares since a fork: the flags and positions of files that were open then, what is in regular
 * files among them, and pipes. Before a fork they go to the family area; a pVM that never forks has none there.
 * What does not fit stays a copy, and so do the console, folders, timers and epoll sets.
 */
#include "common.h"
#include "family.h"

struct open_data {
	uint32_t flags, pad;
	uint64_t pos;
};

static struct list_node files = {&files, &files};

static struct open_data *data_of(struct object *o)
{
	return (struct open_data *)o->data;
}

static struct object *object_of(const struct file *f)
{
	return f->common ? object_at(f->common, KIND_OPEN) : NULL;
}

/* ---- flags and position ---- */

void file_refresh(struct file *f)
{
	struct object *o = object_of(f);

	if (o)
		f->flags = (f->flags & ~FILE_SETTABLE) | ((int)RELAXED(data_of(o)->flags) & FILE_SETTABLE);
}

void file_set_flags(struct file *f, int set, int clear)
{
	struct object *o = object_of(f);

	f->flags = (f->flags & ~clear) | set;
	if (o)
		__atomic_store_n(&data_of(o)->flags, (uint32_t)f->flags, __ATOMIC_SEQ_CST);
}

long file_pos_enter(struct file *f)
{
	struct object *o = object_of(f);

	if (!f->common)
		return 0;
	if (!o || object_lock_patient(o))
		return -EIO;
	f->pos = MIN(RELAXED(data_of(o)->pos), (uint64_t)INT64_MAX);
	return 0;
}

void file_pos_leave(struct file *f)
{
	struct object *o = f->common ? family_page(f->common) : NULL;

	if (!o)
		return;
	__atomic_store_n(&data_of(o)->pos, f->pos, __ATOMIC_SEQ_CST);
	object_unlock(o);
}

uint64_t *file_word(struct file *f)
{
	struct object *o = object_of(f);

	return o ? &data_of(o)->pos : f->common ? NULL : &f->pos;
}

void file_changed(struct file *f)
{
	struct object *o = object_of(f);

	if (o)
		object_changed(o);
}

void file_await(struct file *f)
{
	struct object *o = object_of(f);

	if (o)
		object_await(o);
}

static void share_file(struct file *f)
{
	uint32_t number = object_new(KIND_OPEN);
	struct object *o = family_page(number);

	if (!o)
		return;
	data_of(o)->flags = (uint32_t)f->flags;
	data_of(o)->pos = f->pos;
	f->common = number;
	list_add_tail(&files, &f->on_common);
}

void file_leave(struct file *f)
{
	if (!f->common)
		return;
	list_del(&f->on_common);
	object_drop(f->common, END_READ);
	f->common = 0;
}

/* ---- before a fork ---- */

void common_share(void)
{
	bool full = false;

	for (int fd = fd_next(0); fd >= 0; fd = fd_next(fd + 1)) {
		struct file *f;

		if (file_of(fd, &f))
			continue;
		if (!f->common && f->ops->share && !family_enter()) {
			if (!f->ops->share(f))
				share_file(f);
			full = full || !f->common;
		}
		file_put(f);
	}
	if (full)
		klog("kx: no room in the family area: some open files are copies after this fork");
}

/* ---- all of them ---- */

void common_hold_all(void)
{
	for (struct list_node *n = files.next; n != &files; n = n->next)
		object_hold(CONTAINER_OF(n, struct file, on_common)->common, END_READ);
	nodes_hold_all();
	pipes_hold_all();
}

void common_drop_all(void)
{
	for (struct list_node *n = files.next; n != &files; n = n->next)
		object_drop(CONTAINER_OF(n, struct file, on_common)->common, END_READ);
	nodes_drop_all();
	pipes_drop_all();
}

void common_news(void)
{
	for (struct list_node *n = files.next; n != &files; n = n->next) {
		struct file *f = CONTAINER_OF(n, struct file, on_common);
		struct object *o = f->ops->news ? object_of(f) : NULL;

		if (!o || RELAXED(o->changes) == f->changes)
			continue;
		f->changes = RELAXED(o->changes);
		f->ops->news(f);
	}
	pipes_news();
}

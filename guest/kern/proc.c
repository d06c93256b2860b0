/* proc.c: /proc. A file's text is written when it is opened. */
#include "proc.h"

/* ---- files ---- */

static long proc_open(struct file *f)
{
	const struct proc_file *pf = f->node->proc;
	struct text *t;

	if (file_writes(f) && !pf->store)
		return -EACCES;
	t = kzalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	pf->show(t);
	if (t->failed) {
		kfree(t->p);
		kfree(t);
		return -ENOMEM;
	}
	f->priv = t;
	return 0;
}

static void proc_close(struct file *f)
{
	struct text *t = f->priv;

	kfree(t->p);
	kfree(t);
}

static long proc_read(struct file *f, struct uio *u, uint64_t *pos)
{
	const struct text *t = f->priv;
	long got;

	if (*pos >= t->n)
		return 0;
	got = uio_out(u, t->p + *pos, t->n - *pos);
	if (got > 0)
		*pos += got;
	return got;
}

static long proc_write(struct file *f, struct uio *u, uint64_t *pos)
{
	char s[128];
	long n, err;

	(void)pos;
	n = uio_in(u, s, MIN(u->left, sizeof(s)));
	if (n < 0)
		return n;
	err = f->node->proc->store(s, n);
	return err ? err : n;
}

const struct file_ops proc_ops = {
	.read = proc_read, .write = proc_write, .open = proc_open, .close = proc_close};

/* ---- /proc/self/fd ---- */

static char *fd_text(const struct inode *link)
{
	char *text = kmalloc(PATH_MAX), *path;
	struct file *f;

	if (!text)
		return NULL;
	text[0] = 0;
	if (file_of_any((int)link->rdev, &f))
		return text;
	if (f->dent) {
		path = dent_path(f->dent, text, PATH_MAX);
		if (path)
			memmove(text, path, strlen(path) + 1);
	} else if (S_ISCHR(f->node->mode)) {
		ksnprintf(text, PATH_MAX, "/dev/console");
	} else if (f->ops && f->ops->name) {
		ksnprintf(text, PATH_MAX, f->ops->name[0] == '[' ? "anon_inode:%s" : "%s:[%lu]", f->ops->name,
			(unsigned long)f->node->ino);
	} else {
		ksnprintf(text, PATH_MAX, "/#%lu (deleted)", (unsigned long)f->node->ino);
	}
	file_put(f);
	return text;
}

static long fd_follow(struct inode *link, struct inode **node, struct dent **dent)
{
	struct file *f;

	if (file_of_any((int)link->rdev, &f))
		return -ENOENT;
	*node = inode_get(f->node);
	*dent = f->dent ? dent_get(f->dent) : NULL;
	file_put(f);
	return 0;
}

static struct dent *fd_lookup(struct dent *self, const char *name, size_t len)
{
	struct inode *n;
	struct dent *d;
	int fd = 0;

	if (!len || len > 7 || (len > 1 && name[0] == '0'))
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (name[i] < '0' || name[i] > '9')
			return NULL;
		fd = fd * 10 + name[i] - '0';
	}
	if (fd_next(fd) != fd)
		return NULL;
	n = inode_new(S_IFLNK | 0700, FS_PROC);
	if (!n)
		return NULL;
	n->nlink = 1;
	n->rdev = fd;
	n->follow = fd_follow;
	n->text = fd_text;
	d = dent_new(self, n, name, len);
	inode_put(n);
	return d;
}

static int fd_list(uint64_t *at, char *name, size_t max)
{
	int fd = *at > INT_MAX ? -1 : fd_next((int)*at);

	if (fd < 0)
		return 0;
	*at = (uint64_t)fd + 1;
	return ksnprintf(name, max, "%d", fd);
}

/* ---- other links ---- */

static long cwd_follow(struct inode *link, struct inode **node, struct dent **dent)
{
	(void)link;
	*dent = cwd_get();
	*node = inode_get((*dent)->node);
	return 0;
}

static char *cwd_text(const struct inode *link)
{
	char *text = kmalloc(PATH_MAX), *path;
	struct dent *d = cwd_get();

	(void)link;
	if (text) {
		path = dent_path(d, text, PATH_MAX);
		if (path)
			memmove(text, path, strlen(path) + 1);
		else
			text[0] = 0;
	}
	dent_put(d);
	return text;
}

static char *pid_text(const struct inode *link)
{
	char *text = kmalloc(16);

	(void)link;
	if (text)
		ksnprintf(text, 16, "%u", control->domid);
	return text;
}

/* The image has no file of its own; this is its name. */
static char *exe_text(const struct inode *link)
{
	char *text = kmalloc(sizeof(control->name) + 2);
	size_t n = 0;

	(void)link;
	if (!text)
		return NULL;
	text[0] = '/';
	while (n < sizeof(control->name) && control->name[n]) {
		text[n + 1] = control->name[n];
		n++;
	}
	text[n + 1] = 0;
	return text;
}

static long no_follow(struct inode *link, struct inode **node, struct dent **dent)
{
	(void)link, (void)node, (void)dent;
	return -ENOENT;
}

static struct dent *self_dent;

static long self_follow(struct inode *link, struct inode **node, struct dent **dent)
{
	(void)link;
	*dent = dent_get(self_dent);
	*node = inode_get(self_dent->node);
	return 0;
}

static const struct {
	const char *name;
	bool in_self;
	long (*follow)(struct inode *, struct inode **, struct dent **);
	char *(*text)(const struct inode *);
} links[] = {
	{"self", false, self_follow, pid_text},
	{"exe", true, no_follow, exe_text},
	{"cwd", true, cwd_follow, cwd_text},
};

/* ---- folders ---- */

static long add_links(struct dent *dir, bool in_self)
{
	struct dent *d;
	long err = 0;

	for (size_t i = 0; i < ARRAY_LEN(links) && !err; i++) {
		if (links[i].in_self != in_self)
			continue;
		err = dir_make(dir, S_IFLNK | 0777, links[i].name, strlen(links[i].name), &d);
		if (err)
			break;
		d->node->follow = links[i].follow;
		d->node->text = links[i].text;
		dent_put(d);
	}
	return err;
}

static long add_files(struct dent *dir, const struct proc_file *pf)
{
	long err = 0;

	for (; pf->name && !err; pf++) {
		struct dent *parent, *d;
		const char *name;
		size_t len;

		err = make_parents(dir, pf->name, &parent, &name, &len);
		if (err)
			break;
		err = dir_make(parent, S_IFREG | (pf->store ? 0644 : 0444), name, len, &d);
		dent_put(parent);
		if (err)
			break;
		d->node->ops = &proc_ops;
		d->node->proc = pf;
		dent_put(d);
	}
	return err;
}

static int sys_fill(struct dent *dir)
{
	return (int)add_files(dir, proc_sys_files);
}

static int self_fill(struct dent *dir)
{
	struct dent *fd;
	long err = add_files(dir, proc_self_files);

	if (!err)
		err = add_links(dir, true);
	if (!err)
		err = dir_make_link(dir, "/", "root", 4);
	if (!err)
		err = dir_make(dir, S_IFDIR | 0500, "fd", 2, &fd);
	if (err)
		return (int)err;
	fd->node->dir.lookup = fd_lookup;
	fd->node->dir.list = fd_list;
	dent_put(fd);
	return 0;
}

void proc_forked(void)
{
	char pid[16];

	/* Where memory is too short for the new name the old one stays. */
	if (self_dent)
		dir_move(self_dent, self_dent->parent, pid, ksnprintf(pid, sizeof(pid), "%u", control->domid));
}

int proc_fill(struct dent *dir)
{
	char pid[16];
	struct dent *sys;
	long err;

	dir->node->fs = FS_PROC;
	err = add_files(dir, proc_files);
	if (!err)
		err = add_links(dir, false);
	if (!err)
		err = dir_make_link(dir, "self/mounts", "mounts", 6);
	if (!err)
		err = dir_make(dir, S_IFDIR | 0555, "sys", 3, &sys);
	if (err)
		return (int)err;
	sys->node->dir.fill = sys_fill;
	dent_put(sys);
	err = dir_make(dir, S_IFDIR | 0555, pid, ksnprintf(pid, sizeof(pid), "%u", control->domid), &self_dent);
	if (!err)
		self_dent->node->dir.fill = self_fill;
	return (int)err;
}

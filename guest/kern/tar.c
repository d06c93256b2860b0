/*
 * tar.c: the root archive becomes the first files. ustar, GNU long names and pax path, linkpath
 * and size are read. The archive comes from whoever made the image: nothing in it is trusted.
 */
#include "file.h"

#define BLOCK 512

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type, link[100];
	char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "the block of a tar archive");

/* One entry, with what the headers before it said about it. */
struct entry {
	const struct header *h;
	const uint8_t *data;
	uint64_t size;
	char *name, *link; /* PATH_MAX bytes each */
	bool long_name, long_link, has_size;
	uint64_t pax_size;
};

/* ---- fields ---- */

/* Octal digits, or GNU's big-endian binary with the top bit set; UINT64_MAX if malformed. */
static uint64_t number(const char *p, size_t n)
{
	uint64_t v = 0;
	size_t i = 0;

	if ((uint8_t)p[0] & 0x80) {
		for (i = 1; i < n; i++) {
			if (v >> 56)
				return UINT64_MAX;
			v = v << 8 | (uint8_t)p[i];
		}
		return v;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0');
	return i == n || p[i] == 0 || p[i] == ' ' ? v : UINT64_MAX;
}

static bool checksum_right(const struct header *h)
{
	const uint8_t *p = (const uint8_t *)h;
	uint64_t sum = 8 * ' ';

	for (size_t i = 0; i < BLOCK; i++)
		if (i < offsetof(struct header, chksum) || i >= offsetof(struct header, type))
			sum += p[i];
	return sum == number(h->chksum, sizeof(h->chksum));
}

static bool all_zero(const uint8_t *p)
{
	for (size_t i = 0; i < BLOCK; i++)
		if (p[i])
			return false;
	return true;
}

/* Copies up to n bytes or to a NUL; false if it does not fit. */
static bool set_text(char *to, const void *from, uint64_t n)
{
	n = strnlen(from, MIN(n, (uint64_t)PATH_MAX));
	if (n >= PATH_MAX)
		return false;
	memcpy(to, from, n);
	to[n] = 0;
	return true;
}

/* ---- pax ---- */

static bool key_is(const char *p, size_t n, const char *key)
{
	return strlen(key) == n && !memcmp(p, key, n);
}

static void pax_record(struct entry *e, const char *key, size_t key_len, const char *value, size_t n)
{
	if (key_is(key, key_len, "path")) {
		e->long_name = set_text(e->name, value, n);
	} else if (key_is(key, key_len, "linkpath")) {
		e->long_link = set_text(e->link, value, n);
	} else if (key_is(key, key_len, "size") && n < 20) {
		e->has_size = n > 0;
		e->pax_size = 0;
		for (size_t i = 0; i < n; i++) {
			e->has_size = e->has_size && value[i] >= '0' && value[i] <= '9';
			e->pax_size = e->pax_size * 10 + (uint64_t)(value[i] - '0');
		}
	}
}

/* Records are "LENGTH KEY=VALUE\n", LENGTH counting all of it. */
static void pax(struct entry *e, const char *p, uint64_t left)
{
	while (left) {
		uint64_t len = 0, i = 0, eq;

		for (; i < left && i < 10 && p[i] >= '0' && p[i] <= '9'; i++)
			len = len * 10 + (uint64_t)(p[i] - '0');
		if (i == left || p[i] != ' ' || len > left || len < i + 3)
			return;
		for (eq = i + 1; eq < len && p[eq] != '='; eq++)
			;
		if (eq < len)
			pax_record(e, p + i + 1, eq - i - 1, p + eq + 1, len - eq - 2);
		p += len;
		left -= len;
	}
}

/* ---- entries ---- */

static long open_folder(struct dent *dir, const char *name, size_t len, struct dent **out)
{
	long err = dir_lookup(dir, name, len, out);

	if (err == -ENOENT)
		return dir_make(dir, S_IFDIR | 0755, name, len, out);
	if (!err && !S_ISDIR((*out)->node->mode)) {
		dent_put(*out);
		return -ENOTDIR;
	}
	return err;
}

/* "." and empty components count for nothing, ".." is refused. */
static long component(const char **path, size_t *len)
{
	for (;;) {
		*path += strspn(*path, "/");
		*len = strcspn(*path, "/");
		if (*len != 1 || **path != '.')
			break;
		*path += 1;
	}
	if (*len == 2 && (*path)[0] == '.' && (*path)[1] == '.')
		return -EINVAL;
	return *len > NAME_MAX ? -ENAMETOOLONG : 0;
}

long make_parents(struct dent *dir, const char *path, struct dent **parent, const char **last, size_t *len)
{
	const char *next;
	size_t next_len;
	long err = component(&path, len);

	*parent = dent_get(dir);
	while (!err) {
		struct dent *child;

		*last = path;
		next = path + *len;
		err = component(&next, &next_len);
		if (err || !next_len)
			break;
		err = open_folder(*parent, path, *len, &child);
		if (err)
			break;
		dent_put(*parent);
		*parent = child;
		path = next;
		*len = next_len;
	}
	if (err)
		dent_put(*parent);
	return err;
}

/* A hard link: to an entry that came before. */
static long enter_link(struct entry *e, struct dent *root, struct dent *dir, const char *name, size_t len)
{
	struct dent *parent, *old;
	const char *last;
	size_t last_len;
	long err = make_parents(root, e->link, &parent, &last, &last_len);

	if (err)
		return err;
	err = last_len ? dir_lookup(parent, last, last_len, &old) : -EINVAL;
	dent_put(parent);
	if (err)
		return err;
	err = S_ISDIR(old->node->mode) ? -EPERM : dir_enter(dir, old->node, name, len, NULL);
	dent_put(old);
	return err;
}

static void set_owner(struct inode *n, const struct header *h)
{
	uint64_t mode = number(h->mode, sizeof(h->mode)), mtime = number(h->mtime, sizeof(h->mtime));

	n->uid = (uid_t)number(h->uid, sizeof(h->uid));
	n->gid = (gid_t)number(h->gid, sizeof(h->gid));
	if (mode != UINT64_MAX)
		n->mode = (n->mode & S_IFMT) | (mode & 07777);
	if (mtime < INT64_MAX / NSEC)
		n->mtime = n->atime = (int64_t)mtime * NSEC;
}

static long enter(struct entry *e, struct dent *root)
{
	struct dent *dir, *d = NULL;
	const char *name;
	size_t len;
	long err = make_parents(root, e->name, &dir, &name, &len);

	if (err)
		return err;
	if (!len) {
		set_owner(root->node, e->h);
		dent_put(dir);
		return 0;
	}
	err = dir_lookup(dir, name, len, &d);
	if (!err && S_ISDIR(d->node->mode) && e->h->type != '5') {
		dent_put(d);
		dent_put(dir);
		return -EISDIR;
	}
	if (!err && !S_ISDIR(d->node->mode)) { /* the later entry counts */
		dir_remove(d);
		dent_put(d);
		d = NULL;
		err = -ENOENT;
	}
	if (err == -ENOENT) {
		switch (e->h->type) {
		case '1':
			err = enter_link(e, root, dir, name, len);
			break;
		case '2':
			err = dir_make_link(dir, e->link, name, len);
			break;
		case '5':
			err = dir_make(dir, S_IFDIR | 0755, name, len, &d);
			break;
		default:
			err = dir_make(dir, S_IFREG | 0644, name, len, &d);
			if (!err) {
				d->node->pages.base = e->data;
				d->node->pages.base_len = d->node->size = e->size;
			}
		}
	}
	if (!err && d)
		set_owner(d->node, e->h);
	dent_put(d);
	dent_put(dir);
	return err;
}

/* Names of the header itself; POSIX may split a long one in two. */
static bool header_names(struct entry *e)
{
	const struct header *h = e->h;
	size_t n = 0;

	if (!e->long_name) {
		if (!memcmp(h->magic, "ustar", 6) && h->prefix[0]) {
			n = strnlen(h->prefix, sizeof(h->prefix));
			memcpy(e->name, h->prefix, n);
			e->name[n++] = '/';
		}
		set_text(e->name + n, h->name, sizeof(h->name));
	}
	if (!e->long_link)
		set_text(e->link, h->link, sizeof(h->link));
	return e->name[0];
}

/* A header and its data: what kind of entry it is decides what comes of it. */
static void take(struct entry *e, struct dent *root)
{
	long err = 0;

	switch (e->h->type) {
	case 'L':
		e->long_name = set_text(e->name, e->data, e->size);
		return;
	case 'K':
		e->long_link = set_text(e->link, e->data, e->size);
		return;
	case 'x':
		pax(e, (const char *)e->data, e->size);
		return;
	case 'g':
		return;
	case 0: case '0': case '1': case '2': case '5': case '7':
		err = header_names(e) ? enter(e, root) : -EINVAL;
		if (err)
			klog("kx: root archive: %s: skipped: error %d", e->name, (int)-err);
		break;
	default: /* devices, FIFOs */
		break;
	}
	e->long_name = e->long_link = e->has_size = false;
}

static bool has_data(char type)
{
	return type != '1' && type != '2' && type != '3' && type != '4' && type != '5' && type != '6';
}

/* The header at *at and where its data is; false at the end of the archive or what is none. */
static bool next(struct entry *e, const uint8_t *tar, uint64_t len, uint64_t *at)
{
	uint64_t left;

	if (len - *at < BLOCK || all_zero(tar + *at))
		return false;
	e->h = (const struct header *)(tar + *at);
	*at += BLOCK;
	left = len - *at;
	e->size = has_data(e->h->type) ? number(e->h->size, sizeof(e->h->size)) : 0;
	if (e->has_size && has_data(e->h->type) && e->h->type != 'x')
		e->size = e->pax_size;
	if (!checksum_right(e->h) || e->size > left) {
		klog("kx: root archive: damaged at byte %lu: the rest is left out", (unsigned long)(*at - BLOCK));
		return false;
	}
	e->data = tar + *at;
	*at += MIN((e->size + BLOCK - 1) / BLOCK * BLOCK, left);
	return true;
}

void tar_unpack(struct dent *dir, const uint8_t *tar, uint64_t len)
{
	struct entry e = {.name = kmalloc(PATH_MAX), .link = kmalloc(PATH_MAX)};
	uint64_t at = 0;

	if (!e.name || !e.link)
		klog("kx: root archive: not unpacked: out of memory");
	else
		while (next(&e, tar, len, &at))
			take(&e, dir);
	kfree(e.name);
	kfree(e.link);
}

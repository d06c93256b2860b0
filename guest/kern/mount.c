/*
 * mount.c: the root file system. Nothing is made at boot: the first look into a folder fills it, so
 * a pVM that opens no file pays nothing.
 */
#include "file.h"

static const struct {
	const char *path;
	mode_t mode;
	int (*fill)(struct dent *);
} folders[] = {
	{"dev", 0755, dev_fill}, {"proc", 0555, proc_fill}, {"tmp", 01777, NULL}, {"etc", 0755, NULL},
	{"root", 0700, NULL},    {"run", 0755, NULL},       {"var", 0755, NULL},  {"var/tmp", 01777, NULL},
};

/* What libc looks for, unless the archive has its own. */
static const struct {
	const char *path, *text;
} texts[] = {
	{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
	{"etc/group", "root:x:0:\nnogroup:x:65534:\n"},
	{"etc/resolv.conf", "# No name server: libc asks this pVM's own port 53, and is not to wait long for it.\noptions timeout:1 attempts:1\n"},
};

/* Makes path unless it is there. *out is counted. */
static long ensure(struct dent *root, const char *path, mode_t mode, struct dent **out)
{
	struct dent *parent;
	const char *name;
	size_t len;
	long err = make_parents(root, path, &parent, &name, &len);

	if (err)
		return err;
	err = dir_lookup(parent, name, len, out);
	if (err == -ENOENT)
		err = dir_make(parent, mode, name, len, out);
	else if (!err)
		err = 1;
	dent_put(parent);
	return err;
}

static long add_text(struct dent *root, const char *path, const char *text)
{
	struct dent *d;
	long err = ensure(root, path, S_IFREG | 0644, &d);

	if (err < 0)
		return err;
	if (!err) {
		d->node->pages.base = (const uint8_t *)text;
		d->node->pages.base_len = d->node->size = strlen(text);
	}
	dent_put(d);
	return 0;
}

static long add_folder(struct dent *root, const char *path, mode_t mode, int (*fill)(struct dent *))
{
	struct dent *d;
	long err = ensure(root, path, S_IFDIR | mode, &d);

	if (err < 0)
		return err;
	if (fill && S_ISDIR(d->node->mode))
		d->node->dir.fill = fill;
	dent_put(d);
	return 0;
}

/* The pVM's name, which may be as long as control->name; its length. */
static size_t own_name(char *s)
{
	size_t n = 0;

	while (n < sizeof(control->name) && control->name[n]) {
		s[n] = control->name[n];
		n++;
	}
	return n;
}

/* /etc/hostname has the pVM's name. */
static long add_hostname(struct dent *root)
{
	static char text[sizeof(control->name) + 2];

	text[own_name(text)] = '\n';
	return add_text(root, "etc/hostname", text);
}

/* Files that are as long whatever the addresses: those may change when the files are there already, with a lease, and in a child. */
#define ADDRESS 15 /* characters, at most */
static char hosts[2 * (ADDRESS + 1) + sizeof("localhost\n\n") + sizeof(control->name)];
static char resolv[sizeof("nameserver \n\n") + ADDRESS + sizeof("options timeout:1 attempts:1")];
static uint32_t name_server; /* of a lease; a child's is its parent's until it has one of its own */

static const char *dotted(char *s, uint32_t ip)
{
	const uint8_t *b = (const uint8_t *)&ip;

	ksnprintf(s, ADDRESS + 1, "%d.%d.%d.%d", b[0], b[1], b[2], b[3]);
	return s;
}

void addresses_write(void)
{
	uint32_t ip = control->nic.ip ? control->nic.ip : control->nic.leased, dns = control->nic.dns ? control->nic.dns : name_server;
	char name[sizeof(control->name) + 1] = "", text[ADDRESS + 1];

	own_name(name);
	ksnprintf(hosts, sizeof(hosts), "%-15s localhost\n%-15s %s\n", "127.0.0.1", ip ? dotted(text, ip) : "127.0.0.1", name);
	/* Without one libc asks this pVM's own port 53, and is not to wait long for it. */
	ksnprintf(resolv, sizeof(resolv), "nameserver %-15s\n%-28s\n", dotted(text, dns), dns ? "" : "options timeout:1 attempts:1");
}

void name_server_set(uint32_t ip)
{
	name_server = ip;
	addresses_write();
}

/* Where a name server is known, or may come with a lease. */
static long add_nameserver(struct dent *root)
{
	return control->nic.dns || (control->nic.pages && !control->nic.ip) ? add_text(root, "etc/resolv.conf", resolv) : 0;
}

static int root_fill(struct dent *root)
{
	uint64_t at = control->root_va, len = control->root_len;
	uint64_t start = control->ram_va, size = control->ram_pages << PAGE_SHIFT;
	long err = 0;

	if (at && (at < start || at - start > size || len > size - (at - start)))
		klog("kx: root archive: outside of RAM: ignored");
	else if (at)
		tar_unpack(root, (const uint8_t *)at, len);
	for (size_t i = 0; i < ARRAY_LEN(folders) && !err; i++)
		err = add_folder(root, folders[i].path, folders[i].mode, folders[i].fill);
	addresses_write();
	if (!err)
		err = add_nameserver(root);
	for (size_t i = 0; i < ARRAY_LEN(texts) && !err; i++)
		err = add_text(root, texts[i].path, texts[i].text);
	if (!err)
		err = add_hostname(root);
	if (!err)
		err = add_text(root, "etc/hosts", hosts);
	if (err)
		klog("kx: root file system: incomplete: error %d", (int)-err);
	host_mounts(root);
	return 0;
}

void vfs_init(void)
{
	root_dent.node->dir.fill = root_fill;
}

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

#define ADDRESS "255.255.255.255"
static char hosts[sizeof("127.0.0.1       localhost\n" ADDRESS " \n") + sizeof(control->name)];

/* So long whatever the address: a child's is another one, and the file is there already. */
void hosts_write(void)
{
	char name[sizeof(control->name) + 1] = "", own[sizeof(ADDRESS)];
	const uint8_t *ip = (const uint8_t *)&control->nic.ip;

	own_name(name);
	ksnprintf(own, sizeof(own), "%d.%d.%d.%d", ip[0], ip[1], ip[2], ip[3]);
	ksnprintf(hosts, sizeof(hosts), "%-15s localhost\n%-15s %s\n", "127.0.0.1", control->nic.ip ? own : "127.0.0.1", name);
}

/* The host's, where there is one; libc's own would be this pVM. */
static long add_nameserver(struct dent *root)
{
	static char text[sizeof("nameserver 255.255.255.255\n")];
	const uint8_t *dns = (const uint8_t *)&control->nic.dns;

	if (!control->nic.dns)
		return 0;
	ksnprintf(text, sizeof(text), "nameserver %d.%d.%d.%d\n", dns[0], dns[1], dns[2], dns[3]);
	return add_text(root, "etc/resolv.conf", text);
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
	if (!err)
		err = add_nameserver(root);
	for (size_t i = 0; i < ARRAY_LEN(texts) && !err; i++)
		err = add_text(root, texts[i].path, texts[i].text);
	if (!err)
		err = add_hostname(root);
	hosts_write();
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

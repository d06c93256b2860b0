/* attr.c: the system calls that look at what a file is, and change it. */
#include "file.h"

#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <utime.h>

/* ---- stat ---- */

static long stat_out(struct inode *n, long buf)
{
	struct stat st;

	inode_stat(n, &st);
	return copy_out((void *)buf, &st, sizeof(st));
}

/* As walk_node, and its fields are as the host has them. Whose name was looked up in a folder of the host has been asked for just now. */
static long walk_stat(long dirfd, long path, int at_flags, struct inode **n)
{
	int flags = (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (at_flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
	struct walk w;
	long err = walk_user(&w, dirfd, path, flags);

	if (!err && !(w.last == LAST_NAME && w.parent->node->host))
		err = host_refresh(w.node);
	if (!err)
		*n = inode_get(w.node);
	walk_end(&w);
	return err;
}

long sys_newfstatat(long dirfd, long path, long buf, long flags)
{
	struct inode *n;
	long err;

	if (flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
		return -EINVAL;
	err = walk_stat(dirfd, path, (int)flags, &n);
	if (err)
		return err;
	err = stat_out(n, buf);
	inode_put(n);
	return err;
}

long sys_stat(long path, long buf)
{
	return sys_newfstatat(AT_FDCWD, path, buf, 0);
}

long sys_lstat(long path, long buf)
{
	return sys_newfstatat(AT_FDCWD, path, buf, AT_SYMLINK_NOFOLLOW);
}

long sys_fstat(long fd, long buf)
{
	struct file *f;
	long err = file_of_any(fd, &f);

	if (err)
		return err;
	err = host_refresh(f->node);
	if (!err)
		err = stat_out(f->node, buf);
	file_put(f);
	return err;
}

/* linux/stat.h; musl 1.2.3 does not know it. */
struct kstatx_time {
	int64_t sec;
	uint32_t nsec, pad;
};
struct kstatx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, pad0;
	uint64_t ino, size, blocks, attributes_mask;
	struct kstatx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t pad1[14];
};
_Static_assert(sizeof(struct kstatx) == 256, "struct statx of Linux");
#define KSTATX_ALL 0xfff /* all the fields above */
#define KSTATX_SYNC 0x6000

static struct kstatx_time statx_time(int64_t ns)
{
	struct timespec ts;

	ns_to_timespec(ns, &ts);
	return (struct kstatx_time){.sec = ts.tv_sec, .nsec = (uint32_t)ts.tv_nsec};
}

long sys_statx(long dirfd, long path, long flags, long mask, long buf)
{
	const long known = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | KSTATX_SYNC;
	struct kstatx x = {.mask = KSTATX_ALL};
	struct inode *n;
	struct stat st;
	long err;

	if (flags & ~known || (flags & KSTATX_SYNC) == KSTATX_SYNC || mask & 0x80000000L)
		return -EINVAL;
	err = walk_stat(dirfd, path, (int)flags, &n);
	if (err)
		return err;
	inode_stat(n, &st);
	x.blksize = st.st_blksize;
	x.nlink = st.st_nlink;
	x.uid = st.st_uid;
	x.gid = st.st_gid;
	x.mode = st.st_mode;
	x.ino = st.st_ino;
	x.size = st.st_size;
	x.blocks = st.st_blocks;
	x.atime = statx_time(n->atime);
	x.btime = statx_time(n->btime);
	x.ctime = statx_time(n->ctime);
	x.mtime = statx_time(n->mtime);
	x.rdev_major = major(st.st_rdev);
	x.rdev_minor = minor(st.st_rdev);
	x.dev_minor = st.st_dev;
	inode_put(n);
	return copy_out((void *)buf, &x, sizeof(x));
}

static long statfs_out(struct inode *n, long buf)
{
	/* tmpfs, proc, pipefs, anon_inode: linux/magic.h */
	static const unsigned long types[] = {
		[FS_ROOT] = 0x01021994, [FS_PROC] = 0x9fa0, [FS_PIPE] = 0x50495045, [FS_ANON] = 0x09041934, [FS_HOST] = 0};
	struct statfs s = {.f_type = types[n->fs], .f_bsize = PAGE_SIZE, .f_frsize = PAGE_SIZE, .f_namelen = NAME_MAX};
	struct mem_info mi;
	long err = n->host ? host_statfs(n, &s) : 0;

	if (err)
		return err;
	if (n->fs == FS_ROOT) {
		mem_info(&mi);
		s.f_blocks = s.f_files = mi.total;
		s.f_bfree = s.f_bavail = s.f_ffree = ramfs_free_pages();
	}
	return copy_out((void *)buf, &s, sizeof(s));
}

long sys_statfs(long path, long buf)
{
	struct inode *n;
	long err = walk_node(AT_FDCWD, path, 0, &n);

	if (err)
		return err;
	err = statfs_out(n, buf);
	inode_put(n);
	return err;
}

long sys_fstatfs(long fd, long buf)
{
	struct file *f;
	long err = file_of_any(fd, &f);

	if (err)
		return err;
	err = statfs_out(f->node, buf);
	file_put(f);
	return err;
}

/* ---- access: the program is root, so only running what nobody may run is refused ---- */

long sys_faccessat2(long dirfd, long path, long mode, long flags)
{
	struct inode *n;
	long err;

	if (mode & ~7L || flags & ~(long)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = walk_node(dirfd, path, flags & ~(long)AT_EACCESS, &n);
	if (err)
		return err;
	if (mode & 1 && !S_ISDIR(n->mode) && !(n->mode & 0111))
		err = -EACCES;
	inode_put(n);
	return err;
}

long sys_faccessat(long dirfd, long path, long mode)
{
	return sys_faccessat2(dirfd, path, mode, 0);
}

long sys_access(long path, long mode)
{
	return sys_faccessat2(AT_FDCWD, path, mode, 0);
}

/* ---- mode and owner ---- */

static long set_mode(struct inode *n, long mode)
{
	if (n->fs == FS_PROC)
		return -EPERM;
	if (S_ISLNK(n->mode))
		return -EOPNOTSUPP;
	if (n->host)
		return host_set(n, &(struct host_set){.valid = HOST_MODE, .mode = mode & 07777});
	n->mode = (n->mode & S_IFMT) | (mode & 07777);
	inode_changed(n);
	return 0;
}

static long set_owner(struct inode *n, long uid, long gid)
{
	if (n->fs == FS_PROC)
		return -EPERM;
	if (n->host)
		return host_set(n, &(struct host_set){
			.valid = ((uid_t)uid != (uid_t)-1 ? HOST_UID : 0) | ((gid_t)gid != (gid_t)-1 ? HOST_GID : 0),
			.uid = (uid_t)uid, .gid = (gid_t)gid});
	if ((uid_t)uid != (uid_t)-1)
		n->uid = (uid_t)uid;
	if ((gid_t)gid != (gid_t)-1)
		n->gid = (gid_t)gid;
	if (S_ISREG(n->mode)) /* a new owner must not inherit another's powers */
		n->mode &= n->mode & S_IXGRP ? ~(mode_t)(S_ISUID | S_ISGID) : ~(mode_t)S_ISUID;
	inode_changed(n);
	return 0;
}

long sys_fchmodat(long dirfd, long path, long mode)
{
	struct inode *n;
	long err = walk_node(dirfd, path, 0, &n);

	if (err)
		return err;
	err = set_mode(n, mode);
	inode_put(n);
	return err;
}

long sys_chmod(long path, long mode)
{
	return sys_fchmodat(AT_FDCWD, path, mode);
}

long sys_fchmod(long fd, long mode)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	err = set_mode(f->node, mode);
	file_put(f);
	return err;
}

long sys_fchownat(long dirfd, long path, long uid, long gid, long flags)
{
	struct inode *n;
	long err;

	if (flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = walk_node(dirfd, path, flags, &n);
	if (err)
		return err;
	err = set_owner(n, uid, gid);
	inode_put(n);
	return err;
}

long sys_chown(long path, long uid, long gid)
{
	return sys_fchownat(AT_FDCWD, path, uid, gid, 0);
}

long sys_lchown(long path, long uid, long gid)
{
	return sys_fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

long sys_fchown(long fd, long uid, long gid)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	err = set_owner(f->node, uid, gid);
	file_put(f);
	return err;
}

/* ---- times ---- */

static long set_time(int64_t *t, const struct timespec *ts)
{
	if (ts->tv_nsec == UTIME_OMIT)
		return 0;
	if (ts->tv_nsec == UTIME_NOW) {
		*t = real_ns();
		return 0;
	}
	if (ts->tv_nsec < 0 || ts->tv_nsec >= NSEC)
		return -EINVAL;
	if (ts->tv_sec > INT64_MAX / NSEC - 1 || ts->tv_sec < INT64_MIN / NSEC + 1)
		return -EINVAL;
	*t = ts->tv_sec * NSEC + ts->tv_nsec;
	return 0;
}

static long set_both(struct inode *n, const struct timespec ts[2])
{
	int64_t atime = n->atime, mtime = n->mtime;
	long err = set_time(&atime, &ts[0]);

	if (!err)
		err = set_time(&mtime, &ts[1]);
	if (err || (ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT))
		return err;
	n->atime = atime;
	n->mtime = mtime;
	n->ctime = real_ns();
	return 0;
}

/* times NULL: now. A null path means the descriptor itself. */
static long set_times(long dirfd, long path, const struct timespec *times, long flags)
{
	static const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	const struct timespec *ts = times ? times : now;
	struct inode *n = NULL;
	struct file *f;
	long err;

	if (flags & ~(long)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (path) {
		err = walk_node(dirfd, path, flags, &n);
	} else {
		err = file_of(dirfd, &f);
		if (!err) {
			n = inode_get(f->node);
			file_put(f);
		}
	}
	if (err)
		return err;
	err = n->host ? 0 : node_enter(n);
	if (n->host) {
		err = host_times(n, ts);
	} else if (!err) {
		err = set_both(n, ts);
		node_leave(n, !err);
	}
	inode_put(n);
	return err;
}

long sys_utimensat(long dirfd, long path, long times, long flags)
{
	struct timespec ts[2];

	if (times && copy_in(ts, (void *)times, sizeof(ts)))
		return -EFAULT;
	return set_times(dirfd, path, times ? ts : NULL, flags);
}

long sys_futimesat(long dirfd, long path, long times)
{
	struct timeval tv[2];
	struct timespec ts[2];

	if (!times)
		return set_times(dirfd, path, NULL, 0);
	if (copy_in(tv, (void *)times, sizeof(tv)))
		return -EFAULT;
	for (int i = 0; i < 2; i++) {
		if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
			return -EINVAL;
		ts[i] = (struct timespec){.tv_sec = tv[i].tv_sec, .tv_nsec = tv[i].tv_usec * 1000};
	}
	return set_times(dirfd, path, ts, 0);
}

long sys_utimes(long path, long times)
{
	return sys_futimesat(AT_FDCWD, path, times);
}

long sys_utime(long path, long times)
{
	struct utimbuf u;
	struct timespec ts[2] = {{0}, {0}};

	if (!times)
		return set_times(AT_FDCWD, path, NULL, 0);
	if (copy_in(&u, (void *)times, sizeof(u)))
		return -EFAULT;
	ts[0].tv_sec = u.actime;
	ts[1].tv_sec = u.modtime;
	return set_times(AT_FDCWD, path, ts, 0);
}

/* ---- size ---- */

static long truncate_node(struct inode *n, long size)
{
	if (size < 0)
		return -EINVAL;
	if (S_ISDIR(n->mode))
		return -EISDIR;
	if (n->host)
		return host_truncate(n, size);
	return n->ops == &ramfs_ops ? ramfs_truncate(n, size) : -EINVAL;
}

long sys_truncate(long path, long size)
{
	struct inode *n;
	long err;

	if (size < 0)
		return -EINVAL;
	err = walk_node(AT_FDCWD, path, 0, &n);
	if (err)
		return err;
	err = truncate_node(n, size);
	inode_put(n);
	return err;
}

long sys_ftruncate(long fd, long size)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	err = !file_writes(f) ? -EINVAL : truncate_node(f->node, size);
	file_put(f);
	return err;
}

#ifndef FALLOC_FL_ZERO_RANGE /* linux/falloc.h; musl has only the first two */
#define FALLOC_FL_ZERO_RANGE 16
#endif

static long allocate(struct inode *n, long mode, uint64_t from, uint64_t to)
{
	long keep = mode & FALLOC_FL_KEEP_SIZE, err;

	switch (mode & ~(long)FALLOC_FL_KEEP_SIZE) {
	case 0:
		return ramfs_allocate(n, from, to, keep);
	case FALLOC_FL_PUNCH_HOLE:
		return keep ? ramfs_punch(n, from, to) : -EOPNOTSUPP;
	case FALLOC_FL_ZERO_RANGE:
		err = ramfs_punch(n, from, to);
		return err ? err : ramfs_allocate(n, from, to, keep);
	default:
		return -EOPNOTSUPP;
	}
}

long sys_fallocate(long fd, long mode, long off, long len)
{
	struct file *f;
	long err;

	if (off < 0 || len <= 0)
		return -EINVAL;
	err = file_of(fd, &f);
	if (err)
		return err;
	if (!file_writes(f))
		err = -EBADF;
	else if (f->ops && f->ops->stream)
		err = -ESPIPE;
	else if (f->node->ops != &ramfs_ops)
		err = f->node->host ? -EOPNOTSUPP : -ENODEV;
	else if (off > INT64_MAX - len)
		err = -EFBIG;
	else
		err = allocate(f->node, mode, off, (uint64_t)off + len);
	file_put(f);
	return err;
}

/* ---- only the host's files need to be written back ---- */

long sys_sync(void)
{
	return 0;
}

static long sync_file(long fd, bool data)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	if (f->ops->stream)
		err = -EINVAL;
	else if (f->node->host)
		err = host_sync(f, data);
	file_put(f);
	return err;
}

long sys_fsync(long fd)
{
	return sync_file(fd, false);
}

long sys_fdatasync(long fd)
{
	return sync_file(fd, true);
}

/* What only starts writing back is the host's to do anyway. */
long sys_sync_file_range(long fd, long off, long len, long flags)
{
	const unsigned waits = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
	struct file *f;
	long err = file_of(fd, &f);

	if (err)
		return err;
	if ((unsigned)flags & ~(waits | SYNC_FILE_RANGE_WRITE) || off < 0 || len < 0 || off > INT64_MAX - len)
		err = -EINVAL;
	else if (f->ops->stream)
		err = -ESPIPE;
	else if (f->node->host && (unsigned)flags & waits)
		err = host_sync(f, true);
	file_put(f);
	return err;
}

long sys_syncfs(long fd)
{
	struct file *f;
	long err = file_of(fd, &f);

	if (!err)
		file_put(f);
	return err;
}

long sys_fadvise64(long fd, long off, long len, long advice)
{
	struct file *f;
	long err = file_of(fd, &f);

	(void)off;
	if (err)
		return err;
	if (f->ops->stream)
		err = -ESPIPE;
	else if (len < 0 || advice < 0 || advice > POSIX_FADV_NOREUSE)
		err = -EINVAL;
	file_put(f);
	return err;
}

/* socket.c: the calls that all kinds of sockets have. */
#include "socket.h"

static long socket_of(long fd, struct file **f)
{
	long err = file_of(fd, f);

	if (!err && !(*f)->ops->socket) {
		file_put(*f);
		err = -ENOTSOCK;
	}
	return err;
}

static long name_in(struct message *m, long user, size_t len)
{
	if (!user)
		return 0;
	if (len > sizeof(m->name))
		return -EINVAL;
	m->namelen = (socklen_t)len;
	return copy_in(&m->name, (void *)user, len);
}

long name_out(long user, long user_len, const void *name, socklen_t len)
{
	int room;

	if (copy_in(&room, (void *)user_len, sizeof(room)))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	if (copy_out((void *)user, name, MIN((socklen_t)room, len)))
		return -EFAULT;
	return copy_out((void *)user_len, &len, sizeof(len));
}

long sys_shutdown(long fd, long how)
{
	struct file *f;
	long err = socket_of(fd, &f);

	if (err)
		return err;
	err = how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : f->ops->socket->shutdown(f, (int)how);
	file_put(f);
	return err;
}

long sys_sendto(long fd, long buf, long n, long flags, long addr, long len)
{
	struct uio u;
	struct message m = {.u = &u, .flags = (int)flags};
	struct file *f;
	long err = socket_of(fd, &f);

	if (err)
		return err;
	uio_single(&u, (void *)buf, n);
	err = name_in(&m, addr, (unsigned)len);
	if (!err)
		err = f->ops->socket->send(f, &m);
	file_put(f);
	return err;
}

long sys_recvfrom(long fd, long buf, long n, long flags, long addr, long user_len)
{
	struct uio u;
	struct message m = {.u = &u, .flags = (int)flags};
	struct file *f;
	long err = socket_of(fd, &f);

	if (err)
		return err;
	uio_single(&u, (void *)buf, n);
	err = f->ops->socket->receive(f, &m);
	file_put(f);
	if (err >= 0 && addr && name_out(addr, user_len, &m.name, m.namelen))
		return -EFAULT;
	return err;
}

/* Of ancillary data descriptors are refused, which would be lost; the rest is for kernels to know. Told once. */
static long control_check(const struct msghdr *h)
{
	static bool told;
	struct cmsghdr c;

	for (size_t at = 0; h->msg_controllen >= sizeof(c) && at <= h->msg_controllen - sizeof(c); at += CMSG_ALIGN(c.cmsg_len)) {
		if (copy_in(&c, (char *)h->msg_control + at, sizeof(c)))
			return -EFAULT;
		if (c.cmsg_len < sizeof(c) || c.cmsg_len > h->msg_controllen - at)
			return -EINVAL;
		if (c.cmsg_level != SOL_SOCKET || c.cmsg_type != SCM_RIGHTS)
			continue;
		if (!told)
			klog("kx: descriptors cannot be sent to others (SCM_RIGHTS): the program gets EOPNOTSUPP");
		told = true;
		return -EOPNOTSUPP;
	}
	return 0;
}

static long message(long fd, long user, struct message *m, struct msghdr *h, bool sends)
{
	struct uio u;
	struct file *f;
	long err = socket_of(fd, &f);

	if (err)
		return err;
	m->u = &u;
	err = copy_in(h, (void *)user, sizeof(*h));
	if (!err && (size_t)h->msg_iovlen > IOV_MAX)
		err = -EMSGSIZE;
	if (!err && sends && h->msg_controllen)
		err = control_check(h);
	if (!err && sends && h->msg_namelen)
		err = name_in(m, (long)h->msg_name, h->msg_namelen);
	if (!err)
		err = uio_vector(&u, (long)h->msg_iov, h->msg_iovlen);
	if (!err) {
		err = sends ? f->ops->socket->send(f, m) : f->ops->socket->receive(f, m);
		uio_end(&u);
	}
	file_put(f);
	return err;
}

long sys_sendmsg(long fd, long user, long flags)
{
	struct message m = {.flags = (int)flags};
	struct msghdr h;

	return message(fd, user, &m, &h, true);
}

long sys_recvmsg(long fd, long user, long flags)
{
	struct message m = {.flags = (int)flags};
	struct msghdr h;
	long n = message(fd, user, &m, &h, false);

	if (n < 0)
		return n;
	if (h.msg_name && copy_out(h.msg_name, &m.name, MIN(h.msg_namelen, m.namelen)))
		return -EFAULT;
	h.msg_namelen = m.namelen;
	h.msg_controllen = 0;
	h.msg_flags = m.out;
	return copy_out((void *)user, &h, sizeof(h)) ? -EFAULT : n;
}

/* The time is only looked at after a message, as on Linux. (libc's sendmmsg is many of sendmsg.) */
long sys_recvmmsg(long fd, long user, long most, long flags, long timeout)
{
	struct mmsghdr *to = (struct mmsghdr *)user;
	int64_t deadline;
	long n, got = deadline_in(timeout, &deadline);

	if (got)
		return got;
	most = MIN((unsigned)most, IOV_MAX);
	for (n = 0; n < most && (!n || now_ns() < deadline); n++) {
		unsigned len;

		got = sys_recvmsg(fd, (long)&to[n].msg_hdr, flags & ~MSG_WAITFORONE);
		len = (unsigned)got;
		if (got >= 0 && copy_out(&to[n].msg_len, &len, sizeof(len)))
			got = -EFAULT;
		if (got < 0)
			break;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
	}
	return n ? n : got;
}

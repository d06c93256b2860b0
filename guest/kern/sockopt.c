/* sockopt.c: setsockopt and getsockopt: what options of all kinds of sockets have in common. */
#include "socket.h"

static size_t size_of(long level, long name)
{
	if (level == SOL_SOCKET && (name == SO_SNDTIMEO || name == SO_RCVTIMEO))
		return sizeof(struct timeval);
	if (level == SOL_SOCKET && name == SO_LINGER)
		return sizeof(struct linger);
	return sizeof(int);
}

long sockopt_set_time(int64_t *ns, const struct timeval *tv)
{
	if (tv->tv_usec < 0 || tv->tv_usec >= 1000000)
		return -EDOM;
	if (tv->tv_sec < 0)
		*ns = 1;
	else if (!tv->tv_sec && !tv->tv_usec)
		*ns = FOREVER;
	else
		*ns = tv->tv_sec > 1L << 32 ? FOREVER : tv->tv_sec * NSEC + tv->tv_usec * 1000;
	return 0;
}

struct timeval sockopt_time(int64_t ns)
{
	return ns == FOREVER ? (struct timeval){0} : (struct timeval){.tv_sec = ns / NSEC, .tv_usec = ns % NSEC / 1000};
}

int sockopt_buffer(int n, int most, int least)
{
	return MAX(MIN(n < 0 ? most : n, most / 2) * 2, least);
}

/* ---- system calls ---- */

/* Linux asks a socket without options of other levels before it looks at the rest. */
static long options_of(long fd, long level, struct file **f)
{
	long err = file_of(fd, f);

	if (err)
		return err;
	if (!(*f)->ops->socket)
		err = -ENOTSOCK;
	else if (level != SOL_SOCKET && !(*f)->ops->socket->levels)
		err = -EOPNOTSUPP;
	if (err)
		file_put(*f);
	return err;
}

long sys_setsockopt(long fd, long level, long name, long user, long len)
{
	union sockopt v;
	struct file *f;
	size_t size;
	long err;

	level = (int)level, name = (int)name;
	size = size_of(level, name);
	err = options_of(fd, level, &f);
	if (err)
		return err;
	if ((int)len < (int)size)
		err = -EINVAL;
	else if (copy_in(&v, (void *)user, size))
		err = -EFAULT;
	else
		err = f->ops->socket->set(f, level, name, &v);
	file_put(f);
	return err;
}

long sys_getsockopt(long fd, long level, long name, long user, long user_len)
{
	union sockopt v = {0};
	struct file *f;
	size_t size;
	int len;
	long err;

	level = (int)level, name = (int)name;
	err = options_of(fd, level, &f);
	if (err)
		return err;
	if (copy_in(&len, (void *)user_len, sizeof(len)))
		err = -EFAULT;
	else if (len < 0)
		err = -EINVAL;
	else
		err = f->ops->socket->get(f, level, name, &v);
	file_put(f);
	if (err)
		return err;
	size = level == SOL_SOCKET && name == SO_PEERCRED ? sizeof(v.cred) : size_of(level, name); /* which nobody sets */
	len = MIN(len, (int)size);
	return copy_out((void *)user, &v, (size_t)len) || copy_out((void *)user_len, &len, sizeof(len)) ? -EFAULT : 0;
}

/* uio.c: moving bytes between files and the buffers that a call names. */
#include "file.h"

/* Linux never moves more than this in one call: the largest int, in whole pages. */
#define MAX_TRANSFER ((size_t)INT_MAX & ~(PAGE_SIZE - 1))

void uio_single(struct uio *u, void *buf, size_t n)
{
	*u = (struct uio){.iovs = 1, .left = MIN(n, MAX_TRANSFER)};
	u->one = (struct iovec){.iov_base = buf, .iov_len = u->left};
	u->iov = &u->one;
}

int uio_vector(struct uio *u, long user_iov, long count)
{
	struct iovec *iov;

	*u = (struct uio){.iovs = 0};
	if (count < 0 || count > IOV_MAX)
		return -EINVAL;
	if (!count)
		return 0;
	iov = kmalloc(count * sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	if (copy_in(iov, (void *)user_iov, count * sizeof(*iov))) {
		kfree(iov);
		return -EFAULT;
	}
	for (long i = 0; i < count; i++) {
		if ((ssize_t)iov[i].iov_len < 0) {
			kfree(iov);
			return -EINVAL;
		}
		iov[i].iov_len = MIN(iov[i].iov_len, MAX_TRANSFER - u->left);
		u->left += iov[i].iov_len;
	}
	u->iov = u->heap = iov;
	u->iovs = count;
	return 0;
}

void uio_end(struct uio *u)
{
	kfree(u->heap);
	u->heap = NULL;
}

void *uio_piece(struct uio *u, size_t *n)
{
	while (u->iovs && u->skip == u->iov->iov_len) {
		u->iov++;
		u->iovs--;
		u->skip = 0;
	}
	*n = u->iovs ? u->iov->iov_len - u->skip : 0;
	return u->iovs ? (char *)u->iov->iov_base + u->skip : NULL;
}

void uio_advance(struct uio *u, size_t n)
{
	u->skip += n;
	u->left -= n;
}

/* Page by page, so that what was moved before a fault can be told exactly. */
static long move(struct uio *u, char *p, size_t n, bool out)
{
	size_t done = 0, piece;

	while (done < n) {
		char *user = uio_piece(u, &piece);
		size_t chunk = MIN(MIN(piece, n - done), PAGE_SIZE - ((uintptr_t)user & (PAGE_SIZE - 1)));

		if (!piece)
			break;
		if (out ? copy_out(user, p + done, chunk) : copy_in(p + done, user, chunk))
			return done ? (long)done : -EFAULT;
		uio_advance(u, chunk);
		done += chunk;
	}
	return done;
}

long uio_out(struct uio *u, const void *p, size_t n)
{
	return move(u, (char *)p, n, true);
}

long uio_in(struct uio *u, void *p, size_t n)
{
	return move(u, p, n, false);
}

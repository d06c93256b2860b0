/* kx.h: what a pVM can do beyond POSIX. */
#ifndef KX_H
#define KX_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * kx_on_clone has handler called in each child that somebody makes of the pVM from outside (kxsh fork PID), as a signal
 * handler is called: in one of its threads, which goes on afterwards. A call that it interrupts fails with EINTR, or begins anew,
 * as with SA_RESTART. NULL: none. The program's own forks do not call it, and children inherit it.
 */
void kx_on_clone(void (*handler)(void));

/*
 * kx_update has a shared library of the program replaced by another version of it, as kxsh update does: library is its name, file another one's, in the folders
 * where the program's libraries are. 0: it is being done, as soon as no thread is in the library, within so many milliseconds; how that went is among kxsh's events. Else it is
 * -ENOENT: there is no such file, -EBUSY: it is being updated, or loads a library, -EAGAIN: it has asked less than a second ago, -EINVAL, -EFAULT.
 */
int kx_update(const char *file, const char *library, unsigned timeout_ms);

#ifdef __cplusplus
}
#endif
#endif

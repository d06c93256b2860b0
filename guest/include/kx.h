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

#ifdef __cplusplus
}
#endif
#endif

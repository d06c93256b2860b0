/*
 * sys/select.h: libc's, with room for all files that a pVM can have. Redis asks for as many as there may be, and then takes no look at whether a set of 1024 has room
 * for one (ae_select.c).
 */
#ifndef KX_SELECT_H
#define KX_SELECT_H

#define fd_set kx_small_set
#define select kx_small_select
#define pselect kx_small_pselect
#include_next <sys/select.h>
#undef fd_set
#undef select
#undef pselect

#undef FD_SETSIZE
#define FD_SETSIZE 4096

typedef struct {
	unsigned long fds_bits[FD_SETSIZE / 8 / sizeof(long)];
} fd_set;

int select(int, fd_set *__restrict, fd_set *__restrict, fd_set *__restrict, struct timeval *__restrict);
int pselect(int, fd_set *__restrict, fd_set *__restrict, fd_set *__restrict, const struct timespec *__restrict, const sigset_t *__restrict);

#endif

/* console.h: the rings of console.c, for tty.c. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

#include "kern.h"

/* Bytes of data that one record could take now. */
size_t out_room(void);
/* Whether there is any; asks the engine for an event if not. */
int out_ready(void);
/* Whether the engine has taken all that was written. */
bool out_drained(void);
/* Sleeps until one record of need bytes fits: 0, -EAGAIN or -EINTR. */
int out_wait(size_t need, int nonblock);
/* Writes a record that fits. */
void out_put(int stream, const void *src, size_t n);
/* Writes the program's bytes as they are: how many, or -errno. May sleep. */
long out_write(int stream, const char *user, size_t n, int nonblock);

size_t in_available(void);
uint8_t in_peek(size_t i); /* the i-th byte not yet consumed */
void in_consume(size_t n);
long in_copy(char *user, size_t n);

#endif

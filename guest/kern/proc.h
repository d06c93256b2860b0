/* proc.h: the texts of /proc; proc.c is the folder tree, proctext.c writes what the files say. */
#ifndef PROC_H
#define PROC_H

#include "file.h"

struct text {
	char *p;
	size_t n, max;
	bool failed; /* memory was short */
};

void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_bytes(struct text *t, const void *p, size_t n);

struct proc_file {
	const char *name;
	void (*show)(struct text *t);
	long (*store)(const char *s, size_t n); /* NULL: cannot be written */
};

/* /proc/sysvipc: msg.c, sem.c, shm.c */
void show_queues(struct text *t);
void show_semaphores(struct text *t);
void show_segments(struct text *t);

/* /proc/self/maps: procmaps.c */
void show_maps(struct text *t);

/* Of /proc, /proc/PID and /proc/sys; names may have slashes. Each ends with a NULL name. */
extern const struct proc_file proc_files[], proc_self_files[], proc_sys_files[];

#endif

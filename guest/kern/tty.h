/* tty.h: the terminal's state, shared by tty.c (system calls) and ldisc.c (line discipline). */
#ifndef TTY_H
#define TTY_H

#include "kern.h"

#define TTY_CC 19
#define TTY_BUF 4096

/* What TCGETS and TCSETS carry; musl's struct termios begins like this. */
struct ktermios {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[TTY_CC];
};

struct tty {
	struct ktermios termios;
	uint16_t winsize[4]; /* rows, columns, pixels */
	int hung_up;         /* no more input will come */
	int stopped;         /* by VSTOP */
	int foreground;      /* the group of processes that is interrupted by what is typed */
	int literal;         /* the next character is no control character */
	unsigned column;     /* where the cursor is, for erasing tabs */
	unsigned line_column; /* where the line that is being typed began */
	/* Input: [rd, ready) can be read, [ready, wr) is the line that is being typed. Masked on use. */
	uint32_t rd, ready, wr;
	/* Since there was nothing to read: bytes typed, whether some were not just one byte more of it, and whether some of it has been read. */
	uint32_t typed;
	int edited, split;
	struct tty_mem *mem; /* only of a terminal: most pVMs have none, and pages cost */
};

#define TTY_CHUNK 1024 /* bytes that output processing takes at a time */

struct tty_mem {
	uint8_t buf[TTY_BUF];
	uint64_t ends[TTY_BUF / 64]; /* which bytes end a line; a NUL that does is an end of file */
	char raw[TTY_CHUNK], cooked[2 * TTY_CHUNK]; /* of one write, used only between two sleeps */
	char echo[512]; /* of one batch of input; if the console has no room for it, it is lost, as on Linux */
};

extern struct tty tty;

static inline int tty_ends(uint32_t i)
{
	return tty.mem->ends[i % TTY_BUF / 64] >> i % 64 & 1;
}

void ldisc_input(uint8_t c);           /* one byte came; there is room for it */
int ldisc_signal(uint8_t c);           /* the signal that c makes, or 0 */
size_t ldisc_output(char *dst, const char *src, size_t n); /* dst has room for 2n */
void ldisc_flush_input(void);
void ldisc_echo_end(void);             /* sends what was echoed */

#endif

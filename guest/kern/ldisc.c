/* ldisc.c: the line discipline: what a terminal does with each byte typed and printed. */
#include <termios.h>

#include "console.h"
#include "process.h"
#include "tty.h"

#define CTRL_MASK 0x1f
#define DEL 0x7f
#define TAB 8
#define DISABLED 0 /* _POSIX_VDISABLE */

static size_t echo_len; /* of tty.mem->echo */

static int lflag(uint32_t f)
{
	return !!(tty.termios.lflag & f);
}

static int iflag(uint32_t f)
{
	return !!(tty.termios.iflag & f);
}

static int is_cc(uint8_t c, int which)
{
	return c == tty.termios.cc[which] && c != DISABLED;
}

/* ---- output ---- */

static int is_continuation(uint8_t c)
{
	return iflag(IUTF8) && (c & 0xc0) == 0x80;
}

/* Bookkeeping of the cursor's column. */
static void track(uint8_t c)
{
	if (c == '\r')
		tty.column = 0;
	else if (c == '\b')
		tty.column -= !!tty.column;
	else if (c == '\t')
		tty.column = (tty.column / TAB + 1) * TAB;
	else if (c >= ' ' && c != DEL && !is_continuation(c))
		tty.column++;
}

size_t ldisc_output(char *dst, const char *src, size_t n)
{
	uint32_t oflag = tty.termios.oflag;
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = src[i];

		if (!(oflag & OPOST)) {
			dst[len++] = c;
			track(c);
			continue;
		}
		if (c == '\n' && oflag & (ONLCR | ONLRET))
			tty.column = 0;
		if (c == '\n' && oflag & ONLCR)
			dst[len++] = '\r';
		if (c == '\r' && oflag & ONOCR && !tty.column)
			continue;
		if (c == '\r' && oflag & OCRNL)
			c = '\n';
		dst[len++] = c;
		track(c);
	}
	return len;
}

void ldisc_echo_end(void)
{
	if (echo_len && out_room() >= echo_len)
		out_put(KX_STDOUT, tty.mem->echo, echo_len);
	echo_len = 0;
}

static void echo_raw(uint8_t c)
{
	if (echo_len + 2 > sizeof(tty.mem->echo))
		ldisc_echo_end();
	echo_len += ldisc_output(tty.mem->echo + echo_len, (const char *)&c, 1);
}

/* Control characters are echoed as ^X. */
static int shows_caret(uint8_t c)
{
	return lflag(ECHOCTL) && (c < ' ' || c == DEL) && c != '\t' && c != '\n';
}

static void echo(uint8_t c)
{
	if (!lflag(ECHO) && !(c == '\n' && lflag(ECHONL) && lflag(ICANON)))
		return;
	if (shows_caret(c)) {
		echo_raw('^');
		c ^= '@';
	}
	echo_raw(c);
}

/* ---- the line being typed ---- */

static uint32_t room(void)
{
	return TTY_BUF - (tty.wr - tty.rd);
}

static void append(uint8_t c, int end)
{
	uint64_t bit = 1UL << tty.wr % 64;
	uint64_t *word = &tty.mem->ends[tty.wr % TTY_BUF / 64];

	if (tty.wr == tty.ready)
		tty.line_column = tty.column;
	tty.mem->buf[tty.wr % TTY_BUF] = c;
	*word = end ? *word | bit : *word & ~bit;
	tty.wr++;
	if (end || !lflag(ICANON))
		tty.ready = tty.wr;
}

/* Columns that a byte took when it was echoed at column col. */
static unsigned width(uint8_t c, unsigned col)
{
	if (c == '\t')
		return TAB - col % TAB;
	if (shows_caret(c))
		return 2;
	return c >= ' ' && c != DEL && !is_continuation(c);
}

static void erase_char(void)
{
	unsigned col = tty.line_column;
	uint8_t c;

	do
		c = tty.mem->buf[--tty.wr % TTY_BUF];
	while (is_continuation(c) && tty.wr != tty.ready);
	if (!lflag(ECHO))
		return;
	if (!lflag(ECHOE)) {
		echo(tty.termios.cc[VERASE]);
		return;
	}
	for (uint32_t i = tty.ready; i != tty.wr; i++)
		col += width(tty.mem->buf[i % TTY_BUF], col);
	for (unsigned n = width(c, col); n; n--) {
		echo_raw('\b');
		if (c != '\t') {
			echo_raw(' ');
			echo_raw('\b');
		}
	}
}

static void erase_word(void)
{
	int seen = 0;

	while (tty.wr != tty.ready) {
		uint8_t c = tty.mem->buf[(tty.wr - 1) % TTY_BUF];
		int word = c > ' ';

		if (seen && !word)
			break;
		seen |= word;
		erase_char();
	}
}

static void erase_line(void)
{
	if (lflag(ECHOK) && !lflag(ECHOKE)) {
		tty.wr = tty.ready;
		echo(tty.termios.cc[VKILL]);
		echo('\n');
		return;
	}
	while (tty.wr != tty.ready)
		erase_char();
}

static void reprint(void)
{
	echo(tty.termios.cc[VREPRINT]);
	echo_raw('\n');
	tty.line_column = tty.column;
	for (uint32_t i = tty.ready; i != tty.wr; i++)
		echo(tty.mem->buf[i % TTY_BUF]);
}

/* Line editing; 1 if c was part of it. */
static int edit(uint8_t c)
{
	int ext = lflag(IEXTEN);

	if (is_cc(c, VERASE)) {
		if (tty.wr != tty.ready)
			erase_char();
	} else if (is_cc(c, VKILL)) {
		erase_line();
	} else if (ext && is_cc(c, VWERASE)) {
		erase_word();
	} else if (ext && is_cc(c, VREPRINT)) {
		reprint();
	} else if (ext && is_cc(c, VLNEXT)) {
		tty.literal = 1;
		if (lflag(ECHO) && lflag(ECHOCTL)) {
			echo_raw('^');
			echo_raw('\b');
		}
	} else if (is_cc(c, VEOF)) {
		append(0, 1);
	} else if (c == '\n' || is_cc(c, VEOL) || (ext && is_cc(c, VEOL2))) {
		echo(c);
		append(c, 1);
	} else {
		return 0;
	}
	return 1;
}

/* ---- input ---- */

int ldisc_signal(uint8_t c)
{
	if (!lflag(ISIG))
		return 0;
	return is_cc(c, VINTR) ? SIGINT : is_cc(c, VQUIT) ? SIGQUIT : is_cc(c, VSUSP) ? SIGTSTP : 0;
}

void ldisc_flush_input(void)
{
	tty.rd = tty.ready = tty.wr;
}

/* XON and XOFF; 1 if c was one of them. */
static int flow(uint8_t c)
{
	if (!iflag(IXON))
		return 0;
	if (is_cc(c, VSTOP) && !(tty.stopped && is_cc(c, VSTART))) {
		tty.stopped = 1;
		return 1;
	}
	if (is_cc(c, VSTART) || (tty.stopped && iflag(IXANY))) {
		tty.stopped = 0;
		return is_cc(c, VSTART);
	}
	return 0;
}

void ldisc_input(uint8_t c)
{
	int sig;

	if (iflag(ISTRIP))
		c &= 0x7f;
	if (tty.literal) {
		tty.literal = 0;
		echo(c);
		append(c, 0);
		return;
	}
	if (flow(c))
		return;
	sig = ldisc_signal(c);
	if (sig) {
		if (!lflag(NOFLSH))
			ldisc_flush_input();
		echo(c);
		ldisc_echo_end(); /* the signal may be the end */
		signal_group(tty.foreground, sig);
		return;
	}
	if (c == '\r' && iflag(IGNCR))
		return;
	if (c == '\r' && iflag(ICRNL))
		c = '\n';
	else if (c == '\n' && iflag(INLCR))
		c = '\r';
	if (lflag(ICANON) && edit(c))
		return;
	/* The last byte of a line that is too long is kept free for its end. */
	if (lflag(ICANON) && room() <= 1) {
		if (iflag(IMAXBEL))
			echo_raw('\a');
		return;
	}
	append(c, 0);
	if (lflag(ECHO)) {
		if (lflag(ICANON) || c != '\n')
			echo(c);
		else
			echo_raw(c);
	}
}

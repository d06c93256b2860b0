/* tty.c: standard input and output: a terminal with KX_F_TTY, plain streams without. */
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "console.h"
#include "process.h"
#include "tty.h"

#define TENTH (NSEC / 10)

struct tty tty;

static int is_tty;
static struct waitq in_q = WAITQ_INIT(in_q);
static struct waitq start_q = WAITQ_INIT(start_q); /* output stopped by VSTOP */

int tty_is_terminal(void)
{
	return is_tty;
}

void tty_init(void)
{
	uint32_t flags = control->flags;

	is_tty = !!(flags & KX_F_TTY);
	tty.hung_up = !(flags & (KX_F_STDIN | KX_F_TTY));
	tty.foreground = (int)control->domid;
	if (!is_tty)
		return;
	tty.mem = kmalloc(sizeof(*tty.mem));
	if (!tty.mem)
		panic("no memory for the terminal");
	tty.termios = (struct ktermios){
		.iflag = ICRNL | IXON | IMAXBEL | IUTF8,
		.oflag = OPOST | ONLCR,
		.cflag = B38400 | CS8 | CREAD | HUPCL,
		.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
		.cc = {[VINTR] = 3, [VQUIT] = 28, [VERASE] = 127, [VKILL] = 21, [VEOF] = 4, [VMIN] = 1,
		       [VSTART] = 17, [VSTOP] = 19, [VSUSP] = 26, [VREPRINT] = 18, [VDISCARD] = 15,
		       [VWERASE] = 23, [VLNEXT] = 22},
	};
	tty.winsize[0] = (uint16_t)control->rows;
	tty.winsize[1] = (uint16_t)control->cols;
}

void tty_forked(void)
{
	tty.rd = tty.ready = tty.wr = 0;
	control->input_unread = 0;
	tty.hung_up = !(control->flags & KX_F_STDIN);
}

/* ---- input ---- */

/* What was typed and not read is for whoever reads the terminal next. Where an edited part of it has been read nobody can tell what that was. */
static void note_unread(void)
{
	uint32_t left = tty.wr - tty.rd;

	if (!left) {
		tty.typed = 0;
		tty.edited = tty.split = 0;
	}
	control->input_unread = !tty.split ? tty.typed : tty.edited ? 0 : left;
}

/* There is no room for what is typed: look at least for what would end the program that does not read. */
static int take_signal(void)
{
	for (size_t i = 0, n = in_available(); i < n; i++) {
		if (!ldisc_signal(in_peek(i)))
			continue;
		uint8_t c = in_peek(i);

		in_consume(i + 1);
		tty.edited = tty.split = 1;
		ldisc_input(c);
		return 1;
	}
	return 0;
}

static int line_full(void)
{
	/* A line without end in a full buffer still takes editing and its end. */
	return tty.wr - tty.rd >= TTY_BUF - 1 && !(tty.ready == tty.rd && tty.termios.lflag & ICANON);
}

void tty_input(void)
{
	int was_stopped = tty.stopped;
	uint32_t wr;

	while (is_tty && in_available()) {
		uint8_t c = in_peek(0);

		if (line_full()) {
			if (take_signal())
				continue;
			break;
		}
		in_consume(1);
		tty.typed++;
		wr = tty.wr;
		ldisc_input(c);
		tty.edited |= tty.wr != wr + 1;
	}
	if (is_tty) {
		note_unread();
		ldisc_echo_end();
	}
	if (was_stopped && !tty.stopped)
		wake_all(&start_q);
	if (!list_empty(&in_q.waiters))
		wake_all(&in_q);
}

void tty_hangup(void)
{
	tty.hung_up = 1;
	wake_all(&in_q);
	poll_wake();
}

static size_t readable(void)
{
	return is_tty ? tty.ready - tty.rd : in_available();
}

/* One line, or what of it fits; bytes or -EFAULT. */
static long read_line(char *user, size_t n)
{
	size_t len = 0;

	while (len < n && tty.rd != tty.ready) {
		uint8_t c = tty.mem->buf[tty.rd % TTY_BUF];
		int end = tty_ends(tty.rd);

		tty.rd++;
		if (end && !c)
			break;
		if (copy_out(user + len, &c, 1))
			return -EFAULT;
		len++;
		if (end)
			break;
	}
	return (long)len;
}

static long read_bytes(char *user, size_t n)
{
	size_t len = MIN(n, tty.ready - tty.rd), off = tty.rd % TTY_BUF, first = MIN(len, TTY_BUF - off);

	if (copy_out(user, tty.mem->buf + off, first) || copy_out(user + first, tty.mem->buf, len - first))
		return -EFAULT;
	tty.rd += len;
	return (long)len;
}

/* Sleeps until there are min bytes; with a time limit, tenths of a second from the last byte on. */
static int wait_bytes(size_t min, unsigned tenths, int nonblock)
{
	int64_t deadline = tenths && min <= 1 ? deadline_after(tenths * TENTH) : FOREVER;
	size_t had = readable(), have;
	int err;

	while ((have = readable()) < min && !tty.hung_up) {
		if (nonblock)
			return have ? 0 : -EAGAIN;
		if (tenths && min > 1 && have > had)
			deadline = deadline_after(tenths * TENTH);
		had = have;
		err = wait_on(&in_q, deadline);
		if (err == -ETIMEDOUT)
			return 0;
		if (err)
			return have ? 0 : err;
	}
	return 0;
}

static long read_raw(char *user, size_t n, int nonblock)
{
	unsigned min = tty.termios.cc[VMIN], tenths = tty.termios.cc[VTIME];
	int err = 0;

	if (min)
		err = wait_bytes(MIN(min, n), min > 1 ? tenths : 0, nonblock);
	else if (tenths)
		err = wait_bytes(1, tenths, nonblock);
	return err ? err : read_bytes(user, n);
}

long tty_read(void *user, size_t n, int nonblock)
{
	int canon = is_tty && tty.termios.lflag & ICANON;
	long got;
	int err;

	if (!n)
		return 0;
	if (is_tty && !canon) {
		got = read_raw(user, n, nonblock);
	} else {
		err = wait_bytes(1, 0, nonblock);
		if (err)
			return err;
		got = canon ? read_line(user, n) : in_copy(user, n);
	}
	tty.split |= got > 0;
	tty_input(); /* there may be room now for what waits in the ring */
	return got;
}

/* ---- output ---- */

long tty_write(int stream, const void *user, size_t n, int nonblock)
{
	struct tty_mem *m = tty.mem;
	const char *src = user;
	size_t done = 0;
	int err = 0;

	if (!is_tty)
		return out_write(stream, user, n, nonblock);
	while (done < n) {
		size_t part = MIN(n - done, TTY_CHUNK);

		while (tty.stopped && !err)
			err = nonblock ? -EAGAIN : wait_on(&start_q, FOREVER);
		if (!err)
			err = out_wait(2 * part, nonblock);
		if (!err)
			err = copy_in(m->raw, src + done, part);
		if (err)
			break;
		out_put(stream, m->cooked, ldisc_output(m->cooked, m->raw, part));
		done += part;
	}
	return done ? (long)done : err;
}

int tty_poll(void)
{
	int ev = 0;

	if (readable() || tty.hung_up)
		ev |= POLLIN | POLLRDNORM;
	if (tty.hung_up && is_tty)
		ev |= POLLHUP;
	if (!tty.stopped && out_ready())
		ev |= POLLOUT | POLLWRNORM;
	return ev;
}

/* ---- ioctl ---- */

static void flush_input(void)
{
	ldisc_flush_input();
	in_consume(in_available());
	note_unread();
}

static void set_termios(const struct ktermios *t)
{
	int was_canon = tty.termios.lflag & ICANON;

	tty.termios = *t;
	/* What was typed under one mode can be read under the other. */
	if (was_canon != (int)(t->lflag & ICANON) && tty.wr != tty.ready) {
		tty.ready = tty.wr;
		wake_all(&in_q);
	}
	if (!(t->iflag & IXON) && tty.stopped) {
		tty.stopped = 0;
		wake_all(&start_q);
	}
}

void tty_winsize(unsigned rows, unsigned cols)
{
	if (rows == tty.winsize[0] && cols == tty.winsize[1])
		return;
	tty.winsize[0] = (uint16_t)rows;
	tty.winsize[1] = (uint16_t)cols;
	if (is_tty)
		signal_process(SIGWINCH, NULL);
}

/* What is typed comes to one member, the family's root: of those that say which group is in the foreground, its word counts. */
static long set_foreground(const void *user)
{
	int group, r;

	if (copy_in(&group, user, sizeof(group)))
		return -EFAULT;
	r = group > 0 ? group_check(group) : -EINVAL;
	if (!r)
		tty.foreground = group;
	return r;
}

static long set_winsize(const void *user)
{
	uint16_t ws[4];

	if (copy_in(ws, user, sizeof(ws)))
		return -EFAULT;
	tty.winsize[2] = ws[2];
	tty.winsize[3] = ws[3];
	tty_winsize(ws[0], ws[1]);
	return 0;
}

static long out_int(void *user, int v)
{
	return copy_out(user, &v, sizeof(v));
}

static long flow_control(long action)
{
	if (action != TCOOFF && action != TCOON)
		return action == TCIOFF || action == TCION ? 0 : -EINVAL;
	tty.stopped = action == TCOOFF;
	if (!tty.stopped)
		wake_all(&start_q);
	return 0;
}

static long flush(long queue)
{
	if (queue != TCIFLUSH && queue != TCOFLUSH && queue != TCIOFLUSH)
		return -EINVAL;
	if (queue != TCOFLUSH)
		flush_input(); /* output is with the engine already */
	return 0;
}

long tty_ioctl(unsigned long request, void *user)
{
	struct ktermios t;

	if (request == FIONREAD)
		return out_int(user, (int)readable());
	if (!is_tty)
		return -ENOTTY;
	switch (request) {
	case TCGETS:
		return copy_out(user, &tty.termios, sizeof(tty.termios));
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		if (copy_in(&t, user, sizeof(t)))
			return -EFAULT;
		if (request == TCSETSF)
			flush_input();
		set_termios(&t);
		return 0;
	case TIOCGWINSZ:
		return copy_out(user, tty.winsize, sizeof(tty.winsize));
	case TIOCSWINSZ:
		return set_winsize(user);
	case TIOCGPGRP:
		return out_int(user, tty.foreground);
	case TIOCGSID:
		return out_int(user, process_session());
	case TIOCSPGRP:
		return set_foreground(user);
	case TIOCSCTTY:
	case TIOCNOTTY:
		return 0; /* the terminal is that of the family's only session that can read it */
	case TIOCOUTQ:
		return out_int(user, 0);
	case TCFLSH:
		return flush((long)user);
	case TCXONC:
		return flow_control((long)user);
	case TCSBRK:
	case TCSBRKP:
		return 0;
	default:
		return -ENOTTY;
	}
}

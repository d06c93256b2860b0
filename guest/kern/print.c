/* print.c: formatted text, for klog and /proc. */
#include "kern.h"

struct out {
	char *buf;
	size_t size, len; /* len may grow beyond size: what snprintf returns */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void pad(struct out *o, char c, int n)
{
	for (; n > 0; n--)
		put(o, c);
}

struct spec {
	int width, left, zero, alt, longs;
};

static void put_string(struct out *o, const struct spec *sp, const char *s, int len)
{
	if (!sp->left)
		pad(o, ' ', sp->width - len);
	for (int i = 0; i < len; i++)
		put(o, s[i]);
	if (sp->left)
		pad(o, ' ', sp->width - len);
}

static void put_number(struct out *o, const struct spec *sp, uint64_t v, unsigned base, const char *prefix)
{
	char digits[24];
	int n = 0, len;

	do
		digits[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	len = n + (int)strlen(prefix);
	if (!sp->left && !sp->zero)
		pad(o, ' ', sp->width - len);
	while (*prefix)
		put(o, *prefix++);
	if (!sp->left && sp->zero)
		pad(o, '0', sp->width - len);
	while (n)
		put(o, digits[--n]);
	if (sp->left)
		pad(o, ' ', sp->width - len);
}

static const char *parse_spec(const char *fmt, struct spec *sp)
{
	*sp = (struct spec){0};
	for (;; fmt++) {
		if (*fmt == '-')
			sp->left = 1;
		else if (*fmt == '0')
			sp->zero = 1;
		else if (*fmt == '#')
			sp->alt = 1;
		else
			break;
	}
	for (; *fmt >= '0' && *fmt <= '9'; fmt++)
		sp->width = sp->width * 10 + *fmt - '0';
	for (; *fmt == 'l' || *fmt == 'z'; fmt++)
		sp->longs = 1;
	return fmt;
}

int kvsnprintf(char *buf, size_t n, const char *fmt, va_list ap)
{
	struct out o = {buf, n, 0};

	for (; *fmt; fmt++) {
		struct spec sp;
		int64_t d;
		const char *s;
		char c;

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &sp);
		switch (*fmt) {
		case 'd':
		case 'i':
			d = sp.longs ? va_arg(ap, int64_t) : va_arg(ap, int);
			put_number(&o, &sp, d < 0 ? -(uint64_t)d : (uint64_t)d, 10, d < 0 ? "-" : "");
			break;
		case 'u':
			put_number(&o, &sp, sp.longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 10, "");
			break;
		case 'o':
			put_number(&o, &sp, sp.longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 8, "");
			break;
		case 'x':
			put_number(&o, &sp, sp.longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 16, sp.alt ? "0x" : "");
			break;
		case 'p':
			put_number(&o, &sp, (uint64_t)va_arg(ap, void *), 16, "0x");
			break;
		case 'c':
			c = (char)va_arg(ap, int);
			put_string(&o, &sp, &c, 1);
			break;
		case 's':
			s = va_arg(ap, const char *);
			put_string(&o, &sp, s, (int)strlen(s));
			break;
		default:
			put(&o, *fmt);
		}
	}
	if (n)
		buf[MIN(o.len, n - 1)] = 0;
	return (int)o.len;
}

int ksnprintf(char *buf, size_t n, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = kvsnprintf(buf, n, fmt, ap);
	va_end(ap);
	return len;
}

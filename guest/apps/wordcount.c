/*
 * wordcount [CHILDREN]: counts the words of standard input, in parallel: the text is cut at spaces, each forked child gets a
 * piece through a pipe and answers with its counts through another, and the parent adds them up. Prints the ten most
 * frequent words and how many there are.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUCKETS 4096
#define MOST 64 /* children */

struct word {
	struct word *next;
	unsigned long count;
	char text[];
};

static struct word *table[BUCKETS];
static unsigned long different;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void add(const char *text, size_t n, unsigned long count)
{
	unsigned long h = 5381;
	struct word *w;

	for (size_t i = 0; i < n; i++)
		h = h * 33 + (unsigned char)text[i];
	for (w = table[h % BUCKETS]; w; w = w->next)
		if (!strncmp(w->text, text, n) && !w->text[n])
			break;
	if (!w) {
		w = malloc(sizeof(*w) + n + 1);
		if (!w)
			die("wordcount");
		memcpy(w->text, text, n);
		w->text[n] = 0;
		w->count = 0;
		w->next = table[h % BUCKETS];
		table[h % BUCKETS] = w;
		different++;
	}
	w->count += count;
}

static char *read_all(int fd, size_t *n)
{
	size_t max = 65536;
	char *p = malloc(max + 1);
	ssize_t got;

	for (*n = 0; p && (got = read(fd, p + *n, max - *n)); *n += (size_t)got) {
		if (got < 0)
			die("wordcount: read");
		if (*n + (size_t)got == max)
			p = realloc(p, (max *= 2) + 1);
	}
	if (!p)
		die("wordcount");
	p[*n] = 0;
	return p;
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t got = write(fd, p, n);

		if (got < 0)
			die("wordcount: write");
		p += got;
		n -= (size_t)got;
	}
}

/* A child: words in, "COUNT WORD" lines out. */
static void count(int in, int out)
{
	size_t n;
	char *p = read_all(in, &n);
	FILE *f = fdopen(out, "w");

	if (!f)
		die("wordcount: fdopen");
	for (char *end = p + n; p < end;) {
		char *start;

		while (p < end && !isalnum((unsigned char)*p))
			p++;
		for (start = p; p < end && isalnum((unsigned char)*p); p++)
			*p = (char)tolower((unsigned char)*p);
		if (p > start)
			add(start, (size_t)(p - start), 1);
	}
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct word *w = table[i]; w; w = w->next)
			fprintf(f, "%lu %s\n", w->count, w->text);
	if (fclose(f))
		die("wordcount: write");
	_exit(0);
}

static void gather(int fd)
{
	size_t n;
	char *all = read_all(fd, &n), *save;

	for (char *line = strtok_r(all, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *text;
		unsigned long times = strtoul(line, &text, 10);

		add(text + 1, strlen(text + 1), times);
	}
	free(all);
}

static int more_frequent(const void *a, const void *b)
{
	const struct word *x = *(struct word *const *)a, *y = *(struct word *const *)b;

	return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->text, y->text);
}

static void print(void)
{
	struct word **sorted = malloc((different + 1) * sizeof(*sorted));
	unsigned long n = 0, all = 0;

	if (!sorted)
		die("wordcount");
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct word *w = table[i]; w; w = w->next) {
			sorted[n++] = w;
			all += w->count;
		}
	qsort(sorted, n, sizeof(*sorted), more_frequent);
	for (unsigned long i = 0; i < n && i < 10; i++)
		printf("%7lu %s\n", sorted[i]->count, sorted[i]->text);
	printf("%lu words, %lu different\n", all, n);
}

int main(int argc, char **argv)
{
	int children = argc > 1 ? atoi(argv[1]) : 4, to[MOST], from[MOST], status;
	size_t n, at = 0;
	char *text;

	if (children < 1 || children > MOST) {
		fputs("usage: wordcount [CHILDREN 1-64]\n", stderr);
		return 2;
	}
	text = read_all(0, &n);
	for (int i = 0; i < children; i++) {
		int in[2], out[2];
		pid_t pid;

		if (pipe(in) || pipe(out) || (pid = fork()) < 0)
			die("wordcount");
		if (!pid) {
			for (int k = 0; k < i; k++) { /* or a brother would never see the end of his piece */
				close(to[k]);
				close(from[k]);
			}
			close(in[1]);
			close(out[0]);
			count(in[0], out[1]);
		}
		close(in[0]);
		close(out[1]);
		to[i] = in[1];
		from[i] = out[0];
	}
	for (int i = 0; i < children; i++) {
		size_t end = i == children - 1 ? n : n * (size_t)(i + 1) / (size_t)children;

		end = end < at ? at : end;
		while (end < n && isalnum((unsigned char)text[end]))
			end++;
		write_all(to[i], text + at, end - at);
		close(to[i]);
		at = end;
	}
	for (int i = 0; i < children; i++) {
		gather(from[i]);
		close(from[i]);
	}
	while (wait(&status) > 0)
		if (status)
			return 1;
	print();
	return 0;
}

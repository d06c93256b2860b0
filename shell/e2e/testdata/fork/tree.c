/*
 * tree SEED OPS [WIDTH [DEPTH]]: a random tree of forks. Each member writes at random to its memory, forks, waits. What it
 * has in memory at its end must be what a model says, which knows the seed and the member's place in the tree
 * and nothing else; its exit status is a checksum that its parent has computed by the same model. Each
 * prints a line: its place, how many operations it did, the checksum. WIDTH is how many children of its own a
 * member has at a time, DEPTH how many generations there are. It runs on Linux as well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, AREA = 96, AREAS = 4, PAGES = AREA * AREAS, MOST = 64 };
enum { BSS, HEAP, STACK, MAPPED };

/* What a member will do follows from this. */
struct walk {
	uint64_t random;
	long left; /* operations */
	int depth, forks;
};

enum op { WRITE, SWEEP, KERNEL, AFRESH, PROTECT, PAUSE, REAP, LOOK, FORK };

struct step {
	enum op op;
	uint64_t word, value;
	long n;
	struct walk child;
};

static uint64_t *area[AREAS];
static uint64_t in_bss[AREA * WORDS] __attribute__((aligned(4096)));
static uint64_t model[PAGES * WORDS];
static struct walk root;
static int place[MOST]; /* the fork, of its parent's, that made each of its ancestors and itself */
static int most_depth = 6, most_children = 3;
static struct {
	pid_t pid;
	int sum;
} children[MOST];
static int nchildren;
static int zero;

static uint64_t draw(struct walk *w)
{
	uint64_t z = w->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static struct step next(struct walk *w)
{
	struct step s = {.word = draw(w) % (PAGES * WORDS), .value = draw(w)};
	uint64_t kind = draw(w) % 100;

	w->left--;
	s.n = (long)(draw(w) % (4 * WORDS));
	if (s.word + (uint64_t)s.n > PAGES * WORDS)
		s.n = (long)(PAGES * WORDS - s.word);
	s.op = kind < 58 ? WRITE : kind < 70 ? SWEEP : kind < 77 ? KERNEL : kind < 82 ? AFRESH :
	       kind < 86 ? PROTECT : kind < 90 ? PAUSE : kind < 92 ? REAP : kind < 93 ? LOOK : FORK;
	if (s.op != FORK)
		return s;
	s.child = (struct walk){draw(w), (long)(draw(w) % (uint64_t)(w->left / 2 + 1)), w->depth + 1, 0};
	if (s.child.left < 10 || s.child.depth > most_depth) {
		s.op = WRITE;
		return s;
	}
	w->left -= s.child.left;
	w->forks++;
	return s;
}

/* ---- the model ---- */

static void apply(const struct step *s)
{
	switch (s->op) {
	case WRITE:
	case PROTECT:
		model[s->word] = s->value;
		break;
	case SWEEP:
		for (long i = 0; i < s->n; i++)
			model[s->word + (uint64_t)i] += s->value + (uint64_t)i;
		break;
	case KERNEL:
		model[s->word] = 0;
		break;
	case AFRESH:
		memset(model + s->word / WORDS * WORDS, 0, PAGE);
		break;
	default:
		break;
	}
}

/* The memory of the member at a place when it has so many operations left. */
static void replay(const int *at, int depth, long left)
{
	struct walk w = root;
	struct step s;

	memset(model, 0, sizeof(model));
	for (int d = 0; d < depth;) {
		s = next(&w);
		apply(&s);
		if (s.op == FORK && w.forks == at[d]) {
			w = s.child;
			d++;
		}
	}
	while (w.left > left) {
		s = next(&w);
		apply(&s);
	}
}

static uint64_t sum(uint64_t h, const uint64_t *p, size_t words)
{
	for (size_t i = 0; i < words; i++)
		h = (h ^ p[i]) * 0x100000001b3 + (h >> 29);
	return h;
}

/* ---- the member ---- */

static const char *whoami(int depth)
{
	static char text[MOST * 12 + 2];
	char *p = text + sprintf(text, "/");

	for (int i = 0; i < depth; i++)
		p += sprintf(p, "%s%d", i ? "." : "", place[i]);
	return text;
}

/* One write a line: the members share a console. */
static void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(1, line, (size_t)n) != n)
		_exit(201);
}

static void die(int depth, const char *what, long a, long b)
{
	say("tree: FAILED: member %s: %s: %ld, %ld, errno %d\n", whoami(depth), what, a, b, errno);
	_exit(200);
}

static void check(const struct walk *w)
{
	replay(place, w->depth, w->left);
	for (int a = 0; a < AREAS; a++)
		if (memcmp(area[a], model + a * AREA * WORDS, AREA * PAGE))
			for (int i = 0; i < AREA * WORDS; i++)
				if (area[a][i] != model[a * AREA * WORDS + i])
					die(w->depth, "memory differs from the model's: area, word", a, i);
}

static void reap(const struct walk *w)
{
	int status, i;
	pid_t pid = wait(&status);

	for (i = 0; i < nchildren && children[i].pid != pid; i++)
		;
	if (i == nchildren)
		die(w->depth, "waited for a stranger", pid, status);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != children[i].sum)
		die(w->depth, "a child's status, and what it should be", status, children[i].sum << 8);
	children[i] = children[--nchildren];
}

static uint64_t *at(uint64_t word)
{
	return area[word / (AREA * WORDS)] + word % (AREA * WORDS);
}

static void act(const struct step *s, const struct walk *w)
{
	void *page = at(s->word / WORDS * WORDS);
	struct timespec brief = {.tv_nsec = (long)(s->value % 300000)};

	switch (s->op) {
	case WRITE:
		*at(s->word) = s->value;
		break;
	case SWEEP:
		for (long i = 0; i < s->n; i++)
			*at(s->word + (uint64_t)i) += s->value + (uint64_t)i;
		break;
	case KERNEL:
		if (read(zero, at(s->word), 8) != 8)
			die(w->depth, "read", 0, 0);
		break;
	case AFRESH:
		if (s->word / (AREA * WORDS) != MAPPED)
			memset(page, 0, PAGE);
		else if (munmap(page, PAGE) ||
			 mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
			die(w->depth, "mmap", 0, 0);
		break;
	case PROTECT:
		if (mprotect(page, PAGE, PROT_READ) || mprotect(page, PAGE, PROT_READ | PROT_WRITE))
			die(w->depth, "mprotect", 0, 0);
		*at(s->word) = s->value;
		break;
	case PAUSE:
		nanosleep(&brief, NULL);
		break;
	case REAP:
		if (nchildren)
			reap(w);
		break;
	case LOOK:
		check(w);
		break;
	case FORK:
		break;
	}
}

/* Forks: the child goes on with a walk of its own. */
static void branch(struct walk *w, const struct step *s, long *done)
{
	pid_t pid;

	while (nchildren >= most_children)
		reap(w);
	place[w->depth] = w->forks;
	pid = fork();
	if (pid < 0)
		die(w->depth, "fork", 0, 0);
	if (!pid) {
		*w = s->child;
		nchildren = 0;
		*done = 0;
		return;
	}
	replay(place, s->child.depth, 0);
	children[nchildren].sum = (int)(sum(0, model, PAGES * WORDS) & 0x7f);
	children[nchildren++].pid = pid;
}

static void live(void)
{
	struct walk w = root;
	long done = 0;
	uint64_t h = 0;

	while (w.left > 0) {
		struct step s = next(&w);

		done++;
		act(&s, &w);
		if (s.op == FORK)
			branch(&w, &s, &done);
	}
	while (nchildren)
		reap(&w);
	check(&w);
	for (int a = 0; a < AREAS; a++)
		h = sum(h, area[a], AREA * WORDS);
	say("tree: member %s ops %ld sum %016llx\n", whoami(w.depth), done, (unsigned long long)h);
	_exit(w.depth ? (int)(h & 0x7f) : 0);
}

int main(int argc, char **argv)
{
	uint64_t on_stack[AREA * WORDS] __attribute__((aligned(4096)));

	if (argc < 3)
		return 2;
	root = (struct walk){.random = strtoull(argv[1], NULL, 0), .left = atol(argv[2])};
	if (argc > 3)
		most_children = atoi(argv[3]);
	if (argc > 4)
		most_depth = atoi(argv[4]);
	if (most_children < 1 || most_children > MOST || most_depth >= MOST)
		return 2;
	memset(on_stack, 0, sizeof(on_stack));
	area[BSS] = in_bss;
	area[HEAP] = aligned_alloc(PAGE, AREA * PAGE);
	area[STACK] = on_stack;
	area[MAPPED] = mmap(NULL, AREA * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	zero = open("/dev/zero", O_RDONLY);
	if (!area[HEAP] || area[MAPPED] == MAP_FAILED || zero < 0)
		return 1;
	memset(area[HEAP], 0, AREA * PAGE);
	live();
}

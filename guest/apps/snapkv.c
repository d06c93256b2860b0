/*
 * snapkv: a key-value store that saves itself as Redis does: a forked child writes what was there at the fork, while
 * the parent goes on. Commands, a line each: set KEY VALUE, get KEY, del KEY, fill N (keys k0… of 1000 each), churn N (N
 * transfers between keys: their sum stays), sum, save FILE (- is standard output), hold FILE (a save that
 * stops half-way until wait), wait (for all saves). A save checks what it has written.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUCKETS 16384

struct entry {
	struct entry *next;
	int64_t value;
	char key[];
};

struct total {
	uint64_t keys, hash;
	int64_t sum;
};

static struct entry *table[BUCKETS];
static uint64_t changes; /* so far: a version */
static pid_t held[16]; /* children that wait until they may go on */
static int nheld;

static uint64_t hash(const char *s, int64_t value)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3;
	h ^= (uint64_t)value * 0x9e3779b97f4a7c15;
	return (h ^ h >> 29) * 0xbf58476d1ce4e5b9;
}

static struct entry **find(const char *key)
{
	struct entry **e = &table[hash(key, 0) % BUCKETS];

	while (*e && strcmp((*e)->key, key))
		e = &(*e)->next;
	return e;
}

static void set(const char *key, int64_t value)
{
	struct entry **e = find(key);

	if (!*e) {
		*e = calloc(1, sizeof(**e) + strlen(key) + 1);
		if (!*e) {
			perror("snapkv");
			exit(1);
		}
		strcpy((*e)->key, key);
	}
	(*e)->value = value;
	changes++;
}

static void del(const char *key)
{
	struct entry **e = find(key), *gone = *e;

	if (gone) {
		*e = gone->next;
		free(gone);
		changes++;
	}
}

/* Does not depend on the order of what is added. */
static void add(struct total *t, const char *key, int64_t value)
{
	t->keys++;
	t->sum += value;
	t->hash += hash(key, value);
}

static struct total total(void)
{
	struct total t = {0};

	for (int i = 0; i < BUCKETS; i++)
		for (struct entry *e = table[i]; e; e = e->next)
			add(&t, e->key, e->value);
	return t;
}

/* Moves small amounts between keys that fill has made. */
static void churn(long n)
{
	static uint64_t random = 88172645463325252;
	uint64_t keys = total().keys;
	char key[2][32];

	for (; n > 0 && keys; n--) {
		for (int i = 0; i < 2; i++) {
			random ^= random << 13, random ^= random >> 7, random ^= random << 17;
			snprintf(key[i], sizeof(key[i]), "k%" PRIu64, random % keys);
		}
		if (*find(key[0]) && *find(key[1])) {
			set(key[0], (*find(key[0]))->value - 1);
			set(key[1], (*find(key[1]))->value + 1);
		}
	}
}

static int same(const struct total *a, const struct total *b)
{
	return a->keys == b->keys && a->sum == b->sum && a->hash == b->hash;
}

/* The child: writes what is there, which must be what was there at the fork, and reads it again. */
static int write_all(const char *file, const struct total *was, int hold)
{
	FILE *f = strcmp(file, "-") ? fopen(file, "w+") : stdout;
	struct total wrote = {0}, reread = {0};
	char key[256];
	int64_t value;
	sigset_t go;
	int sig;

	if (!f) {
		perror(file);
		return 1;
	}
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	for (int i = 0; i < BUCKETS; i++) {
		if (hold && i == BUCKETS / 2)
			sigwait(&go, &sig);
		for (struct entry *e = table[i]; e; e = e->next) {
			fprintf(f, "%s %" PRId64 "\n", e->key, e->value);
			add(&wrote, e->key, e->value);
		}
		if (f == stdout)
			fflush(f); /* whole lines: others write here too */
	}
	if (fflush(f) || ferror(f)) {
		perror(file);
		return 1;
	}
	if (!same(&wrote, was))
		return 2;
	if (f == stdout)
		return 0;
	rewind(f);
	while (fscanf(f, "%255s %" SCNd64, key, &value) == 2)
		add(&reread, key, value);
	return same(&reread, was) ? 0 : 3;
}

static void save(const char *file, int hold)
{
	struct total was = total();
	sigset_t s;
	pid_t pid;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	printf("saving version %" PRIu64 "\n", changes);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int r = write_all(file, &was, hold);

		printf("version %" PRIu64 ": %" PRIu64 " keys, sum %" PRId64 ": %s\n", changes, was.keys, was.sum,
		       r ? "NOT what was there at the fork" : "saved");
		fflush(stdout);
		_exit(r);
	}
	if (pid < 0)
		printf("cannot save now: %s\n", strerror(errno));
	else if (hold)
		held[nheld++] = pid;
}

static void wait_all(void)
{
	int status, bad = 0, n = 0;

	while (nheld)
		kill(held[--nheld], SIGUSR1);
	for (; wait(&status) > 0; n++)
		bad += status != 0;
	printf("%d saves, %d bad, now version %" PRIu64 "\n", n, bad, changes);
}

int main(void)
{
	char line[512], word[16], arg[256];
	struct total t;
	int64_t value;

	while (fgets(line, sizeof(line), stdin)) {
		int n = sscanf(line, "%15s %255s %" SCNd64, word, arg, &value);

		if (n == 3 && !strcmp(word, "set"))
			set(arg, value);
		else if (n == 2 && !strcmp(word, "get"))
			*find(arg) ? printf("%" PRId64 "\n", (*find(arg))->value) : printf("no %s\n", arg);
		else if (n == 2 && !strcmp(word, "del"))
			del(arg);
		else if (n == 2 && !strcmp(word, "fill"))
			for (long i = 0, keys = atol(arg); i < keys; i++) {
				snprintf(arg, sizeof(arg), "k%ld", i);
				set(arg, 1000);
			}
		else if (n == 2 && !strcmp(word, "churn"))
			churn(atol(arg));
		else if (n == 1 && !strcmp(word, "sum")) {
			t = total();
			printf("%" PRIu64 " keys, sum %" PRId64 "\n", t.keys, t.sum);
		} else if (n == 2 && (!strcmp(word, "save") || (!strcmp(word, "hold") && nheld < 16)))
			save(arg, word[0] == 'h');
		else if (n == 1 && !strcmp(word, "wait"))
			wait_all();
		else if (n > 0)
			printf("snapkv: what is %s", line);
		fflush(stdout);
	}
	return 0;
}

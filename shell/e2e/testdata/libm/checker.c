/*
 * A program under which libm is replaced. It gives libm's 111 variables random values, by a seed, and holds addresses of libm's things in its data, on the heap,
 * on the stack and in another library. SIGUSR1 has it look at everything and say what it sees, SIGUSR2 sends a thread into libm, and calls it back.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "digest.h"
#include "state.h"

static int version, round_, wrong, taken, changed;

#define WRONG(...) (wrong++, printf("%d wrong: ", (int)getpid()), printf(__VA_ARGS__), putchar('\n'))

/* ---- functions: what they are to do is known from the first round ---- */

static uint64_t want[400][2];

static void take(const char *name, uint64_t now, uint64_t next)
{
	if (taken == sizeof(want) / sizeof(*want))
		abort();
	if (!round_)
		want[taken][0] = now, want[taken][1] = next;
	else if (now != want[taken][version - 1])
		WRONG("%s: %016llx, want %016llx", name, (unsigned long long)now, (unsigned long long)want[taken][version - 1]);
	changed += want[taken][0] != want[taken][1];
	taken++;
}

/* ---- variables ---- */

static struct {
	void *at; /* what the program holds: it is to be where the library has it */
	int to;   /* that of a triple */
	unsigned char bytes[sizeof(struct triple)];
} global[GLOBALS];

static uint64_t state;

static uint64_t random_number(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void fill(void)
{
	const struct place *p = libm_places();

	for (int i = 0; i < GLOBALS; i++) {
		uint64_t bits = random_number();

		memcpy(p[i].at, &bits, p[i].bytes < sizeof(bits) ? p[i].bytes : sizeof(bits));
		memcpy(global[i].bytes, p[i].at, p[i].bytes);
		global[i].at = p[i].at;
		global[i].to = random_number() % GLOBALS;
		if (p[i].bytes == sizeof(struct triple))
			((struct triple *)p[i].at)->to = p[global[i].to].at;
	}
}

static void check_globals(void)
{
	const struct place *p = libm_places();

	for (int i = 0; i < GLOBALS; i++) {
		struct triple *t = p[i].at;
		size_t plain = p[i].bytes == sizeof(*t) ? offsetof(struct triple, to) : p[i].bytes;

		if (global[i].at != p[i].at)
			WRONG("the address of variable %d is %p, want %p", i, global[i].at, p[i].at);
		if (memcmp(p[i].at, global[i].bytes, plain))
			WRONG("the value of variable %d", i);
		if (p[i].bytes != sizeof(*t))
			continue;
		if (t->to != p[global[i].to].at)
			WRONG("variable %d points to %p, want variable %d, %p", i, t->to, global[i].to, p[global[i].to].at);
		if (strcmp(t->word, version == 2 ? "second" : "first"))
			WRONG("the literal of variable %d is %s", i, t->word);
	}
}

/* ---- what is held ---- */

static struct hands data;

static void check_hands(const char *where, const struct hands *h)
{
	struct hands now;

	libm_hands(&now);
	if (h->function != now.function || h->function(2) != 2 * version)
		WRONG("%s: function", where);
	if (h->exported(27) != cbrt(27))
		WRONG("%s: exported", where);
	if (h->inside != now.inside)
		WRONG("%s: inside", where);
	if (h->own != now.own || h->also != now.also)
		WRONG("%s: statics", where);
	if (strcmp(h->literal, "first text"))
		WRONG("%s: literal %s", where, h->literal);
	if (h->word != now.word || strcmp(*h->word, version == 2 ? "second word" : "first word"))
		WRONG("%s: word %s", where, *h->word);
	if (h->places != libm_places() + 60)
		WRONG("%s: places", where);
}

/* ---- */

static volatile sig_atomic_t rounds, inside;
static volatile int out;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		rounds++;
	else
		inside++;
}

static void *in_library(void *arg)
{
	libm_hold(&out);
	puts("outside");
	return arg;
}

int main(int argc, char **argv)
{
	struct hands stack, *heap = malloc(sizeof(*heap));
	struct sigaction a = {.sa_handler = on_signal};
	sigset_t both, none;
	int thread = 0;
	pthread_t t;

	if (argc != 2)
		return 2;
	state = strtoull(argv[1], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&none);
	sigemptyset(&both);
	sigaddset(&both, SIGUSR1);
	sigaddset(&both, SIGUSR2);
	sigprocmask(SIG_BLOCK, &both, NULL);
	sigaction(SIGUSR1, &a, NULL);
	sigaction(SIGUSR2, &a, NULL);
	fill();
	libm_hands(&data);
	libm_hands(&stack);
	libm_hands(heap);
	other_hands();
	signgam = 4321;
	puts("ready");
	for (;;) {
		sigsuspend(&none);
		for (; round_ < rounds; round_++) {
			version = libm_version();
			check_globals();
			check_hands("data", &data);
			check_hands("heap", heap);
			check_hands("stack", &stack);
			check_hands("other", other_hands());
			if (signgam != 4321)
				WRONG("signgam %d", signgam);
			taken = changed = 0;
			FUNCTIONS
			signgam = 4321;
			printf("%d %d: version %d functions %d of %d own %d also %d wrong %d\n", (int)getpid(), round_ + 1, version, changed, taken, libm_own(), libm_also(), wrong);
		}
		for (; thread < inside; thread++) {
			out = thread % 2;
			if (out)
				pthread_join(t, NULL);
			else
				pthread_create(&t, NULL, in_library, NULL);
		}
	}
}

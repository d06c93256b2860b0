/* A program whose library is replaced: SIGUSR1 has it say what it sees, SIGUSR2 sends a thread into the library, and calls it back. */
#include "counter.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hands { /* what it holds of the library */
	int (*f)(void);
	int *variable, *own;
	const int *constant;
	const char *text, **word;
};

static struct hands global;
static volatile sig_atomic_t rounds, inside;
static volatile int out;

static void fill(struct hands *h)
{
	*h = (struct hands){step, &total, kept(), place(), text(), word()};
}

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		rounds++;
	else
		inside++;
}

static void *in_library(void *arg)
{
	hold(&out);
	puts("outside");
	return arg;
}

static void say(const char *where, const struct hands *h)
{
	printf(" %s %d %d %d %d %s %s", where, h->f(), *h->variable, *h->own, *h->constant, h->text, *h->word);
}

int main(void)
{
	struct hands stack, *heap = malloc(sizeof *heap);
	struct sigaction a = {.sa_handler = on_signal};
	sigset_t both, none;
	int round = 0, thread = 0;
	pthread_t t;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&none);
	sigemptyset(&both);
	sigaddset(&both, SIGUSR1);
	sigaddset(&both, SIGUSR2);
	sigprocmask(SIG_BLOCK, &both, NULL);
	sigaction(SIGUSR1, &a, NULL);
	sigaction(SIGUSR2, &a, NULL);
	fill(&global);
	fill(&stack);
	fill(heap);
	puts("ready");
	for (;;) {
		sigsuspend(&none);
		for (; round < rounds; round++) {
			int calls = count();

			printf("%d %d: calls %d %d step %d total %d table %d %d text %s", (int)getpid(), round + 1, calls, other(), step(), total, table[0], place()[0], text());
			say("global", &global);
			say("stack", &stack);
			say("heap", heap);
			putchar('\n');
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

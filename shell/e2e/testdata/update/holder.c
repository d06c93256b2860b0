/* holder.c: holds addresses of libfix.so wherever a program can, and says at each SIGUSR1 what is there. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int fix_version(void), fix_count(void), fix_seen(void), *fix_place(void), (*fix_adder(void))(int);
void (*fix_handler(void))(int);

static int (*adder)(int);

/* Keeps one on its stack. */
static void *waiter(void *end)
{
	int *volatile place = fix_place();
	char c;

	if (read(*(int *)end, &c, 1) == 1)
		printf("%d\n", *place);
	return NULL;
}

static void *page(void *p, int prot)
{
	void **m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	m[5] = p;
	mprotect(m, 4096, prot);
	return m;
}

int main(void)
{
	int **heap = malloc(sizeof(*heap)), ends[2], sig, round = 0;
	void **read_only = page((void *)fix_adder(), PROT_READ), **hidden = page(fix_place(), PROT_NONE);
	pthread_t thread;
	sigset_t set;

	*heap = fix_place();
	adder = fix_adder();
	signal(SIGUSR2, fix_handler());
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (pipe(ends) || pthread_create(&thread, NULL, waiter, ends))
		return 1;
	for (puts("ready"), fflush(stdout); !sigwait(&set, &sig); fflush(stdout)) {
		int **now = (int **)hidden;

		raise(SIGUSR2);
		++**heap;
		mprotect(hidden, 4096, PROT_READ);
		printf("%d: version %d count %d seen %d place %d %d adder %d %d\n", round++, fix_version(), fix_count(), fix_seen(), **heap,
			*now[5], adder(1), ((int (*)(int))read_only[5])(2));
		mprotect(hidden, 4096, PROT_NONE);
		if (*heap != fix_place())
			puts("another place");
	}
	return 0;
}

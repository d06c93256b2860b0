/* A program that loads libraries, as its arguments say, one after the other. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t round;

int whose(void)
{
	return 1;
}

static void *at(void *handle, const char *name)
{
	void *p = dlsym(handle, name);

	if (!p)
		printf("! %s\n", dlerror());
	return p;
}

static int call(void *handle, const char *name, int x)
{
	int (*f)(int) = (int (*)(int))at(handle, name);

	return f ? f(x) : -1;
}

static void *library(const char *name, int mode)
{
	void *handle = dlopen(name, mode);

	if (!handle)
		printf("! %s\n", dlerror());
	return handle;
}

static void describe(void *handle)
{
	void *f = at(handle, "plug"), *all = at(RTLD_DEFAULT, "whose");
	Dl_info info;

	printf("plug's %d, need's %d, first %d, the program's %d\n", call(handle, "whose", 0), call(library("need.so", RTLD_NOW | RTLD_NOLOAD), "whose", 0),
	       all == (void *)whose, call(dlopen(NULL, RTLD_NOW), "whose", 0));
	printf("after plug %d\n", call(handle, "next", 0));
	if (dladdr((char *)f + 1, &info))
		printf("%s %s %d\n", info.dli_fname, info.dli_sname, info.dli_saddr == f);
	if (dladdr((void *)whose, &info))
		printf("%s\n", info.dli_sname);
	printf("stack %d\n", dladdr(&info, &info));
	at(handle, "nothing");
	printf("again %d, closed %d %d\n", library("plug.so", RTLD_LAZY) == handle, dlclose(handle), dlclose(handle));
	printf("invalid %d", dlclose(&info));
	printf(" %d\n", strncmp(dlerror(), "invalid library handle 0x", 25));
}

static void *other(void *name)
{
	return dlopen(name, RTLD_NOW);
}

/* Eight threads at once get one library. */
static void threads(char *name)
{
	pthread_t t[8];
	void *handle, *first = NULL;
	int same = 0;

	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, other, name);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &handle);
		first = i ? first : handle;
		same += handle && handle == first;
	}
	printf("%d threads\n", same);
}

static void on_signal(int sig)
{
	(void)sig;
	round++;
}

/* At each SIGUSR1 the next of the libraries is loaded, if there is one, and all are called. */
static void serve(char **names)
{
	void *handles[16];
	int n = 0, done = 0;
	sigset_t usr1, none;

	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	signal(SIGUSR1, on_signal);
	puts("ready");
	for (;;) {
		sigsuspend(&none);
		for (; done < round; done++) {
			if (n < 16 && names[n] && (handles[n] = library(names[n], RTLD_LAZY)))
				n++;
			printf("%d %d:", (int)getpid(), done + 1);
			for (int i = 0; i < n; i++)
				printf(" %d", call(handles[i], "plug", i + 1));
			putchar('\n');
		}
	}
}

int main(int argc, char **argv)
{
	void *handle;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "serve"))
			serve(argv + i + 1);
		if (!strcmp(argv[i], "fork")) {
			if (fork())
				return wait(NULL) < 0;
			puts("child");
		} else if (!strcmp(argv[i], "threads")) {
			threads(argv[++i]);
		} else if ((handle = library(argv[i], i % 2 ? RTLD_LAZY : RTLD_NOW))) {
			printf("%s %d\n", argv[i], call(handle, "plug", i));
			if (argc == 2)
				describe(handle);
		}
	}
	return 0;
}

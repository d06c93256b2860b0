/* greedy.c MODE: wants more of something than there is. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int memory(void) /* malloc until none is left, three times */
{
	for (int round = 0; round < 3; round++) {
		void **list = NULL;
		size_t n = 0;

		for (void **p; (p = malloc(100000)); list = p, n++) {
			memset(p, round, 100000);
			*p = list;
		}
		if (errno != ENOMEM || n < 100)
			return 1;
		while (list) {
			void **next = *list;

			free(list);
			list = next;
		}
	}
	puts("memory came back");
	return 0;
}

static int maps(void) /* single pages, every other one given back */
{
	size_t n = 0;

	for (char *p; (p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED; n++) {
		*p = 1;
		munmap(p + 4096, 4096);
		if (mprotect(p, 4096, n % 2 ? PROT_READ : PROT_NONE))
			break;
	}
	printf("maps ended with %s\n", errno == ENOMEM ? "ENOMEM" : strerror(errno));
	return n < 100;
}

static pthread_barrier_t all;

static void *meets(void *arg)
{
	pthread_barrier_wait(&all);
	return arg;
}

static int threads(void) /* 500 at once */
{
	enum { N = 500 };
	pthread_t t[N];
	pthread_attr_t attr;
	void *got;

	pthread_barrier_init(&all, NULL, N + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	for (long i = 0; i < N; i++)
		if (pthread_create(&t[i], &attr, meets, (void *)i))
			return 1;
	pthread_barrier_wait(&all);
	for (long i = 0; i < N; i++)
		if (pthread_join(t[i], &got) || (long)got != i)
			return 2;
	puts("500 threads met");
	return 0;
}

static void *waits(void *arg)
{
	pause();
	return arg;
}

static int endless_threads(void) /* until there is no memory for another */
{
	pthread_t t;
	int n = 0, err;

	while (!(err = pthread_create(&t, NULL, waits, NULL)))
		n++;
	printf("threads ended with %s\n", err == EAGAIN ? "EAGAIN" : strerror(err));
	return n < 10;
}

static int files(void) /* fills the file system, then the descriptor table */
{
	static char block[65536];
	int fd = open("/big", O_CREAT | O_RDWR, 0600);
	ssize_t n;

	while ((n = write(fd, block, sizeof block)) > 0)
		;
	if (n != -1 || errno != ENOSPC)
		return 1;
	close(fd);
	if (unlink("/big"))
		return 2;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		;
	printf("files ended with %s\n", errno == EMFILE ? "EMFILE" : strerror(errno));
	return 0;
}

static int flood(void) /* the console, for ever */
{
	unsigned long i = 0;

	while (printf("%020lu a line that nobody asked for, and nobody may ever read it\n", i) > 0)
		i++;
	return 1;
}

static const struct {
	const char *name;
	int (*f)(void);
} modes[] = {
	{ "memory", memory }, { "maps", maps }, { "threads", threads }, { "endless-threads", endless_threads },
	{ "files", files }, { "flood", flood },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
		if (!strcmp(argv[1], modes[i].name))
			return modes[i].f();
	return 100;
}

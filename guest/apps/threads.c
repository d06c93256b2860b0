/* threads.c [THREADS [ROUNDS]]: threads add to one counter under a mutex; the sum must come out exact. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long sum;
static long rounds = 10000;

static void *add(void *arg)
{
	for (long i = 0; i < rounds; i++) {
		pthread_mutex_lock(&lock);
		sum++;
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? strtol(argv[1], NULL, 10) : 4;
	pthread_t *t;
	void *got;

	if (argc > 2)
		rounds = strtol(argv[2], NULL, 10);
	if (n < 1 || n > 1000 || rounds < 1) {
		fputs("usage: threads [THREADS 1-1000 [ROUNDS]]\n", stderr);
		return 2;
	}
	t = calloc(n, sizeof *t);
	if (!t) {
		perror("threads: calloc");
		return 1;
	}
	for (long i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, add, (void *)(i + 1))) {
			fprintf(stderr, "threads: cannot create thread %ld\n", i + 1);
			return 1;
		}
	for (long i = 0; i < n; i++)
		if (pthread_join(t[i], &got) || got != (void *)(i + 1))
			return 1;
	printf("%ld threads counted to %ld\n", n, sum);
	free(t);
	return sum != n * rounds;
}

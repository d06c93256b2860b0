/*
 * Reads the clock and allocates memory, over and over, in two threads; what forks it from outside, stops it, or comes in place of its engine does
 * so in the midst of that. SIGTERM: says how it went.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STILL 2000000 /* so many readings of the same nanosecond: the clock was ahead, and waits until that is the time */

static volatile sig_atomic_t stop;
static const char *volatile wrong;

static void note(int sig)
{
	(void)sig;
	stop = 1;
}

static int64_t read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void *watch(void *arg)
{
	int64_t last = read_clock(CLOCK_MONOTONIC), now, wall = read_clock(CLOCK_REALTIME) - last;
	unsigned char *held = NULL;
	long still = 0;
	int turn = 0;

	while (!stop) {
		now = read_clock(CLOCK_MONOTONIC);
		if (now < last)
			wrong = "it runs backwards";
		still = now == last ? still + 1 : 0;
		if (still > STILL)
			wrong = "it stands still";
		last = now;
		now = read_clock(CLOCK_REALTIME) - wall; /* the host's clock may be slewed */
		if (now < last - 100000000)
			wrong = "the wall clock runs backwards";
		if (held && (held[0] != turn || held[turn] != turn))
			wrong = "memory is somebody else's";
		free(held);
		turn = (turn + 7) % 200;
		held = malloc(turn + 1);
		held[0] = held[turn] = turn;
	}
	free(held);
	return arg;
}

int main(void)
{
	pthread_t t;

	signal(SIGTERM, note);
	if (pthread_create(&t, NULL, watch, NULL))
		return 1;
	puts("reads");
	fflush(stdout);
	watch(NULL);
	pthread_join(t, NULL);
	puts(wrong ? wrong : "well");
	return wrong != NULL;
}

/* times.c: tests of clocks and timers. */
#include "test.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static volatile sig_atomic_t fired;
static volatile siginfo_t info;

static void note(int sig)
{
	(void)sig;
	fired++;
}

static void note_info(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	info = *si;
	fired++;
}

void test_clocks(void)
{
	static const clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID,
		CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE};
	struct timespec ts;

	for (size_t i = 0; i < COUNT(ids); i++) {
		EQ(clock_gettime(ids[i], &ts), 0);
		CHECK(ts.tv_sec >= 0 && ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
		EQ(clock_getres(ids[i], &ts), 0);
		CHECK(ts.tv_sec == 0 && ts.tv_nsec > 0);
	}
	FAILS(clock_gettime(1000, &ts), EINVAL);
	CHECK(time(NULL) > 1700000000);
}

void test_clock_monotonic(void)
{
	int64_t last = now();

	for (int i = 0; i < 100000; i++) {
		int64_t t = now();

		CHECK(t >= last);
		last = t;
	}
}

static volatile bool over;
static volatile int64_t handled; /* the last time that a handler saw */

static int64_t forwards(int64_t before)
{
	int64_t t = now();

	CHECK(t >= before);
	return t;
}

static void look_at_clock(int sig)
{
	(void)sig;
	handled = forwards(handled);
	fired++;
}

static void *watch_clock(void *arg)
{
	int64_t last = 0;

	while (!over)
		last = forwards(last);
	return arg;
}

/* Nobody sees it run backwards: neither threads nor handlers that interrupt them while they read it, nor whoever they interrupt. */
void test_clock_interrupted(void)
{
	struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
	pthread_t t[3];
	int64_t last = now(), end = last + 300000000;

	over = false, handled = 0, fired = 0;
	on_signal(SIGALRM, look_at_clock, SA_RESTART);
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_create(&t[i], NULL, watch_clock, NULL), 0);
	EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (last < end || fired < 100) {
		int64_t seen = handled;

		last = forwards(last > seen ? last : seen);
		CHECK(time(NULL) > 1700000000);
	}
	EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	over = true;
	for (size_t i = 0; i < COUNT(t); i++)
		EQ(pthread_join(t[i], NULL), 0);
}

void test_nanosleep_calls(void)
{
	struct timespec ts = {0, 20000000}, bad = {0, 1000000000}, neg = {-1, 0};
	int64_t before = now();

	EQ(nanosleep(&ts, NULL), 0);
	CHECK(now() - before >= 20000000);
	FAILS(nanosleep(&bad, NULL), EINVAL);
	FAILS(nanosleep(&neg, NULL), EINVAL);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	for (int tries = 0;; tries++) { /* the host may take a while, but not each time */
		CHECK(tries < 20);
		before = now();
		EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0); /* is over */
		if (now() - before < 1000000000)
			break;
	}
	EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
	EQ(usleep(1000), 0);
}

void test_nanosleep_eintr(void)
{
	struct timespec ts = {1000, 0}, left = {0, 0};
	struct itimerval it = {{0, 30000}, {0, 30000}}, none = {{0, 0}, {0, 0}}; /* again: the first may come before the sleep */

	on_signal(SIGALRM, note, SA_RESTART);
	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	FAILS(nanosleep(&ts, &left), EINTR);
	EQ(setitimer(ITIMER_REAL, &none, NULL), 0);
	CHECK(left.tv_sec >= 900 && left.tv_sec < 1000);
}

void test_alarm_call(void)
{
	sigset_t s, old;
	int64_t before;
	unsigned left;

	on_signal(SIGALRM, note, 0);
	fired = 0;
	sigemptyset(&s);
	sigaddset(&s, SIGALRM);
	EQ(sigprocmask(SIG_BLOCK, &s, &old), 0);
	EQ(alarm(100), 0);
	before = now();
	left = alarm(1);
	CHECK(left > 50 && left <= 100);
	FAILS(sigsuspend(&old), EINTR);
	EQ(sigprocmask(SIG_SETMASK, &old, NULL), 0);
	EQ(fired, 1);
	CHECK(now() - before > 500000000);
	EQ(alarm(0), 0);
}

void test_itimer(void)
{
	struct itimerval it = {{0, 5000}, {0, 5000}}, is;

	on_signal(SIGALRM, note, 0);
	fired = 0;
	EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
	while (fired < 5)
		pause();
	EQ(getitimer(ITIMER_REAL, &is), 0);
	EQ(is.it_interval.tv_usec, 5000);
	memset(&it, 0, sizeof(it));
	EQ(setitimer(ITIMER_REAL, &it, &is), 0);
	FAILS(setitimer(99, &it, NULL), EINVAL);
	on_signal(SIGVTALRM, note, 0);
	fired = 0;
	it.it_value.tv_usec = 10000;
	EQ(setitimer(ITIMER_VIRTUAL, &it, NULL), 0);
	while (!fired)
		;
}

void test_timer_signal(void)
{
	struct sigaction sa = {.sa_sigaction = note_info, .sa_flags = SA_SIGINFO};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 55};
	struct itimerspec its = {{0, 0}, {100, 0}}, is;
	sigset_t s, old;
	timer_t t;

	fired = 0;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	EQ(sigprocmask(SIG_BLOCK, &s, &old), 0);
	EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	EQ(timer_create(CLOCK_MONOTONIC, &ev, &t), 0);
	EQ(timer_settime(t, 0, &its, NULL), 0);
	EQ(timer_gettime(t, &is), 0);
	CHECK(is.it_value.tv_sec >= 50 && is.it_value.tv_sec <= 100);
	its.it_value = (struct timespec){0, 10000000};
	EQ(timer_settime(t, 0, &its, NULL), 0);
	FAILS(sigsuspend(&old), EINTR);
	EQ(sigprocmask(SIG_SETMASK, &old, NULL), 0);
	EQ(fired, 1);
	EQ(info.si_code, SI_TIMER);
	EQ(info.si_value.sival_int, 55);
	EQ(timer_gettime(t, &is), 0);
	EQ(is.it_value.tv_nsec, 0);
	EQ(timer_delete(t), 0);
	ev.sigev_signo = 999;
	FAILS(timer_create(CLOCK_MONOTONIC, &ev, &t), EINVAL);
}

void test_timer_overrun(void)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec its = {{0, 5000000}, {0, 5000000}};
	sigset_t s;
	timer_t t;

	on_signal(SIGUSR1, note, 0);
	fired = 0;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	EQ(sigprocmask(SIG_BLOCK, &s, NULL), 0);
	EQ(timer_create(CLOCK_MONOTONIC, &ev, &t), 0);
	EQ(timer_settime(t, 0, &its, NULL), 0);
	sleep_ms(60);
	EQ(fired, 0);
	EQ(sigprocmask(SIG_UNBLOCK, &s, NULL), 0);
	CHECK(fired >= 1);
	CHECK(timer_getoverrun(t) >= 0);
	EQ(timer_delete(t), 0);
}

void test_cpu_clock(void)
{
	struct timespec a, b;
	struct rusage ru;
	int64_t ns = INT64_MAX;

	for (int tries = 0; ns >= 60000000; tries++) { /* sleeping costs nothing; a host that lets it wait before or after may */
		CHECK(tries < 20);
		EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a), 0);
		sleep_ms(100);
		EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b), 0);
		ns = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
	}
	do {
		EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a), 0);
		ns = (a.tv_sec - b.tv_sec) * 1000000000L + a.tv_nsec - b.tv_nsec;
	} while (ns <= 1000000); /* working costs */
	EQ(getrusage(RUSAGE_SELF, &ru), 0);
	CHECK(ru.ru_utime.tv_sec > 0 || ru.ru_utime.tv_usec > 0 || ru.ru_stime.tv_usec > 0);
}

void test_time_calls(void)
{
	struct timeval tv;
	struct tms t;
	time_t a = time(NULL);

	EQ(gettimeofday(&tv, NULL), 0);
	CHECK(a - tv.tv_sec <= 1 && tv.tv_sec - time(NULL) <= 1 && tv.tv_usec < 1000000);
	CHECK(times(&t) != (clock_t)-1);
	CHECK(clock() != (clock_t)-1);
}

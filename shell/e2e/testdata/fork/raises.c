/* raises: in the children that others make of it, each way for a process to send itself a signal, by each of two threads; then it raises TERM. */
#define _GNU_SOURCE
#include <kx.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock;
static volatile sig_atomic_t cloned;
static volatile int taken;
static volatile pthread_t taker;

static void on_clone(void)
{
	cloned = 1;
}

static void on_signal(int sig)
{
	taken = sig;
	taker = pthread_self();
}

/* Says whether the signal came before the call was over, to whom it was meant for. */
static void tell(const char *how, int err, pthread_t whom)
{
	printf("%s%s ", how, err ? ": error" : !taken ? ": nothing" : !pthread_equal(taker, whom) ? ": another thread" : "");
	taken = 0;
}

static void send_all(pthread_t self)
{
	tell("raise", raise(SIGUSR1), self);
	tell("kill", kill(getpid(), SIGUSR1), self);
	tell("pthread_kill", pthread_kill(self, SIGUSR1), self);
	tell("tgkill", (int)syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1), self);
}

static void *other(void *unused)
{
	while (!cloned)
		usleep(1000);
	send_all(pthread_self());
	return unused;
}

int main(void)
{
	pthread_mutexattr_t attr;
	pthread_t thread;
	int locked, unlocked;

	signal(SIGUSR1, on_signal);
	kx_on_clone(on_clone);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&lock, &attr);
	pthread_mutex_lock(&lock);
	if (pthread_create(&thread, NULL, other, NULL))
		return 1;
	puts("ready");
	fflush(stdout);
	if (pthread_join(thread, NULL))
		return 1;
	send_all(pthread_self());
	/* The thread that took a lock before the fork still has it. */
	locked = pthread_mutex_lock(&lock);
	unlocked = pthread_mutex_unlock(&lock) + pthread_mutex_unlock(&lock);
	printf("%d %d %d\n", (int)syscall(SYS_sched_getscheduler, getpid()), locked, unlocked);
	fflush(stdout);
	raise(SIGTERM);
	return 2;
}

/*
 * Forks until SIGTERM. Each fork gives a child, which ends with a status of its own, or fails; then says how many there
 * were of both, how many children it has waited for, and how many of them had not the status that they should.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void note(int sig)
{
	(void)sig;
	stop = 1;
}

int main(void)
{
	int made = 0, failed = 0, waited = 0, wrong = 0, status;
	struct sigaction sa = {.sa_handler = note, .sa_flags = SA_RESTART};

	sigaction(SIGTERM, &sa, NULL);
	if (write(1, "forks\n", 6) != 6)
		return 1;
	while (!stop) {
		pid_t pid = fork();

		if (!pid)
			_exit(made & 0x7f);
		if (pid < 0) {
			failed++;
			continue;
		}
		if (waitpid(pid, &status, 0) == pid) {
			waited++;
			wrong += status != (made & 0x7f) << 8;
		}
		made++;
	}
	printf("made %d waited %d wrong %d failed %d others %d\n", made, waited, wrong, failed, wait(&status));
	return 0;
}

/* keys: makes a queue, a semaphore and a segment with one key, which nobody in the family may have, and waits. */
#include <stdio.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

int main(void)
{
	const int flags = IPC_CREAT | IPC_EXCL | 0600;

	puts(msgget(77, flags) >= 0 && semget(77, 1, flags) >= 0 && shmget(77, 100, flags) >= 0 ? "mine" : "somebody's");
	fflush(stdout);
	return pause();
}

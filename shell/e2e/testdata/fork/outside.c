/*
 * outside: a parent and its child share a queue, a set of semaphores, a segment and a pipe, which are seen and used from the shell. Messages of type 1
 * tell the parent what to do; its answers are of type 2:
 *   count         how many queues, sets and segments it sees, and the messages and bytes of its queue
 *   text TEXT     TEXT backwards
 *   memory        the string at the beginning of the segment
 *   later N       a message of type N, in a moment
 *   wait          nothing: waits for type 99, and prints why that ended
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

static struct {
	long type;
	char text[1000];
} m;
static int queue;

static int lines(const char *path)
{
	FILE *f = fopen(path, "r");
	int n = -1; /* of heads */

	if (!f)
		return -2;
	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

static void answer(long type)
{
	m.type = type;
	if (msgsnd(queue, &m, strlen(m.text), 0))
		_exit(3);
}

static void serve(char *shared)
{
	struct msqid_ds q;
	size_t n = strlen(m.text);
	char *arg = strchr(m.text, ' ');

	if (!strcmp(m.text, "count")) {
		msgctl(queue, IPC_STAT, &q);
		sprintf(m.text, "%d %d %d %lu %lu", lines("/proc/sysvipc/msg"), lines("/proc/sysvipc/sem"), lines("/proc/sysvipc/shm"),
			(unsigned long)q.msg_qnum, (unsigned long)q.msg_cbytes);
		answer(2);
	} else if (!strncmp(m.text, "text ", 5)) {
		for (size_t i = 5, j = n - 1; i < j; i++, j--) {
			char c = m.text[i];

			m.text[i] = m.text[j];
			m.text[j] = c;
		}
		memmove(m.text, arg + 1, n - 4);
		answer(2);
	} else if (!strcmp(m.text, "memory")) {
		snprintf(m.text, sizeof(m.text), "%s", shared);
		answer(2);
	} else if (!strncmp(m.text, "later ", 6)) {
		long type = atol(arg);

		usleep(200000);
		strcpy(m.text, "late");
		answer(type);
	} else if (!strcmp(m.text, "wait")) {
		printf("waits\n");
		msgrcv(queue, &m, sizeof(m.text), 99, 0);
		printf("%s\n", errno == EIDRM ? "EIDRM" : "other");
		exit(0);
	}
}

int main(void)
{
	int p[2], segment, set, n;
	char *shared;

	setlinebuf(stdout);
	queue = msgget(77, IPC_CREAT | 0600);
	set = semget(78, 3, IPC_CREAT | 0640);
	segment = shmget(79, 5000, IPC_CREAT | 0600);
	shared = shmat(segment, NULL, 0);
	if (queue < 0 || set < 0 || shared == (void *)-1 || pipe(p))
		return 1;
	if (!fork()) { /* has a pipe that nobody writes to any more but itself */
		close(p[0]);
		if (write(p[1], "hello", 5) != 5)
			return 2;
		for (;;)
			pause();
	}
	close(p[1]);
	printf("%d %d %d\n", queue, set, segment);
	while ((n = (int)msgrcv(queue, &m, sizeof(m.text) - 1, 1, 0)) >= 0) {
		m.text[n] = 0;
		serve(shared);
	}
	return 1;
}

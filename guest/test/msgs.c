/* msgs.c: tests of message queues, from msgget(2), msgop(2) and msgctl(2). */
#include "test.h"

#include <limits.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#define MOST 8192 /* msgmax, as Linux has it by default */

static struct {
	long type;
	char text[MOST + 1];
} message;

static int queue(void)
{
	int id = msgget(IPC_PRIVATE, 0600);

	CHECK(id >= 0);
	return id;
}

static int put(int id, long type, const char *text, int flags)
{
	message.type = type;
	memcpy(message.text, text, strlen(text) + 1);
	return msgsnd(id, &message, strlen(text) + 1, flags);
}

/* The next message of that type is this one. */
static void get(int id, long type, int flags, long want_type, const char *want)
{
	memset(&message, 0, sizeof(message));
	EQ(msgrcv(id, &message, MOST, type, flags | IPC_NOWAIT), strlen(want) + 1);
	EQ(message.type, want_type);
	STR(message.text, want);
}

static struct msqid_ds state(int id)
{
	struct msqid_ds ds;

	EQ(msgctl(id, IPC_STAT, &ds), 0);
	return ds;
}

void test_msg_get(void)
{
	key_t key = 0x6b78 << 16 | (getpid() & 0xffff);
	int a, b;

	FAILS(msgget(key, 0), ENOENT);
	a = msgget(key, IPC_CREAT | 0640);
	CHECK(a >= 0);
	EQ(msgget(key, 0), a);
	EQ(msgget(key, IPC_CREAT | 0600), a);
	FAILS(msgget(key, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	EQ(state(a).msg_perm.mode, 0640);
	EQ(state(a).msg_perm.__key, key);
	EQ(state(a).msg_perm.cuid, geteuid());
	EQ(state(a).msg_perm.gid, getegid());
	EQ(state(a).msg_qnum, 0);
	EQ(state(a).msg_stime, 0);
	EQ(state(a).msg_rtime, 0);
	EQ(state(a).msg_lspid, 0);
	CHECK(state(a).msg_ctime >= time(NULL) - 5);
	b = queue();
	CHECK(b != a);
	EQ(msgctl(a, IPC_RMID, NULL), 0);
	FAILS(msgctl(a, IPC_RMID, NULL), EINVAL);
	FAILS(msgget(key, 0), ENOENT);
	FAILS(put(a, 1, "", 0), EINVAL);
	FAILS(msgrcv(a, &message, 1, 0, 0), EINVAL);
	a = msgget(key, IPC_CREAT | 0600);
	CHECK(a >= 0 && a != b);
	EQ(msgctl(a, IPC_RMID, NULL), 0);
	EQ(msgctl(b, IPC_RMID, NULL), 0);
}

void test_msg_types(void)
{
	int id = queue();

	for (long t = 5; t >= 1; t--)
		EQ(put(id, t, t % 2 ? "odd" : "even", 0), 0);
	EQ(put(id, 2, "second", 0), 0);
	FAILS(msgrcv(id, &message, MOST, 9, IPC_NOWAIT), ENOMSG);
	get(id, 0, 0, 5, "odd");
	get(id, 2, 0, 2, "even");
	get(id, -3, 0, 1, "odd");
	get(id, -3, 0, 2, "second");
	get(id, 4, MSG_EXCEPT, 3, "odd");
	FAILS(msgrcv(id, &message, MOST, 4, IPC_NOWAIT | MSG_EXCEPT), ENOMSG);
	FAILS(msgrcv(id, &message, MOST, -3, IPC_NOWAIT), ENOMSG);
	get(id, LONG_MIN, 0, 4, "even");
	FAILS(msgrcv(id, &message, MOST, 0, IPC_NOWAIT), ENOMSG);
	EQ(put(id, LONG_MAX, "far", 0), 0);
	get(id, -LONG_MAX, 0, LONG_MAX, "far");
	/* Equal types come in the order in which they were sent. */
	for (char c[2] = "a"; *c < 'f'; ++*c)
		EQ(put(id, 7, c, 0), 0);
	get(id, -9, 0, 7, "a");
	get(id, 7, 0, 7, "b");
	get(id, 0, 0, 7, "c");
	get(id, 1, MSG_EXCEPT, 7, "d");
	get(id, 7, 0, 7, "e");
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

void test_msg_sizes(void)
{
	static const size_t sizes[] = {0, 1, 43, 44, 45, 103, 104, 105, 164, 165, 4095, 4096, 8191, 8192};
	int id = queue();

	for (size_t i = 0; i < COUNT(sizes); i++) {
		message.type = 1;
		for (size_t k = 0; k < sizes[i]; k++)
			message.text[k] = (char)(k * 7 + i);
		EQ(msgsnd(id, &message, sizes[i], IPC_NOWAIT), 0);
		EQ(state(id).msg_cbytes, sizes[i]);
		memset(&message, 0x55, sizeof(message));
		EQ(msgrcv(id, &message, sizeof(message.text), 0, 0), sizes[i]);
		for (size_t k = 0; k < sizes[i]; k++)
			CHECK(message.text[k] == (char)(k * 7 + i));
		EQ(message.text[sizes[i]], 0x55);
	}
	message.type = 1;
	FAILS(msgsnd(id, &message, MOST + 1, 0), EINVAL);
	FAILS(msgsnd(id, &message, (size_t)-1, 0), EINVAL);
	FAILS(msgrcv(id, &message, (size_t)-1, 0, 0), EINVAL);
	EQ(put(id, 1, "longer than that", 0), 0);
	FAILS(msgrcv(id, &message, 5, 0, 0), E2BIG);
	EQ(state(id).msg_qnum, 1);
	message.text[5] = '!';
	EQ(msgrcv(id, &message, 5, 0, MSG_NOERROR), 5);
	CHECK(!memcmp(message.text, "longe!", 6));
	EQ(state(id).msg_qnum, 0);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

void test_msg_errors(void)
{
	int id = queue();

	FAILS(put(id, 0, "", 0), EINVAL);
	FAILS(put(id, -1, "", 0), EINVAL);
	FAILS(put(-1, 1, "", 0), EINVAL);
	FAILS(put(id + 1, 1, "", 0), EINVAL);
	FAILS(msgrcv(-1, &message, 1, 0, 0), EINVAL);
	FAILS(msgsnd(id, (void *)8, 1, 0), EFAULT);
	EQ(put(id, 1, "x", 0), 0);
	FAILS(msgrcv(id, (void *)8, 2, 0, 0), EFAULT);
	FAILS(msgctl(id, IPC_STAT, (void *)8), EFAULT);
	FAILS(msgctl(id, IPC_SET, (void *)8), EFAULT);
	FAILS(msgctl(id, 4711, NULL), EINVAL);
	FAILS(msgctl(-1, IPC_STAT, NULL), EINVAL);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

void test_msg_full(void)
{
	struct msqid_ds ds;
	int id = queue(), n = 0;

	ds = state(id);
	EQ(ds.msg_qbytes, 16384);
	message.type = 1;
	while (!msgsnd(id, &message, 1000, IPC_NOWAIT))
		n++;
	EQ(errno, EAGAIN);
	EQ(n, 16);
	EQ(msgsnd(id, &message, 384, IPC_NOWAIT), 0);
	FAILS(msgsnd(id, &message, 1, IPC_NOWAIT), EAGAIN);
	EQ(msgsnd(id, &message, 0, IPC_NOWAIT), 0);
	EQ(state(id).msg_cbytes, 16384);
	EQ(state(id).msg_qnum, 18);
	ds = state(id);
	ds.msg_qbytes = 20;
	ds.msg_perm.mode = 0777;
	EQ(msgctl(id, IPC_SET, &ds), 0);
	EQ(state(id).msg_perm.mode, 0777);
	while (msgrcv(id, &message, MOST, 0, IPC_NOWAIT) >= 0)
		;
	EQ(errno, ENOMSG);
	/* As many messages as bytes. */
	for (n = 0; !msgsnd(id, &message, 0, IPC_NOWAIT); n++)
		;
	EQ(n, 20);
	FAILS(msgsnd(id, &message, 21, IPC_NOWAIT), EAGAIN);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
	/* A queue full of the smallest messages. */
	id = queue();
	message.type = 1;
	for (n = 0; n < 16384; n++)
		EQ(msgsnd(id, &message, 1, IPC_NOWAIT), 0);
	FAILS(msgsnd(id, &message, 1, IPC_NOWAIT), EAGAIN);
	for (n = 0; n < 16384; n++)
		EQ(msgrcv(id, &message, 1, 0, IPC_NOWAIT), 1);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

/* A queue and its state are one for all relatives. */
void test_msg_fork(void)
{
	int id = queue();
	pid_t pid, grandchild;

	EQ(put(id, 1, "early", 0), 0);
	IN_CHILD(pid) {
		get(id, 0, MSG_NOERROR, 1, "early");
		IN_CHILD(grandchild)
			EQ(put(id, 2, "from below", 0), 0);
		EQ(ended(grandchild), 0);
		EQ(state(id).msg_lspid, grandchild);
		_exit(7);
	}
	EQ(ended(pid), 7 << 8);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

static void talk(int id, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		EQ(msgrcv(id, &message, MOST, 1, 0), (i * 37) % MOST);
		message.type = 2;
		EQ(msgsnd(id, &message, (size_t)(i * 37) % MOST, 0), 0);
	}
}

/* A receiver that waits is woken by a sender, and the other way round. */
void test_msg_blocks(void)
{
	int id = queue(), rounds = 300;
	pid_t pid;

	IN_CHILD(pid)
		talk(id, rounds);
	for (int i = 0; i < rounds; i++) {
		message.type = 1;
		EQ(msgsnd(id, &message, (size_t)(i * 37) % MOST, 0), 0);
		EQ(msgrcv(id, &message, MOST, 2, 0), (i * 37) % MOST);
	}
	EQ(ended(pid), 0);
	EQ(state(id).msg_lspid, pid);
	EQ(state(id).msg_lrpid, getpid());
	/* The sender is ahead until the queue is full. */
	IN_CHILD(pid)
		for (int i = 0; i < 200; i++) {
			message.type = i + 1;
			EQ(msgsnd(id, &message, 1000, 0), 0);
		}
	sleep_ms(20);
	for (int i = 0; i < 200; i++)
		EQ(msgrcv(id, &message, MOST, i + 1, 0), 1000);
	EQ(ended(pid), 0);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

/* Those who are blocked when a queue goes hear of it. */
void test_msg_removed(void)
{
	const int late = 77; /* one that came when the queue had gone */
	int again = 1;
	pid_t pids[4];

	for (int ms = 100; again; ms *= 2) {
		int id = queue();

		CHECK(ms < 20000);
		message.type = 1;
		EQ(msgsnd(id, &message, MOST, 0), 0);
		EQ(msgsnd(id, &message, MOST, 0), 0);
		for (int i = 0; i < 4; i++)
			IN_CHILD(pids[i]) {
				EQ(i % 2 ? msgrcv(id, &message, MOST, 5, 0) : put(id, 1, "more", 0), -1);
				if (errno == EINVAL)
					_exit(late);
				EQ(errno, EIDRM);
			}
		sleep_ms(ms);
		EQ(msgctl(id, IPC_RMID, NULL), 0);
		again = 0;
		for (int i = 0; i < 4; i++) {
			int status = ended(pids[i]);

			CHECK(!status || (WIFEXITED(status) && WEXITSTATUS(status) == late));
			again |= status;
		}
	}
}

static void nothing(int sig)
{
	(void)sig;
}

void test_msg_interrupted(void)
{
	int id = queue();
	pid_t pid;

	/* Not started again, whatever the handler's flags say. */
	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		on_signal(SIGALRM, nothing, flags);
		ualarm(30000, 30000); /* again: the first may come before the call */
		FAILS(msgrcv(id, &message, MOST, 0, 0), EINTR);
		ualarm(0, 0);
	}
	message.type = 1;
	EQ(msgsnd(id, &message, MOST, 0), 0);
	EQ(msgsnd(id, &message, MOST, 0), 0);
	ualarm(30000, 30000);
	FAILS(put(id, 1, "more", 0), EINTR);
	ualarm(0, 0);
	IN_CHILD(pid)
		put(id, 1, "never", 0);
	sleep_ms(30);
	EQ(kill(pid, SIGKILL), 0);
	EQ(ended(pid), SIGKILL);
	EQ(state(id).msg_qnum, 2);
	EQ(msgrcv(id, &message, MOST, 0, 0), MOST);
	EQ(msgrcv(id, &message, MOST, 0, 0), MOST);
	FAILS(msgrcv(id, &message, MOST, 0, IPC_NOWAIT), ENOMSG);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

/* Several receivers: each message reaches one. */
void test_msg_workers(void)
{
	int id = queue(), answers = queue(), n = 400;
	long sum = 0;
	pid_t pids[4];

	for (int i = 0; i < 4; i++)
		IN_CHILD(pids[i]) {
			long mine = 0;

			while (msgrcv(id, &message, MOST, -2, 0) >= 0 && message.type == 1)
				mine += atol(message.text);
			message.type = 1;
			snprintf(message.text, sizeof(message.text), "%ld", mine);
			EQ(msgsnd(answers, &message, strlen(message.text) + 1, 0), 0);
		}
	for (int i = 1; i <= n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		EQ(put(id, 1, text, 0), 0);
	}
	for (int i = 0; i < 4; i++)
		EQ(put(id, 2, "end", 0), 0);
	for (int i = 0; i < 4; i++) {
		CHECK(msgrcv(answers, &message, MOST, 0, 0) > 0);
		sum += atol(message.text);
		EQ(ended(pids[i]), 0);
	}
	EQ(sum, (long)n * (n + 1) / 2);
	EQ(msgctl(id, IPC_RMID, NULL), 0);
	EQ(msgctl(answers, IPC_RMID, NULL), 0);
}

/* A member that is killed at any moment leaves a queue that works. */
void test_msg_killed(void)
{
	int id = queue();
	struct msqid_ds ds;

	for (int round = 0; round < (children + 1) / 2; round++) {
		pid_t pid;
		unsigned long bytes = 0, count = 0;
		ssize_t n;

		IN_CHILD(pid)
			for (unsigned i = 0;; i++) {
				message.type = i % 3 + 1;
				msgsnd(id, &message, i * 31 % 500, IPC_NOWAIT);
				if (i % 4 == 0)
					msgrcv(id, &message, MOST, i % 3 + 1, IPC_NOWAIT);
			}
		usleep((useconds_t)(1000 + round * 97));
		EQ(kill(pid, SIGKILL), 0);
		EQ(ended(pid), SIGKILL);
		ds = state(id);
		while ((n = msgrcv(id, &message, MOST, 0, IPC_NOWAIT)) >= 0) {
			bytes += (unsigned long)n;
			count++;
		}
		EQ(errno, ENOMSG);
		EQ(ds.msg_qnum, count);
		EQ(ds.msg_cbytes, bytes);
	}
	EQ(msgctl(id, IPC_RMID, NULL), 0);
}

/* Nothing is left of what was removed: the room for it would be used up otherwise. */
void test_msg_cycles(void)
{
	for (int i = 0; i < 5000; i++) {
		int id = queue();

		message.type = 1;
		EQ(msgsnd(id, &message, 5000, 0), 0);
		EQ(msgctl(id, IPC_RMID, NULL), 0);
	}
}

void test_msg_permissions(void)
{
	struct msqid_ds ds;
	int id = queue();
	pid_t pid;

	if (geteuid())
		return;
	IN_CHILD(pid) {
		EQ(setgid(1234), 0);
		EQ(setuid(1234), 0);
		FAILS(put(id, 1, "", 0), EACCES);
		FAILS(msgrcv(id, &message, 1, 0, IPC_NOWAIT), EACCES);
		FAILS(msgctl(id, IPC_STAT, &ds), EACCES);
		FAILS(msgctl(id, IPC_RMID, NULL), EPERM);
	}
	EQ(ended(pid), 0);
	ds = state(id);
	ds.msg_perm.mode = 0604;
	EQ(msgctl(id, IPC_SET, &ds), 0);
	IN_CHILD(pid) {
		EQ(setgid(1234), 0);
		EQ(setuid(1234), 0);
		FAILS(put(id, 1, "", 0), EACCES);
		FAILS(msgrcv(id, &message, 1, 0, IPC_NOWAIT), ENOMSG);
		EQ(msgctl(id, IPC_STAT, &ds), 0);
		FAILS(msgctl(id, IPC_SET, &ds), EPERM);
	}
	EQ(ended(pid), 0);
	ds.msg_perm.uid = 1234;
	EQ(msgctl(id, IPC_SET, &ds), 0);
	IN_CHILD(pid) {
		EQ(setuid(1234), 0);
		EQ(put(id, 1, "", 0), 0);
		ds = state(id);
		ds.msg_qbytes = 100000;
		FAILS(msgctl(id, IPC_SET, &ds), EPERM);
		EQ(msgctl(id, IPC_RMID, NULL), 0);
	}
	EQ(ended(pid), 0);
}

void test_msg_ftok(void)
{
	key_t a, b;

	put_file("here", "");
	a = ftok("here", 'a');
	b = ftok("here", 'b');
	CHECK(a != -1 && b != -1 && a != b);
	EQ(ftok("here", 'a'), a);
	FAILS(ftok("nowhere", 'a'), ENOENT);
}

bool in_sysvipc(const char *name, int id)
{
	char path[40], line[300];
	bool found = false;
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/sysvipc/%s", name);
	f = fopen(path, "r");
	CHECK(f && fgets(line, sizeof(line), f));
	while (fgets(line, sizeof(line), f))
		found = found || (sscanf(line, "%*d %d", &n) == 1 && n == id);
	fclose(f);
	return found;
}

void test_msg_info(void)
{
	struct msginfo m;
	struct msqid_ds ds;
	int id = queue(), last, found = 0;

	EQ(put(id, 1, "abc", 0), 0);
	last = msgctl(0, IPC_INFO, (struct msqid_ds *)&m);
	CHECK(last >= 0);
	EQ(m.msgmax, 8192);
	EQ(m.msgmnb, 16384);
	last = msgctl(0, MSG_INFO, (struct msqid_ds *)&m);
	CHECK(last >= 0 && m.msgpool >= 1 && m.msgmap >= 1 && m.msgtql >= 4);
	for (int i = 0; i <= last; i++)
		if (msgctl(i, MSG_STAT, &ds) == id) {
			EQ(ds.msg_qnum, 1);
			found++;
		}
	EQ(found, 1);
	CHECK(in_sysvipc("msg", id));
	EQ(msgctl(id, IPC_RMID, NULL), 0);
	CHECK(!in_sysvipc("msg", id));
}

/*
 * familytest.c: the family area between real processes, which are killed at any instruction: what was written whole is read
 * whole and in order, the end comes when the last writer has gone, and nothing is left. And an area in which
 * somebody scribbles: nothing outside it is touched, and every call returns.
 */
#include "family.h"
#include "pipe.h"
#include "process.h"
#include "trials.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

long sys_pipe2(long user, long flags), sys_close(long fd), sys_read(long fd, long buf, long n), sys_write(long fd, long buf, long n);
long sys_openat(long dirfd, long path, long flags, long mode), sys_lseek(long fd, long off, long whence), sys_ftruncate(long fd, long size);
long sys_fcntl(long fd, long cmd, long arg), sys_fallocate(long fd, long mode, long off, long len), sys_fstat(long fd, long st);
long sys_socketpair(long domain, long type, long protocol, long user), sys_shutdown(long fd, long how), sys_ioctl(long fd, long request, long arg);
long sys_recvfrom(long fd, long buf, long n, long flags, long addr, long len);
long sys_eventfd2(long initial, long flags);
long sys_pwrite64(long fd, long buf, long n, long off), sys_pread64(long fd, long buf, long n, long off);

unsigned seed = 1;

unsigned random_below_(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

/* ---- processes ---- */

/* The engine's part: who has ended is told of. */
void reap(int options)
{
	int status, pid;

	while ((pid = waitpid(-1, &status, options)) > 0) {
		if (WIFEXITED(status))
			CHECK(!WEXITSTATUS(status));
		else
			CHECK(WTERMSIG(status) == SIGKILL);
		family_gone(pid, 0, 0);
	}
}

static int nap(void)
{
	usleep(100);
	reap(WNOHANG);
	shim_timers();
	family_events();
	return 0;
}

static volatile struct kx_member *own_member(void)
{
	return &((volatile struct kx_member *)KX_FAMILY_VA)[control->family_place - 1];
}

/* Goes on when the child has its place: births are the engine's and the parent's affair, tested elsewhere. */
int fork_member(void)
{
	uint32_t before;
	int pid;

	common_share();
	CHECK(family_in());
	before = own_member()->births;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(60);
		control->domid = (uint32_t)getpid();
		family_child();
		CHECK(family_in());
		return 0;
	}
	family_born(1);
	while (own_member()->births == before)
		usleep(50);
	return pid;
}

/* Objects that somebody holds. */
static uint32_t objects_held(void)
{
	uint32_t used = 0;
	int p[2];

	while (shim_timers()) /* what was put off */
		;
	/* All but those of an object that was made to look. */
	CHECK(!sys_pipe2((long)p, 0));
	common_share();
	for (uint32_t page = HEADER; page < KX_FAMILY_PAGES; page++)
		for (enum kind k = KIND_PIPE; k <= KIND_OPEN; k++) {
			struct object *o = object_at(page, k);

			used += o && (object_held(o, END_READ) || object_held(o, END_WRITE));
		}
	sys_close(p[0]);
	sys_close(p[1]);
	return used;
}

/* ---- pipes ---- */

struct record {
	uint32_t writer, number, size;
	uint8_t bytes[PIPE_BUF - 12];
};

static void write_records(int fd, uint32_t writer, uint32_t count)
{
	struct record r = {.writer = writer};

	for (r.number = 0; r.number < count; r.number++) {
		r.size = 12 + random_below_(sizeof(r.bytes));
		memset(r.bytes, (int)(r.number + writer), r.size - 12);
		if (sys_write(fd, (long)&r, r.size) != (long)r.size)
			_exit(0); /* nobody reads any more */
	}
}

static bool read_whole(int fd, void *buf, size_t n, bool first)
{
	size_t done = 0;

	while (done < n) {
		long got = sys_read(fd, (long)buf + (long)done, (long)(n - done));

		CHECK(got >= 0);
		if (!got) {
			CHECK(first && !done);
			return false;
		}
		done += (size_t)got;
	}
	return true;
}

static void trial_writers(void)
{
	enum { WRITERS = 4 };
	uint32_t next[WRITERS] = {0}, count = 50 + random_below_(400);
	int p[2], pids[WRITERS], left = 200;
	struct record r;

	CHECK(!sys_pipe2((long)p, 0));
	for (uint32_t w = 0; w < WRITERS; w++) {
		pids[w] = fork_member();
		if (!pids[w]) {
			seed += w * 7919;
			sys_close(p[0]);
			write_records(p[1], w, count);
			if (random_below_(2))
				family_exit(-1);
			_exit(0);
		}
	}
	sys_close(p[1]);
	while (read_whole(p[0], &r, 12, true)) {
		CHECK(r.writer < WRITERS && r.size >= 12 && r.size <= sizeof(r));
		CHECK(r.number == next[r.writer]);
		next[r.writer]++;
		CHECK(r.size == 12 || read_whole(p[0], r.bytes, r.size - 12, false));
		for (uint32_t i = 0; i + 12 < r.size; i++)
			CHECK(r.bytes[i] == (uint8_t)(r.number + r.writer));
		if (left-- % 40 == 0)
			kill(pids[random_below_(WRITERS)], SIGKILL);
	}
	sys_close(p[0]);
	reap(0);
}

/* Readers that are killed; the writer hears of the last one's end. */
static void trial_readers(void)
{
	static char page[PAGE_SIZE];
	int p[2], pids[3];
	long got = 0;

	CHECK(!sys_pipe2((long)p, 0));
	for (int i = 0; i < 3; i++) {
		pids[i] = fork_member();
		if (!pids[i]) {
			sys_close(p[1]);
			while (sys_read(p[0], (long)page, 1 + random_below_(sizeof(page))) > 0)
				;
			_exit(0);
		}
	}
	sys_close(p[0]);
	for (int i = 0; got >= 0; i++) {
		got = sys_write(p[1], (long)page, 1 + random_below_(sizeof(page)));
		if (i % 50 == 20 && i / 50 < 3)
			kill(pids[i / 50], SIGKILL);
	}
	CHECK(got == -EPIPE);
	sys_close(p[1]);
	reap(0);
}

/* ---- files ---- */

/* Members append to one open file and are killed: what is there is whole lines, of each in order. */
static void trial_files(void)
{
	enum { WRITERS = 3, LINE = 64 };
	int fd = (int)sys_openat(AT_FDCWD, (long)"/shared", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600), pids[WRITERS];
	uint32_t line[LINE / 4], next[WRITERS] = {0};
	long at = 0;

	CHECK(fd >= 0);
	for (uint32_t w = 0; w < WRITERS; w++) {
		pids[w] = fork_member();
		if (!pids[w]) {
			for (uint32_t i = 0; i < 300; i++) {
				for (int k = 0; k < LINE / 4; k++)
					line[k] = w << 24 | i;
				CHECK(sys_write(fd, (long)line, LINE) == LINE);
			}
			_exit(0);
		}
	}
	usleep(random_below_(20000));
	kill(pids[random_below_(WRITERS)], SIGKILL);
	reap(0);
	for (; sys_pread64(fd, (long)line, LINE, at) == LINE; at += LINE) {
		for (int k = 1; k < LINE / 4; k++)
			CHECK(line[k] == line[0]);
		CHECK(line[0] >> 24 < WRITERS && (line[0] & 0xffffff) == next[line[0] >> 24]);
		next[line[0] >> 24]++;
	}
	sys_close(fd);
}

/* ---- an area in which somebody scribbles ---- */

void scribble(void)
{
	for (unsigned n = random_below_(6); n--;) {
		uint32_t *word = AREA + random_below_(random_below_(2) ? AREA_SIZE / 4 : 64 * 1024);
		static const uint32_t favourites[] = {0, 1, 0xffffffff, 0x80000000, HEADER, KX_FAMILY_PAGES, KX_FAMILY_PAGES - 1, KIND_PIPE, KIND_FILE};

		*word = random_below_(2) ? favourites[random_below_(9)] : random_below_(KX_FAMILY_PAGES);
	}
	/* Where it hurts: in objects. */
	for (uint32_t page = HEADER; page < HEADER + 60; page++)
		if (!random_below_(10))
			AREA[page * (PAGE_SIZE / 4) + random_below_(300)] = random_below_(3) ? random_below_(100) : seed;
}

static int naps;

int nap_once(void)
{
	family_sleeps();
	family_awake();
	family_events();
	return ++naps % 4 ? 0 : -EINTR;
}

static void act(const int *fds, int n)
{
	static char buf[70000];
	int fd = fds[random_below_((unsigned)n)];
	struct stat st;
	int pending;

	switch (random_below_(13)) {
	case 0: case 1:
		sys_read(fd, (long)buf, random_below_(sizeof(buf)));
		break;
	case 2: case 3:
		sys_write(fd, (long)buf, random_below_(sizeof(buf)));
		break;
	case 4:
		sys_lseek(fd, random_below_(1 << 20), (long)random_below_(5));
		break;
	case 5:
		sys_ftruncate(fd, random_below_(1 << 22));
		break;
	case 6:
		sys_fallocate(fd, random_below_(2) ? 3 : 0, random_below_(1 << 20), 1 + random_below_(1 << 16));
		break;
	case 7:
		sys_fcntl(fd, F_SETFL, random_below_(2) ? O_NONBLOCK : O_APPEND);
		break;
	case 8:
		sys_fstat(fd, (long)&st);
		break;
	case 9:
		sys_ioctl(fd, FIONREAD, (long)&pending);
		break;
	case 10:
		sys_shutdown(fd, random_below_(30));
		break;
	case 11:
		sys_recvfrom(fd, (long)buf, random_below_(sizeof(buf)), MSG_PEEK | MSG_DONTWAIT, 0, 0);
		break;
	default:
		family_gone((int)random_below_(100), (int)random_below_(3), (int)random_below_(3));
	}
	CHECK(sys_fcntl(fd, F_GETFL, 0) >= 0);
}

#define SCRIBBLED 11 /* files */

static void trial_scribble(void)
{
	int fds[SCRIBBLED], pid = fork();

	if (pid) {
		int status;

		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
		return;
	}
	alarm(120);
	if (random_below_(2)) /* lines between members, as on Xen */
		control->flags &= ~KX_F_BELLS;
	CHECK(mmap((void *)KX_FAMILY_VA, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)KX_FAMILY_VA);
	shim_waits = nap_once;
	CHECK(!sys_pipe2((long)fds, 0) && !sys_pipe2((long)(fds + 2), O_NONBLOCK));
	fds[4] = (int)sys_openat(AT_FDCWD, (long)"/a", O_RDWR | O_CREAT, 0600);
	fds[5] = (int)sys_openat(AT_FDCWD, (long)"/b", O_RDWR | O_CREAT, 0600);
	CHECK(!sys_socketpair(AF_UNIX, SOCK_DGRAM, 0, (long)(fds + 6)) && !sys_socketpair(AF_UNIX, SOCK_SEQPACKET, 0, (long)(fds + 8)));
	fds[10] = (int)sys_eventfd2(3, random_below_(2) ? EFD_SEMAPHORE : 0);
	common_share();
	for (int i = 0; i < 100; i++) {
		scribble();
		act(fds, SCRIBBLED);
	}
	for (int i = 0; i < SCRIBBLED; i++)
		sys_close(fds[i]);
	family_exit(-1);
	_exit(0);
}

/* ---- growing ---- */

static int growths;

/* The engine gives a page each time, and a relative takes the first two of them. */
static long grow(uint32_t op, uint64_t pages, uint64_t unused)
{
	(void)unused;
	CHECK(op == KX_CALL_FAMILY && pages == control->family_pages + 1);
	control->family_pages = (uint32_t)pages;
	if (growths++ < 2)
		CHECK(object_new(KIND_FILE) == pages - 1);
	return (long)pages;
}

static void trial_growth(void)
{
	uint32_t pages = control->family_pages, first;

	CHECK(!family_enter());
	first = object_new(KIND_FILE);
	CHECK(first);
	control->family_pages = first + 1;
	shim_call = grow;
	CHECK(family_alloc(first) == first + 3 && growths == 3);
	shim_call = NULL;
	control->family_pages = pages;
	for (uint32_t page = first; page < first + 3; page++)
		object_drop(page, END_READ);
}

static void pause_below(unsigned n)
{
	for (n = random_below_(n); n; n--)
		__builtin_ia32_pause();
}

/* Who is rung finds that something changed since he began to wait, or he would take it for a ring that was meant for another. */
static void trial_rings(void)
{
	uint32_t page;
	struct object *o;
	volatile uint32_t *rung;
	time_t end = time(NULL) + 10;
	int pid;

	CHECK(!family_enter());
	page = object_new(KIND_OPEN);
	o = object_at(page, KIND_OPEN);
	rung = &own_member()->rung;
	pid = fork_member();
	for (unsigned n = 1; !pid; n++) {
		object_changed(o);
		pause_below(100); /* so that it has looked before the next one */
		if (n % 256 == 0)
			sched_yield(); /* both may be on one CPU */
	}
	for (int i = 0; i < 100000 && time(NULL) <= end; i++) {
		uint32_t seen;

		pause_below(100);
		*rung = 0;
		seen = RELAXED(o->changes);
		object_await(o);
		for (unsigned n = 1; !*rung; n++) {
			CHECK(n % (1 << 20) || !waitpid(pid, NULL, WNOHANG)); /* it ends itself after a minute */
			if (n % 256 == 0)
				sched_yield();
		}
		CHECK(RELAXED(o->changes) != seen);
	}
	kill(pid, SIGKILL);
	reap(0);
	object_drop(page, END_READ);
}

/* A child for which there is no place has lost what it would share, and that is all. */
static void trial_no_place(void)
{
	struct kx_member *members = (struct kx_member *)KX_FAMILY_VA;
	int fds[2], pid;
	char c = 0;

	CHECK(!sys_pipe2((long)fds, 0));
	common_share();
	for (uint32_t i = 0; i < KX_MEMBERS; i++)
		members[i].pid += members[i].pid ? 0 : 1;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		control->domid = (uint32_t)getpid();
		family_child();
		CHECK(!family_in());
		CHECK(sys_read(fds[0], (long)&c, 1) == -EIO && sys_write(fds[1], (long)&c, 1) == -EIO);
		CHECK(!sys_close(fds[0]) && !sys_close(fds[1]));
		family_exit(-1);
		_exit(0);
	}
	family_born(1);
	CHECK(waitpid(pid, &pid, 0) > 0 && !pid);
	for (uint32_t i = 0; i < KX_MEMBERS; i++)
		members[i].pid -= members[i].pid == 1;
	CHECK(sys_write(fds[1], (long)&c, 1) == 1 && sys_read(fds[0], (long)&c, 1) == 1);
	sys_close(fds[0]);
	sys_close(fds[1]);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 8;
	uint32_t used = 0;

	seed = argc > 1 ? (unsigned)atoi(argv[1]) : (unsigned)time(NULL);
	printf("familytest: seed %u\n", seed);
	fflush(stdout);
	shim_init();
	CHECK(mmap((void *)KX_FAMILY_VA, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)KX_FAMILY_VA);
	control->domid = (uint32_t)getpid();
	control->family_pages = KX_FAMILY_PAGES;
	control->flags |= KX_F_BELLS;
	vfs_init();
	CHECK(!fd_init_stdio());
	for (unsigned i = 0; i < 4 * rounds; i++) {
		trial_scribble();
		trial_ipc_scribble();
	}
	trial_first_share();
	trial_signal_to_dead();
	trial_buried_by_another();
	trial_ends();
	trial_growth();
	trial_tasks();
	trial_offers();
	trial_rings();
	trial_no_place();
	shim_waits = nap;
	for (unsigned i = 0; i < rounds; i++) {
		trial_writers();
		trial_readers();
		trial_files();
		trial_pairs();
		trial_ipc();
		trial_ipc();
		trial_tasks_of_killed();
		trial_offers_of_killed();
		if (!i) /* the file stays there as long as it has a name */
			used = objects_held();
		CHECK(objects_held() == used);
	}
	return 0;
}

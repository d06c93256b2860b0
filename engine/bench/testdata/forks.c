/*
 * forks MIB: touches so much memory, says so, and then obeys the lines that it reads:
 *
 *   f    forks once. The child prints "c" and the CPU's counter at its first instruction and exits; the parent
 *        prints "p", the counter before fork and after.
 *   t    the same, and then the child writes to every page, and after it the parent, while both have them; each prints
 *        as a last number how many ticks that took.
 *   i N  makes N children that do nothing, and prints "p".
 *   k    ends them, and prints "p".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define MOST 1000

typedef unsigned long long ticks;

static volatile char *memory;
static size_t size;
static sigset_t go;
static pid_t idle[MOST];
static int idlers;

static void say(const char *fmt, ticks a, ticks b, ticks c)
{
	char line[128];
	int n = snprintf(line, sizeof line, fmt, a, b, c);

	if (write(1, line, n) != n)
		_exit(1);
}

static ticks touch(void)
{
	ticks start = __builtin_ia32_rdtsc();

	for (size_t i = 0; i < size; i += PAGE)
		memory[i]++;
	return __builtin_ia32_rdtsc() - start;
}

static void fork_once(int touching)
{
	ticks before, after, took = 0;
	pid_t parent = getpid(), pid;
	int sig;

	before = __builtin_ia32_rdtsc();
	pid = fork();
	after = __builtin_ia32_rdtsc();
	if (pid < 0) {
		perror("fork");
		exit(1);
	}
	if (!pid) {
		if (touching)
			took = touch();
		say("c %llu %llu\n", after, took, 0);
		if (touching) {
			kill(parent, SIGUSR1);
			sigwait(&go, &sig);
		}
		_exit(0);
	}
	if (touching) {
		sigwait(&go, &sig);
		took = touch();
		kill(pid, SIGUSR1);
	}
	waitpid(pid, NULL, 0);
	say("p %llu %llu %llu\n", before, after, took);
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc != 2)
		return 2;
	size = strtoul(argv[1], NULL, 10) << 20;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("forks: memory");
		return 1;
	}
	madvise((void *)memory, size, MADV_NOHUGEPAGE);
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	sigprocmask(SIG_BLOCK, &go, NULL);
	touch();
	say("p\n", 0, 0, 0);
	while (fgets(line, sizeof line, stdin))
		switch (line[0]) {
		case 'f':
		case 't':
			fork_once(line[0] == 't');
			break;
		case 'i':
			for (int n = atoi(line + 1); idlers < n && idlers < MOST; idlers++) {
				idle[idlers] = fork();
				if (!idle[idlers])
					for (;;)
						pause();
			}
			say("p\n", 0, 0, 0);
			break;
		case 'k':
			while (idlers)
				kill(idle[--idlers], SIGKILL);
			while (wait(NULL) > 0)
				;
			say("p\n", 0, 0, 0);
		}
	return 0;
}

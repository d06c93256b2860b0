/* An application of the tests; its first argument tells what it does. With -DENTRY it begins at app_entry, else at main, as any program. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kx_abi.h"

#ifdef ENTRY
#define BEGIN app_entry
#else
#define BEGIN main
#endif

extern char **environ;
static int begun;
static char *zeroes;

/* libc has one of that name, too: a program's own is the one that it calls. */
char *basename(char *path);
char *basename(char *path)
{
	(void)path;
	return "own";
}

__attribute__((constructor)) static void begin(void) { begun++; }
__attribute__((destructor)) static void end(void) { write(1, "end\n", 4); }

static int arguments(int argc, char **argv, char **envp)
{
	printf("%d arguments, constructors: %d, basename: %s\n", argc, begun, basename("/a/b"));
	for (int i = 0; i < argc; i++)
		printf("argv[%d] %s\n", i, argv[i]);
	for (char **e = envp; *e; e++)
		printf("env %s\n", *e);
	printf("environ is envp: %d, the name is %s, PID %d is %sa terminal's\n", environ == envp, getenv("NAME"), getpid(), isatty(0) ? "" : "not ");
	return 7;
}

static int copy(void)
{
	int c;

	while ((c = getchar()) != EOF)
		putchar(c);
	return ferror(stdin);
}

static int terminal(void)
{
	struct winsize ws;
	char line[64];

	if (ioctl(0, TIOCGWINSZ, &ws) || !fgets(line, sizeof(line), stdin))
		return 1;
	printf("%d %d %s", ws.ws_row, ws.ws_col, line);
	return 0;
}

/* A child, a pipe to it, and a queue back. */
static int family(void)
{
	struct { long type; char text[16]; } m = {1, ""};
	int fds[2], queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600), status;
	pid_t pid;

	if (pipe(fds) || queue < 0)
		return 1;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], m.text, sizeof(m.text)) != 6 || msgsnd(queue, &m, sizeof(m.text), 0) ? 1 : 3);
	}
	if (pid < 0 || write(fds[1], "hello", 6) != 6 || msgrcv(queue, &m, sizeof(m.text), 1, 0) < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	printf("child %s: %d\n", m.text, WEXITSTATUS(status));
	return 0;
}

/* ---- a secret, and who looks for it ---- */

static volatile uint64_t mask = 0xffffffffffffffff;

#define WORD (mask ^ 0xa13d18bb52cc0e47) /* nowhere in the file */

static void fill(uint64_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = WORD;
}

static uint64_t variable[4096];

static int hide(void)
{
	uint64_t stack[4096], *heap = malloc(8 << 20);
	int fd = open("/secret", O_CREAT | O_RDWR, 0600), child;

	if (!heap || fd < 0)
		return 1;
	fill(stack, 4096);
	fill(variable, 4096);
	fill(heap, 1 << 20);
	fill((uint64_t *)KX_ARGS_VA, KX_ARGS_SIZE / 8);
	fill((uint64_t *)KX_CONIN_VA, KX_CONIN_SIZE / 8);
	fill((uint64_t *)KX_TASK_VA, KX_TASK_SIZE / 8);
	if (write(fd, heap, 1 << 20) != 1 << 20)
		return 2;
	__asm__ volatile("movq %0, %%xmm7" : : "r"(WORD) : "xmm7");
	child = fcntl(fd, F_GETFD); /* nothing is left out as dead */
	return variable[child] == stack[child + 1] ? 0 : 3;
}

static sigjmp_buf back;

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(back, 1);
}

static size_t pages, found;

static void look(uint64_t from, uint64_t end)
{
	for (volatile uint64_t page = from; page < end; page += KX_PAGE_SIZE) {
		if (sigsetjmp(back, 1))
			continue;
		for (const volatile uint64_t *p = (const volatile uint64_t *)page; p < (const volatile uint64_t *)(page + KX_PAGE_SIZE); p++)
			if ((*p ^ mask) == (WORD ^ mask))
				found++;
		pages++;
	}
}

static int seek(void)
{
	const volatile struct kx_control *control = (const volatile struct kx_control *)KX_CONTROL_VA;
	uint64_t window = control->ram_va, dynamic = window - control->dynamic_pages * KX_PAGE_SIZE, size;
	uint64_t xmm7;

	__asm__ volatile("movq %%xmm7, %0" : "=r"(xmm7));
	signal(SIGSEGV, on_fault);
	for (size = 1 << 20; mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED; ) /* all that there is */
		;
	look(KX_IMAGE_VA, KX_IMAGE_VA + control->image_pages * KX_PAGE_SIZE);
	look(KX_CTL_VA, KX_CTL_VA + KX_CTL_SIZE);
	look(KX_FAMILY_VA, KX_FAMILY_VA + KX_FAMILY_PAGES * KX_PAGE_SIZE);
	look(dynamic, window + control->ram_pages * KX_PAGE_SIZE);
	printf("%s: %zu found, in xmm7: %d, /secret: %s\n", pages > 12000 ? "looked" : "has not looked", found, xmm7 == WORD, access("/secret", F_OK) ? "none" : "there");
	return 0;
}

/* ---- ends ---- */

static void on_term(int sig)
{
	(void)sig;
	write(1, "told\n", 5);
	_exit(9);
}

static int wait_for_signal(void)
{
	signal(SIGTERM, on_term);
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
	return 0;
}

int BEGIN(int argc, char **argv, char **envp)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "copy"))
		return copy();
	if (!strcmp(what, "terminal"))
		return terminal();
	if (!strcmp(what, "family"))
		return family();
	if (!strcmp(what, "hide"))
		return hide() || (argc > 2 && seek()); /* it can be found while it is there */
	if (!strcmp(what, "seek"))
		return seek();
	if (!strcmp(what, "wait"))
		return wait_for_signal();
	if (!strcmp(what, "crash"))
		*(volatile int *)8 = 1;
	if (!strcmp(what, "abort"))
		abort();
	if (!strcmp(what, "root")) {
		int fd = open("/greeting", O_RDONLY);
		char text[64];
		ssize_t n = read(fd, text, sizeof(text));

		return write(1, text, n > 0 ? (size_t)n : 0) != n;
	}
	if (!strcmp(what, "heap")) {
		zeroes = malloc(100 << 20);
		printf("100 MiB: %s\n", zeroes ? "there" : strerror(errno));
		return 0;
	}
	if (!strcmp(what, "random")) {
		uint64_t r;

		getentropy(&r, sizeof(r));
		printf("%llx %p %p\n", (unsigned long long)r, (void *)&r, (void *)variable);
		return 0;
	}
	return arguments(argc, argv, envp);
}

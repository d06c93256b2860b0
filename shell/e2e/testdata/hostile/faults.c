/* faults.c MODE: does what a program must not, in main or, with "thread-MODE", in a thread. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static volatile int forever = 1;

static void call(const void *code)
{
	void (*f)(void);

	memcpy(&f, &code, sizeof f);
	f();
}

static void read_null(void) { (void)*(volatile int *)0; }
static void write_null(void) { *(volatile int *)16 = 1; }
static void jump_null(void) { call(NULL); }
static void write_text(void) { *(volatile char *)(unsigned long)write_text = 0; }
static void write_constant(void) { *(volatile char *)(unsigned long)"constant" = 'C'; }

static void jump_data(void)
{
	static unsigned char ret[] = { 0xc3 };

	call(ret);
}

static void jump_stack(void)
{
	volatile unsigned char ret[] = { 0xc3 };

	call((const void *)ret);
}

static void jump_heap(void)
{
	unsigned char *p = malloc(4096);

	memset(p, 0xc3, 4096);
	call(p);
}

static void write_unmapped(void)
{
	volatile char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap((void *)p, 4096);
	*p = 1;
}

static void write_readonly(void)
{
	volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*p = 1;
}

static int deeper(int depth)
{
	volatile char frame[4000];

	frame[depth % sizeof frame] = depth;
	return forever ? deeper(depth + 1) + frame[depth % sizeof frame] : 0;
}

static void stack(void) { deeper(0); }

/* One leap over any guard page of a few pages' size, far below the stack. */
static void leap(void)
{
	volatile char here;

	*(volatile char *)((unsigned long)&here - (1UL << 32)) = 1;
}

static void bad_stack(void) { __asm__ volatile("mov $0x1234, %rsp; push %rax"); }
static void no_stack(void) { __asm__ volatile("xor %esp, %esp; push %rax; ud2"); }
static void kernel_stack(void) { __asm__ volatile("mov $-8, %rsp; push %rax"); }
static void garbage(void) { __asm__ volatile("ud2"); }
static void bytes(void) { __asm__ volatile(".byte 0x06, 0x0e, 0x16, 0xff, 0xff"); }
static void halt(void) { __asm__ volatile("hlt"); }
static void port(void) { __asm__ volatile("outb %al, $0x80"); }
static void interrupts(void) { __asm__ volatile("cli"); }
static void cr3(void) { __asm__ volatile("mov %%cr3, %%rax" : : : "rax"); }
static void breakpoint(void) { __asm__ volatile("int3"); }
static void interrupt(void) { __asm__ volatile("int $0x42"); }
static void wild(void) { *(volatile char *)0x8000000000000000 = 1; }
static void kernel(void) { *(volatile char *)0xffff800000000000 = 1; }

static void divide(void)
{
	volatile int zero = 0;

	printf("%d\n", 1000 / zero);
}

static void linux_call(void)
{
	long nr = 39; /* getpid */

	__asm__ volatile("syscall" : "+a"(nr) : : "rcx", "r11", "memory");
	printf("the host answered %ld\n", nr);
}

static void linux_int80(void)
{
	long nr = 20; /* getpid, 32-bit */

	__asm__ volatile("int $0x80" : "+a"(nr) : : "memory");
	printf("the host answered %ld\n", nr);
}

static void again(int sig)
{
	(void)sig;
	*(volatile int *)0 = 2;
}

/* A handler that faults itself: the second fault ends the pVM. */
static void handler(void)
{
	signal(SIGSEGV, again);
	*(volatile int *)0 = 1;
}

/* Ignoring and blocking a fault helps nobody. */
static void blocked(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGSEGV, SIG_IGN);
	*(volatile int *)0 = 1;
}

#define MODE(f) { #f, f }

static const struct {
	const char *name;
	void (*die)(void);
} modes[] = {
	MODE(read_null), MODE(write_null), MODE(jump_null), MODE(write_text), MODE(write_constant), MODE(jump_data),
	MODE(jump_stack), MODE(jump_heap), MODE(write_unmapped), MODE(write_readonly), MODE(stack), MODE(leap),
	MODE(bad_stack), MODE(no_stack), MODE(kernel_stack), MODE(garbage), MODE(bytes), MODE(halt), MODE(port),
	MODE(interrupts), MODE(cr3), MODE(breakpoint), MODE(interrupt), MODE(wild), MODE(kernel), MODE(divide), MODE(linux_call),
	MODE(linux_int80), MODE(handler), MODE(blocked),
};

static void *thread(void *die)
{
	((void (*)(void))(unsigned long)die)();
	return NULL;
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";
	int in_thread = !strncmp(mode, "thread-", 7);

	puts("about to");
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		pthread_t t;

		if (strcmp(mode + 7 * in_thread, modes[i].name))
			continue;
		if (!in_thread) {
			modes[i].die();
		} else if (!pthread_create(&t, NULL, thread, (void *)(unsigned long)modes[i].die)) {
			pthread_join(t, NULL);
		}
		printf("%s: still alive\n", mode);
		return 1;
	}
	printf("no such mode\n");
	return 2;
}

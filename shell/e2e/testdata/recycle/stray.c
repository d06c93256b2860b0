/* Looks through the dynamic segment, from itself on, for what only its build with -DMARK has, in constants and in what the linker fills in. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#define PAGE 4096
#define LOOK (8 << 20)
#define MARK_WORD 0x6b1d5e3fa0c94427UL

static volatile uint64_t inverse = ~MARK_WORD; /* what is looked for is nowhere in its own code */
static sigjmp_buf next;

#ifdef MARK
__attribute__((used)) const uint64_t marks[64 << 10] = {[0 ... (64 << 10) - 1] = MARK_WORD};
__attribute__((used)) const uint64_t *where[8 << 10] = {[0 ... (8 << 10) - 1] = marks + 1};
#endif

static void fault(int sig)
{
	(void)sig;
	siglongjmp(next, 1);
}

int main(void)
{
	volatile int found = 0, holes = 0;
	volatile uint64_t at = (uint64_t)main & -PAGE, mark = ~inverse;

	signal(SIGSEGV, fault);
	for (uint64_t end = at + LOOK; at < end; at += PAGE) {
		if (sigsetjmp(next, 1)) {
			holes++;
			continue;
		}
		for (const volatile uint64_t *p = (uint64_t *)at; p < (uint64_t *)(at + PAGE); p++)
			found += *p == mark;
	}
	printf("found: %d, holes: %s\n", found, holes ? "some" : "none");
#ifdef MARK
	return *where[8191] != MARK_WORD;
#else
	return 0;
#endif
}

/* hog.c: takes all the memory that it may have, says so and keeps it. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	for (size_t n = 64UL << 20; n >= 1UL << 20;) {
		if (mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
			n /= 2;
	}
	puts("all of it");
	fflush(stdout);
	for (;;)
		pause();
}

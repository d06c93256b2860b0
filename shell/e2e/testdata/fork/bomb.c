/* A fork bomb: every member forks as long as it can, and then tries again for ever. */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	struct timespec brief = {0, 1000000};
	int told = 0;

	for (;;)
		if (fork() < 0) {
			if (errno != EAGAIN && errno != ENOMEM)
				return 1;
			if (!told++ && write(1, "no more\n", 8) != 8)
				return 2;
			nanosleep(&brief, NULL);
		}
}

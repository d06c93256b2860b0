/*
 * noise CHILDREN LINES: forks in the middle of its output, again and again; all members write lines, each with a
 * number. The last writes of the parent before a fork are not the child's to repeat.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void talk(int who, int from, int to)
{
	for (int i = from; i < to; i++)
		if (printf("member %d line %d: the quick brown fox jumps over the lazy dog\n", who, i) < 0)
			_exit(1);
}

int main(int argc, char **argv)
{
	int children = argc > 1 ? atoi(argv[1]) : 1, lines = argc > 2 ? atoi(argv[2]) : 1, status, bad = 0;

	setvbuf(stdout, 0, _IOLBF, 0);
	for (int c = 1; c <= children; c++) {
		talk(0, (c - 1) * lines, c * lines);
		switch (fork()) {
		case -1:
			return 1;
		case 0:
			talk(c, 0, lines);
			_exit(0);
		}
	}
	talk(0, children * lines, (children + 1) * lines);
	while (wait(&status) > 0)
		bad += status != 0;
	return bad != 0;
}

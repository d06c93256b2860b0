/* env.c: prints the environment, one NAME=VALUE a line; with arguments only the values of those names. */
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv)
{
	int missing = 0;

	if (argc == 1)
		for (char **e = environ; *e; e++)
			puts(*e);
	for (int i = 1; i < argc; i++) {
		const char *v = getenv(argv[i]);

		if (v)
			puts(v);
		else
			missing = 1;
	}
	return missing;
}

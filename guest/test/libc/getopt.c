/* getopt.c: short and long options. */
#include <getopt.h>
#include <stdio.h>

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"alpha", no_argument, NULL, 'a'}, {"beta", required_argument, NULL, 'b'},
		{"gamma", optional_argument, NULL, 'g'}, {NULL, 0, NULL, 0}};
	int c;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "ab:g::", longs, NULL)) != -1)
		printf(" %c(%s)", c, optarg ? optarg : "");
	for (; optind < argc; optind++)
		printf(" arg(%s)", argv[optind]);
	puts("");
}

#define PARSE(...)                                                                  \
	do {                                                                        \
		char *v[] = {"prog", __VA_ARGS__, NULL};                            \
		parse((int)(sizeof(v) / sizeof(*v)) - 1, v);                        \
	} while (0)

int main(void)
{
	PARSE("-a", "-b", "val", "rest");
	PARSE("-abval", "x", "y");
	PARSE("--alpha", "--beta=1", "--beta", "2", "--gamma", "--gamma=3");
	PARSE("-g", "-gx", "file");
	PARSE("-a", "--", "-b", "x");
	PARSE("-z", "-b");
	PARSE("--unknown", "--al");
	PARSE("-", "-a");
	return 0;
}

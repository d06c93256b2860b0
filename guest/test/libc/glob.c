/* glob.c: files by pattern, and walks through folders. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int seen;

static int visit(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)path, (void)st, (void)type, (void)f;
	seen++;
	return 0;
}

static int take(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

int main(void)
{
	static const char *const patterns[] = {"*", "*.c", "?.h", "d/*", "[ab].*", "none*", "d/../*.h", ".*"};
	static const char *const files[] = {"a.c", "b.c", "a.h", "long.h", "d/x", "d/y", ".hidden"};
	static char a[] = "/usr/lib/name", b[] = "/usr/lib/name";
	char dir[] = "/tmp/globXXXXXX";

	if (!mkdtemp(dir) || chdir(dir) || mkdir("d", 0755))
		return 1;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		close(open(files[i], O_CREAT | O_WRONLY, 0644));
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		glob_t g;
		int r = glob(patterns[i], GLOB_MARK, NULL, &g);

		printf("%s:%s", patterns[i], r == GLOB_NOMATCH ? " no match" : "");
		for (size_t k = 0; !r && k < g.gl_pathc; k++)
			printf(" %s", g.gl_pathv[k]);
		puts("");
		if (!r)
			globfree(&g);
	}
	nftw(".", visit, 10, FTW_PHYS);
	printf("%d things\n", seen);
	printf("%s %s\n", basename(a), dirname(b));
	char *real = realpath("d/../d/./x", NULL);

	printf("%s\n", real ? real + strlen(dir) : "none");
	free(real);
	if (chdir("/") || nftw(dir, take, 10, FTW_DEPTH | FTW_PHYS))
		return 1;
	return 0;
}

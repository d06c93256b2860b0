/* stdio.c: buffering, positions, memory streams. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	char buf[64], *mem = NULL, *line = NULL;
	size_t n = 0, cap = 0;
	FILE *f = tmpfile();

	if (!f)
		return 1;
	setvbuf(f, NULL, _IOFBF, 16);
	fputs("first\nsecond line\n\nlast", f);
	printf("%ld\n", ftell(f));
	rewind(f);
	while (getline(&line, &cap, f) > 0)
		printf("[%s]", line);
	printf(" %d %d\n", feof(f), ferror(f));
	clearerr(f);
	fseek(f, 6, SEEK_SET);
	fputs("SECOND", f);
	fseek(f, 0, SEEK_SET);
	printf("%zu ", fread(buf, 1, sizeof(buf) - 1, f));
	buf[24] = 0;
	printf("[%s]\n", buf);
	ungetc('!', f);
	printf("%c %d\n", getc(f), getc(f));
	fpos_t pos;

	rewind(f);
	fgetpos(f, &pos);
	printf("%c%c", fgetc(f), fgetc(f));
	fsetpos(f, &pos);
	printf("%c\n", fgetc(f));
	fclose(f);
	f = open_memstream(&mem, &n);
	fprintf(f, "%d-%s", 5, "x");
	fclose(f);
	printf("%s %zu\n", mem, n);
	free(mem);
	strcpy(buf, "1 2 3");
	f = fmemopen(buf, 5, "r");
	int a, b, c;

	printf("%d", fscanf(f, "%d%d%d", &a, &b, &c));
	printf(" %d\n", a + b + c);
	fclose(f);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("partial ");
	fflush(stdout);
	if (write(1, "raw\n", 4) != 4)
		return 1;
	fputs("x", stdout);
	puts("y");
	f = fopen("/dev/full", "w");
	fputs("text", f);
	printf("%d\n", fflush(f) == EOF && ferror(f));
	fclose(f);
	f = fdopen(dup(1), "w");
	fprintf(f, "through a duplicate\n");
	fclose(f);
	free(line);
	return 0;
}

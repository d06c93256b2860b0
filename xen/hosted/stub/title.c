/*
 * title.c: the name of the process, for people who run ps. It is written over the argument that
 * the zygote was started with, which the engine padded. Whoever needs to be sure which domain a
 * process is looks at its file descriptors: the guest can write here.
 */
#include "stub.h"
#include "sys.h"

#include <linux/prctl.h>

#define COMM_SIZE 16

static char *area;
static size_t area_size;

void title_init(char *arg)
{
	area = arg;
	while (arg[area_size])
		area_size++;
}

void title_set(const char *title)
{
	char comm[COMM_SIZE] = {0};
	size_t i;

	for (i = 0; i < area_size && title[i]; i++)
		area[i] = title[i];
	for (; i < area_size; i++)
		area[i] = 0;
	for (i = 0; i < COMM_SIZE - 1 && title[i]; i++)
		comm[i] = title[i];
	sys(__NR_prctl, PR_SET_NAME, comm);
}
